"""Boxes as written in a reply: four numbers each, in whatever frame the model uses. geometry.py converts and orders them."""

import bisect
import json
import math
import re
from collections.abc import Iterator

Quadruple = tuple[float, float, float, float]

# GRIT, grpo-gr/rewards.py at 44699c9: the same expression for its rewards and its evaluation.
_INTEGERS = re.compile(r"\b\d+,\s*\d+,\s*\d+,\s*\d+\b")
NUMBER = r"[-+−]?(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][-+]?\d++)?+"
_FOUR = re.compile(rf"\s*+({NUMBER})" + rf"(?:\s*+[,;]\s*+|\s++)({NUMBER})" * 3 + r"\s*+")
# A string that its line does not close runs to the line's end, so that none is looked through twice.
_STRING = r"""(?:"(?:[^"\\\n]|\\.)*+"?+|'(?:[^'\\\n]|\\.)*+'?+)"""
_IN_OBJECT = re.compile(rf"({_STRING})\s*+:\s*+({_STRING})|{_STRING}|[{{}}]")
_BRACE = re.compile(r"\{")
_NAMES = ("label", "name", "category", "class")
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

    The label is the object's own `label`, else its `name`, `category` or `class`, in any case, where that is a text; it is given
    letter for letter, escapes resolved. Quotes may be single, and of an object that the text's end cuts off what is whole counts.

    >>> labelled_quadruples('[{"bbox_2d": [1, 2, 3, 4], "label": "red cup"}, {"bbox_2d": [5, 6, 7, 8]}]')
    (((1.0, 2.0, 3.0, 4.0), 'red cup'), ((5.0, 6.0, 7.0, 8.0), ''))
    """
    starts, named = _objects(text)
    return tuple((box, _label(named[bisect.bisect_right(starts, place) - 1])) for place, box in _found(text))


def _objects(text: str) -> tuple[list[int], list[dict[str, str]]]:
    """The places where another JSON object becomes the innermost, the first 0, and the texts that each holds by key, as written."""
    starts, named, at = [0], [dict[str, str]()], 0
    around = [named[0]]  # outside of all objects, where quotes mean nothing, and then the objects that are open
    while match := (_IN_OBJECT if len(around) > 1 else _BRACE).search(text, at):
        at = match.end()
        if match[0] == "{":
            around.append({})
        elif match[0] == "}":
            around.pop()
        else:
            if match.lastindex:
                around[-1][_unquoted(match[1]).lower()] = match[2]
            continue
        starts.append(match.start())
        named.append(around[-1])
    return starts, named


def _found(text: str) -> Iterator[tuple[int, Quadruple]]:
    """Where each list of four finite numbers starts, and the numbers."""
    for group in _GROUP.finditer(text):
        four = _FOUR.fullmatch(group[group.lastindex]) if group.lastindex else None
        if four and (box := _finite(four.groups())):
            yield group.start(), box


def _label(named: dict[str, str]) -> str:
    """The label among the texts of an object; "" where there is none, or it is cut off."""
    written = next((named[key] for key in _NAMES if key in named), "")
    return _unquoted(written) if len(written) > 1 and written[-1] == written[0] else ""


def _unquoted(written: str) -> str:
    try:
        return str(json.loads(written))
    except ValueError:
        return written[1:-1].replace("\\'", "'")


def _finite(written: "list[str] | tuple[str, ...]") -> Quadruple | None:
    x1, y1, x2, y2 = (float(number.replace("−", "-")) for number in written)
    return (x1, y1, x2, y2) if all(map(math.isfinite, (x1, y1, x2, y2))) else None
