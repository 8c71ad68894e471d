"""The window is bounded, never drains between tasks, and a conversation's turns go to their roles."""

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evalkit import runner
from evalkit.engines.scripted import Scripted
from evalkit.errors import DataError, Gap, Refused
from evalkit.protocols import find
from evalkit.runner import Job, Outcome, run
from evalkit.types import Conversation, Generate, Message, ModelInfo, Prediction, Request, Response, Sample, Wants

INFO = ModelInfo("m", "p", reads_images=False)


def sample(i: int) -> Sample:
    return Sample(str(i), f"q{i}", f"q{i}", (), Wants("text"), "")


def outcomes(jobs: list[Job], roles: dict[str, Any], window: int = 8) -> list[Outcome]:
    ended: list[Outcome] = []
    run(jobs, roles, lambda task, item: None, ended.append, window)
    return ended


class Waiting:
    """Answers after a pause and knows how many waited at once, and of which tasks."""

    info = INFO

    def __init__(self) -> None:
        self.now = self.most = 0
        self.together: set[frozenset[str]] = set()
        self.tasks: list[str] = []

    async def answer(self, request: Request) -> Response:
        task = request.sample.partition("/")[0]
        self.now += 1
        self.tasks.append(task)
        self.most = max(self.most, self.now)
        self.together.add(frozenset(self.tasks))
        await asyncio.sleep(0.002)
        self.tasks.remove(task)
        self.now -= 1
        return Response(request.sample)


def test_the_window_is_bounded_and_spans_tasks() -> None:
    engine = Waiting()
    jobs = [Job(name, map(sample, range(50)), find("direct")) for name in "ab"]
    ended = outcomes(jobs, {"model": engine}, window=8)
    assert engine.most == 8
    assert frozenset("ab") in engine.together
    assert sorted((o.task, o.sample.id, o.prediction.text) for o in ended if o.prediction) == sorted(
        (name, str(i), f"{name}/{i}") for name in "ab" for i in range(50)
    )


def test_samples_are_read_only_as_far_ahead_as_needed() -> None:
    read = 0

    def samples() -> Iterator[Sample]:
        nonlocal read
        for i in range(100_000):
            read = i
            yield sample(i)

    def fail(request: Request) -> str:
        raise Refused("enough") if request.sample == "a/20" else Gap("no")

    with pytest.raises(Refused, match="enough"):
        outcomes([Job("a", samples(), find("direct"))], {"model": Scripted(fail, INFO)})
    assert read < 1000


class Twice:
    """Asks the model, then the judge, then the model again."""

    name = "twice"

    def converse(self, item: Sample, model: ModelInfo) -> Conversation[Prediction]:
        texts = []
        for role in ("model", "judge", "model"):
            response = yield Request(Generate((Message("user", (item.prompt,)),)), to=role)
            texts.append(response.text)
        return Prediction(" ".join(texts), None)


def test_turns_are_numbered_by_role_and_draws_by_repeat() -> None:
    def reply(name: str) -> Scripted:
        return Scripted(lambda request: f"{name}{request.turn}.{request.draw}", INFO)

    ended = outcomes([Job("a", iter([sample(0)]), Twice(), repeats=2)], {"model": reply("m"), "judge": reply("j")})
    assert sorted(o.prediction.text for o in ended if o.prediction) == ["m0.0 j0.0 m1.0", "m0.1000 j0.1000 m1.1000"]


def test_a_role_without_an_engine_is_refused_with_its_option() -> None:
    with pytest.raises(Refused, match="--judge"):
        outcomes([Job("a", iter([sample(0)]), Twice())], {"model": Scripted(lambda request: "", INFO)})


def test_a_gap_ends_one_conversation_and_no_other() -> None:
    def reply(request: Request) -> str:
        if request.sample == "a/3":
            raise Gap("out of memory")
        return "fine"

    ended = {o.sample.id: o for o in outcomes([Job("a", map(sample, range(10)), find("direct"))], {"model": Scripted(reply, INFO)})}
    assert ended["3"].prediction is None
    assert ended["3"].gap == "out of memory"
    assert [o.gap for o in ended.values() if o.sample.id != "3"] == [""] * 9


