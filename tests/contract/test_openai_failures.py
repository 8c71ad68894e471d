"""The openai engine when things go wrong: no error is ever an answer, and a server is asked no more than it can take."""

import asyncio
import gzip
import json
import random
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import pytest

from evalkit.engines.pacing import START
from evalkit.engines.wire import Package, Plain, wire
from evalkit.errors import Gap, Refused, UserError
from evalkit.types import Generate, Response

from .engines import answer, answers, ask
from .server import Arrived, Bytes, Cut, Deed, Hang, Raw, Reply, Rig, Server, Status, openai_error, text_only


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Servers and engines of one test."""
    with Rig() as made:
        yield made


# ---------------------------------------------------------------- an error is never an answer

PASSING: list[Deed] = [
    Status(429, openai_error("slow down")),
    Status(500, "<html><h1>Internal Server Error</h1></html>"),
    Status(502, "Bad Gateway"),
    Status(503, openai_error("overloaded")),
    Status(529),
    Status(408),
    Cut(),
    Cut(half=True),
    Raw(b"<html>Welcome to the network</html>", "text/html"),
    Raw(b"", "application/json"),
    Raw(b'{"choices": [{"message": {"content": "cut'),
    Raw(b'"A"'),
    Raw(b"[]"),
    Raw(b'{"choices": []}'),
    Raw(b'{"choices": null}'),
    Raw(b'{"choices": [{"message": null}]}'),
    Raw(b'{"choices": [{"message": {"role": "assistant", "content": null}, "finish_reason": "stop"}]}'),
    Raw(b'{"choices": [{"message": {"content": 7}}]}'),
    Raw(b'{"error": {"message": "upstream failed", "code": 502}}'),
    Raw(b"[" * 100_000),
    Status(500, "[" * 100_000),
    Raw(b'{"choices": [{"message": {"content": "so far"}, "finish_reason": "abort"}]}'),
    Raw(b'{"choices": [{"message": {"content": ""}, "finish_reason": "error", "error": {"message": "upstream"}}]}'),
]


@pytest.mark.parametrize("package", [False, True], ids=["plain", "package"])
@pytest.mark.parametrize("deed", PASSING, ids=repr)
def test_a_passing_failure_is_tried_again_and_one_that_stays_is_a_gap(rig: Rig, deed: Deed, package: bool) -> None:
    server = rig.server(deed, deed)
    assert answer(rig.engine(server, package=package), text_only()).text == "heard | Yes?"
    assert len(server.arrived) == 3
    stubborn = rig.server(then=lambda number, body: deed)
    with pytest.raises(Gap, match=r"no answer from http://127.* in 4 attempts"):
        answer(rig.engine(stubborn, package=package), text_only())
    assert len(stubborn.arrived) == 4


@pytest.mark.parametrize("deed", [Hang(), Hang(60, drip=True), Reply(after=60)], ids=repr)
def test_an_attempt_ends_at_its_time_however_the_server_holds_on(rig: Rig, deed: Deed) -> None:
    engine = rig.engine(rig.server(deed, Reply()), timeout=1.0)
    assert answer(engine, text_only()).text == "heard | Yes?"
    with pytest.raises(Gap, match=r"no answer within 0\.3 s"):
        answer(rig.engine(rig.server(deed, deed), timeout=0.3, attempts=2), text_only())


def test_a_request_ends_at_its_deadline(rig: Rig) -> None:
    server = rig.server(then=lambda number, body: Hang())
    with pytest.raises(Gap, match="no answer from"):
        answer(rig.engine(server, timeout=0.5, deadline=1.2, attempts=50), text_only())
    assert 1 < len(server.arrived) <= 4


def test_one_that_the_server_cannot_serve_is_a_gap_at_once_and_the_others_go_on(rig: Rig) -> None:
    long = Status(400, openai_error("This model's maximum context length is 64 tokens. However, your prompt contains 99", "input_tokens"))
    server = rig.server(then=lambda number, body: long if "long" in str(body) else Reply())
    found = answers(rig.engine(server), [text_only("one"), text_only("long"), text_only("two")])
    assert [response.text for response in found[::2]] == ["heard | one", "heard | two"]
    assert isinstance(found[1], Gap)
    assert "maximum context length is 64" in str(found[1])
    assert len(server.arrived) == 3


def test_300_requests_with_a_fifth_misbehaving_all_end_as_their_own_answers(rig: Rig) -> None:
    chance = random.Random(0)
    server = rig.server(then=lambda number, body: chance.choice([*PASSING, Hang(0.2)]) if chance.random() < 0.2 else Reply())
    requests = [ask(number % 64, draw=number) for number in range(300)]
    found = answers(rig.engine(server, attempts=10), requests)
    for request, response in zip(requests, found, strict=True):
        assert isinstance(request.kind, Generate)
        assert isinstance(response, Response)
        assert response.text.startswith(f"heard | {request.kind.messages[0].content[1]} | ")
    assert len(server.arrived) > 330


def test_with_few_attempts_some_of_them_are_gaps_and_none_is_an_error(rig: Rig) -> None:
    chance = random.Random(1)
    server = rig.server(then=lambda number, body: chance.choice(PASSING) if chance.random() < 0.3 else Reply("right"))
    found = answers(rig.engine(server, attempts=2, patience=60), [text_only(str(number)) for number in range(200)])
    gaps = [one for one in found if isinstance(one, Gap)]
    assert 0 < len(gaps) < 100
    assert {one.text for one in found if isinstance(one, Response)} == {"right"}
    assert len(gaps) + sum(isinstance(one, Response) for one in found) == 200


# ---------------------------------------------------------------- the wire

GOOD = b'{"choices": [{"message": {"content": "A"}, "finish_reason": "stop"}]}'


def test_an_https_server_is_asked_by_the_openai_package() -> None:
    assert isinstance(wire("https://api.openai.com/v1", "key", 10.0), Package)
    assert isinstance(wire("http://localhost:8000/v1", "", 10.0), Plain)


def test_both_wires_say_the_same(rig: Rig) -> None:
    server = rig.server()
    found = [answer(rig.engine(server, package=package, api_key="k"), ask(3, temperature=1.0, stop=("x",))) for package in (False, True)]
    assert found[0] == replace(found[1], seconds=found[0].seconds)
    assert server.bodies[0] == server.bodies[1]
    assert {arrived.headers["authorization"] for arrived in server.arrived} == {"Bearer k"}
    assert {arrived.headers["content-type"] for arrived in server.arrived} == {"application/json"}


@pytest.mark.parametrize("package", [False, True], ids=["plain", "package"])
def test_errors_and_time_outs_mean_the_same_on_both_wires(rig: Rig, package: bool) -> None:
    with pytest.raises(UserError, match="set OPENAI_API_KEY"):
        answer(rig.engine(rig.server(Status(401, openai_error("no"))), package=package), text_only())
    with pytest.raises(UserError, match="Did you mean 'tiny'"):
        answer(rig.engine(rig.server(Status(404, openai_error("no"))), "tinny", package=package), text_only())
    server = rig.server(Status(429, headers={"Retry-After": "0.5"}))
    answer(rig.engine(server, package=package), text_only())
    assert intervals(server.arrived)[0] >= 0.5
    with pytest.raises(Gap, match=r"no answer within 0\.3 s"):
        answer(rig.engine(rig.server(Hang(60, drip=True)), package=package, timeout=0.3, attempts=1), text_only())
    with pytest.raises(Gap, match=r"(no connection|the connection failed): .+"):
        answer(rig.engine("http://127.0.0.1:9/v1", package=package, attempts=1), text_only())


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in GOOD)
        + b"0\r\nlast: one\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(GOOD) + GOOD,
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + GOOD,
        b"HTTP/1.0 200 OK\r\n\r\n" + GOOD,
    ],
    ids=["chunked", "after a 100", "to the end", "HTTP/1.0"],
)
def test_every_way_to_send_a_body_is_read(rig: Rig, data: bytes) -> None:
    engine = rig.engine(rig.server(Bytes(data), Bytes(data)), attempts=1)
    assert [answer(engine, text_only()).text for _ in range(3)] == ["A", "A", "heard | Yes?"]


def test_a_kept_connection_that_the_server_has_ended_is_no_failed_attempt(rig: Rig) -> None:
    server = rig.server(Reply(), Bytes(b""))
    engine = rig.engine(server, attempts=1)
    assert [answer(engine, text_only()).text for _ in range(2)] == ["heard | Yes?"] * 2
    assert server.connections == 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n" + GOOD,
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n" + GOOD,
        b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + GOOD,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40\r\n" + GOOD[:50],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n" + GOOD,
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
    ],
    ids=range(9),
)
def test_what_is_no_whole_reply_is_tried_again(rig: Rig, data: bytes) -> None:
    assert answer(rig.engine(rig.server(Bytes(data))), text_only()).text == "heard | Yes?"
    with pytest.raises(Gap, match="in 1 attempts"):
        answer(rig.engine(rig.server(Bytes(data)), attempts=1), text_only())


@pytest.mark.parametrize("package", [False, True])
def test_a_reply_without_end_is_none(package: bool, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.engines.wire.MOST", 1 << 20)
    long = b"x" * (1 << 20) + b"x"
    for head in (b"content-length: %d\r\n\r\n" % (1 << 40), b"transfer-encoding: chunked\r\n\r\n%x\r\n" % len(long), b"\r\n"):
        with pytest.raises(Gap, match="the reply is longer than 1 MiB"):
            answer(rig.engine(rig.server(Bytes(b"HTTP/1.1 200 OK\r\n" + head + long)), attempts=1, package=package), text_only())


def test_nor_is_one_that_is_long_once_it_is_unpacked(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package asks for gzip, and takes it."""
    monkeypatch.setattr("evalkit.engines.wire.MOST", 1 << 20)

    def packed(body: bytes) -> Bytes:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
        return Bytes(head % len(gzip.compress(body)) + gzip.compress(body))

    said = json.dumps({"choices": [{"message": {"content": "packed"}, "finish_reason": "stop"}]}).encode()
    asking = rig.engine(rig.server(packed(said), packed(said + b" " * (1 << 20))), attempts=1, package=True)
    assert answer(asking, text_only()).text == "packed"
    with pytest.raises(Gap, match="the reply is longer than 1 MiB"):
        answer(asking, text_only("And now?"))


