"""`evalkit.run` from Python, and what a folder is good for afterwards."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import evalkit
from evalkit import api, config, manifest
from evalkit.config import RunConfig
from evalkit.errors import DataError, Refused, UserError

TASK = """
from pathlib import Path

from evalkit import Accuracy, Image, Rule, Sample, Task, Wants

VARIANTS = ()
DATA = None
HERE = Path(__file__).parent


def task(variant, data):
    return Task("look", 1, samples, (Rule("strict", lambda p, s: p.answer, Accuracy()),), "accuracy", ("text",))


def samples():
    for i in range(6):
        yield Sample(str(i), "How wide?", "How wide?", (Image(HERE / f"{i}.png"),), Wants("text"), str(10 + i))
"""
PLUGIN = """
from pathlib import Path

from evalkit.errors import Gap

BROKEN = Path(__file__).with_name("broken")


class Wide:
    def generate(self, messages, images):
        if BROKEN.exists() and images[0].width == 12:
            raise RuntimeError("no answer")
        return str(images[0].width)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for i in range(6):
        Image.new("RGB", (10 + i, 8), "white").save(tmp_path / f"{i}.png")
    (tmp_path / "look.py").write_text(TASK)
    (tmp_path / "wide.py").write_text(PLUGIN)
    return tmp_path


def run(place: Path, **options: Any) -> api.Summary:
    return evalkit.run(f"plugin:{place / 'wide.py'}:Wide", str(place / "look.py"), **{"out": place / "out", **options})


def test_it_returns_the_numbers_and_writes_the_folder(place: Path) -> None:
    summary = run(place, label="step=1,split=dev")
    assert summary.complete
    assert summary.value("look", "accuracy", "strict") == 1.0
    assert json.loads((summary.folder / "summary.json").read_text())["numbers"] == summary.numbers
    assert json.loads((summary.folder / "manifest.json").read_text())["options"]["label"] == ["step=1", "split=dev"]
    with pytest.raises(KeyError):
        summary.value("look", "accuracy", "official")


