"""Yes or no, read strictly: whole words, and no verdict where a reply gives both or neither."""

import re
from typing import Literal

from ..types import Unparsed
from .tags import answer_span, without_thoughts

Verdict = Literal["yes", "no"]

_WORDS: dict[str, Verdict] = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
_OTHER: dict[Verdict, Verdict] = {"yes": "no", "no": "yes"}
_WORD = re.compile(
    r"""(?P<both>\b(?:yes|no|true|false)\s{0,2}(?:\s(?:and|or|nor)\s|[/|])\s{0,2}(?:yes|no|true|false)\b)
      | (?P<idiom>["'“‘](?:yes|no|true|false)\s\w
          | \bno\s(?:doubt|idea|clue|matter|longer|one|way|more|less|answer|question|problem|means|information|evidence)\b
          | \b(?:can(?:not|['’]t|\snot)|could\snot|couldn['’]t)\s(?:\w{1,12}\s){0,2}(?:yes|no|true|false)(?:\sor\s(?:yes|no|true|false))?\b)
      | (?P<denied>\b(?:not|isn['’]t|wasn['’]t|never)\s(?:\w{1,12}\s){0,2}(?P<of>true|false)\b)
      | (?<![\w-])(?P<word>yes|no|true|false)(?![\w-])""",
    re.IGNORECASE | re.VERBOSE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s|\n")


def yes_no(text: str) -> Verdict | Unparsed:
    """The verdict "yes" or "no", "true" and "false" counting alike; `Unparsed` where the answer gives none, or both.

    Read in the answer span (see `tags.answer_span`): a first word that is a verdict wins; else the span must hold one verdict
    only, else its last sentence. "Not true" is a no. "Yes or no", "yes and no", "no idea" and the like say nothing. Where a
    marked answer says nothing, the whole reply without its thoughts is read the same way.

    >>> yes_no("Yes, because there is no dog."), yes_no("No. It is true that the cat sleeps.")
    ('yes', 'no')
    >>> yes_no("It is true in the photo. Still, the statement as a whole is false."), yes_no("yes and no")
    ('no', Unparsed(reason='no verdict'))
    """
    span = answer_span(text)
    verdict = _read(span.text)
    if isinstance(verdict, Unparsed) and span.origin == "marker" and verdict.reason == "no verdict":
        return _read(without_thoughts(text))
    return verdict


def _read(span: str) -> Verdict | Unparsed:
    if not span:
        return Unparsed("empty answer")
    found = [(match.start(), verdict) for match in _WORD.finditer(span) if (verdict := _verdict(match))]
    if not found:
        return Unparsed("no verdict")
    first, verdict = found[0]
    if not re.search(r"\w", span[:first]) or len({verdict for _, verdict in found}) == 1:
        return verdict
    last_sentence = _last_start(span)
    said = {verdict for start, verdict in found if start >= last_sentence}
    return said.pop() if len(said) == 1 else Unparsed("both yes and no")


def _verdict(match: re.Match[str]) -> Verdict | None:
    if match["of"]:
        return _OTHER[_WORDS[match["of"].lower()]]
    return _WORDS[match["word"].lower()] if match["word"] else None


def _last_start(span: str) -> int:
    """Where the last sentence of a stripped span begins."""
    return max((match.end() for match in _SENTENCE.finditer(span)), default=0)
