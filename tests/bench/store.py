"""The store: what an answer costs where there are a million, and how long a finished run takes to be answered from it alone.

python -m tests.bench.store append|resume [COUNT]

`append`: COUNT (1,000,000) answers, in groups of as many as are committed together, each group on disk before the next one is put.
`milliseconds` is the mean of the last tenth, where the table is at its largest, from `put` to its return; `ratio` is a plain file's time,
written and synced with the same bytes in the same groups, over it.
`resume`: a run of COUNT (100,000) samples, then the same command again: `seconds` is what that takes, as the shell sees it.
"""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from evalkit.store import MOST, Store
from evalkit.types import Generate, Image, Message, Request, Response, Sampling, sha256

from .harness import TASK

ENGINE = """class Instant:
    async def generate(self, messages, images):
        return "Based on the image, the answer is A."
"""
QUESTION = """Which of the four is in picture {}?
(A) one
(B) two
(C) three
(D) four
Answer with the option's letter from the given choices directly, and with nothing else."""


def append(folder: Path, count: int = 1_000_000) -> dict[str, float]:
    """Milliseconds an answer, of the last tenth and of all."""
    file, took = folder / "answers.sqlite", list[float]()
    store = Store(file)

    async def fill() -> None:
        for start in range(0, count, MOST):
            group = [answer(number) for number in range(start, min(start + MOST, count))]
            begun = time.perf_counter()
            await asyncio.gather(*(store.put(*each) for each in group))
            took.append(time.perf_counter() - begun)

    asyncio.run(fill())
    store.close()
    last = -(-len(took) // 10)
    milliseconds = 1000 * sum(took[-last:]) / (count - MOST * (len(took) - last))
    file_alone = plain(file, folder / "plain", last)
    size = file.stat().st_size / count
    return {"milliseconds": milliseconds, "of all": 1000 * sum(took) / count, "ratio": file_alone / milliseconds, "bytes": size}


def answer(number: int) -> tuple[str, Request, Response]:
    """A key, a request about a picture (four have the same one) and its response."""
    image = Image(b"", digest=sha256(f"picture {number // 4}"))
    request = Request(Generate((Message("user", (image, QUESTION.format(number))),), Sampling(max_tokens=16)), sample=f"bench/{number}")
    return request.key("bench"), request, Response("The answer is (B).", tokens_in=240, tokens_out=6, seconds=0.5)


def plain(stored: Path, file: Path, groups: int) -> float:
    """Milliseconds that a row of the store takes in a file that is only appended to, over so many groups."""
    query = "SELECT * FROM answers ORDER BY sample LIMIT ?"
    with sqlite3.connect(stored) as connection:
        rows = ["\t".join(row).encode() for row in connection.execute(query, (groups * MOST,))]
    connection.close()
    begun = time.perf_counter()
    with file.open("wb") as written:
        for start in range(0, len(rows), MOST):
            written.write(b"\n".join(rows[start : start + MOST]))
            written.flush()
            os.fsync(written.fileno())
    return 1000 * (time.perf_counter() - begun) / len(rows)


def resume(folder: Path, count: int = 100_000) -> dict[str, float]:
    """Seconds of the second run, and of the first."""
    (folder / "bench.py").write_text(TASK.replace("COUNT", str(count)))
    (folder / "instant.py").write_text(ENGINE)
    options = ["--model", f"plugin:{folder / 'instant.py'}:Instant", "--tasks", str(folder / "bench.py"), "--out", str(folder / "out")]
    first, second = (seconds([sys.executable, "-m", "evalkit", "run", *options]) for _ in range(2))
    (log,) = (folder / "out").glob("*/*.log")
    assert f"{count} answers from the store" in log.read_text(), "the second run asked the engine"
    return {"seconds": second, "first": first}


def seconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def main(what: str, *count: str) -> None:
    measured: Any = {"append": append, "resume": resume}[what]
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(measured(Path(place), *map(int, count))))


if __name__ == "__main__":
    main(*sys.argv[1:])
