"""The vllm engine through the whole run (protocol, store, scoring) against bare `LLM.generate` over the same prompts and arrays.

python -m tests.bench.vllm shapes|photographs|turns|occupancy [PASSES]

`shapes`: 1,000 requests of one image each. `photographs`: 200 of 1 to 12 megapixels from files, against the script a user would
write, which opens every file and then calls `LLM.generate` once. `turns`: 300 conversations of three turns with crops; the bare
engine knows all turns beforehand. `occupancy`: of `shapes` not the seconds but how many requests vLLM ran at a time, on average.
Passes take turns in one process with one engine, its caches emptied between; `ratio` is bare seconds over ours (medians).
"""

import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from evalkit import protocols
from evalkit.data import decode, resolve
from evalkit.engines import launch, rendering
from evalkit.engines.vllm import VLLM
from evalkit.interfaces import AnswerProtocol, Reading, Rule
from evalkit.tools import zoom
from evalkit.types import Conversation, Generate, Image, Message, ModelInfo, Prediction, Request, Sample, Sampling, images_of
from tests.bench.whole import DEMO, evaluate, shapes, tell

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "real" / "photos"
TOKENS = 16


@dataclass(frozen=True)
class Zooming:
    """Three turns, each with a crop of the one before; the replies so far are part of the prompt."""

    name: str = "zooming"
    gives: ClassVar[frozenset[Reading]] = frozenset({"text"})
    rules: ClassVar[tuple[Rule, ...]] = ()

    def converse(self, sample: Sample, model: ModelInfo) -> Conversation[Prediction]:
        messages: tuple[Message, ...] = (Message("user", (*sample.images, sample.prompt)),)
        image, text = sample.images[0], ""
        for turn in range(3):
            response = yield Request(Generate(messages, Sampling(max_tokens=TOKENS)))
            text = response.text
            if turn < 2:
                image = zoom(image, [0.2, 0.2, 0.8, 0.8])
                messages += (Message("assistant", (text,)), Message("user", (image, "Look closer.")))
        return Prediction(text, text)


@dataclass
class Bench:
    """One vLLM, reached through evalkit's engine and as the `LLM` that a script has."""

    logging: bool = False
    llm: Any = None
    engine: VLLM = field(init=False)
    running: list[tuple[float, int]] = field(default_factory=list)
    """When a step ended by the clock of vLLM's process, and how many requests ran in it; only where vLLM logs."""

    def __post_init__(self) -> None:
        from vllm import LLM

        def start(place: str, given: dict[str, Any], adapter: Path | None) -> Any:
            log = Path(tempfile.mkstemp(suffix=".log")[1])
            with launch.quiet(log):
                self.llm = LLM(model=place, generation_config="vllm", disable_log_stats=not self.logging, **given)
            return self.llm.llm_engine, log, None

        launch.start = start
        self.engine = VLLM(DEMO, arguments={"enforce_eager": True, "max_model_len": 2048})
        if self.logging:
            core = self.llm.llm_engine.engine_core
            get_output = core.get_output

            def noting() -> Any:
                outputs = get_output()
                if outputs.scheduler_stats is not None:
                    self.running.append((outputs.timestamp, outputs.scheduler_stats.num_running_reqs))
                return outputs

            core.get_output = noting

    def seconds(self, run: Callable[[], object]) -> float:
        """How long it takes with empty caches."""
        self.llm.reset_prefix_cache()
        self.llm.llm_engine.reset_mm_cache()
        begun = time.perf_counter()
        run()
        return time.perf_counter() - begun

    def occupancy(self, run: Callable[[], object]) -> float:
        """How many requests ran at a time, a mean over the seconds from the first step's end to the last's."""
        self.running.clear()
        self.seconds(run)
        times, counts = zip(*self.running, strict=True)
        steps = zip(times, times[1:], counts[1:], strict=False)
        return sum((end - begin) * count for begin, end, count in steps) / (times[-1] - times[0])

    def generate(self, prompts: list[dict[str, Any]]) -> list[str]:
        """The replies of bare vLLM."""
        from vllm import SamplingParams

        params = SamplingParams(max_tokens=TOKENS, temperature=0, stop_token_ids=self.engine._ends)
        return [output.outputs[0].text for output in self.llm.generate(prompts, params, use_tqdm=False)]

    def prompt(self, request: Request, images: list[Any]) -> dict[str, Any]:
        """The request as a user would hand it to `LLM.generate`: the text, and its images as Pillow images."""
        text = rendering.prompt(self.engine.processor, request.kind)  # type: ignore[arg-type]
        return {"prompt": text, "multi_modal_data": {"image": images}}

    @contextmanager
    def watching(self) -> Iterator[list[Request]]:
        """Every request that the engine is asked meanwhile."""
        answer, requests = self.engine.answer, list[Request]()

        async def noting(request: Request) -> Any:
            requests.append(request)
            return await answer(request)

        self.engine.answer = noting  # type: ignore[method-assign]
        yield requests
        self.engine.answer = answer  # type: ignore[method-assign]


