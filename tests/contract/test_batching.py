"""Batches are of like with like, a failure stays with its request, and memory that runs out halves them."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from evalkit.engines.batching import Batcher
from evalkit.errors import Gap, ImageError
from evalkit.types import Generate, Message, Request, Response, Sampling

Run = Callable[[list[Request]], list[Response]]


def ask(text: str, tokens: int = 8) -> Request:
    return Request(Generate((Message("user", (text,)),), Sampling(max_tokens=tokens)))


def text(request: Request) -> str:
    return str(request.kind.messages[0].content[0])  # type: ignore[union-attr]


def echo(requests: list[Request]) -> list[Response]:
    return [Response(text(request)) for request in requests]


class Bench:
    """Makes batchers that note the texts of each batch they run."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.made: list[Batcher[list[Request]]] = []

    def batcher(self, run: Run = echo, prepare: Callable[[list[Request]], list[Request]] = list, size: int = 4) -> Batcher[list[Request]]:
        def noted(requests: list[Request]) -> list[Response]:
            self.batches.append([text(request) for request in requests])
            return run(requests)

        made = Batcher(
            group=lambda request: request.kind.sampling,  # type: ignore[union-attr]
            length=lambda request: len(text(request)),
            prepare=prepare,
            run=noted,
            size=size,
            window=0.05,
        )
        self.made.append(made)
        return made


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    for batcher in made.made:
        batcher.close()


def texts(futures: "list[Future[Response]]") -> list[str]:
    return [future.result(60).text for future in futures]


def test_answers_come_in_the_order_of_their_requests(bench: Bench) -> None:
    batcher = bench.batcher()
    words = [f"{index} " + "x" * (index * 7 % 11) for index in range(50)]
    assert texts([batcher.submit(ask(word)) for word in words]) == words
    assert max(len(batch) for batch in bench.batches) == 4


def test_a_batch_holds_one_group_and_rows_of_like_length(bench: Bench) -> None:
    batcher = bench.batcher()
    requests = [ask("y" * length, tokens) for length in (1, 50, 2, 49, 3, 48, 4, 47) for tokens in (5, 6)]
    texts([batcher.submit(request) for request in requests])
    assert len(bench.batches) == 4
    assert all(max(map(len, batch)) - min(map(len, batch)) <= 3 for batch in bench.batches)


def test_memory_that_runs_out_halves_the_batch_for_good(bench: Bench) -> None:
    def small(requests: list[Request]) -> list[Response]:
        if len(requests) > 2:
            raise MemoryError("full")
        return echo(requests)

    batcher = bench.batcher(small, size=16)
    words = [str(index) for index in range(40)]
    assert texts([batcher.submit(ask(word)) for word in words]) == words
    assert batcher.size == 2
    bench.batches.clear()
    assert texts([batcher.submit(ask(word)) for word in words]) == words
    assert max(len(batch) for batch in bench.batches) == 2


def test_memory_that_runs_out_on_one_request_is_a_gap(bench: Bench) -> None:
    def never(requests: list[Request]) -> list[Response]:
        raise MemoryError("full")

    futures = [bench.batcher(never).submit(ask("a")) for _ in range(3)]
    for future in futures:
        with pytest.raises(Gap, match="out of memory on a single request: full"):
            future.result(60)


@pytest.mark.parametrize("cut", [lambda said: said[1:], lambda said: said + said[:1]], ids=["fewer", "more"])
def test_a_batch_with_another_number_of_responses_than_requests_gives_nobody_anothers(
    bench: Bench, cut: Callable[[list[Response]], list[Response]]
) -> None:
    batcher = bench.batcher(lambda requests: echo(requests) if len(requests) < 3 else cut(echo(requests)))
    words = [f"number {index}" for index in range(20)]
    assert texts([batcher.submit(ask(word)) for word in words]) == words
    lone = bench.batcher(lambda requests: cut(echo(requests)))
    with pytest.raises(Gap, match="expected 1 responses to a batch, got"):
        lone.submit(ask("number 0")).result(60)


