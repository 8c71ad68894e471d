"""The canonical form of a request: what is stored stays found, and whatever changes an answer changes the key."""

from evalkit.geometry import Box, Mask, Point, Size
from evalkit.rle import FittedMask
from evalkit.types import Attend, Budget, Generate, Image, Likelihood, Message, Request, Sampling, Segment, canonical

IMAGE = Image(b"", budget=Budget(1, 9), size=Size(64, 48), digest="a" * 64)
ASKED = (Message("system", ("Be brief.",)), Message("user", (IMAGE, "What is it?")))
SIZE = Size(2, 2)


def test_the_keys_of_requests_are_those_of_the_first_stores() -> None:
    """The key of an answer that is on disk; one that changes here makes every store of it worthless."""
    drawn = Sampling(max_tokens=7, temperature=0.5, stop=("</answer>",), seed=3)
    asked = [
        Request(Generate(ASKED)),
        Request(Generate(ASKED, drawn, "It"), to="judge", draw=2),
        Request(Likelihood(ASKED, ("yes", "no"))),
        Request(Segment(IMAGE, (Box(1, 2, 3, 4), Point(5, 6), (Box(1, 2, 3, 4), Point(2, 3)))), to="segmenter"),
        Request(Attend(ASKED, "yes", "It")),
    ]
    assert [request.key("fingerprint") for request in asked] == [
        "6531fab966b653ef74e756330931bfed94fd7f78af73a04986811f4acbdafe07",
        "67d367a6dd7e5c42bdfb6ecd15b78cfcdb510201e2e2444ceb58af371c7bafbf",
        "a4ffa3882de878f74061e45bd31761b92461e84fd54bb844e52535fcfd38031e",
        "7cd9b5c5f77e95c0ab888c9ca258675c60a2f7232fb7c8fe51c28d8724821b01",
        "611c29284a81b6102030f156d37808b7341f4c09bd7d3cd528b9db36967cb8e5",
    ]


def test_given_regions_are_part_of_what_is_asked_where_there_are_any() -> None:
    box, point, mask = Box(1, 2, 3, 4), Point(1, 2), Mask("022", SIZE)
    given = [(), (box,), (point,), (mask,), (None, box), (box, None), (box, point), (Mask("04", SIZE),)]
    keys = [Request(Generate(ASKED, regions=regions)).key("f") for regions in given]
    assert len(set(keys)) == len(given)
    assert keys[0] == Request(Generate(ASKED)).key("f")
    assert "regions" not in canonical(Request(Generate(ASKED)))
    assert keys[3] == Request(Generate(ASKED, regions=(FittedMask("022", SIZE),))).key("f")
