"""Drives conversations; the only file that knows about concurrency.

A bounded window of conversations is live at any time, across all tasks of a run, so the engine never drains between tasks or
between turns and memory does not grow with the number of samples. Samples are read, and their images' sizes and digests
resolved, one chunk ahead in a thread of their own. Outcomes are told of in another, so that no answer waits while a metric counts.
"""

import asyncio
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from types import FrameType
from typing import Any

from .errors import Gap, ImageError, Refused
from .interfaces import AnswerProtocol, Engine, Grader
from .types import ATTEMPTS, Conversation, Generate, Image, ModelInfo, Prediction, Request, Response, Sample, T

WINDOW = 256
CHUNK = 64
WINDING_UP = 5.0
"""Seconds after a Ctrl-C in which another one changes nothing."""


@dataclass(frozen=True, slots=True)
class Job:
    """One task's share of a run."""

    task: str
    samples: Iterator[Sample]
    protocol: AnswerProtocol
    repeats: int = 1
    graders: Sequence[Grader] = ()
    images: Callable[[Sample], Sequence[Image]] | None = None
    """Fills in the digests and sizes of a sample's images, in the thread that reads samples; None: they are not needed."""
    blind: bool = False
    """Whether samples are asked without their images."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one conversation ended: a prediction, or the reason of a gap."""

    task: str
    sample: Sample
    draw: int
    prediction: Prediction | None
    gap: str = ""
    tokens: int = 0


def run(
    jobs: Sequence[Job],
    roles: Mapping[str, Engine],
    started: Callable[[str, Sample], None],
    ended: Callable[[Outcome], None],
    window: int = WINDOW,
) -> None:
    """Drives every conversation of every job. `started` sees each sample once, in order; `ended` each outcome, in the order they come.

    Each of the two is called in a thread of its own, one call at a time; what `ended` raises ends the run.

    Raises:
        UserError: the data is not what was expected, or a role has no engine. What was answered before stays stored.
    """
    running = _run(jobs, roles, started, ended, window)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        _run_here(running)
    else:  # called from a notebook's cell, whose loop is taken
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, running).result()


def _run_here(running: Coroutine[Any, Any, None]) -> None:
    """Runs to the end, or to a Ctrl-C, which asyncio turns into the tasks' cancellation.

    While they end, another Ctrl-C changes nothing: an exception in the middle of asyncio's own work may lose a wake-up, and then the
    process waits for ever.
    """
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler

    async def patiently() -> None:
        if ours:
            signal.signal(signal.SIGINT, _patient(signal.getsignal(signal.SIGINT)))
        await running

    try:
        asyncio.run(patiently())
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _patient(handler: Any) -> Callable[[int, FrameType | None], None]:
    """A handler that hands on the first signal, and raises at one that comes more than `WINDING_UP` seconds later."""
    since: list[float] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if not since:
            since.append(time.monotonic())
            handler(number, frame)
        elif time.monotonic() - since[0] > WINDING_UP:
            signal.default_int_handler(number, frame)

    return handle


async def _run(
    jobs: Sequence[Job],
    roles: Mapping[str, Engine],
    started: Callable[[str, Sample], None],
    ended: Callable[[Outcome], None],
    window: int,
) -> None:
    source, endings = _Source(_draws(jobs, started)), _Endings(ended)
    info = roles["model"].info

    async def work() -> None:
        while (item := await source.next()) is not None:
            job, sample, draw, broken = item
            outcome = Outcome(job.task, sample, draw, None, broken) if broken else await _converse(job, sample, draw, roles, info)
            await endings.put(outcome)

    try:
        async with asyncio.TaskGroup() as telling:
            telling.create_task(endings.tell())
            async with asyncio.TaskGroup() as working:
                for _ in range(window):
                    working.create_task(work())
            await endings.put(None)
    except BaseExceptionGroup as failures:
        raise _first(failures) from None
    finally:
        endings.close()
        source.close()


