"""The vllm engine through the whole run (protocol, store, scoring) against bare `LLM.generate` over the same prompts and arrays.

python -m tests.bench.vllm shapes|turns [PASSES]

`shapes`: 1,000 requests of one image each. `turns`: 300 conversations of three turns with crops; the bare engine knows all turns
beforehand. Passes take turns in one process with one engine, its caches emptied between; `ratio` is bare seconds over ours (medians).
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from evalkit import protocols, runner
from evalkit import task as tasks
from evalkit.data import decode, resolve
from evalkit.engines import launch, rendering
from evalkit.engines.stored import Stored
from evalkit.engines.vllm import VLLM
from evalkit.interfaces import Reading
from evalkit.scoring import Tally
from evalkit.store import Store
from evalkit.tools import zoom
from evalkit.types import Conversation, Generate, Image, Message, ModelInfo, Prediction, Request, Sample, Sampling, images_of

DEMO = Path(__file__).parents[2] / "evalkit" / "demo" / "checkpoints" / "demo"
ARGUMENTS = {"enforce_eager": True, "max_model_len": 2048}


@dataclass(frozen=True)
class Zooming:
    """Three turns, each with a crop of the one before; the replies so far are part of the prompt."""

    name: str = "zooming"
    gives: ClassVar[frozenset[Reading]] = frozenset({"text"})

    def converse(self, sample: Sample, model: ModelInfo) -> Conversation[Prediction]:
        messages: tuple[Message, ...] = (Message("user", (*sample.images, sample.prompt)),)
        image, text = sample.images[0], ""
        for turn in range(3):
            response = yield Request(Generate(messages, Sampling(max_tokens=16)))
            text = response.text
            if turn < 2:
                image = zoom(image, [0.2, 0.2, 0.8, 0.8])
                messages += (Message("assistant", (text,)), Message("user", (image, "Look closer.")))
        return Prediction(text, text)


def main(what: str, passes: int) -> None:
    from vllm import LLM, SamplingParams

    made: list[Any] = []

    def start(place: str, given: dict[str, Any], log: Path) -> Any:
        with launch.quiet(log):
            made.append(LLM(model=place, generation_config="vllm", disable_log_stats=True, **given))
        return made[0].llm_engine

    launch.start = start
    engine = VLLM(DEMO, arguments=ARGUMENTS)
    count = 1_000 if what == "shapes" else 300
    drawn = [sample for _, sample in zip(range(count), tasks.find("shapes:24000").samples(), strict=False)]
    samples = [_held(sample) for sample in drawn]
    asked = protocols.find("direct", max_tokens=16) if what == "shapes" else Zooming()
    requests: list[Request] = []

    with _watching(engine, requests):
        _ours(engine, asked, samples)
    prompts = [_bare(engine, request) for request in requests]
    params = SamplingParams(max_tokens=16, temperature=0, stop_token_ids=engine._ends)

    def bare() -> None:
        made[0].generate(prompts, params, use_tqdm=False)

    def ours() -> None:
        _ours(engine, asked, samples)

    def seconds(run: Callable[[], None]) -> float:
        made[0].reset_prefix_cache()
        made[0].llm_engine.reset_mm_cache()
        begun = time.perf_counter()
        run()
        return time.perf_counter() - begun

    seconds(bare)
    pairs = [(seconds(bare), seconds(ours)) for _ in range(passes)]
    engine.close()
    ratios = [first / second for first, second in pairs]
    print(
        json.dumps(
            {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios), "pairs": pairs, "requests": len(prompts)}
        )
    )


def _held(sample: Sample) -> Sample:
    """The sample with its picture's bytes in memory."""
    image = sample.images[0]
    return Sample(**{name: getattr(sample, name) for name in sample.__slots__} | {"images": (resolve(Image(image.source.read())),)})  # type: ignore[union-attr]


def _ours(engine: VLLM, asked: Any, samples: list[Sample]) -> None:
    with tempfile.TemporaryDirectory() as place:
        store = Store(Path(place) / "answers.sqlite")
        task = tasks.find("shapes")
        tally = Tally(task)

        def ended(outcome: runner.Outcome) -> None:
            assert outcome.prediction is not None, outcome.gap
            tally.add(outcome.sample, outcome.prediction)

        job = runner.Job("shapes", iter(samples), asked)
        runner.run([job], {"model": Stored(engine, store)}, lambda _, sample: tally.count(sample), ended)
        store.close()


@contextmanager
def _watching(engine: VLLM, requests: list[Request]) -> Iterator[None]:
    """Notes every request that the engine is asked."""
    answer = engine.answer

    async def noting(request: Request) -> Any:
        requests.append(request)
        return await answer(request)

    engine.answer = noting  # type: ignore[method-assign]
    yield
    engine.answer = answer  # type: ignore[method-assign]


def _bare(engine: VLLM, request: Request) -> dict[str, Any]:
    """The request as a user would hand it to `LLM.generate`: the text, and its images as Pillow images."""
    text = rendering.prompt(engine.processor, request.kind)  # type: ignore[arg-type]
    return {"prompt": text, "multi_modal_data": {"image": [decode(image) for image in images_of(request)]}}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3)
