"""Requests and their keys, against what a request asks for as it is written here: not as the keys are made."""

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from evalkit.geometry import Box, Point
from evalkit.types import Attend, Budget, Generate, Image, Likelihood, Message, Request, Sampling, Segment
from tests.faults.explored import explored, finite
from tests.faults.tally import Tally

words = st.text(st.characters(codec=None), max_size=20)
samplings = st.builds(
    Sampling,
    st.integers(1, 9999),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.5, 1.0]),
    st.integers(0, 9),
    stop=st.lists(words, max_size=2).map(tuple),
)
images = st.builds(
    lambda digest, upright, least, most: Image(b"", digest=digest, upright=upright, budget=Budget(least, most)),
    words,
    st.booleans(),
    st.none() | st.integers(1, 9),
    st.none() | st.integers(1, 9),
)
messages = st.lists(st.builds(Message, words, st.lists(st.one_of(words, images), max_size=3).map(tuple)), max_size=2).map(tuple)
boxes, points = st.builds(Box, finite, finite, finite, finite), st.builds(Point, finite, finite)
asked = st.one_of(
    st.builds(Generate, messages, samplings, words, st.lists(st.none() | boxes | points, max_size=2).map(tuple)),
    st.builds(Likelihood, messages, st.lists(words, max_size=3).map(tuple)),
    st.builds(Attend, messages, words, words),
    st.builds(Segment, images, st.lists(st.one_of(boxes, points, st.lists(boxes | points, max_size=2).map(tuple)), max_size=3).map(tuple)),
)
requests = st.builds(Request, asked, words, st.integers(0, 5000), words, st.integers(0, 9))


def asked_for(value: Any) -> str:
    """What changes the answer to a request, written otherwise than in its key: of greedy decoding nothing that only a draw depends on."""
    if isinstance(value, Request):
        return f"{asked_for(value.kind)} {value.to!r} {value.draw!r}"
    if isinstance(value, Sampling) and not value.temperature > 0:
        value = replace(value, temperature=0.0, top_p=1.0, top_k=0, seed=0)
    if is_dataclass(value):
        inside = ", ".join(f"{spec.name}={asked_for(getattr(value, spec.name))}" for spec in fields(value))
        return f"{type(value).__name__}({inside})"
    if type(value) is tuple:
        return f"({', '.join(map(asked_for, value))},)"
    # a pair of surrogates is a character, in JSON and so to every server
    return repr(value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") if type(value) is str else value)


def keyed(folder: Path, times: int) -> Tally:
    """Requests have one key if and only if they ask for the same, whoever asks and however often."""
    forms, known = dict[str, str](), dict[str, str]()

    def read(value: Any) -> None:
        if isinstance(value, tuple):  # a kept one: the words of a message
            value = Request(Generate((Message("user", tuple(map(str, value))),)))
        key, form = value.key("fingerprint"), asked_for(value)
        assert len(key) == 64
        assert key != value.key("another")
        assert key == replace(value, sample=f"{value.sample}, again", turn=value.turn + 1).key("fingerprint"), "its sample or turn counts"
        assert forms.setdefault(key, form) == form, f"one key for two requests, the other {forms[key]}"
        assert known.setdefault(form, key) == key, "two keys for what is the same request"
        if isinstance(value.kind, Generate):  # whether a seed counts is the temperature's to say
            other = replace(value.kind, sampling=replace(value.kind.sampling, seed=value.kind.sampling.seed + 1))
            drawn = value.kind.sampling.temperature > 0
            assert drawn == (key != replace(value, kind=other).key("fingerprint")), "a seed counts where nothing is drawn, or does not"

    return explored("keys", requests, read, times)
