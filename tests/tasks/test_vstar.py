"""V*: its rows, its prompts, and the published runs to the digit."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit import task as tasks
from evalkit.data import check_published
from evalkit.errors import DataError
from evalkit.geometry import Box
from evalkit.types import Prediction, Sample

ROW = {
    "image": "relative_position/sa_1.jpg",
    "text": "Is the cup\nleft or right of the door?\n(A) left\n(B) right\nAnswer with the option's letter from the given choices directly.",
    "category": "relative_position",
    "question_id": "7",
    "label": "B",
}


def load(folder: Path, row: dict[str, object] = ROW) -> list[Sample]:
    (folder / "test_questions.jsonl").write_text(json.dumps(row) + "\n")
    return list(tasks.find("vstar", folder).samples())


def test_a_row_becomes_a_sample_with_the_authors_wording(tmp_path: Path) -> None:
    [sample] = load(tmp_path)
    assert (sample.id, sample.target, sample.options) == ("7", "B", ("left", "right"))
    assert sample.question == "Is the cup\nleft or right of the door?"
    assert sample.prompt == ROW["text"]
    assert sample.images[0].source == tmp_path / "relative_position" / "sa_1.jpg"
    assert (sample.tags, sample.group, sample.regions) == ({"relative_position"}, "relative_position/sa_1.jpg", ())


def test_target_boxes_are_read_from_the_file_beside_the_image(tmp_path: Path) -> None:
    (tmp_path / "relative_position").mkdir()
    (tmp_path / "relative_position" / "sa_1.json").write_text('{"bbox": [[10, 20, 30, 40], [1, 2, 3, 4]]}')
    assert load(tmp_path)[0].regions == (Box(10, 20, 40, 60), Box(1, 2, 4, 6))


def test_the_right_sentence_takes_the_place_of_its_letter(tmp_path: Path) -> None:
    (tmp_path / "relative_position").mkdir()
    beside = tmp_path / "relative_position" / "sa_1.json"
    beside.write_text('{"bbox": [[10, 20, 30, 40]], "options": ["The cup is right of it.", "The cup is left of it."]}')
    assert load(tmp_path)[0].statements == ("The cup is left of it.", "The cup is right of it.")
    beside.write_text('{"bbox": [[10, 20, 30, 40]], "options": ["The cup is right of it."]}')
    with pytest.raises(DataError, match=r"expected 2 option sentences in .*sa_1\.json"):
        load(tmp_path)


@pytest.mark.parametrize("content", ['{"bbox": [[1, 2]]}', '{"bbox": 3}', "[1, 2]", '{"bbox": [["a", 1, 2, 3]]}', "{}"])
def test_target_boxes_that_are_none_are_named_with_file_and_row(tmp_path: Path, content: str) -> None:
    (tmp_path / "relative_position").mkdir()
    (tmp_path / "relative_position" / "sa_1.json").write_text(content)
    with pytest.raises(DataError, match=r"sa_1\.json of .*test_questions\.jsonl, row 1"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"text": "What is it?"}, "expected options"),
        ({"text": "What?\n(A) one\n(C) two\nAnswer"}, "expected options"),
        ({"label": "C"}, "expected a label among 2 options in .*row 1, got 'C'"),
        ({"label": ""}, "expected a label"),
        ({"label": 1}, "expected str in column label"),
    ],
)
def test_a_row_that_is_not_as_expected_is_named(tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        load(tmp_path, ROW | change)


def test_the_real_rows_have_the_published_counts(shared: Callable[[str], Path]) -> None:
    task = tasks.find("vstar", shared("annotations/vstar"))
    samples = list(tasks.checked(task.samples(), task.name))
    counts = (
        Counter(["rows"] * len(samples)) + Counter(tag for s in samples for tag in s.tags) + Counter(f"answer={s.target}" for s in samples)
    )
    assert check_published("vstar", task.published, counts) == []
    assert Counter(len(sample.options) for sample in samples) == {4: 107, 2: 84}


@pytest.mark.parametrize(
    ("run", "attributes", "positions"),
    [
        ("gpt55_original", 102, 64),
        ("qwen36plus_original", 102, 71),
        ("kimi_original", 93, 63),
        ("opus47_original", 89, 61),
        ("qwen3vl8b_original", 77, 47),
        ("qwen3vl8b_cot_orig", 87, 64),
        ("qwen3vl32b_cot_orig", 100, 63),
    ],
)
def test_the_published_runs_score_as_published_row_by_row(shared: Callable[[str], Path], run: str, attributes: int, positions: int) -> None:
    task = tasks.find("vstar", shared("annotations/vstar"))
    samples = {sample.id: sample for sample in task.samples()}
    rule = task.rules[0]
    rows = [json.loads(line) for line in (shared("replay/vstar") / f"{run}.jsonl").read_text(encoding="utf-8").splitlines()]
    right = {row["sample"]: rule.parse(Prediction(row["text"], row["text"]), samples[row["sample"]]) == row["label"] for row in rows}
    assert rule.name == "official"
    assert right == {row["sample"]: row["official_correct"] for row in rows}
    assert right.keys() == samples.keys()
    assert Counter(tag for sample, correct in right.items() if correct for tag in samples[sample].tags) == {
        "direct_attributes": attributes,
        "relative_position": positions,
    }
