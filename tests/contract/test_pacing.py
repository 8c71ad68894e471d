"""How many requests at once, how long between attempts, and when a server is taken for dead: rules tested without a clock."""

import asyncio
import heapq
import random
from collections import deque

import pytest

from evalkit.engines.pacing import LONGEST, START, STREAK, Pace, Pulse, pause, retry_after


def simulate(pace: Pace, answers: int, capacity: int) -> None:
    """Answers of a second each from a server that serves `capacity` requests at once, while there is always more to ask."""
    asked, free = deque([0.0] * int(pace.limit)), [0.0] * capacity
    for _ in range(answers):
        began = asked.popleft()
        now = max(heapq.heappop(free), began) + 1.0
        heapq.heappush(free, now)
        pace.under_way = len(asked) + 1
        pace.answered(began, now)
        asked.extend([now] * (int(pace.limit) - len(asked)))


def test_the_limit_doubles_each_round_up_to_its_bound() -> None:
    pace = Pace(128, timeout=600)
    assert pace.limit == START
    simulate(pace, START + 1, capacity=1000)
    assert pace.limit >= 2 * START
    simulate(pace, 128, capacity=1000)
    assert pace.limit == 128


def test_the_limit_grows_slowly_once_it_brings_no_more_answers_a_second() -> None:
    fast, slow = Pace(100_000, timeout=1e9), Pace(100_000, timeout=1e9)
    simulate(fast, 1000, capacity=2000)
    simulate(slow, 1000, capacity=16)
    assert fast.limit > 900
    assert 16 <= slow.limit < 250


def test_the_limit_is_halved_once_for_what_was_under_way_together() -> None:
    pace = Pace(64, timeout=600)
    pace.limit = 64.0
    for _ in range(10):
        pace.pressed(began=1.0, now=2.0)
    assert pace.limit == 32
    pace.pressed(began=2.5, now=3.0)
    assert pace.limit == 16
    for round_ in range(10):
        pace.pressed(began=4.0 + round_, now=4.5 + round_)
    assert pace.limit == 1


def test_after_a_fall_the_limit_grows_by_about_one_a_round() -> None:
    pace = Pace(64, timeout=600)
    pace.limit = 32.0
    pace.pressed(began=0.0, now=0.0)
    for _ in range(16):
        pace.under_way = int(pace.limit)
        pace.answered(began=1.0, now=2.0)
    assert pace.limit == pytest.approx(17, abs=0.1)


def test_the_limit_does_not_grow_where_it_is_not_reached_or_answers_take_too_long() -> None:
    pace = Pace(64, timeout=10)
    pace.under_way = START - 1
    pace.answered(began=0.0, now=1.0)
    pace.under_way = START
    pace.answered(began=0.0, now=6.0)
    assert pace.limit == START


def test_turns_come_in_order_and_those_who_leave_take_none() -> None:
    async def take_turns() -> list[int]:
        pace, order, gate = Pace(1, timeout=10), list[int](), asyncio.Event()

        async def work(number: int) -> None:
            async with pace.turn():
                order.append(number)
                assert pace.under_way == 1
                await gate.wait()

        tasks = [asyncio.ensure_future(work(number)) for number in range(6)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        tasks[3].cancel()
        gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert pace.under_way == 0
        return order

    assert asyncio.run(take_turns()) == [0, 2, 4, 5]


def test_one_let_in_and_called_off_at_the_same_moment_gives_its_turn_away() -> None:
    async def leave_late() -> int:
        pace = Pace(1, timeout=10)

        async def work() -> None:
            async with pace.turn():
                await asyncio.sleep(0)

        async with pace.turn():
            first, second = asyncio.ensure_future(work()), asyncio.ensure_future(work())
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert not second.cancelled()
        return pace.under_way

    assert asyncio.run(leave_late()) == 0


def test_a_server_is_dead_after_a_streak_over_some_time_only() -> None:
    pulse = Pulse(patience=30)
    for number in range(STREAK * 3):
        pulse.failed(began=float(number) / 10, now=float(number) / 10)
    assert not pulse.dead.is_set()
    pulse.failed(began=31.0, now=31.0)
    assert pulse.dead.is_set()
    slow = Pulse(patience=30)
    for _ in range(STREAK - 1):
        slow.failed(began=0.0, now=600.0)
    slow.beat()
    slow.failed(began=0.0, now=600.0)
    assert not slow.dead.is_set()
    for _ in range(STREAK):
        slow.failed(began=600.0, now=1200.0)
    assert slow.dead.is_set()


def test_pauses_are_drawn_below_a_bound_that_doubles() -> None:
    chance = random.Random(0)
    for attempt in range(1, 12):
        bound = min(0.5 * 2 ** (attempt - 1), LONGEST)
        drawn = [pause(attempt, 0.5, None, chance) for _ in range(400)]
        assert 0 <= min(drawn) < 0.1 * bound
        assert 0.9 * bound < max(drawn) <= bound


def test_what_a_server_asks_to_wait_is_waited_in_full() -> None:
    chance = random.Random(0)
    assert all(7.0 <= pause(1, 0.5, 7.0, chance) <= 7.5 for _ in range(100))


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("-3", 0.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37.0),
        ("Sun, 06 Nov 1994 08:48:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_retry_after_is_read_in_both_forms(said: str, seconds: float | None) -> None:
    now = 784111740.0  # 1994-11-06 08:49:00 GMT
    assert retry_after({"retry-after": said}, now) == seconds


def test_a_wait_until_a_date_goes_by_the_servers_clock_where_it_says_what_that_is() -> None:
    """Else a clock that is an hour behind waits an hour too long."""
    headers = {"retry-after": "Thu, 01 Jan 1970 02:00:05 GMT", "date": "Thu, 01 Jan 1970 02:00:00 GMT"}
    assert retry_after(headers, 3600.0) == 5.0
    assert retry_after(headers | {"date": "some time"}, 7200.0) == 5.0
