"""GQA: its rows, its two forms of data and of results, and the metrics that look beyond one question."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture

import evalkit
from evalkit import task as tasks
from evalkit.data import decode
from evalkit.errors import DataError
from evalkit.scoring import Tally
from evalkit.types import Image, Prediction, Sample

QUESTION: dict[str, Any] = {
    "semantic": [
        {"operation": "select", "dependencies": [], "argument": "kite (3)"},
        {"operation": "relate", "dependencies": [0], "argument": "person,holding,s (2)"},
        {"operation": "query", "dependencies": [1], "argument": "name"},
    ],
    "entailed": [],
    "equivalent": ["11"],
    "question": "Who is holding the kite?",
    "imageId": "n7",
    "isBalanced": True,
    "groups": {"global": "person", "local": "14-kite_holding,s"},
    "answer": "woman",
    "semanticStr": "",
    "annotations": {"answer": {}, "question": {}, "fullAnswer": {}},
    "types": {"detailed": "relS", "semantic": "rel", "structural": "query"},
    "fullAnswer": "The woman is holding the kite.",
}
TYPES = QUESTION["types"]


def write(folder: Path, name: str = "testdev_balanced_questions.json", /, **rows: Mapping[str, Any]) -> Path:
    """A folder with a questions file of these changes of a question, by id without its first letter."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps({key[1:]: QUESTION | dict(row) for key, row in rows.items()}))
    return folder


def load(folder: Path, name: str = "gqa") -> list[Sample]:
    return list(tasks.find(name, folder).samples())


def scored(folder: Path, replies: Mapping[str, str], out: Path, name: str = "gqa", rule: str = "llava") -> dict[str, Any]:
    """The overall numbers of these replies by question id, as GQA's predictions file."""
    path = out / "predictions.json"
    out.mkdir(exist_ok=True)
    path.write_text(json.dumps([{"questionId": key, "prediction": text} for key, text in replies.items()]))
    summary = evalkit.run(f"replay:{path}", name, data=str(folder), out=out)
    return {row["metric"]: row for row in summary.numbers if (row["rule"], row["subset"]) == (rule, "overall")}


def test_a_row_becomes_a_sample(tmp_path: Path) -> None:
    [sample] = load(write(tmp_path, q11={}))
    assert (sample.id, sample.target, sample.group) == ("11", "woman", "n7")
    assert sample.prompt == "Who is holding the kite?\nAnswer the question using a single word or phrase."
    assert sample.tags == {"open", "structural=query", "semantic=rel", "steps=2", "words=5"}
    assert sample.images == (Image(tmp_path / "n7.jpg"),)


@pytest.mark.parametrize(
    ("operation", "argument", "steps"),
    [
        ("query", "name", 1),
        ("query", "color", 2),
        ("exist", "?", 1),
        ("choose name", "cup|mug", 1),
        ("choose color", "red|blue", 2),
        ("select", "exists (-)", 1),
    ],
)
def test_what_only_reads_off_an_answer_is_no_step(tmp_path: Path, operation: str, argument: str, steps: int) -> None:
    semantic = [QUESTION["semantic"][0], {"operation": operation, "dependencies": [0], "argument": argument}]
    [sample] = load(write(tmp_path, q11={"semantic": semantic}))
    assert f"steps={steps}" in sample.tags


@pytest.mark.parametrize("structural", ["verify", "logical", "choose", "compare"])
def test_every_question_but_a_query_is_binary(tmp_path: Path, structural: str) -> None:
    [sample] = load(write(tmp_path, q11={"types": TYPES | {"structural": structural}}))
    assert "binary" in sample.tags
    assert "open" not in sample.tags


def test_samples_of_one_image_are_neighbours(tmp_path: Path) -> None:
    samples = load(write(tmp_path, q1={"imageId": "n8"}, q2={"imageId": "n7"}, q3={"imageId": "n8"}))
    assert [(sample.group, sample.id) for sample in samples] == [("n7", "2"), ("n8", "1"), ("n8", "3")]


