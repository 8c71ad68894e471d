"""The rows of a damaged store are read from its pages: all that are as they were written, and nothing else."""

import asyncio
import random
from contextlib import closing
from pathlib import Path

import pytest

from evalkit.geometry import Size
from evalkit.pages import rows
from evalkit.store import Store
from evalkit.types import Generate, Image, Message, Request, Response

SAMPLES = 40


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A store with rows of every table, long and short."""
    path = tmp_path / "a.sqlite"

    async def filled() -> None:
        await asyncio.gather(*(store.put(f"key {i}", _request(i), Response(f"{i} " * (20 * i * i))) for i in range(SAMPLES)))

    with closing(Store(path)) as store:
        for number in range(SAMPLES):
            store.note(f"t/{number}", [Image(tmp_path / "x.png", size=Size(30 + number, 400_000), digest=f"digest {number}" * 20)])
        asyncio.run(filled())
    return path


def _request(number: int) -> Request:
    return Request(Generate((Message("user", (f"a long text {number} " * 400,)),)), sample=f"t/{number}")


def kinds(found: set[tuple[object, ...]]) -> list[int]:
    return [sum(len(row) == columns for row in found) for columns in (5, 2, 6)]


def test_every_row_is_found_with_what_overflows_its_page(file: Path) -> None:
    found = set(rows([file]))
    assert kinds(found) == [SAMPLES] * 3
    assert max(len(row[3]) for row in found if len(row) == 5) > 5 * 4096
    assert rows([file.with_name("nothing")]) and not set(rows([file.with_name("nothing")]))


def test_without_its_first_page_and_its_trees_all_other_rows_are_found(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[:4096] = bytes(4096)
    for page in range(0, len(data), 4096):
        if data[page] in (2, 5):
            data[page] = 77
    file.write_bytes(data)
    assert kinds(set(rows([file])))[:2] == [SAMPLES] * 2


def test_nothing_is_found_but_what_was_written_however_the_file_is_spoiled(file: Path) -> None:
    written, whole, rng = set(rows([file])), file.read_bytes(), random.Random(0)
    for _ in range(20):
        data = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.3 else whole)
        for _ in range(rng.randrange(200)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        file.write_bytes(data)
        assert set(rows([file])) <= written
