"""Inputs of any shape for one reader: kept ones, what hypothesis makes, and changed forms of both."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from evalkit import tools
from evalkit.errors import EvalkitError
from tests.faults.files import GOLDEN
from tests.faults.tally import Tally
from tests.faults.texts import PIECES

SEED = 20_261_123
CHANGES = 49
"""How many changed forms of an input are tried beside it: hypothesis takes milliseconds for one, a change microseconds."""
ROUND = 2_000
"""Inputs of one seed: hypothesis slows down where it remembers more."""
CORPUS = GOLDEN / "fuzz"
finite = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-5000, 5000), st.floats(-2000, 2000))


def seeds(name: str) -> list[Any]:
    """The kept inputs of a row; of a list what it holds stays that many things, however it is changed."""
    kept = (json.loads(line) for line in (CORPUS / f"{name}.jsonl").read_text("utf-8").splitlines())
    return [tuple(value) if isinstance(value, list) else value for value in kept]


def borne(call: Callable[[], Any]) -> None:
    """Calls it; an error of evalkit's own is fine where it has words."""
    try:
        call()
    except (EvalkitError, tools.ToolError) as error:
        if not str(error):
            raise AssertionError("an error without a word") from error


def wrong(judge: Callable[[Any], Any], value: Any) -> str:
    """What is wrong with how a value is borne; nothing where it is, be it with an error of evalkit's own."""
    try:
        borne(lambda: judge(value))
    except BaseException as error:  # noqa: BLE001 - a crash is what is looked for
        return f"{type(error).__name__}: {error!s:.200}"
    return ""


def explored(name: str, strategy: st.SearchStrategy[Any], judge: Callable[[Any], Any], times: int) -> Tally:
    """The tally of so many inputs: the kept ones, then those that hypothesis makes and their changed forms."""
    told, known, rng = Tally(), set[str](), random.Random(SEED)

    def tried(value: Any) -> None:
        told.tried += 1
        said = wrong(judge, value)
        if said and (kind := said[:60]) not in known:
            known.add(kind)
            told.crashed(f"{said} of {value!r:.400}")
        elif said:  # another of a kind that is told
            told.crashes += 1

    def with_changes(value: Any) -> None:
        tried(value)
        for _ in range(CHANGES):
            tried(changed(value, rng) if rng.random() < 0.7 else changed(changed(value, rng), rng))

    for value in seeds(name):
        with_changes(value)
    for turn in range(times):
        if told.tried >= times:
            break
        chosen = settings(
            max_examples=min((times - told.tried) // (CHANGES + 1) + 1, ROUND),
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        seed(SEED + turn)(chosen(given(strategy)(with_changes)))()
    return told


def changed(value: Any, rng: random.Random) -> Any:
    """The value with one thing in it changed to another of its kind."""
    if type(value) is str:
        return _spliced(value, rng)
    if type(value) is int:
        return rng.choice((0, 1, -1, value + 1, -value, value * 2, value // 2, 10**9, 10**400, rng.randrange(1 << 40)))
    if type(value) is float:
        return rng.choice((0.0, 1.0, -value, value * 2, value / 2, 1e308, 5e-324, math.nan, math.inf, -math.inf, rng.uniform(-2000, 2000)))
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        rest = {name: item for name, item in value.items() if name != key}
        way = rng.random()
        return rest if way < 0.1 else rest | {_spliced(str(key), rng) if way < 0.2 else key: changed(value[key], rng)}
    if type(value) in (list, tuple) and value:
        at = rng.randrange(len(value))
        inside = (*value[:at], changed(value[at], rng), *value[at + 1 :])
        return (
            inside
            if type(value) is tuple
            else [*inside, value[at]]
            if rng.random() < 0.1
            else [*value[:at], *value[at + 1 :]]
            if rng.random() < 0.1
            else [*inside]
        )
    if isinstance(value, tuple) and hasattr(value, "_make"):  # a box, a point
        return value._make(changed(tuple(value), rng))
    if is_dataclass(value) and not isinstance(value, type):
        name = rng.choice([spec.name for spec in fields(value)])
        return replace(value, **{name: changed(getattr(value, name), rng)})
    return value


def _spliced(text: str, rng: random.Random) -> str:
    """A text with a part of it gone, twice, or another in its place."""
    one, two = sorted(rng.randrange(len(text) + 1) for _ in range(2))
    two = min(two, one + rng.choice((1, 2, 8, 100)))
    middle = rng.choice(
        (
            "",
            text[one:two] * 2,
            text[one:two] * 30,
            rng.choice(PIECES),
            chr(rng.randrange(0x110000)),
            rng.choice("[]{}()\\\"',.:-0123456789 \n"),
        )
    )
    return text[:one] + middle[:2000] + text[two:]
