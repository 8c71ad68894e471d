"""MathVista: its rows in both layouts, the judge and who needs none, results files in and out, and what is refused."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import evalkit
from evalkit import task as tasks
from evalkit.data import check_published
from evalkit.errors import DataError, ImageError, Refused
from evalkit.images import resolve
from evalkit.types import Prediction, Sample, Unparsed, Wants

META = {
    "split": "testmini",
    "language": "english",
    "img_width": 6,
    "img_height": 4,
    "source": "PlotQA",
    "category": "general-vqa",
    "task": "figure question answering",
    "context": "bar chart",
    "grade": "college",
    "skills": ["arithmetic reasoning", "logical reasoning"],
}
EMPTY = {"choices": None, "unit": None, "precision": None, "question_type": "free_form", "metadata": META}
CHOICES = {"question_type": "multi_choice", "answer_type": "text", "choices": ["red", "blue", "teal"]}
ROWS: dict[str, dict[str, Any]] = {
    "1": {**EMPTY, "pid": "1", "question": "Which is left?", "image": "images/1.jpg", "answer": "blue", **CHOICES},
    "2": {**EMPTY, "pid": "2", "question": "How many?", "image": "images/2.jpg", "answer": "7", "answer_type": "integer", "unit": "kg"},
    "3": {**EMPTY, "pid": "3", "question": "How far?", "image": "images/3.jpg", "answer": "1.57", "answer_type": "float", "precision": 2},
    "4": {**EMPTY, "pid": "4", "question": "When?", "image": "images/4.jpg", "answer": "[3, 5]", "answer_type": "list"},
}
MODULE = tasks.module("mathvista")


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """The authors' layout, without images."""
    write(tmp_path / "local" / "data" / "testmini.json", ROWS)
    return tmp_path / "local"


def read(folder: Path, name: str = "mathvista") -> list[Sample]:
    return list(tasks.find(name, folder).samples())


def said(text: str, *extraction: Any) -> Prediction:
    return Prediction(text, text, verdicts={"extraction": extraction[0]} if extraction else {})


# ---------------------------------------------------------------- rows


def test_a_row_becomes_a_sample(local: Path) -> None:
    choice, integer, real, several = read(local)
    assert (choice.id, choice.question, choice.options, choice.target) == ("1", "Which is left?", ("red", "blue", "teal"), "B")
    assert (integer.target, real.target, several.target, integer.group) == ("7", "1.57", "[3, 5]", "images/2.jpg")
    assert [sample.wants for sample in (choice, integer, real, several)] == [
        Wants("choice"),
        Wants("number"),
        Wants("number"),
        Wants("text"),
    ]
    assert real.tags == {
        "question_type=free_form",
        "answer_type=float",
        "precision=2",
        "language=english",
        "source=PlotQA",
        "category=general-vqa",
        "task=figure question answering",
        "context=bar chart",
        "grade=college",
        "skills=arithmetic reasoning",
        "skills=logical reasoning",
    }


def test_the_prompt_is_that_of_query_json_and_is_built_where_that_is_silent(local: Path) -> None:
    hint = "Hint: Please answer the question requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end."
    assert read(local)[1].prompt == f"{hint}\nQuestion: How many? (Unit: kg)"
    assert read(local)[0].prompt.endswith("Question: Which is left?\nChoices:\n(A) red\n(B) blue\n(C) teal")
    write(local / "data" / "query.json", {"2": "In the authors' words"})
    assert [sample.prompt == "In the authors' words" for sample in read(local)] == [False, True, False, False]


