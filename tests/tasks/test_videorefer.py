"""VideoRefer-Bench: which frames are shown, whose masks are given, the wording, how letters and the judge's scores are read."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import evalkit
from evalkit import encode_mask
from evalkit import task as tasks
from evalkit.errors import DataError
from evalkit.geometry import Mask, Size
from evalkit.types import Generate, Prediction, Request, Response, Sample, Unparsed

SHARED = tasks.sibling(str(Path(tasks.homes()[0]) / "videorefer.py"), "_videorefer")
FILE = tasks.module("videorefer")
SCORES = (
    "1. Subject Correspondence: {}\nExplanation: the same.\n2. Appearance Description: {}\n3. Temporal Description: {}\n"
    "4. Hallucination Detection: {}"
)


def mask(x1: int, y1: int, x2: int, y2: int, size: tuple[int, int] = (16, 12)) -> dict[str, Any]:
    made = np.zeros(size[::-1], dtype=bool)
    made[y1:y2, x1:x2] = True
    return {"size": [size[1], size[0]], "counts": encode_mask(made).counts}


def things(*objects: dict[int, Any]) -> list[dict[str, Any]]:
    return [{str(frame): {"segmentation": held} for frame, held in thing.items()} for thing in objects]


Q: dict[str, Any] = {
    "id": 0,
    "video": "DAVIS/JPEGImages/480p/kites",
    "Question": "Who is behind <object3><region>, and does <object3> see it? ",
    "type": "Relationship Questions",
    "options": ["(A) <object3>", "(B) A dog", "(C) Nobody"],
    "Answer": "(B) A dog",
    "frame_idx": "4",
    "annotation": things({0: mask(2, 2, 8, 8), 4: mask(3, 2, 9, 7), 6: None}),
}
D: dict[str, Any] = {
    "id": 0,
    "video": "rL_0:01:09.633.mp4",
    "caption": "A cub.",
    "frame_idx": "36",
    "annotation": things({2: mask(2, 2, 8, 8), 36: mask(1, 1, 4, 4)}),
}


def load(folder: Path, *changes: dict[str, Any], variant: str = "q") -> list[Sample]:
    letter, row = variant[0].upper(), Q if variant.startswith("q") else D
    (folder / f"VideoRefer-Bench-{letter}.json").write_text(json.dumps([row | change for change in changes]))
    task = tasks.find(f"videorefer:{variant}", folder)
    return list(tasks.checked(task.samples(), task.name))


def areas(sample: Sample) -> list[int | None]:
    return [int(evalkit.decode_mask(given).sum()) if isinstance(given, Mask) else given for given in sample.given]


# ---------------------------------------------------------------- what is asked


def test_a_question_is_worded_as_unipixel_words_it(tmp_path: Path) -> None:
    [sample] = load(tmp_path, {})
    assert sample.prompt == (
        "Here is a video with 3 frames denoted as <1> to <3>. The highlighted regions are as follows:\n"
        "[3]: <1>-<2> <|mem|>\n"
        "Who is behind [3], and does [3] see it?\nOptions:\n(A) [3]\n(B) A dog\n(C) Nobody\nPlease only give the best option."
    )
    assert (sample.id, sample.target, sample.options, sample.group) == ("0", "B", ("[3]", "A dog", "Nobody"), "DAVIS/JPEGImages/480p/kites")
    assert (sample.question, sample.tags, sample.wants.form) == (
        "Who is behind [3], and does [3] see it?",
        {"relationship_questions"},
        "video",
    )


def test_one_frame_s_masks_are_given_or_those_of_all(tmp_path: Path) -> None:
    two = {
        "Question": "<object1><region> or <object0><region>?",
        "annotation": things({0: mask(0, 0, 4, 4), 4: mask(0, 0, 5, 5), 9: mask(0, 0, 2, 2)}, {4: mask(8, 4, 12, 8), 9: None}),
    }
    [single], [multi] = load(tmp_path, two), load(tmp_path, two, variant="q-multi")
    assert areas(single) == [None, 25, None, None, 16, None]
    assert areas(multi) == [16, 25, 4, None, 16, None]
    assert "\n[1]: <1>-<2> <|mem|>\n[0]: <1>-<2> <|mem|>\n" in single.prompt
    assert "\n[1]: <1>-<2> <|mem|> <3>-<4> <|mem|>\n[0]: <1>-<2> <|mem|>\n" in multi.prompt
    assert {given.size for given in multi.given if isinstance(given, Mask)} == {Size(16, 12)}


def test_a_description_is_asked_for_as_the_authors_do(tmp_path: Path) -> None:
    [sample] = load(tmp_path, {}, variant="d")
    assert sample.prompt.endswith("[0]: <1>-<2> <|mem|>\nPlease give a detailed description of the highlighted object [0] in the video.")
    assert (sample.target, sample.wants.kind, areas(sample)) == ("A cub.", "text", [None, 9])


@pytest.mark.parametrize(
    ("count", "keep", "expected"),
    [
        (16, 3, list(range(16))),
        (31, 0, list(range(0, 31, 2))),
        (31, 5, [0, 2, 5, *range(6, 31, 2)]),  # 4 and 6 are as near: the first goes
        (32, 31, [0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 31]),
        (1, 0, [0]),
    ],
)
def test_sixteen_of_the_annotated_frames_are_shown_and_always_the_one_that_is_marked(count: int, keep: int, expected: list[int]) -> None:
    assert SHARED.sampled(count, keep) == expected


@pytest.mark.parametrize("count", range(17, 80))
def test_frames_are_spread_as_numpy_spreads_them_for_the_authors(count: int) -> None:
    theirs = np.arange(0, count, (count - 1) / 15)[:16].round().astype(int).tolist()
    assert SHARED.sampled(count, 0) == theirs


# ---------------------------------------------------------------- frames


@pytest.mark.parametrize("above", ["", "videos"])
def test_stills_are_counted_in_the_order_of_their_numbers(tmp_path: Path, above: str) -> None:
    home = tmp_path / above / Q["video"]
    home.mkdir(parents=True)
    for number in (0, 5, 10, 15, 20, 25, 30):
        Image.new("L", (16, 12), number).save(home / f"frame_{number}.jpg")
    [sample] = load(tmp_path, {})
    assert [image.name for image in sample.images] == [str(home / f"frame_{number}.jpg") for number in (0, 20, 30)]


def test_frames_that_are_not_there_are_looked_for_where_davis_has_them(tmp_path: Path) -> None:
    [sample] = load(tmp_path, {})
    assert [Path(image.name).name for image in sample.images] == ["00000.jpg", "00004.jpg", "00006.jpg"]


def test_a_folder_with_too_few_frames_is_named(tmp_path: Path) -> None:
    home = tmp_path / Q["video"]
    home.mkdir(parents=True)
    for number in range(5):
        Image.new("L", (16, 12)).save(home / f"{number:05d}.jpg")
    with pytest.raises(DataError, match=r"expected frame 6 in .*kites, annotated in .*row 0, got 5 frames"):
        load(tmp_path, {})


def test_frames_of_a_video_are_those_with_the_annotated_numbers(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    make_video(tmp_path / "Panda-70M-part" / D["video"], count=12)
    [sample] = load(tmp_path, {"frame_idx": 9, "annotation": things({2: mask(2, 2, 8, 8), 9: None})}, variant="d")
    greys = [evalkit.data.decode(image).getpixel((60, 40))[0] for image in sample.images]
    assert np.abs(np.array(greys) - [16, 72]).max() <= 3


# ---------------------------------------------------------------- bad rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_idx": "5"}, "expected frame_idx among the 3 frames annotated in .*row 1, got '5'"),
        ({"annotation": []}, "expected frame_idx among the 0 frames"),
        ({"annotation": things({4: None})}, "expected run lengths with the size"),
        ({"annotation": things({4: {"size": [12, 16], "counts": "?!"}})}, "no compressed run-length encoding"),
        ({"annotation": things({4: mask(0, 0, 2, 2)}, {4: mask(0, 0, 2, 2, (8, 8))}), "Question": "<object0><region> <object1><region>"},
         "masks of one size .*got a mask of 8 x 8 pixels for an image of 16 x 12"),
        ({"annotation": [{"x": {"segmentation": None}}]}, "by the number of their frame"),
        ({"annotation": [{"4": {}}]}, "expected the columns segmentation in annotation of .*row 1, frame 4"),
        ({"Question": "Who?"}, "expected 1 times <region> in the question of .*row 1"),
        ({"Answer": "(D) A cat"}, r"expected options \(A\), \(B\) and so on, and one of them as Answer, in .*row 1"),
        ({"options": ["(A) x", "(C) y"]}, r"expected options \(A\), \(B\) and so on"),
        ({"options": [1, 2]}, "expected options as texts"),
        ({"options": "A"}, "expected list in column options"),
    ],
)  # fmt: skip
def test_a_row_that_is_not_as_expected_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, {}, change)


# ---------------------------------------------------------------- the judge


def judged(reply: str | None, text: str = "A small lion.") -> tuple[Prediction, list[Request]]:
    """The prediction with the judge's verdict, None where it replied nothing, and what it was asked."""
    sample = Sample("0", "", "", (), evalkit.Wants("text"), "A cub.")
    grading, asked = FILE.Judge().grade(sample, Prediction(text, text)), []
    try:
        asked.append(next(grading))
        grading.send(Response(missing=True) if reply is None else Response(reply))
    except StopIteration as end:
        return Prediction(text, text, verdicts={"videorefer": end.value}), asked
    raise AssertionError("the judge was asked twice")


