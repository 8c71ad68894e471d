"""One engine many times over, on many GPUs and machines: each in a Ray actor, all fed from one queue.

The queue is here. A replica gets its next requests as its answers come in, so that a fast one takes more and no share is fixed
beforehand; how many it holds at a time is the engine's own `room`. Requests about one image go to one replica while it has room, for
its caches. An image's bytes are put into Ray's object store once, and fetched from there once a machine. Replicas write nothing:
whoever wraps this engine in a store writes here.

A replica that dies is started again, and its requests go back to the front of the queue. An answer belongs to a number that is
handed out once, so none counts twice.
"""

import asyncio
import itertools
import logging
import math
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import config
from ..errors import Gap, UserError
from ..interfaces import Engine
from ..types import ModelInfo, Request, Response, Sampling, images_of
from . import _cluster as cluster
from ._actor import PAUSE, Failure, Replica, Started
from ._shipping import Shipping, root
from .common import admit

RESTARTS = 3
"""How often a replica that dies is started again without an answer in between."""
LIVES = 3
"""At how many deaths a request may be in flight. In its last life it is alone, so that no other pays for it."""
REST = 5.0
"""Seconds before a replica is started again, doubled with each death in a row: a machine's death takes half a minute to be known."""
LOOK = 5.0
"""Seconds between looks at whether the cluster still has room for a replica that does not start."""
HOMES = 4096
"""Of how many images it is remembered which replica has them."""
CLOSING = 30.0
"""Seconds that engines have to end what they started."""
CLOSED = "the engine was closed"
log = logging.getLogger("evalkit")


@dataclass(frozen=True, slots=True)
class Opening:
    """Makes the engine of a model by its name and the options of a run: all of it plain values, so that it travels."""

    name: str
    options: config.RunConfig

    def __call__(self) -> Engine:
        """The engine. Raises what `open_model` raises."""
        from . import open_model

        return open_model(self.name, self.options, []).engine


@dataclass(eq=False, slots=True)
class Job:
    """A request on its way."""

    request: Request
    image: str = ""
    """The digest of its first image's file."""
    deaths: int = 0
    future: "Future[Response]" = field(default_factory=Future)

    @property
    def alone(self) -> bool:
        """Whether a replica that has it has nothing else."""
        return self.deaths == LIVES - 1


@dataclass(eq=False, slots=True)
class Seat:
    """A replica, whichever process it is in at the time."""

    number: int
    actor: Any = None
    """None while there is none that answers."""
    flying: dict[int, Job] = field(default_factory=dict)
    alone: bool = False
    """Whether the last request that it was given is to be alone with it."""
    deaths: int = 0
    """Without an answer in between."""

    def takes(self, job: Job, room: int) -> bool:
        """Whether it may have this request too."""
        return self.actor is not None and len(self.flying) < (1 if job.alone or self.alone else room)

    @property
    def lost(self) -> bool:
        """Whether it is not started again."""
        return self.deaths > RESTARTS