def test_an_engine_that_lets_go_of_a_request_leaves_a_gap_and_no_hole() -> None:
    def reply(request: Request) -> str:
        if request.sample == "a/3":
            raise asyncio.CancelledError
        return "fine"

    ended = outcomes([Job("a", map(sample, range(10)), find("direct"))], {"model": Scripted(reply, INFO)}, window=2)
    assert sorted(o.sample.id for o in ended) == sorted(map(str, range(10)))
    assert [(o.sample.id, o.gap) for o in ended if o.prediction is None] == [("3", "the engine cancelled the request")]


def test_an_error_in_the_data_stops_the_run_with_its_own_words() -> None:
    def samples() -> Iterator[Sample]:
        yield sample(0)
        raise DataError("expected a column 'x' in rows.jsonl, row 2")

    with pytest.raises(DataError, match="column 'x'"):
        outcomes([Job("a", samples(), find("direct"))], {"model": Scripted(lambda request: "", INFO)})


class Praise:
    """A grader that asks the judge about the reply."""

    name = "praise"

    def grade(self, item: Sample, prediction: Prediction) -> Conversation[str]:
        response = yield Request(Generate((Message("user", (prediction.text,)),)), to="judge")
        return response.text.upper()


def test_a_graders_verdict_is_part_of_the_prediction(tmp_path: Path) -> None:
    judge = Scripted(lambda request: f"good: {request.kind.messages[0].content[0]}", INFO)  # type: ignore[union-attr]
    jobs = [Job("a", iter([sample(0)]), find("direct"), graders=(Praise(),))]
    (ended,) = outcomes(jobs, {"model": Scripted(lambda request: "hi", INFO), "judge": judge})
    assert ended.prediction is not None
    assert ended.prediction.verdicts == {"praise": "GOOD: HI"}


class Counting:
    """Answers at once, and knows how often."""

    info = INFO

    def __init__(self) -> None:
        self.answered = 0

    async def answer(self, request: Request) -> Response:
        self.answered += 1
        return Response(request.sample)


def test_no_answer_waits_while_a_metric_counts() -> None:
    engine, ended = Counting(), list[str]()

    def count(outcome: Outcome) -> None:
        end = time.monotonic() + 60
        while engine.answered < 20 and time.monotonic() < end:
            time.sleep(0.005)
        assert engine.answered >= 20
        ended.append(outcome.sample.id)

    run([Job("a", map(sample, range(30)), find("direct"))], {"model": engine}, lambda task, item: None, count, 4)
    assert sorted(ended, key=int) == [str(i) for i in range(30)]


def test_what_waits_for_a_slow_metric_is_bounded() -> None:
    engine, threads = Counting(), set[str]()

    def count(outcome: Outcome) -> None:
        if not threads:
            before = -1
            while engine.answered > before:
                before = engine.answered
                time.sleep(0.2)
            assert before < 300
        threads.add(threading.current_thread().name)

    run([Job("a", map(sample, range(2000)), find("direct"))], {"model": engine}, lambda task, item: None, count, 8)
    assert engine.answered == 2000
    assert len(threads) == 1


@pytest.mark.parametrize(("error", "told"), [(DataError("no gold"), DataError), (ValueError("no gold"), ValueError)])
def test_what_a_rule_raises_ends_the_run_with_its_own_words(error: Exception, told: type[Exception]) -> None:
    seen: list[str] = []

    def count(outcome: Outcome) -> None:
        seen.append(outcome.sample.id)
        if len(seen) == 3:
            raise error

    with pytest.raises(told, match=r"^no gold$"):
        run([Job("a", map(sample, range(5000)), find("direct"))], {"model": Counting()}, lambda task, item: None, count, 8)
    assert len(seen) == 3


def test_a_rule_that_runs_out_of_an_iterator_does_not_hang_the_run() -> None:
    with pytest.raises(RuntimeError, match="StopIteration while a/0 was scored"):
        run([Job("a", map(sample, range(5)), find("direct"))], {"model": Counting()}, lambda *_: None, lambda _: next(iter(())), 1)


def test_a_second_interrupt_leaves_the_end_that_the_first_began_in_peace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless that takes long."""
    handed_on: list[int] = []
    handle = runner._patient(lambda number, frame: handed_on.append(number))
    handle(signal.SIGINT, None)
    handle(signal.SIGINT, None)
    assert handed_on == [signal.SIGINT]
    monkeypatch.setattr(runner, "WINDING_UP", -1.0)
    with pytest.raises(KeyboardInterrupt):
        handle(signal.SIGINT, None)
    assert handed_on == [signal.SIGINT]