def test_the_built_prompts_are_the_authors(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """All 1000 of query.json, to the letter."""
    rows = shared("annotations/mathvista") / "testmini.json"
    asked = json.loads(rows.with_name("query.json").read_text(encoding="utf-8"))
    (tmp_path / "testmini.json").write_bytes(rows.read_bytes())
    assert {sample.id: sample.prompt for sample in read(tmp_path)} == {pid: asked[pid] for pid in json.loads(rows.read_text("utf-8"))}


def test_the_real_rows_have_the_published_counts(shared: Callable[[str], Path]) -> None:
    task = tasks.find("mathvista", shared("annotations/mathvista"))
    counts: Counter[str] = Counter()
    for sample in tasks.checked(task.samples(), task.name):
        counts.update(["rows", *sample.tags])
    assert check_published(task.name, task.published, counts) == []


@pytest.mark.parametrize("place", ["images", "data/images"])
def test_images_lie_in_a_folder_beside_the_rows_or_above(local: Path, place: str) -> None:
    (local / place).mkdir()
    assert read(local)[0].images[0].source == local / place / "1.jpg"


@pytest.mark.parametrize("place", ["images.zip", "data/images.zip"])
def test_images_are_read_from_the_zip_as_it_is(local: Path, tmp_path: Path, place: str) -> None:
    Image.new("RGB", (6, 4), "gray").save(tmp_path / "drawn.jpg")
    with ZipFile(local / place, "w") as archive:
        archive.write(tmp_path / "drawn.jpg", "images/1.jpg")
    there, absent, *_ = read(local)
    assert resolve(there.images[0]).size == (6, 4)
    with pytest.raises(ImageError, match=r"expected images/2\.jpg in .*images\.zip"):
        resolve(absent.images[0])
    (local / place).write_bytes(b"PK")
    with pytest.raises(DataError, match=r"expected a zip file at .*images\.zip"):
        read(local)


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows in the hub's layout: images inside, `query` beside, the precision a float."""
    import pyarrow
    import pyarrow.parquet

    drawn = path.parent.parent / "drawn.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), "gray").save(drawn)
    image = {"bytes": drawn.read_bytes(), "path": "drawn.jpg"}
    table = [
        {**row, "precision": row["precision"] and float(row["precision"]), "query": f"Asked: {row['question']}", "decoded_image": image}
        for row in rows
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), path)


def test_the_hubs_rows_are_read_with_their_images_prompts_and_float_precision(local: Path, tmp_path: Path) -> None:
    parquet(tmp_path / "hub" / "data" / "testmini-00000-of-00001-725687bf7a18d64b.parquet", list(ROWS.values()))
    hub, ours = read(tmp_path / "hub"), read(local)
    same = ("id", "question", "options", "target", "tags", "wants", "group")
    assert [[getattr(sample, name) for name in same] for sample in hub] == [[getattr(sample, name) for name in same] for sample in ours]
    assert [sample.prompt for sample in hub] == [f"Asked: {sample.question}" for sample in ours]
    assert resolve(hub[2].images[0]).size == (6, 4)


def test_the_hidden_answers_of_test_give_no_number_and_a_file_to_hand_in(tmp_path: Path) -> None:
    parquet(tmp_path / "data" / "test-00000-of-00002-6b81bd7f7e2065e6.parquet", [{**row, "answer": ""} for row in ROWS.values()])
    replies = lines(tmp_path / "r.jsonl", *({"sample": pid, "text": "7"} for pid in ROWS), {"sample": "1", "text": "B", "role": "judge"})
    summary = evalkit.run(f"replay:{replies}", "mathvista:test", judge=f"replay:{replies}", data=str(tmp_path), out=tmp_path / "runs")
    assert {(row["value"], row["n"]) for row in summary.numbers} == {(None, 0)}
    [path] = exported(summary.folder)
    row = json.loads(path.read_text(encoding="utf-8"))["1"]
    assert path.name == "output_test.json"
    assert (row["query"], row["response"], row["extraction"], row["prediction"]) == ("Asked: Which is left?", "7", "B", "blue")
    assert "true_false" not in row
    assert "decoded_image" not in row


def exported(run: Path) -> list[Path]:
    from evalkit.export import export

    return export(run)


