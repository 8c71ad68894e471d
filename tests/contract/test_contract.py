"""What every engine promises, whatever answers behind it; and what every language model promises besides."""

import asyncio
import string
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.errors import ImageError, Refused
from evalkit.interfaces import Engine
from evalkit.types import Box, Budget, Generate, Image, Message, Request, Response, Segment, Size

from .engines import SAMPLES, answer, answers, ask, greedy, picture

MANY = [ask(index) for index in range(64)]


def content(response: Response) -> tuple[object, ...]:
    """All of a response but how long it took."""
    return response.text, response.finish, response.seen, response.tokens_in, response.tokens_out


# ---------------------------------------------------------------- every engine


def test_an_answer_is_a_response_with_a_text(engine: Engine) -> None:
    response = answer(engine, ask(0))
    assert isinstance(response, Response)
    assert isinstance(response.text, str)
    assert response.finish in ("stop", "length")


def test_an_engine_has_a_name_and_a_fingerprint(engine: Engine) -> None:
    assert engine.info.name
    assert engine.info.fingerprint
    assert engine.info.answers


def test_many_answers_in_flight_each_reach_their_own_request(engine: Engine) -> None:
    together = answers(engine, MANY)
    alone = [answer(engine, request) for request in MANY[::4]]
    assert [content(response) for response in together[::4]] == [content(response) for response in alone]


def test_a_caller_who_leaves_takes_nobody_along(engine: Engine) -> None:
    async def leave_half() -> list[Response]:
        tasks = [asyncio.ensure_future(engine.answer(request)) for request in MANY[:16]]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        return await asyncio.gather(*tasks[1::2])

    left = asyncio.run(leave_half())
    assert [content(response) for response in left] == [content(response) for response in answers(engine, MANY[1:16:2])]


def test_a_request_of_a_kind_it_does_not_serve_is_refused(choosy_engine: Engine) -> None:
    segment = Request(Segment(SAMPLES["task/0"].images[0], (Box(1, 2, 3, 4),)), sample="task/0")
    with pytest.raises(Refused, match="segment"):
        answer(choosy_engine, segment)


def test_one_bad_image_is_an_error_to_its_own_request_only(seeing_engine: Engine) -> None:
    broken = Image(b"no image at all", size=Size(100, 100), digest="broken")
    asked = Request(Generate((Message("user", (broken, "What is it?")),), MANY[0].kind.sampling))  # type: ignore[union-attr]
    mixed = answers(seeing_engine, [*MANY[:3], asked, *MANY[3:6]])
    assert isinstance(mixed.pop(3), ImageError)
    assert [content(response) for response in mixed] == [content(response) for response in answers(seeing_engine, MANY[:6])]


# ---------------------------------------------------------------- every language model


@pytest.mark.parametrize("most", [1, 2, 9])
def test_no_reply_is_longer_than_asked_and_one_that_is_cut_is_exactly_so_long(language_model: Engine, most: int) -> None:
    responses = answers(language_model, [ask(index, max_tokens=most) for index in range(8)])
    assert "length" in {response.finish for response in responses}
    for response in responses:
        assert response.tokens_out == most if response.finish == "length" else response.tokens_out <= most


def test_requests_of_different_length_in_flight_each_get_their_own(language_model: Engine) -> None:
    mixed = answers(language_model, [ask(index, max_tokens=2 + index % 3) for index in range(9)])
    assert [response.tokens_out for response in mixed if response.finish == "length"] == [
        2 + index % 3 for index, response in enumerate(mixed) if response.finish == "length"
    ]


def test_the_checkpoints_own_generation_config_changes_no_answer(language_model: Engine, checkpoint: Callable[[], Path]) -> None:
    """It asks for a repetition penalty of 1.3 and for drawing; the reference takes the likeliest token, by nothing but the model."""
    reference = [greedy(checkpoint(), index, tokens=8) for index in range(8)]
    assert [answer(language_model, ask(index, max_tokens=8)).text for index in range(8)] == reference
    assert reference != [answer(language_model, ask(index, max_tokens=8, repetition_penalty=1.3)).text for index in range(8)]


def test_a_stop_string_ends_the_reply_and_is_not_in_it(language_model: Engine) -> None:
    whole = answers(language_model, [ask(index, max_tokens=16) for index in range(12)])
    stops = [next((letter for letter in response.text[2:] if letter in string.printable), None) for response in whole]
    assert sum(stop is not None for stop in stops) >= 3
    for index, (response, stop) in enumerate(zip(whole, stops, strict=True)):
        if stop is None:
            continue
        stopped = answer(language_model, ask(index, max_tokens=16, stop=("no such words", stop)))
        assert (stopped.text, stopped.finish) == (response.text[: response.text.index(stop)], "stop")
        assert 0 < stopped.tokens_out <= response.tokens_out


