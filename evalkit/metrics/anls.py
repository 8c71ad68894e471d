"""Short texts that are right up to a few wrong letters: ANLS, and the edit distance under it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import stats
from ..types import Columns, Estimate, Record, Sample

THRESHOLD = 0.5
"""The least similarity that counts."""


@dataclass(frozen=True, slots=True)
class ANLS:
    """`anls`: the mean of `similarity` to the nearest answer of the target, a `GoldText`, in [0, 1]. An unparsed reply has 0.

    >>> from evalkit.metrics.text import GoldText
    >>> from evalkit.types import Wants
    >>> sample = Sample("1", "Who?", "Who?", (), Wants("text"), target=GoldText(("Ada Lovelace", "Lovelace")))
    >>> ANLS().measure("lovelake", sample), ANLS().measure(None, sample)
    ({'anls': 0.875}, {'anls': 0.0})
    """

    @property
    def name(self) -> str:
        return "anls"

    def measure(self, value: Any | None, sample: Sample) -> Record:
        """`anls`, the similarity to the nearest answer."""
        return {"anls": 0.0 if value is None else max(similarity(value, answer) for answer in sample.target.answers)}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """`anls`, with a clustered bootstrap interval."""
        return {"anls": stats.mean(stats.column(records, "anls"), records.group, bounded=True)}


def similarity(said: str, answer: str) -> float:
    """The average normalised Levenshtein similarity of two texts, 1 for the same, 0 where it is below 0.5.

    One less their distance, in lower case and with single spaces, over the length of the longer as it was, in upper case and with
    all its spaces: so padding makes an error smaller. Exactly 0.5 counts. Two empty texts have 1.

    Source: the competition's `infographicsvqa_eval.py` (as in Qwen-VL, `eval_mm`), after Biten et al., ICCV 2019, whose formula
    drops 0.5 and takes both lengths from the same texts as the distance.

    >>> similarity("12 %", "12%"), similarity(" TEN ", "ten"), similarity("ten", "sixty"), similarity("ab", "ax")
    (0.75, 1.0, 0.0, 0.5)
    """
    length = max(len(said.upper()), len(answer.upper()))
    found = 1 - distance(_plain(said), _plain(answer)) / length if length else 1.0
    return found if found >= THRESHOLD else 0.0


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def distance(first: str, second: str) -> int:
    """Levenshtein's distance of two texts, >= 0: how many characters to insert, delete or replace. One step a character of the shorter.

    Bit i of `up` and `down` says whether the distance grows or falls by one at character i of the longer text. Source: Hyyrö, "A
    bit-vector algorithm for computing Levenshtein and Damerau edit distances", Nordic Journal of Computing 10 (2003).

    >>> distance("kitten", "sitting"), distance("", "abc"), distance("same", "same")
    (3, 3, 0)
    """
    short, long = sorted((first, second), key=len)
    bits = {character: bytearray(len(long) // 8 + 1) for character in short}
    for place, character in enumerate(long):
        if character in bits:
            bits[character][place // 8] |= 1 << place % 8
    places = {character: int.from_bytes(held, "little") for character, held in bits.items()}
    every = (1 << len(long)) - 1
    last = every ^ every >> 1
    up, down, total = every, 0, len(long)
    for character in short:
        same = places[character]
        diagonal = same | down
        same |= ((same & up) + up) ^ up
        grows, falls = down | ~(same | up) & every, up & same
        total += bool(grows & last) - bool(falls & last)
        grows, falls = grows << 1 | 1, falls << 1
        up, down = (falls | ~(diagonal | grows)) & every, grows & diagonal & every
    return total