@pytest.mark.parametrize(
    ("pid", "change", "reason"),
    [
        ("1", {"answer": "green"}, "an answer among the choices"),
        ("1", {"answer_type": "integer"}, "choices and answer_type text together"),
        ("1", {"choices": None}, "choices and answer_type text together"),
        ("2", {"answer_type": "complex"}, "one of text, integer, float, list"),
        ("2", {"answer": ""}, "expected an answer"),
        ("2", {"question": None}, "expected str in column question"),
        ("2", {"metadata": {}}, "metadata of"),
        ("3", {"precision": None}, "a precision just where"),
    ],
)
def test_a_row_that_is_not_as_expected_is_named(local: Path, pid: str, change: dict[str, Any], reason: str) -> None:
    write(local / "data" / "testmini.json", {**ROWS, pid: {**ROWS[pid], **change}})
    with pytest.raises(DataError, match=rf"{reason}.*testmini\.json, row {pid}"):
        read(local)


@pytest.mark.parametrize("content", ['{"1": {"pid": "1", "ques', "[1, 2]", '{"1": 3}'])
def test_a_file_of_rows_that_is_cut_off_or_something_else_is_named(local: Path, content: str) -> None:
    (local / "data" / "testmini.json").write_text(content)
    with pytest.raises(DataError, match=r"testmini\.json"):
        read(local)


# ---------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("variant", "name", "rules", "graders"),
    [
        ("", "mathvista", ["official-head", "official-2023", "strict"], ["extraction"]),
        (":testmini", "mathvista", ["official-head", "official-2023", "strict"], ["extraction"]),
        (":testmini-by-rule", "mathvista:testmini-by-rule", ["by-rule-head", "by-rule-2023", "strict"], []),
        (":test", "mathvista:test", ["official-head", "official-2023", "strict"], ["extraction"]),
        (":test-by-rule", "mathvista:test-by-rule", ["by-rule-head", "by-rule-2023", "strict"], []),
    ],
)
def test_each_variant_says_how_it_extracts(variant: str, name: str, rules: list[str], graders: list[str]) -> None:
    task = tasks.find("mathvista" + variant)
    assert (task.name, [rule.name for rule in task.rules], [grader.name for grader in task.graders]) == (name, rules, graders)


def test_the_judge_is_asked_with_the_authors_five_examples(local: Path) -> None:
    """The digest is that of `demo_prompt.strip()` in the authors' evaluation/prompts/ext_ans.py."""
    digest = "2c251ab9e219c5d7db855ad5a9ef44d5bdb10639244b8d28e3ee66a5bda3f71c"
    assert hashlib.sha256(MODULE.EXAMPLES.encode()).hexdigest() == digest
    sample = read(local)[1]
    request = next(tasks.find("mathvista", local).graders[0].grade(sample, said("There are 7 of them.")))
    [message] = request.kind.messages
    assert message.content == (f"{MODULE.EXAMPLES}\n\n{sample.prompt}\n\nThere are 7 of them.\n\nExtracted answer: ",)


@pytest.mark.parametrize(
    ("pid", "reply", "extraction"),
    [
        ("1", "", ""),
        ("1", "blue", "blue"),
        ("1", "Blue", None),
        ("1", "B", None),
        ("1", "7", None),
        ("2", "", ""),
        ("2", "7", "7"),
        ("2", " 07\n", "7"),
        ("2", "-7", "-7"),
        ("2", "7.0", None),
        ("2", "seven", None),
        ("3", "1.50", "1.5"),
        ("3", "2", "2.0"),
        ("3", "1e1", "10.0"),
        ("3", "1.5 m", None),
        ("4", "[3, 5]", None),
        ("4", "", ""),
    ],
)
def test_short_replies_need_no_judge(local: Path, pid: str, reply: str, extraction: str | None) -> None:
    task = tasks.find("mathvista", local)
    conversation = task.graders[0].grade({sample.id: sample for sample in task.samples()}[pid], said(reply))
    if extraction is None:
        assert next(conversation).to == "judge"
        return
    with pytest.raises(StopIteration) as end:
        next(conversation)
    assert end.value.value == extraction


