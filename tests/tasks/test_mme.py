"""MME: its layouts, its pairs, its results files, and what is refused."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

import evalkit
from evalkit import task as tasks
from evalkit.data import check_published, decode
from evalkit.errors import DataError, Refused
from evalkit.types import Columns, Sample

ASK = "Please answer yes or no."
COUNT = f"0901.jpg\tAre there two kites?  {ASK}\tYes\n0901.jpg\tAre there nine kites? {ASK}\tNo\n"
OCR = f"0902.png\tIs the word 'ale'? {ASK}\tYes\n0902.png\tIs the word 'tea'? {ASK}\tNo\n"
IDS = ["OCR/0902.png/0", "OCR/0902.png/1", "count/0901.jpg/0", "count/0901.jpg/1"]


def tool(folder: Path, **tables: str) -> Path:
    """A folder in the eval tool's layout."""
    (folder / "Your_Results").mkdir(parents=True)
    for subtask, text in ({"count": COUNT, "OCR": OCR} | tables).items():
        (folder / "Your_Results" / f"{subtask}.txt").write_text(text)
    return folder


def draw(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.new("RGB", (30, 20), "olive").save(path)
    return path.read_bytes()


def load(folder: Path) -> list[Sample]:
    return list(tasks.find("mme", folder).samples())


def results(folder: Path, **tables: str) -> Path:
    folder.mkdir(exist_ok=True)
    for subtask, text in tables.items():
        (folder / f"{subtask}.txt").write_text(text, newline="")
    return folder


def answered(table: str, *texts: str) -> str:
    """The table with these replies at the ends of its lines."""
    return "".join(f"{line}\t{text}\n" for line, text in zip(table.splitlines(), texts, strict=True))


def scored(data: Path, replies: Path, out: Path) -> dict[tuple[str, str], Any]:
    summary = evalkit.run(f"replay:{replies}", "mme", data=str(data), out=out, allow_incomplete=True)
    return {(row["metric"], row["subset"]): row for row in summary.numbers if row["rule"] == "official"}


def test_a_line_becomes_a_sample_with_the_authors_wording(tmp_path: Path) -> None:
    samples = {sample.id: sample for sample in load(tool(tmp_path))}
    assert list(samples) == IDS
    sample = samples["count/0901.jpg/0"]
    assert (sample.question, sample.prompt) == ("Are there two kites?", f"Are there two kites?  {ASK}")
    assert (sample.target, sample.group, sample.tags) == ("yes", "count/0901.jpg", {"count", "perception"})
    assert samples["count/0901.jpg/1"].target == "no"


@pytest.mark.parametrize("home", ["count", "count/images", "MME_Benchmark_release_version/count", "release/count/images"])
def test_images_are_sought_in_the_subtasks_folder(tmp_path: Path, home: str) -> None:
    tool(tmp_path)
    draw(tmp_path / home / "0901.jpg")
    assert decode(load(tmp_path)[-1].images[0]).size == (30, 20)


def test_the_tables_own_folder_and_a_folder_above_are_read_alike(tmp_path: Path) -> None:
    tool(tmp_path / "eval_tool")
    (tmp_path / "readme.txt").write_text("Fill in.")
    (tmp_path / "eval_tool" / "LaVIN").mkdir()
    (tmp_path / "eval_tool" / "LaVIN" / "count.txt").write_text(answered(COUNT, "yes", "no"))
    above, tables = load(tmp_path), load(tmp_path / "eval_tool" / "Your_Results")
    assert [sample.id for sample in above] == [sample.id for sample in tables] == IDS


def test_the_release_is_read_in_both_its_layouts_at_once(tmp_path: Path) -> None:
    for home, image, table in (("count", "count", COUNT), ("OCR/questions_answers_YN", "OCR/images", OCR)):
        name, lines = table.split("\t")[0], [line.split("\t", 1)[1] for line in table.splitlines()]
        draw(tmp_path / image / name)
        (tmp_path / home).mkdir(parents=True, exist_ok=True)
        (tmp_path / home / f"{Path(name).stem}.txt").write_text("\r\n".join(lines))
    (tmp_path / "readme.txt").write_text("MME")
    samples = load(tmp_path)
    assert sorted(sample.id for sample in samples) == IDS
    assert all(decode(sample.images[0]).size == (30, 20) for sample in samples)
    assert {sample.id: (sample.prompt, sample.target) for sample in samples} == {
        sample.id: (sample.prompt, sample.target) for sample in load(tool(tmp_path / "tool"))
    }


def test_a_text_file_of_the_release_without_its_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "count").mkdir()
    (tmp_path / "count" / "0901.txt").write_text(f"Are there two kites? {ASK}\tYes\n")
    with pytest.raises(DataError, match=r"expected the image of .*0901\.txt in .*count, found none"):
        load(tmp_path)


