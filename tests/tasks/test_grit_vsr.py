"""GRIT's VSR: its rows, and its two readings of the same boxes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit import task as tasks
from evalkit.data import resolve
from evalkit.errors import DataError
from evalkit.geometry import Box, Frame, Size, from_original, to_original
from evalkit.interfaces import Rule
from evalkit.types import Evidence, Prediction, Sample, Unparsed

ROW: dict[str, Any] = {
    "question": "What is under the bench?",
    "answer": "The Hot-dog",
    "image": "000000000009.jpg",
    "width": 400,
    "height": 200,
    "bboxs": [[100.5, 50, 200, 100]],
    "dataset": "vsr",
    "split": "val",
}


def load(folder: Path, **change: Any) -> Sample:
    (folder / "vsr_val.jsonl").write_text(json.dumps(ROW | change) + "\n")
    [sample] = tasks.find("grit_vsr", folder).samples()
    return sample


def rule(name: str, metric: str) -> Rule:
    return next(rule for rule in tasks.find("grit_vsr").rules if (rule.name, rule.metric.name) == (name, metric))


def drawn(sample: Sample, frame: Frame, seen: Size | None = None) -> Prediction:
    """A reply that writes the gold boxes in whole numbers of a frame."""
    size = sample.images[0].size
    assert size
    written = [tuple(float(round(number)) for number in from_original(box, frame, size, seen)) for box in sample.regions]
    return Prediction("", "", evidence=tuple(Evidence(box, frame, to_original(box, frame, size, seen)) for box in written))


def score(name: str, prediction: Prediction, sample: Sample) -> float:
    chosen = rule(name, "grounding_iou")
    return chosen.metric.measure(chosen.parse(prediction, sample), sample)["iou"]


def test_a_row_becomes_a_sample_with_its_boxes(tmp_path: Path) -> None:
    sample = load(tmp_path)
    assert (sample.id, sample.target, sample.wants.kind, "boxes" in sample.wants) == ("0", "hot dog", "text", True)
    assert sample.regions == (Box(100.5, 50, 200, 100),)
    assert sample.images[0].size == Size(400, 200)
    assert load(tmp_path, answer="Yes").wants.kind == "yes_no"
    assert load(tmp_path, answer="Yes").target == "yes"


def test_images_are_found_beside_the_rows_or_in_a_subfolder(tmp_path: Path) -> None:
    assert load(tmp_path).images[0].source == tmp_path / ROW["image"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / ROW["image"]).touch()
    assert load(tmp_path).images[0].source == tmp_path / "photos" / ROW["image"]


def test_more_than_one_file_of_rows_is_an_error(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(ROW))
    with pytest.raises(DataError, match=r"expected vsr_val\.jsonl or one \*\.jsonl .* got a\.jsonl, b\.jsonl"):
        list(tasks.find("grit_vsr", tmp_path).samples())


@pytest.mark.parametrize("boxes", [[[1, 2, 3]], [7], "none", [["a", 1, 2, 3]]])
def test_rows_with_other_boxes_are_an_error(tmp_path: Path, boxes: Any) -> None:
    with pytest.raises(DataError, match=r"vsr_val\.jsonl, row 0|column bboxs"):
        load(tmp_path, bboxs=boxes)


def test_pixels_of_the_resized_image_are_converted_only_by_rescaled(tmp_path: Path) -> None:
    sample = load(tmp_path, bboxs=[[100, 50, 200, 100]])
    prediction = drawn(sample, Frame.SEEN, Size(800, 400))
    assert score("rescaled", prediction, sample) == 1
    assert score("official", prediction, sample) == 0
    assert score("official", drawn(sample, Frame.SEEN, Size(400, 200)), sample) == 1


def test_thousandths_are_cut_to_whole_pixels_by_official(tmp_path: Path) -> None:
    sample = load(tmp_path)
    read = rule("official", "grounding_iou").parse(
        Prediction("", "", evidence=(Evidence((251, 251, 500, 500), Frame.THOUSAND, None),)), sample
    )
    assert read == [Box(100, 50, 200, 100)]


def test_a_reply_without_boxes_is_unparsed_and_scores_zero(tmp_path: Path) -> None:
    sample = load(tmp_path)
    for name, metric in (("official", "grounding_iou"), ("rescaled", "grounding_iou"), ("rescaled", "box_match")):
        chosen = rule(name, metric)
        assert chosen.reads == "boxes"
        assert chosen.parse(Prediction("hot dog", "hot dog"), sample) == Unparsed("no box")
    assert rule("official", "grounding_iou").metric.measure(None, sample) == {"iou": 0.0}


def test_boxes_in_an_unknown_frame_are_unparsed_not_dropped(tmp_path: Path) -> None:
    sample = load(tmp_path)
    known, unknown = Evidence((1, 2, 3, 4), Frame.ORIGINAL, Box(1, 2, 3, 4)), Evidence((1, 2, 3, 4), None, None)
    for evidence in ((unknown,), (known, unknown)):
        read = rule("rescaled", "grounding_iou").parse(Prediction("", "", evidence=evidence), sample)
        assert read == Unparsed("boxes in an unknown frame")


def test_the_real_rows_and_photographs_agree(shared: Callable[[str], Path]) -> None:
    task = tasks.find("grit_vsr", shared("real"))
    samples = list(tasks.checked(task.samples(), task.name))
    assert len(samples) == 10
    for sample in samples:
        [image] = sample.images
        assert resolve(image).size == image.size
        assert score("rescaled", drawn(sample, Frame.THOUSAND), sample) > 0.95
