"""The openai engine through the whole run against the same requests from a bare asyncio client, on a `vllm serve` of the demo checkpoint.

python -m tests.bench.openai [PASSES [SAMPLES]]

400 samples of `shapes`, at most 16 tokens. The bare client is aiohttp over connections that are kept (0.6 to 1.2 ms of processor a request
where httpx took 3 to 15 and the openai package 6 to 10) and sends the bytes that the engine sent, made beforehand; how many requests it has
under way is what was quickest of 16, 32, 64 and 128. Fairness: both send in one order to one server, whose prefix, image and encoder
caches are emptied before each pass; the engine of a pass is new, so that it reads every image and finds its pace anew. No resize is
declared, so images go as the bytes that they are. `ratio` is bare seconds over ours (median).
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

from evalkit import protocols
from evalkit.engines.openai import OpenAI, OpenAIOptions
from evalkit.engines.wire import Plain, Reply

from .whole import DEMO, evaluate, shapes, tell

AT_ONCE = (16, 32, 64, 128)
STARTING = 600  # seconds that a server may take to start


def main(passes: int = 5, count: int = 400) -> None:
    asked, samples, sent = protocols.find("direct", max_tokens=16), shapes(count), list[bytes]()
    with served() as url:

        def ours(carrier: Plain | None = None) -> None:
            engine = OpenAI("demo", OpenAIOptions(base_url=f"{url}/v1", server="vllm"), carrier=carrier)
            evaluate(engine, asked, samples)
            engine.close()

        def bare(most: int) -> None:
            asyncio.run(client(f"{url}/v1/chat/completions", sent, most))

        def seconds(run: Callable[..., None], *given: Any) -> float:
            for cache in ("prefix", "mm", "encoder"):
                urlopen(Request(f"{url}/reset_{cache}_cache", method="POST"), timeout=60).close()
            begun = time.perf_counter()
            run(*given)
            return time.perf_counter() - begun

        ours(Noting(f"{url}/v1", sent))
        assert len(sent) == count
        taken = {most: min(seconds(bare, most) for _ in range(2)) for most in AT_ONCE}
        best = min(taken, key=taken.__getitem__)
        pairs = [(seconds(bare, best), seconds(ours)) for _ in range(passes)]
    tell(pairs, at_once=best, seconds_at_once=taken, requests=count)


class Noting(Plain):
    """The engine's own wire, which keeps what it sends."""

    def __init__(self, base_url: str, sent: list[bytes]) -> None:
        super().__init__(base_url, "")
        self.sent = sent

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        """The reply."""
        self.sent.append(json.dumps(body).encode())
        return await super().send(method, path, body)


async def client(url: str, bodies: list[bytes], most: int) -> None:
    """Sends every body, `most` at once, and reads the replies."""
    import aiohttp

    left = iter(bodies)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=most), headers={"content-type": "application/json"}) as session:

        async def work() -> None:
            for body in left:
                async with session.post(url, data=body) as reply:
                    assert (await reply.json())["choices"]

        await asyncio.gather(*(work() for _ in range(most)))


@contextmanager
def served() -> Iterator[str]:
    """The URL of a server of the demo checkpoint, which lets its caches be emptied."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--enforce-eager",
        "--dtype=float32",
        "--max-model-len=2048",
        "--disable-uvicorn-access-log",
        "--host=127.0.0.1",
        f"--port={port}",
    ]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", f"--model={DEMO}", "--served-model-name=demo", *options]
    variables = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", **os.environ, "VLLM_SERVER_DEV_MODE": "1"}
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=variables, start_new_session=True)
        try:
            until = time.monotonic() + STARTING
            while not serves(port):
                assert server.poll() is None and time.monotonic() < until, (log.seek(0), log.read().decode(errors="replace")[-3000:])[1]
                time.sleep(1)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)


def serves(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
