"""Boxes as written in a reply: four numbers each, in whatever frame the model uses. geometry.py converts and orders them."""

import math
import re

Quadruple = tuple[float, float, float, float]

# GRIT, grpo-gr/rewards.py at 44699c9: the same expression for its rewards and its evaluation.
_INTEGERS = re.compile(r"\b\d+,\s*\d+,\s*\d+,\s*\d+\b")
_NUMBER = r"[-+−]?(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][-+]?\d++)?+"
_FOUR = re.compile(rf"\s*+({_NUMBER})" + rf"(?:\s*+[,;]\s*+|\s++)({_NUMBER})" * 3 + r"\s*+")
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
    lists = (_FOUR.fullmatch(group[group.lastindex]) for group in _GROUP.finditer(text) if group.lastindex)
    return tuple(box for four in lists if four and (box := _finite(four.groups())))


def _finite(written: "list[str] | tuple[str, ...]") -> Quadruple | None:
    x1, y1, x2, y2 = (float(number.replace("−", "-")) for number in written)
    return (x1, y1, x2, y2) if all(map(math.isfinite, (x1, y1, x2, y2))) else None