def measured(rule: str, prediction: Prediction) -> Any:
    rules = {rule.name: rule for rule in reversed(tasks.find("videorefer:d").rules)}
    value = rules[rule].parse(prediction, None)
    return rules[rule].metric.measure(None if isinstance(value, Unparsed) else value, None)


def test_the_judge_is_told_the_authors_words_and_both_answers() -> None:
    _, [asked] = judged(SCORES.format(5, 4, 3, 2))
    assert isinstance(asked.kind, Generate)
    system, user = asked.kind.messages
    assert (system.role, user.content) == ("system", ("##Correct answer: A cub.\n##Predicted answer: A small lion.\n",))
    assert len(system.content[0]) == 1492, "the length of the authors' file"
    assert str(system.content[0]).endswith(r"4. Hallucination Detection: 3\nExplanation: xxx")
    assert (asked.to, asked.kind.sampling.temperature, asked.kind.sampling.top_p, asked.kind.sampling.max_tokens) == (
        "judge",
        0.7,
        0.95,
        800,
    )


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (SCORES.format(5, 4, 3, 2), [5, 4, 3, 2]),
        (SCORES.format("4.5", 4, 3, 0), [4.5, 4, 3, 0]),
        (SCORES.format("5/5", 4, 3, 2), [5, 4, 3, 2]),
        (SCORES.format("**5**", 4, 3, 2), [None, 4, 3, 2]),
        ("1. **Subject Correspondence**: 5\n2. Appearance Description: 4", [None, 4, None, None]),
        (SCORES.format("1.2.3", 4, 3, 2), [None] * 4),
        ("Five.", [None] * 4),
        ("", [None] * 4),
    ],
)
def test_scores_are_read_as_the_authors_read_them(reply: str, expected: list[float | None]) -> None:
    found = FILE.scores_of(reply)
    assert [found.get(name) for name in FILE.NAMES] == expected


