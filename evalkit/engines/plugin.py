"""Your own model behind the engine's one method: `plugin:path.py:Class`.

The file is trusted code: it is run as it is, with your rights. The class is made without arguments and has one of

    def answer(self, request: Request) -> Response          # everything in your hands
    def generate(self, messages, images) -> str             # chat dicts with {"type": "image"} placeholders, PIL images in order

either of them `async` if you like. A plain method is called from one thread, one call after the other. With `generate`, evalkit
decodes the images, hands a prefill over as a last message of role `assistant`, and cuts the reply at a stop string; the
rest of the sampling is the class's own. Optional attributes: `name` (folders are named by it, so `/` becomes `--`), `frame`
(`original`, `seen`, `unit`, `thousand`), `fingerprint` (whatever else changes its answers, such as the weights' version),
`answers` (the request kinds that `answer` serves, "generate" unless it says more), and a method `close`.
"""

import asyncio
import hashlib
import inspect
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

from ..data import decode
from ..errors import EvalkitError, Gap, UserError, did_you_mean
from ..geometry import Frame
from ..task import load as load_file
from ..types import Finish, Generate, ModelInfo, Request, Response, images_of, sha256
from .common import admit, chat, cut


class Plugin:
    """An engine around an object that has `answer` or `generate`."""

    def __init__(self, wrapped: Any, info: ModelInfo) -> None:
        self.info = info
        self._wrapped = wrapped
        self._thread = ThreadPoolExecutor(1, "plugin")

    async def answer(self, request: Request) -> Response:
        """What the plugin answered.

        Raises:
            Gap: it raised, or returned something else than a text or a response with a text and a known finish.
            Refused: the request's kind is not among those it serves.
        """
        admit(self.info, request)
        try:
            if hasattr(self._wrapped, "answer"):
                response = await self._call(self._wrapped.answer, lambda: (request,))
                self._expect("a Response", isinstance(response, Response), response)
                self._expect("a str as text", isinstance(response.text, str), response.text)
                self._expect(f"{' or '.join(get_args(Finish))} as finish", response.finish in get_args(Finish), response.finish)
                return response  # type: ignore[no-any-return]
            assert isinstance(request.kind, Generate)
            text = await self._call(self._wrapped.generate, lambda: _generate_arguments(request))
            self._expect("a str", isinstance(text, str), text)
            return Response(cut(text, request.kind.sampling.stop)[0])
        except EvalkitError:
            raise
        except Exception as error:
            raise Gap(f"the plugin {self.info.name} raised {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Lets the thread go, and closes the plugin if it can be closed."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if hasattr(self._wrapped, "close"):
            self._wrapped.close()

    def _expect(self, what: str, holds: bool, got: Any) -> None:
        if not holds:
            raise Gap(f"expected {what} from the plugin {self.info.name}, got {got!r:.60}")

    async def _call(self, method: Callable[..., Any], arguments: Callable[[], tuple[Any, ...]]) -> Any:
        """The method's result. Images are decoded on the plugin's thread, never on the event loop."""
        loop = asyncio.get_running_loop()
        if inspect.iscoroutinefunction(method):
            return await method(*await loop.run_in_executor(self._thread, arguments))
        return await loop.run_in_executor(self._thread, lambda: method(*arguments()))


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
    file_hash = hashlib.sha256(path.read_bytes()).hexdigest()
    info = ModelInfo(
        name=re.sub(r"[/\\\0]", "--", str(getattr(wrapped, "name", ""))).lstrip(".") or name,
        fingerprint=sha256(f"plugin {file_hash} {name} {getattr(wrapped, 'fingerprint', '')}"),
        frame=None if frame is None else Frame(frame),
        answers=frozenset(getattr(wrapped, "answers", ("generate",)) if hasattr(wrapped, "answer") else ("generate",)),
        details={"engine": "plugin", "class": name, "file": file_hash},
    )
    return Plugin(wrapped, info)


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
