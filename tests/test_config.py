"""Configs are dataclasses: a key or a type that is not known is an error with its place."""

from pathlib import Path

import pytest

from evalkit import config
from evalkit.config import Locked, ModelConfig, RunConfig, build, frame, read
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
    ],
)
def test_a_wrong_file_is_said_to_be_wrong_where_it_is(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "model.toml").write_text(text)
    with pytest.raises(UserError, match=said):
        read(ModelConfig, tmp_path / "model.toml")


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file .*gone\.toml"):
        read(RunConfig, tmp_path / "gone.toml")


def test_one_string_stands_for_a_list_of_one() -> None:
    made = build(RunConfig, {"tasks": "shapes", "data": ["a=b", "c=d"], "limit": 5, "from": "run"}, "here")
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
