"""GRIT's six evaluation sets: their rows, the readings of the same boxes, the judge's place, and the authors' saved outputs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evalkit
from evalkit import protocols, runner
from evalkit import task as tasks
from evalkit.data import resolve
from evalkit.engines.encoding import smart_resize
from evalkit.engines.scripted import Scripted
from evalkit.errors import DataError, Gap, Refused, UserError
from evalkit.geometry import Box, Frame, Size, from_original, iou, to_original
from evalkit.interfaces import Rule
from evalkit.scoring import Tally
from evalkit.types import Evidence, ModelInfo, Prediction, Response, Sample, Unparsed

STEMS = {
    "grit_vsr": ("vsr_val", 288),
    "grit_tallyqa": ("tallyqa_val", 491),
    "grit_gqa": ("gqa_val", 509),
    "grit_mme": ("mme_val", 240),
    "grit_mathvista": ("mathvista_mini_val", 1000),
    "grit_ovdeval": ("ovd_position_val", 2146),
}
JUDGED = [name for name in STEMS if name != "grit_ovdeval"]
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
THINK = "<think> Here it is: {} </think> <rethink> So. </rethink> <answer> {}"


def write(folder: Path, name: str, *changes: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    rows = [ROW | {"dataset": STEMS[name][0].removesuffix("_val")} | change for change in changes]
    (folder / f"{STEMS[name][0]}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def load(folder: Path, name: str = "grit_vsr", **change: Any) -> Sample:
    [sample] = tasks.find(name, write(folder, name, change)).samples()
    return sample


def rule(name: str, metric: str, task: str = "grit_vsr") -> Rule:
    return next(rule for rule in tasks.find(task).rules if (rule.name, rule.metric.name) == (name, metric))


def drawn(sample: Sample, frame: Frame, seen: Size | None = None) -> Prediction:
    """A reply that writes the gold boxes in whole numbers of a frame."""
    size = sample.images[0].size
    assert size
    written = [tuple(float(round(number)) for number in from_original(box, frame, size, seen)) for box in sample.regions]
    return Prediction("", "", evidence=tuple(Evidence(box, frame, to_original(box, frame, size, seen)) for box in written))


def score(name: str, prediction: Prediction, sample: Sample) -> float:
    chosen = rule(name, "grounding_iou")
    return chosen.metric.measure(chosen.parse(prediction, sample), sample)["iou"]  # type: ignore[return-value]


def numbers(task: str, data: Path, model: Scripted, judge: Scripted | None = None, protocol: str = "grit") -> dict[tuple[str, str], Any]:
    """The rows for the whole of a set by metric and rule, answered by scripted engines."""
    made = tasks.find(task, data)
    tally = Tally(made)
    jobs = [runner.Job(made.name, made.samples(), protocols.find(protocol), graders=made.graders if judge else ())]
    roles = {"model": model} | ({"judge": judge} if judge else {})

    def ended(outcome: runner.Outcome) -> None:
        assert outcome.prediction is not None, outcome.gap
        tally.add(outcome.sample, outcome.prediction)

    runner.run(jobs, roles, lambda *_: None, ended)
    return {(row["metric"], row["rule"]): row for row in tally.numbers() if row["subset"] == "overall"}


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize("name", STEMS)
def test_a_set_has_its_published_rows_and_ids_that_are_their_numbers(name: str, tmp_path: Path) -> None:
    answer = "[1, 2, 30, 40]" if name == "grit_ovdeval" else "2"
    made = tasks.find(name, write(tmp_path, name, {"answer": answer}, {"answer": answer}))
    assert made.published == {"rows": STEMS[name][1]}
    assert [sample.id for sample in made.samples()] == ["0", "1"]


def test_a_row_becomes_a_sample_with_its_boxes(tmp_path: Path) -> None:
    sample = load(tmp_path)
    assert (sample.id, sample.target, sample.wants.kind, "boxes" in sample.wants) == ("0", "hot dog", "text", True)
    assert sample.regions == (Box(100.5, 50, 200, 100),)
    assert sample.images[0].size == Size(400, 200)
    assert load(tmp_path, answer="Yes").wants.kind == "yes_no"
    assert load(tmp_path, answer="Yes").target == "yes"


@pytest.mark.parametrize(
    ("name", "answer", "kind", "target"),
    [
        ("grit_tallyqa", "3", "count", 3),
        ("grit_tallyqa", 0, "count", 0),
        ("grit_mathvista", "3", "number", 3),
        ("grit_mathvista", "-0.5", "number", -0.5),
        ("grit_mathvista", "(B)", "text", "b"),
        ("grit_mathvista", "No", "yes_no", "no"),
        ("grit_mme", "Yes", "yes_no", "yes"),
        ("grit_gqa", "3", "text", "3"),
        ("grit_ovdeval", "[1, 2, 30, 40]", "boxes", (Box(1, 2, 30, 40),)),
    ],
)
def test_the_kind_of_an_answer_is_its_sets(name: str, answer: Any, kind: str, target: Any, tmp_path: Path) -> None:
    sample = load(tmp_path, name, answer=answer)
    assert (sample.wants.kind, sample.target) == (kind, target)


def test_rows_of_another_data_set_are_a_subset(tmp_path: Path) -> None:
    assert load(tmp_path, "grit_mme", dataset="mme_count", answer="No").tags == {"mme_count"}
    assert load(tmp_path, "grit_vsr").tags == frozenset()


def test_images_are_found_beside_the_rows_or_in_a_subfolder_the_data_sets_own_first(tmp_path: Path) -> None:
    assert load(tmp_path).images[0].source == tmp_path / ROW["image"]
    for place in ("photos", "vsr"):
        (tmp_path / place).mkdir()
        (tmp_path / place / ROW["image"]).touch()
        assert load(tmp_path).images[0].source == tmp_path / place / ROW["image"]


def test_more_than_one_file_of_rows_is_an_error(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(ROW))
    with pytest.raises(DataError, match=r"expected vsr_val\.jsonl or one \*\.jsonl .* got a\.jsonl, b\.jsonl"):
        list(tasks.find("grit_vsr", tmp_path).samples())


@pytest.mark.parametrize("boxes", [[[1, 2, 3]], [7], "none", [["a", 1, 2, 3]]])
def test_rows_with_other_boxes_are_an_error(tmp_path: Path, boxes: Any) -> None:
    with pytest.raises(DataError, match=r"vsr_val\.jsonl, row 0|column bboxs"):
        load(tmp_path, bboxs=boxes)


def test_a_located_answer_without_a_box_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a box such as \[1, 2, 3, 4\] as answer in .*row 0, got 'on the left'"):
        load(tmp_path, "grit_ovdeval", answer="on the left")


def test_the_real_rows_and_photographs_agree(shared: Callable[[str], Path]) -> None:
    task = tasks.find("grit_vsr", shared("real"))
    samples = list(tasks.checked(task.samples(), task.name))
    assert len(samples) == 10
    for sample in samples:
        [image] = sample.images
        assert resolve(image).size == image.size
        assert score("rescaled", drawn(sample, Frame.THOUSAND), sample) > 0.95


# ---------------------------------------------------------------- boxes


def test_pixels_of_the_resized_image_are_converted_only_by_rescaled(tmp_path: Path) -> None:
    sample = load(tmp_path, bboxs=[[100, 50, 200, 100]])
    prediction = drawn(sample, Frame.SEEN, Size(800, 400))
    assert score("rescaled", prediction, sample) == 1
    assert score("official", prediction, sample) == 0
    assert score("official", drawn(sample, Frame.SEEN, Size(400, 200)), sample) == 1


@pytest.mark.parametrize(("name", "rows", "official", "rescaled"), [("vsr", 404, 0.461, 0.992), ("gqa", 978, 0.766, 0.984)])
def test_perfect_boxes_of_the_resized_image_score_what_the_authors_script_leaves_of_them(
    name: str, rows: int, official: float, rescaled: float, shared: Callable[[str], Path]
) -> None:
    """On the parent sets, by whole numbers of pixels of the images as the authors' trainer resizes them."""
    found = []
    for line in (shared("annotations/viscot") / f"{name}_det.jsonl").read_text().splitlines():
        row = json.loads(line)
        size, gold = Size(row["width"], row["height"]), (Box(*row["bbox"]),)
        sample = Sample("0", "", "", (evalkit.Image(b"", size=size),), evalkit.Wants("boxes"), gold, regions=gold)
        prediction = drawn(sample, Frame.SEEN, smart_resize(size, 28, 3136, 200704))
        found.append([score(rule, prediction, sample) for rule in ("official", "rescaled")])
    assert len(found) == rows
    means = [sum(column) / rows for column in zip(*found, strict=True)]
    assert means == [pytest.approx(official, abs=5e-4), pytest.approx(rescaled, abs=5e-4)]


