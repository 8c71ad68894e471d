"""Counts and numbers, read strictly: one number that the answer states, never one of several that it mentions."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from ..types import Unparsed
from .tags import answer_span, without_thoughts

_UNITS = "one two three four five six seven eight nine".split()
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000}
_WORTH = {word: worth for worth, word in enumerate(["zero", *_UNITS, *_TEENS])}
_WORTH |= {word: 10 * worth for worth, word in enumerate(_TENS, start=2)}
_SPELLED = rf"(?:(?:{'|'.join(_TENS)})(?:[-\s](?:{'|'.join(_UNITS)}))?|zero|{'|'.join([*_TEENS, *_UNITS])})\b"
_WORDS = re.compile(
    rf"""\b(?:(?:no|this|that|the|each|every|any|another|other|which|first|second|last|next|some)\sone\b
            | one\s(?:another|can|could|may|might|must|should|would)\b
            | (?P<number>(?:an?|{_SPELLED})\s{{1,3}}(?:{"|".join(_SCALES)})\b | {_SPELLED}))""",
    re.IGNORECASE | re.VERBOSE,
)
"""Numbers in words, and the uses of "one" as a pronoun."""

_DIGITS = r"(?>(?:\d{1,3}(?:,\d{3}){1,5}+(?!\d)|\d++)(?:\.\d++)?+|\.\d++)"
_VALUE = rf"(?<![\w.]){_DIGITS}"
_MENTION = re.compile(
    rf"""
    (?P<passed>  # numbers that state nothing: coordinates, labels, names, numbers denied, ordinals, adjectives
        [\[(]\s*+[-−]?{_DIGITS}(?:[\s,;]++[-−]?{_DIGITS})++\s*+[\])]
      | \b(?:[xy]\d\s?[=:]\s?[-−]?{_DIGITS}
          | (?:step|box|fig\.?|figure|frame|option|question|region)\s\#?\d++\b
          | (?:image|picture|photo)\s\#?\d++(?=[:)])
          | [a-z_][a-z_-]{{0,20}}+\d\w*+
          | not\s(?:(?:only|just|exactly)\s)?{_VALUE})
      | n['’]t\s(?:(?:only|just|exactly)\s)?{_VALUE}
      | \#\d++
      | (?<![\w.])(?=\d)(?:\d++(?:,\s*+\d++){{3}}\b | \d++(?:st|nd|rd|th)\b | {_DIGITS}-(?=[a-z])(?!(?:to|or)-)[a-z-]++)
    )
  | (?P<range>\bbetween\s{_VALUE}\sand\s{_VALUE} | {_VALUE}(?:\s?[-–~]\s?|\sto\s|-to-|\sor\s|-or-){_VALUE})
  | (?P<bound>\b(?:(?:more|fewer|less|greater|larger)\sthan|at\s(?:least|most)|up\sto)\s{_VALUE}
      | {_VALUE}(?:\+(?!\s?\d)|\s(?:or|and)\s(?:more|fewer|less|up)\b))
  | (?P<list>{_VALUE}(?:,\s?{_VALUE}){{1,8}}+(?=\s?(?:[.;\n]|$|,?\s?(?:and|or)\s)))
  | (?P<ratio>{_VALUE}(?:\s?/\s?{_VALUE}|:\d))
  | (?P<sign>(?<![\w)\]])[-−](?=[\d.])|\b(?:minus|negative)\s)?
    (?P<value>{_VALUE})(?P<exponent>e[-+]?\d{{1,3}})?
    (?P<unit>\s?(?:%|percent\b|per\scent\b)|(?:[mck]?m|[mk]?g|m?l|ms|s|h|°[cf]?)(?!\w))?
    (?![^\W\d])(?:\s?\(\s?{_VALUE}\s?\))?
    """,
    re.IGNORECASE | re.VERBOSE,
)
_REASONS = {"range": "a range", "bound": "a bound", "list": "several numbers", "ratio": "a ratio"}
_NOTHING = re.compile(r"[\W_]*(?:none|no|zero|nothing)[\W_]*", re.IGNORECASE)
_SENTENCE = re.compile(r"[.!?](?=[\s*]|$)|\n(?!\s*+[-*•]\s)")
_JOINT = r"\n|\s[-–]\s|\b(?:because|since|as|with|including|where|while|but)\b"
_CLAUSE = re.compile(rf"[;(—]|:(?!\d)|,(?!\s?\d)|{_JOINT}", re.IGNORECASE)
_TOTAL = r"altogether|in\s(?:all|total|sum)|(?:a|the)\s(?:grand\s)?total|total(?=\s?[:=]|\sof\b)|overall"
_SO = r"thus|therefore|hence|in\sconclusion|that\smakes|so(?=,?\s(?:there|the|we|i|it|in|my|\d))"
_CUE = re.compile(rf"\b(?:(?P<total>{_TOTAL})|{_SO})\b|=", re.IGNORECASE)
_ITEM = re.compile(r"^[ \t]*(?:\*\*)?\d{1,3}[.)](?=[ \t]+\S)", re.MULTILINE)


class _Mention(NamedTuple):
    start: int
    end: int
    value: float | Unparsed


def count(text: str) -> int | Unparsed:
    """The count that a reply states, an int >= 0, from digits ("1,024", "4.0") or words up to the thousands.

    Read in the answer span (see `tags.answer_span`). Where it mentions one number only, that is the count; of several, the one
    that is a sentence by itself, or follows the last "so there are", "in total", "=" or the like, or stands before the colon of a
    breakdown. Coordinates, list numbers, ordinals and labels never count. Ranges, bounds, ratios, percentages, negative and
    non-integer numbers are `Unparsed`, and so are several numbers of which none is singled out. "None", "no" and "nothing" are 0
    only where they are the whole answer.

    >>> count("One of them is hidden, so there are 4 dogs"), count("<think>Box 1 [12,5,19,20]</think> 7"), count("None.")
    (4, 7, 0)
    >>> count("4 dogs and 3 cats"), count("3.5")
    (Unparsed(reason='several numbers'), Unparsed(reason='not a whole number'))
    """
    value = _number(text, units=False)
    if isinstance(value, Unparsed):
        return value
    if value < 0:
        return Unparsed("a negative number")
    return int(value) if value.is_integer() else Unparsed("not a whole number")


def number(text: str) -> float | Unparsed:
    """The number that a reply states, finite, read as `count` reads one, but of any sign and with a fraction.

    A unit, a currency sign or a percent sign is passed over: "45%" is 45.

    >>> number("The answer is -3.5 cm."), number("$1,024.50"), number("45%"), number("3 or 4")
    (-3.5, 1024.5, 45.0, Unparsed(reason='a range'))
    """
    return _number(text, units=True)


def _number(text: str, units: bool) -> float | Unparsed:
    span = answer_span(text)
    if not span.text:
        return Unparsed("empty answer")
    value = _stated(span.text, span.origin, units)
    if isinstance(value, Unparsed) and span.origin == "marker" and value.reason == "no number":
        return _stated(without_thoughts(text), "whole", units)
    return value


def _stated(text: str, origin: str, units: bool) -> float | Unparsed:
    """The number singled out in a text of the given origin that holds the answer: behind a marker, in a tag or a box, or anywhere."""
    if _NOTHING.fullmatch(text):
        return 0.0
    text = _WORDS.sub(_in_digits, text)
    if len(_ITEM.findall(text)) > 1:
        text = _ITEM.sub("-", text)
    if not re.search(r"\d", text):  # spares most texts the search below
        return Unparsed("no number")
    mentions = [_read(match, units) for match in _MENTION.finditer(text) if match["passed"] is None]
    if not mentions:
        return Unparsed("no number")
    first = Unparsed("several numbers") if origin == "whole" else _first(text, mentions)
    if origin == "marker" and isinstance(first, float):
        return first
    sentences = _sentences(text, mentions)
    alone = {said[0].value for start, end, said in sentences if len(said) == 1 and _is_alone(text, start, end, said[0])}
    if len(alone) == 1:
        return alone.pop()
    for start, end, said in reversed(sentences):
        concluded = _concluded(text, start, end, said)
        if concluded is not None:
            return concluded
    if all(len(said) == 1 for _, _, said in sentences) and len({m.value for m in mentions}) == 1:
        return mentions[0].value
    colon = _CLAUSE.search(text, mentions[0].end)
    if len(sentences) == 1 and colon and colon[0] in (":", "(") and colon.start() < mentions[1].start:
        return mentions[0].value
    return first


def _read(match: re.Match[str], units: bool) -> _Mention:
    for name, reason in _REASONS.items():
        if match[name] is not None:
            return _Mention(match.start(), match.end(), Unparsed(reason))
    if match["unit"] and not units:
        return _Mention(match.start(), match.end(), Unparsed("a measure, not a count"))
    value = _value(match["value"], match["exponent"] or "")
    return _Mention(match.start(), match.end(), -value if match["sign"] and isinstance(value, float) else value)


def _in_digits(words: re.Match[str]) -> str:
    if not words["number"]:
        return words[0]
    total = 0
    for word in re.split(r"[-\s]+", words["number"].lower()):
        total = max(total, 1) * _SCALES[word] if word in _SCALES else total + _WORTH.get(word, 0)
    return str(total)


def _value(digits: str, exponent: str) -> float | Unparsed:
    value = float(digits.replace(",", "") + exponent) if len(digits) <= 15 else math.inf
    return value if value <= 1e300 else Unparsed("too many digits")


def _sentences(text: str, mentions: Sequence[_Mention]) -> list[tuple[int, int, list[_Mention]]]:
    """Start, end and mentions of each sentence that has any."""
    ends = [match.end() for match in _SENTENCE.finditer(text)] + [len(text)]
    found: list[tuple[int, int, list[_Mention]]] = []
    start, k = 0, 0
    for end in ends:
        said: list[_Mention] = []
        while k < len(mentions) and mentions[k].start < end:
            said.append(mentions[k])
            k += 1
        if said:
            found.append((start, end, said))
        start = end
    return found


def _is_alone(text: str, start: int, end: int, mention: _Mention) -> bool:
    return not re.search(r"\w", text[start : mention.start]) and not re.search(r"\w", text[mention.end : end])


def _concluded(text: str, start: int, end: int, said: Sequence[_Mention]) -> float | Unparsed | None:
    """What the last concluding cue of a sentence points at; None where there is no cue or it points at nothing."""
    cues = list(_CUE.finditer(text, start, end))
    if not cues:
        return None
    after = [mention for mention in said if mention.start >= cues[-1].end()]
    if after:
        return _first(text, after)
    if cues[-1]["total"] is None:
        return None
    if len(said) > 1 and not _CLAUSE.search(text, said[-2].end, said[-1].start):
        return Unparsed("several numbers")
    return said[-1].value


def _first(text: str, mentions: Sequence[_Mention]) -> float | Unparsed:
    """The first mention, unless another shares its clause."""
    first = mentions[0]
    if len(mentions) > 1:
        breaks = (pattern.search(text, first.end, mentions[1].start) for pattern in (_CLAUSE, _SENTENCE))
        if not any(breaks):
            return Unparsed("several numbers")
    return first.value
