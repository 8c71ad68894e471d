"""`evalkit score RUN --check` says what is whole of a run, and mends what can be."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import evalkit
from evalkit import api
from evalkit.cli import group
from evalkit.errors import UserError
from evalkit.mending import mended
from evalkit.report.viewer.viewed import Viewed

TASK = """
from evalkit import Accuracy, Rule, Sample, Task, Wants

VARIANTS = ()
DATA = None


def task(variant, data):
    return Task("say", 1, samples, (Rule("strict", lambda p, s: p.answer, Accuracy()),), "accuracy", ("text",))


def samples():
    for i in range(40):
        yield Sample(str(i), f"Say {i}", f"Say {i}", (), Wants("text"), str(i))
"""
PLUGIN = """
from pathlib import Path

ASKED = Path(__file__).with_name("asked")
BROKEN = Path(__file__).with_name("broken")


class Say:
    def generate(self, messages, images):
        text = messages[-1]["content"][-1]["text"].split()[1]
        if BROKEN.exists() and text == "7":
            raise RuntimeError("no answer")
        with ASKED.open("a") as file:
            file.write(text + "\\n")
        return text
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "say.py").write_text(TASK)
    (tmp_path / "plugin.py").write_text(PLUGIN)
    return tmp_path


def run(place: Path) -> api.Summary:
    (place / "asked").unlink(missing_ok=True)
    return evalkit.run(f"plugin:{place / 'plugin.py'}:Say", str(place / "say.py"), out=place / "out")


def asked(place: Path) -> int:
    return len((place / "asked").read_text().split()) if (place / "asked").exists() else 0


def test_a_whole_run_is_said_to_be_whole(place: Path) -> None:
    assert list(mended(run(place).folder)) == ["answers.sqlite: whole, 40 answers", "the other files: whole"]


@pytest.mark.parametrize("name", ["predictions.jsonl", "records.jsonl", "summary.json"])
def test_what_follows_from_the_answers_is_made_again(place: Path, name: str) -> None:
    (place / "broken").touch()
    file = run(place).folder / name
    whole = file.read_bytes()
    for spoiled in (whole[:-9], whole.replace(b'"correct"', b'"carrect"') + b" ", None):
        file.unlink() if spoiled is None else file.write_bytes(spoiled)
        assert list(mended(file.parent)) == [
            "answers.sqlite: whole, 39 answers",
            f"{name}: not as it was written; made again from the answers",
        ]
        if name == "summary.json":
            told = json.loads(file.read_text())
            assert [gap["sample"] for gap in told["tasks"][0]["gaps"]] == ["7"]
            assert told["numbers"] == json.loads(whole)["numbers"]
        else:
            assert sorted(file.read_bytes().splitlines()) == sorted(whole.splitlines())
        assert list(mended(file.parent))[1] == "the other files: whole"


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85"])
def test_lost_answers_are_no_gaps_whatever_ends_a_line_in_a_reply(place: Path, sign: str) -> None:
    (place / "plugin.py").write_text((place / "plugin.py").read_text().replace("return ", f"return {sign!r} + ", 1))
    folder = run(place).folder
    assert sign in (folder / "predictions.jsonl").read_text("utf-8")
    with closing(sqlite3.connect(folder / "answers.sqlite")) as connection, connection:
        connection.execute("DELETE FROM answers WHERE sample = 'say/31'")
    (folder / "summary.json").unlink()
    with pytest.raises(UserError, match="does not hold, for sample 'say/31'"):
        list(mended(folder))


def test_rows_are_left_alone_where_todays_numbers_differ(place: Path) -> None:
    folder = run(place).folder
    (place / "say.py").write_text(TASK.replace("p.answer, Acc", '"7", Acc'))
    (folder / "records.jsonl").write_bytes(b"{}")
    assert "numbers differ" in list(mended(folder))[-1]
    assert (folder / "records.jsonl").read_bytes() == b"{}"


def test_of_a_damaged_store_all_whole_rows_are_saved_and_the_rest_is_asked_again(place: Path) -> None:
    summary = run(place)
    store, numbers = summary.folder / "answers.sqlite", (summary.folder / "summary.json").read_bytes()
    data = bytearray(store.read_bytes())
    data[:100] = bytes(100)
    at = data.index(b'{"text":"31"')
    data[at + 9] ^= 1
    store.write_bytes(data)
    with pytest.raises(UserError, match=r"--check` saves what can be read"):
        run(place)
    [said, others] = mended(summary.folder)
    assert "damaged" in said
    assert "39 answers are saved" in said
    assert others == "the other files: whole"
    assert (summary.folder / "answers.sqlite.damaged").read_bytes() == bytes(data)
    with pytest.raises(UserError, match="does not hold, for sample 'say/31'"):
        api.score(summary.folder, check=True)
    run(place)
    assert asked(place) == 1
    assert (summary.folder / "summary.json").read_bytes() == numbers


