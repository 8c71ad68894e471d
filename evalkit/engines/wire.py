"""What carries a request to a server and its reply back: one method, `send`, whatever the status of the reply.

A server at an http:// URL is one's own, often on the same machine, where each millisecond of ours is taken from the model: it is
spoken to in plain HTTP/1.1, 0.2 ms of processor a request. One at an https:// URL is spoken to by the openai package, with its
certificates, proxies and redirects; its HTTP client takes 2 to 7 ms.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from ..errors import EvalkitError, UserError

CONNECT = 15.0  # seconds that a connection may take to come about
MOST = 256 << 20
"""Bytes of a reply's body, above which it is none."""
PACKED = ("content-encoding", "content-length", "transfer-encoding")
"""Headers of a body that it no longer has once it is unpacked."""
VOUCHED = ("self-signed certificate", "self signed certificate", "unable to get local issuer certificate")
OWN = ". If the server is yours, name a file of the certificates that you trust, in which its own is one: SSL_CERT_FILE=/path/to/them.pem"


class NoReply(EvalkitError):
    """The server cannot be reached, or the connection ended before the reply did."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, be it an error."""

    status: int
    headers: Mapping[str, str]
    """By names in lower case."""
    body: bytes


class Wire(Protocol):
    """Carries requests of one event loop. How long a reply may take is the caller's to say, by cancelling."""

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        """The reply to a request at `path` after the base URL. Raises `NoReply` where there is none, or half of one."""

    async def close(self) -> None:
        """Ends the connections."""


def wire(base_url: str, api_key: str, timeout: float) -> Wire:
    """What carries requests to the server at `base_url`."""
    return Plain(base_url, api_key) if base_url.startswith("http://") else Package(base_url, api_key, timeout)


