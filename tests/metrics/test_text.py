"""BLEU, ROUGE-L and captions against nltk and rouge-score, and SATORI-R1's own values."""

import random
import warnings
from collections.abc import Iterator

import numpy as np
import pytest

from evalkit.geometry import Box, Frame, Size, to_original
from evalkit.metrics.boxes import GroundingIoU
from evalkit.metrics.text import Caption, GoldText, PossibleAnswers, bleu, caption_score, rouge_l, words
from evalkit.types import Columns, Sample, Wants

SENTENCES = (
    "The dog's red-and-white ball, 3.5 cm, isn't there (yet).",
    "A man, wearing a hat; he's smiling!",
    "At 10:30 the bus #42 stops at 5th & Main.",
    "It costs $5.00 - 20% off -- today only...",
    "They'll say we've won, I'd guess; I'm fine",
    "dogs' bowls in the 1990's style, 1,000 of them",
    "what?! really: a b/c",
    "Relational horses were happily sitting; skies, dying, innings, controlling yyyy",
)


def pairs() -> Iterator[tuple[list[str], list[str]]]:
    """Random sentences over few words, so that n-grams of every order match and fail to."""
    drawn = random.Random(0)
    for _ in range(400):
        yield [drawn.choice("abcd") for _ in range(drawn.randrange(12))], [drawn.choice("abcd") for _ in range(drawn.randrange(1, 12))]


def sample(**fields: object) -> Sample:
    return Sample("1", "What?", "What?", (), Wants("text"), **{"target": GoldText(("cat",), "A cat sits."), **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize("order", [1, 2, 4])
def test_bleu_is_nltks(order: int) -> None:
    reference = pytest.importorskip("nltk.translate.bleu_score")
    weights, method1 = (1 / order,) * order, reference.SmoothingFunction().method1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nltk warns where an order has no match
        for candidate, gold in pairs():
            expected = reference.sentence_bleu([gold], candidate, weights, method1), reference.sentence_bleu([gold], candidate, weights)
            got = bleu(candidate, gold, order), bleu(candidate, gold, order, smoothing="none")
            assert got == pytest.approx(expected, abs=1e-12)


def test_rouge_l_is_googles() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    for candidate, gold in pairs():
        expected = scorer.score(" ".join(gold), " ".join(candidate))["rougeL"].fmeasure
        assert rouge_l(candidate, gold) == pytest.approx(expected, abs=1e-12)


def test_words_are_parted_as_nltk_does() -> None:
    tokenizer = pytest.importorskip("nltk.tokenize").NLTKWordTokenizer()
    assert [words(text) for text in SENTENCES] == [tokenizer.tokenize(text.lower()) for text in SENTENCES]


def test_a_full_stop_ends_a_sentence_inside_a_caption_too() -> None:
    assert words("A dog runs. A cat sits.") == ["a", "dog", "runs", ".", "a", "cat", "sits", "."]


def test_a_caption_scores_as_in_satoris_reward() -> None:
    """`plugin.py: CaptionAccuracy`: nltk's BLEU on lower-case words and rouge-score with its stemmer."""
    reference = pytest.importorskip("nltk.translate.bleu_score")
    tokenizer = pytest.importorskip("nltk.tokenize").NLTKWordTokenizer()
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"], use_stemmer=True)
    method1 = reference.SmoothingFunction().method1
    for candidate in SENTENCES:
        for gold in (*SENTENCES, "Men wearing hats were sitting happily on a relation of horses."):
            said, known = (tokenizer.tokenize(text.lower()) for text in (candidate, gold))
            overlap = reference.sentence_bleu([known], said, smoothing_function=method1)
            assert caption_score(candidate, gold) == pytest.approx((overlap + scorer.score(gold, candidate)["rougeL"].fmeasure) / 2)


def test_stems_are_nltks() -> None:
    """Of words made of the endings that the rules are about."""
    stemmer = pytest.importorskip("nltk.stem.porter").PorterStemmer()
    from evalkit.metrics._stemming import stem

    drawn = random.Random(1)
    endings = "ational ousli ization biliti logi alli icate ness ement sion tion eed ied ies sses ing ed y ll e izing ated bled".split()
    for _ in range(5000):
        word = "".join(drawn.choice("abdeiolsty") for _ in range(drawn.randrange(5))) + drawn.choice(endings)
        assert stem(word) == stemmer.stem(word), word
    assert [stem(word) for word in ("skies", "canning", "proceed", "is")] == ["sky", "canning", "proceed", "is"]


@pytest.mark.parametrize(
    ("candidate", "score"),
    [("the image shows a dog on a couch", 1.0), ("a dog sits on the couch", 0.324607), ("a cat", 0.103722), ("", 0.0), ("?!", 0.0)],
)
def test_captions_have_the_values_of_the_authors_function(candidate: str, score: float) -> None:
    assert caption_score(candidate, "the image shows a dog on a couch") == pytest.approx(score, abs=1e-6)


def test_a_hostile_caption_costs_what_its_first_words_cost() -> None:
    """A million words score as their beginning does: nothing grows with the product of two long texts."""
    spam = "a b c d " * 250_000
    assert caption_score(spam, "a b c d") == caption_score(" ".join(spam.split()[:4000]), "a b c d")
    assert caption_score(".'" * 500_000 + "y" * 100_000, "a b c d") == 0.0


def test_a_caption_is_averaged_over_samples_that_have_a_gold_one() -> None:
    metric = Caption()
    assert metric.measure("a cat sits.", sample()) == {"caption": pytest.approx(1.0)}
    assert metric.measure(None, sample()) == {"caption": 0.0}
    assert metric.measure("a cat sits.", sample(target=GoldText(("cat",)))) == {}
    estimate = metric.summarise(Columns({"caption": np.array([1.0, 0.0])}, np.array([0, 1])))["caption"]
    assert (estimate.value, estimate.n) == (0.5, 2)
    assert metric.summarise(Columns({}, np.array([], dtype=int)))["caption"].value is None


def test_an_answer_is_right_if_it_is_one_of_the_possible_ones_letter_for_letter() -> None:
    both, upper = sample(target=GoldText(("cat", "Cat"))), sample(target=GoldText(("Cat",)))
    assert [PossibleAnswers().measure("cat", one)["correct"] for one in (both, upper)] == [1.0, 0.0]
    assert PossibleAnswers().measure(None, both) == {"correct": 0.0}
    assert str(both.target) == "cat"


@pytest.mark.parametrize(
    ("boxes", "gold", "expected"),
    [
        ([(0, 0, 10, 10), (5, 5, 15, 15)], (0, 0, 10, 10), 0.57142857),
        ([(0, 0, 10, 10), (20, 20, 30, 30)], (0, 0, 10, 10), 0.5),
        ([(10, 10, 0, 0)], (0, 0, 10, 10), 1.0),
        ([], (0, 0, 10, 10), 0.0),
    ],
)
def test_regions_overlap_as_in_satoris_reward(boxes: list[tuple[float, ...]], gold: tuple[float, ...], expected: float) -> None:
    record = GroundingIoU().measure([Box(*box) for box in boxes], sample(regions=(Box(*gold),)))
    assert record["iou"] == pytest.approx(expected, abs=1e-7)


def test_a_box_of_the_resized_image_is_brought_back_before_it_is_compared() -> None:
    """640 x 480, of which the model sees 644 x 476."""
    box = to_original((0, 0, 320, 240), Frame.SEEN, Size(640, 480), Size(644, 476))
    assert GroundingIoU().measure([box], sample(regions=(Box(0, 0, 320, 240),)))["iou"] == pytest.approx(0.98556, abs=5e-6)
