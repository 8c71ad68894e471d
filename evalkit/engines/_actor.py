"""An engine in a process of its own, on any machine of a Ray cluster; and what passes between it and the run.

Requests come in groups and answers go back in groups, because a call costs milliseconds: `answers` brings what there is room for
and returns as soon as something is answered, with all that is by then; `ask` brings what comes while it waits.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import errors
from ..interfaces import Engine
from ..types import ModelInfo, Request, Response, Sampling

PAUSE = 0.002
"""Seconds that a group of requests is gathered for, and for each replica a group of answers: the more, the rarer each one's calls."""
ROOM = 64
"""How many requests an engine holds at most that does not say so itself, by an attribute `room`."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it travels: the name of its class in `evalkit.errors`, and its words."""

    kind: str
    words: str

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """The error, if it is none of evalkit's as a `Gap`: classes of plugins are unknown elsewhere, and others may not pickle."""
        kind = next((kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__), "")
        return cls(kind, str(error)) if kind else cls("Gap", f"{type(error).__name__}: {error}")

    def error(self) -> errors.EvalkitError:
        """The error, to be raised where the answer is awaited."""
        made: errors.EvalkitError = getattr(errors, self.kind)(self.words)
        return made


@dataclass(frozen=True, slots=True)
class Started:
    """What an engine says of itself once it stands."""

    info: ModelInfo
    sampling: Sampling | None
    room: int


class EngineDied(Exception):
    """The process lives, its engine does not."""


class Replica:
    """The actor."""

    def __init__(self) -> None:
        self._engine: Any = None
        self._pause = PAUSE
        self._done: list[tuple[int, Response | Failure]] = []
        self._some = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, make: Callable[[], Engine], pause: float) -> Started | Failure:
        """Makes the engine; a thread does it, so that no event loop is in the way of what it starts. Answers will pause for company."""
        self._pause = pause
        try:
            self._engine = await asyncio.to_thread(make)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is why there is no engine
            return Failure.of(error)
        engine = self._engine
        return Started(engine.info, getattr(engine, "sampling", None), getattr(engine, "room", ROOM))

    async def ask(self, group: Sequence[tuple[int, Request]]) -> None:
        """Begins to answer requests, each under its number."""
        for number, request in group:
            task = asyncio.ensure_future(self._answer(number, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def answers(self, group: Sequence[tuple[int, Request]]) -> list[tuple[int, Response | Failure]]:
        """What has been answered since the last call, waiting until something is; begins with more requests meanwhile.

        Raises:
            EngineDied: nothing more will be.
        """
        await self.ask(group)
        await self._some.wait()
        await asyncio.sleep(self._pause)
        if why := getattr(self._engine, "died", ""):
            raise EngineDied(why)
        self._some.clear()
        done, self._done = self._done, []
        return done

    async def close(self) -> None:
        """Ends the engine with all that it started."""
        from . import close

        await asyncio.to_thread(close, self._engine)

    async def _answer(self, number: int, request: Request) -> None:
        try:
            outcome: Response | Failure = await self._engine.answer(request)
        except Exception as error:  # noqa: BLE001 - it is raised again where the answer is awaited
            outcome = Failure.of(error)
        self._done.append((number, outcome))
        self._some.set()
