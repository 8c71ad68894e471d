"""The command line as a stranger meets it: what it prints, what it returns, what it says to a mistake."""

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from evalkit.cli import group

ROOT = Path(__file__).resolve().parents[1]
ECHO = "class Echo:\n    frame = 'original'\n    def generate(self, messages, images):\n        return 'yes'\n"
TASK = """
from evalkit import Accuracy, Rule, Sample, Task, Wants

VARIANTS = ()
DATA = None


def task(variant, data):
    return Task("own", 1, lambda: iter([ROWS]), (Rule("strict", lambda p, s: p.answer, Accuracy()),), "accuracy", ("count",))


def row(i):
    return Sample(str(i), "q", "q", (), Wants("yes_no"), "yes", tags=frozenset({"half" if i % 2 else "other"}))
"""


def evalkit(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "evalkit", *map(str, arguments)], capture_output=True, text=True, check=False)


def refused(*arguments: object) -> str:
    """The one-line message of a mistake: exit code 2, no traceback, nothing on stdout."""
    told = evalkit(*arguments)
    assert told.returncode == 2, told
    assert "Traceback" not in told.stderr
    assert told.stdout == ""
    return told.stderr


@pytest.fixture
def echo(tmp_path: Path) -> str:
    (tmp_path / "echo.py").write_text(ECHO)
    return f"plugin:{tmp_path / 'echo.py'}:Echo"


def own_task(tmp_path: Path, rows: str) -> Path:
    path = tmp_path / "own.py"
    path.write_text(TASK.replace("ROWS", rows))
    return path


def test_help_names_every_command_and_needs_nothing_heavy() -> None:
    told = evalkit("--help")
    assert told.returncode == 0
    for command in ("run", "tasks", "show", "score", "table", "data"):
        assert f"  {command} " in told.stdout
        assert evalkit(command, "--help").returncode == 0


def test_a_run_prints_its_table_and_its_folder(tmp_path: Path, echo: str) -> None:
    task = own_task(tmp_path, "*map(row, range(4))")
    told = evalkit("run", "--model", echo, "--tasks", task, "--out", tmp_path / "out", "--label", "step=200")
    assert told.returncode == 0, told.stderr
    (folder,) = (tmp_path / "out").iterdir()
    assert str(folder) in told.stdout
    row = next(line for line in told.stdout.splitlines() if "overall" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")][:5] == ["own", "overall", "accuracy", "strict", "1.0000"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["options"]["label"] == ["step=200"]
    assert {"versions", "command", "roles", "tasks", "resolved"} <= set(manifest)

    import pandas

    assert list(pandas.read_json(folder / "records.jsonl", lines=True)["correct"]) == [1, 1, 1, 1]
    assert sorted(pandas.read_json(folder / "predictions.jsonl", lines=True)["text"]) == ["yes"] * 4


def test_table_as_json_has_one_flat_row_a_number(tmp_path: Path, echo: str) -> None:
    task = own_task(tmp_path, "*map(row, range(4))")
    evalkit("run", "--model", echo, "--tasks", task, "--out", tmp_path / "out")
    rows = json.loads(evalkit("table", tmp_path / "out", "--format", "json").stdout)
    assert [row["subset"] for row in rows if row["rule"] == "strict"] == ["overall", "half", "other"]
    assert {(row["metric"], row["rule"]) for row in rows} == {("accuracy", "strict"), ("accuracy_floor", "majority")}
    assert list(rows[0]) == [
        *("model", "protocol", "task", "metric", "rule", "subset", "value", "stderr", "low", "high", "n"),
        *("unparsed", "truncated", "refused", "missing", "gaps"),
    ]
    assert rows[0]["value"] == 1.0


def test_a_limit_draws_by_seed_and_is_marked_partial(tmp_path: Path, echo: str) -> None:
    def ids(out: str, *more: object) -> set[str]:
        told = evalkit("run", "--model", echo, "--tasks", "shapes", "--limit", 24, "--out", tmp_path / out, *more)
        assert told.returncode == 0, told.stderr
        assert "partial: 24 of 960 samples of shapes" in told.stdout
        (folder,) = (tmp_path / out).iterdir()
        return {json.loads(line)["sample"] for line in (folder / "predictions.jsonl").read_text().splitlines()}

    assert len(ids("a")) == 24
    assert ids("a2") == ids("a3")
    assert ids("b", "--seed", 1) != ids("a4")


def test_repeats_give_the_mean_pass_and_majority(tmp_path: Path) -> None:
    (tmp_path / "moody.py").write_text(
        "class Moody:\n    def answer(self, request):\n        from evalkit.types import Response\n"
        "        return Response('yes' if request.draw // 1000 != 1 else 'no')\n"
    )
    task = own_task(tmp_path, "*map(row, range(4))")
    model = f"plugin:{tmp_path / 'moody.py'}:Moody"
    told = evalkit("run", "--model", model, "--tasks", task, "--out", tmp_path / "out", "--repeats", 3, "--temperature", 1)
    assert told.returncode == 0, told.stderr
    rows = {
        row["metric"]: row
        for row in json.loads(evalkit("table", tmp_path / "out", "--format", "json").stdout)
        if row["subset"] == "overall"
    }
    assert rows["accuracy"]["value"] == pytest.approx(2 / 3)
    assert rows["pass@3"]["value"] == 1.0
    assert rows["majority@3"]["value"] == 1.0
    assert "greedy repeats" in refused("run", "--model", model, "--tasks", task, "--repeats", 3)


def test_show_prints_what_was_read_and_why_it_is_wrong(tmp_path: Path, echo: str) -> None:
    evalkit("run", "--model", echo, "--tasks", "shapes", "--limit", 24, "--out", tmp_path / "out")
    (folder,) = (tmp_path / "out").iterdir()
    told = evalkit("show", folder, "--wrong", "--limit", 3)
    assert told.returncode == 0
    assert told.stdout.count("question") == 3
    assert "correct 0" in told.stdout
    assert "no sample 'nope'" in refused("show", folder, "--sample", "nope")


def test_show_obeys_nothing_that_a_model_wrote(tmp_path: Path) -> None:
    said = "\x1b[2J\x1b]0;owned\x07 one\ntwo \u202egnp \ud800 \x9b31m"
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"sample": str(place), "text": said}) + "\n" for place in range(2)))
    task = own_task(tmp_path, "*map(row, range(2))")
    evalkit("run", "--model", f"replay:{tmp_path / 'a.jsonl'}", "--tasks", task, "--out", tmp_path / "out")
    (folder,) = (tmp_path / "out").iterdir()
    told = evalkit("show", folder)
    assert told.returncode == 0, told.stderr
    assert not set(told.stdout) & set("\x1b\x07\x9b\u202e\r")
    assert "(U+001B)[2J(U+001B)]0;owned(U+0007) one ⏎ two (U+202E)gnp (U+D800) (U+009B)31m" in told.stdout