def hub(folder: Path, **change: str) -> Path:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    image = {"bytes": draw(folder / "drawn.png"), "path": "0902.png"}
    rows = [
        {"question_id": f"{subtask}/{name}", "image": image, "question": question, "answer": gold, "category": subtask} | change
        for subtask, table in (("OCR", OCR), ("count", COUNT))
        for name, question, gold in (line.split("\t") for line in table.splitlines())
    ]
    (folder / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "data" / "test-00000-of-00001.parquet", row_group_size=2)
    return folder


def test_the_hubs_rows_are_the_same_samples(tmp_path: Path) -> None:
    samples = load(hub(tmp_path / "hub"))
    local = load(tool(tmp_path / "tool"))
    assert [(s.id, s.prompt, s.target, s.tags) for s in samples] == [(s.id, s.prompt, s.target, s.tags) for s in local]
    assert decode(samples[-1].images[0]).size == (30, 20)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"category": "ocr"}, r"expected one of the 14 subtasks as category in .*row 0, got 'ocr'"),
        ({"answer": "maybe"}, "expected Yes or No as the answer in .*row 0, got 'maybe'"),
        ({"question_id": "OCR/0902.png", "category": "OCR"}, "expected two questions about OCR/0902.png, got a third in .*row 2"),
    ],
)
def test_a_row_of_the_hub_that_is_none_is_named(tmp_path: Path, change: dict[str, str], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        load(hub(tmp_path, **change))


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (answered(COUNT, "yes", "no"), r"expected image, question and answer, parted by tabs, in .*count\.txt, line 1, got 4 cells"),
        (COUNT + "0903.jpg\tIs it", r"count\.txt, line 3, got 2 cells"),
        (COUNT.replace("\tNo", "\tNope"), r"expected Yes or No as the answer in .*count\.txt, line 2, got 'Nope'"),
        (COUNT + COUNT, r"expected two questions about count/0901.jpg, got a third in .*count\.txt, line 3"),
        ("\n \n0903.jpg", r"count\.txt, line 3, got 1 cells"),
    ],
)
def test_a_line_of_the_data_that_is_none_is_named(tmp_path: Path, table: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        load(tool(tmp_path, count=table))


def test_a_table_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tool(tmp_path) / "Your_Results" / "count.txt").write_bytes(COUNT.replace("kites", "piñatas").encode("cp1252"))
    with pytest.raises(DataError, match=r"expected UTF-8 text in .*count\.txt, got byte 0xf1"):
        load(tmp_path)


# ---------------------------------------------------------------- numbers


