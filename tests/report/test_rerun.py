"""`evalkit run --from RUN`: a run made again asks anew, says what differs, and is refused where it cannot be made again."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit.config import RunConfig
from evalkit.errors import DataError, Refused, UserError
from evalkit.folder import RunFolder
from evalkit.report.rerun import Plan, Rerun, compare, plan, told
from evalkit.report.runs import Run, opened
from tests.contract.server import Reply, Server

TASK = """
from evalkit import Accuracy, Data, Rule, Sample, Task, Wants, parsers, read_jsonl

VARIANTS = ()
DATA = Data(hub=(), files=("rows.jsonl",), licence="none", layout="rows.jsonl")


def task(variant, data):
    def samples():
        for row in read_jsonl(DATA.folder(data) / "rows.jsonl"):
            yield Sample(row["id"], row["q"], row["q"], (), Wants("count"), row["gold"])

    return Task("quiz", 1, samples, (Rule("strict", lambda p, s: parsers.count(p.answer), Accuracy()),), "accuracy", ("count",), data=DATA)
"""
PLUGIN = '''
from pathlib import Path

ASKED, SAYS = Path(__file__).with_name("asked.txt"), Path(__file__).with_name("says.txt")


class Adder:
    """Adds, but says what says.txt says where that is there."""

    def generate(self, messages, images):
        text = messages[-1]["content"][-1]["text"]
        with ASKED.open("a") as file:
            file.write(text + "\\n")
        if "5" in text and SAYS.exists():
            return SAYS.read_text()
        return str(int(text.split()[0]) + 1)
'''


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "quiz.py").write_text(TASK)
    (tmp_path / "adder.py").write_text(PLUGIN)
    (tmp_path / "rows").mkdir()
    rows = [{"id": f"s{n}", "q": f"{n} and 1", "gold": n + 1} for n in range(9)]
    (tmp_path / "rows" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def made(place: Path, **options: Any) -> Run:
    options = {"model": f"plugin:{place / 'adder.py'}:Adder", "data": str(place / "rows"), "out": place / "out", **options}
    summary = evalkit.run(options.pop("model"), str(place / "quiz.py"), **options)
    return opened([summary.folder])[0]


def again(run: Run, **given: Any) -> tuple[Plan, Run, Rerun]:
    planned = plan(run, given)
    second = opened([evalkit.run(planned.model, **planned.options).folder])[0]
    return planned, second, compare(run, second)


def asked(place: Path) -> int:
    return len((place / "asked.txt").read_text().splitlines())


def command(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "evalkit", "run", *map(str, words)], capture_output=True, text=True, check=False)


def test_everything_is_asked_anew_and_comes_out_the_same(place: Path) -> None:
    first = made(place, label=("step=3",), temperature=0.5, seed=7, limit=5)
    before, count = first.folder.store.read_bytes(), asked(place)
    planned, second, found = again(first)
    assert asked(place) == 2 * count
    assert (found.same, found.made_with, found.moved, planned.replaced) == (True, (), (), ())
    assert (second.folder.path / "summary.json").read_bytes() == (first.folder.path / "summary.json").read_bytes()
    assert second.folder.path.parent == first.folder.path.parent
    assert second.labels == {"step": "3", "from": first.name}
    assert first.folder.store.read_bytes() == before
    own, options = first.manifest["options"], second.manifest["options"]
    assert {name for name in own if own[name] != options[name]} <= {"label", "protocol"}


def test_one_that_was_stopped_goes_on_and_asks_nothing_twice(place: Path) -> None:
    first = made(place)
    again(first)
    count = asked(place)
    assert again(first)[2].same
    assert asked(place) == count


def test_of_a_run_made_again_only_the_last_origin_is_kept(place: Path) -> None:
    _, second, _ = again(made(place))
    _, third, found = again(second)
    assert found.same
    assert third.labels == {"from": second.name}


def test_a_reply_that_differs_is_counted_and_shown_with_the_numbers_that_it_moves(place: Path) -> None:
    first = made(place)
    (place / "says.txt").write_text("It is\x1b[31m seven")
    _, second, found = again(first)
    (replies,) = found.replies
    assert not found.same
    assert (replies.both, replies.differ, replies.otherwise, replies.alone) == (9, (("quiz", "s5", 0),), (), (0, 0))
    assert replies.shown == ("s5: '6', now 'It is\\x1b[31m seven'",)
    assert any(line.startswith("quiz accuracy (strict) overall: 1.0 (") and ", now 0.88" in line for line in found.moved)
    assert "quiz: 1 of 9 replies differ" in told(found)
    assert f"{len(found.moved)} of {found.numbers} numbers differ" in told(found)
    assert compare(second, second).same


def test_the_same_words_read_in_another_way_are_told_apart(place: Path) -> None:
    first = made(place)
    _, second, _ = again(first)
    rows = [json.loads(line) for line in (second.folder.path / "predictions.jsonl").read_text().splitlines()]
    rows[2]["verdicts"] = {"judge": "no"}
    lines = [json.dumps(row) + "\n" for row in rows]
    (second.folder.path / "predictions.jsonl").write_text("".join(lines[:-1]))
    (replies,) = compare(first, second).replies
    assert (replies.differ, replies.otherwise, replies.alone) == ((), (("quiz", rows[2]["sample"], 0),), (1, 0))
    assert replies.shown == (f"{rows[2]['sample']}: the same words, another verdicts",)


def test_the_order_of_the_replies_makes_no_difference(place: Path) -> None:
    first = made(place)
    _, second, _ = again(first)
    rows = (second.folder.path / "predictions.jsonl").read_text().splitlines(keepends=True)
    (second.folder.path / "predictions.jsonl").write_text("".join(reversed(rows)))
    assert compare(first, second).same


def test_versions_and_fingerprints_that_differ_are_named(place: Path) -> None:
    first = made(place)
    known = json.loads((first.folder.path / "manifest.json").read_text())
    known["versions"]["numpy"] = "1.0"
    known["resolved"]["tasks"][0][1] = 0
    first.folder.write("manifest.json", known)
    (place / "adder.py").write_text(PLUGIN + "\n")
    _, _, found = again(opened([first.folder.path])[0])
    lines = "\n".join(found.made_with)
    assert "numpy 1.0, now" in lines
    assert "task quiz: version 0, now 1" in lines
    assert "model: fingerprint" in lines
    assert "model: file" in lines
    assert found.same


def test_options_given_besides_replace_the_runs_own_and_are_said(place: Path) -> None:
    first = made(place, temperature=0.5)
    planned, second, found = again(first, temperature=0.25, limit=4, out=str(place / "elsewhere"), label="who=me")
    assert planned.replaced == ("--temperature 0.25 in place of 0.5", "--limit 4 in place of none")
    assert second.folder.path.parent == place / "elsewhere"
    assert second.labels == {"who": "me", "from": first.name}
    assert second.manifest["sampling"] == {"temperature": 0.25}
    assert found.replies[0].alone == (5, 0)
    assert "protocol: sampling" in "\n".join(found.made_with)


def test_other_data_is_refused_before_anything_is_asked(place: Path) -> None:
    first = made(place)
    shutil.copytree(place / "rows", place / "kept")
    with (place / "rows" / "rows.jsonl").open("a") as file:
        file.write("\n")
    count = asked(place)
    with pytest.raises(Refused, match=r"the data of quiz at .*rows is not what it was .* name that with --data"):
        plan(first, {})
    assert again(first, data=str(place / "kept"))[2].same
    shutil.rmtree(place / "rows")
    with pytest.raises(DataError, match="found nothing"):
        plan(first, {})
    assert asked(place) == 2 * count


def test_what_is_no_longer_there_is_refused_with_the_option_that_names_it(place: Path) -> None:
    first = made(place)
    (place / "adder.py").rename(place / "moved.py")
    with pytest.raises(Refused, match=r"the model of .* is no longer at .*adder\.py: name where it is with --model"):
        plan(first, {})
    planned, _, found = again(first, model=f"plugin:{place / 'moved.py'}:Adder")
    assert found.same
    assert planned.replaced[0].startswith("--model plugin:")


def test_a_checkpoint_with_other_weights_is_refused_unless_it_is_given(place: Path) -> None:
    first = made(place)
    checkpoint = Path(evalkit.__file__).parent / "demo" / "checkpoints" / "demo"
    if not (checkpoint / "config.json").exists():
        pytest.skip("the demo checkpoint has not been trained yet")
    known = json.loads((first.folder.path / "manifest.json").read_text())
    known["options"]["model"] = str(checkpoint)
    known["roles"]["model"]["details"] = {"engine": "transformers", "weights": "0" * 64}
    first.folder.write("manifest.json", known)
    run = opened([first.folder.path])[0]
    with pytest.raises(Refused, match=r"the weights of .* are not those .*was 000000000000\): name a copy of those with --model"):
        plan(run, {"cache": str(place)})
    assert plan(run, {"model": str(checkpoint)}).model == str(checkpoint)


@pytest.mark.parametrize(
    ("options", "given", "said"),
    [
        ({"model": ""}, {}, "was in memory"),
        ({"trust_remote_code": True}, {}, "say so again with --trust-remote-code"),
        ({"segmenter": "sam2:/nowhere/sam"}, {}, "the segmenter of .* is no longer at /nowhere/sam"),
        ({}, {"reuse": "RUN"}, "--reuse does not go with --from"),
        ({}, {"suite": "grit"}, "--suite does not go with --from"),
        ({}, {"temperature": -1.0}, "expected --temperature of at least 0"),
    ],
)
def test_what_cannot_be_made_again_is_refused_in_words(place: Path, options: dict[str, Any], given: dict[str, Any], said: str) -> None:
    first = made(place)
    known = json.loads((first.folder.path / "manifest.json").read_text())
    known["options"] |= options
    first.folder.write("manifest.json", known)
    with pytest.raises(UserError, match=said):
        plan(opened([first.folder.path])[0], given)


def test_of_a_model_behind_a_server_it_is_said_that_its_replies_may_differ(place: Path) -> None:
    with Server(lambda number, body: Reply(str(number))) as server:
        first = made(place, model="openai:any", base_url=server.url)
        planned, _, found = again(first)
    assert "the model is behind a server: what openai:any stands for there may have changed" in planned.cautions[0]
    assert len(found.replies[0].differ) == 9
    assert plan(first, {"model": f"plugin:{place / 'adder.py'}:Adder"}).cautions == ()


def test_every_option_of_a_run_is_taken_over_or_said_not_to_be(place: Path) -> None:
    first = made(place)
    known = json.loads((first.folder.path / "manifest.json").read_text())
    assert known["options"].keys() == set(RunConfig.__dataclass_fields__)
    known["options"] |= {"max_new_tokens": 77, "blind": True, "suite": "gone.toml", "reuse": "/gone", "cache": "/gone", "batch_size": 3}
    first.folder.write("manifest.json", known)
    options = plan(opened([first.folder.path])[0], {}).options
    assert (options["max_new_tokens"], options["blind"], options["batch_size"], options["protocol"]) == (77, True, 3, "direct")
    assert not {"suite", "reuse", "cache"} & options.keys()


def test_the_command_says_how_they_compare_and_returns_3_where_they_differ(place: Path) -> None:
    first = made(place)
    done = command("--from", first.folder.path)
    assert done.returncode == 0, done.stderr
    assert f"which makes {first.folder.path} again:\nquiz: all 9 replies are the same\nall 2 numbers" in done.stdout
    (place / "says.txt").write_text("7")
    done = command("--from", first.folder.path, "--temperature", "0.5")
    assert done.returncode == 3, done.stderr
    assert "--temperature 0.5 in place of none" in done.stderr
    assert "s5: '6', now '7'" in done.stdout


def test_the_command_says_where_there_is_no_run_or_no_end_of_one(place: Path) -> None:
    done = command("--from", place)
    assert (done.returncode, done.stdout) == (2, "")
    assert "expected a run's folder" in done.stderr
    first = made(place)
    done = command("--from", first.folder.path, "--model", "demo", "--tasks", "shapes")
    assert (done.returncode, done.stdout) == (2, "")
    assert "To use its answers in another run: --reuse RUN" in done.stderr
    (first.folder.path / "summary.json").unlink()
    with pytest.raises(UserError, match="stopped before its end"):
        opened([RunFolder.at(first.folder.path).path])
