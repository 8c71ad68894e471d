"""Any server that speaks OpenAI's chat completions, over HTTP: `openai:NAME` at a base URL.

Requests run in an event loop of the engine's own, in one thread: callers may come from any loop, images are encoded beside it, and
connections live from run to run. How many requests are under way adapts (`pacing`). An error is never an
answer: an attempt without one is made again, and a request without one is a gap. Only what the server itself reports as moderated
is an answer, with finish `refused`.
"""

import asyncio
import json
import logging
import random
import re
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from ..errors import Gap, Refused, UserError, did_you_mean
from ..geometry import Size
from ..types import Generate, Image, ModelInfo, Request, Response, sha256
from .common import admit
from .completions import BUSY, LONG, MODERATED, SHORT, Failure, Problem, can_spare, problem, read, refused, sampled
from .encoding import Encoder, Form, Resizing
from .openai_options import OPENAI
from .openai_options import OpenAIOptions as OpenAIOptions
from .pacing import LONGEST, Pace, Pulse, pause, retry_after
from .wire import CONNECT, NoReply, Reply, Wire, wire

MEGABYTE = 1_000_000
LONG_KEY = 12
"""Characters from which a key is no placeholder, such as EMPTY, that a reply may well hold."""
log = logging.getLogger("evalkit")