def test_tasks_lists_each_with_its_rows_and_data() -> None:
    told = evalkit("tasks")
    assert told.returncode == 0
    for name in ("shapes", "vstar", "vsr:random", "vsr:zeroshot", "tallyqa", "grit_vsr"):
        assert f"\n{name}" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--model", "demo", "--tasks", "vstr"], "no task 'vstr'. Did you mean 'vstar'?"),
        (["run", "--model", "demo", "--tasks", "vsr:zeroshoot"], "no variant 'zeroshoot' of task 'vsr'. Did you mean 'zeroshot'?"),
        (["run", "--model", "dmo", "--tasks", "shapes"], "no model 'dmo'"),
        (["run", "--model", "demo", "--tasks", "shapes", "--protocol", "grti"], "no protocol 'grti'. Did you mean 'grit'?"),
        (["run", "--model", "demo"], "expected --model M and --tasks A,B"),
        (["run", "--model", "replay:absent.jsonl", "--tasks", "shapes"], "no replay file absent.jsonl"),
        (["run", "--model", "plugin:absent.py:X", "--tasks", "shapes"], "absent.py"),
        (["run", "--model", "demo", "--tasks", "shapes", "--limit", "0"], "--limit of at least 1"),
        (["run", "--model", "demo", "--tasks", "shapes", "--limt", "3"], "--limit"),
        (["run", "--model", "demo", "--tasks", "shapes", "--label", "x"], "--label key=value"),
        (["rn"], "Did you mean 'run'?"),
        (["score", "nowhere"], "expected a run's folder"),
        (["table", str(ROOT / "evalkit")], "found none"),
    ],
)
def test_a_mistake_is_answered_with_the_next_step(arguments: list[str], said: str) -> None:
    assert said in refused(*arguments)


def test_a_missing_data_folder_says_how_to_get_it(tmp_path: Path, echo: str) -> None:
    said = refused("run", "--model", echo, "--tasks", "vstar", "--data", tmp_path / "none", "--out", tmp_path / "out")
    assert str(tmp_path / "none") in said
    assert "evalkit data vstar" in said or "--data" in said


def test_where_the_data_is_names_the_task_that_was_asked_about(tmp_path: Path) -> None:
    told = evalkit("data", "vsr:zeroshot", "--data", tmp_path / "none")
    assert told.returncode == 1
    assert "`evalkit data vsr:zeroshot --download`" in told.stdout


def test_a_sample_id_that_comes_twice_is_named(tmp_path: Path, echo: str) -> None:
    task = own_task(tmp_path, "row(1), row(2), row(1)")
    assert "'1' twice" in refused("run", "--model", echo, "--tasks", task, "--out", tmp_path / "out")


def test_an_empty_task_is_said_to_be_empty(tmp_path: Path, echo: str) -> None:
    task = own_task(tmp_path, "")
    assert "gave no sample" in refused("run", "--model", echo, "--tasks", task, "--out", tmp_path / "out")