def test_thousandths_are_cut_to_whole_pixels_by_official_but_not_before_a_located_answer_is_scored(tmp_path: Path) -> None:
    prediction = Prediction("", "", evidence=(Evidence((251, 251, 500, 500), Frame.THOUSAND, None),))
    assert rule("official", "grounding_iou").parse(prediction, load(tmp_path)) == [Box(100, 50, 200, 100)]
    located = rule("official", "threshold_score", "grit_ovdeval")
    assert located.parse(prediction, load(tmp_path, "grit_ovdeval", answer="[1, 2, 3, 4]")) == [Box(251, 251, 500, 500)]


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


def test_a_union_may_cover_the_gold_box_and_a_spray_of_192_boxes_is_flagged(tmp_path: Path) -> None:
    """A grid over the whole image: as one region it scores the gold box's share of it, box by box next to nothing."""
    data = write(tmp_path, "grit_vsr", {"width": 640, "height": 480, "bboxs": [[0, 0, 640, 240]]})
    grid = [[40 * x, 40 * y, 40 * x + 40, 40 * y + 40] for x in range(16) for y in range(12)]
    sprayed = numbers("grit_vsr:unjudged", data, Scripted(lambda _: THINK.format(grid, "hot dog")))
    assert len(grid) == 192
    assert sprayed["grounding_iou", "official"]["value"] == pytest.approx(0.5)
    assert sprayed["box_f1", "rescaled"]["value"] < 0.02
    assert sprayed["sprayed", "official"]["value"] == 1
    honest = numbers("grit_vsr:unjudged", data, Scripted(lambda _: THINK.format([[0, 0, 640, 240]] * 16, "hot dog")))
    assert honest["sprayed", "official"]["value"] == 0