def test_a_score_is_both_shares_and_perception_the_sum_of_its_ten(tmp_path: Path) -> None:
    second = COUNT.replace("0901", "0903")
    data = tool(tmp_path / "data", count=COUNT + second)
    replies = results(tmp_path / "r", count=answered(COUNT + second, "Yes", "No", "Yes", "Yes"), OCR=answered(OCR, "no", "other"))
    rows = scored(data, replies, tmp_path / "out")
    assert (rows["accuracy", "count"]["value"], rows["accuracy_plus", "count"]["value"]) == (0.75, 0.5)
    assert (rows["score", "count"]["value"], rows["score", "OCR"]["value"]) == (125.0, 0.0)
    assert (rows["accuracy", "perception"]["value"], rows["accuracy_plus", "perception"]["value"]) == (0.5, 1 / 3)
    assert rows["score", "perception"]["value"] is None, "eight of its ten have no rows"
    assert ("score", "overall") not in rows
    assert rows["accuracy", "OCR"]["unparsed"] == 1


def test_an_image_with_one_question_is_not_right(tmp_path: Path) -> None:
    data = tool(tmp_path / "data", count=COUNT + f"0903.jpg\tIs it one kite? {ASK}\tYes\n")
    replies = results(tmp_path / "r", count=answered((data / "Your_Results/count.txt").read_text(), "Yes", "No", "Yes"))
    rows = scored(data, replies, tmp_path / "out")
    assert (rows["accuracy", "count"]["value"], rows["accuracy_plus", "count"]["value"]) == (1.0, 0.5)
    assert rows["score", "count"]["value"] == pytest.approx(150.0, abs=1e-9)


def test_of_repeats_an_image_counts_by_the_share_of_pairs_that_are_right(tmp_path: Path) -> None:
    task = tasks.find("mme", tool(tmp_path))
    yes, no = [sample for sample in task.samples() if "count" in sample.tags]
    metric = task.rules[0].metric
    measured = [metric.measure(value, sample) for value, sample in (("yes", yes), ("no", yes), ("no", no), ("no", no), (None, no))]
    values = {name: np.array([record[name] for record in measured]) for name in ("correct", "question")}
    found = metric.summarise(Columns(values, np.zeros(5, dtype=np.int64)))
    assert found["accuracy_plus"].value == pytest.approx(1 / 2 * 2 / 3)
    assert metric.summarise(Columns({}, np.zeros(0, dtype=np.int64)))["score"].value is None


def test_subtasks_that_lack_replies_are_named_and_counted(tmp_path: Path) -> None:
    data, replies = tool(tmp_path / "data"), results(tmp_path / "r", count=answered(COUNT, "Yes", "No"))
    with pytest.raises(Refused, match=r"existence has 0 of 60 replies, count has 2 of 60 .*OCR has 0 of 40"):
        evalkit.run(f"replay:{replies}", "mme", data=str(data), out=tmp_path / "out")


def test_the_real_rows_are_the_published_ones(shared: Callable[[str], Path]) -> None:
    task = tasks.find("mme", shared("annotations/mme"))
    counts: dict[str, int] = {}
    for sample in task.samples():
        for key in ("rows", f"answer={sample.target}", *sample.tags):
            counts[key] = counts.get(key, 0) + 1
    assert check_published("mme", task.published, counts) == []
    assert (counts["perception"], counts["cognition"]) == (2114, 260)


# ---------------------------------------------------------------- results files


def test_lines_are_matched_by_the_images_stem_and_the_words_of_the_question(tmp_path: Path) -> None:
    data = tool(tmp_path / "data")
    table = answered(COUNT, "Yes, two.", "").replace("kites?  ", "kites? ").replace("0901.jpg", "0901.txt").replace("\tYes\t", "\tyes\t")
    lines = table.splitlines()
    read = tasks.find("mme", data).replies
    assert read
    found = read(results(tmp_path / "r", count="\r\n".join(reversed(lines)) + "\r\n"))
    assert found
    assert {reply.sample: reply.text for reply in found} == {"count/0901.jpg/0": "Yes, two.", "count/0901.jpg/1": ""}


def read(folder: Path, table: str) -> dict[str, str]:
    """The replies by sample of this table of results about counts."""
    replies = tasks.find("mme", tool(folder / "data")).replies
    assert replies
    return {reply.sample: reply.text for reply in replies(results(folder / "r", count=table)) or ()}


