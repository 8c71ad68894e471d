"""What probes make of a reply's chain of thought: where it ends, and how it reads without its boxes."""

import re

from ..parsers.boxes import NUMBER

_FOUR = rf"\s*+{NUMBER}(?:(?:\s*+[,;]\s*+|\s++){NUMBER}){{3}}\s*+"
_BLANK = r"(?<![ \t])[ \t]*+"  # a run of blanks from its beginning, so that none is looked through twice
_KEY = r"""["']b?box(?:es|_2d)?["']\s*+:"""
# Those of parsers.quadruples in brackets and tags, and GRIT's own expression (parsers.integer_quadruples) where there are none.
_BOX = re.compile(rf"{_BLANK}(?:\[{_FOUR}\]|\({_FOUR}\)|<b?box>{_FOUR}</b?box>|\b\d+,\s*\d+,\s*\d+,\s*\d+\b)", re.IGNORECASE)
_LIST = re.compile(rf"{_BLANK}(?:\[[\s,;]*+\]|\([\s,;]*+\))")
_HUSKS = (
    _LIST,
    re.compile(rf",\s*+{_KEY}(?=\s*\}})|{_KEY}(?=\s*[,}}])\s*+,?\s*+", re.IGNORECASE),
    re.compile(rf"{_BLANK}\{{\s*+\}}"),
    _LIST,
    re.compile(rf"{_BLANK}(?:```\w*+\s*+```|<(b?box)>\s*+</\1>)", re.IGNORECASE),
)

DEEPEST = 8
"""How many boxes may be around one another, each a box only without those in it, and go without a trace; it bounds the time."""


def chain(text: str) -> str:
    """The part of a reply before its first `<answer>`, stripped; the whole where there is none.

    >>> chain("<think> two dogs </think> <answer> 2")
    '<think> two dogs </think>'
    """
    return text.partition("<answer>")[0].strip()


def without_boxes(text: str) -> str:
    """The text without the boxes in it, as it is where there are none.

    A box is what `parsers.quadruples` or `parsers.integer_quadruples` finds; the blanks before it go with it. Of JSON the key
    of the box goes too, and what is empty then: objects, lists, fences, tags. Labels stay: erased is where, not what. Of more than
    `DEEPEST` boxes around one another the outermost left is "…".

    >>> without_boxes('Two dogs: {"bbox_2d": [10, 20, 30, 40], "label": "dog"} and one at (50, 60, 70, 80).')
    'Two dogs: {"label": "dog"} and one at.'
    >>> without_boxes("<bbox>[[1, 2, 3, 4], [5, 6, 7, 8]]</bbox> <answer> no[]")
    ' <answer> no'
    """
    if not _BOX.search(text):
        return text
    for _ in range(DEEPEST):  # numbers around a box may make another when it has gone
        text, gone = _BOX.subn("", text)
        if not gone:
            break
    text = _BOX.sub("…", text)  # around which there can be none
    for husk in _HUSKS:
        text = husk.sub("", text)
    return text