class Plain:
    """HTTP/1.1 over connections that are kept and used again, the latest first."""

    def __init__(self, base_url: str, api_key: str) -> None:
        place = urlsplit(base_url)
        self._host, self._port, self._path = place.hostname or "", place.port or 80, place.path.rstrip("/")
        key = f"authorization: Bearer {api_key}\r\n" if api_key else ""
        self._head = f"host: {place.netloc.rpartition('@')[2]}\r\naccept: application/json\r\nuser-agent: evalkit\r\n{key}"
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        """The reply, over an idle connection that still stands or a new one.

        A server may end a kept connection at the moment that a request leaves on it. Where no byte of a reply came over a kept one, the
        request is sent again over another (RFC 9112, section 9.3.1, takes that to be safe where asking twice is).
        """
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {self._path}{path} HTTP/1.1\r\n{self._head}content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        while True:
            reader, writer, kept = await self._connection()
            begun, stays = b"", False
            try:
                writer.write(head.encode("latin-1") + data)
                begun = await reader.readexactly(1)
                reply, stays = await _received(begun, reader)
            except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
                if begun or not kept:
                    what = f"failed: {error}" if isinstance(error, OSError) else "ended before the reply did, or it is no HTTP"
                    raise NoReply(f"the connection {what}") from error
            else:
                return reply
            finally:
                if stays:
                    self._idle.append((reader, writer))
                else:
                    writer.transport.abort()

    async def close(self) -> None:
        """Ends the connections."""
        for _, writer in self._idle:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        self._idle.clear()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bool]:
        """A connection, and whether it is a kept one."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer, True
            writer.close()
        try:
            async with asyncio.timeout(CONNECT):
                return *await asyncio.open_connection(self._host, self._port), False
        except OSError as error:  # a time-out is one too
            raise NoReply(f"no connection: {error or f'none within {CONNECT:g} s'}") from error


async def _received(begun: bytes, reader: asyncio.StreamReader) -> tuple[Reply, bool]:
    """The reply that begins so, and whether the connection may be used again (RFC 9112, sections 4, 6 and 9).

    Raises:
        EOFError, ValueError, LimitOverrunError: it ends too soon, or is no HTTP.
        NoReply: it is too long.
    """
    status = 100
    while status < 200:  # "continue" and the like come before the reply
        first, *lines = (begun + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        begun = b""
        version, code, *_ = first.split()
        status = int(code)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    stays = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    if headers.get("transfer-encoding", "").lower() == "chunked":
        parts, room = [], MOST
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            room = _within(room - size)
            parts.append((await reader.readexactly(size + 2))[:-2])
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return Reply(status, headers, b"".join(parts)), stays
    if "content-length" in headers:
        length = int(headers["content-length"])
        _within(MOST - length)
        return Reply(status, headers, await reader.readexactly(length)), stays
    return Reply(status, headers, b"" if status in (204, 304) else await _whole(_rest(reader))), False


async def _rest(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while part := await reader.read(1 << 16):
        yield part


async def _whole(body: AsyncIterator[bytes]) -> bytes:
    """The parts of a body in one. Raises `NoReply` where it is too long."""
    parts, room = [], MOST
    async for part in body:
        room = _within(room - len(part))
        parts.append(part)
    return b"".join(parts)


def _within(room: int) -> int:
    if room < 0:
        raise NoReply(f"the reply is longer than {MOST >> 20} MiB")
    return room


@dataclass(slots=True)
class _Client:
    """A client of the package with what it has under way."""

    client: Any
    under_way: int = 0


class Package:
    """The openai package. Its HTTP client looks at every connection of its pool for each request, which at 256 doubles what a request
    costs: a client has at most 32 under way."""

    ROOM = 32

    def __init__(self, base_url: str, api_key: str, timeout: float) -> None:
        self._base_url, self._key, self._timeout = base_url, api_key or "none", timeout
        self._clients: list[_Client] = []

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        """The reply, over the first client with room."""
        import openai

        used = next((one for one in self._clients if one.under_way < self.ROOM), None) or self._new()
        used.under_way += 1
        try:
            if body is None:
                return Reply(200, {}, await used.client.get(path, cast_to=bytes))
            return Reply(200, {}, await used.client.post(path, cast_to=bytes, body=body))
        except openai.APIStatusError as error:
            headers = {name.lower(): value for name, value in error.response.headers.items()}
            return Reply(error.status_code, headers, error.response.content)
        except openai.APITimeoutError as error:
            raise TimeoutError from error
        except openai.OpenAIError as error:
            cause = error.__cause__ or error
            if isinstance(cause, NoReply):
                raise cause from None
            what = str(cause) or type(cause).__name__
            if type(cause).__name__ == "ProxyError":  # whose words may repeat the password that the proxy was sent
                what = f"the proxy answered {what[:3]}" if what[:3].isdigit() else "the proxy does not answer as one"
                raise NoReply(f"the connection failed: {what}") from None
            raise NoReply(f"the connection failed: {what}{OWN if any(words in what for words in VOUCHED) else ''}") from error
        finally:
            used.under_way -= 1

    async def close(self) -> None:
        """Ends the connections."""
        for one in self._clients:
            await one.client.close()

    def _new(self) -> _Client:
        import openai

        timeout = openai.Timeout(self._timeout, connect=min(self._timeout, CONNECT))
        try:
            client = openai.AsyncOpenAI(api_key=self._key, base_url=self._base_url, max_retries=0, timeout=timeout, http_client=_bounded())
        except ImportError as error:
            raise UserError(f"cannot use the proxy that HTTPS_PROXY or ALL_PROXY names: {error}") from None
        self._clients.append(_Client(client))
        return self._clients[-1]


def _bounded() -> Any:
    """The HTTP client of the openai package, which reads a body as it is unpacked, and no more of it than `MOST`."""
    import openai

    class Bounded(openai.DefaultAsyncHttpxClient):
        async def send(self, request: Any, **how: Any) -> Any:
            response = await super().send(request, **{**how, "stream": True})
            try:
                body = await _whole(response.aiter_bytes())
            finally:
                await response.aclose()
            headers = [(name, value) for name, value in response.headers.multi_items() if name not in PACKED]
            return type(response)(response.status_code, headers=headers, content=body, request=response.request)

    return Bounded()
