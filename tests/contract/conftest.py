"""The fixtures of the contract: each engine of the list, made once a session, and the tiny checkpoint."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from evalkit import engines
from evalkit.interfaces import Engine

from .engines import ENGINES, Bench, Entry

HABITS = {"do_sample": True, "temperature": 0.7, "top_k": 5, "repetition_penalty": 1.3}
"""What the tiny checkpoint's own generation_config asks for, and no engine may let change an answer."""


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Where the tiny checkpoint is: the demo's architecture, its random weights made large so that prompts give different texts."""
    made: list[Path] = []

    def find() -> Path:
        if not made:
            torch = pytest.importorskip("torch")
            pytest.importorskip("transformers")
            from evalkit.demo import architecture

            torch.set_num_threads(1)
            words = architecture.tokenizer(["How many red circles and blue squares are there? Is it yes or no? A B C D"] * 5)
            model = architecture.model(words, seed=0)
            with torch.no_grad():
                for weights in model.parameters():
                    if weights.dim() > 1:
                        weights.mul_(3)
                unreadable = [token for token in range(len(words)) if "\ufffd" in words.decode([token])]
                model.get_input_embeddings().weight[unreadable] = 0  # the output's weights too, so that replies are readable
            folder = tmp_path_factory.mktemp("tiny")
            model.generation_config.update(**HABITS)
            model.save_pretrained(folder)
            architecture.processor(words).save_pretrained(folder)
            made.append(folder)
        return made[0]

    return find


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, checkpoint: Callable[[], Path]) -> Iterator[Callable[[Entry], Engine]]:
    """Makes an engine of the list, once a session."""
    known: dict[str, Engine] = {}
    with ExitStack() as stack:

        def build(entry: Entry) -> Engine:
            if entry.name not in known:
                known[entry.name] = entry.make(Bench(tmp_path_factory.mktemp("engine"), checkpoint, stack))
                stack.callback(engines.close, known[entry.name])
            return known[entry.name]

        yield build


def _only(entries: Sequence[Entry]) -> dict[str, Any]:
    return {"params": entries, "ids": [entry.name for entry in entries], "scope": "session"}


@pytest.fixture(**_only(ENGINES))
def engine(request: pytest.FixtureRequest, built: Callable[[Entry], Engine]) -> Engine:
    """Each engine of the list."""
    return built(request.param)


@pytest.fixture(**_only([entry for entry in ENGINES if not entry.any_kind]))
def choosy_engine(request: pytest.FixtureRequest, built: Callable[[Entry], Engine]) -> Engine:
    """Each that serves some kinds of request and not others."""
    return built(request.param)


@pytest.fixture(**_only([entry for entry in ENGINES if entry.pixels]))
def seeing_engine(request: pytest.FixtureRequest, built: Callable[[Entry], Engine]) -> Engine:
    """Each that opens the images."""
    return built(request.param)


@pytest.fixture(**_only([entry for entry in ENGINES if entry.language]))
def language_model(request: pytest.FixtureRequest, built: Callable[[Entry], Engine]) -> Engine:
    """Each that is a language model."""
    return built(request.param)
