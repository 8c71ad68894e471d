"""From a model's name to an engine: servers, files that declare a model, vLLM where it fits; and two engines compared."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit import engines
from evalkit.config import RunConfig, build
from evalkit.engines import open_model
from evalkit.errors import Refused, UserError
from evalkit.parity import compare

from .server import Server

DEMO = Path(__file__).parents[2] / "evalkit" / "demo" / "checkpoints" / "demo"


@pytest.fixture
def server() -> Iterator[Server]:
    """A local server that replies."""
    with Server() as running:
        yield running


def options(**given: Any) -> RunConfig:
    return build(RunConfig, given, "the test")


def test_a_server_is_asked_and_its_answers_are_kept(server: Server, tmp_path: Path) -> None:
    def run() -> evalkit.Summary:
        return evalkit.run("openai:tiny", "shapes:24", base_url=server.url, frame="thousand", out=tmp_path)

    first, asked = run(), len(server.bodies)
    assert first.complete
    assert asked >= 24
    assert run().as_json() == first.as_json()
    assert len(server.bodies) == asked


def test_openai_needs_a_key_and_the_environment_is_only_what_is_handed_over() -> None:
    with pytest.raises(UserError, match=r"needs a key.*set OPENAI_API_KEY"):
        open_model("openai:gpt", options(), [])
    opened = open_model("openai:gpt", options(), [], {"OPENAI_API_KEY": "secret"})
    assert "secret" not in repr(opened.engine.info)
    engines.close(opened.engine)


def test_boxes_in_pixels_as_seen_need_a_declared_resize() -> None:
    with pytest.raises(Refused, match="declare its resize"):
        open_model("openai:m", options(base_url="http://localhost:1/v1", frame="seen"), [])
    sizes = ("factor=28", "min_pixels=3136", "max_pixels=1003520")
    engines.close(open_model("openai:m", options(base_url="http://localhost:1/v1", frame="seen", engine_args=sizes), []).engine)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        (str(DEMO), {"base_url": "http://localhost:1/v1"}, "name its model as openai:NAME"),
        (str(DEMO), {"engine": "transformers", "engine_args": ("max_model_len=8",)}, "--engine-args are vLLM's"),
        ("openai:m", {"base_url": "http://localhost:1/v1", "engine_args": ("concurency=3",)}, "Did you mean 'concurrency'"),
        ("openai:m", {"engine": "vllm"}, "does not go with --model openai:m"),
        ("openai:m", {"base_url": "localhost"}, "expected a base URL such as"),
        (str(DEMO), {"engine_args": ("max_model_len",), "engine": "vllm"}, "expected --engine-args name=value"),
    ],
)
def test_what_does_not_go_together_is_told(name: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_model(name, options(**given), [])


def test_a_file_may_declare_a_model(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(f'source = "openai:tiny"\nbase_url = "{server.url}"\nframe = "thousand"\nprotocol = "grit"\n')
    opened = open_model(str(path), options(), [])
    assert (opened.name, opened.protocol, opened.engine.info.frame) == ("tiny", "grit", "thousand")
    engines.close(opened.engine)


def test_why_an_engine_was_chosen_is_stated() -> None:
    pytest.importorskip("torch")
    opened = open_model(str(DEMO), options(protocol="likelihood"), [])
    assert (opened.engine.info.details["engine"], opened.engine.info.details["chosen"]) == (
        "transformers",
        "likelihoods take less memory there",
    )
    engines.close(opened.engine)


def test_an_architecture_that_no_engine_knows_is_told_before_one_is_chosen(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "config.json").write_text('{"model_type": "other_vl", "architectures": ["Other"]}')
    with pytest.raises(UserError, match=r"other_vl.*--trust-remote-code.*--model openai:NAME --base-url URL"):
        open_model(str(tmp_path), options(), [])


def test_two_engines_give_the_same_replies(tmp_path: Path) -> None:
    """In float32 and greedy: at least 99% identical, or each other pair parts where the model was undecided."""
    pytest.importorskip("vllm")
    arguments = ("enforce_eager=true", "max_model_len=2048")
    [parity] = compare("demo", "shapes:96", ("transformers", "vllm"), protocol="grit", engine_args=arguments, out=str(tmp_path))
    assert parity.samples == 96
    assert parity.excused
    assert parity.identical + len(parity.differences) == 96
    assert abs(parity.score.value or 0) <= 0.02


def test_parity_needs_two_engines_and_greedy_decoding() -> None:
    with pytest.raises(UserError, match="expected two engines"):
        compare("demo", "shapes", ("transformers", "transformers"))
    with pytest.raises(Refused, match="differ by nature"):
        compare("demo", "shapes", ("transformers", "vllm"), temperature=1.0)
