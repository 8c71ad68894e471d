"""What the contract is held against: sixty-four questions, a tiny checkpoint with random weights, and the list of engines.

A new engine adds one line to `ENGINES`.
"""

import asyncio
import io
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.data import decode, resolve
from evalkit.engines import plugin, scripted
from evalkit.engines.checkpoint import ends as ends_of
from evalkit.engines.common import chat
from evalkit.engines.replay import Replay
from evalkit.engines.stored import Stored
from evalkit.geometry import Box
from evalkit.interfaces import Engine
from evalkit.store import Store
from evalkit.types import Generate, Image, Message, ModelInfo, Request, Response, Sample, Sampling, Wants, images_of

PLUGIN = '''
from evalkit.types import Response

class Whole:
    """Answers requests."""
    def answer(self, request):
        return Response(f"heard {request.kind.messages[-1].content[-1]}")

class Chat:
    """Generates text from chat dicts and PIL images."""
    async def generate(self, messages, images):
        return self._reply(messages, images)

    def _reply(self, messages, images):
        parts = [part.get("text", part["type"]) for message in messages for part in message["content"]]
        return " | ".join([*parts, *(f"{image.width}x{image.height}" for image in images)])

class Plain(Chat):
    """The same without async."""
    def generate(self, messages, images):
        return self._reply(messages, images)
'''


def picture(width: int, height: int, colour: tuple[int, int, int]) -> Image:
    """A one-coloured PNG in memory, with its size and digest."""
    from PIL import Image as Pillow

    file = io.BytesIO()
    Pillow.new("RGB", (width, height), colour).save(file, "PNG")
    return resolve(Image(file.getvalue()))


def sample(index: int) -> Sample:
    """The question of that number; kinds of answer take turns."""
    kind, target, options = [
        ("choice", "B", ("red", "green", "blue")),
        ("yes_no", "no", ()),
        ("count", 3, ()),
        ("boxes", (Box(10, 20, 40, 60),), ()),
    ][index % 4]
    image = picture(90 + 30 * (index % 5), 120, (index * 37 % 256, index * 91 % 256, index * 53 % 256))
    question = f"How many red circles {'and blue squares ' * (index % 7)}are there? {index}"
    return Sample(str(index), question, question, (image,), Wants(kind), target, options, (Box(1, 2, 30, 40),))  # type: ignore[arg-type]


SAMPLES = {f"task/{index}": sample(index) for index in range(64)}


def ask(index: int, *, draw: int = 0, prefill: str = "", **sampling: Any) -> Request:
    """The request for the question of that number, six tokens long unless `sampling` says more."""
    asked = SAMPLES[f"task/{index}"]
    message = Message("user", (*asked.images, asked.prompt))
    return Request(Generate((message,), Sampling(**({"max_tokens": 6} | sampling)), prefill), draw=draw, sample=f"task/{asked.id}")


def answers(engine: Engine, requests: Sequence[Request]) -> list[Any]:
    """The responses (or what was raised) to requests that are all in flight at once."""

    async def together() -> list[Any]:
        return await asyncio.gather(*(engine.answer(request) for request in requests), return_exceptions=True)

    return asyncio.run(together())


def answer(engine: Engine, request: Request) -> Response:
    """The response to one request. Raises what the engine raises."""
    return asyncio.run(engine.answer(request))


def greedy(checkpoint: Path, index: int, tokens: int) -> str:
    """The reply to the question of that number by a loop over the bare model: the likeliest token, then the next."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model, processor = AutoModelForImageTextToText.from_pretrained(checkpoint).eval(), AutoProcessor.from_pretrained(checkpoint)
    request = ask(index)
    text = processor.apply_chat_template(chat(request.kind), add_generation_prompt=True, tokenize=False)  # type: ignore[arg-type]
    inputs = processor(text=[text], images=[decode(image) for image in images_of(request)], return_tensors="pt")
    ids, seen = inputs["input_ids"], {name: inputs[name] for name in ("pixel_values", "image_grid_thw")}
    length, ends = ids.shape[1], ends_of(model.generation_config, model.config, processor)
    for _ in range(tokens):
        with torch.inference_mode():
            kinds = (ids == model.config.image_token_id).long()
            chosen = model(input_ids=ids, mm_token_type_ids=kinds, **seen).logits[0, -1].argmax()
        if int(chosen) in ends:
            break
        ids = torch.cat([ids, chosen[None, None]], 1)
    return str(processor.tokenizer.decode(ids[0, length:], skip_special_tokens=True))


@dataclass(frozen=True)
class Bench:
    """Where engines under test find what they need."""

    folder: Path
    checkpoint: Callable[[], Path]
    stack: ExitStack


def _plugin(name: str) -> Callable[[Bench], Engine]:
    def make(bench: Bench) -> Engine:
        path = bench.folder / "plugins.py"
        path.write_text(PLUGIN)
        return plugin.load(f"{path}:{name}")

    return make


def _replay(bench: Bench) -> Engine:
    path = bench.folder / "replies.jsonl"
    path.write_text("".join(json.dumps({"sample": one.id, "text": f"reply {one.id}"}) + "\n" for one in SAMPLES.values()))
    return Replay(path, [])


def _stored(bench: Bench) -> Engine:
    store = Store(bench.folder / "store.sqlite")
    bench.stack.callback(store.close)
    return Stored(scripted.Scripted(lambda request: f"said {request.sample}"), store)


def _transformers(bench: Bench) -> Engine:
    from evalkit.engines.transformers import Transformers

    return Transformers(bench.checkpoint(), cache=bench.folder)


def _vllm(bench: Bench) -> Engine:
    import pytest

    pytest.importorskip("vllm")
    from evalkit.engines.vllm import VLLM

    return VLLM(bench.checkpoint(), arguments={"enforce_eager": True, "max_model_len": 2048}, cache=bench.folder)


def _openai(bench: Bench) -> Engine:
    from evalkit.engines.openai import OpenAI, OpenAIOptions

    from .server import Server

    return OpenAI("tiny", OpenAIOptions(base_url=bench.stack.enter_context(Server()).url))


@dataclass(frozen=True)
class Entry:
    """An engine under test."""

    name: str
    make: Callable[[Bench], Engine]
    pixels: bool = False
    """It opens the images."""
    language: bool = False
    """It is a language model: tokens are counted, and every field of `Sampling` is honoured."""
    any_kind: bool = False
    """It has an answer, be it `missing`, for every kind of request."""


ENGINES = [
    Entry("scripted", lambda _: scripted.Scripted(lambda request: f"said {request.sample}", ModelInfo("scripted", "scripted"))),
    Entry("oracle", lambda _: scripted.oracle(SAMPLES)),
    Entry("mute", lambda _: scripted.mute()),
    Entry("guess", lambda _: scripted.guess(SAMPLES)),
    Entry("plugin that answers", _plugin("Whole")),
    Entry("plugin that generates", _plugin("Plain"), pixels=True),
    Entry("async plugin", _plugin("Chat"), pixels=True),
    Entry("replay", _replay, any_kind=True),
    Entry("stored", _stored),
    Entry("transformers", _transformers, pixels=True, language=True),
    Entry("vllm", _vllm, pixels=True, language=True),
    Entry("openai", _openai, pixels=True),
]
