"""Words against words: BLEU, ROUGE-L, captions, and answers out of a list of possible ones."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .. import stats
from ..types import Columns, Estimate, Record, Sample
from ._stemming import stem

EPSILON = 0.1
"""What smoothing `method1` counts where no n-gram matches (`SmoothingFunction` of nltk)."""

LONGEST = 4000
"""How many words of a caption are read, which bounds its time; a reply of 2048 tokens has fewer."""

_LAST_STOP = re.compile(r"(?<=[^.\s])\.(?=[\])}>\"'»”’]*(?:\s|\Z))")
_MARK = re.compile(r"""(\.{2,}|--|["“”«»;@#$%&?!()\[\]{}<>]|[:,](?!\d))""")
_CLITIC = re.compile(r"(?<=[^'\s])('(?:s|m|d|ll|re|ve)?|n't)(?=\s|\Z)")


@dataclass(frozen=True, slots=True)
class GoldText:
    """Everything that is right as an answer, and the caption of the image where there is one. As text, the first answer."""

    answers: tuple[str, ...]
    caption: str = ""

    def __str__(self) -> str:
        return self.answers[0]


@dataclass(frozen=True, slots=True)
class PossibleAnswers:
    """`accuracy`: the share of samples whose value is one of the answers, letter for letter, in [0, 1]. An unparsed reply is wrong.

    The target is a `GoldText`. SATORI-R1's answer reward (`plugin.py: VQAAccuracy`).

    >>> from evalkit.types import Wants
    >>> sample = Sample("1", "What?", "What?", (), Wants("text"), target=GoldText(("cat", "Cat")))
    >>> PossibleAnswers().measure("Cat", sample), PossibleAnswers().measure("CAT", sample)
    ({'correct': 1.0}, {'correct': 0.0})
    """

    @property
    def name(self) -> str:
        return "possible_answers"

    def measure(self, value: str | None, sample: Sample) -> Record:
        """`correct`: 1 where the value is one of the answers, else 0."""
        return {"correct": float(value is not None and value in sample.target.answers)}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """`accuracy`, with Wilson's interval on the effective n."""
        return {"accuracy": stats.share(stats.column(records, "correct"), records.group)}


@dataclass(frozen=True, slots=True)
class Caption:
    """`caption`: the mean of `caption_score` against the caption of the target, a `GoldText`, in [0, 1]; 0 for an unparsed reply.

    A sample without a gold caption does not count.

    >>> from evalkit.types import Wants
    >>> sample = Sample("1", "What?", "What?", (), Wants("text"), target=GoldText(("cat",), "A cat sits on a mat."))
    >>> Caption().measure("A cat sits on a mat.", sample), Caption().measure(None, sample)
    ({'caption': 1.0}, {'caption': 0.0})
    """

    @property
    def name(self) -> str:
        return "caption"

    def measure(self, value: str | None, sample: Sample) -> Record:
        """`caption`, the score of the sample's; empty where the target has no caption."""
        gold: GoldText = sample.target
        return {"caption": caption_score(value or "", gold.caption)} if gold.caption else {}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """`caption`, with a clustered bootstrap interval."""
        return {"caption": stats.mean(stats.column(records, "caption"), records.group, bounded=True)}


def caption_score(candidate: str, reference: str) -> float:
    """How near a caption is to the gold one, in [0, 1]: the mean of BLEU-4 (smoothing `method1`) and ROUGE-L, over `LONGEST` words.

    SATORI-R1's caption reward (`plugin.py: CaptionAccuracy`): BLEU on nltk's words in lower case, see `words`, and ROUGE-L as
    rouge-score has it, on stems of runs of a to z and 0 to 9.

    >>> round(caption_score("a dog sits on the couch", "the image shows a dog on a couch"), 6)
    0.324607
    """
    cut, gold = " ".join(candidate.split()[:LONGEST]), " ".join(reference.split()[:LONGEST])
    return (bleu(words(cut), words(gold)) + rouge_l(_stems(cut), _stems(gold))) / 2


def words(text: str) -> list[str]:
    """The words and marks of an English text in lower case, as nltk's `word_tokenize` parts them.

    But for three things: every full stop at the end of a word is a mark (nltk knows some abbreviations), a quotation mark stays
    what it is, and "cannot" and its like stay whole.

    >>> words("The dog's red-and-white ball, 3.5 cm, isn't there (yet).")
    ['the', 'dog', "'s", 'red-and-white', 'ball', ',', '3.5', 'cm', ',', 'is', "n't", 'there', '(', 'yet', ')', '.']
    """
    return _CLITIC.sub(r" \1", _MARK.sub(r" \1 ", _LAST_STOP.sub(" . ", text.lower()))).split()


def _stems(text: str) -> list[str]:
    """The tokens of rouge-score's `DefaultTokenizer` with its stemmer: words of more than three letters are stemmed."""
    return [stem(word) if len(word) > 3 else word for word in re.findall(r"[a-z0-9]+", text.lower())]


def bleu(candidate: Sequence[str], reference: Sequence[str], order: int = 4, smoothing: Literal["none", "method1"] = "method1") -> float:
    """The BLEU of a sentence's tokens against those of one reference, in [0, 1]: n-gram precisions up to `order` >= 1, weighed alike.

    As nltk's `sentence_bleu` (Papineni et al., ACL 2002): clipped counts, a geometric mean, the brevity penalty exp(1 - r/c) of
    a candidate that is no longer than the reference. Smoothing `method1` (Chen and Cherry, WMT 2014) counts 0.1 where no n-gram
    matches; `none` makes that 0. A candidate without one token of the reference is 0 either way.

    >>> round(bleu("a cat on a mat".split(), "a cat on the mat".split()), 6), bleu(["cat"], ["cat"], order=1)
    (0.285744, 1.0)
    >>> bleu([], ["cat"]), bleu("a b".split(), "b a".split(), smoothing="none")
    (0.0, 0.0)
    """
    total = 0.0
    for n in range(1, order + 1):
        grams, known = _grams(candidate, n), _grams(reference, n)
        matched: float = sum(min(count, known[gram]) for gram, count in grams.items() if gram in known)
        if not matched:
            if n == 1 or smoothing == "none":
                return 0.0
            matched = EPSILON
        total += math.log(matched / max(len(candidate) - n + 1, 1)) / order
    return math.exp(total + min(1 - len(reference) / len(candidate), 0.0))


def rouge_l(candidate: Sequence[str], reference: Sequence[str]) -> float:
    """The ROUGE-L of tokens, in [0, 1]: the F1 of their longest common subsequence; 0 where either is empty.

    C.-Y. Lin, ACL workshop on text summarization 2004, with equal weights as in Google's rouge-score.

    >>> round(rouge_l("a dog on the couch".split(), "the dog sits on a couch".split()), 6), rouge_l([], ["dog"])
    (0.545455, 0.0)
    """
    common = _common(candidate, reference)
    return 2 * common / (len(candidate) + len(reference)) if common else 0.0


def _grams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(n)), strict=False))


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence, by rows of bits (H. Hyyrö, AWOCA 2004): time is the product of the lengths over 64.

    >>> _common("abcbdab", "bdcaba")
    4
    """
    places: dict[str, int] = {}
    for place, token in enumerate(second):
        places[token] = places.get(token, 0) | 1 << place
    whole = row = (1 << len(second)) - 1  # a zero is where the length grows
    for token in first:
        if matched := row & places.get(token, 0):
            row = (row + matched | row - matched) & whole
    return len(second) - row.bit_count()
