"""What the vllm engine promises beyond the contract: likelihoods as transformers has them, and no hang when vLLM dies."""

import asyncio
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("vllm")

import psutil  # vLLM needs it too

from evalkit import engines
from evalkit.engines import launch
from evalkit.engines import vllm as engine_of_vllm
from evalkit.errors import Gap, Refused, UserError
from evalkit.interfaces import Engine
from evalkit.types import Budget, Generate, Image, Likelihood, Message, Request, Response, Sampling

from .engines import ENGINES, SAMPLES, Entry, answer, answers, ask, picture

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


def test_an_image_that_is_asked_for_larger_than_the_context_is_a_gap_to_itself(served: Engine) -> None:
    image = replace(picture(3_000, 2_000, (3, 90, 200)), budget=Budget(min_pixels=4_000_000, max_pixels=8_000_000))
    large = Request(Generate((Message("user", (image, "?")),), Sampling(max_tokens=4)))
    first, gap, last = answers(served, [ask(2), large, ask(3)])
    assert isinstance(gap, Gap)
    assert "vLLM cannot take the prompt" in str(gap)
    assert isinstance(first, Response)
    assert isinstance(last, Response)


def about(image: Image, question: str) -> Request:
    return Request(Generate((Message("user", (image, question)),), Sampling(max_tokens=2)))


def test_an_image_that_its_process_no_longer_holds_is_sent_again(served: Engine) -> None:
    image = picture(300, 210, (3, 90, 200))
    assert isinstance(answer(served, about(image, "What colour?")), Response)
    served._engine.engine_core.reset_mm_cache()  # type: ignore[attr-defined]  # what sends it does not know
    assert isinstance(answer(served, about(image, "Which shape?")), Response)


