"""A replay answers by sample and role, holds no reply in memory, and says what does not fit."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evalkit.engines.replay import Replay
from evalkit.errors import DataError
from evalkit.geometry import Box, Mask, Size
from evalkit.task import find
from evalkit.types import Generate, Message, Request, Response


@pytest.fixture
def replay(tmp_path: Path) -> Iterator[Callable[..., Replay]]:
    """Makes a replay of rows: dicts, or lines as they are."""
    made: list[Replay] = []

    def make(*rows: Any, tasks: Any = ()) -> Replay:
        path = tmp_path / "replies.jsonl"
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        made.append(Replay(path, list(tasks)))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def answer(engine: Replay, sample: str, to: str = "model", turn: int = 0) -> Response:
    return asyncio.run(engine.answer(Request(Generate((Message("user", ("q",)),)), to, 0, f"task/{sample}", turn)))


def test_replies_come_by_sample_role_and_turn(replay: Callable[..., Replay]) -> None:
    engine = replay(
        {"sample": "a/1", "text": "one\ntwo"},
        "",
        {"sample": "b", "turns": ["first", "second"], "boxes": [[1, 2, 3, 4]], "masks": [{"size": [9, 8], "counts": "xy"}]},
        {"sample": "b", "role": "judge", "text": "1"},
        {"sample": 7, "text": "", "ignored": None},
    )
    assert answer(engine, "a/1").text == "one\ntwo"
    assert answer(engine, "b") == Response("first")
    assert answer(engine, "b", turn=1) == Response("second", boxes=(Box(1, 2, 3, 4),), masks=(Mask("xy", Size(8, 9)),))
    assert answer(engine, "b", "judge").text == "1"
    assert answer(engine, "7") == Response("")
    assert answer(engine, "b", turn=2).missing
    assert answer(engine, "c").missing
    assert engine.unknown() == []


def test_replies_that_nobody_asked_for_are_named(replay: Callable[..., Replay]) -> None:
    engine = replay({"sample": "b", "text": ""}, {"sample": "a", "text": ""}, {"sample": "c", "text": ""})
    answer(engine, "b")
    assert engine.unknown() == ["a", "c"]


def test_a_sample_that_comes_twice_is_refused(replay: Callable[..., Replay]) -> None:
    with pytest.raises(DataError, match="two for 'x'"):
        replay({"sample": "x", "text": "1"}, {"sample": "y", "text": ""}, {"sample": "x", "text": "2"})


@pytest.mark.parametrize(
    "row",
    [
        "{",
        "[1, 2]",
        '{"text": "no sample"}',
        '{"sample": "1"}',
        '{"sample": "1", "text": 3}',
        '{"sample": "1", "turns": "text"}',
        '{"sample": "1", "text": "", "boxes": [[1, 2, 3]]}',
        '{"sample": "1", "text": "", "boxes": [["a", 2, 3, 4]]}',
        '{"sample": "1", "text": "", "boxes": [[1, 2, 3, 4]], "scores": [NaN]}',
        '{"sample": "1", "text": "", "boxes": [[1, 2, 3, 4]], "scores": [1e999]}',
        '{"sample": "1", "text": "", "boxes": [[1, 2, 3, 4]], "scores": [0.5, 0.5]}',
        '{"sample": "1", "text": "", "masks": [{"counts": "x"}]}',
    ],
)
def test_a_row_that_is_no_reply_is_shown_with_its_line(replay: Callable[..., Replay], row: str) -> None:
    with pytest.raises(DataError, match="line 2, got"):
        replay({"sample": "0", "text": ""}, row)


def test_several_tasks_need_each_row_to_name_its_own(replay: Callable[..., Replay]) -> None:
    """Ids of two tasks may be the same, and a letter of one is no answer of the other."""
    rows = {"task": "a", "sample": "0", "text": "of a"}, {"task": "b", "sample": "0", "text": "of b"}
    engine = replay(*rows, tasks=[find("shapes"), find("shapes:48")])

    def text(task: str) -> str:
        return asyncio.run(engine.answer(Request(Generate((Message("user", ("q",)),)), sample=f"{task}/0"))).text

    assert (text("a"), text("b"), text("c")) == ("of a", "of b", "")
    with pytest.raises(DataError, match="names the 'task' in each row"):
        replay({"sample": "0", "text": ""}, tasks=[find("shapes"), find("shapes:48")])


def test_the_frame_of_text_is_never_assumed_and_boxes_as_values_need_none(replay: Callable[..., Replay]) -> None:
    assert replay({"sample": "0", "text": "[1, 2, 3, 4]"}).info.frame is None
    assert replay({"sample": "0", "text": "", "boxes": [[1, 2, 3, 4]]}).info.frame == "original"


def test_a_box_that_is_not_finite_is_refused(replay: Callable[..., Replay]) -> None:
    with pytest.raises(DataError, match="not finite"):
        replay('{"sample": "0", "text": "", "boxes": [[NaN, 2, 3, 4]]}')


def test_a_mask_of_plain_run_lengths_is_read_too(replay: Callable[..., Replay]) -> None:
    engine = replay({"sample": "0", "text": "", "masks": [{"counts": [2, 3, 1], "size": [2, 3]}]})
    (mask,) = asyncio.run(engine.answer(Request(Generate((Message("user", ("q",)),)), sample="t/0"))).masks
    assert (mask.counts, mask.size) == ("231", Size(3, 2))


@pytest.mark.parametrize("counts", [7, None, {"a": 1}])
def test_a_mask_that_is_none_is_shown_with_its_line(replay: Callable[..., Replay], counts: Any) -> None:
    with pytest.raises(DataError, match="line 1, got"):
        replay({"sample": "0", "text": "", "masks": [{"counts": counts, "size": [2, 3]}]})


def test_a_file_without_replies_is_told(replay: Callable[..., Replay]) -> None:
    with pytest.raises(DataError, match=r"expected replies in .*, got none"):
        replay()


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    path = tmp_path / "bom.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"sample": "0", "text": "a"}\r\n{"sample": "1", "text": "b"}\r\n')
    engine = Replay(path, [])
    asked = [Request(Generate((Message("user", ("q",)),)), sample=f"t/{name}") for name in "01"]
    assert [asyncio.run(engine.answer(request)).text for request in asked] == ["a", "b"]
    engine.close()


def test_a_sample_of_which_one_role_was_asked_is_not_unknown(replay: Callable[..., Replay]) -> None:
    engine = replay(
        {"sample": "0", "text": "a"}, {"sample": "0", "text": "b", "role": "judge"}, {"sample": "1", "text": "c", "role": "judge"}
    )
    asyncio.run(engine.answer(Request(Generate((Message("user", ("q",)),)), sample="t/0")))
    assert engine.unknown() == ["1"]
