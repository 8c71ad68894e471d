"""A run's replies as results files: each with its sample, and never all in memory."""

import json
import tracemalloc
from pathlib import Path

import pytest

import evalkit
from evalkit.errors import Refused
from evalkit.export import export

COUNT = 2000
LENGTH = 5000
TASK = """
import json
from pathlib import Path

from evalkit import Accuracy, Rule, Sample, Task, Wants

VARIANTS = ()
DATA = None


def task(variant, data):
    return Task("long", 1, samples, (Rule("strict", lambda p, s: p.answer, Accuracy()),), "accuracy", ("text",), export=export)


def samples():
    for i in reversed(range(int(Path(__file__).with_name("count.txt").read_text()))):
        yield Sample(str(i), "Well?", "Well?", (), Wants("text"), "yes")


def export(pairs, folder):
    with (folder / "results.jsonl").open("w") as file:
        for sample, row in pairs:
            file.write(json.dumps([sample.id, row["sample"], row["text"]]) + "\\n")
    return [folder / "results.jsonl"]
"""


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The folder of a run whose replies are long, and not all ASCII."""
    (tmp_path / "long.py").write_text(TASK)
    (tmp_path / "count.txt").write_text(str(COUNT))
    with (tmp_path / "replies.jsonl").open("w", encoding="utf-8") as file:
        for i in range(COUNT):
            file.write(json.dumps({"sample": str(i), "text": f"Zürich {i} " * (LENGTH // len(f"Zürich {i} "))}, ensure_ascii=False) + "\n")
    return evalkit.run(f"replay:{tmp_path / 'replies.jsonl'}", str(tmp_path / "long.py"), out=tmp_path / "out").folder


def test_each_sample_has_its_own_row_in_the_order_of_the_task_and_no_other_is_held(finished: Path) -> None:
    tracemalloc.start()
    try:
        [path] = export(finished)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [sample for sample, _, _ in rows] == [str(i) for i in reversed(range(COUNT))]
    assert all(sample == asked and text.startswith(f"Zürich {sample} ") for sample, asked, text in rows)
    assert peak < COUNT * LENGTH / 4


def test_rows_of_samples_that_the_data_no_longer_has_are_told(finished: Path) -> None:
    (finished.parents[1] / "count.txt").write_text(str(COUNT - 2))
    with pytest.raises(Refused, match=r"2 samples of .*, such as '199[89]', are no longer in the data of long"):
        export(finished)