def test_boxes_from_an_unknown_frame_are_refused_with_the_way_to_declare_it(tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text(ECHO.replace("    frame = 'original'\n", ""))
    model = f"plugin:{tmp_path / 'echo.py'}:Echo"
    said = refused("run", "--model", model, "--tasks", "shapes", "--limit", 4, "--out", tmp_path / "out")
    assert "--frame" in said
    assert "seen" in said
    told = evalkit("run", "--model", model, "--tasks", "shapes", "--limit", 4, "--out", tmp_path / "out", "--frame", "thousand")
    assert told.returncode == 0, told.stderr


def test_a_results_folder_that_cannot_be_written_is_named(tmp_path: Path, echo: str) -> None:
    (tmp_path / "file").write_text("")
    task = own_task(tmp_path, "row(1)")
    assert "cannot write the results folder" in refused("run", "--model", echo, "--tasks", task, "--out", tmp_path / "file" / "out")


def test_a_task_file_that_does_not_load_is_blamed_by_name(tmp_path: Path, echo: str) -> None:
    (tmp_path / "own.py").write_text("import nowhere_to_be_found\n")
    assert "own.py does not load" in refused("run", "--model", echo, "--tasks", tmp_path / "own.py")


def test_an_unknown_key_in_a_config_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('model = "demo"\ntask = ["shapes"]\n')
    assert "unknown key 'task'" in refused("run", "--config", tmp_path / "run.toml")


def test_options_come_from_a_config_file_and_the_command_line_goes_first(tmp_path: Path, echo: str) -> None:
    (tmp_path / "run.toml").write_text(f'model = "{echo}"\ntasks = ["shapes"]\nlimit = 48\nout = "{tmp_path / "out"}"\n')
    told = evalkit("run", "--config", tmp_path / "run.toml", "--limit", 24)
    assert told.returncode == 0, told.stderr
    assert "partial: 24 of 960 samples of shapes" in told.stdout
    (folder,) = (tmp_path / "out").iterdir()
    assert json.loads((folder / "summary.json").read_text())["tasks"][0]["samples"] == 24


def test_a_broken_image_is_a_gap_and_the_rest_is_scored(tmp_path: Path, echo: str) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8), "red").save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "good.png").read_bytes()[:40])
    text = TASK.replace("ROWS", "*map(row, range(2))").replace('"q", "q", (),', '"q", "q", (Image(HERE / NAMES[i]),),')
    text = text.replace("from evalkit import", "from pathlib import Path\nfrom evalkit import Image,")
    (tmp_path / "own.py").write_text(text + '\nHERE, NAMES = Path(__file__).parent, ("good.png", "bad.png")\n')
    told = evalkit("run", "--model", echo, "--tasks", tmp_path / "own.py", "--out", tmp_path / "out")
    assert told.returncode == 1
    assert "bad.png" in told.stderr
    assert "own      | overall" in told.stdout or "own" in told.stdout


def options() -> set[str]:
    """Every option of every command."""
    context = click.Context(group)
    commands = [group, *(group.get_command(context, name) for name in group.list_commands(context))]
    return {name for command in commands if command for option in command.params for name in (*option.opts, *option.secondary_opts)}


@pytest.mark.parametrize(
    "pattern", ["*.md", "docs/*.md", "configs/**/*.toml", "evalkit/*.py", "evalkit/[!d]*/**/*.py", "tasks/*.py", "examples/*.py"]
)
def test_every_option_that_is_written_of_is_one(pattern: str) -> None:
    """Save those of other programs, and of style sheets, where names begin so too."""
    others = {"--help", "--strict", "--generate", "--head", "--address", "--force-reinstall", "--quick"}
    unknown = {
        f"{path.relative_to(ROOT)}: {option}"
        for path in ROOT.glob(pattern)
        for option in re.findall(r"(?<![\w<!|:(-])--[a-z][a-z-]+(?!:|[a-z-]*:)", path.read_text("utf-8"))
        if option not in options() | others
    }
    assert not unknown


def test_a_sample_whose_id_has_slashes_is_shown_by_its_id_and_with_its_task(tmp_path: Path, echo: str) -> None:
    task = own_task(tmp_path, 'replace(row(0), id="OCR/1.png/0")')
    task.write_text("from dataclasses import replace\n" + task.read_text())
    assert evalkit("run", "--model", echo, "--tasks", task, "--out", tmp_path / "out").returncode == 0
    [folder] = (tmp_path / "out").iterdir()
    for name in ("OCR/1.png/0", "own/OCR/1.png/0"):
        assert "own/OCR/1.png/0" in evalkit("show", folder, "--sample", name).stdout
    assert "no sample '0'" in refused("show", folder, "--sample", "0")


def test_the_pixels_that_are_asked_for_are_kept_with_the_run(tmp_path: Path) -> None:
    told = evalkit("run", "--model", "oracle", "--tasks", "shapes", "--limit", 2, "--max-pixels", 5000, "--out", tmp_path)
    assert told.returncode == 0, told.stderr
    [folder] = tmp_path.iterdir()
    assert json.loads((folder / "manifest.json").read_text())["options"]["max_pixels"] == 5000
    assert "expected --max-pixels of at least 9" in refused(
        "run", "--model", "oracle", "--tasks", "shapes", "--min-pixels", 9, "--max-pixels", 5, "--out", tmp_path
    )