def test_official_leaves_out_what_the_judge_did_not_score_and_strict_counts_it_zero() -> None:
    partial, _ = judged("2. Appearance Description: 4")
    official, strict = measured("official", partial), measured("strict", partial)
    assert [official[f"{name}_n"] for name in FILE.NAMES] == [0, 1, 0, 0]
    assert (official["appearance_description"], strict["appearance_description"]) == (4, 0)
    assert [strict[f"{name}_n"] for name in FILE.NAMES] == [1] * 4
    above, _ = judged(SCORES.format(9, 4, 3, 2))
    assert (measured("official", above)["subject_correspondence"], measured("strict", above)["subject_correspondence"]) == (9, 0)


def test_an_empty_reply_is_not_judged_and_counts_zero_under_both() -> None:
    silent, asked = judged(SCORES.format(5, 5, 5, 5), text="")
    assert asked == []
    for rule in ("official", "strict"):
        record = measured(rule, silent)
        assert [record[name] for name in FILE.NAMES] == [0] * 4
        assert [record[f"{name}_n"] for name in FILE.NAMES] == [1] * 4


def test_the_score_is_the_mean_of_the_four_means(tmp_path: Path) -> None:
    load(tmp_path, {}, {"video": "b.mp4"}, {"video": "c.mp4"}, variant="d")
    replies = [SCORES.format(5, 4, 3, 2), "1. Subject Correspondence: 2", "no idea"]
    rows = [{"sample": str(number), "text": "A lion."} for number in range(3)]
    rows += [{"sample": str(number), "text": reply, "role": "judge"} for number, reply in enumerate(replies)]
    (tmp_path / "replies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = evalkit.run(f"replay:{tmp_path / 'replies.jsonl'}", "videorefer:d", data=str(tmp_path), out=tmp_path / "out")
    got = {(row["rule"], row["metric"]): row["value"] for row in summary.numbers}
    assert [got["official", name] for name in FILE.NAMES] == [3.5, 4, 3, 2]
    assert got["official", "judge_score"] == pytest.approx(12.5 / 4)
    assert got["strict", "judge_score"] == pytest.approx(14 / 4 / 3)
    assert got["official", "judge_unparsed"] == pytest.approx(2 / 3)


@given(
    st.lists(st.sampled_from(["1", "12", ".", ". ", ":", ": ", "\n", " ", "a", "3.5", "Temporal Description"]), max_size=24).map("".join)
)
def test_scores_are_found_as_the_authors_expression_finds_them(reply: str) -> None:
    assert list(FILE._scored(reply)) == re.findall(r"\d+\.\s+(.*?):\s+([\d.]+)", reply)


def test_a_score_that_no_number_holds_is_none() -> None:
    assert FILE.scores_of("1. Subject Correspondence: " + "9" * 400) == {}
