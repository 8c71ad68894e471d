"""Single requests in, batches of like with like through the model, single responses out."""

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Generic, TypeVar

from ..errors import EvalkitError, Gap
from ..types import Request, Response

Batch = TypeVar("Batch")
T = TypeVar("T")

POOL = 4  # batches' worth of requests waited for, within the window, so that sorting by length has something to sort
LONGEST = 10  # windows that a request waits for company at most, while more keep coming
CLOSING = 30.0  # seconds that the batch in the model has to end when the batcher is closed
CLOSED = "the engine was closed"
AHEAD = 2  # batches under way: one in the model, one made ready beside it


@dataclass(eq=False, slots=True)
class Job:
    """A request that waits for its response."""

    request: Request
    group: Hashable
    length: int
    future: "Future[Response]" = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class Batcher(Generic[Batch]):
    """Answers requests in batches, from any thread or event loop. While `run` is busy, `prepare` makes the next batch ready.

    A batch that fails is halved until the request at fault stands alone, so nobody pays for a neighbour. One that fails for
    want of memory (`MemoryError`) also keeps all later batches to half its size.

    Args:
        group: requests with equal values may share a batch.
        length: about how long a request's row is; rows of like length are put together, so that little is padded.
        prepare: turns requests into a batch (decoding, tokenising).
        run: turns a batch into responses, in the order of the requests.
        size: the most requests in a batch.
        window: seconds without another request after which those that wait are company enough.
    """

    def __init__(
        self,
        *,
        group: Callable[[Request], Hashable],
        length: Callable[[Request], int],
        prepare: Callable[[list[Request]], Batch],
        run: Callable[[Batch], list[Response]],
        size: int,
        window: float = 0.005,
    ) -> None:
        self.size = size
        self._group, self._length, self._prepare, self._run, self._window = group, length, prepare, run, window
        self._changed = threading.Condition()
        self._waiting: list[Job] = []
        self._ready: SimpleQueue[tuple[list[Job], Batch | Exception] | None] = SimpleQueue()
        self._under_way = 0
        self._threads: list[threading.Thread] = []
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it was closed: a long batch may then raise a `Gap` of `CLOSED` instead of going on."""
        return self._closed

    def submit(self, request: Request) -> "Future[Response]":
        """The response to come. Cancelling it takes the request out of the queue, unless its batch is already made."""
        job = Job(request, self._group(request), self._length(request))
        with self._changed:
            if self._closed:
                raise Gap(CLOSED)
            self._waiting.append(job)
            if not self._threads:
                works = (self._preparing, self._running)
                self._threads = [threading.Thread(target=work, name=f"evalkit{work.__name__}", daemon=True) for work in works]
                for thread in self._threads:
                    thread.start()
            self._changed.notify_all()
        return job.future

    def close(self) -> None:
        """Ends the threads after the batch in the model, and waits for that; whoever still waits gets a gap."""
        with self._changed:
            self._closed = True
            left, self._waiting = self._waiting, []
            self._changed.notify_all()
        for job in left:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(Gap(CLOSED))
        for thread in self._threads:
            thread.join(CLOSING)

    def _preparing(self) -> None:
        while jobs := self._next():
            self._ready.put((jobs, self._prepared(jobs)))
        self._ready.put(None)

    def _running(self) -> None:
        while work := self._ready.get():
            self._settle(*work)
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _next(self) -> list[Job]:
        """The next batch, once there is a full one or the model would be idle; empty when the batcher is closed."""
        with self._changed:
            while not self._closed:
                patience = None
                self._waiting = [job for job in self._waiting if not job.future.cancelled()]
                if self._waiting and self._under_way < AHEAD:
                    since = min(self._waiting[-1].arrived, self._waiting[0].arrived + LONGEST * self._window)
                    patience = since + self._window - time.monotonic()
                    if patience <= 0 or len(self._waiting) >= POOL * self.size:
                        patience, jobs = None, self._choose()
                        if len(jobs) >= self.size or not self._under_way:
                            self._waiting = [job for job in self._waiting if job not in jobs]
                            jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
                            if jobs:
                                self._under_way += 1
                                return jobs
                            continue
                self._changed.wait(patience)
            return []

    def _choose(self) -> list[Job]:
        """The `size` longest jobs of the first full group, or of the oldest job's group where none is full.

        The longest first, so that what comes later still finds its like: as little is padded as if all had been sorted beforehand.
        """
        groups: dict[Hashable, list[Job]] = {}
        for job in self._waiting:
            groups.setdefault(job.group, []).append(job)
        group = next((jobs for jobs in groups.values() if len(jobs) >= self.size), groups[self._waiting[0].group])
        return sorted(group, key=lambda job: job.length, reverse=True)[: self.size]

    def _prepared(self, jobs: list[Job]) -> Batch | Exception:
        try:
            return self._prepare([job.request for job in jobs])
        except Exception as error:  # noqa: BLE001 - it belongs to the requests, not to this thread
            return error

    def _settle(self, jobs: list[Job], batch: Batch | Exception) -> None:
        """Gives every job its response or its reason, halving the batch as often as it fails."""
        if self._closed:
            for job in jobs:
                job.future.set_exception(Gap(CLOSED))
            return
        if len(jobs) <= self.size:
            try:
                if isinstance(batch, Exception):
                    raise batch
                responses = self._run(batch)
                if len(responses) != len(jobs):
                    raise Gap(f"expected {len(jobs)} responses to a batch, got {len(responses)}")
            except Exception as error:  # noqa: BLE001 - whatever it is, it is why these requests have no answer
                if len(jobs) == 1:
                    jobs[0].future.set_exception(_reason(error))
                    return
                if isinstance(error, MemoryError):
                    self.size = max(len(jobs) // 2, 1)
            else:
                for job, response in zip(jobs, responses, strict=True):
                    job.future.set_result(response)
                return
        del batch
        half = (len(jobs) + 1) // 2
        for part in (jobs[:half], jobs[half:]):
            self._settle(part, self._prepared(part))


def within_memory(work: Callable[[], T]) -> T:
    """What the work gives, done without gradients.

    Raises:
        MemoryError: the device has not the memory for it.
    """
    import torch

    try:
        with torch.inference_mode():
            return work()
    except RuntimeError as error:
        words = str(error)
        if not isinstance(error, torch.OutOfMemoryError) and "out of memory" not in words and "can't allocate memory" not in words:
            raise
    # Not inside the handler: there the error still holds the tensors that filled the memory.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    raise MemoryError(words.partition("\n")[0])


def _reason(error: Exception) -> Exception:
    if isinstance(error, EvalkitError):
        return error
    if isinstance(error, MemoryError):
        return Gap(f"out of memory on a single request: {error}")
    return Gap(f"{type(error).__name__}: {error}")