class OpenAI:
    """An engine over the server's model called `model`.

    Args:
        model: its name on the server.
        options: how it is asked.
        api_key: sent as a bearer token; empty: none.
        key_name: where the key is looked for, for messages.
        carrier: what carries the requests; None: what suits the base URL.

    Raises:
        UserError: OpenAI's own API is asked and there is no key.
    """

    def __init__(
        self,
        model: str,
        options: OpenAIOptions | None = None,
        *,
        api_key: str = "",
        key_name: str = "OPENAI_API_KEY",
        carrier: Wire | None = None,
    ) -> None:
        self.model, self.options = model, options or OpenAIOptions()
        self._key, self._key_name = api_key, key_name
        self._wire = carrier or wire(self.options.base_url, api_key, self.options.timeout)
        if not api_key and urlsplit(self.options.base_url).hostname == urlsplit(OPENAI).hostname:
            raise UserError(f"{OPENAI} needs a key, and there is none: set {key_name}, or name another server with --base-url")
        self.info = _info(model, self.options)
        self.cost = 0.0
        """What the answers so far cost, by the prices of the options."""
        resizing = Resizing(self.options.factor, self.options.min_pixels, self.options.max_pixels) if self.options.factor else None
        form: Form = "WEBP" if self.options.server == "vllm" else "PNG"
        self._encoder = Encoder(resizing, form, self.options.image_cache * MEGABYTE)
        self._without: set[str] = {LONG} if self.options.token_limit == SHORT else set()
        self._pace = Pace(self.options.concurrency, self.options.timeout)
        self._pulse = Pulse(self.options.patience)
        self._ahead = asyncio.Semaphore(self.options.concurrency)
        self._chance = random.Random()
        self._began: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock, self._closed = threading.Lock(), False

    async def answer(self, request: Request) -> Response:
        """The response. Its `seconds` are those of the attempt that brought it.

        Raises:
            Gap: no answer came in the attempts and the time there are, the server is dead, or the budget is spent.
            ImageError: one of the images cannot be read.
            Refused: the request's kind is not served, or the server cannot do what it asks for.
            UserError: the server takes no such key, or knows no such model.
        """
        admit(self.info, request)
        assert isinstance(request.kind, Generate)
        if request.kind.prefill and not (self.options.prefill or self.options.server == "vllm"):
            raise Refused(
                f"a prefill is asked for, and {self.options.base_url} is not declared to go on from one: declare server = 'vllm' or "
                "prefill = true where it does, or choose another protocol"
            )
        loop = self._running()
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._answer(request, request.kind), loop))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and task and not task.cancelling():
                raise Gap("the engine was closed") from None
            raise

    def close(self) -> None:
        """Ends what is under way, the connections and the threads."""
        with self._lock:
            self._closed, loop, self._loop = True, self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._end(), loop).result()
            self._encoder.close()
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()

    def _running(self) -> asyncio.AbstractEventLoop:
        """The engine's event loop, started by the first request."""
        with self._lock:
            if self._closed:
                raise Gap("the engine was closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="openai", daemon=True)
                self._thread.start()
            return self._loop

    async def _end(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._wire.close()

    async def _answer(self, request: Request, kind: Generate) -> Response:
        spent = 0.0
        async with self._ahead:
            self._may_ask()
            messages, seen = await self._messages(kind)
            for attempt in range(1, self.options.attempts + 1):
                async with self._pace.turn():
                    self._may_ask()
                    sent = time.monotonic()
                    try:
                        response = await self._attempt(request, kind, messages, self.options.deadline - spent)
                    except Failure as failure:
                        self._failed(failure, sent)
                        wait = pause(attempt, self.options.first_pause, failure.wait, self._chance)
                        spent += time.monotonic() - sent
                        if attempt == self.options.attempts or spent + wait > self.options.deadline:
                            raise self._gap(failure, attempt, spent) from failure
                    else:
                        self._pulse.beat()
                        self._pace.answered(sent, time.monotonic())
                        self._pay(response)
                        return replace(response, seen=seen, seconds=time.monotonic() - sent)
                spent += wait
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._pulse.dead.wait()
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, request: Request, kind: Generate, messages: list[dict[str, Any]], left: float) -> Response:
        """The response to one attempt, of at most `left` seconds.

        A field that the server will not take is left out from then on, and asking again without it is no attempt more.
        """
        seed = int(request.key(self.info.fingerprint)[:8], 16) >> 1  # 31 bits: what every server takes
        limit = min(self.options.timeout, left)
        while True:
            fields = sampled(kind.sampling, seed, self.options.server, self._without)
            body = {"model": self.model, "messages": messages, **self.options.extra_body, **fields, **self._continuing(kind)}
            if self.options.chat_template_kwargs:
                body["chat_template_kwargs"] = dict(self.options.chat_template_kwargs)
            try:
                async with asyncio.timeout(limit):
                    reply = await self._wire.send("POST", "/chat/completions", body)
            except TimeoutError as error:
                raise Failure(f"no answer within {limit:.3g} s", busy=True) from error
            except NoReply as error:
                raise Failure(str(error)) from error
            if len(self._key) >= LONG_KEY:  # some servers repeat it
                headers = {name: value.replace(self._key, "***") for name, value in reply.headers.items()}
                reply = replace(reply, headers=headers, body=reply.body.replace(self._key.encode(), b"***"))
            if 200 <= reply.status < 300:
                return read(reply.body, kind.sampling.stop)
            said = problem(reply.body, self._key)
            name = refused(said, body) if reply.status in (400, 422) else ""
            if not name:
                return await self._refusal(reply, said)
            if name not in self._without:
                self._do_without(name, kind, said)

    def _continuing(self, kind: Generate) -> dict[str, Any]:
        """The fields that make a vLLM server go on from a prefill."""
        if kind.prefill and self.options.server == "vllm":
            return {"continue_final_message": True, "add_generation_prompt": False}
        return {}

    async def _messages(self, kind: Generate) -> tuple[list[dict[str, Any]], tuple[Size, ...]]:
        """The messages with their images as data URLs, and what sizes the model sees of those, where that is known."""
        images = [part for message in kind.messages for part in message.content if isinstance(part, Image)]
        encoded = await asyncio.gather(*(self._encoder(image) for image in images))
        urls = iter(url for url, _ in encoded)
        messages = [{"role": "system", "content": self.options.system}] if self.options.system else []
        for message in kind.messages:
            content: Any = [
                {"type": "text", "text": part} if isinstance(part, str) else {"type": "image_url", "image_url": {"url": next(urls)}}
                for part in message.content
            ]
            if len(content) == 1 and content[0]["type"] == "text":  # the form that every server knows
                content = content[0]["text"]
            messages.append({"role": message.role, "content": content})
        if kind.prefill:
            messages.append({"role": "assistant", "content": kind.prefill})
        return messages, tuple(size for _, size in encoded if size)

    async def _refusal(self, reply: Reply, said: Problem) -> Response:
        """What a status of 300 or above comes to: an answer only where the server reports that it moderates.

        Raises:
            Failure: it may be tried again.
            Gap: this request is not served, however often it is tried.
            UserError: no request is.
        """
        status, where = reply.status, f"{self.options.base_url} ({reply.status}: {said.words})"
        if status < 500:
            self._pulse.beat()
        if status == 400 and said.code in MODERATED:
            return Response(finish="refused")
        if status in (401, 403):
            got = "one that it refuses" if self._key else "none"
            raise UserError(f"expected a key for {where}, got {got}: set {self._key_name}")
        if status == 402 or said.code == "insufficient_quota":
            raise UserError(f"nothing is left to spend on {where}: add credit, and the same command goes on")
        if status < 400:
            raise UserError(
                f"{self.options.base_url} redirects to {reply.headers.get('location', 'nowhere')}: name that one with --base-url"
            )
        if status == 404:
            known = await self._models()
            raise UserError(
                f"no model '{self.model}' at {where}. {did_you_mean(self.model, known) if known else ''} "
                "The base URL must be the part before /chat/completions, mostly ending in /v1"
            )
        if status in BUSY or status >= 500 or status == 409:
            wait = retry_after(reply.headers, time.time())
            raise Failure(f"status {status}: {said.words}", busy=status in BUSY, alive=status < 500, wait=wait)
        raise Gap(f"{self.model} does not serve this request (status {status}: {said.words})")

    async def _models(self) -> list[str]:
        """The names of the server's models; none where it does not tell."""
        with suppress(NoReply, TimeoutError, ValueError, LookupError, TypeError, RecursionError):
            async with asyncio.timeout(min(self.options.timeout, CONNECT)):
                reply = await self._wire.send("GET", "/models")
            return [str(listed["id"])[:200] for listed in json.loads(reply.body)["data"][:1000]]
        return []

    def _do_without(self, name: str, kind: Generate, said: Problem) -> None:
        """Leaves a field out of this and all later requests, and states it.

        Raises:
            Refused: the reply would mean something else.
        """
        if not can_spare(name, kind.sampling):
            raise Refused(f"{self.model} at {self.options.base_url} does not take the field '{name}' as it is asked for: {said.words}")
        self._without.add(name)
        self.info.details["not_taken"].append(name)
        log.warning("%s does not take the field '%s', which is left out from here on: %s", self.model, name, said.words)

    def _may_ask(self) -> None:
        """Lets a request pass while there is a server and something to spend.

        Raises:
            Gap: there is not.
        """
        options, now = self.options, time.monotonic()
        if self._pulse.dead.is_set():
            raise Gap(f"{options.base_url} gave nothing but failures for {options.patience:g} s: start the server and run again")
        if options.max_cost is not None and self.cost >= options.max_cost:
            raise Gap(f"the budget of {options.max_cost:g} is spent: run again with a higher --max-cost")
        self._began = self._began or now
        if options.max_seconds is not None and now - self._began >= options.max_seconds:
            raise Gap(f"the {options.max_seconds:g} seconds of --max-time are over: run again to go on")

    def _failed(self, failure: Failure, sent: float) -> None:
        now = time.monotonic()
        if failure.busy:
            self._pace.pressed(sent, now)
        if failure.alive:
            self._pulse.beat()
        else:
            self._pulse.failed(sent, now)

    def _gap(self, failure: Failure, attempts: int, seconds: float) -> Gap:
        """The gap that a request's last failure leaves."""
        if failure.wait is not None and failure.wait > LONGEST:
            return Gap(f"{self.options.base_url} asks to wait {failure.wait:.0f} s ({failure}): run again then")
        return Gap(f"no answer from {self.options.base_url} in {attempts} attempts over {seconds:.1f} s; the last: {failure}")

    def _pay(self, response: Response) -> None:
        """Adds what an answer cost.

        Raises:
            Refused: there is a budget, and the server counts no tokens.
        """
        if self.options.max_cost is not None and not response.tokens_in + response.tokens_out and response.finish != "refused":
            raise Refused(f"{self.options.base_url} reports no tokens, so no cost can be known: leave out --max-cost")
        self.cost += (response.tokens_in * self.options.price_in + response.tokens_out * self.options.price_out) / 1e6


def _info(model: str, options: OpenAIOptions) -> ModelInfo:
    changing = {
        "engine": "openai",
        "model": model,
        "host": urlsplit(options.base_url).hostname,
        "server": options.server,
        "revision": options.revision,
        "system": options.system,
        "chat_template_kwargs": dict(options.chat_template_kwargs),
        "extra_body": dict(options.extra_body),
        "resize": [options.factor, options.min_pixels, options.max_pixels],
    }
    return ModelInfo(
        name=re.sub(r"[/\\\0]", "--", model).lstrip(".") or "model",
        fingerprint=sha256(json.dumps(changing, sort_keys=True)),
        details={**changing, "not_sent": [] if options.server == "vllm" else ["top_k", "repetition_penalty"], "not_taken": []},
    )
