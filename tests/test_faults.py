"""The quick part of `make faults`: nothing is lost, no error is scored, nothing crashes; and the table counts what was really tried."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults import __main__ as table
from tests.faults.runs import Run
from tests.faults.tally import Fault, Tally

QUICK = [pytest.param(fault, id=f"{module}: {fault.what}") for module, fault in table.faults() if fault.quick]


@pytest.mark.parametrize("fault", QUICK)
def test_it_costs_nothing(fault: Fault) -> None:
    told = table.tried(fault, fault.quick)
    assert (told.lost, told.scored, told.crashes) == (0, 0, 0), "\n".join(told.notes)
    if told.lacks and told.tried < fault.quick:
        pytest.skip(f"tried {told.tried} times of {fault.quick}: needs {told.lacks}")
    assert told.tried >= fault.quick


@pytest.mark.parametrize(
    ("told", "code", "said"),
    [
        (Tally(3), 0, "not tried: 0 rows, tried too seldom: 0 rows"),
        (Tally(2), 1, "    tried 2 times of 3\n"),
        (Tally(2, lacks="mount"), 0, "    tried 2 times of 3: the others need mount\n"),
        (Tally(lacks="mount"), 0, " not tried: needs mount\n"),
        (Tally(lacks="mount", crashes=1), 1, "tried: 0, not tried: 0 rows"),
        (Tally(3, lost=1), 1, "lost: 1, scored errors: 0, crashes: 0\n"),
    ],
)
def test_the_table_fails_for_what_was_lost_or_tried_too_seldom_and_tells_of_what_could_not_be_tried(
    told: Tally, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trial: Callable[[Path, int], Tally] = lambda place, times: told  # noqa: E731
    monkeypatch.setattr(table, "faults", lambda named: [("own", Fault("a fault", trial, 3, 0))])
    assert table.main([]) == code
    out = capsys.readouterr().out
    assert said in out
    assert out.splitlines()[-1] == f"lost: {told.lost}, scored errors: 0, crashes: {told.crashes}"


def test_answers_that_were_committed_and_are_gone_or_that_more_wait_for_than_may_be_in_flight_are_lost(tmp_path: Path) -> None:
    run, told = Run(tmp_path), Tally()
    run.window = 2
    store = run.out / "run" / "answers.sqlite"
    store.parent.mkdir(parents=True)
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("CREATE TABLE answers (key, sample, request, response)")
        connection.execute("""INSERT INTO answers VALUES ('a', 'quiz/0', '{"to": "model"}', '{}')""")
        connection.commit()
    (tmp_path / "asked.txt").write_text("model 0\nmodel 1\nmodel 2\n")
    (tmp_path / "kept").write_text("a\n")
    run.in_flight(told, 0)
    run.look(told, 0)
    assert (told.lost, told.crashes) == (0, 0)
    with (tmp_path / "asked.txt").open("a") as asked, (tmp_path / "kept").open("a") as kept:
        asked.write("model 3\n")
        kept.write("b\n")
    run.in_flight(told, 0)
    assert told.lost == 1
    run.look(told, 3)
    assert told.lost == 2


def test_a_trial_that_fails_counts_as_a_crash_and_not_as_tried() -> None:
    def broken(place: Path, times: int) -> Tally:
        raise ValueError("here")

    told = table.tried(Fault("a fault", broken, 3, 3), 3)
    assert (told.tried, told.crashes) == (0, 1)
    assert "ValueError: here" in told.notes[0]