def test_a_stop_string_over_several_tokens_is_found(language_model: Engine) -> None:
    for index in range(12):
        whole = answer(language_model, ask(index, max_tokens=16)).text
        stop = whole[len(whole) // 3 : len(whole) // 3 + 5]
        if stop and "\ufffd" not in stop:
            assert answer(language_model, ask(index, max_tokens=16, stop=(stop,))).text == whole[: whole.index(stop)]


def test_a_drawn_reply_follows_from_its_key_alone(language_model: Engine) -> None:
    hot = [ask(index, temperature=1.0) for index in range(8)]
    again = [ask(index, temperature=1.0) for index in (7, 2, 5)] + [ask(index, temperature=1.0) for index in range(20, 25)]
    first, second = answers(language_model, hot), answers(language_model, again)
    assert [first[7], first[2], first[5]] == [
        replace(response, seconds=one.seconds) for response, one in zip(second, (first[7], first[2], first[5]), strict=False)
    ]
    assert answer(language_model, hot[3]).text == first[3].text


@pytest.mark.parametrize("change", [{"draw": 1}, {"seed": 1}])
def test_another_draw_or_seed_is_another_reply_when_hot_and_the_same_when_greedy(language_model: Engine, change: dict[str, int]) -> None:
    hot = answers(language_model, [ask(0, temperature=1.0, max_tokens=12), ask(0, temperature=1.0, max_tokens=12, **change)])  # type: ignore[arg-type]
    cold = answers(language_model, [ask(0, max_tokens=12), ask(0, max_tokens=12, **change)])  # type: ignore[arg-type]
    assert hot[0].text != hot[1].text
    assert cold[0].text == cold[1].text


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}])
def test_the_narrowest_sampling_is_greedy_or_refused_where_it_would_be_widened(language_model: Engine, narrow: dict[str, float]) -> None:
    if language_model.info.details["engine"] == "vllm" and "temperature" in narrow:
        with pytest.raises(Refused, match=r"a temperature of 0 or of at least 0\.01"):
            answer(language_model, ask(0, **narrow))  # type: ignore[arg-type]
        return
    hot = answers(language_model, [ask(index, **({"temperature": 1.0} | narrow)) for index in range(4)])  # type: ignore[arg-type]
    assert [response.text for response in hot] == [answer(language_model, ask(index)).text for index in range(4)]


def test_a_repetition_penalty_changes_replies_the_same_in_every_batch(language_model: Engine) -> None:
    plain = answers(language_model, [ask(index, max_tokens=12) for index in range(8)])
    fresh = answers(language_model, [ask(index, max_tokens=12, repetition_penalty=1.5) for index in range(8)])
    assert [response.text for response in plain] != [response.text for response in fresh]
    assert [response.text for response in fresh[::3]] == [
        answer(language_model, ask(index, max_tokens=12, repetition_penalty=1.5)).text for index in range(0, 8, 3)
    ]


def test_a_prefill_is_continued_and_not_repeated(language_model: Engine) -> None:
    plain, filled = answer(language_model, ask(0)), answer(language_model, ask(0, prefill="There are"))
    assert filled.tokens_in > plain.tokens_in
    assert filled.text != plain.text
    assert not filled.text.startswith("There are")


def test_the_size_of_every_image_as_seen_is_told_in_order(language_model: Engine) -> None:
    wide, tall = picture(300, 100, (9, 9, 9)), picture(100, 300, (200, 9, 9))
    sampling = MANY[0].kind.sampling  # type: ignore[union-attr]

    def seen(*images: Image) -> tuple[Size, ...]:
        messages = (Message("user", (images[0], "This,")), Message("assistant", ("yes",)), Message("user", (*images[1:], "or this?")))
        return answer(language_model, Request(Generate(messages, sampling))).seen

    first = seen(wide, tall, wide)
    assert [size.width > size.height for size in first] == [True, False, True]
    assert seen(tall, wide, tall) == (first[1], first[0], first[1])
    assert answer(language_model, Request(Generate((Message("user", ("Yes?",)),), sampling))).seen == ()


def test_an_image_never_has_more_pixels_than_its_budget(language_model: Engine) -> None:
    """Requests of different budgets in flight keep to their own."""
    big = picture(640, 480, (10, 200, 10))
    budgets = [None, Budget(max_pixels=10_000), Budget(min_pixels=40_000, max_pixels=60_000), Budget(max_pixels=10_000)]
    requests = [
        replace(MANY[0], kind=replace(MANY[0].kind, messages=(Message("user", (replace(big, budget=budget), "?")),))) for budget in budgets
    ]
    responses = answers(language_model, requests)
    assert [type(response) for response in responses] == [Response] * 4, responses
    areas = [response.seen[0].width * response.seen[0].height for response in responses]
    assert areas[1] == areas[3] <= 10_000 < areas[0] < 40_000 <= areas[2] <= 60_000
