"""The files of a run are as the JSON schema beside the reports says, and the schema lets nothing else through."""

import copy
import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import evalkit
from evalkit.cli.table import command
from evalkit.task import find

jsonschema = pytest.importorskip("jsonschema")
SCHEMA: dict[str, Any] = json.loads((files("evalkit.report") / "summary.schema.json").read_text("utf-8"))
GOLDEN = Path(__file__).parents[1] / "golden"
HOSTILE = '</script>\ud800\x00 "\\\n\u202e | $x$ & _'
PLUGIN = f"""
class Mine:
    frame = "original"

    def generate(self, messages, images):
        if "red" in str(messages):
            raise RuntimeError("no answer")
        return {HOSTILE!r} + '<answer>{{"bbox_2d": [1, 2, 30, 40]}}</answer>'
"""

Write = Callable[..., Path]


def of(name: str = "") -> Any:
    """What checks values against the schema, or against a part of it."""
    whole = {"$schema": SCHEMA["$schema"], "$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{name}"} if name else SCHEMA
    return jsonschema.Draft202012Validator(whole, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def wrong(folder: Path) -> list[str]:
    """What the schema has against a run's files."""
    values = [("", json.loads((folder / "summary.json").read_text("utf-8")))]
    values += [("manifest", json.loads((folder / "manifest.json").read_text("utf-8")))]
    values += [("prediction", row) for row in lines(folder / "predictions.jsonl")]
    values += [("record", row) for row in lines(folder / "records.jsonl")]
    checks = {name: of(name) for name in ("", "manifest", "prediction", "record")}
    return [f"{name} {list(error.absolute_path)}: {error.message}" for name, value in values for error in checks[name].iter_errors(value)]


def test_the_schema_is_one_and_every_object_in_it_says_what_it_allows() -> None:
    """Keys are free only in what other packages or tasks fill: options, details, verdicts."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    free = {path[-1] for path, node in nodes(SCHEMA) if node.get("type") == "object" and "additionalProperties" not in node}
    assert free == {"sampling", "details", "options", "resolved", "verdicts"}
    assert [path for path, node in nodes(SCHEMA) if node.get("additionalProperties") is True] == []


def test_every_key_is_explained_where_it_stands_or_where_it_refers_to() -> None:
    bare = [
        f"{'/'.join(path)}/{name}"
        for path, node in nodes(SCHEMA)
        for name, said in node.get("properties", {}).items()
        if path[-1] not in ("if", "then") and not said.get("description") and not {"$ref", "anyOf"} & said.keys()
    ]
    assert bare == []


def nodes(value: Any, path: tuple[str, ...] = ("",)) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """The objects in a value, each with its path."""
    if isinstance(value, dict):
        yield path, value
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield from nodes(one, (*path, str(key)))


# ---------------------------------------------------------------- real runs


@pytest.mark.parametrize("protocol", ["direct", "grit", "pixel_reasoner"])
def test_runs_by_each_way_of_asking_are_as_it_says(tmp_path: Path, protocol: str) -> None:
    made = evalkit.run("oracle", ["shapes", "shapes:mask-240"], protocol=protocol, limit=24, out=tmp_path, label=["step=1"])
    assert wrong(made.folder) == []


@pytest.mark.parametrize("task", ["grit_mme", "mathvista", "ovdeval", "refcoco", "reasonseg", "vstar"])
def test_runs_of_tasks_with_composites_judges_labels_masks_and_likelihoods_are_as_it_says(
    task: str, golden_data: Callable[[Path], Path], tmp_path: Path
) -> None:
    golden = GOLDEN / f"{task}.jsonl"
    name = json.loads(golden.read_text(encoding="utf-8").splitlines()[0])["task"]
    data = golden_data(golden)
    options = {"judge": "oracle"} if find(name, data).graders else {"protocol": "likelihood"} if task == "vstar" else {}
    made = evalkit.run("oracle", name, data=str(data), out=tmp_path / "out", allow_incomplete=True, **options)
    assert wrong(made.folder) == []


def test_a_run_with_gaps_repeats_and_replies_of_hostile_signs_is_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    made = evalkit.run(f"plugin:{tmp_path / 'mine.py'}:Mine", "shapes", protocol="grit", limit=24, repeats=2, temperature=1, out=tmp_path)
    assert made.tasks[0]["gaps"]
    assert any("script" in row["text"] for row in lines(made.folder / "predictions.jsonl"))
    assert {"pass@2", "majority@2"} <= {row["metric"] for row in made.numbers}
    assert wrong(made.folder) == []


def test_a_run_of_a_suite_and_a_blind_one_are_as_it_says(tmp_path: Path) -> None:
    suite = 'title = "Own"\nsource = "nowhere"\ntasks = ["shapes"]\nprotocol = "grit"\nmax_new_tokens = 9\n'
    (tmp_path / "own.toml").write_text(f'{suite}columns = [{{ title = "Shapes", task = "shapes", metric = "accuracy" }}]\n')
    for options in ({"suite": str(tmp_path / "own.toml")}, {"tasks": "shapes", "blind": True}):
        made = evalkit.run("mute", limit=8, out=tmp_path, **options)
        assert wrong(made.folder) == []


def test_a_replay_that_lacks_replies_is_as_it_says(tmp_path: Path) -> None:
    """Its masks and boxes are values, and what it lacks is counted as missing."""
    replies = [{"sample": "0", "text": HOSTILE, "boxes": [[1, 2, 3, 4]], "labels": ["a"], "scores": [0.5]}]
    (tmp_path / "replies.jsonl").write_text("\n".join(map(json.dumps, replies)))
    made = evalkit.run(f"replay:{tmp_path / 'replies.jsonl'}", "shapes:24", out=tmp_path)
    assert any(row["missing"] for row in made.numbers)
    assert wrong(made.folder) == []


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize("options", [[], ["--numbers", "headline"], ["--baseline", "other"]])
def test_the_rows_that_a_table_prints_as_json_are_as_it_says(run_folder: Write, options: list[str]) -> None:
    folder, other = run_folder(samples=24), run_folder("other", samples=24)
    done = CliRunner().invoke(command, [str(folder), "--format", "json", *(str(other) if word == "other" else word for word in options)])
    rows = json.loads(done.stdout)
    check = of("cell" if options else "number")
    assert rows
    assert [error.message for row in rows for error in check.iter_errors(row)] == []


# ---------------------------------------------------------------- what it does not let through


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A summary."""
    return evalkit.run("guess", "shapes", limit=24, out=tmp_path_factory.mktemp("runs")).as_json()


Change = Callable[[dict[str, Any]], Any]
CHANGES: dict[str, Change] = {
    "an unknown key": lambda summary: summary.update(seconds=3.5),
    "an unknown key of a task": lambda summary: summary["tasks"][0].update(path="/home"),
    "an unknown key of a number": lambda summary: summary["numbers"][0].update(p=0.05),
    "a number without its interval": lambda summary: summary["numbers"][0].pop("low"),
    "an interval of what was not measured": lambda summary: summary["numbers"][0].update(value=None, low=0.1),
    "a negative count": lambda summary: summary["numbers"][0].update(n=-1),
    "text for a number": lambda summary: summary["numbers"][0].update(value="0.5"),
    "a gap without a reason": lambda summary: summary["tasks"][0]["gaps"].append({"sample": "1", "draw": 0}),
    "another format": lambda summary: summary.update(format=2),
    "no numbers": lambda summary: summary.pop("numbers"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_summary_that_is_not_one_is_refused(whole: dict[str, Any], name: str) -> None:
    assert of().is_valid(whole)
    changed = copy.deepcopy(whole)
    CHANGES[name](changed)
    assert not of().is_valid(changed)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("prediction", "score", 1),
        ("prediction", "finish", "error"),
        ("prediction", "masks", ["04"]),
        ("record", "correct", "yes"),
        ("manifest", "host", "here"),
    ],
)
def test_an_unknown_key_or_a_value_of_another_kind_in_the_other_files_is_refused(
    whole: dict[str, Any], tmp_path: Path, part: str, key: str, value: Any
) -> None:
    folder = evalkit.run("guess", "shapes", limit=8, out=tmp_path).folder
    found = json.loads((folder / "manifest.json").read_text()) if part == "manifest" else lines(folder / f"{part}s.jsonl")[0]
    assert of(part).is_valid(found)
    assert not of(part).is_valid({**found, key: value})
