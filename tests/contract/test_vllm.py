"""What the vllm engine promises beyond the contract: likelihoods as transformers has them, and no hang when vLLM dies."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.engines import vllm as engine_of_vllm
from evalkit.errors import Gap, Refused, UserError
from evalkit.interfaces import Engine
from evalkit.types import Generate, Likelihood, Message, Request, Response, Sampling

from .engines import ENGINES, SAMPLES, Entry, answer, answers, ask

pytest.importorskip("vllm")

ENTRY = {entry.name: entry for entry in ENGINES}
ARGUMENTS = {"enforce_eager": True, "max_model_len": 2048}


@pytest.fixture(scope="session")
def served(built: Callable[[Entry], Engine]) -> Engine:
    """The engine of the contract's tests."""
    return built(ENTRY["vllm"])


def likelihood(index: int) -> Request:
    sample = SAMPLES[f"task/{index}"]
    return Request(Likelihood((Message("user", (*sample.images, sample.question)),), ("yes", "no", "three red circles")))


def test_likelihoods_are_those_of_transformers(served: Engine, built: Callable[[Entry], Engine]) -> None:
    asked = [likelihood(index) for index in range(6)]
    ours, theirs = answers(served, asked), answers(built(ENTRY["transformers"]), asked)
    for first, second in zip(ours, theirs, strict=True):
        assert first.likelihoods == pytest.approx(second.likelihoods, abs=1e-3)
        assert len(set(first.likelihoods)) == 3


def test_likelihoods_that_take_too_much_memory_are_refused(served: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_of_vllm, "LIKELIHOOD_BYTES", 1 << 16)
    with pytest.raises(Refused, match="use --engine transformers, or --engine-args max_num_batched_tokens="):
        answer(served, likelihood(0))


def test_a_prompt_beyond_the_context_is_a_gap_to_itself(served: Engine) -> None:
    long = Request(Generate((Message("user", ("red " * 5_000,)),), Sampling(max_tokens=4)))
    first, gap, last = answers(served, [ask(0), long, ask(1)])
    assert isinstance(gap, Gap)
    assert "vLLM cannot take the prompt" in str(gap)
    assert isinstance(first, Response)
    assert isinstance(last, Response)


def test_what_it_runs_on_is_stated(served: Engine) -> None:
    details = served.info.details
    assert (details["engine"], details["dtype"], details["device"]) == ("vllm", "float32", "cpu")
    assert details["arguments"]["max_model_len"] == 2048


def test_an_argument_that_vllm_does_not_know_is_told(checkpoint: Callable[[], Path]) -> None:
    with pytest.raises(UserError, match=r"no engine argument 'max_model_length'\. Did you mean 'max_model_len'"):
        engine_of_vllm.VLLM(checkpoint(), arguments={"max_model_length": 5})


def test_a_vllm_that_does_not_start_says_why(checkpoint: Callable[[], Path]) -> None:
    with pytest.raises(UserError, match=r"vLLM does not start with .* The last lines of its log, .*evalkit-vllm-"):
        engine_of_vllm.VLLM(checkpoint(), arguments=ARGUMENTS | {"kv_cache_memory_bytes": 1 << 50})


def test_a_vllm_that_dies_leaves_gaps_and_no_one_waiting(checkpoint: Callable[[], Path]) -> None:
    import psutil

    before = set(psutil.Process().children(recursive=True))
    engine = engine_of_vllm.VLLM(checkpoint(), arguments=ARGUMENTS)
    others = set(psutil.Process().children(recursive=True)) - before

    async def die() -> list[object]:
        tasks = [asyncio.ensure_future(engine.answer(ask(index, max_tokens=1_500))) for index in range(48)]
        await asyncio.sleep(0.7)
        for child in others:
            os.kill(child.pid, signal.SIGKILL)
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)

    try:
        ended = asyncio.run(die())
        gaps = [one for one in ended if isinstance(one, Gap)]
        assert len(gaps) + sum(isinstance(one, Response) for one in ended) == 48
        assert "vLLM died" in str(gaps[0])
        with pytest.raises(Gap, match="vLLM died"):
            answer(engine, ask(0))
    finally:
        engine.close()
    assert [child for child in others if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
