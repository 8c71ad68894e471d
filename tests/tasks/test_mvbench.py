"""MVBench: the twenty files with their videos, clips and frame folders, Pixel Reasoner's frames, and broken ones of each."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

import evalkit
from evalkit import task as tasks
from evalkit.data import check_published, decode, resolve
from evalkit.errors import DataError, ImageError
from evalkit.geometry import Size
from evalkit.types import Image, Sample, Still
from evalkit.video import frame_numbers

Make = Callable[..., Path]

ROW: dict[str, Any] = {
    "video": "AB1CD.mp4",
    "question": "What happened after that?",
    "candidates": ["Took a pen.", "Closed the door.", "Sat down."],
    "answer": "Closed the door.",
    "start": 0.1,
    "end": 0.6,
}
UNBOUND = {key: value for key, value in ROW.items() if key not in ("start", "end")}
FRAMES = {
    "qid": "MVBench-3",
    "question": "Which way does it move?\n(A) Left\n(B) Right\n(C) It stands.",
    "answer": ["\\boxed{B}"],
    "image": [f"images/3/{number}.png" for number in range(16)],
    "is_video": True,
}


def load(folder: Path, *rows: Any, task: str = "action_sequence") -> list[Sample]:
    (folder / "json").mkdir(exist_ok=True)
    (folder / "json" / f"{task}.json").write_text(json.dumps(rows))
    return list(tasks.find("mvbench", folder).samples())


def packed(folder: Path, *rows: dict[str, Any]) -> list[Sample]:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / "mvbench.parquet")
    return list(tasks.find("mvbench", folder).samples())


def numbers(sample: Sample) -> list[int]:
    return [image.operation.number for image in sample.images if isinstance(image.operation, Still)]


def test_a_row_becomes_a_sample_with_the_authors_wording(tmp_path: Path) -> None:
    [sample] = load(tmp_path, ROW)
    assert (sample.id, sample.target, sample.options) == ("action_sequence:0", "B", ("Took a pen.", "Closed the door.", "Sat down."))
    assert sample.prompt == (
        "Carefully watch the video and pay attention to the cause and sequence of events, the detail and movement of objects, and the "
        "action and pose of persons. Based on your observations, select the best option that accurately addresses the question.\n"
        "Question: What happened after that?\nOptions:\n(A) Took a pen.\n(B) Closed the door.\n(C) Sat down.\nOnly give the best option."
    )
    assert (sample.question, sample.tags, sample.group) == (
        "What happened after that?",
        {"action_sequence"},
        "star/Charades_v1_480/AB1CD.mp4",
    )
    assert (sample.wants.kind, sample.wants.form) == ("choice", "video")


def test_sixteen_frames_are_taken_between_start_and_end(tmp_path: Path, make_video: Make) -> None:
    path = make_video(tmp_path / "video" / "star" / "Charades_v1_480" / "AB1CD.mp4", bf="3")
    [sample] = load(tmp_path, ROW)
    assert numbers(sample) == frame_numbers(3, 18, 16)
    assert {image.source for image in sample.images} == {Image(path)}
    levels = [decode(image).getpixel((60, 44))[0] for image in sample.images]  # type: ignore[index]
    assert [round(level / 8) for level in levels] == numbers(sample)
    assert {resolve(image).size for image in sample.images} == {Size(64, 48)}


def test_without_start_and_end_they_are_taken_from_all_of_it(tmp_path: Path, make_video: Make) -> None:
    make_video(tmp_path / "video" / "ssv2_video" / "AB1CD.mp4")
    [sample] = load(tmp_path, UNBOUND, task="action_antonym")
    assert numbers(sample) == frame_numbers(0, 23, 16)


def test_the_frames_of_a_folder_are_taken_at_three_a_second(tmp_path: Path) -> None:
    place = tmp_path / "video" / "tvqa" / "frames_fps3_hq" / "AB1CD"
    place.mkdir(parents=True)
    for number in range(1, 41):
        PIL.Image.new("RGB", (20, 10), (number, 0, 0)).save(place / f"{number:05d}.jpg")
    [sample] = load(tmp_path, ROW | {"video": "AB1CD", "start": 2.0, "end": 12.4}, task="episodic_reasoning")
    assert [image.source for image in sample.images] == [place / f"{number:05d}.jpg" for number in frame_numbers(6, 37, 16)]
    [sample] = load(tmp_path, ROW | {"video": "AB1CD", "start": 0, "end": 99.0}, task="episodic_reasoning")
    assert [image.source for image in sample.images] == [place / f"{number:05d}.jpg" for number in frame_numbers(1, 40, 16)]


def test_a_broken_video_and_a_missing_one_leave_gaps_and_no_more(tmp_path: Path, make_video: Make) -> None:
    home = tmp_path / "video" / "star" / "Charades_v1_480"
    make_video(home / "good.mp4")
    whole = make_video(home / "whole.mp4").read_bytes()
    (home / "cut.mp4").write_bytes(whole[: int(0.7 * len(whole))])
    names = ["good.mp4", "cut.mp4", "none.mp4"]
    good, cut, none = load(tmp_path, *(ROW | {"video": name} for name in names))
    assert [len(sample.images) for sample in (good, cut, none)] == [16, 16, 16]
    assert resolve(good.images[0]).size == Size(64, 48)
    with pytest.raises(ImageError, match=r"cut\.mp4 is cut off"):
        resolve(cut.images[0])
    with pytest.raises(ImageError, match=r"no video at .*none\.mp4"):
        resolve(none.images[0])


def test_a_run_reads_the_videos_and_answers_are_scored_by_task(tmp_path: Path, make_video: Make) -> None:
    for number, place in enumerate(("star/Charades_v1_480", "perception/videos")):
        make_video(tmp_path / "video" / place / "AB1CD.mp4", rate=25 + number)
    load(tmp_path, ROW)
    load(tmp_path, UNBOUND, UNBOUND | {"answer": "Sat down."}, task="action_count")
    summary = evalkit.run("oracle", "mvbench", data=str(tmp_path), out=tmp_path / "out")
    rows = {row["subset"]: (row["value"], row["n"]) for row in summary.numbers if row["rule"] == "official"}
    assert rows == {"overall": (1.0, 3), "action_sequence": (1.0, 1), "action_count": (1.0, 2)}


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (ROW | {"answer": "None."}, r"expected an answer among the candidates in .*action_sequence\.json, row 0, got 'None\.'"),
        (ROW | {"candidates": []}, "expected an answer among the candidates"),
        (ROW | {"candidates": ["Closed the door."] * 9}, "expected an answer among the candidates"),
        (ROW | {"end": "late"}, r"expected int or float in column end of .*row 0, got 'late'"),
        ({key: value for key, value in ROW.items() if key != "end"}, r"expected the columns start, end in .*row 0"),
        ({"video": "a.mp4"}, "expected the columns"),
        (3, "got 3"),
    ],
)
def test_a_row_that_is_not_as_expected_is_named(tmp_path: Path, row: Any, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        load(tmp_path, row)


def test_a_file_of_no_known_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a list of rows of one of the tasks action_antonym, .*got .*cooking\.json"):
        load(tmp_path, ROW, task="cooking")


def test_the_frames_of_pixel_reasoner_are_images(tmp_path: Path) -> None:
    [sample] = packed(tmp_path, FRAMES)
    assert (sample.id, sample.target, sample.options) == ("MVBench-3", "B", ())
    assert [image.source for image in sample.images] == [tmp_path / place for place in FRAMES["image"]]
    assert (sample.prompt, sample.wants.form) == (FRAMES["question"], "video")


@pytest.mark.parametrize(
    ("question", "count"),
    [
        ("Which?\nA. Left\nB. Right", 2),
        ("Which?\n  A: Left\n  B: Right\nAnswer with a letter.", 2),
        ("Which? (A) Left (B) Right", 5),
        ("Which?\n(A) Left\n(C) Right", 5),
    ],
)
def test_a_packed_question_is_asked_as_it_is_with_the_options_that_it_holds(tmp_path: Path, question: str, count: int) -> None:
    [sample] = packed(tmp_path, FRAMES | {"question": question, "answer": "ABCDE"[count - 1]})
    assert (sample.question, sample.options, sample.target) == (question, (), "ABCDE"[count - 1])
    with pytest.raises(DataError, match=rf"the letter of one of {count} options"):
        packed(tmp_path, FRAMES | {"question": question, "answer": "ABCDEF"[count]})


@pytest.mark.parametrize("answer", ["\\boxed{D}", "left", ""])
def test_an_answer_that_is_no_letter_of_an_option_is_named(tmp_path: Path, answer: str) -> None:
    with pytest.raises(DataError, match=r"expected the letter of one of 3 options as answer in .*mvbench\.parquet, row 0"):
        packed(tmp_path, FRAMES | {"answer": answer})


def test_the_real_rows_have_the_published_counts(shared: Callable[[str], Path]) -> None:
    task = tasks.find("mvbench", shared("annotations/mvbench"))
    samples = list(tasks.checked(task.samples(), task.name))
    counts = Counter(["rows"] * len(samples)) + Counter(tag for sample in samples for tag in sample.tags)
    assert check_published("mvbench", task.published, counts) == []
    assert {len(sample.images) for sample in samples} == {16}
    assert {len(sample.options) for sample in samples} == {1, 2, 3, 4, 5}