def test_the_request_at_fault_alone_gets_its_reason(bench: Bench) -> None:
    def decoding(requests: list[Request]) -> list[Request]:
        if any(text(request) == "bad image" for request in requests):
            raise ImageError("cut off")
        return requests

    def running(requests: list[Request]) -> list[Response]:
        if any(text(request) == "bad run" for request in requests):
            raise ValueError("no such token")
        return echo(requests)

    batcher = bench.batcher(running, decoding, size=8)
    words = ["a", "bad image", "b", "c", "bad run", "d", "e", "f"]
    futures = [batcher.submit(ask(word)) for word in words]
    with pytest.raises(ImageError, match="cut off"):
        futures.pop(1).result(60)
    with pytest.raises(Gap, match="ValueError: no such token"):
        futures.pop(3).result(60)
    assert texts(futures) == ["a", "b", "c", "d", "e", "f"]
    assert batcher.size == 8


def test_the_next_batch_is_made_ready_while_one_runs(bench: Bench) -> None:
    prepared_second = threading.Event()
    count = iter(range(10))

    def prepare(requests: list[Request]) -> list[Request]:
        if next(count) == 1:
            prepared_second.set()
        return requests

    def run(requests: list[Request]) -> list[Response]:
        assert prepared_second.wait(60), "nothing was made ready"
        return echo(requests)

    batcher = bench.batcher(run, prepare, size=2)
    assert texts([batcher.submit(ask(word)) for word in "abcd"]) == list("abcd")


def test_one_who_cancels_in_the_queue_is_not_run(bench: Bench) -> None:
    running, go = threading.Event(), threading.Event()

    def run(requests: list[Request]) -> list[Response]:
        running.set()
        assert go.wait(60)
        return echo(requests)

    batcher = bench.batcher(run, size=1)
    futures = [batcher.submit(ask(word)) for word in "abcd"]
    assert running.wait(60)
    assert futures[3].cancel()
    go.set()
    assert texts(futures[:3]) == ["a", "b", "c"]
    assert [word for batch in bench.batches for word in batch] == ["a", "b", "c"]


def test_whoever_waits_when_it_closes_gets_a_gap_and_its_threads_end(bench: Bench) -> None:
    running, go = threading.Event(), threading.Event()

    def run(requests: list[Request]) -> list[Response]:
        running.set()
        assert go.wait(60)
        return echo(requests)

    others = set(threading.enumerate())
    batcher = bench.batcher(run, size=1)
    futures = [batcher.submit(ask(word)) for word in "abcd"]
    assert running.wait(60)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    with pytest.raises(Gap, match="closed"):
        futures[3].result(60)
    assert closing.is_alive(), "it did not wait for the batch in the model"
    go.set()
    closing.join(60)
    assert set(threading.enumerate()) <= others
    assert [word for batch in bench.batches for word in batch] == ["a"]
    assert futures[0].result(60).text == "a"
    for future in futures[1:]:
        with pytest.raises(Gap, match="closed"):
            future.result(60)
    with pytest.raises(Gap, match="closed"):
        batcher.submit(ask("e"))


def test_a_batch_that_fails_is_not_tried_again_in_halves_once_it_is_closed(bench: Bench) -> None:
    running, go = threading.Event(), threading.Event()

    def run(requests: list[Request]) -> list[Response]:
        running.set()
        assert go.wait(60)
        raise ValueError("no such token")

    batcher = bench.batcher(run)
    futures = [batcher.submit(ask(word)) for word in "abcd"]
    assert running.wait(60)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while not batcher._closed:
        time.sleep(0.001)
    go.set()
    for future in futures:
        with pytest.raises(Gap, match="closed"):
            future.result(60)
    assert len(bench.batches) == 1


def test_one_that_was_never_asked_closes_at_once_and_twice(bench: Bench) -> None:
    batcher = bench.batcher()
    batcher.close()
    batcher.close()