class Replicated:
    """An engine over `count` others, from any thread or event loop.

    Args:
        make: makes one of them; pickled, and called in its actor.
        count: how many.
        address: of a Ray cluster ("auto": the one of this machine); None: one is started here, and ended with the engine.
        gpus: of each replica, all on one machine; None: one where there are any.

    Raises:
        UserError: Ray is not installed, there is no such cluster, it has too few GPUs, or a replica does not start or is not like
            the others.
    """

    def __init__(self, make: Callable[[], Engine], count: int, *, address: str | None = None, gpus: int | None = None) -> None:
        if count < 1:
            raise UserError(f"expected at least 1 replica, got {count}")
        self._ray, self._ours = cluster.library(), cluster.join(address)
        self._make, self._pause, self._actors = make, PAUSE * count, list[Any]()
        try:
            self._gpus = cluster.gpus_each(gpus)
            cluster.check(count, self._gpus)
            self._first = first = self._start(count)
        except BaseException:
            self._release()
            raise
        self.info: ModelInfo = replace(first.info, details={**first.info.details, "replicas": count})
        self.sampling: Sampling | None = first.sampling
        """How the checkpoint's own generation_config decodes; None where the engine has none."""
        self.room = count * first.room
        """How many requests the replicas hold at a time."""
        self._each = first.room
        self._seats = [Seat(number, actor) for number, actor in enumerate(self._actors, 1)]
        self._waiting: deque[Job] = deque()
        self._numbers = itertools.count()
        self._homes: OrderedDict[str, Seat] = OrderedDict()
        self._images = Shipping(self._ray)
        self._readers = ThreadPoolExecutor(4, "images")
        self._timed, self._died, self._tasks = False, "", set[asyncio.Task[None]]()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="replicas", daemon=True)
        self._thread.start()
        for seat in self._seats:
            self._loop.call_soon_threadsafe(self._task, self._listen(seat, seat.actor))

    async def answer(self, request: Request) -> Response:
        """The response.

        Raises:
            Gap: replicas died with it in flight, or none is left; or the replica that was asked says so.
            ImageError: one of its images cannot be read.
            Refused: the request's kind is not served; or the replica that was asked says so.
        """
        admit(self.info, request)
        if self._loop.is_closed():
            raise Gap(CLOSED)
        travelling = await asyncio.get_running_loop().run_in_executor(self._readers, self._images.shipped, request)
        job = Job(travelling, next((root(image).digest for image in images_of(request)), ""))
        try:
            self._loop.call_soon_threadsafe(self._arrive, job)
        except RuntimeError as error:  # closed meanwhile
            raise Gap(CLOSED) from error
        return await asyncio.wrap_future(job.future)

    def close(self) -> None:
        """Ends the replicas, and the cluster if it was started for them; whoever still waits gets a gap."""
        if self._loop.is_closed():
            return
        self._readers.shutdown(cancel_futures=True)
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        closing = [seat.actor.close.remote() for seat in self._seats if seat.actor]
        if closing:
            self._ray.wait(closing, num_returns=len(closing), timeout=CLOSING)
        self._release()

    # ------------------------------------------------------------ starting and ending

    def _spawn(self) -> Any:
        """A new actor, whose engine is yet to be made. It asks for no CPU: what limits replicas is GPUs, or nothing."""
        options = {"num_cpus": 0, "num_gpus": self._gpus, "scheduling_strategy": "SPREAD"}
        self._actors.append(self._ray.remote(Replica).options(**options).remote())
        return self._actors[-1]

    def _start(self, count: int) -> Started:
        """What the replicas say of themselves, which are all started together.

        Raises:
            UserError: one does not start, or is another engine than the first.
        """
        waiting = [self._spawn().start.remote(self._make, self._pause) for _ in range(count)]
        first: Started | None = None
        while waiting:
            [ready], waiting = self._ray.wait(waiting, num_returns=1)
            try:
                first = _alike(first, self._ray.get(ready))
            except self._ray.exceptions.RayError as error:
                raise UserError(f"a replica died while it was starting: {cluster.words(error)}") from error
        assert first
        return first

    def _release(self) -> None:
        """Ends the actors with all that they started, and the cluster if it is ours."""
        for actor in self._actors:
            self._ray.kill(actor)
        if self._ours:
            self._ray.shutdown()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._died = CLOSED
        for job in [*self._waiting, *(job for seat in self._seats for job in seat.flying.values())]:
            _settle(job, Gap(CLOSED))

    # ------------------------------------------------------------ the queue; all of it on the loop's thread

    def _arrive(self, job: Job) -> None:
        if self._died:
            _settle(job, Gap(self._died))
            return
        self._waiting.append(job)
        self._soon()

    def _soon(self) -> None:
        """Has what waits handed out, with what comes in the meantime."""
        if not self._timed:
            self._timed = True
            self._loop.call_later(PAUSE, self._timely)

    def _timely(self) -> None:
        self._timed = False
        self._deal()

    def _deal(self, calling: Seat | None = None) -> list[tuple[int, Request]]:
        """Hands the requests that wait to the replicas that have room, in one call each; returns the share of one that is called anyway."""
        groups: dict[Seat, list[tuple[int, Request]]] = defaultdict(list)
        while self._waiting and (seat := self._seat_for(self._waiting[0])):
            job, number = self._waiting.popleft(), next(self._numbers)
            if job.future.cancelled():
                continue
            seat.flying[number], seat.alone = job, job.alone
            groups[seat].append((number, job.request))
        mine = groups.pop(calling, []) if calling else []
        for seat, group in groups.items():
            self._task(self._ask(seat, seat.actor, group))
        return mine

    def _seat_for(self, job: Job) -> Seat | None:
        """The replica that had the request's image if it has little more to do than others, else the one with least; None: all are full."""
        free = [seat for seat in self._seats if seat.takes(job, self._each)]
        if not free:
            return None
        least = min(free, key=lambda seat: len(seat.flying))
        if not job.image:
            return least
        home = self._homes.pop(job.image, least)
        chosen = home if home in free and len(home.flying) <= len(least.flying) + self._each // 4 else least
        self._homes[job.image] = chosen
        if len(self._homes) > HOMES:
            self._homes.popitem(last=False)
        return chosen

    async def _ask(self, seat: Seat, actor: Any, group: list[tuple[int, Request]]) -> None:
        try:
            await actor.ask.remote(group)
        except Exception as error:  # noqa: BLE001 - a replica that cannot be asked is a dead one
            self._bury(seat, actor, cluster.words(error))

    async def _listen(self, seat: Seat, actor: Any) -> None:
        """Gives the answers of a replica to those who wait for them, until it dies."""
        try:
            while True:
                for number, outcome in await actor.answers.remote(self._deal(seat)):
                    if job := seat.flying.pop(number, None):
                        _settle(job, outcome.error() if isinstance(outcome, Failure) else outcome)
                    seat.deaths = 0
        except Exception as error:  # noqa: BLE001 - a replica that cannot be heard is a dead one
            self._bury(seat, actor, cluster.words(error))

    # ------------------------------------------------------------ death

    def _bury(self, seat: Seat, actor: Any, why: str) -> None:
        """Takes a dead replica's requests back, and has it started again unless it died too often. More than one may bring the news."""
        if seat.actor is not actor:
            return
        self._ray.kill(actor)
        self._actors.remove(actor)
        seat.actor, seat.deaths = None, seat.deaths + 1
        lost, seat.flying = list(seat.flying.values()), {}
        for job in reversed(lost):
            job.deaths += 1
            if job.deaths < LIVES:
                self._waiting.appendleft(job)
            else:
                _settle(job, Gap(f"{LIVES} replicas died with it in flight, the last one so: {why}"))
        log.info("replica %d died, and its %d requests are asked again: %s", seat.number, len(lost), why)
        self._soon()
        self._task(self._revive(seat, why))

    async def _revive(self, seat: Seat, why: str) -> None:
        """Starts a replica again, or leaves it out where it dies too often; without the last one everybody gets a gap."""
        while not seat.lost:
            await asyncio.sleep(REST * 2 ** (seat.deaths - 1))
            actor = self._spawn()
            try:
                _alike(self._first, await self._started(actor))
            except Exception as error:  # noqa: BLE001 - whatever it is, it did not start
                why, seat.deaths = cluster.words(error), seat.deaths + 1
                self._ray.kill(actor)
                self._actors.remove(actor)
                continue
            seat.actor = actor
            self._task(self._listen(seat, actor))
            return
        log.info("replica %d died %d times without an answer in between and is left out: %s", seat.number, seat.deaths, why)
        if all(other.lost for other in self._seats):
            self._died = f"no replica is left; the last one died {seat.deaths} times in a row: {why}"
            while self._waiting:
                _settle(self._waiting.popleft(), Gap(self._died))

    async def _started(self, actor: Any) -> Started | Failure:
        """What the engine in a new actor says of itself. Waits for room in the cluster while another replica goes on without it."""
        start = asyncio.ensure_future(actor.start.remote(self._make, self._pause))
        try:
            while not (await asyncio.wait({start}, timeout=LOOK))[0]:
                if cluster.places(self._gpus) < 1 and not any(seat.actor for seat in self._seats):
                    raise UserError("the cluster has no room for it any more")
            said: Started | Failure = start.result()
        finally:
            start.cancel()
        return said

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def replicate(name: str, options: config.RunConfig, count: int, address: str | None = None) -> Replicated:
    """`count` engines of the checkpoint or plugin that `open_model` finds by `name`, which must be the same on every machine.

    Each takes the GPUs that its tensor and pipeline parallel sizes ask for, none on `--device cpu`.

    Raises:
        UserError: a device is named, of which Ray hands out others; and what `Replicated` raises.
    """
    if ":" in options.device:
        raise UserError(f"each replica gets GPUs of its own: leave --device {options.device} out")
    declared = config.model(name)
    said = config.engine_arguments((*(declared.engine_args if declared else ()), *options.engine_args))
    split = [int(said[key]) for key in ("tensor_parallel_size", "pipeline_parallel_size") if key in said]
    gpus = 0 if options.device == "cpu" else math.prod(split) if split else None
    plugin = "plugin:" if options.engine == "plugin" and not name.startswith("plugin:") else ""
    alone = replace(options, processor=_absolute(options.processor), adapter=_absolute(options.adapter))
    return Replicated(Opening(_absolute(plugin + name), alone), count, address=address, gpus=gpus)


