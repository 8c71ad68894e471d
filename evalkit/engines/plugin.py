"""Your own model behind the engine's one method: `plugin:path.py:Class`.

The file is trusted code: it is run as it is, with your rights. The class is made without arguments and has one of

    def answer(self, request: Request) -> Response          # everything in your hands
    def generate(self, messages, images) -> str             # chat dicts with {"type": "image"} placeholders, PIL images in order

either of them `async` if you like. A plain method is called from one thread, one call after the other. With `generate`, evalkit
decodes the images, hands a prefill over as a last message of role `assistant`, and cuts the reply at a stop string; the
rest of the sampling is the class's own. Whatever goes wrong in either is a gap of that one request. Optional attributes: `name`
(folders are named by it, so `/` becomes `--`), `frame` (`original`, `seen`, `unit`, `thousand`), `fingerprint` (whatever else changes
its answers, such as the weights' version), `answers` (the request kinds that `answer` serves, "generate" unless it says more),
`takes_regions` (True: with `--protocol segment` the boxes, points and masks that a question is about come to `answer` as
`request.kind.regions`, original pixels, and not in words), `patience` (the seconds of silence after which what it is at is given up, an
hour unless it says so; a plain method is then left to itself, and another thread takes the next call), and a method `close`.
"""

import asyncio
import hashlib
import inspect
import math
import re
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, get_args

from ..data import decode
from ..errors import EvalkitError, Gap, UserError, did_you_mean
from ..geometry import Box, Frame, Mask, Size
from ..task import load as load_file
from ..types import Finish, Generate, Likelihood, ModelInfo, Request, Response, images_of, sha256
from .common import admit, chat, cut

CLOSED = "the engine was closed"
PATIENCE = 3600.0
"""Seconds of silence after which what a plugin is at is given up, where it does not say so itself."""


