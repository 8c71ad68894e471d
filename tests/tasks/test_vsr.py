"""VSR: its two splits, its relations, and the published runs to the digit."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit import task as tasks
from evalkit.data import check_published
from evalkit.errors import DataError
from evalkit.types import Prediction, Sample

ROW = {"image": "000000000007.jpg", "caption": "The fox is beside the drum.", "label": 1, "relation": "beside"}


def write(path: Path, *rows: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_row_becomes_a_sample_and_its_id_is_its_row(tmp_path: Path) -> None:
    write(tmp_path / "random" / "test.jsonl", ROW, ROW | {"label": 0})
    first, second = tasks.find("vsr:random", tmp_path).samples()
    assert (first.id, first.target, second.id, second.target) == ("0", "yes", "1", "no")
    assert first.prompt == 'Is the statement true? "The fox is beside the drum." Answer yes or no.'
    assert first.question == 'Is the statement true? "The fox is beside the drum."'
    assert first.tags == {"relation=beside", "meta=Projective"}
    assert first.group == ROW["image"]


@pytest.mark.parametrize(("place", "home"), [("random/test.jsonl", "random"), ("test.jsonl", "."), ("random/test.jsonl", "images")])
def test_images_are_sought_in_images_else_beside_the_rows(tmp_path: Path, place: str, home: str) -> None:
    write(tmp_path / place, ROW)
    (tmp_path / home).mkdir(exist_ok=True)
    [sample] = tasks.find("vsr", tmp_path).samples()
    assert sample.images[0].source == tmp_path / home / "000000000007.jpg"


def test_each_variant_reads_its_own_split(tmp_path: Path) -> None:
    write(tmp_path / "random" / "test.jsonl", ROW)
    write(tmp_path / "zeroshot" / "test.jsonl", ROW | {"label": 0})
    assert [sample.target for sample in tasks.find("vsr:zeroshot", tmp_path).samples()] == ["no"]
    assert tasks.variants("vsr") == ("random", "zeroshot")


@pytest.mark.parametrize("change", [{"label": 2}, {"relation": "besides"}, {"label": "1"}, {"caption": None}])
def test_a_row_that_is_not_as_expected_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    write(tmp_path / "random" / "test.jsonl", ROW, ROW | change)
    with pytest.raises(DataError, match=r"test\.jsonl, row 1"):
        list(tasks.find("vsr:random", tmp_path).samples())


def test_the_relations_are_those_of_the_authors_file(shared: Callable[[str], Path]) -> None:
    meta: dict[str, str] = {}
    for line in (shared("annotations/vsr") / "rel_meta_category_dict.txt").read_text().splitlines():
        name, _, relations = line.partition(":")
        meta |= {relation.strip(): name for relation in relations.split(",")}
    assert meta == tasks.module("vsr").META
    assert meta["among"] == "Unallocated"


@pytest.mark.parametrize("variant", ["random", "zeroshot"])
def test_the_real_rows_have_the_published_counts(shared: Callable[[str], Path], variant: str) -> None:
    task = tasks.find(f"vsr:{variant}", shared("annotations/vsr"))
    samples = list(tasks.checked(task.samples(), task.name))
    counts = (
        Counter(["rows"] * len(samples)) + Counter(tag for s in samples for tag in s.tags) + Counter(f"answer={s.target}" for s in samples)
    )
    assert check_published(task.name, task.published, counts) == []


@pytest.mark.parametrize(("run", "correct"), [("qwen2vl_7b", 1776), ("smolvlm2_baseline", 1624)])
def test_the_published_runs_score_as_published_row_by_row(shared: Callable[[str], Path], run: str, correct: int) -> None:
    task = tasks.find("vsr:random", shared("annotations/vsr"))
    samples: dict[str, Sample] = {sample.id: sample for sample in task.samples()}
    folder, rule = shared("replay/vsr"), task.rules[0]
    rows = [json.loads(line) for line in (folder / f"{run}.jsonl").read_text(encoding="utf-8").splitlines()]
    read = {row["sample"]: rule.parse(Prediction(row["text"], row["text"]), samples[row["sample"]]) for row in rows}
    assert rule.name == "official"
    assert read == {row["sample"]: {"True": "yes", "False": "no"}[row["official_prediction"]] for row in rows}
    assert ["1" if read[row["sample"]] == "yes" else "0" for row in rows] == (folder / f"{run}.preds.txt").read_text().split()
    right = {sample: read[sample] == samples[sample].target for sample in samples}
    assert right == {row["sample"]: row["official_correct"] == "True" for row in rows}
    assert sum(right.values()) == correct
    by_tag: dict[str, list[bool]] = defaultdict(list)
    for sample in samples.values():
        for tag in sample.tags:
            by_tag[tag].append(right[sample.id])
    printed = {tag: (f"{sum(values) / len(values):.4f}", str(len(values))) for tag, values in by_tag.items()}
    official: dict[str, tuple[str, str]] = {}
    for kind in ("rel", "meta"):
        lines = (folder / f"{run}.official_by_{kind}.txt").read_text().splitlines()
        cells = [line.split("\t") for line in lines if "\t" in line]
        official |= {f"{'relation' if kind == 'rel' else kind}={name}": (share, number) for name, share, number in cells}
    assert printed == official