def test_a_folder_of_the_questions_own_and_one_of_images_are_found(tmp_path: Path) -> None:
    write(tmp_path / "questions1.2", q11={})
    (tmp_path / "images").mkdir()
    Picture.new("RGB", (20, 10), "navy").save(tmp_path / "images" / "n7.jpg")
    [sample] = load(tmp_path)
    assert decode(sample.images[0]).size == (20, 10)


def hub(folder: Path, entailed: Any, image: str = "n7") -> Path:
    """The hub's layout: questions and images in Parquet of their own."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    drawn = folder / "drawn.jpg"
    folder.mkdir(exist_ok=True)
    Picture.new("RGB", (24, 12), "teal").save(drawn)
    row = {"id": "11", **QUESTION, "entailed": entailed, "equivalent": "['11']", "annotations": {"answer": [], "question": []}}
    tables = {
        "testdev_balanced_instructions": [row, row | {"id": "12", "groups": {"global": None, "local": "x"}}],
        "testdev_balanced_images": [{"id": image, "image": {"bytes": drawn.read_bytes(), "path": "n7.jpg"}}],
    }
    for name, rows in tables.items():
        (folder / name).mkdir()
        pq.write_table(pa.Table.from_pylist(rows), folder / name / "testdev-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize("entailed", ["['21', '22']", ["21", "22"], None])
def test_the_hubs_questions_are_joined_with_its_images(tmp_path: Path, entailed: Any) -> None:
    first, second = load(hub(tmp_path, entailed))
    assert (first.id, second.id, first.target, first.group) == ("11", "12", "woman", "n7")
    assert first.tags == {"open", "structural=query", "semantic=rel", "steps=2", "words=5"}
    assert decode(second.images[0]).size == (24, 12)


def test_the_hubs_questions_entail_what_the_files_do(tmp_path: Path) -> None:
    write(tmp_path / "local", q11={"entailed": ["12"]}, q12={"entailed": ["11"]})
    hub(tmp_path / "hub", "['11', '12']")
    replies = {"11": "woman", "12": "man"}
    local, remote = (scored(tmp_path / name, replies, tmp_path / f"{name}-out") for name in ("local", "hub"))
    assert local["consistency"]["value"] == remote["consistency"]["value"] == 0.0


def test_a_question_without_its_image_on_the_hub_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected image n7 of .*testdev-00000-of-00001\.parquet, row 0"):
        load(hub(tmp_path, [], image="n8"))


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"answer": None}, r"expected str in column answer of .*question 11, got None"),
        ({"types": {"structural": "query"}}, "expected the columns structural, semantic, detailed in types of .*question 11"),
        ({"groups": {}}, "expected the columns global in groups of .*question 11"),
        ({"semantic": ["select"]}, "expected the columns operation, argument in semantic of .*question 11"),
        ({"isBalanced": "yes"}, "expected bool in column isBalanced"),
    ],
)
def test_a_row_that_is_none_is_named(tmp_path: Path, row: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        load(write(tmp_path, q11=row))


@pytest.mark.parametrize("text", ['{"11": {"question"', "[]", ""])
def test_an_annotation_file_that_is_cut_or_something_else_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "testdev_balanced_questions.json").write_text(text)
    with pytest.raises(DataError, match="testdev_balanced_questions"):
        load(tmp_path)


# ---------------------------------------------------------------- metrics


def test_distribution_is_the_chi_square_of_the_groups_by_size_over_100(tmp_path: Path) -> None:
    clothing = {"groups": {"global": "clothing"}, "answer": "hat"}
    rows = {"q1": {}, "q2": {}, "q3": {"answer": "man"}, "q4": clothing, "q5": clothing | {"groups": {"global": None}}}
    images = {name: {"imageId": f"n{name}"} | row for name, row in rows.items()}
    replies = {"1": "woman", "2": "boy", "3": "woman", "4": "coat", "5": "hat"}
    row = scored(write(tmp_path / "data", **images), replies, tmp_path / "out")["distribution"]
    # person: gold woman 2, man 1, predicted 2 and 0: 0 / 2 + 1 / 1 = 1; clothing: gold hat 1, predicted 0: 1
    assert row["value"] == (1 * 3 + 1 * 1) / 4 / 100
    assert row["n"] == 4
    assert row["low"] <= row["value"] <= row["high"]


def test_a_perfect_model_has_distance_0_and_a_mute_one_the_mean_size(tmp_path: Path) -> None:
    data = write(tmp_path / "data", q1={}, q2={"answer": "man", "imageId": "n8"})
    assert scored(data, {"1": "woman", "2": "man"}, tmp_path / "a")["distribution"]["value"] == 0
    assert scored(data, {"1": "", "2": ""}, tmp_path / "b")["distribution"]["value"] == 0.02


def repeated(name: str, data: Path, draws: Mapping[str, list[str]]) -> list[tuple[str, float | None]]:
    """The overall numbers of `llava`, by metric, of these draws by question id."""
    task = tasks.find(name, data)
    tally = Tally(task, repeats=max(map(len, draws.values())))
    for sample in task.samples():
        tally.count(sample)
        for text in draws.get(sample.id, ()):
            tally.add(sample, Prediction(text, text))
    return [(row["metric"], row["value"]) for row in tally.numbers() if (row["rule"], row["subset"]) == ("llava", "overall")]


SPREAD = {"q1": {}, "q2": {"imageId": "n8"}, "q3": {"answer": "man", "imageId": "n9"}}


@pytest.mark.parametrize("times", [1, 2, 3])
def test_the_same_draws_again_leave_every_number_as_it_is_and_give_none_twice(tmp_path: Path, times: int) -> None:
    data = write(tmp_path, "testdev_all_questions.json", **SPREAD, q4={"isBalanced": False}, q5={"entailed": ["4"]})
    replies = {"1": "woman", "2": "boy", "3": "woman", "4": "man", "5": "woman"}
    rows = repeated("gqa:testdev_all", data, {name: [text] * times for name, text in replies.items()})
    got = dict(rows)
    assert len(got) == len(rows)
    # gold woman 3, man 1; predicted woman 3, man 0
    assert got["distribution"] == pytest.approx(1**2 / 1 / 100)
    assert (got["accuracy"], got["consistency"]) == (0.5, 0.0)
    assert [got.get(f"{name}@{times}") for name in ("pass", "majority")] == ([None] * 2 if times == 1 else [0.5] * 2)


def test_in_distribution_each_question_counts_once_however_many_draws_it_has(tmp_path: Path) -> None:
    data = write(tmp_path, **SPREAD)
    # gold woman 2, man 1; predicted woman 1 + 1/2, man 1
    got = dict(repeated("gqa", data, {"1": ["woman"], "2": ["woman", "boy"], "3": ["man", "man", "man", "man"]}))
    assert got["distribution"] == pytest.approx(0.5**2 / 2 / 100)


ENTAILING = {
    "q1": {"entailed": ["1", "2", "3"]},
    "q2": {"isBalanced": False, "entailed": ["9"]},
    "q3": {"isBalanced": False},
    "q4": {"entailed": ["2"], "imageId": "n8"},
    "q5": {"entailed": ["3"], "imageId": "n8"},
}


def everything(folder: Path) -> Path:
    return write(folder, "testdev_all_questions.json", **ENTAILING)


def test_consistency_is_the_accuracy_on_what_the_right_answers_entail(tmp_path: Path) -> None:
    replies = {"1": "woman", "2": "woman", "3": "man", "4": "woman", "5": "man"}
    rows = scored(everything(tmp_path / "data"), replies, tmp_path / "out", "gqa:testdev_all")
    assert (rows["consistency"]["value"], rows["consistency"]["n"]) == ((0.5 + 1) / 2, 2)
    assert (rows["accuracy"]["value"], rows["accuracy"]["n"]) == (2 / 3, 3)


def test_consistency_is_null_where_one_entailed_question_has_no_reply(tmp_path: Path) -> None:
    replies = {"1": "woman", "2": "woman", "4": "woman", "5": "man"}
    rows = scored(everything(tmp_path / "data"), replies, tmp_path / "out", "gqa:testdev_all")
    assert rows["consistency"]["value"] is None
    assert rows["accuracy"]["value"] == 2 / 3


def test_consistency_is_null_where_one_entailed_question_is_not_in_the_data(tmp_path: Path) -> None:
    data = write(tmp_path / "data", q1={"entailed": ["2"]}, q2={}, q3={"entailed": ["77"]})
    assert scored(data, {"1": "woman", "2": "woman", "3": "man"}, tmp_path / "out")["consistency"]["value"] is None


def test_validity_and_plausibility_come_from_the_choices_file(tmp_path: Path) -> None:
    common = {"types": TYPES | {"detailed": "twoCommon"}, "answer": "color"}
    data = write(tmp_path / "data", q1={}, q2={}, q3=common, q4=common)
    lists = {"valid": ["woman", "man"], "plausible": ["woman"]}
    (data / "testdev_choices.json").write_text(json.dumps(dict.fromkeys("1234", lists)))
    rows = scored(data, {"1": "Man", "2": "kite", "3": "shape", "4": "woman"}, tmp_path / "out")
    assert (rows["validity"]["value"], rows["plausibility"]["value"]) == (2 / 4, 1 / 4)


def test_a_question_that_the_choices_file_lacks_is_named(tmp_path: Path) -> None:
    data = write(tmp_path / "data", q1={})
    (data / "testdev_choices.json").write_text("{}")
    with pytest.raises(DataError, match=r"expected question 1 in testdev_choices\.json"):
        scored(data, {"1": "man"}, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[]", r"expected an object of lists of choices by question id in .*testdev_choices\.json, got list"),
        ('{"1": ["woman"]}', r"expected the columns valid, plausible in .*testdev_choices\.json, question 1, got \['woman'\]"),
        ('{"1": {"valid": []}}', r"expected the columns valid, plausible in .*question 1, got valid"),
        ('{"1": {"valid": [], "plausible": "woman"}}', r"expected list in column plausible of .*question 1, got 'woman'"),
    ],
)
def test_a_choices_file_that_is_none_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    data = write(tmp_path / "data", q1={})
    (data / "testdev_choices.json").write_text(text)
    with pytest.raises(DataError, match=complaint):
        scored(data, {"1": "man"}, tmp_path / "out")


def test_no_metric_minds_the_order_of_the_replies(tmp_path: Path) -> None:
    data = everything(tmp_path / "data")
    replies = {"1": "woman", "2": "man", "3": "woman", "4": "woman", "5": "man"}
    straight = scored(data, replies, tmp_path / "a", "gqa:testdev_all")
    back = scored(data, dict(reversed(replies.items())), tmp_path / "b", "gqa:testdev_all")
    assert [{**row, "model": ""} for row in straight.values()] == [{**row, "model": ""} for row in back.values()]


# ---------------------------------------------------------------- results files


def test_replies_are_read_in_both_forms_and_nothing_else_is_taken_for_them(tmp_path: Path) -> None:
    read = tasks.find("gqa", write(tmp_path, q11={})).replies
    assert read
    (tmp_path / "a.json").write_text('[{"questionId": "11", "prediction": "woman"}, {"questionId": 12, "prediction": ""}]')
    (tmp_path / "b.jsonl").write_text('{"question_id": "11", "prompt": "Who?", "text": "Woman"}\n')
    (tmp_path / "c.jsonl").write_text('{"sample": "11", "text": "Woman", "question_id": "5"}\n')
    (tmp_path / "d.jsonl").write_text("")
    found = [read(tmp_path / name) for name in ("a.json", "b.jsonl", "c.jsonl", "d.jsonl", ".")]
    assert [rows and [(reply.sample, reply.text) for reply in rows] for rows in found] == [
        [("11", "woman"), ("12", "")],
        [("11", "Woman")],
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[{"questionId": "11", "prediction": "woman"}, {"questionId": "12"}]', "expected the columns questionId, prediction in .*row 1"),
        ('[{"questionId": "11", "prediction": 3}]', "expected str in column prediction of .*row 0, got 3"),
        ('[{"questionId": "11", "predic', "is the file cut off"),
        ('[{"questionId": "11", "prediction": "a"}, {"questionId": "11", "prediction": "b"}]', "got two for '11'"),
        ('{"question_id": "11", "text": "a"}\n{"question_id": "11", "text": "a"}\n', "got two for '11'"),
        ('{"question_id": "11", "text": "a"}\n{"question_id": "12"}\n', "expected the columns question_id, text in .*row 1"),
    ],
)
def test_a_results_file_that_is_broken_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "replies").write_text(text)
    with pytest.raises(DataError, match=complaint):
        evalkit.run(f"replay:{tmp_path / 'replies'}", "gqa", data=str(write(tmp_path / "data", q11={})), out=tmp_path / "out")


def test_unknown_and_missing_questions_are_said(tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    path.write_text('[{"questionId": "99", "prediction": "woman"}]')
    summary = evalkit.run(f"replay:{path}", "gqa", data=str(write(tmp_path / "data", q11={})), out=tmp_path / "out")
    assert "1 replies are for samples the data does not have, such as '99'" in summary.tasks[0]["notes"]
    [row] = [row for row in summary.numbers if (row["metric"], row["rule"], row["subset"]) == ("accuracy", "official", "overall")]
    assert (row["value"], row["missing"], row["n"]) == (0.0, 1, 1)


def test_what_is_exported_scores_as_what_was_read(tmp_path: Path) -> None:
    data = write(tmp_path / "data", q1={}, q2={}, q3={})
    task = tasks.find("gqa", data)
    texts = {"1": "Woman.", "2": ' the "woman"\n', "3": None}
    answered = [(s, {"text": texts[s.id] or "", "answer": texts[s.id], "missing": texts[s.id] is None}) for s in task.samples()]
    assert task.export
    assert task.replies
    predictions, answers = task.export(answered, tmp_path)
    assert (predictions.name, answers.name) == ("testdev_balanced_predictions.json", "answers.jsonl")
    back = [{reply.sample: reply.text for reply in task.replies(path) or ()} for path in (predictions, answers)]
    assert back == [{"1": "woman", "2": ' the "woman"\n'}, {"1": "Woman.", "2": ' the "woman"\n'}]


def test_a_whole_run_comes_back_from_what_is_exported(shared: Callable[[str], Path], tmp_path: Path) -> None:
    task = tasks.find("gqa", shared("annotations/gqa"))
    assert task.export
    assert task.replies
    path = shared("replay/gqa/llava-v1.5-13b.jsonl")
    texts = {reply.sample: reply.text for reply in task.replies(path) or ()}
    written = task.export(((s, {"answer": texts[s.id], "missing": False}) for s in task.samples()), tmp_path)
    official = {reply.sample: reply.text for reply in task.replies(path.with_name(f"{path.stem}_testdev_balanced_predictions.json")) or ()}
    assert [{reply.sample: reply.text for reply in task.replies(path) or ()} for path in written] == [official, texts]


@pytest.mark.parametrize("rule", ["official", "llava", "strict"])
def test_every_gold_answer_is_right_under_every_rule(rule: str, shared: Callable[[str], Path]) -> None:
    task = tasks.find("gqa", shared("annotations/gqa"))
    [parse] = {made.parse for made in task.rules if made.name == rule}
    assert all(parse(Prediction(sample.target, sample.target), sample) == sample.target for sample in task.samples())