def test_an_image_that_vllm_holds_is_not_decoded_again(served: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, decode = list[Image](), engine_of_vllm.decode
    monkeypatch.setattr(engine_of_vllm, "decode", lambda image: decoded.append(image) or decode(image))
    first, second = picture(130, 210, (3, 90, 200)), picture(140, 210, (3, 90, 200))
    both = Request(Generate((Message("user", (first, second, "Which is wider?")),), Sampling(max_tokens=2)))
    sizes = [answer(served, request).seen for request in (about(first, "What colour?"), both, both)]
    assert decoded == [first, second]
    assert [len(seen) for seen in sizes] == [1, 2, 2]
    assert sizes[1] == sizes[2]
    served._engine.renderer.clear_mm_cache()  # type: ignore[attr-defined]
    assert answer(served, both).seen == sizes[2]
    assert decoded == [first, second, first, second]


def test_an_image_goes_along_with_the_first_request_that_shows_it(served: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """However threads take turns: later requests name it only, and none has to be sent twice."""
    tried, once = served._tried, list[Request]()  # type: ignore[attr-defined]

    def counted(request: Request, whole: bool = False) -> object:
        once.append(request)
        return tried(request, whole)

    monkeypatch.setattr(served, "_tried", counted)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.2)
    try:
        images = [picture(120, 90, (place, 90, 200)) for place in range(8)]
        asked = [about(image, f"Number {number}?") for image in images for number in range(12)]
        assert {type(response) for response in answers(served, asked)} == {Response}
    finally:
        sys.setswitchinterval(interval)
    assert once == asked


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


def test_a_vllm_whose_process_is_killed_while_it_starts_says_so(checkpoint: Callable[[], Path]) -> None:
    before = _processes()

    def kill() -> None:
        while not (born := [child for child in _processes() - before if "spawn_main" in " ".join(child.cmdline())]):
            time.sleep(0.05)
        time.sleep(0.5)
        born[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(UserError, match=r"vLLM does not start with .* The last lines of its log, "):
        engine_of_vllm.VLLM(checkpoint(), arguments=ARGUMENTS)
    killer.join()
    assert _alive(_processes() - before) == set()


def test_an_architecture_that_vllm_does_not_serve_is_told_with_the_engines_that_would_do(
    checkpoint: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(checkpoint(), tmp_path / "other")
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["OtherForConditionalGeneration"]}
    (folder / "config.json").write_text(json.dumps(config))
    assert launch.unfit(folder) == "vLLM does not serve OtherForConditionalGeneration"

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("Model architectures are not supported for now.")

    from vllm.v1.engine.llm_engine import LLMEngine

    monkeypatch.setattr(LLMEngine, "from_engine_args", refuse)
    words = (
        "vLLM does not serve OtherForConditionalGeneration: choose --engine transformers, or ask a server that serves it: --model openai:"
    )
    with pytest.raises(UserError, match=words):
        engine_of_vllm.VLLM(folder)


# ---------------------------------------------------------------- an engine of its own, with an adapter, which dies last


def _processes() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _alive(processes: set[psutil.Process]) -> set[psutil.Process]:
    _, alive = psutil.wait_procs(processes, timeout=30)
    return {one for one in alive if one.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(one.cmdline())}


@pytest.fixture(scope="module")
def adapter(checkpoint: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of the tiny checkpoint's language model."""
    return lora(checkpoint(), tmp_path_factory.mktemp("adapter"), r".*language_model.*\.(q_proj|o_proj|up_proj)")


def lora(checkpoint: Path, folder: Path, target_modules: str) -> Path:
    """The folder, with a LoRA of these modules in it."""
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, lora_alpha=64, target_modules=target_modules, init_lora_weights=False)
    peft.get_peft_model(AutoModelForImageTextToText.from_pretrained(checkpoint), config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapted(checkpoint: Callable[[], Path], adapter: Path) -> Iterator[tuple[Engine, set[psutil.Process]]]:
    """An engine with the adapter, and its processes."""
    before = _processes()
    engine = engine_of_vllm.VLLM(checkpoint(), adapter=adapter, arguments=ARGUMENTS)
    yield engine, _processes() - before
    engine.close()


def test_with_an_adapter_it_replies_as_the_merged_model_does(
    adapted: tuple[Engine, set[psutil.Process]], served: Engine, checkpoint: Callable[[], Path], adapter: Path
) -> None:
    from evalkit.engines.transformers import Transformers

    engine, _ = adapted
    asked, merged = [ask(index, max_tokens=10) for index in range(16)], Transformers(checkpoint(), adapter=adapter)
    found = [response.text for response in answers(engine, asked)]
    assert found == [response.text for response in answers(merged, asked)]
    assert found != [response.text for response in answers(served, asked)]
    merged.close()
    assert engine.info.details["adapter"] == merged.info.details["adapter"] != ""
    assert engine.info.fingerprint != served.info.fingerprint


@pytest.mark.parametrize("modules", [r".*visual.*\.(qkv|proj)", r".*(merger.*linear_fc1|q_proj)"], ids=["vision tower", "both"])
def test_an_adapter_of_which_vllm_might_leave_out_a_part_is_refused(modules: str, checkpoint: Callable[[], Path], tmp_path: Path) -> None:
    place = lora(checkpoint(), tmp_path, modules)
    with pytest.raises(UserError, match=r"expected an adapter of the language model's projections .* choose --engine transformers"):
        engine_of_vllm.VLLM(checkpoint(), adapter=place)


def test_an_adapter_that_is_not_there_is_told(checkpoint: Callable[[], Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected adapter_config\.json"):
        engine_of_vllm.VLLM(checkpoint(), adapter=tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"cut off")
    with pytest.raises(UserError, match="the weights of the adapter cannot be read from"):
        engine_of_vllm.VLLM(checkpoint(), adapter=tmp_path)


def test_a_vllm_that_dies_leaves_gaps_and_no_one_waiting(adapted: tuple[Engine, set[psutil.Process]]) -> None:
    engine, processes = adapted

    async def die() -> list[object]:
        tasks = [asyncio.ensure_future(engine.answer(ask(index, max_tokens=1_500))) for index in range(48)]
        await asyncio.sleep(0.7)
        for process in processes:
            process.kill()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)

    ended = asyncio.run(die())
    gaps = [one for one in ended if isinstance(one, Gap)]
    assert len(gaps) + sum(isinstance(one, Response) for one in ended) == 48
    assert "vLLM died" in str(gaps[0])
    with pytest.raises(Gap, match="vLLM died"):
        answer(engine, ask(0))
    engines.close(engine)
    assert _alive(processes) == set()