def test_it_runs_inside_a_notebooks_loop(place: Path) -> None:
    async def cell() -> api.Summary:
        return run(place)

    assert asyncio.run(cell()).complete


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"repeats": 0}, "--repeats of at least 1"),
        ({"temperature": float("nan")}, "--temperature"),
        ({"top_p": 2.0}, "--top-p"),
        ({"limt": 3}, "unknown key 'limt'"),
        ({"data": "lok=here"}, "names no task of this run"),
        ({"sampling": "checkpoint"}, "needs a checkpoint"),
        ({"sampling": "mine"}, "expected --sampling"),
        ({"engine": "replay"}, "does not go with"),
    ],
)
def test_a_wrong_option_is_said_to_be_wrong(place: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        run(place, **options)


def test_scored_again_where_the_images_are_gone(place: Path) -> None:
    summary = run(place)
    for i in range(6):
        (place / f"{i}.png").unlink()
    again, differences = api.score(summary.folder)
    assert (again.numbers, differences) == (summary.numbers, [])


def test_a_run_with_gaps_is_scored_again_with_the_same_gaps(place: Path) -> None:
    (place / "broken").touch()
    summary = run(place)
    assert not summary.complete
    before = (summary.folder / "summary.json").read_bytes()
    again, differences = api.score(summary.folder)
    assert differences == []
    assert not again.complete
    assert (summary.folder / "summary.json").read_bytes() == before


def test_a_run_is_scored_from_any_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    summary = evalkit.run("plugin:wide.py:Wide", "look.py", out="out")
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    assert api.score(place / summary.folder)[1] == []


def test_paths_are_kept_from_the_root_whoever_wrote_them_where(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("models/lora", "models/words", "own"):
        (place / name).mkdir(parents=True)
    (place / "models" / "tuned.toml").write_text('source = "hub/id"\nadapter = "lora"\nprocessor = "words"\n')
    (place / "models" / "plain.toml").write_text('source = "hub/id"\nadapter = "/lora"\nprocessor = "hub/words"\n')
    monkeypatch.chdir(place)
    tuned, plain = config.model("models/tuned.toml"), config.model("models/plain.toml")
    kept = manifest.absolute(RunConfig(model="models/tuned.toml", adapter="own", processor="hub/words", suite="grit", reuse="own"))
    monkeypatch.chdir("/")
    assert tuned is not None
    assert plain is not None
    assert (tuned.adapter, tuned.processor) == (str(place / "models" / "lora"), str(place / "models" / "words"))
    assert (plain.adapter, plain.processor) == ("/lora", "hub/words")
    assert (kept.model, kept.adapter, kept.reuse) == (str(place / "models" / "tuned.toml"), str(place / "own"), str(place / "own"))
    assert (kept.processor, kept.suite) == ("hub/words", "grit")


@pytest.mark.parametrize("error", ["ValueError('no such frame')", "DataError('no such frame')"])
def test_what_a_rule_raises_ends_the_run_in_its_words_and_leaves_no_numbers(place: Path, error: str) -> None:
    rule = 'from evalkit.errors import DataError\n\n\ndef broken(p, s):\n    if s.id == "3":\n        raise ERROR\n    return p.answer\n'
    text = TASK.replace("VARIANTS", rule.replace("ERROR", error) + "\n\nVARIANTS", 1).replace("lambda p, s: p.answer", "broken")
    (place / "look.py").write_text(text)
    with pytest.raises((ValueError, DataError), match=r"^no such frame"):
        run(place)
    [folder] = (place / "out").iterdir()
    assert not (folder / "summary.json").exists()
    assert not (folder / "records.jsonl").exists()


def test_a_replay_that_changed_is_not_scored_again(place: Path) -> None:
    rows = place / "replies.jsonl"
    rows.write_text("".join(json.dumps({"sample": str(i), "text": str(10 + i)}) + "\n" for i in range(6)))
    summary = evalkit.run(f"replay:{rows}", str(place / "look.py"), out=place / "out")
    assert summary.value("look", "accuracy", "strict") == 1.0
    assert api.score(summary.folder)[1] == []
    rows.write_text(rows.read_text().replace('"10"', '"11"'))
    with pytest.raises(Refused, match="not what it was"):
        api.score(summary.folder)


def test_a_changed_task_file_is_another_run(place: Path) -> None:
    first = run(place)
    (place / "look.py").write_text(TASK.replace("str(10 + i)", "str(11 + i)"))
    second = run(place)
    assert first.folder != second.folder
    assert second.value("look", "accuracy", "strict") == 0.0


def test_two_images_of_one_name_are_two_images(place: Path) -> None:
    text = TASK.replace('Image(HERE / f"{i}.png")', 'Image(Lazy("photo", (HERE / f"{i}.png").read_bytes))').replace(
        "Image, Rule", "Image, Lazy, Rule"
    )
    (place / "look.py").write_text(text)
    assert run(place).value("look", "accuracy", "strict") == 1.0


def test_a_limit_above_the_number_of_samples_is_no_limit(place: Path) -> None:
    (place / "look.py").write_text(TASK.replace('("text",))', '("text",), published={"rows": 6})'))
    (entry,) = run(place, limit=50).tasks
    assert entry["limit"] is None
    (entry,) = run(place, limit=3).tasks
    assert entry["limit"] == 3


def test_secrets_are_not_kept_in_the_manifest(place: Path) -> None:
    summary = run(place, command=["run", "--api-key=sk-123", "--label", "hf_token=abc", "--limit=3"])
    assert json.loads((summary.folder / "manifest.json").read_text())["command"] == [
        "run",
        "--api-key=***",
        "--label",
        "hf_token=***",
        "--limit=3",
    ]


def test_a_folder_of_a_newer_evalkit_is_refused(place: Path) -> None:
    summary = run(place)
    for name in ("summary.json", "manifest.json"):
        content = json.loads((summary.folder / name).read_text())
        (summary.folder / name).write_text(json.dumps(content | {"format": 99}))
        with pytest.raises(UserError, match="update evalkit"):
            api.score(summary.folder)


def test_a_wrong_earlier_run_leaves_no_trace(place: Path) -> None:
    with pytest.raises(UserError, match="expected a run's folder"):
        run(place, reuse=str(place / "nope"))
    assert not list((place / "out").glob("*/manifest.json"))


def test_a_reply_that_is_no_unicode_is_written_and_read(place: Path) -> None:
    (place / "wide.py").write_text(PLUGIN.replace("return str(images[0].width)", 'return str(images[0].width) + "\\ud83d"'))
    summary = run(place)
    import pandas

    assert len(pandas.read_json(summary.folder / "predictions.jsonl", lines=True)) == 6
    assert run(place).numbers == summary.numbers


def test_a_task_file_of_ones_own_has_a_data_folder_of_its_own(place: Path) -> None:
    (place / "rows").mkdir()
    (place / "rows" / "rows.jsonl").write_text('{"id": "a"}\n')
    text = """
from evalkit import Accuracy, Data, Rule, Sample, Task, Wants, read_jsonl

VARIANTS = ()
DATA = Data(hub=("me/mine",), files=("rows.jsonl",), licence="none", layout="rows.jsonl")


def task(variant, data):
    rows = lambda: (Sample(r["id"], "q", "q", (), Wants("text"), "x") for r in read_jsonl(DATA.folder(data) / "rows.jsonl"))
    return Task("mine", 1, rows, (Rule("strict", lambda p, s: p.answer, Accuracy()),), "accuracy", ("text",), data=DATA)
"""
    (place / "own.py").write_text(text)
    (place / "x.py").write_text("class X:\n    def generate(self, messages, images):\n        return 'x'\n")
    for key in ("own", str(place / "own.py")):
        summary = evalkit.run(
            f"plugin:{place / 'x.py'}:X", str(place / "own.py"), data=f"{key}={place / 'rows'}", out=place / key.replace("/", "")
        )
        assert summary.value("mine", "accuracy", "strict") == 1.0
        assert api.score(summary.folder)[1] == []
    (place / "rows" / "rows.jsonl").write_text('{"id": "a"}\n\n')
    assert "data of mine is not what it was" in api.score(summary.folder, check=True)[1][0]
    with pytest.raises(UserError, match=r"expected rows.jsonl|expected a folder|found nothing"):
        evalkit.run("demo", str(place / "own.py"), data=str(place / "none"))


def test_data_that_is_not_what_was_seen_whole_is_said_before_anything_is_asked_and_beside_the_numbers(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (place / "rows").mkdir()
    (place / "rows" / "rows.jsonl").write_text("{}\n")
    text = TASK.replace("DATA = None", 'DATA = Data(hub=(), files=("rows.jsonl",), licence="none", layout="rows.jsonl")')
    text = text.replace("Accuracy, Image", "Accuracy, Data, Image").replace('("text",))', '("text",), data=DATA)')
    (place / "look.py").write_text(text)
    monkeypatch.setattr(config, "home", lambda: place)
    config.lock("look", config.Locked("main", "f" * 64))
    said = []
    with caplog.at_level("INFO", "evalkit"):
        summary = run(place, data=str(place / "rows"), progress=lambda outcome, tallies: said.append(caplog.text))
    wrong = "expected the data of look that configs/data.lock has seen whole (ffffffffffff), got "
    assert wrong in said[0]
    assert summary.tasks[0]["notes"][0].startswith(wrong)
    (place / "data.lock").unlink()
    config.lock(
        "look", config.Locked("main", json.loads((summary.folder / "manifest.json").read_text())["tasks"][0]["data"]["fingerprint"])
    )
    assert run(place, data=str(place / "rows")).tasks[0]["notes"] == []


def test_an_int_and_a_float_of_one_worth_are_one_run(place: Path) -> None:
    assert run(place, temperature=1).folder == run(place, temperature=1.0).folder


def test_a_sample_that_never_got_an_answer_is_a_gap_of_pass_too(place: Path) -> None:
    (place / "broken").touch()
    summary = run(place, repeats=2, temperature=0.5)
    rows = {row["metric"]: row for row in summary.numbers if row["subset"] == "overall"}
    assert (rows["accuracy"]["gaps"], rows["pass@2"]["gaps"], rows["pass@2"]["n"]) == (2, 1, 5)


def test_a_table_of_several_runs_tells_them_apart(place: Path) -> None:
    from evalkit.report.table import markdown

    runs = [run(place, label=f"step={step}") for step in (1, 2)]
    text = markdown([one.as_json() for one in runs], [one.folder.name for one in runs])
    head, rule, *rows = text.splitlines()
    assert head.startswith("| run ")
    assert all(len(cell.strip(" :")) >= 2 for cell in rule.strip("|").split("|"))
    assert {row.split("|")[1].strip() for row in rows} == {one.folder.name for one in runs}
