"""A server of OpenAI's chat completions on this machine, over real HTTP, that misbehaves on demand.

It replies with what it was asked, so that a test can tell whose answer it holds. `Server(script)` asks `script(number, body)` for
every request to /v1/chat/completions what to do: a `Reply`, or one of the ways to go wrong. What arrived is kept.
"""

import asyncio
import base64
import hashlib
import io
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from evalkit.engines.openai import OpenAI, OpenAIOptions
from evalkit.engines.wire import Package
from evalkit.types import Generate, Message, Request, Sampling


@dataclass(frozen=True)
class Reply:
    """An answer: the text (None: an echo of the request), and what a choice says beside it."""

    text: str | None = None
    finish: str = "stop"
    message: Mapping[str, Any] = field(default_factory=dict)
    after: float = 0.0
    """Seconds that it takes."""
    usage: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Status:
    """An error of HTTP: a status with a body of JSON or text, and headers."""

    code: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Raw:
    """Status 200 with any bytes as body."""

    body: bytes
    kind: str = "application/json"


@dataclass(frozen=True)
class Cut:
    """The connection ends: before a byte, or in the middle of a good body."""

    half: bool = False


@dataclass(frozen=True)
class Hang:
    """Nothing comes for so many seconds; or, where it drips, a byte of a good body now and then."""

    seconds: float = 60.0
    drip: bool = False


@dataclass(frozen=True)
class Bytes:
    """Any bytes in place of a whole response, then the end of the connection."""

    data: bytes


Deed = Reply | Status | Raw | Cut | Hang | Bytes


@dataclass(frozen=True)
class Arrived:
    """What came with one request."""

    body: dict[str, Any]
    headers: dict[str, str]
    at: float
    """By the server's clock, in seconds."""


def openai_error(words: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error's body as OpenAI writes it."""
    return {"error": {"message": words, "type": "invalid_request_error", "param": param, "code": code}}


def pictures(body: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    """The media types and bytes of a request's images, in order."""
    parts = [part for message in body["messages"] if isinstance(message["content"], list) for part in message["content"]]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [(url.partition(";")[0].removeprefix("data:"), base64.b64decode(url.partition(",")[2])) for url in urls]


class Server:
    """The server, in a thread of its own, on a free port; a context manager."""

    def __init__(
        self, script: Callable[[int, dict[str, Any]], Deed] | None = None, models: tuple[str, ...] = ("tiny",), listed: str = ""
    ) -> None:
        self.script = script or (lambda number, body: Reply())
        self.models, self.listed = models, listed
        self.arrived: list[Arrived] = []
        self.asked = threading.Event()
        """Set once a request has arrived."""
        self.connections = 0
        self.most_at_once = self.at_once = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="server")

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The bodies of all requests so far."""
        return [arrived.body for arrived in self.arrived]

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        serving = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._one(reader, writer):
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answers one request; whether the connection stays."""
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = first.split()
        if (method, path) == ("GET", "/v1/models"):
            return _write(
                writer, Status(200, self.listed or {"data": [{"id": name, "object": "model"} for name in self.models], "object": "list"})
            )
        if (method, path) != ("POST", "/v1/chat/completions"):
            return _write(writer, Status(404, {"detail": "Not Found"}))
        asked = json.loads(body)
        self.arrived.append(Arrived(asked, headers, self._loop.time()))
        self.asked.set()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._do(self.script(len(self.arrived), asked), asked, writer)
        finally:
            self.at_once -= 1

    async def _do(self, deed: Deed, asked: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        match deed:
            case Cut(half=False):
                return False
            case Cut():
                writer.write(_head(Status(200), 10_000) + _completion(Reply(), asked)[:40])
                await writer.drain()
                return False
            case Hang(seconds, drip=False):
                await asyncio.sleep(seconds)
                return False
            case Hang(seconds):
                whole = _completion(Reply(), asked)
                writer.write(_head(Status(200), len(whole)))
                for place in range(len(whole)):
                    writer.write(whole[place : place + 1])
                    await writer.drain()
                    await asyncio.sleep(seconds / len(whole))
                return True
            case Bytes(data):
                writer.write(data)
                await writer.drain()
                return False
            case Raw(data, kind):
                writer.write(_head(Status(200, headers={"content-type": kind}), len(data)) + data)
                return True
            case Status():
                return _write(writer, deed)
            case Reply():
                await asyncio.sleep(deed.after)
                data = _completion(deed, asked)
                writer.write(_head(Status(200), len(data)) + data)
                return True


def echo(asked: Mapping[str, Any]) -> str:
    """What the server replies where the script says nothing else: the last text, the images' sizes, the seed of a draw."""
    from PIL import Image

    content = asked["messages"][-1]["content"]
    texts = [content] if isinstance(content, str) else [part["text"] for part in content if part["type"] == "text"]
    said = ["heard", *texts[-1:]]
    for _, data in pictures(asked):
        with Image.open(io.BytesIO(data)) as image:
            said.append(f"{image.width}x{image.height} {hashlib.sha256(image.convert('RGB').tobytes()).hexdigest()[:8]}")
    if asked.get("temperature") or "temperature" not in asked:
        said.append(f"drawn {asked.get('seed')}")
    return " | ".join(said)


def _completion(reply: Reply, asked: Mapping[str, Any]) -> bytes:
    text = echo(asked) if reply.text is None else reply.text
    words = len(text.split())
    usage = {"prompt_tokens": 10, "completion_tokens": words, "total_tokens": words + 10} if reply.usage is None else reply.usage
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **reply.message}, "finish_reason": reply.finish}
    return json.dumps({"id": "1", "object": "chat.completion", "model": asked["model"], "choices": [choice], "usage": usage}).encode()


def _write(writer: asyncio.StreamWriter, status: Status) -> bool:
    data = status.body.encode() if isinstance(status.body, str) else json.dumps(status.body).encode()
    writer.write(_head(status, len(data)) + data)
    return True


def _head(status: Status, length: int) -> bytes:
    headers = {"content-type": "application/json", "content-length": str(length), **status.headers}
    return "\r\n".join([f"HTTP/1.1 {status.code} X", *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()


# ---------------------------------------------------------------- engines on it

QUICK: dict[str, Any] = {"first_pause": 0.01, "patience": 0.2, "attempts": 4, "timeout": 20.0}


class Rig:
    """Servers and engines, closed after the test."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    def server(self, *script: Deed, then: Callable[[int, dict[str, Any]], Deed] | None = None, **options: Any) -> Server:
        """A server that does the deeds in turn, then what `then` says, or echoes."""

        def next_deed(number: int, body: dict[str, Any]) -> Deed:
            return script[number - 1] if number <= len(script) else then(number, body) if then else Reply()

        self.made.append(Server(next_deed, **options).__enter__())
        return self.made[-1]

    def engine(self, server: Server | str, model: str = "tiny", /, *, api_key: str = "", package: bool = False, **options: Any) -> OpenAI:
        """An engine on the server, quick to try again; over the openai package where asked to."""
        asked = OpenAIOptions(base_url=server if isinstance(server, str) else server.url, **(QUICK | options))
        carrier = Package(asked.base_url, api_key, asked.timeout) if package else None
        self.made.append(OpenAI(model, asked, api_key=api_key, carrier=carrier))
        return self.made[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for made in reversed(self.made):
            made.close() if isinstance(made, OpenAI) else made.__exit__()


def text_only(words: str = "Yes?", **sampling: Any) -> Request:
    """A request without an image."""
    return Request(Generate((Message("user", (words,)),), Sampling(**sampling)), sample=f"task/{words}")