class Plugin:
    """An engine around an object that has `answer` or `generate`."""

    def __init__(self, wrapped: Any, info: ModelInfo, patience: float = PATIENCE) -> None:
        self.info = info
        self._wrapped, self._patience = wrapped, patience
        self._line = _Line(patience)
        self._heard = 0.0

    async def answer(self, request: Request) -> Response:
        """What the plugin answered.

        Raises:
            Gap: it raised, was silent for too long, or returned something else than a text, or than a response whose every field is sound.
            Refused: the request's kind is not among those it serves.
        """
        admit(self.info, request)
        if hasattr(self._wrapped, "answer"):
            response = await self._call(self._wrapped.answer, lambda: (request,))
            if wrong := _wrong(response, request):
                raise self._gap(*wrong)
            return response  # type: ignore[no-any-return]
        assert isinstance(request.kind, Generate)
        text = await self._call(self._wrapped.generate, lambda: _generate_arguments(request))
        if not isinstance(text, str):
            raise self._gap("a str", text)
        return Response(cut(text, request.kind.sampling.stop)[0])

    def close(self) -> None:
        """Lets the thread go, and closes the plugin if it can be closed."""
        self._line.close()
        if hasattr(self._wrapped, "close"):
            self._wrapped.close()

    def _gap(self, expected: str, got: Any) -> Gap:
        return Gap(f"expected {expected} from the plugin {self.info.name}, got {_words(repr, got):.60}")

    async def _call(self, method: Callable[..., Any], arguments: Callable[[], tuple[Any, ...]]) -> Any:
        """The method's result. Images are decoded on the plugin's thread, never on the event loop."""
        if inspect.iscoroutinefunction(method):
            return await self._in_time(self._awaited(method, await asyncio.wrap_future(self._line.call(arguments))))
        return await asyncio.wrap_future(self._line.call(lambda: self._done(method, arguments)))

    def _done(self, method: Callable[..., Any], arguments: Callable[[], tuple[Any, ...]]) -> Any:
        try:
            return method(*arguments())
        except EvalkitError:
            raise
        except BaseException as error:  # a StopIteration fits into no future, and a SystemExit would end the run as if it were done
            raise self._failed(error) from error

    async def _awaited(self, method: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        try:
            return await method(*arguments)
        except EvalkitError:
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task and task.cancelling():  # nobody waits for it any more
                raise
            raise self._failed(error) from error
        except (Exception, SystemExit) as error:
            raise self._failed(error) from error

    def _failed(self, error: BaseException) -> Gap:
        return Gap(f"the plugin {self.info.name} raised {type(error).__name__}: {_words(str, error)}")

    async def _in_time(self, answering: Coroutine[Any, Any, Any]) -> Any:
        """What the coroutine returns. Raises `Gap` once neither it nor any other has for too long."""
        began, task = time.monotonic(), asyncio.ensure_future(answering)
        try:
            while not (await asyncio.wait({task}, timeout=self._patience))[0]:
                if time.monotonic() - max(began, self._heard) >= self._patience:
                    raise Gap(_silent(self._patience))
            self._heard = time.monotonic()
            return task.result()
        finally:
            task.cancel()


class _Line:
    """Calls one after the other, in a thread. One that takes longer than `patience` seconds is left to itself: another thread goes on."""

    def __init__(self, patience: float) -> None:
        self._patience, self._began = patience, False
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()

    def call(self, work: Callable[[], Any]) -> "Future[Any]":
        """What the work will have returned or raised."""
        if not self._began:
            self._begin()
        done: Future[Any] = Future()
        self._calls.put((done, work))
        return done

    def close(self) -> None:
        """Ends the thread after the call that it is at; whoever waits for another gets a gap."""
        with suppress(Empty):
            while item := self._calls.get_nowait():
                _settles(item[0].set_exception, Gap(CLOSED))
        self._calls.put(None)

    def _begin(self) -> None:
        self._began = True
        threading.Thread(target=self._work, name="plugin", daemon=True).start()

    def _work(self) -> None:
        while item := self._calls.get():
            done, work = item
            if not done.set_running_or_notify_cancel():
                continue
            timer = threading.Timer(self._patience, self._give_up, (done,))
            timer.daemon = True
            timer.start()
            try:
                settled = _settles(done.set_result, work())
            except Exception as error:  # noqa: BLE001 - it is raised again where the result is awaited
                settled = _settles(done.set_exception, error)
            timer.cancel()
            if not settled:  # it was given up, and another thread goes on
                return

    def _give_up(self, done: "Future[Any]") -> None:
        if _settles(done.set_exception, Gap(_silent(self._patience))):
            self._begin()


def _settles(settle: Callable[[Any], None], outcome: Any) -> bool:
    """Gives a future its outcome; False where it has one."""
    try:
        settle(outcome)
    except InvalidStateError:
        return False
    return True


def _silent(seconds: float) -> str:
    return f"the plugin said nothing for {seconds:g} s: where it may take longer, give its class a `patience` in seconds"


def _words(say: Callable[[Any], str], thing: Any) -> str:
    """What a plugin's own value says of itself, if it can."""
    try:
        return say(thing)
    except Exception as error:  # noqa: BLE001 - a method of the plugin's, which may do anything
        return f"something that cannot be told ({type(error).__name__})"


def load(spec: str) -> Plugin:
    """The engine of `path.py:Class`. Its fingerprint is the file's sha256, the class's name and the class's own `fingerprint`.

    Raises:
        UserError: no such file or class, the file or the class does not load, or the class has neither method.
    """
    place, _, name = (spec, "", "") if Path(spec).expanduser().is_file() else spec.rpartition(":")
    path = Path(place or name).expanduser()
    if not path.is_file():
        raise UserError(f"expected a plugin as path.py:Class, got '{spec}': there is no file '{path}'")
    kind = _class(path, name)
    try:
        wrapped = kind()
    except Exception as error:
        raise UserError(f"the plugin {name} of {path} cannot be made: {type(error).__name__}: {error}") from error
    if not callable(getattr(wrapped, "answer", None)) and not callable(getattr(wrapped, "generate", None)):
        raise UserError(f"expected {name} in {path} to have answer(request) or generate(messages, images), found neither")
    frame = getattr(wrapped, "frame", None)
    if frame is not None and frame not in list(Frame):
        raise UserError(f"expected {name}.frame in {path} to be a frame, got '{frame}'. {did_you_mean(str(frame), [*Frame])}")
    patience = getattr(wrapped, "patience", PATIENCE)
    if not _is_number(patience) or patience <= 0:
        raise UserError(f"expected {name}.patience in {path} in seconds, above 0, got {_words(repr, patience):.60}")
    if getattr(wrapped, "takes_regions", False) and not hasattr(wrapped, "answer"):
        raise UserError(f"{name} in {path} takes regions, which generate(messages, images) does not get: give it answer(request)")
    file_hash = hashlib.sha256(path.read_bytes()).hexdigest()
    info = ModelInfo(
        name=re.sub(r"[/\\\0]", "--", str(getattr(wrapped, "name", ""))).lstrip(".") or name,
        fingerprint=sha256(f"plugin {file_hash} {name} {getattr(wrapped, 'fingerprint', '')}"),
        frame=None if frame is None else Frame(frame),
        answers=frozenset(getattr(wrapped, "answers", ("generate",)) if hasattr(wrapped, "answer") else ("generate",)),
        details={"engine": "plugin", "class": name, "file": file_hash},
        takes_regions=bool(getattr(wrapped, "takes_regions", False)),
    )
    return Plugin(wrapped, info, patience)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_mask(value: Any) -> bool:
    return isinstance(value, Mask) and isinstance(value.counts, str) and isinstance(value.size, Size)


def _all(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda values: isinstance(values, tuple) and all(map(holds, values))


def _a(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a str", _a(str)),
    "finish": (" or ".join(get_args(Finish)), lambda value: value in get_args(Finish)),
    "reasoning": ("a str", _a(str)),
    "seen": ("a tuple of Sizes", _all(lambda size: isinstance(size, Size) and all(map(_is_number, size)))),
    "tokens_in": ("an int", _a(int)),
    "tokens_out": ("an int", _a(int)),
    "seconds": ("a finite number", _is_number),
    "likelihoods": ("a tuple of floats", _all(lambda value: isinstance(value, int | float) and not math.isnan(value))),
    "boxes": ("a tuple of finite Boxes", _all(lambda box: isinstance(box, Box) and all(map(_is_number, box)))),
    "masks": ("a tuple of Masks", _all(_is_mask)),
    "attention": ("a tuple of grids, as tuples of rows of numbers,", _all(_all(_all(_is_number)))),
    "missing": ("a bool", _a(bool)),
    "labels": ("a tuple of strs", _all(_a(str))),
    "scores": ("a tuple of numbers", _all(_is_number)),
}
"""What each field of a response must be, or it could not be stored, or read later."""


def _wrong(response: Any, request: Request) -> tuple[str, Any] | None:
    """What of a plugin's response is not as it must be: what was expected, and what is there; None where all is."""
    if not isinstance(response, Response):
        return "a Response", response
    for name, (what, holds) in FIELDS.items():
        if not holds(value := getattr(response, name)):
            return f"{what} as {name}", value
    asked = len(request.kind.continuations) if isinstance(request.kind, Likelihood) else 0
    if asked and len(response.likelihoods) != asked:
        return f"{asked} likelihoods, one a continuation,", response.likelihoods
    for name in ("labels", "scores"):
        if (told := getattr(response, name)) and len(told) != len(response.boxes):
            return f"as many {name} as boxes", told
    return None


def _class(path: Path, name: str) -> Callable[[], Any]:
    module = load_file(path, "plugin")
    classes = [word for word, value in vars(module).items() if inspect.isclass(value) and value.__module__ == module.__name__]
    if not name:
        raise UserError(f"expected a plugin as path.py:Class, got no class for the file {path}. {did_you_mean(name, classes)}")
    if name not in classes:
        raise UserError(f"no class '{name}' in the plugin file {path}. {did_you_mean(name, classes)}")
    return getattr(module, name)  # type: ignore[no-any-return]


def _generate_arguments(request: Request) -> tuple[list[dict[str, Any]], list[Any]]:
    assert isinstance(request.kind, Generate)
    messages = chat(request.kind)
    if request.kind.prefill:
        messages.append({"role": "assistant", "content": [{"type": "text", "text": request.kind.prefill}]})
    return messages, [decode(image) for image in images_of(request)]