async def _converse(job: Job, sample: Sample, draw: int, roles: Mapping[str, Engine], info: ModelInfo) -> Outcome:
    """One conversation and its graders'."""
    turns: dict[str, int] = {}
    last: Generate | None = None
    name, spent = f"{job.task}/{sample.id}", 0

    async def ask(request: Request) -> Response:
        nonlocal last, spent
        turn = turns.get(request.to, 0)
        turns[request.to] = turn + 1
        if request.to == "model" and isinstance(request.kind, Generate):
            last = request.kind
        if request.to not in roles:
            raise Refused(f"the conversation about '{name}' asks the role '{request.to}', which has no engine: give it with --{request.to}")
        response = await roles[request.to].answer(replace(request, sample=name, turn=turn, draw=draw * ATTEMPTS + request.draw))
        spent += response.tokens_out
        return response

    try:
        asked = replace(sample, images=()) if job.blind else sample
        prediction = await drive(job.protocol.converse(asked, info), ask)
        prediction = replace(prediction, asked=last)
        for grader in job.graders:
            verdict = await drive(grader.grade(asked, prediction), ask)
            prediction = replace(prediction, verdicts={**prediction.verdicts, grader.name: verdict})
    except (Gap, ImageError) as error:
        return Outcome(job.task, sample, draw, None, str(error) or type(error).__name__, spent)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody stops the run: an engine let go of what it was asked, and a task that ended so would be missed by nobody.
        return Outcome(job.task, sample, draw, None, "the engine cancelled the request", spent)
    return Outcome(job.task, sample, draw, prediction, "", spent)


async def drive(conversation: Conversation[T], ask: Callable[[Request], Any]) -> T:
    """What the conversation returns, each of its requests answered by `ask`."""
    try:
        request = next(conversation)
        while True:
            request = conversation.send(await ask(request))
    except StopIteration as end:
        value: T = end.value
        return value


def _draws(jobs: Sequence[Job], started: Callable[[str, Sample], None]) -> Iterator[tuple[Job, Sample, int]]:
    for job in jobs:
        for sample in job.samples:
            started(job.task, sample)
            for draw in range(job.repeats):
                yield job, sample, draw


class _Source:
    """Hands out samples one by one, reading the next chunk ahead in a thread."""

    def __init__(self, items: Iterator[tuple[Job, Sample, int]]) -> None:
        self._items = items
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="samples")
        self._ready: deque[tuple[Job, Sample, int, str]] = deque()
        self._ahead: asyncio.Future[list[tuple[Job, Sample, int, str]]] | None = None
        self._lock = asyncio.Lock()

    async def next(self) -> tuple[Job, Sample, int, str] | None:
        """The next sample with its images resolved, or why they could not be; None at the end."""
        if not self._ready:
            async with self._lock:
                if not self._ready:
                    self._ready.extend(await (self._ahead or self._read()))
                    self._ahead = self._read()
        return self._ready.popleft() if self._ready else None

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _read(self) -> "asyncio.Future[list[tuple[Job, Sample, int, str]]]":
        return asyncio.get_running_loop().run_in_executor(self._pool, self._chunk)

    def _chunk(self) -> list[tuple[Job, Sample, int, str]]:
        return [_resolved(*item) for item in islice(self._items, CHUNK)]


class _Endings:
    """Tells of outcomes in a thread of its own, in the order they come: all that came meanwhile at once, as a thread takes time to wake."""

    def __init__(self, ended: Callable[[Outcome], None]) -> None:
        self._ended = ended
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="scoring")
        self._waiting: asyncio.Queue[Outcome | None] = asyncio.Queue(CHUNK)
        self._closed = False

    async def put(self, outcome: Outcome | None) -> None:
        """Adds an outcome, as soon as there is room; None after the last one."""
        await self._waiting.put(outcome)

    async def tell(self) -> None:
        """Returns once the last outcome is told of. Raises what telling raises."""
        more = True
        while more:
            group = [await self._waiting.get()]
            group += [self._waiting.get_nowait() for _ in range(self._waiting.qsize())]
            more = group[-1] is not None
            await asyncio.get_running_loop().run_in_executor(self._pool, self._tell, group)

    def close(self) -> None:
        """Returns once the thread is done with the outcome that it is at."""
        self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _tell(self, group: Sequence[Outcome | None]) -> None:
        for outcome in group:
            if outcome is None or self._closed:
                return
            try:
                self._ended(outcome)
            except StopIteration as error:  # which no future can hold: whoever waits would wait for ever
                raise RuntimeError(f"StopIteration while {outcome.task}/{outcome.sample.id} was scored") from error


def _resolved(job: Job, sample: Sample, draw: int) -> tuple[Job, Sample, int, str]:
    if job.images is None or not sample.images:
        return job, sample, draw, ""
    try:
        return job, replace(sample, images=tuple(job.images(sample))), draw, ""
    except ImageError as error:
        return job, sample, draw, str(error)


def _first(failures: BaseExceptionGroup[Any]) -> BaseException:
    first: BaseException = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