def test_the_note_beside_the_numbers_says_what_a_spray_is() -> None:
    [note] = tasks.find("grit_vsr").notes
    assert "more than 16 boxes" in note


SIDES = st.integers(60, 4000)
PLACES = st.tuples(st.integers(0, 400), st.integers(0, 400), st.integers(600, 1000), st.integers(600, 1000))


@settings(deadline=None)
@given(width=SIDES, height=SIDES, places=PLACES, declared=st.sampled_from(list(Frame)), written=st.sampled_from(list(Frame)))
def test_a_perfect_box_counts_in_the_declared_frame_and_in_another_what_it_deserves(
    width: int, height: int, places: tuple[int, int, int, int], declared: Frame, written: Frame
) -> None:
    """On images of any size, as whole numbers where the frame has them; GRIT's pattern finds no fractions, so `direct` reads those.

    Rounded by half a unit at most, a box of 100 units each way keeps an IoU of 99.5² / (2 * 100² - 99.5²), 0.980.
    """
    size = Size(width, height)
    seen = smart_resize(size, 28, 3136, 200704)
    gold = Box(*(float(round(part * side / 1000)) for part, side in zip(places, (*size, *size), strict=True)))
    numbers = from_original(gold, written, size, seen)
    text = json.dumps([round(number, 4) if written is Frame.UNIT else round(number) for number in numbers])
    sample = Sample("0", "Where?", "Where?", (evalkit.Image(b"", size=size),), evalkit.Wants("boxes"), (gold,), regions=(gold,))
    model = ModelInfo("m", "m", declared)
    conversation = protocols.find("direct" if written is Frame.UNIT else "grit").converse(sample, model)
    next(conversation)
    with pytest.raises(StopIteration) as end:
        conversation.send(Response(text, seen=(seen,)))
    read = rule("rescaled", "grounding_iou").parse(end.value.value, sample)
    found = rule("rescaled", "grounding_iou").metric.measure(read, sample)["iou"]
    deserved = iou(to_original(json.loads(text), declared, size, seen), gold)
    assert found == pytest.approx(deserved, abs=1e-9)
    x1, y1, x2, y2 = json.loads(text)
    if declared is written and (written is Frame.UNIT or min(x2 - x1, y2 - y1) >= 100):
        assert found > 0.98