@pytest.mark.parametrize("ending", ["", f"{ASK} Answer the question using a single word or phrase.", "Yes or no?"])
def test_questions_that_end_otherwise_are_the_same_questions(tmp_path: Path, ending: str) -> None:
    lines = answered(COUNT.replace(ASK, ending), "Yes", "Nine.").splitlines(keepends=True)
    assert read(tmp_path, "".join(reversed(lines))) == {"count/0901.jpg/0": "Yes", "count/0901.jpg/1": "Nine."}


def test_a_question_in_other_words_is_known_by_its_answer(tmp_path: Path) -> None:
    table = answered(COUNT.replace("nine", "six").replace("two", "only two"), "Yes", "Six.")
    assert read(tmp_path, table) == {"count/0901.jpg/0": "Yes", "count/0901.jpg/1": "Six."}


def test_in_other_words_neither_of_two_questions_with_one_answer_is_known(tmp_path: Path) -> None:
    data = tool(tmp_path / "data", count=COUNT.replace("\tNo", "\tYes"))
    replies = tasks.find("mme", data).replies
    assert replies
    [reply] = replies(results(tmp_path / "r", count="0901.jpg\tIs it a pair?\tYes\tYes\n")) or ()
    assert reply.sample == "count/0901.jpg: Is it a pair?"


def test_blank_lines_line_endings_a_mark_and_a_lost_tab_change_nothing(tmp_path: Path) -> None:
    first, second = answered(COUNT, "Yes", "").splitlines()
    table = f"\ufeff\r\n{first}\r\n \t\r\n{second.rstrip()}\r\n\r\n"
    assert read(tmp_path, table) == {"count/0901.jpg/0": "Yes", "count/0901.jpg/1": ""}


def test_blank_lines_line_endings_and_a_mark_do_not_change_the_data_either(tmp_path: Path) -> None:
    tool(tmp_path)
    (tmp_path / "Your_Results" / "count.txt").write_bytes(("\ufeff\n" + COUNT + "\n").replace("\n", "\r\n").encode())
    assert [(sample.id, sample.target) for sample in load(tmp_path)[2:]] == [("count/0901.jpg/0", "yes"), ("count/0901.jpg/1", "no")]


def test_replies_to_what_the_data_lacks_are_counted_and_the_others_scored(tmp_path: Path) -> None:
    data = tool(tmp_path / "data", count=COUNT.splitlines()[0])
    other = answered(COUNT.replace("0901", "a/0904"), "Yes", "No")
    replies = results(tmp_path / "r", count=answered(COUNT, "Yes", "No") + other, OCR=answered(OCR, "yes", "no"))
    with pytest.raises(Refused, match="count has 1 of 60 replies"):
        evalkit.run(f"replay:{replies}", "mme", data=str(data), out=tmp_path / "refused")
    summary = evalkit.run(f"replay:{replies}", "mme", data=str(data), out=tmp_path / "out", allow_incomplete=True)
    [note] = [note for note in summary.tasks[0]["notes"] if "replies" in note]
    assert note == f"3 replies are for samples the data does not have, such as 'count/0901.jpg: Are there nine kites? {ASK}'"
    got = {row["subset"]: row["value"] for row in summary.numbers if (row["metric"], row["rule"]) == ("accuracy", "official")}
    assert (got["count"], got["OCR"]) == (1.0, 1.0)