def main(what: str, passes: int) -> None:
    if what == "photographs":
        _of_photographs(passes)
    else:
        _of_shapes(what, passes)


def _of_shapes(what: str, passes: int) -> None:
    bench = Bench(logging=what == "occupancy")
    samples = shapes(300 if what == "turns" else 1_000)
    asked: AnswerProtocol = Zooming() if what == "turns" else protocols.find("direct", max_tokens=TOKENS)
    with bench.watching() as requests:
        evaluate(bench.engine, asked, samples)
    prompts = [bench.prompt(request, [decode(image) for image in images_of(request)]) for request in requests]
    measure = bench.occupancy if what == "occupancy" else bench.seconds
    measure(lambda: bench.generate(prompts))
    pairs = [(measure(lambda: bench.generate(prompts)), measure(lambda: evaluate(bench.engine, asked, samples))) for _ in range(passes)]
    bench.engine.close()
    tell([(ours, bare) for bare, ours in pairs] if what == "occupancy" else pairs, requests=len(prompts))


def _of_photographs(passes: int) -> None:
    """The photographs under 200 names, each with a question of its own."""
    with tempfile.TemporaryDirectory() as folder:
        found, paths = sorted(PHOTOGRAPHS.iterdir()), list[Path]()
        for number in range(200):
            path = found[number % len(found)]
            paths.append(Path(folder) / f"{number}{path.suffix}")
            paths[-1].write_bytes(path.read_bytes() + f"{number}".encode())  # after the picture's end: another file, the same pixels
        for path in paths[: len(found)]:
            assert _digest(_opened(path)) == _digest(decode(Image(path))), f"{path} is not decoded as Pillow does it"
        _compared(paths, passes)


def _compared(paths: list[Path], passes: int) -> None:
    bench, first = Bench(), shapes(1)[0]
    names = [f"What is in photograph {number}?" for number in range(len(paths))]
    asked = protocols.find("direct", max_tokens=TOKENS)

    def samples() -> list[Sample]:
        return [
            replace(first, id=name, prompt=name, images=(resolve(Image(path)),), group=name)
            for name, path in zip(names, paths, strict=True)
        ]

    with bench.watching() as requests:
        evaluate(bench.engine, asked, samples())
    by_name = {request.sample.partition("/")[2]: request for request in requests}

    def script() -> list[str]:
        images = [_opened(path) for path in paths]
        return bench.generate([bench.prompt(by_name[name], [image]) for name, image in zip(names, images, strict=True)])

    said = evaluate(bench.engine, asked, samples())
    alike = sum(reply == said[name] for name, reply in zip(names, script(), strict=True))
    pairs = [(bench.seconds(script), bench.seconds(lambda: evaluate(bench.engine, asked, samples()))) for _ in range(passes)]
    bench.engine.close()
    tell(pairs, requests=len(paths), alike=alike)


def _opened(path: Path) -> Any:
    import PIL.Image

    return PIL.Image.open(path).convert("RGB")


def _digest(image: Any) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3)