def test_a_row_that_sqlite_reads_but_nobody_wrote_is_left_out(place: Path) -> None:
    folder = run(place).folder
    with closing(sqlite3.connect(folder / "answers.sqlite")) as connection, connection:
        connection.execute("""UPDATE answers SET response = '{"text":"8"}' WHERE sample = 'say/9'""")
    assert "1 rows are not as they were written" in next(mended(folder))
    with closing(sqlite3.connect(folder / "answers.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM answers").fetchone() == (39,)


def test_a_damaged_manifest_is_refused_and_written_by_the_next_run(place: Path) -> None:
    folder = run(place).folder
    (folder / "manifest.json").write_text((folder / "manifest.json").read_text().replace('"say"', '"sax"'))
    with pytest.raises(UserError, match="the same `evalkit run` writes it again"):
        list(mended(folder))
    run(place)
    assert asked(place) == 0
    assert list(mended(folder))[1] == "the other files: whole"


@pytest.mark.parametrize(
    ("name", "words", "line"),
    [
        ("manifest.json", '"roles"', "score {run}"),
        ("manifest.json", '"options"', "score {run} --check"),
        ("summary.json", '"metric"', "table {run} --numbers headline"),
        ("predictions.jsonl", '"finish"', "show {run}"),
        ("records.jsonl", '"rule"', "show {run}"),
        ("manifest.json", '"options"', "export {run}"),
        ("manifest.json", '"options"', "run --from {run}"),
    ],
)
def test_a_command_that_stumbles_over_what_another_hand_changed_says_so(place: Path, name: str, words: str, line: str) -> None:
    folder = run(place).folder
    whole = (folder / name).read_text()
    assert words in whole
    (folder / name).write_text(whole.replace(words, words.upper()))
    with pytest.raises(UserError, match=f"{name} is not as (evalkit wrote it, and cannot be read|it was written)"):
        group.main(line.format(run=folder).split(), standalone_mode=False)


def test_a_gate_that_stumbles_over_a_changed_file_has_no_verdict(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(place).folder
    (folder / "records.jsonl").write_text((folder / "records.jsonl").read_text().replace('"rule"', '"RULE"'))
    assert group.main(["gate", str(folder), str(folder)], standalone_mode=False) == 3
    assert "records.jsonl is not as evalkit wrote it, and cannot be read" in capsys.readouterr().err


def test_a_mistake_of_evalkits_own_is_not_laid_on_whole_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.cli.show._text", lambda row, mine: {}["gone"])
    folder = run(place).folder
    with pytest.raises(KeyError, match="gone"):
        group.main(["show", str(folder)], standalone_mode=False)
    (folder / "SHA256SUMS").unlink()
    (folder / "SHA256SUMS").mkdir()  # what hinders the look for a changed file is not what is told
    with pytest.raises(KeyError, match="gone"):
        group.main(["show", str(folder)], standalone_mode=False)


def test_the_command_says_it_all_and_changes_no_number(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(place).folder
    (folder / "records.jsonl").unlink()
    assert group.main(["score", str(folder), "--check"], standalone_mode=False) == 0
    told = capsys.readouterr()
    assert told.out == "every number is the same\n"
    assert "whole, 40 answers\nrecords.jsonl: not as it was written; made again" in told.err


def test_a_run_whose_store_is_gone_is_not_scored_and_its_model_is_not_asked(place: Path) -> None:
    folder = run(place).folder
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "answers.sqlite").rename(place / "elsewhere")
    (place / "asked").unlink()
    for check in (lambda: api.score(folder), lambda: list(mended(folder))):
        with pytest.raises(UserError, match=r"answers.sqlite, which held the answers, is gone.*put it back"):
            check()
    assert not (place / "asked").exists()
    (place / "elsewhere").rename(folder / "answers.sqlite")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_viewer_says_where_what_was_said_is_damaged(place: Path) -> None:
    folder = run(place).folder
    with closing(sqlite3.connect(folder / "answers.sqlite")) as connection, connection:
        connection.execute("UPDATE answers SET response = '{}' WHERE sample = 'say/7'")
    seen = Viewed(folder)
    seen.index.read()
    told = [seen.detail(number) for number in (6, 7)]
    seen.close()
    assert [bool(detail["threads"]) for detail in told] == [True, False]
    assert ["evalkit score RUN --check" in " ".join(detail["notes"]) for detail in told] == [False, True]
