"""Eight replicas of a sleeping engine of 32 slots, lengths skewed: how near the run is to its work over its slots, and how even.

python -m tests.bench.replicas [SECONDS]

An answer sleeps for 0.4 s, one in ten for four times as long. The limit is the time slept, as the replicas measured it, over the 256
slots: SECONDS (40) and what the machine made of them. The last answers end within 1.6 s of each other, which no queue can help, so
a short run is farther from its limit.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

REPLICAS, SLOTS, AHEAD = 8, 32, 8
SHORT, LONG = 0.4, 1.6
WINDOW = 2 * REPLICAS * (SLOTS + AHEAD)


def make() -> Any:
    """A sleeping engine. Everything is inside, so that Ray sends the code and not its name."""
    import asyncio
    import os
    import time
    from typing import Any

    from evalkit.types import ModelInfo, Response

    class Sleeping:
        info = ModelInfo("sleeping", "sleeping")

        def __init__(self) -> None:
            self.room, self.slots = SLOTS + AHEAD, asyncio.Semaphore(SLOTS)

        async def answer(self, request: Any) -> Any:
            async with self.slots:
                begun = time.perf_counter()
                await asyncio.sleep(float(request.kind.messages[0].content[0]))
                return Response(str(os.getpid()), seconds=time.perf_counter() - begun)

    return Sleeping()


def main(seconds: float) -> None:
    from evalkit.engines.replicated import Replicated
    from evalkit.types import Generate, Message, Request

    rng, lengths = random.Random(0), list[float]()
    while sum(lengths) < seconds * REPLICAS * SLOTS:
        lengths.append(LONG if rng.random() < 0.1 else SHORT)
    engine = Replicated(make, REPLICAS, gpus=0)
    busy: Counter[str] = Counter()

    async def ask(left: Iterator[float]) -> None:
        for length in left:
            response = await engine.answer(Request(Generate((Message("user", (str(length),)),))))
            busy[response.text] += response.seconds  # type: ignore[assignment]

    async def all_of(lengths: list[float]) -> None:
        left = iter(lengths)
        await asyncio.gather(*(ask(left) for _ in range(WINDOW)))

    try:
        asyncio.run(all_of([0.01] * WINDOW))  # so that everybody is awake
        busy.clear()
        begun, worked = time.perf_counter(), time.process_time()
        asyncio.run(all_of(lengths))
        took, worked = time.perf_counter() - begun, time.process_time() - worked
    finally:
        engine.close()
    limit = busy.total() / (REPLICAS * SLOTS)
    told = {"ratio": limit / took, "spread": max(busy.values()) / min(busy.values()) - 1, "seconds": took, "limit": limit}
    print(json.dumps(told | {"requests": len(lengths), "milliseconds of this process a request": 1000 * worked / len(lengths)}))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 40.0)
