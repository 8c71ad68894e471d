"""The openai engine on a real `vllm serve` of the tiny checkpoint, which the tests start and end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import pytest

pytest.importorskip("torch")
pytest.importorskip("vllm")

from evalkit.engines.openai import OpenAI, OpenAIOptions
from evalkit.errors import Gap, UserError
from evalkit.types import Generate, Message, Request, Response

from .engines import answer, answers, ask, greedy

STARTING = 300  # seconds, on a machine that does other things too


@pytest.fixture(scope="module")
def url(checkpoint: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of the server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    options = ["--enforce-eager", "--dtype=float32", "--max-model-len=2048", "--host=127.0.0.1", f"--port={port}"]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", f"--model={checkpoint()}", "--served-model-name=tiny", *options]
    with log.open("wb") as file:
        variables = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", **os.environ}
        served = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=variables, start_new_session=True)
    try:
        until = time.monotonic() + STARTING
        while not _serves(port):
            assert served.poll() is None and time.monotonic() < until, log.read_text(errors="replace")[-3000:]
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(served.pid, signal.SIGTERM)
        try:
            served.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(served.pid, signal.SIGKILL)
            served.wait()


def _serves(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5) as reply:
            return reply.status == 200  # type: ignore[no-any-return]
    except OSError:
        return False


@pytest.fixture(scope="module")
def engine(url: str, checkpoint: Callable[[], Path]) -> Iterator[OpenAI]:
    """The engine on it, told of the checkpoint's resize."""
    import json

    size = json.loads((checkpoint() / "processor_config.json").read_text())["image_processor"]["size"]
    resize = {"factor": 32, "min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
    made = OpenAI("tiny", OpenAIOptions(base_url=url, server="vllm", **resize))
    yield made
    made.close()


def test_greedy_replies_are_those_of_the_bare_model_whatever_its_generation_config_asks_for(
    engine: OpenAI, checkpoint: Callable[[], Path]
) -> None:
    reference = [greedy(checkpoint(), index, tokens=8) for index in range(8)]
    found = answers(engine, [ask(index, max_tokens=8) for index in range(8)])
    assert [response.text for response in found] == reference


def test_what_is_seen_and_the_tokens_are_those_of_the_processor(engine: OpenAI, checkpoint: Callable[[], Path]) -> None:
    from evalkit.engines.transformers import Transformers

    local = Transformers(checkpoint())
    requests = [ask(index) for index in range(10)]
    for there, here in zip(answers(engine, requests), answers(local, requests), strict=True):
        assert there.seen == here.seen
        assert there.tokens_in == here.tokens_in
    local.close()


def test_draws_repeat_by_their_key_and_differ_from_each_other(engine: OpenAI) -> None:
    hot = [ask(0, draw=draw, temperature=1.0, max_tokens=12) for draw in range(4)]
    first, again = answers(engine, hot), answers(engine, hot[::-1])
    assert [response.text for response in first] == [response.text for response in again[::-1]]
    assert len({response.text for response in first}) > 1


def test_a_reply_goes_on_from_a_prefill(engine: OpenAI) -> None:
    whole = answer(engine, ask(3, max_tokens=12)).text
    begun = whole[: len(whole) // 2]
    assert answer(engine, ask(3, max_tokens=12, prefill=begun)).tokens_in > answer(engine, ask(3, max_tokens=12)).tokens_in


def test_limits_and_stop_strings_are_kept(engine: OpenAI) -> None:
    whole = answer(engine, ask(1, max_tokens=16))
    assert (whole.finish, whole.tokens_out) == ("length", 16)
    stop = whole.text[3:5]
    stopped = answer(engine, ask(1, max_tokens=16, stop=(stop,)))
    assert (stopped.text, stopped.finish) == (whole.text[: whole.text.index(stop)], "stop")


def test_a_prompt_beyond_the_context_is_a_gap_and_the_others_are_answered(engine: OpenAI) -> None:
    long = Request(Generate((Message("user", ("red " * 4000,)),)))
    found = answers(engine, [ask(0), long, ask(1)])
    assert isinstance(found[1], Gap)
    assert "maximum context length is 2048" in str(found[1])
    assert all(isinstance(response, Response) for response in found[::2])


def test_an_unknown_model_is_told_with_the_nearest_one(url: str) -> None:
    made = OpenAI("tini", OpenAIOptions(base_url=url))
    with pytest.raises(UserError, match="Did you mean 'tiny'"):
        answer(made, replace(ask(0), draw=1))
    made.close()
