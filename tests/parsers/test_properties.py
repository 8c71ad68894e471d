"""What holds for every reply: no exception, values in range, written values read back, time linear in the reply."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.parsers import between, count, final_answer, integer_quadruples, labelled_quadruples, letter, number, quadruples, yes_no
from evalkit.types import Unparsed

OPTIONS = ("rubber", "cotton", "kevlar", "leather")
PARSERS: dict[str, Callable[[str], Any]] = {
    "between": lambda text: between(text, "answer"),
    "count": count,
    "final_answer": final_answer,
    "integer_quadruples": integer_quadruples,
    "labelled_quadruples": labelled_quadruples,
    "letter": lambda text: letter(text, OPTIONS),
    "number": number,
    "quadruples": quadruples,
    "yes_no": yes_no,
}
PIECES = (
    "<answer> </answer> <think> </think> <rethink> \\boxed{ } { } [ ] ( ) , . : ; \n * ** - 1 4.5 1,024 e9 % A B (C) D) option answer is "
    "not or and so total = yes no true false one twenty dozen rubber left bbox_2d NaN ' \" ² ٣ − é"
).split(" ")
replies = st.one_of(
    st.text(), st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join), st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
)
coordinates = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
boxes = st.lists(st.tuples(coordinates, coordinates, coordinates, coordinates), max_size=5)
words = st.sampled_from(
    [
        "I count {}",
        "There are {} dogs.",
        "**{}**",
        "<answer>{}</answer>",
        "\\boxed{{{}}}",
        "<think>9, then 8</think>\n{}",
        "Answer: {} dogs",
    ]
)


@given(replies)
def test_no_reply_raises_and_every_value_is_in_its_range(text: str) -> None:
    assert isinstance(between(text, "answer"), str | Unparsed)
    assert isinstance(final_answer(text), str)
    assert letter(text, OPTIONS) in ("A", "B", "C", "D") or isinstance(letter(text, OPTIONS), Unparsed)
    assert yes_no(text) in ("yes", "no") or isinstance(yes_no(text), Unparsed)
    counted, read = count(text), number(text)
    assert isinstance(counted, Unparsed) or (type(counted) is int and counted >= 0)
    assert isinstance(read, Unparsed) or (type(read) is float and abs(read) <= 1e300)
    for box in (*quadruples(text), *integer_quadruples(text)):
        assert len(box) == 4
        assert all(abs(side) < float("inf") for side in box)
    assert tuple(box for box, _ in labelled_quadruples(text)) == quadruples(text)


@given(replies, st.sampled_from([(), ("",), ("a", "a"), ("A", "B"), tuple("abcdefghijklmnopqrstuvwxyz0123")]))
def test_any_options_are_borne_and_none_beyond_them_is_chosen(text: str, options: tuple[str, ...]) -> None:
    chosen = letter(text, options)
    assert isinstance(chosen, Unparsed) or ord(chosen) - ord("A") < len(options)


@given(
    boxes,
    st.sampled_from(
        ["[{}, {}, {}, {}]", "({},{},{},{})", "[{} {} {} {}]", '{{"bbox_2d": [{}, {}, {}, {}]}}', "<box>[[{}, {}, {}, {}]]</box>"]
    ),
)
def test_boxes_written_in_any_form_are_read_back(written: list[tuple[float, ...]], form: str) -> None:
    assert quadruples(" and ".join(form.format(*box) for box in written)) == tuple(written)


@given(boxes, st.text(), st.booleans())
def test_labels_written_as_json_are_read_back(written: list[tuple[float, ...]], label: str, ascii_only: bool) -> None:
    text = json.dumps([{"label": label, "bbox_2d": box} for box in written], ensure_ascii=ascii_only)
    assert labelled_quadruples(text) == tuple((box, label) for box in written)


@given(st.lists(st.tuples(*[st.integers(0, 9999)] * 4), max_size=5))
def test_integer_boxes_are_read_back_by_both_readers(written: list[tuple[int, ...]]) -> None:
    text = f"<think>{' then '.join(map(str, written))}</think>"
    assert integer_quadruples(text) == tuple(tuple(map(float, box)) for box in written) == quadruples(text)


@given(st.integers(0, 10**9 - 1), words, st.sampled_from(["{}", "{:,}", "{}.0"]))
def test_counts_written_in_any_sentence_are_read_back(value: int, sentence: str, form: str) -> None:
    assert count(sentence.format(form.format(value))) == value


@given(st.floats(-1e6, 1e6).map(lambda x: round(x, 4)), words)
def test_numbers_written_in_any_sentence_are_read_back(value: float, sentence: str) -> None:
    assert number(sentence.format(f"{value:.4f}")) == value


@given(
    st.sampled_from("ABCD"),
    st.sampled_from(["{}", "({})", "**{}**", "{}.", "The answer is {}.", "Answer: ({})", "<answer>{}</answer>", "\\boxed{{{}}}"]),
)
def test_letters_written_in_any_form_are_read_back(chosen: str, form: str) -> None:
    assert letter(form.format(chosen), OPTIONS) == chosen


HOSTILE = [
    "[", "(", "{", "1", " ", "-", "a", "<answer>", "<think>", "</think>", "\\boxed{", "A ", "(A) ", "(A)\n", "1, ", "1,111,", "one-", "a-",
    "(1 1", "[1,2,3,4", '{"', "{'\\", '{"label": [1,2,3,4]', "the answer is ", "not (B) or ", "so there ", "between one and ", "no ", "= ",
]  # fmt: skip


def seconds(parse: Callable[[str], Any], text: str) -> float:
    """The least of three tries: the machine may be busy with something else during one."""
    tries = []
    for _ in range(3):
        start = time.process_time()
        parse(text)
        tries.append(time.process_time() - start)
    return min(tries)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("piece", HOSTILE)
def test_time_is_about_linear_in_a_hostile_reply(parser: str, piece: str) -> None:
    """Eight times the reply may take up to 24 times as long, and a hundredth of a second; a quadratic search takes 64 times as long."""
    short, long = (piece * (size // len(piece)) for size in (3_000, 24_000))
    assert seconds(PARSERS[parser], long) <= 24 * seconds(PARSERS[parser], short) + 0.01


@pytest.mark.parametrize("parser", PARSERS)
def test_a_million_hostile_characters_take_about_four_times_as_long_as_a_quarter_million(parser: str) -> None:
    short, long = ("".join(piece * (size // len(piece)) for piece in ("[", "(", "1", "<answer>")) for size in (62_500, 250_000))
    assert seconds(PARSERS[parser], long) <= 10 * seconds(PARSERS[parser], short) + 0.01


@pytest.mark.parametrize(
    "reply",
    ["(A) " + "a" * 5_000, "(A) " + "a " * 5_000, "A: " + "-" * 5_000, "1" + "-a" * 5_000, "not " * 5_000 + "B", "no" + " not" * 5_000],
)
@pytest.mark.parametrize("parser", PARSERS)
def test_one_candidate_before_a_long_tail_is_no_slower_than_many(parser: str, reply: str) -> None:
    assert seconds(PARSERS[parser], reply) <= 20 * seconds(PARSERS[parser], "(A) not 1-a no " * (len(reply) // 15)) + 0.01