# ---------------------------------------------------------------- answers and the judge


@pytest.mark.parametrize(
    ("text", "row", "reward"),
    [
        ("<answer> yes", "yes", 0.1),
        ("<answer> it is 4", "4", 0.0333),
        ("yes", "yes", 0.0),
        ("<answer>", "yes", 0.0),
        ("<answer> no", "yes", 0.0),
        ("<answer> the hot dog!", "The Hot-dog", 0.1),
        ("<answer> hot dog", "The Hot-dog", 0.0607),
        ("<answer> 1.5", "1.50", 0.05),
    ],
)
def test_a_tenth_of_bleu_1_is_the_authors_reward_against_the_answer_as_the_row_has_it(
    text: str, row: str, reward: float, tmp_path: Path
) -> None:
    """The first three are the authors' code, run. By hand: two of three words said, exp(1 - 3/2) = 0.607; one of two right, 0.5."""
    data = write(tmp_path, "grit_mathvista", {"answer": row})
    found = numbers("grit_mathvista:unjudged", data, Scripted(lambda _: text))
    assert round(0.1 * found["bleu_1", "official"]["value"], 4) == reward


def test_a_located_answer_is_no_words() -> None:
    assert "bleu_1" not in {rule.metric.name for rule in tasks.find("grit_ovdeval").rules}


@pytest.mark.parametrize("name", JUDGED)
def test_a_set_without_a_judge_is_refused_with_the_two_ways_out(name: str, tmp_path: Path) -> None:
    data = write(tmp_path / "data", name, {"answer": "2"})
    with pytest.raises(Refused, match=rf"task '{name}' needs a judge for 'grit': name one with --judge MODEL, or choose a variant without"):
        evalkit.run("oracle", name, data=str(data), out=tmp_path / "out")
    made = tasks.find(f"{name}:unjudged")
    assert made.graders == ()
    assert {rule.metric.name for rule in made.rules} == {rule.metric.name for rule in tasks.find(name).rules} - {
        "judge_score",
        "judge_unparsed",
    }


def test_located_answers_need_no_judge() -> None:
    assert tasks.variants("grit_ovdeval") == ()
    assert tasks.find("grit_ovdeval").graders == ()
    with pytest.raises(UserError, match="no variant 'unjudged'"):
        tasks.find("grit_ovdeval:unjudged")


def test_the_judge_is_shown_the_row_as_it_is_and_the_question_as_it_was_asked(tmp_path: Path) -> None:
    asked: list[str] = []

    def judge(request: Any) -> str:
        asked.append(request.kind.messages[0].content[0])
        return "{score: 0.6}"

    data = write(tmp_path, "grit_vsr", {})
    found = numbers("grit_vsr", data, Scripted(lambda _: THINK.format("[0, 0, 1, 1]", "a hot dog")), Scripted(judge), "grit:sft")
    assert found["judge_score", "official"]["value"] == found["judge_score", "clamped"]["value"] == 0.6
    assert (found["judge_accuracy", "official"]["value"], found["accuracy", "strict"]["value"]) == (1, 1)
    [text] = asked
    assert "\nQuestion: \nQuestion: What is under the bench?\nFirst, output a lists" in text
    assert text.endswith("\nStandard answer: The Hot-dog \nModel’s answer:  a hot dog")


