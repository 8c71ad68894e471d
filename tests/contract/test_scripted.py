"""The oracle writes the gold in the frame it declares and in the form asked for; the guesser is even and repeats itself."""

import json
import re
from collections import Counter
from collections.abc import Mapping

import pytest

from evalkit.engines.scripted import Scripted, guess, mute, oracle
from evalkit.errors import Gap, Refused
from evalkit.geometry import Box, Frame, to_original
from evalkit.types import Generate, Message, Request, Response, Sample, Wants

from .engines import SAMPLES, answer, ask, picture


def grit(index: int) -> Request:
    asked = SAMPLES[f"task/{index}"]
    message = Message("user", (*asked.images, f"{asked.question} Answer after <answer>."))
    return Request(Generate((message,)), sample=f"task/{index}")


@pytest.mark.parametrize(("index", "gold"), [(0, "B"), (1, "no"), (2, "3"), (3, "[[10, 20, 40, 60]]")])
def test_the_oracle_answers_in_the_form_that_is_wanted(index: int, gold: str) -> None:
    assert answer(oracle(SAMPLES), ask(index)).text == gold
    text = answer(oracle(SAMPLES), grit(index)).text
    assert re.fullmatch(r"<think> .*\d.* </think> <rethink> .* </rethink> <answer> (.*)</answer>", text)[1] == gold  # type: ignore[index]


@pytest.mark.parametrize("frame", list(Frame))
def test_boxes_of_the_oracle_read_in_its_frame_are_the_gold(frame: Frame) -> None:
    engine = oracle(SAMPLES, frame)
    assert engine.info.frame is frame
    for request, gold in ((ask(3), Box(10, 20, 40, 60)), (grit(1), Box(1, 2, 30, 40))):
        text = answer(engine, request).text
        written = [float(number) for number in re.findall(r"\[+([\d.e, -]+)\]", text)[0].split(",")]
        own = SAMPLES[request.sample].images[0].size
        assert own is not None
        assert to_original(written, frame, own, own) == pytest.approx(gold)


def test_points_are_written_as_pairs() -> None:
    samples = {"t/0": Sample("0", "Where?", "Where?", (picture(100, 50, (0, 0, 0)),), Wants("points"), ((10, 20),))}
    asked = Request(Generate((Message("user", ("Where?",)),)), sample="t/0")
    assert answer(oracle(samples, Frame.THOUSAND), asked).text == "[[100, 400]]"


def test_the_oracle_refuses_what_it_has_no_gold_for() -> None:
    unknown = Request(Generate((Message("user", ("?",)),)), sample="task/none")
    with pytest.raises(Refused, match="one of the 64 samples given, got 'task/none'"):
        answer(oracle(SAMPLES), unknown)


def test_only_the_original_frame_does_without_sizes() -> None:
    samples = {"t/0": Sample("0", "Where?", "Where?", (), Wants("boxes"), (Box(1, 2, 3, 4),))}
    asked = Request(Generate((Message("user", ("Where?",)),)), sample="t/0")
    assert answer(oracle(samples), asked).text == "[[1, 2, 3, 4]]"
    with pytest.raises(Refused, match="to know its image's size"):
        answer(oracle(samples, Frame.UNIT), asked)


def test_the_mute_says_nothing() -> None:
    assert answer(mute(), ask(0)) == Response("")
    assert answer(mute(), grit(0)) == Response("")


def test_the_guesser_draws_evenly_and_the_same_for_the_same_key() -> None:
    engine = guess(SAMPLES)

    def drawn(index: int) -> Mapping[str, int]:
        return Counter(answer(engine, ask(index, draw=draw)).text for draw in range(600))

    for index, options in ((0, {"A", "B", "C"}), (1, {"yes", "no"}), (2, set("012345"))):
        found = drawn(index)
        assert set(found) == options
        assert min(found.values()) > 0.6 * 600 / len(options)
        assert drawn(index) == found
    x1, y1, x2, y2 = json.loads(answer(engine, ask(3)).text)[0]
    assert 0 <= x1 < x2 <= 1000
    assert 0 <= y1 < y2 <= 1000


def test_a_script_may_return_a_response_or_raise() -> None:
    assert answer(Scripted(lambda request: Response("cut", "length")), ask(0)) == Response("cut", "length")

    def fail(request: Request) -> str:
        raise Gap("nobody there")

    with pytest.raises(Gap, match="nobody there"):
        answer(Scripted(fail), ask(0))
