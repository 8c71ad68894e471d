"""The letter of a multiple choice, read strictly: a letter that the reply gives as its answer, never a word such as "a" or "I"."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from ..types import Unparsed
from .tags import answer_span, without_thoughts

_MENTION = re.compile(
    r"""[(\[{]\s?\**(?P<bracketed>[A-Z])\**\s?[)\]}]
      | (?P<quote>\*\*|["'`“‘])(?P<quoted>[A-Z])[.:]?(?:\*\*|["'`”’])
      | (?<![\w'’°&/+.-])(?P<bare>[A-Z])(?![\w'’&/+-]|\.\w\b)""",
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
_WORDS = r"[\W_]{0,4}(?:(?!(?:because|since|as|and|or|but|so|if|for|rather)\b)[\w'’]{1,20}+[ *]{0,3}+(?:[-–—:][ *]{0,3}+)?+){0,8}?"
_DENIED = re.compile(
    rf"(?![)\]*\"' ]{{0,4}},){_WORDS}\b(?:(?:is|are|was|does|do|can|could|would)(?:n['’]t|\s?not)\b|"
    r"(?:wrong|incorrect|ruled\sout|unlikely|impossible)\b|"
    r"(?<=[-–—:]\s)not\b|(?<=[-–—:]\s)no\b)",
    re.IGNORECASE,
)
_CONFIRMED = re.compile(
    r"[\W_]{0,4}(?:[\w'’]{1,20}\s){0,4}?(?:is|seems|appears)\s(?:to\sbe\s)?(?:the\s)?(?:most\s)?(?:correct|best|accurate|right\sanswer|answer)\b",
    re.IGNORECASE,
)
_RIVAL = re.compile(
    r"[^.;\n]{0,50}?(?:\b(?:or|and)\b|[/,&])[^.;\n\w]{0,6}(?:(?:option|choice|perhaps|maybe|possibly)\b[\s(*]{0,4})?", re.IGNORECASE
)
_PAIR = re.compile(r"(?:[^.;,\n]{0,40}?,?\s(?:and|or|nor)|[^.;,\n\w]{0,3},)\W{1,6}(?:(?:option|choice)\W{1,4})?", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\b(?:cannot|can['’]?t|can\snot|could\snot|unable\sto|not\spossible\sto)\s(?:\w{1,12}\s){0,3}?(?:answer(?:ed)?|choose|select(?:ed)?|pick)\b"
    r"|\bnone\sof\s(?:the|these|them)\b|\bneither\b",
    re.IGNORECASE,
)
_LAST_REFUSAL = re.compile(
    r"(?:cannot|can['’]t|can\snot|unable\sto)\sanswer(?:\s(?:it|this|that|the\squestion|this\squestion))?\W*$", re.IGNORECASE
)
_SENTENCE = re.compile(r"(?<=[.!?])\s|\n")
_CLAUSE = re.compile(r"[,;.(]|\b(?:because|since|as)\b", re.IGNORECASE)


class _Mention(NamedTuple):
    start: int
    end: int
    letter: str
    at: int
    """Where the letter itself is."""


_Passage = tuple[int, int, list[_Mention]]
"""Start, end and mentions of a sentence, or of a list of options in the order of their letters."""


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
    passages = _passages(text, _mentions(text, options))
    claims = _claims(text, passages, options)
    denied = _denials(text, passages, claims)
    last: list[_Mention] = []
    claimed: _Mention | None = None
    joined = False
    for _, _, named in passages:
        kept = [m for m in named if m.at not in denied and (m.at in claims or _own(m.letter, options))]
        for k, mention in enumerate(kept):
            if mention.at in claims:
                claimed, joined = mention, False
            elif k and kept[k - 1] is claimed and mention.letter != claimed.letter:
                joined = _RIVAL.fullmatch(text, claimed.end, mention.at) is not None
        last = kept or last
    if not last:
        return Unparsed("no letter")
    if joined or (not claimed and len({mention.letter for mention in last}) > 1):
        return Unparsed("several letters")
    if _REFUSAL.search(text, last[-1].end) if not claimed else _LAST_REFUSAL.search(text[-80:]):
        return Unparsed("declined")
    return _within((claimed or last[-1]).letter, options)


def _claims(text: str, passages: Sequence[_Passage], options: Sequence[str]) -> set[int]:
    """Where the letters are that a text gives as the answer: by a phrase before or after them, or by a sentence of their own."""
    found = {match.end() for match in _CLAIM.finditer(text)}
    for start, end, named in passages:
        found.update(mention.at for mention in named if _CONFIRMED.match(text, mention.end, end))
        if len(named) == 1:
            rest = _plain(text[start : named[0].start] + text[named[0].end : end])
            if rest in ("", _own(named[0].letter, options)):
                found.add(named[0].at)
    return found


def _denials(text: str, passages: Sequence[_Passage], claims: set[int]) -> set[int]:
    """Where the letters are that a text rules out, and those that a comma, "and", "or" or "nor" joins to them."""
    found = {match.end() for match in _DENIAL.finditer(text)}
    for _, end, named in passages:
        found.update(mention.at for mention in named if mention.at not in claims and _DENIED.match(text, mention.end, end))
        pairs = [(one.at, other.at) for one, other in pairwise(named) if _PAIR.fullmatch(text, one.end, other.at)]
        for one, other in [*pairs, *((other, one) for one, other in reversed(pairs))]:
            if one in found and other not in claims:
                found.add(other)
    return found


def _mentions(text: str, options: Sequence[str]) -> list[_Mention]:
    """The capital letters that stand for an option, in order; one beyond the options too, for it may be claimed."""
    found: list[_Mention] = []
    for match in _MENTION.finditer(text):
        name = match["bracketed"] or match["quoted"] or match["bare"]
        if match["bare"] and name in "AI" and _ARTICLE.match(text, match.end()):
            own = _own(name, options)
            if not own or not _plain(text[match.end() : match.end() + len(own) + 8]).startswith(own):
                continue
        found.append(_Mention(match.start(), match.end(), name, text.index(name, match.start())))
    return found


def _passages(text: str, mentions: Sequence[_Mention]) -> list[_Passage]:
    """The passages that mention any letter, in order."""
    ends = [match.end() for match in _SENTENCE.finditer(text)] + [len(text)]
    found: list[_Passage] = []
    start, k, head = 0, 0, ""
    for end in ends:
        named: list[_Mention] = []
        while k < len(mentions) and mentions[k].start < end:
            named.append(mentions[k])
            k += 1
        if named:
            previous, head = head, "" if re.search(r"[^\W_]", text[start : named[0].start]) else named[0].letter
            if previous and head and ord(head) == ord(previous) + 1:
                start, _, before = found.pop()
                named = before + named
            found.append((start, end, named))
        start = end
    return found


def _plain(text: str) -> str:
    """The words of a text, lower-case, single-spaced, without a leading article."""
    return re.sub(r"^(?:an?|the) ", "", " ".join(re.findall(r"[^\W_]+", text.lower())))


def _own(name: str, options: Sequence[str]) -> str:
    """The plain text of a letter's option, empty where there is no such option."""
    index = ord(name) - ord("A")
    return _plain(options[index]) or name if index < len(options) else ""


def _by_text(text: str, options: Sequence[str]) -> str | None:
    """The letter of the one option whose text this is."""
    words = _plain(text)
    same = [chr(ord("A") + index) for index, option in enumerate(options[:26]) if words and _plain(option) == words]
    return same[0] if len(same) == 1 else None


def _within(name: str, options: Sequence[str]) -> str | Unparsed:
    return name if ord(name) - ord("A") < len(options) else Unparsed(f"no option {name} among {len(options)}")