def test_a_judge_that_answers_nonsense_leaves_zeros_and_is_counted(tmp_path: Path) -> None:
    data = write(tmp_path / "data", "grit_vsr", {"answer": "Yes"}, {"answer": "No"})
    summary = evalkit.run("oracle", "grit_vsr", judge="mute", data=str(data), out=tmp_path / "out")
    rows = {(row["metric"], row["rule"]): row for row in summary.numbers}
    assert rows["judge_score", "official"]["value"] == 0
    assert rows["judge_score", "official"]["unparsed"] == 2
    assert rows["judge_unparsed", "official"]["value"] == 1
    assert rows["accuracy", "strict"]["value"] == 1


# ---------------------------------------------------------------- saved outputs


def saved(row: dict[str, Any], text: str, gpt: float | None = None, suffix: str = " First, think between <think>") -> dict[str, Any]:
    """An entry of evaluation_results_<rank>.json."""
    user = [{"type": "image", "image": "x"}, {"type": "text", "text": f"\nQuestion: {row['question']}{suffix}"}]
    turns = [{"role": "user", "content": user}, {"role": "assistant", "content": [{"type": "text", "text": text}]}]
    held = {"message": turns, "gt_answer": str(row["answer"]), "image": f"./GRIT_data/vsr/{row['image']}", "dataset": row["dataset"]}
    names, scores = ["rewards/bleu_score_reward"], [0.1]
    if gpt is not None:
        names, scores = [*names, "rewards/gpt_score_reward"], [*scores, gpt]
    return {"input_output_conv": held, "conversation_images": [], "reward_name": names, "reward_list": json.dumps(scores)}