@pytest.mark.parametrize("words", ["proxy-hush", "Basic dXNlcjpwcm94eS1odXNo"])
def test_what_a_proxy_says_is_not_repeated_for_it_may_be_the_password(
    words: str, rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def serve() -> None:
        connection, _ = proxy.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(f"HTTP/1.1 407 {words}\r\ncontent-length: 0\r\n\r\n".encode())

    with socket.create_server(("127.0.0.1", 0)) as proxy:
        serving = threading.Thread(target=serve)
        serving.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:proxy-hush@127.0.0.1:{proxy.getsockname()[1]}")
        with pytest.raises(Gap, match="the proxy answered 407") as told:
            answer(rig.engine("https://example.invalid/v1", attempts=1), text_only())
        serving.join()
    assert words not in str(told.value) + caplog.text


def test_a_proxy_that_nothing_here_speaks_to_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:hush@127.0.0.1:9")
    with pytest.raises(UserError, match="cannot use the proxy that HTTPS_PROXY") as told:
        answer(rig.engine("https://example.invalid/v1", attempts=1), text_only())
    assert "hush" not in str(told.value)


def test_a_redirect_is_told(rig: Rig) -> None:
    with pytest.raises(UserError, match=r"redirects to https://elsewhere/v1: name that one with --base-url"):
        answer(rig.engine(rig.server(Status(308, headers={"location": "https://elsewhere/v1"}))), text_only())


# ---------------------------------------------------------------- pace


def intervals(arrived: list[Arrived]) -> list[float]:
    """Seconds between one request and the next."""
    return [later.at - sooner.at for sooner, later in pairwise(arrived)]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for(rig: Rig, form: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    server = rig.server(Status(429, headers={"retry-after": "0.6" if form == "seconds" else date}))
    answer(rig.engine(server), text_only())
    assert intervals(server.arrived)[0] >= 0.6


def test_a_wait_beyond_the_deadline_is_a_gap_at_once(rig: Rig) -> None:
    server = rig.server(Status(429, openai_error("per day"), {"retry-after": "86400"}))
    with pytest.raises(Gap, match=r"asks to wait 86400 s \(status 429: per day\): run again then"):
        answer(rig.engine(server), text_only())


def test_pauses_grow_and_are_drawn(rig: Rig) -> None:
    server = rig.server(then=lambda number, body: Status(500))
    found = answers(rig.engine(server, first_pause=0.2, patience=60), [text_only(str(number)) for number in range(40)])
    assert all(isinstance(gap, Gap) for gap in found)
    waits: dict[str, list[float]] = {}
    for arrived in server.arrived:
        waits.setdefault(arrived.body["messages"][0]["content"], []).append(arrived.at)
    first = [times[1] - times[0] for times in waits.values()]
    third = [times[3] - times[2] for times in waits.values()]
    assert sum(third) > sum(first)
    assert max(first) - min(first) > 0.02


def test_concurrency_grows_where_the_server_keeps_up_and_never_beyond_its_bound(rig: Rig) -> None:
    server = rig.server(then=lambda number, body: Reply(after=0.3))
    answers(rig.engine(server, concurrency=40), [text_only(str(number)) for number in range(200)])
    assert START < server.most_at_once <= 40


def test_concurrency_falls_where_the_server_is_asked_too_much(rig: Rig) -> None:
    server: Server
    busy: list[bool] = []

    def deed(number: int, body: dict[str, Any]) -> Deed:
        busy.append(server.at_once > 4)
        return Status(429) if busy[-1] else Reply(after=0.05)

    server = rig.server(then=deed)
    found = answers(rig.engine(server, attempts=12, first_pause=0.05), [text_only(str(number)) for number in range(150)])
    assert all(isinstance(response, Response) for response in found)
    assert sum(busy[:16]) > 2 * sum(busy[-64:]) / 4


# ---------------------------------------------------------------- a dead server, budgets, closing


def test_a_server_that_is_not_there_ends_a_run_soon(rig: Rig) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    engine = rig.engine(url, attempts=1000, patience=0.3)
    found = answers(engine, [text_only(str(number)) for number in range(400)])
    assert all(isinstance(gap, Gap) for gap in found)
    assert sum("gave nothing but failures" in str(gap) for gap in found) > 300


def test_a_server_that_wakes_up_in_time_loses_nothing(rig: Rig) -> None:
    server = rig.server(*[Cut()] * 30)
    found = answers(rig.engine(server, attempts=20, patience=60), [text_only(str(number)) for number in range(30)])
    assert all(isinstance(response, Response) for response in found)


def test_cost_is_counted_and_its_bound_ends_the_asking(rig: Rig) -> None:
    server = rig.server(then=lambda number, body: Reply("A", usage={"prompt_tokens": 1000, "completion_tokens": 100}))
    engine = rig.engine(server, price_in=1.0, price_out=10.0, max_cost=0.02, concurrency=1)
    found = answers(engine, [text_only(str(number)) for number in range(20)])
    assert [isinstance(one, Response) for one in found] == [True] * 10 + [False] * 10
    assert engine.cost == pytest.approx(0.02)
    assert str(found[-1]) == "the budget of 0.02 is spent: run again with a higher --max-cost"
    assert len(server.arrived) == 10


def test_a_budget_needs_a_server_that_counts_tokens(rig: Rig) -> None:
    server = rig.server(Reply("A", usage={}))
    with pytest.raises(Refused, match="reports no tokens, so no cost can be known"):
        answer(rig.engine(server, price_in=1.0, max_cost=1.0), text_only())


@pytest.mark.parametrize("count", ["1" + "0" * 400, "-1", "1e400", "true", '"7"', "[]"])
def test_a_number_of_tokens_that_cannot_be_is_none(rig: Rig, count: str) -> None:
    said = f'{{"choices": [{{"message": {{"content": "A"}}}}], "usage": {{"prompt_tokens": {count}, "completion_tokens": 3}}}}'
    engine = rig.engine(rig.server(Raw(said.encode())), price_in=1.0)
    response = answer(engine, text_only())
    assert (response.text, response.tokens_in, response.tokens_out, engine.cost) == ("A", 0, 3, 0.0)


def test_time_that_is_over_ends_the_asking(rig: Rig) -> None:
    server = rig.server(then=lambda number, body: Reply(after=0.1))
    found = answers(rig.engine(server, max_seconds=0.35, concurrency=1), [text_only(str(number)) for number in range(20)])
    assert 1 <= sum(isinstance(one, Response) for one in found) <= 5
    assert str(found[-1]) == "the 0.35 seconds of --max-time are over: run again to go on"


def test_callers_of_several_loops_and_threads_share_the_connections(rig: Rig) -> None:
    server = rig.server()
    engine = rig.engine(server)
    for number in range(5):
        assert answer(engine, text_only(str(number))).text == f"heard | {number}"
    assert server.connections == 1
    found: list[Response] = []
    threads = [threading.Thread(target=lambda: found.append(answer(engine, text_only("thread")))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [response.text for response in found] == ["heard | thread"] * 4


def test_closing_ends_what_is_under_way_as_gaps(rig: Rig) -> None:
    engine = rig.engine(rig.server(then=lambda number, body: Hang()))

    async def close_meanwhile() -> list[Any]:
        tasks = [asyncio.ensure_future(engine.answer(text_only(str(number)))) for number in range(20)]
        await asyncio.sleep(0.3)
        engine.close()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert {str(gap) for gap in asyncio.run(close_meanwhile())} == {"the engine was closed"}
    with pytest.raises(Gap, match="the engine was closed"):
        answer(engine, text_only())
    engine.close()


def test_a_caller_who_leaves_ends_its_request(rig: Rig) -> None:
    server = rig.server(Hang())
    engine = rig.engine(server, concurrency=1)

    async def leave() -> Response:
        task = asyncio.ensure_future(engine.answer(text_only("hangs")))
        await asyncio.to_thread(server.asked.wait)
        task.cancel()
        return await engine.answer(text_only("next"))

    assert asyncio.run(leave()).text == "heard | next"
