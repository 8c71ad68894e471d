"""Task files and sample ids: what is wrong is said in one sentence that names the file, the task or the id."""

import logging
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from evalkit import task as tasks
from evalkit.errors import DataError, UserError
from evalkit.types import Sample, Wants

SAMPLE = Sample("0", "How many?", "How many?", (), Wants("count"), target=1)
TASK = "def task(variant, data):\n    return Task({}, 1, lambda: iter(()), (), 'accuracy', ('count',))\n"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a task file and returns its path."""

    def make(source: str) -> Path:
        path = tmp_path / "mine.py"
        path.write_text("from evalkit import DataError, Task\n" + textwrap.dedent(source))
        return path

    return make


def samples(*ids: Any) -> Iterator[Sample]:
    return (replace(SAMPLE, id=name) for name in ids)


# ---------------------------------------------------------------- task files


@pytest.mark.parametrize("error", ["KeyError('rows')", "ValueError('no such split')", "AssertionError()"])
def test_whatever_task_raises_is_said_with_the_file(write: Write, error: str) -> None:
    path = write(f"def task(variant, data):\n    raise {error}")
    with pytest.raises(UserError, match=rf"mine\.py failed: {error.partition('(')[0]}"):
        tasks.find(str(path))


def test_an_error_that_is_meant_for_the_user_passes_as_it_is(write: Write) -> None:
    path = write("def task(variant, data):\n    raise DataError('fetch the rows first')")
    with pytest.raises(DataError, match=r"^fetch the rows first$"):
        tasks.find(str(path))


def test_a_file_that_changed_is_loaded_again_and_one_that_did_not_is_the_same_module(write: Write) -> None:
    path = write(TASK.format("'one'"))
    before = tasks.module(str(path))
    assert tasks.find(str(path)).name == "one"
    assert tasks.module(str(path)) is before
    write(TASK.format("'two'"))
    assert tasks.find(str(path)).name == "two"


def test_the_log_says_once_that_a_file_of_ones_own_is_run_and_nothing_of_evalkit_s(
    write: Write, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(TASK.format("'logged'"))
    caplog.set_level(logging.INFO, "evalkit")
    for name in [name for name in sys.modules if name.startswith("evalkit_task_")]:  # loaded before, they would not be again
        monkeypatch.delitem(sys.modules, name)
    for name in (str(path), str(path), *tasks.names()):
        tasks.module(name)
    assert caplog.messages == [f"runs {path}, with your rights"]


def test_a_file_is_said_to_be_run_before_it_is(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    path = write("raise RuntimeError('stopped')")
    caplog.set_level(logging.INFO, "evalkit")
    with pytest.raises(UserError, match=r"mine\.py does not load: RuntimeError: stopped"):
        tasks.module(str(path))
    assert caplog.messages == [f"runs {path}, with your rights"]


def test_the_terminal_says_that_a_file_of_ones_own_is_run(write: Write, tmp_path: Path) -> None:
    path = write(TASK.format("'own'"))
    words = [sys.executable, "-m", "evalkit", "run", "--model", "mute", "--tasks", str(path), "--out", str(tmp_path / "runs")]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stderr
    assert said.splitlines()[0] == f"runs {path}, with your rights"
    assert "task 'own' has no rule" in said


def test_variants_that_end_in_an_ellipsis_are_tasks_own_to_judge(write: Write) -> None:
    path = write("VARIANTS = ('ten', ...)\n" + TASK.format("variant"))
    assert tasks.variants(str(path)) == ("ten",)
    assert tasks.find(str(path)).name == "ten"
    assert tasks.find(f"{path}:twenty").name == "twenty"


def test_a_path_may_hold_a_colon(tmp_path: Path) -> None:
    path = tmp_path / "at 12:30" / "own.py"
    path.parent.mkdir()
    path.write_text("from evalkit import Task\nVARIANTS = ('ten', 'two')\n" + TASK.format("variant"))
    assert tasks.find(str(path)).name == "ten"
    assert tasks.find(f"{path}:two").name == "two"


def test_variants_without_an_ellipsis_are_all_there_are(write: Write) -> None:
    path = write("VARIANTS = ('ten',)\n" + TASK.format("variant"))
    with pytest.raises(UserError, match=r"no variant 'tem'.*Did you mean 'ten'"):
        tasks.find(f"{path}:tem")


@pytest.mark.parametrize("name", ["a/b", "/", ""])
def test_a_name_that_cannot_stand_in_a_key_is_refused(write: Write, name: str) -> None:
    path = write(TASK.format(repr(name)))
    with pytest.raises(UserError, match=f"expected a task's name without '/', such as .*, got '{name}'"):
        tasks.find(str(path))


# ---------------------------------------------------------------- sample ids


@pytest.mark.parametrize("name", [7, None, ("a", 1), b"7"])
def test_an_id_that_is_no_text_is_named_with_the_task(name: Any) -> None:
    with pytest.raises(UserError, match=r"expected a str as sample id in task 'toy', got .*\((int|NoneType|tuple|bytes)\)"):
        list(tasks.checked(samples("1", name), "toy"))


def test_no_sample_at_all_is_an_error() -> None:
    with pytest.raises(UserError, match="task 'toy' gave no sample"):
        list(tasks.checked(iter(()), "toy"))


def test_samples_come_as_they_are_and_lazily() -> None:
    stream = tasks.checked(samples("b", "a", ""), "toy")
    assert next(stream).id == "b"
    assert [sample.id for sample in stream] == ["a", ""]


@pytest.mark.parametrize("first", [0, 1, 43_000, 99_999, 149_999])
def test_an_id_that_comes_twice_is_found_however_far_back_and_before_it_is_given(first: int) -> None:
    stream = tasks.checked(samples(*map(str, range(150_000)), str(first)), "toy")
    assert sum(1 for _ in islice(stream, 150_000)) == 150_000
    with pytest.raises(UserError, match=f"expected unique sample ids in task 'toy', got '{first}' twice"):
        next(stream)


def test_ids_with_the_same_low_bits_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "hash", lambda text: int(text) << 40, raising=False)
    assert sum(1 for _ in tasks.checked(samples(*map(str, range(-300, 300))), "toy")) == 600
    with pytest.raises(UserError, match="got '7' twice"):
        list(tasks.checked(samples("7", "8", "9", "7"), "toy"))


def test_an_id_costs_no_more_than_a_few_numbers() -> None:
    """A set of hashes takes about 80 bytes an id; the worst moment is where a table has just grown."""
    ids = 90_000
    tracemalloc.start()
    for _ in tasks.checked((replace(SAMPLE, id=str(number)) for number in range(ids)), "toy"):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * ids