def test_what_holds_no_table_is_not_in_the_authors_format(tmp_path: Path) -> None:
    read = tasks.find("mme", tool(tmp_path / "data")).replies
    assert read
    (tmp_path / "replies.jsonl").write_text("")
    assert [read(path) for path in (tmp_path, tmp_path / "replies.jsonl")] == [None, None]


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (answered(COUNT, "Yes\tindeed", "No"), r"count\.txt, line 1, got 5 cells: in a reply, tabs and line breaks must be spaces"),
        (answered(COUNT, "Yes,\nindeed", "No"), r"count\.txt, line 2, got 1 cells: in a reply, tabs and line breaks must be spaces"),
        (answered(COUNT, "Yes", "No").replace("\t", " ", 2), r"count\.txt, line 1, got 2 cells: in a reply, tabs"),
        (
            answered(COUNT, "Yes", "No") * 2,
            r"each question of count once, got 'Are there two .*' about '0901.jpg' again in .*count\.txt, line 3",
        ),
        (answered(COUNT, "Yes", "No") + answered(COUNT.replace("two", "2"), "Yes", "No"), "each question of count once, got 'Are there 2 "),
        (answered(COUNT.replace("0901", "0904"), "Yes", "No") * 2, r"count once, got .* about '0904.jpg' again in .*count\.txt, line 3"),
        (answered(COUNT.replace("\tNo", "\tYes"), "Yes", "No"), r"expected the answer No, as the data has it, in .*line 2, got 'Yes'"),
        (answered(COUNT.replace(f" {ASK}\tNo", "\tYes"), "", ""), r"expected the answer No, as the data has it, in .*line 2, got 'Yes'"),
        (answered(COUNT.replace("nine", "six").replace("\tNo", "\tNo."), "Yes", "No"), r"expected Yes or No as .*line 2, got 'No\.'"),
    ],
)
def test_a_line_of_results_that_is_none_is_named(tmp_path: Path, table: str, complaint: str) -> None:
    data, replies = tool(tmp_path / "data"), results(tmp_path / "r", count=table)
    with pytest.raises(DataError, match=complaint):
        evalkit.run(f"replay:{replies}", "mme", data=str(data), out=tmp_path / "out", allow_incomplete=True)


def exported(data: Path, texts: Mapping[str, str | None], folder: Path) -> list[Path]:
    """What is written of these answers; None is a missing reply."""
    task = tasks.find("mme", data)
    assert task.export
    folder.mkdir(exist_ok=True)
    rows = [(s, {"text": "", "answer": texts[s.id], "missing": texts[s.id] is None}) for s in task.samples() if s.id in texts]
    return task.export(rows, folder)


def test_what_is_exported_is_on_one_line_and_comes_back_with_the_same_labels(tmp_path: Path) -> None:
    data, texts = tool(tmp_path / "data"), dict(zip(IDS, ["Yes", "\n\nNo", "y\tes\r\n", "No,\nnone"], strict=True))
    written = exported(data, texts, tmp_path / "out")
    assert sorted(path.name for path in written) == ["OCR.txt", "count.txt"]
    assert (tmp_path / "out" / "count.txt").read_text() == answered(COUNT, "y es  ", "No, none")
    task = tasks.find("mme", data)
    assert task.replies
    back = {reply.sample: reply.text for reply in task.replies(tmp_path / "out") or ()}
    assert back == {name: text.translate(str.maketrans("\t\n\r", "   ")) for name, text in texts.items()}


def test_an_export_without_a_reply_to_each_of_a_pair_is_refused(tmp_path: Path) -> None:
    data = tool(tmp_path / "data")
    for texts in ({IDS[0]: "yes", IDS[1]: None}, {IDS[0]: "yes"}):
        with pytest.raises(DataError, match=r"all but 1 of 1 images, such as OCR/0902\.png"):
            exported(data, texts, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_tools_own_example_comes_back_from_what_is_exported(shared: Callable[[str], Path], tmp_path: Path) -> None:
    data, replies = shared("annotations/mme"), shared("replay/mme/LaVIN")
    read = tasks.find("mme", data).replies
    assert read
    texts: dict[str, str | None] = {reply.sample: reply.text for reply in read(replies) or ()}
    written = exported(data, texts, tmp_path)
    assert len(written) == 14
    assert all(path.read_bytes() == (replies / path.name).read_bytes() for path in written)
