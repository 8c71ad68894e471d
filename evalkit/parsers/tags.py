"""Where the answer of a reply is: in a tag, in a box, behind a marker, or the whole of it."""

import functools
import re
from typing import Literal, NamedTuple

from ..types import Unparsed

_THOUGHT = re.compile(r"<(/?)(?:think|thinking|rethink|thought)>", re.IGNORECASE)
_BRACES = re.compile(r"\\[{}]|\\(?:boxed|fbox)\s?\{|[{}]")
_WRAPPER = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathsf|mbox)\s?\{([^{}]*)\}")
_MARKER = re.compile(
    r"""\b(?:answer|(?:correct|right|best)\s(?:option|choice))\b["'”’*_)]{0,6}
        (?: (?:\s{1,3}to\s[^.:\n]{1,80}?)? \s{1,3}(?:is|was|would\sbe|should\sbe|must\sbe|will\sbe)\b\s?[::]?
          | \s{0,3}(?:[::=→⇒]|->|[-–—]\s)
          | (?<=final\sanswer)[*_]{0,4}\s{0,3}\n
          | (?<=final\sanswer\*\*)\s )""",
    re.IGNORECASE | re.VERBOSE,
)
_EDGES = " \t\r\n*_:#>`"


class Span(NamedTuple):
    """The part of a reply that holds its answer, and how it was found."""

    text: str
    origin: Literal["tag", "box", "marker", "whole"]


def between(text: str, name: str) -> str | Unparsed:
    """The stripped content of the last complete `<name>..</name>`, or all that follows the last `<name>` where none is complete.

    A stop string may have eaten the closing tag. Letter case of the tag is free; of nested tags the innermost counts. The
    content may be empty. `Unparsed` where there is no opening tag.

    >>> between("<answer>B</answer> or rather <answer> C </answer>", "answer")
    'C'
    >>> between("<think>left</think> <answer> yes", "answer")
    'yes'
    >>> between("yes</answer>", "answer")
    Unparsed(reason='no <answer> tag')
    """
    found: str | None = None
    start = -1
    for tag in _tags(name).finditer(text):
        if not tag[1]:
            start = tag.end()
        elif start >= 0:
            found, start = text[start : tag.start()], -1
    if found is None and start >= 0:
        found = text[start:]
    return Unparsed(f"no <{name}> tag") if found is None else found.strip()


@functools.cache
def _tags(name: str) -> re.Pattern[str]:
    return re.compile(rf"<(/?){re.escape(name)}>", re.IGNORECASE)


def without_thoughts(text: str) -> str:
    """The reply without its thoughts, stripped: `<think>` and `<rethink>` blocks, all before a closing tag that nothing opened
    (the prompt may have opened it), and all after an opening tag that nothing closes. Empty where only thoughts are left.

    >>> without_thoughts("<think>two on the left</think><rethink>and one</rethink> 3")
    '3'
    >>> without_thoughts("<think>two on the left")
    ''
    """
    kept: list[str] = []
    end, inside = 0, False
    for tag in _THOUGHT.finditer(text):
        if tag[1]:
            if not inside:
                kept.clear()
            end, inside = tag.end(), False
        elif not inside:
            kept.append(text[end : tag.start()])
            inside = True
    return "".join(kept if inside else [*kept, text[end:]]).strip()


def boxed(text: str) -> str | Unparsed:
    r"""The stripped content of the last `\boxed{..}` with balanced braces; of nested ones the outermost. `Unparsed` where none closes.

    >>> boxed(r"first \boxed{4}, then \boxed{\frac{1}{2}}")
    '\\frac{1}{2}'
    """
    found: tuple[int, int] | None = None
    opened: list[int] = []
    for brace in _BRACES.finditer(text):
        if brace[0] == "}":
            start = opened.pop() if opened else -1
            if start >= 0:
                found = start, brace.start()
        elif brace[0][-1] == "{" and brace[0] != r"\{":
            opened.append(brace.end() if len(brace[0]) > 1 else -1)
    return Unparsed(r"no complete \boxed{}") if found is None else text[found[0] : found[1]].strip()


def answer_span(text: str) -> Span:
    """The span that a strict reader takes for the answer, stripped, and how it was found; may be empty.

    Thoughts are left out (but an `<answer>` in them is taken where nothing follows them). Then, first that is not blank: the last
    `<answer>`; in it or in the whole, the last `\\boxed{}`; the first line after the last "answer is", "answer:" or "final
    answer" that anything follows; else the whole.

    >>> answer_span("So the answer is: **4**, as one is hidden.")
    Span(text='4**, as one is hidden.', origin='marker')
    >>> answer_span("<think>the answer is A</think> B")
    Span(text='B', origin='whole')
    """
    rest = without_thoughts(text)
    tag = between(rest or text, "answer")
    origin: Literal["tag", "whole"] = "whole"
    if isinstance(tag, str) and tag:
        rest, origin = tag, "tag"
    if "\\" in rest:
        rest = _WRAPPER.sub(r"\1", rest)
        box = boxed(rest)
        if isinstance(box, str) and box:
            return Span(box, "box")
    start = None
    if ends := [marker.end() for marker in _MARKER.finditer(rest)]:
        last = next((i for i in range(len(rest) - 1, -1, -1) if rest[i].isalnum()), -1)
        start = next((end for end in reversed(ends) if end <= last), None)
    if start is None:
        return Span(rest, origin)
    return Span(rest[start:].lstrip(_EDGES).split("\n", 1)[0].strip(), "marker" if origin == "whole" else origin)


def final_answer(text: str) -> str:
    r"""The text of `answer_span`: the answer as written, or the whole reply where nothing sets an answer apart.

    >>> final_answer("<think>Box 1 [12,5,19,20]</think> 7"), final_answer(r"Hence $\boxed{\text{D}}$."), final_answer("a red bus")
    ('7', 'D', 'a red bus')
    """
    return answer_span(text).text
