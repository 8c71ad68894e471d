"""Configs are dataclasses: a key or a type that is not known is an error with its place."""

from pathlib import Path

import pytest

from evalkit import config
from evalkit.config import Locked, ModelConfig, RunConfig, build, engine_arguments, frame, read
from evalkit.errors import UserError
from evalkit.geometry import Frame


def test_every_declared_model_reads() -> None:
    assert {"demo", "demo-early"} <= set(config.models())
    for name in config.models():
        declared = config.model(name)
        assert declared is not None
        assert frame(declared.frame, name) is None or isinstance(frame(declared.frame, name), Frame)
    assert config.model("absent") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('sorce = "x"', "unknown key 'sorce' in .*model.toml. Did you mean 'source'"),
        ("source = 3", "expected .*str.* for 'source'"),
        ('source = "x"\ntrust_remote_code = "yes"', "expected .*bool.* for 'trust_remote_code'"),
        ("", "lacks a key"),
        ("source = ", "expected a TOML file"),
        ("a = " + "[" * 5000, "expected a TOML file at .*model.toml: maximum recursion"),
        ("a = " + "9" * 5000, "expected a TOML file at .*model.toml: Exceeds the limit"),
        ('source = "openai:x"\nbase_url = "http://user:hush@host/v1"', "expected base_url without a user and a password"),
    ],
)
def test_a_wrong_file_is_said_to_be_wrong_where_it_is(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "model.toml").write_text(text)
    with pytest.raises(UserError, match=said):
        read(ModelConfig, tmp_path / "model.toml")


def test_a_number_that_no_float_holds_is_said_to_be_wrong() -> None:
    with pytest.raises(UserError, match=r"expected .*float.* for 'temperature' in run\.toml"):
        build(RunConfig, {"temperature": 10**400}, "run.toml")


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("http://user:hush@host:8000/v1", "a user and a password"),
        ("https://hush@host/v1", "a user and a password"),
        ("https://host/v1?api-key=hush", "a query"),
        ("http://host:8000/v1#hush", "a query"),
    ],
)
def test_what_may_be_a_secret_in_a_url_is_refused_and_not_repeated(url: str, what: str) -> None:
    for given in (lambda: RunConfig(base_url=url), lambda: engine_arguments([f"base_url={url}"])):
        with pytest.raises(UserError, match=f"without {what}.*environment") as caught:
            given()
        assert "hush" not in str(caught.value)
    assert RunConfig(base_url="http://host:8000/v@1").base_url


@pytest.mark.parametrize("item", ["sk-hush", "api_key:sk-hush", "=sk-hush"])
def test_an_argument_that_is_no_pair_is_not_repeated(item: str) -> None:
    with pytest.raises(UserError, match=r"expected --engine-args name=value, got one that has no (=|name)") as caught:
        engine_arguments(["a=1", item])
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-proj-hush", "hush1234", ""])
def test_a_models_key_is_a_variables_name_and_never_the_key_itself(key: str) -> None:
    with pytest.raises(UserError, match="the name of an environment variable") as caught:
        ModelConfig("openai:x", key=key)
    assert "hush" not in str(caught.value)
    assert ModelConfig("openai:x", key="MY_KEY_2").key == "MY_KEY_2"


def test_a_secret_among_the_labels_is_refused_and_not_repeated() -> None:
    with pytest.raises(UserError, match=r"no secret among the labels.*got 'api-key'") as caught:
        RunConfig(label=("step=3", "api-key=hush"))
    assert "hush" not in str(caught.value)
    assert RunConfig(label=("tokens=300", "keyframes=2")).label


@pytest.mark.parametrize("name", ["api_key", "api-key", "hf_token", "--token", "password"])
def test_a_secret_among_the_engines_arguments_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(UserError, match=r"expected no secret in --engine-args.*environment") as caught:
        engine_arguments([f"{name}=hush"])
    assert "hush" not in str(caught.value)
    assert engine_arguments(["max_num_batched_tokens=8", "tokenizer=x"]) == {"max_num_batched_tokens": 8, "tokenizer": "x"}


@pytest.mark.parametrize(
    "text",
    [
        '{"api_key": "hush"}',
        '{"a": [{"b": {"accessToken": "hush"}}]}',
        '{"Authorization": "hush"}',
        '"{\\"apiKey\\": \\"hush\\"}"',
        '{"token": "hush", "token": {}}',
    ],
)
def test_a_secret_inside_an_argument_is_refused_at_any_depth(text: str) -> None:
    with pytest.raises(UserError, match="expected no secret in --engine-args") as caught:
        engine_arguments([f"extra_body={text}"])
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ['{"pad_token": "x"}', '{"prompt_cache_key": "x"}', '{"schema": {"key": {"type": "string"}}}', "[" * 100_000]
)
def test_what_only_sounds_like_a_secret_is_taken(text: str) -> None:
    assert engine_arguments([f"extra_body={text}"])


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file .*gone\.toml"):
        read(RunConfig, tmp_path / "gone.toml")


def test_one_string_stands_for_a_list_of_one() -> None:
    made = build(RunConfig, {"tasks": "shapes", "data": ["a=b", "c=d"], "limit": 5, "reuse": "run"}, "here")
    assert (made.tasks, made.data, made.limit, made.reuse) == (("shapes",), ("a=b", "c=d"), 5, "run")


def test_a_whole_number_is_no_truth_value() -> None:
    with pytest.raises(UserError, match="'limit'"):
        build(RunConfig, {"limit": True}, "here")


def test_an_unknown_frame_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="Did you mean 'thousand'"):
        frame("thousands", "--frame")


def test_data_once_seen_whole_is_locked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "home", lambda: tmp_path)
    assert config.locked() == {}
    assert config.lock("vsr:random", Locked("abc", "123")) == tmp_path / "data.lock"
    assert config.lock("vsr:random", Locked("new", "456")) is None
    assert config.locked() == {"vsr:random": Locked("abc", "123")}
