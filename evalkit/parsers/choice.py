"""The letter of a multiple choice, read strictly: a letter that the reply gives as its answer, never a word such as "a" or "I"."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from ..types import Unparsed
from .tags import answer_span, without_thoughts

_MENTION = re.compile(
    r"""[(\[{]\s?\**(?P<bracketed>[A-Z])\**\s?[)\]}]
      | (?P<quote>\*\*|["'`“‘])(?P<quoted>[A-Z])[.:]?(?:\*\*|["'`”’])
      | (?<![\w'’°&/+.-])(?P<bare>[A-Z])(?![\w'’&/+-]|\.\w)""",
    re.VERBOSE,
)
_ARTICLE = re.compile(r"[ \t*_\"']{1,4}(?!(?:is|was|or|and|because|since|as|seems|looks|matches|fits|appears|but|for)\b)\w")
"""What follows an "A" that is an article, or an "I" that is a pronoun."""
_NOUN = r"(?:option|choice|letter|answer)"
_LEAD = r"[\s*_\"'“‘`$:(\[{]{0,6}(?=(?-i:[A-Z])(?!\w))"
_CLAIM = re.compile(
    rf"""(?:\b(?:answer|option|choice|guess|letter)\b[\s*_"'”)]{{0,6}}(?:to\s[^.\n]{{1,60}}?\s)?
              (?:(?:is|was|would\sbe|should\sbe|must\sbe|will\sbe)\b(?:\s(?:most|likely|clearly|probably|definitely|indeed|thus)){{0,2}}
                |[::=]|->|→|[-–—]\s)
          | \b(?:(?:it|that|this)(?:['’]s|\sis)|choose|chose|pick|select|go\swith|going\swith|must\sbe|would\sbe|should\sbe)\b)
        [\s*_:]{{0,4}}(?:{_NOUN}\b)?{_LEAD}""",
    re.IGNORECASE | re.VERBOSE,
)
_DENIAL = re.compile(
    rf"""(?:\b(?:not|neither|nor|except|than|instead\sof|unlike|without|cannot|exclud(?:e|ing)|eliminat(?:e|ing)|rul(?:e|ed|ing)\sout
              |reject(?:ing)?)|n['’]t)\s(?:(?:be|the|is|either|{_NOUN})\s){{0,3}}{_LEAD}
      | (?:\bnot|n['’]t)\s(?:think|believe)\s(?:[\w'’]{{1,12}}\s){{0,5}}{_LEAD}""",
    re.IGNORECASE | re.VERBOSE,
)
_WORDS = r"[\W_]{0,4}(?:(?!(?:because|since|as|and|or|but|so|if|for|rather)\b)[\w'’]{1,20}[ *]{0,3}(?:[-–—:][ *]{0,3})?){0,8}?"
_DENIED = re.compile(
    rf"(?![)\]*\"' ]{{0,4}},){_WORDS}\b(?:(?:is|are|was|does|do|can|could|would)(?:n['’]t|\s?not)\b|(?:wrong|incorrect|ruled\sout|unlikely)\b|"
    r"(?<=[-–—:]\s)not\b|(?<=[-–—:]\s)no\b)",
    re.IGNORECASE,
)
_CONFIRMED = re.compile(
    r"[\W_]{0,4}(?:[\w'’]{1,20}\s){0,4}?(?:is|seems|appears)\s(?:to\sbe\s)?(?:the\s)?(?:most\s)?(?:correct|best|accurate|right\sanswer|answer)\b",
    re.IGNORECASE,
)
_JOINED = re.compile(r"[^.;\n]{0,50}?(?:\b(?:or|and)\b|/|,|&)[^.;\n\w]{0,6}(?:(?:option|choice|perhaps|maybe|possibly)\b[\s(*]{0,4})?$", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\b(?:cannot|can['’]?t|can\snot|could\snot|unable\sto|not\spossible\sto)\s(?:\w{1,12}\s){0,3}?(?:answer(?:ed)?|choose|select(?:ed)?|pick)\b"
    r"|\bnone\sof\s(?:the|these|them)\b|\bneither\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s|\n")
_CLAUSE = re.compile(r"[,;.(]|\b(?:because|since|as)\b", re.IGNORECASE)


class _Mention(NamedTuple):
    start: int
    end: int
    letter: str
    at: int
    """Where the letter itself is."""


def letter(text: str, options: Sequence[str]) -> str | Unparsed:
    """The capital letter of the option that a reply chooses, of the first `len(options)` (at most 26); `options` are their texts.

    Read in the answer span (see `tags.answer_span`). First that is there: the span as a whole (a letter of either case, a letter
    with its option's text, an option's text); the last letter claimed ("the answer is C", "it is option C", "B is correct", a
    sentence that is only the letter); the letter of the last sentence that names one. Letters denied ("not (B)", "(B) is wrong")
    do not count, nor an article "A" or a pronoun "I". `Unparsed` where two letters stand side by side, where a letter is beyond
    the options, where the reply declines, and where there is none of these.

    >>> kinds = ["rubber", "cotton", "kevlar", "leather"]
    >>> letter("Based on the image, the answer is C", kinds), letter("not (B) but (C)", kinds), letter("Kevlar.", kinds)
    ('C', 'C', 'C')
    >>> letter("There is a glove", kinds), letter("A or B", kinds)
    (Unparsed(reason='no letter'), Unparsed(reason='several letters'))
    """
    span = answer_span(text)
    if not span.text:
        return Unparsed("empty answer")
    whole = _whole(span.text, options)
    if whole is not None:
        return whole
    if span.origin == "marker":
        if _REFUSAL.match(span.text) or re.match(r"none\b", span.text, re.IGNORECASE):
            return Unparsed("declined")
        clause = _by_text(_CLAUSE.split(span.text, maxsplit=1)[0], options)
        return clause or _search(without_thoughts(text), options)
    return _search(span.text, options)


def _whole(span: str, options: Sequence[str]) -> str | Unparsed | None:
    """The choice of a span that is nothing but one."""
    single = re.fullmatch(r"[\W_]*(?:(?:option|choice|letter)[\W_]+)?([A-Za-z])[\W_]*", span, re.IGNORECASE)
    if single:
        return _within(single[1].upper(), options)
    lettered = re.match(r"[\W_]{0,6}(?:([A-Z])[\W_]{1,6}|([a-z])[).:\]][\W_]{0,6})", span)
    if lettered:
        index = ord((lettered[1] or lettered[2]).upper()) - ord("A")
        if index < len(options) and _plain(options[index]) == _plain(span[lettered.end() :]):
            return chr(ord("A") + index)
    return _by_text(span, options)


def _search(text: str, options: Sequence[str]) -> str | Unparsed:
    """The choice among the letters that a text mentions."""
    mentions = _mentions(text, options)
    claims = {match.end() for match in _CLAIM.finditer(text)}
    denials = {match.end() for match in _DENIAL.finditer(text)}
    passages = _passages(text, mentions)
    kept: list[list[_Mention]] = []
    claimed: _Mention | None = None
    for start, end, named in passages:
        kept.append([])
        for mention in named:
            if mention.at in denials:
                continue
            alone = len(named) == 1 and _plain(text[start : mention.start] + text[mention.end : end]) in ("", _text(mention.letter, options))
            if alone or mention.at in claims or _CONFIRMED.match(text, mention.end, end):
                claimed = mention
            elif _DENIED.match(text, mention.end, end):
                continue
            kept[-1].append(mention)
    last = next((named for named in reversed(kept) if named), None)
    if last is None:
        return Unparsed("no letter")
    if claimed:
        rival = next((m for named in kept for m in named if m.start >= claimed.end and m.letter != claimed.letter), None)
        if rival and _JOINED.match(text, claimed.end, rival.start):
            return Unparsed("several letters")
        return _within(claimed.letter, options)
    if len({mention.letter for mention in last}) > 1:
        return Unparsed("several letters")
    if _REFUSAL.search(text, last[-1].end):
        return Unparsed("declined")
    return _within(last[-1].letter, options)


def _mentions(text: str, options: Sequence[str]) -> list[_Mention]:
    """The capital letters that stand for an option, in order. A letter beyond the options is kept, for a claim of it says much."""
    found: list[_Mention] = []
    for match in _MENTION.finditer(text):
        name = match["bracketed"] or match["quoted"] or match["bare"]
        if match["bare"] and name in "AI" and _ARTICLE.match(text, match.end()):
            own = _text(name, options)
            if not own or _plain(text[match.end() : match.end() + len(own) + 8]).find(own) != 0:
                continue
        found.append(_Mention(match.start(), match.end(), name, text.index(name, match.start())))
    return found
