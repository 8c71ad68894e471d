"""Wrappers around the store: answer from it first, write after; or answer from nothing else."""

import asyncio
from collections.abc import Mapping

from ..errors import Gap, Refused
from ..interfaces import Engine
from ..store import Store
from ..types import ATTEMPTS, ModelInfo, Request, Response


class Stored:
    """Answers what the store (or an `earlier` one) holds, asks the engine for the rest, and returns only what is on disk.

    Equal requests in flight are asked once; if the one that asks fails, each of the others sees the same error.
    """

    def __init__(self, engine: Engine, store: Store, *earlier: Store) -> None:
        self.engine, self.store, self.earlier, self.info = engine, store, earlier, engine.info
        self.reused, self.room = 0, getattr(engine, "room", 0)
        self._flying: dict[str, asyncio.Task[Response]] = {}

    async def answer(self, request: Request) -> Response:
        """The stored response, or the engine's, committed."""
        key = request.key(self.info.fingerprint)
        known = self.store.get(key)
        if known is not None:
            self.reused += 1
            return known
        if key not in self._flying:
            self._flying[key] = asyncio.ensure_future(self._ask(key, request))
            self._flying[key].add_done_callback(lambda task: self._landed(key, task))
        return await asyncio.shield(self._flying[key])

    def _landed(self, key: str, task: asyncio.Task[Response]) -> None:
        """Forgets a request; whoever waited for it has its error, or has left: asyncio need not tell of it too."""
        self._flying.pop(key, None)
        if not task.cancelled():
            task.exception()

    async def _ask(self, key: str, request: Request) -> Response:
        response = next((known for store in self.earlier if (known := store.get(key))), None)
        if response is None:
            response = await self.engine.answer(request)
        else:
            self.reused += 1
        await self.store.put(key, request, response)
        return response


class StoredOnly:
    """Answers from the store alone, for re-scoring without a model; `gaps` are the answers that the run never got."""

    def __init__(self, info: ModelInfo, store: Store, gaps: Mapping[tuple[str, int], str]) -> None:
        self.info, self.store, self.gaps = info, store, gaps

    async def answer(self, request: Request) -> Response:
        """The stored response. Raises `Gap` where the run had one, `Refused` where the request was never asked in this form."""
        known = self.store.get(request.key(self.info.fingerprint))
        if known is not None:
            return known
        gap = self.gaps.get((request.sample, request.draw // ATTEMPTS))
        if gap is not None:
            raise Gap(gap)
        raise Refused(
            f"re-scoring needs an answer that {self.store.path} does not hold, for sample '{request.sample}': its prompt, its "
            "image or the sampling is not what was asked then. Run `evalkit run` again with the model to ask anew"
        )