@pytest.mark.parametrize(
    ("pid", "reply", "head", "old"),
    [
        ("1", "", "A", "A"),
        ("1", "blue", "B", "B"),
        ("1", 'Look at it. The answer is "teal".', "C", "C"),
        ("1", 'The answer is "(b) blue". I am sure.', "B", "B"),
        ("1", 'The answer is "B".', "B", "B"),
        ("1", "The answer is (B).", "A", "A"),
        ("2", "7", "7", "7"),
        ("2", 'The answer is "7.9".', "7", None),
        ("2", "The answer is 7.", None, None),
        ("2", "", None, None),
        ("3", "1.499", "1.5", "1.5"),
        ("3", 'The answer is "2".', "2.0", "2.0"),
        ("3", "about 2", None, None),
        ("4", 'The answer is "[3, 5]".', "[3, 5]", "[3, 5]"),
        ("4", "[3, 5]", "", ""),
    ],
)
def test_by_rule_the_quick_rules_extract_or_nothing_does(local: Path, pid: str, reply: str, head: str | None, old: str | None) -> None:
    task = tasks.find("mathvista:testmini-by-rule", local)
    sample = {sample.id: sample for sample in task.samples()}[pid]
    values = [rule.parse(said(reply), sample) for rule in task.rules[:2]]
    assert [None if isinstance(value, Unparsed) else value for value in values] == [head, old]


def test_every_rule_gives_the_reason_where_the_protocol_found_no_answer(local: Path) -> None:
    for name in ("mathvista", "mathvista:testmini-by-rule"):
        task = tasks.find(name, local)
        for sample in task.samples():
            assert {rule.parse(Prediction("hm", None, "no tag"), sample) for rule in task.rules} == {Unparsed("no tag")}


def test_without_a_judge_the_run_is_refused_before_anything_is_asked(local: Path, tmp_path: Path) -> None:
    replies = lines(tmp_path / "r.jsonl", {"sample": "2", "text": "7"})
    with pytest.raises(Refused, match="task 'mathvista' needs a judge for 'extraction': name one with --judge MODEL"):
        evalkit.run(f"replay:{replies}", "mathvista", data=str(local), out=tmp_path / "runs")
    by_rule = evalkit.run(f"replay:{replies}", "mathvista:testmini-by-rule", data=str(local), out=tmp_path / "runs")
    assert by_rule.value("mathvista:testmini-by-rule", "accuracy", "by-rule-head") == 1 / 4


