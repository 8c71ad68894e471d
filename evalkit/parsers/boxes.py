"""Boxes as written in a reply: four numbers each, in whatever frame the model uses. geometry.py converts and orders them."""

import bisect
import json
import math
import re
from collections.abc import Iterator

Quadruple = tuple[float, float, float, float]

# GRIT, grpo-gr/rewards.py at 44699c9: the same expression for its rewards and its evaluation.
_INTEGERS = re.compile(r"\b\d+,\s*\d+,\s*\d+,\s*\d+\b")
_NUMBER = r"[-+−]?(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][-+]?\d++)?+"
_FOUR = re.compile(rf"\s*+({_NUMBER})" + rf"(?:\s*+[,;]\s*+|\s++)({_NUMBER})" * 3 + r"\s*+")
_OBJECT = re.compile(r"\{[^{}]*+\}")
_NAMED = re.compile(r"""["'](label|name|category|class)["']\s*+:\s*+("(?:[^"\\]|\\.)*+"|'[^']*+')""", re.IGNORECASE)
_GROUP = re.compile(r"\[([^\[\]()]*+)\]|\(([^\[\]()]*+)\)|<b?box>([^<>\[\]()]*+)</b?box>", re.IGNORECASE)


def integer_quadruples(text: str) -> tuple[Quadruple, ...]:
    """The boxes that GRIT's own expression finds in the whole text, thoughts and answer alike, in order; empty where none.

    Four integers with commas between them, bracketed or not. Signs, fractions and brackets are not seen, so `-5, 1, 2, 3` gives
    (5, 1, 2, 3). Numbers too long for a float are left out.

    >>> integer_quadruples("box (1,2,3,4), then 5, 6, 7, 8")
    ((1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0))
    """
    return tuple(box for match in _INTEGERS.findall(text) if (box := _finite(match.split(","))))


def quadruples(text: str) -> tuple[Quadruple, ...]:
    """Every list of exactly four finite numbers in the text, in order, corners as written; empty where there is none.

    Lists stand in square or round brackets, nested or not, alone or as JSON values, or bare between `<box>` or `<bbox>` tags; the
    numbers may be signed, fractional or in exponent form, with commas, semicolons or spaces between them. Lists of another
    length, with NaN or infinity, or with words in them are skipped.

    >>> quadruples('[{"bbox_2d": [10, 20, 0.5, -4]}] and (1 2 3 4), not [1, 2, 3] or [NaN, 0, 1, 1]')
    ((10.0, 20.0, 0.5, -4.0), (1.0, 2.0, 3.0, 4.0))
    """
    return tuple(box for _, box in _found(text))


def labelled_quadruples(text: str) -> tuple[tuple[Quadruple, str], ...]:
    """Every list that `quadruples` finds, with the label of the innermost JSON object it stands in; "" where that names none.

    The label is the object's `label`, else its `name`, `category` or `class`, as text.

    >>> labelled_quadruples('[{"bbox_2d": [1, 2, 3, 4], "label": "red cup"}, {"bbox_2d": [5, 6, 7, 8]}]')
    (((1.0, 2.0, 3.0, 4.0), 'red cup'), ((5.0, 6.0, 7.0, 8.0), ''))
    """
    objects = [(match.start(), match.end(), _label(match[0])) for match in _OBJECT.finditer(text)]
    starts = [start for start, _, _ in objects]

    def label_at(place: int) -> str:
        at = bisect.bisect_right(starts, place) - 1
        return objects[at][2] if at >= 0 and place < objects[at][1] else ""

    return tuple((box, label_at(place)) for place, box in _found(text))


def _found(text: str) -> Iterator[tuple[int, Quadruple]]:
    """Where each list of four finite numbers starts, and the numbers."""
    for group in _GROUP.finditer(text):
        four = _FOUR.fullmatch(group[group.lastindex]) if group.lastindex else None
        if four and (box := _finite(four.groups())):
            yield group.start(), box


def _label(text: str) -> str:
    named = {match[1].lower(): match[2] for match in _NAMED.finditer(text)}
    written = next((named[key] for key in ("label", "name", "category", "class") if key in named), '""')
    try:
        return str(json.loads(written))
    except ValueError:
        return written[1:-1]


def _finite(written: "list[str] | tuple[str, ...]") -> Quadruple | None:
    x1, y1, x2, y2 = (float(number.replace("−", "-")) for number in written)
    return (x1, y1, x2, y2) if all(map(math.isfinite, (x1, y1, x2, y2))) else None