def _absolute(name: str) -> str:
    """A path, or a plugin's, from the root, as actors do not run in this folder; any other name as it is."""
    kind, colon, rest = name.partition(":") if name.startswith("plugin:") else ("", "", name)
    return f"{kind}{colon}{Path(rest).expanduser().absolute()}" if rest and (kind or Path(rest).exists()) else name


def _alike(first: Started | None, said: Started | Failure) -> Started:
    """What the first replica said of itself, if this one says the same.

    Raises:
        UserError: it does not start, or would answer differently.
    """
    if isinstance(said, Failure):
        error = said.error()
        raise error if isinstance(error, UserError) else UserError(f"a replica does not start: {error}")
    if first and first.info.fingerprint != said.info.fingerprint:
        apart = sorted(key for key, value in said.info.details.items() if value != first.info.details.get(key))
        raise UserError(
            f"expected replicas that are one engine, got two that differ in {', '.join(apart) or 'their fingerprints'}: "
            "let every machine have the same checkpoint and the same packages"
        )
    return first or said


def _settle(job: Job, outcome: Response | Exception) -> None:
    if not job.future.set_running_or_notify_cancel():
        return
    if isinstance(outcome, Exception):
        job.future.set_exception(outcome)
    else:
        job.future.set_result(outcome)