def test_silence_gets_the_nearest_choice_and_the_judge_is_not_asked(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """168 of 1000, though the judge knows every answer; by `strict` nothing."""
    data = shared("annotations/mathvista")
    answers = {pid: row["answer"] for pid, row in json.loads((data / "testmini.json").read_text(encoding="utf-8")).items()}
    mute = lines(tmp_path / "mute.jsonl", *({"sample": pid, "text": ""} for pid in answers))
    judge = lines(tmp_path / "judge.jsonl", *({"sample": pid, "text": answer, "role": "judge"} for pid, answer in answers.items()))
    summary = evalkit.run(f"replay:{mute}", "mathvista", judge=f"replay:{judge}", data=str(data), out=tmp_path / "runs")
    assert [summary.value("mathvista", "accuracy", rule) for rule in ("official-head", "official-2023", "strict")] == [0.168, 0.168, 0]
    [strict] = [row for row in summary.numbers if (row["rule"], row["subset"]) == ("strict", "overall")]
    assert strict["unparsed"] == 1000


# ---------------------------------------------------------------- results files


def results(changes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {pid: {**ROWS[pid], **change} for pid, change in changes.items()}


def right(summary: Any, rule: str = "official-head") -> set[str]:
    rows = [json.loads(line) for line in (summary.folder / "records.jsonl").read_text(encoding="utf-8").splitlines()]
    return {row["sample"] for row in rows if row["rule"] == rule and row["correct"]}


def test_a_stored_extraction_stands_even_where_the_reply_needs_no_judge(local: Path, tmp_path: Path) -> None:
    stored = {
        "1": {"response": "", "extraction": "(B)"},
        "2": {"response": "6", "extraction": "7"},
        "3": {"response": "1.5", "extraction": ""},
        "4": {"response": "In 3 and 5.", "extraction": ["3", "5"]},
    }
    path = write(tmp_path / "output.json", results(stored))
    summary = evalkit.run(f"replay:{path}", "mathvista", data=str(local), out=tmp_path / "runs")
    assert right(summary) == {"1", "2"}
    assert not [note for note in summary.tasks[0]["notes"] if "replies" in note]
    by_rule = evalkit.run(f"replay:{path}", "mathvista:testmini-by-rule", data=str(local), out=tmp_path / "runs")
    assert right(by_rule, "by-rule-head") == set()
    assert not [note for note in by_rule.tasks[0]["notes"] if "replies" in note]


def test_what_a_scored_results_file_lacks_is_wrong_and_what_it_has_too_much_is_noted(local: Path, tmp_path: Path) -> None:
    stored = {"1": {"response": "blue"}, "2": {"response": "It is 7.", "extraction": None}, "3": {"error": "time-out"}}
    extra = {**ROWS["2"], "response": "7", "extraction": "7", "prediction": "7", "true_false": True}
    path = write(tmp_path / "output.json", {**results(stored), "9": extra})
    summary = evalkit.run(f"replay:{path}", "mathvista", data=str(local), out=tmp_path / "runs")
    assert right(summary) == {"1"}
    [row] = [row for row in summary.numbers if (row["rule"], row["subset"]) == ("official-head", "overall")]
    assert (row["n"], row["unparsed"], row["missing"]) == (4, 1, 2)
    assert any("such as '9'" in note for note in summary.tasks[0]["notes"])
    task = tasks.find("mathvista", local)
    assert task.rules[0].parse(said("It is 7.", None), read(local)[1]) == Unparsed("no extraction from the judge")


@pytest.mark.parametrize(
    "lacking", [{"response": "It is 7."}, {"response": "It is 7.", "extraction": None, "prediction": "7", "true_false": True}]
)
def test_a_half_extracted_file_is_refused_and_read_without_any_extraction(local: Path, tmp_path: Path, lacking: dict[str, Any]) -> None:
    path = write(tmp_path / "output.json", results({"1": {"response": "It is blue.", "extraction": "blue"}, "2": lacking}))
    with pytest.raises(DataError, match=r"in all rows of .*output\.json or in none, got none in 1 of 2, such as '2': .*--judge"):
        evalkit.run(f"replay:{path}", "mathvista", data=str(local), out=tmp_path / "runs")
    by_rule = evalkit.run(f"replay:{path}", "mathvista:testmini-by-rule", data=str(local), out=tmp_path / "runs")
    assert by_rule.complete
    judge = lines(tmp_path / "judge.jsonl", *({"sample": pid, "text": ROWS[pid]["answer"], "role": "judge"} for pid in "12"))
    write(path, results({"1": {"response": "It is blue."}, "2": {"response": "It is 7."}}))
    summary = evalkit.run(f"replay:{path}", "mathvista", judge=f"replay:{judge}", data=str(local), out=tmp_path / "runs")
    assert right(summary) == {"1", "2"}


@pytest.mark.parametrize("response", [{}, {"response": None}])
def test_an_extraction_without_a_response_is_scored(local: Path, tmp_path: Path, response: dict[str, Any]) -> None:
    extractions = {"1": "B", "2": "7", "3": "1.57", "4": "[3, 5]"}
    path = write(tmp_path / "output.json", results({pid: {**response, "extraction": said} for pid, said in extractions.items()}))
    summary = evalkit.run(f"replay:{path}", "mathvista", data=str(local), out=tmp_path / "runs")
    assert right(summary) == {"1", "2", "3", "4"}
    assert right(summary, "strict") == set()


def test_numbers_as_extractions_are_read_as_the_authors_scripts_write_them(local: Path, tmp_path: Path) -> None:
    stored = {"2": {"response": "Seven.", "extraction": 7.0}, "3": {"response": "Half pi.", "extraction": 1.571}}
    path = write(tmp_path / "output.json", results(stored))
    summary = evalkit.run(f"replay:{path}", "mathvista", data=str(local), out=tmp_path / "runs")
    assert right(summary) == right(summary, "official-2023") == {"2", "3"}
    write(path, results({"2": {"response": "Seven.", "extraction": 7}, "3": {"response": "Half pi.", "extraction": float("nan")}}))
    summary = evalkit.run(f"replay:{path}", "mathvista", data=str(local), out=tmp_path / "runs")
    assert right(summary, "official-2023") == {"2"}


@pytest.mark.parametrize("judge", ["mute", "lines", "file"])
def test_another_judge_extracts_anew_by_the_quick_rule_first(local: Path, tmp_path: Path, judge: str) -> None:
    """What the file stores is only the judge's where the file is the judge."""
    stored = {"1": {"response": "blue", "extraction": "(A)"}, "2": {"response": "7", "extraction": "6"}}
    path = write(tmp_path / "output.json", results(stored))
    other = {"1": {"response": "", "extraction": "teal"}, "2": {"response": "", "extraction": "7"}}
    judges = {
        "mute": "mute",
        "lines": f"replay:{lines(tmp_path / 'judge.jsonl', {'sample': '1', 'text': 'teal', 'role': 'judge'})}",
        "file": f"replay:{write(tmp_path / 'other.json', results(other))}",
    }
    summary = evalkit.run(f"replay:{path}", "mathvista", judge=judges[judge], data=str(local), out=tmp_path / "runs")
    assert right(summary) == ({"2"} if judge == "file" else {"1", "2"})
    assert right(evalkit.run(f"replay:{path}", "mathvista", data=str(local), out=tmp_path / "runs")) == set()


def test_rows_of_a_results_file_are_broken_down_by_its_own_metadata(local: Path, tmp_path: Path) -> None:
    """Where it has any: row 2 has none, row 3 but a grade, row 4 no reply. The model's file goes before the judge's."""
    own = {"1": {**META, "grade": "high school", "skills": ["logical reasoning"]}, "2": None, "3": {"grade": "daily life"}}
    stored = {pid: {"response": "7", "extraction": "7", "metadata": metadata} for pid, metadata in own.items()}
    path = write(tmp_path / "output.json", results(stored))
    other = write(tmp_path / "other.json", results({pid: stored[pid] | {"metadata": {**META, "grade": "other"}} for pid in "13"}))
    for name, judge in (("mathvista", {}), ("mathvista", {"judge": f"replay:{other}"}), ("mathvista:testmini-by-rule", {})):
        summary = evalkit.run(f"replay:{path}", name, data=str(local), out=tmp_path / "runs", **judge)
        counts = {row["subset"]: row["n"] for row in summary.numbers if row["rule"] == "strict"}
        wanted = {"grade=high school": 1, "grade=college": 2, "grade=daily life": 1, "source=PlotQA": 4, "skills=arithmetic reasoning": 3}
        assert {subset: counts[subset] for subset in wanted} == wanted


@pytest.mark.parametrize("name", ["output.txt", "output", "output.jsonl"])
@pytest.mark.parametrize("indent", [None, 4])
def test_a_results_file_is_known_by_its_content(local: Path, tmp_path: Path, name: str, indent: int | None) -> None:
    stored = results({"1": {"response": "It is blue.", "extraction": "B"}})
    (tmp_path / name).write_text("\ufeff\n" + json.dumps(stored, indent=indent), encoding="utf-8")
    assert right(evalkit.run(f"replay:{tmp_path / name}", "mathvista", data=str(local), out=tmp_path / "runs")) == {"1"}


@pytest.mark.parametrize("more", [{}, {"usage": {"response": 3}}])
def test_json_lines_are_read_as_such_whatever_their_name(local: Path, tmp_path: Path, more: dict[str, Any]) -> None:
    rows = [{**more, "sample": "1", "text": "It is blue."}, {**more, "sample": "1", "text": "B", "role": "judge"}]
    path = lines(tmp_path / "replies.json", *rows)
    assert right(evalkit.run(f"replay:{path}", "mathvista", data=str(local), out=tmp_path / "runs")) == {"1"}


@pytest.mark.parametrize(
    ("options", "reply", "value"),
    [
        (["60-k", "k", "60+k", "120-k"], "60-k", "A"),
        (["60-k", "k", "60+k", "120-k"], "x follows.\nAnswer: 60+k.", "C"),
        (["60-k", "k", "60+k", "120-k"], "k", "B"),
        (["60-k", "k", "60+k", "120-k"], "(B)", "B"),
        (["2", "√{3}", "√{2}"], "The answer is √{2}", "C"),
        (["(c)", "(a)", "(e)", "(d)", "(b)"], "(b)", "E"),
        (["(c)", "(a)", "(e)", "(d)", "(b)"], "(B)", "B"),
        (["18", "9", "18"], "18", "A"),
    ],
)
def test_the_text_of_a_choice_to_the_letter_goes_before_its_letter(local: Path, options: list[str], reply: str, value: str) -> None:
    write(local / "data" / "testmini.json", {"1": {**ROWS["1"], "choices": options, "answer": options[0]}})
    [sample] = read(local)
    assert MODULE.strict(said(reply), sample) == value


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"1": {"response": "7", "extr', "is the file cut off"),
        ('{"1": {"response": "7"}, "1": {"response": "8"}}', "'1' twice"),
        ('{"1": {"response": 7}}', "row 1, got 7"),
        ('{"1": {"response": "7"}, "2": "7"}', "row 2, got '7'"),
    ],
)
def test_a_results_file_that_is_not_as_expected_is_named(local: Path, tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "output.json"
    path.write_text(content)
    with pytest.raises(DataError, match=rf"output\.json.*{reason}"):
        evalkit.run(f"replay:{path}", "mathvista", data=str(local), out=tmp_path / "runs")


def test_what_is_exported_is_what_was_read(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """The authors' own file again, field by field, and the same numbers from it, but for what the metadata of the data moves."""
    output, data = shared("replay/mathvista/output_llavar.json"), shared("annotations/mathvista")
    first = evalkit.run(f"replay:{output}", "mathvista", data=str(data), out=tmp_path / "runs")
    [path] = exported(first.folder)
    ours, theirs = (json.loads(file.read_text(encoding="utf-8")) for file in (path, output))
    fields = set(theirs["1"]) - {"metadata", "query"}  # both of an older state than the annotations
    assert path.name == "output_testmini.json"
    assert {pid: {name: row[name] for name in fields} for pid, row in ours.items()} == {
        pid: {name: row[name] for name in fields} for pid, row in theirs.items()
    }
    again = evalkit.run(f"replay:{path}", "mathvista", data=str(data), out=tmp_path / "runs")
    same = ("overall", "question_type=", "answer_type=", "source=", "context=", "precision=")
    one, other = ([{**row, "model": ""} for row in run.numbers if row["subset"].startswith(same)] for run in (first, again))
    assert one == other
    assert first.value("mathvista", "accuracy", "official-head") == 0.252


@given(st.lists(st.sampled_from(['The answer is "', '"', ".", '".', "\n", "a", " "]), max_size=16).map("".join))
def test_a_quoted_answer_is_found_as_the_authors_expression_finds_it(answer: str) -> None:
    found = re.search(r'The answer is "(.*)"\.', answer)
    assert tasks.module("mathvista").quoted(answer) == (found[1] if found else "")
