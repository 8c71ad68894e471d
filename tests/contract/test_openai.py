"""The openai engine over real HTTP: what is sent, what is read, what a server will not take, and what the user can mend."""

import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from evalkit.engines.openai import OpenAI, OpenAIOptions
from evalkit.errors import Gap, Refused, UserError
from evalkit.types import Generate, Message, Request, Response

from .engines import SAMPLES, answer, answers
from .server import Deed, Reply, Rig, Status, openai_error, text_only

NOT_SUPPORTED = "Unsupported parameter: '{}' is not supported with this model."


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Servers and engines of one test."""
    with Rig() as made:
        yield made


# ---------------------------------------------------------------- what is sent


def test_messages_arrive_in_their_order_and_images_as_data_urls(rig: Rig) -> None:
    server = rig.server()
    image = SAMPLES["task/0"].images[0]
    messages = (Message("user", ("One", image, "two")), Message("assistant", ("Three",)), Message("user", ("four",)))
    answer(rig.engine(server, system="Be brief."), Request(Generate(messages)))

    def text(words: str) -> dict[str, str]:
        return {"type": "text", "text": words}

    sent = server.bodies[0]["messages"]
    url = sent[1]["content"][1]["image_url"].pop("url")
    assert url.startswith("data:image/png;base64,")
    assert sent == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "One"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "two"}],
        },
        {"role": "assistant", "content": "Three"},
        {"role": "user", "content": "four"},
    ]


def test_a_plain_server_is_sent_what_openai_knows_and_more_only_where_it_is_asked_for(rig: Rig) -> None:
    server = rig.server()
    engine = rig.engine(server)
    answers(engine, [text_only(max_tokens=7, stop=("END",)), text_only(top_k=5, repetition_penalty=1.2, temperature=0.5, top_p=0.9)])
    plain, more = ({key: value for key, value in body.items() if key not in ("model", "messages", "seed")} for body in server.bodies)
    if "top_k" in plain:
        plain, more = more, plain
    assert plain == {"max_tokens": 7, "temperature": 0.0, "top_p": 1.0, "stop": ["END"]}
    assert more == {"max_tokens": 1024, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "repetition_penalty": 1.2}
    assert engine.info.details["not_sent"] == ["top_k", "repetition_penalty"]


def test_a_vllm_server_is_told_every_field_so_that_a_generation_config_has_no_say(rig: Rig) -> None:
    server = rig.server()
    engine = rig.engine(server, server="vllm")
    answer(engine, text_only())
    said = {"temperature": 0.0, "top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0, "min_p": 0.0}
    assert said.items() <= server.bodies[0].items()
    assert engine.info.details["not_sent"] == []


def test_extra_fields_and_template_arguments_are_sent_as_they_are(rig: Rig) -> None:
    server = rig.server()
    answer(rig.engine(server, extra_body={"reasoning_effort": "low"}, chat_template_kwargs={"enable_thinking": False}), text_only())
    assert server.bodies[0]["reasoning_effort"] == "low"
    assert server.bodies[0]["chat_template_kwargs"] == {"enable_thinking": False}


def test_draws_differ_by_their_seed_which_follows_from_the_key(rig: Rig) -> None:
    server = rig.server()
    engine = rig.engine(server)
    hot = [replace(text_only(temperature=1.0), draw=draw) for draw in range(3)]
    first, again = answers(engine, hot), answers(engine, hot)
    assert [response.text for response in first] == [response.text for response in again]
    assert len({response.text for response in first}) == 3
    answer(engine, text_only())
    assert "seed" not in server.bodies[-1]
    assert all(0 <= body["seed"] < 2**31 for body in server.bodies[:-1])


def test_a_prefill_is_gone_on_from_where_the_server_can_and_refused_elsewhere(rig: Rig) -> None:
    server = rig.server()
    request = Request(Generate((Message("user", ("Red?",)),), prefill="It is"))
    with pytest.raises(Refused, match=r"declare server = 'vllm' or prefill = true"):
        answer(rig.engine(server), request)
    assert not server.arrived
    answer(rig.engine(server, server="vllm"), request)
    answer(rig.engine(server, prefill=True), request)
    for body in server.bodies:
        assert body["messages"][-1] == {"role": "assistant", "content": "It is"}
    flags = {"continue_final_message": True, "add_generation_prompt": False}
    assert flags.items() <= server.bodies[0].items()
    assert not flags.keys() & server.bodies[1].keys()


def test_the_key_is_sent_and_is_in_nothing_that_is_written_down(rig: Rig) -> None:
    server = rig.server()
    engine = rig.engine(server, api_key="sk-secret")
    answer(engine, text_only())
    assert server.arrived[0].headers["authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in f"{engine.info} {engine.options}"


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply("A"), Response("A", "stop")),
        (Reply("A", "length"), Response("A", "length")),
        (Reply("A", "content_filter"), Response("A", "refused")),
        (Reply("", message={"content": None, "refusal": "I cannot."}), Response("", "refused")),
        (Reply("A", message={"reasoning": "hm"}), Response("A", reasoning="hm")),
        (Reply("A", message={"reasoning_content": "hm"}), Response("A", reasoning="hm")),
        (Reply("A", message={"reasoning": None, "reasoning_content": ""}), Response("A")),
        (Reply("", "length", message={"content": None, "reasoning": "hm hm"}), Response("", "length", "hm hm")),
        (Reply("", message={"content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]}), Response("AB")),
        (Reply(""), Response("")),
    ],
)
def test_a_reply_is_read_with_its_thoughts_and_why_it_ended(rig: Rig, reply: Reply, expected: Response) -> None:
    response = answer(rig.engine(rig.server(reply)), text_only())
    assert replace(response, tokens_in=0, tokens_out=0, seconds=0.0) == expected


def test_a_stop_string_that_the_server_left_in_is_cut_here(rig: Rig) -> None:
    response = answer(rig.engine(rig.server(Reply("four END more", "length"))), text_only(stop=("no", " END")))
    assert (response.text, response.finish) == ("four", "stop")


def test_tokens_are_the_servers_and_seconds_are_measured(rig: Rig) -> None:
    server = rig.server(Status(500), Reply("A", after=0.2, usage={"prompt_tokens": 7, "completion_tokens": 3}))
    response = answer(rig.engine(server), text_only())
    assert (response.tokens_in, response.tokens_out) == (7, 3)
    assert response.seconds >= 0.2


def test_what_the_server_reports_as_moderated_is_a_refused_answer(rig: Rig) -> None:
    server = rig.server(Status(400, openai_error("The prompt was filtered.", "prompt", "content_filter")))
    assert answer(rig.engine(server, max_cost=1.0, price_in=1.0), text_only()).finish == "refused"


# ---------------------------------------------------------------- fields that a model will not take


def picky(*without: str, words: str = NOT_SUPPORTED) -> Callable[[int, dict[str, Any]], Deed]:
    """Refuses requests that have one of the fields, as OpenAI does."""

    def deed(number: int, body: dict[str, Any]) -> Deed:
        name = next((name for name in without if name in body), None)
        if name is None:
            return Reply()
        more = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
        return Status(400, openai_error(words.format(name) + more, name, "unsupported_parameter"))

    return deed


def test_the_later_name_of_the_token_limit_is_learnt_once(rig: Rig) -> None:
    server = rig.server(then=picky("max_tokens"))
    engine = rig.engine(server, attempts=1)
    assert answer(engine, text_only(max_tokens=9)).text == "heard | Yes?"
    assert [body.get("max_completion_tokens") for body in server.bodies] == [None, 9]
    answer(engine, text_only(max_tokens=8))
    assert [(body.get("max_tokens"), body.get("max_completion_tokens")) for body in server.bodies] == [(9, None), (None, 9), (None, 8)]
    told = rig.engine(server, token_limit="max_completion_tokens")
    answer(told, text_only(max_tokens=5))
    assert server.bodies[-1]["max_completion_tokens"] == 5
    assert len(server.arrived) == 4


def test_a_limit_that_is_too_large_is_no_reason_to_rename_it(rig: Rig) -> None:
    words = "'max_tokens' or 'max_completion_tokens' is too large: 99. This model's maximum context length is 64 tokens"
    server = rig.server(then=lambda number, body: Status(400, openai_error(words, "max_tokens")))
    with pytest.raises(Gap, match="too large"):
        answer(rig.engine(server), text_only())
    assert len(server.arrived) == 1


def test_a_refused_temperature_is_left_out_and_stated(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    words = "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."
    server = rig.server(then=lambda number, body: Status(400, openai_error(words)) if "temperature" in body else Reply())
    engine = rig.engine(server, attempts=1)
    found = answers(engine, [text_only(str(number)) for number in range(12)])
    assert all(isinstance(response, Response) for response in found)
    assert engine.info.details["not_taken"] == ["temperature"]
    assert [record.levelname for record in caplog.records if "does not take the field 'temperature'" in record.message] == ["WARNING"]
    before = len(server.arrived)
    answer(engine, text_only())
    assert len(server.arrived) == before + 1
    assert "seed" in server.bodies[-1]


def test_several_fields_are_left_out_one_after_the_other(rig: Rig) -> None:
    server = rig.server(then=picky("max_tokens", "temperature", "top_p", "stop"))
    engine = rig.engine(server, attempts=1)
    assert answer(engine, text_only(stop=("es?",))).text == "heard | Y"
    assert sorted(engine.info.details["not_taken"]) == ["max_tokens", "stop", "temperature", "top_p"]


@pytest.mark.parametrize("sampling", [{"temperature": 0.7}, {"top_p": 0.5, "temperature": 1.0}, {"top_k": 4}])
def test_a_refused_field_that_was_asked_for_is_an_error_not_another_reply(rig: Rig, sampling: dict[str, float]) -> None:
    name = next(iter(sampling))
    with pytest.raises(Refused, match=f"does not take the field '{name}' as it is asked for"):
        answer(rig.engine(rig.server(then=picky(name))), text_only(**sampling))


# ---------------------------------------------------------------- what the user can mend


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_stops_the_run_and_is_not_repeated(rig: Rig, status: int) -> None:
    server = rig.server(then=lambda number, body: Status(status, openai_error("Incorrect API key provided: sk-secret")))
    with pytest.raises(UserError, match=r"expected a key for http.*got one that it refuses: set OPENAI_API_KEY") as caught:
        answer(rig.engine(server, api_key="sk-secret"), text_only())
    assert "sk-secret" not in str(caught.value)
    with pytest.raises(UserError, match="got none: set OPENAI_API_KEY"):
        answer(rig.engine(server), text_only())
    assert len(server.arrived) == 2


def test_openai_itself_is_not_asked_without_a_key() -> None:
    with pytest.raises(UserError, match=r"needs a key, and there is none: set MY_KEY, or name another server with --base-url"):
        OpenAI("gpt", OpenAIOptions(), key_name="MY_KEY")


def test_an_unknown_model_is_told_with_the_nearest_one(rig: Rig) -> None:
    gone = Status(404, openai_error("The model `tinny` does not exist."))
    server = rig.server(then=lambda number, body: gone, models=("tiny", "large"))
    with pytest.raises(UserError, match=r"no model 'tinny' at http.*does not exist.*Did you mean 'tiny'"):
        answer(rig.engine(server, "tinny"), text_only())


@pytest.mark.parametrize("listed", ["[" * 100_000, '{"data": {"id": 7}}', '{"data": [7]}', '{"data": []}', "{}"])
def test_an_unknown_model_is_told_whatever_the_server_lists(rig: Rig, listed: str) -> None:
    server = rig.server(then=lambda number, body: Status(404, openai_error("No such model.")), listed=listed)
    with pytest.raises(UserError, match=r"no model 'tinny' at http.*The base URL must be"):
        answer(rig.engine(server, "tinny"), text_only())


def test_a_base_url_without_its_end_is_told(rig: Rig) -> None:
    server = rig.server()
    with pytest.raises(UserError, match=r"the part before /chat/completions, mostly ending in /v1"):
        answer(rig.engine(server.url.removesuffix("/v1")), text_only())


@pytest.mark.parametrize("deed", [Status(402), Status(429, openai_error("You exceeded your quota", None, "insufficient_quota"))], ids=repr)
def test_an_empty_account_stops_the_run(rig: Rig, deed: Deed) -> None:
    with pytest.raises(UserError, match="nothing is left to spend on http"):
        answer(rig.engine(rig.server(deed)), text_only())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base_url": "localhost:8000"}, r"expected a base URL such as http://localhost:8000/v1, got 'localhost:8000'"),
        ({"base_url": "http://localhost:80000/v1"}, "expected a base URL such as"),
        ({"base_url": "ftp://one/v1"}, "expected a base URL such as"),
        ({"server": "vlm"}, "Did you mean 'vllm'"),
        ({"token_limit": "tokens"}, "no token_limit 'tokens'"),
        ({"concurrency": 0}, "expected concurrency above 0, got 0"),
        ({"factor": 28}, "expected factor, min_pixels and max_pixels together"),
        ({"factor": 28, "min_pixels": 9, "max_pixels": 8}, "the bounds in order"),
        ({"max_cost": 1.0}, "expected prices with --max-cost, found none: give --engine-args price_in=A"),
        ({"extra_body": "{"}, "expected extra_body as JSON, such as .*: Expecting property name"),
        ({"chat_template_kwargs": "[]"}, "expected chat_template_kwargs as an object of JSON"),
        ({"extra_body": '{"n": 2}'}, "that evalkit does not set itself, got n"),
        ({"extra_body": {"temperature": 1, "user": "me"}}, "that evalkit does not set itself, got temperature"),
    ],
)
def test_a_wrong_option_is_told_in_words(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        OpenAIOptions(**options)


@pytest.mark.parametrize("text", ['{"api_key": "planted"', '["planted"]', '"planted"'])
def test_a_wrong_option_that_may_hold_a_key_is_not_repeated(text: str) -> None:
    with pytest.raises(UserError) as told:
        OpenAIOptions(extra_body=text)  # type: ignore[arg-type]
    assert "planted" not in "".join(traceback.format_exception(told.value))


# ---------------------------------------------------------------- the fingerprint


def test_the_fingerprint_holds_what_changes_answers_and_nothing_else(rig: Rig) -> None:
    def fingerprint(model: str = "tiny", url: str = "http://one:8000/v1", key: str = "", **options: Any) -> str:
        return rig.engine(url, model, api_key=key, **options).info.fingerprint

    known = fingerprint()
    assert (
        known == fingerprint(url="http://one:9000/v1") == fingerprint(key="k") == fingerprint(concurrency=3, timeout=5.0, max_seconds=9.0)
    )
    changed = {
        fingerprint("other"),
        fingerprint(url="http://two:8000/v1"),
        fingerprint(system="Be brief."),
        fingerprint(server="vllm"),
        fingerprint(revision="step 200"),
        fingerprint(extra_body={"reasoning_effort": "low"}),
        fingerprint(chat_template_kwargs={"enable_thinking": False}),
        fingerprint(factor=28, min_pixels=3136, max_pixels=200704),
    }
    assert len(changed | {known}) == 9


def test_a_name_is_made_safe_for_a_folder(rig: Rig) -> None:
    engine = rig.engine("http://one/v1", "org/model")
    assert (engine.info.name, engine.info.details["model"]) == ("org--model", "org/model")
