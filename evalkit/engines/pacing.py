"""How fast a server is asked: how many requests at once, how long between attempts, and when to give it up.

None of it reads a clock: times are seconds of whatever clock the caller reads, so that each rule is tested without waiting.
"""

import asyncio
import email.utils
import math
import random
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

START = 16  # requests at once, before anything is known of the server
LONGEST = 30.0  # seconds between two attempts, where the server does not ask for more
STREAK = 20  # failures in a row before a server may be taken for dead


class Pace:
    """The number of requests that may be under way at once, found by asking.

    It doubles for each round of answers, as TCP's slow start does, until two rounds in a row bring no more answers a second; from
    then on it grows by an eighth a round. Where the server says that it is asked too much (429, 503, a time-out) it is halved,
    once for all requests that were under way then, and grows by one a round from there. It grows only while it is made use of
    and while answers take less than half of the time they may.

    Args:
        most: the largest number.
        timeout: seconds that an answer may take.
    """

    def __init__(self, most: int, timeout: float) -> None:
        self.limit = float(min(START, most))
        self.under_way = 0
        self._most, self._timeout = most, timeout
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._growth = 1.0
        self._eased = -math.inf
        self._round: tuple[float, int, int] | None = None  # when it began, its answers so far, and of how many it is
        self._best, self._flat = 0.0, 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits until one more request may be under way; it is until the block ends."""
        await self._take()
        try:
            yield
        finally:
            self.under_way -= 1
            self._admit()

    def answered(self, began: float, now: float) -> None:
        """Takes note of an answer to what was asked at `began`."""
        full = self.under_way >= int(self.limit)
        if self._growth == 1.0:
            self._measure(full, began, now)
        if full and now - began < self._timeout / 2:
            self.limit = min(self.limit + max(self._growth, 1 / self.limit), float(self._most))
            self._admit()

    def pressed(self, began: float, now: float) -> None:
        """Takes note that the server was asked too much by what was asked at `began`."""
        if began >= self._eased:
            self.limit, self._growth, self._eased = max(self.limit / 2, 1.0), 0.0, now

    def _measure(self, full: bool, began: float, now: float) -> None:
        """Ends the doubling where it brings no more answers a second. A round in which requests were lacking says nothing."""
        start, answers, of = self._round or (began, 0, int(self.limit))
        self._round = (start, answers + 1, of)
        if not full:
            self._round = (now, 0, int(self.limit))
        elif answers + 1 >= of:
            rate = of / max(now - start, 1e-9)
            self._flat = 0 if rate > 1.05 * self._best else self._flat + 1
            self._best, self._round = max(rate, self._best), (now, 0, int(self.limit))
            if self._flat >= 2:
                self._growth = 0.125

    async def _take(self) -> None:
        if self.under_way < int(self.limit) and not self._waiting:
            self.under_way += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # let in and called off at the same moment
                self.under_way -= 1
            self._admit()
            raise

    def _admit(self) -> None:
        while self._waiting and self.under_way < int(self.limit):
            place = self._waiting.popleft()
            if not place.done():
                self.under_way += 1
                place.set_result(None)


class Pulse:
    """Whether a server is alive. Dead is one that failed `STREAK` attempts in a row, over at least `patience` seconds.

    A server that refuses, or asks to wait, is alive. One that is dead stays so: it is for the next run to ask it again.
    """

    def __init__(self, patience: float) -> None:
        self.dead = asyncio.Event()
        self._patience, self._failures, self._since = patience, 0, 0.0

    def beat(self) -> None:
        """Takes note of a sign of life."""
        self._failures = 0

    def failed(self, began: float, now: float) -> None:
        """Takes note of a failure of what was asked at `began`."""
        self._since = min(self._since, began) if self._failures else began
        self._failures += 1
        if self._failures >= STREAK and now - self._since >= self._patience:
            self.dead.set()


def pause(attempt: int, first: float, asked: float | None, chance: random.Random) -> float:
    """Seconds to wait after the failed `attempt` (1 is the first one): what the server `asked` for and a little more, else drawn
    evenly between 0 and a bound that doubles from `first` with every attempt, up to `LONGEST`.

    Source: full jitter, M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    >>> pause(3, 0.5, None, random.Random(0)) <= 2.0
    True
    >>> 7.0 <= pause(1, 0.5, 7.0, random.Random(0)) <= 7.5
    True
    """
    if asked is not None:
        return asked + chance.uniform(0, first)
    return chance.uniform(0, min(first * 2.0 ** (attempt - 1), LONGEST))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a response's `Retry-After` asks to wait, at least 0; None where it does not say.

    Args:
        headers: of the response, their names in lower case or indifferent to it. Where they say by `Date` what time it is there, that
            counts: the two clocks may differ.
        now: seconds since 1970, for the form that is a date (RFC 9110, section 10.2.3).

    >>> retry_after({"retry-after": "2.5"}, 0), retry_after({}, 0), retry_after({"retry-after": "soon"}, 0)
    (2.5, None, None)
    >>> retry_after({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 40)
    60.0
    >>> retry_after({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT", "date": "Thu, 01 Jan 1970 00:01:38 GMT"}, 0)
    2.0
    """
    said = headers.get("retry-after", "").strip()
    try:
        seconds = float(said)
    except ValueError:
        until = _date(said)
        if until is None:
            return None
        there = _date(headers.get("date", ""))
        seconds = until - (now if there is None else there)
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _date(text: str) -> float | None:
    """The seconds since 1970 of a date as HTTP writes it; None where it is none."""
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