@pytest.fixture
def outputs(tmp_path: Path) -> Callable[..., tuple[Path, Path, list[dict[str, Any]]]]:
    """Three rows of data, and a folder that holds the given entries in two ranks' files."""

    def make(entries: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> tuple[Path, Path, list[dict[str, Any]]]:
        changes = [
            {"question": "Is it red?", "answer": "Yes", "bboxs": [[0, 0, 100, 100]]},
            {"question": "Is it red? Say so.", "answer": "Yes", "bboxs": [[0, 0, 50, 100]]},
            {"question": "What is it?", "image": "b.jpg", "answer": "Dog", "bboxs": [[0, 0, 100, 100]]},
        ]
        rows = [ROW | change for change in changes]
        folder = tmp_path / "local_log_step_0"
        folder.mkdir()
        made = entries(rows)
        for rank, part in enumerate((made[:2], made[2:])):
            (folder / f"evaluation_results_{rank}.json").write_text(json.dumps(part), encoding="utf-8")
        return write(tmp_path / "data", "grit_vsr", *changes), folder, rows

    return make


def test_saved_outputs_are_scored_again_each_conversation_once(outputs: Any, tmp_path: Path) -> None:
    """By hand: IoU 1, 0.5 and 0 for the reply without a box; the judge's 1, 0.25, and 0 for the reply without `<answer>`."""
    data, folder, _ = outputs(
        lambda rows: [
            saved(rows[0], THINK.format("[0, 0, 100, 100]", "yes</answer>"), 1.0),
            saved(rows[1], THINK.format("[0, 0, 100, 100]", "no"), 0.25),
            saved(rows[0], THINK.format("[7, 7, 8, 8]", "no"), 0.0),
            saved(rows[2], "a dog", 0.0),
            saved(rows[2] | {"dataset": "gqa"}, "another set's", 0.0),
        ]
    )
    summary = evalkit.run(f"replay:{folder}", "grit_vsr", protocol="grit", data=str(data), out=tmp_path / "out")
    rows = {(row["metric"], row["rule"]): row for row in summary.numbers if row["subset"] == "overall"}
    assert rows["grounding_iou", "official"]["value"] == pytest.approx(0.5)
    assert rows["judge_score", "official"]["value"] == pytest.approx(1.25 / 3)
    assert rows["judge_accuracy", "official"]["value"] == pytest.approx(1 / 3)
    assert rows["accuracy", "strict"]["value"] == pytest.approx(1 / 3)
    assert rows["judge_score", "official"]["missing"] == 0
    assert not [note for note in summary.tasks[0]["notes"] if "does not have" in note]


def test_a_row_that_was_not_saved_is_missing_and_an_entry_that_is_no_row_is_told(outputs: Any, tmp_path: Path) -> None:
    data, folder, _ = outputs(lambda rows: [saved(rows[0], "<answer> yes", 1.0), saved(rows[0] | {"image": "z.jpg"}, "<answer> yes", 1.0)])
    summary = evalkit.run(f"replay:{folder}", "grit_vsr:unjudged", protocol="grit", data=str(data), out=tmp_path / "out")
    [row] = [row for row in summary.numbers if (row["metric"], row["rule"]) == ("accuracy", "strict")]
    assert (row["value"], row["n"], row["missing"]) == (pytest.approx(1 / 3), 3, 2)
    assert any("1 replies are for samples the data does not have" in note for note in summary.tasks[0]["notes"])


def test_without_saved_scores_a_judge_is_needed(outputs: Any, tmp_path: Path) -> None:
    data, folder, _ = outputs(lambda rows: [saved(row, "<answer> yes") for row in rows])
    with pytest.raises(Refused, match="needs a judge"):
        evalkit.run(f"replay:{folder}", "grit_vsr", protocol="grit", data=str(data), out=tmp_path / "out")
    summary = evalkit.run(f"replay:{folder}", "grit_vsr", judge="mute", protocol="grit", data=str(data), out=tmp_path / "out")
    assert summary.value("grit_vsr", "judge_unparsed") == 1


def test_equal_rows_share_a_reply(tmp_path: Path) -> None:
    data = write(tmp_path, "grit_vsr", {}, {})
    path = tmp_path / "evaluation_results_0.json"
    path.write_text(json.dumps([saved(ROW, "<answer> hot dog", 0.5)]), encoding="utf-8")
    found = tasks.find("grit_vsr", data).replies
    assert found
    assert [(reply.sample, reply.role, reply.text) for reply in found(path) or ()] == [
        ("0", "model", "<answer> hot dog"),
        ("0", "judge", "0.5"),
        ("1", "model", "<answer> hot dog"),
        ("1", "judge", "0.5"),
    ]


def test_other_files_are_not_taken_for_saved_outputs_and_broken_ones_are_told(tmp_path: Path) -> None:
    found = tasks.find("grit_vsr", write(tmp_path / "data", "grit_vsr", {})).replies
    assert found
    other = tmp_path / "replies.jsonl"
    other.write_text('{"sample": "0", "text": "yes"}\n')
    assert found(other) is None
    assert found(tmp_path) is None
    broken = tmp_path / "evaluation_results_0.json"
    broken.write_text('[{"input_output_conv": {"message": []}}]')
    with pytest.raises(DataError, match=r"expected a saved conversation in .*evaluation_results_0\.json, entry 0"):
        found(broken)


def test_a_task_file_without_its_sibling_says_so(tmp_path: Path) -> None:
    lonely = tmp_path / "lonely.py"
    lonely.write_text('from evalkit import sibling\n\ngrit = sibling(__file__, "_grit")\n')
    with pytest.raises(UserError, match=r"expected _grit\.py beside the task file .*lonely\.py, found none: copy both"):
        tasks.module(str(lonely))


def test_a_judges_failure_is_a_gap_and_not_a_score(tmp_path: Path) -> None:
    """Nothing is scored of a sample whose judge cannot be reached."""

    def fail(_: Any) -> str:
        raise Gap("503")

    made = tasks.find("grit_vsr", write(tmp_path, "grit_vsr", {}))
    outcomes: list[runner.Outcome] = []
    job = runner.Job(made.name, made.samples(), protocols.find("grit"), graders=made.graders)
    model = Scripted(lambda _: THINK.format("[0, 0, 1, 1]", "yes"))
    runner.run([job], {"model": model, "judge": Scripted(fail)}, lambda *_: None, outcomes.append)
    assert [(outcome.prediction, outcome.gap) for outcome in outcomes] == [(None, "503")]
