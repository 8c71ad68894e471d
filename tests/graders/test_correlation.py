"""The cross-modal correlation: what the judge is shown and asked, what is random in it and how it repeats, what its replies score."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit.geometry import Box, Frame, Size
from evalkit.graders import find
from evalkit.graders.correlation import drawable, named, random_box
from evalkit.metrics.faithfulness import CrossModalCorrelation
from evalkit.types import Columns, Draw, Evidence, Generate, Image, Prediction, Request, Response, Sample, Unparsed, Wants

PICTURE = Image(Path("a.jpg"), size=Size(640, 480), digest="d")
SAMPLE = Sample("7", "How many dogs?", "How many dogs?", (PICTURE,), Wants("count"), 2)
DOGS = (Box(10, 20, 110, 220), Box(300, 40, 420, 400))
CHAIN = '<think> Two dogs: {"bbox_2d": [10, 20, 110, 220]} and (300, 40, 420, 400). </think> <rethink> So two. </rethink>'
PROBE = find("correlation")
(RULE,) = PROBE.rules
METRIC = CrossModalCorrelation()


def told(*boxes: Box | None, text: str = f"{CHAIN} <answer> 2") -> Prediction:
    """A prediction with evidence at these boxes."""
    return Prediction(text, "2", evidence=tuple(Evidence((0, 0, 0, 0), Frame.ORIGINAL, box) for box in boxes))


def graded(judge: Callable[[Request], str], prediction: Prediction, sample: Sample = SAMPLE) -> tuple[list[Request], Any]:
    """What was asked, and the verdict."""
    conversation, asked = PROBE.grader.grade(sample, prediction), []
    try:
        request = next(conversation)
        while True:
            asked.append(request)
            request = conversation.send(Response(judge(request)))
    except StopIteration as end:
        return asked, end.value


def sides(request: Request) -> tuple[tuple[Box, ...], ...]:
    """The boxes drawn on each of the two images."""
    assert isinstance(request.kind, Generate)
    *images, _ = request.kind.messages[0].content
    drawn = []
    for image in images:
        assert isinstance(image, Image)
        assert image.source == PICTURE
        assert isinstance(image.operation, Draw)
        drawn.append(image.operation.boxes)
    return tuple(drawn)


def seeing(request: Request) -> str:
    """A judge that knows the boxes of the dogs."""
    return f"Image {sides(request).index(DOGS)}"


def measured(verdict: Any, sample: Sample = SAMPLE) -> Any:
    value = RULE.parse(Prediction("", None, verdicts={"correlation": verdict}), sample)
    return RULE.metric.measure(None if isinstance(value, Unparsed) else value, sample)


def summarised(records: list[Any]) -> Any:
    right = np.empty(len(records), dtype=object)
    right[:] = [np.array(record["right"]) for record in records]
    unparsed = np.array([record["unparsed"] for record in records])
    return METRIC.summarise(Columns({"right": right, "unparsed": unparsed} if records else {}, np.arange(len(records))))


# ---------------------------------------------------------------- what the judge is asked


def test_the_judge_is_asked_three_times_in_the_papers_words_with_both_images() -> None:
    asked, _ = graded(seeing, told(*DOGS))
    assert [request.draw for request in asked] == [0, 1, 2]
    for request in asked:
        assert isinstance(request.kind, Generate)
        (message,) = request.kind.messages
        assert (request.to, message.role, len(message.content)) == ("judge", "user", 3)
        assert request.kind.sampling.temperature == 0
        assert message.content[2] == (
            "Please decide which image has the bounding boxes that match the following description: "
            "<think> Two dogs: and. </think> <rethink> So two. </rethink>\n"
            'Reply with exactly "Image 0" or "Image 1".'
        )


def test_the_replys_boxes_are_on_one_image_and_as_many_others_in_the_other() -> None:
    for request in graded(seeing, told(*DOGS))[0]:
        (others,) = set(sides(request)) - {DOGS}
        assert len(others) == len(DOGS)
        assert all(box.area > 0 and box == box.clipped(Size(640, 480)) for box in others)


def test_the_whole_reply_is_the_chain_where_no_answer_is_set_apart() -> None:
    (request, *_), _ = graded(seeing, told(*DOGS, text="Two dogs at [10, 20, 110, 220] {sic}"))
    assert isinstance(request.kind, Generate)
    assert ": Two dogs at {sic}\n" in str(request.kind.messages[0].content[2])


def test_a_box_counts_once_and_only_its_part_inside_the_image() -> None:
    outside, thin = Box(700, 0, 800, 50), Box(5, 5, 5, 90)
    assert drawable(SAMPLE, told(DOGS[0], None, outside, thin, DOGS[0], Box(600, 400, 700, 500))) == (DOGS[0], Box(600, 400, 640, 480))


@pytest.mark.parametrize("prediction", [told(), told(None), told(Box(700, 0, 800, 50)), Prediction("", None, "missing", missing=True)])
def test_without_a_box_in_the_image_nobody_is_asked_and_the_sample_does_not_count(prediction: Prediction) -> None:
    asked, verdict = graded(seeing, prediction)
    assert (asked, verdict, measured(verdict)) == ([], None, {})


def test_a_sample_without_an_image_does_not_count() -> None:
    assert graded(seeing, told(*DOGS), replace(SAMPLE, images=()))[1] is None


# ---------------------------------------------------------------- what is random


def test_everything_random_is_the_same_again_and_differs_by_sample_and_repeat() -> None:
    first, again = (graded(seeing, told(*DOGS))[0] for _ in range(2))
    assert [request.key("f") for request in first] == [request.key("f") for request in again]
    other = graded(seeing, told(*DOGS), replace(SAMPLE, id="8"))[0]
    assert len({sides(request) for request in (*first, *other)}) == 6


def test_the_replys_boxes_come_first_half_of_the_time() -> None:
    places = [place for i in range(400) for place in graded(seeing, told(*DOGS), replace(SAMPLE, id=str(i)))[1]["shown"]]
    assert abs(sum(places) / len(places) - 0.5) < 0.05


def test_random_boxes_lie_evenly_over_the_image() -> None:
    rng = random.Random(0)
    boxes = [random_box(Size(300, 100), rng) for _ in range(4000)]
    assert np.mean([(box.x1 + box.x2) / 2 for box in boxes]) == pytest.approx(150, abs=3)
    assert np.mean([(box.x2 - box.x1) / 300 for box in boxes]) == pytest.approx(1 / 3, abs=0.01)
    assert np.mean([(box.y2 - box.y1) / 100 for box in boxes]) == pytest.approx(1 / 3, abs=0.01)


def test_an_image_of_one_pixel_has_a_random_box() -> None:
    assert random_box(Size(1, 1), random.Random(0)) == Box(0, 0, 1, 1)


# ---------------------------------------------------------------- what the replies score


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("Image 0", 0),
        ("image 1.", 1),
        ("**Image 1** matches; yes, Image 1", 1),
        ("<think> Image 0 or Image 1? </think> Image 0", 0),
        ("Image 10", None),
        ("Image 2", None),
        ("Image 0 and Image 1", None),
        ("both", None),
        ("", None),
    ],
)
def test_a_judges_reply_is_the_one_image_that_it_names(said: str, number: int | None) -> None:
    assert named(said) == number


def test_a_judge_that_sees_scores_one_and_one_that_errs_zero() -> None:
    seen = measured(graded(seeing, told(*DOGS))[1])
    blind = measured(graded(lambda request: f"Image {1 - sides(request).index(DOGS)}", told(*DOGS))[1])
    assert (seen, blind) == ({"right": [1, 1, 1], "unparsed": 0}, {"right": [0, 0, 0], "unparsed": 0})
    numbers = summarised([seen] * 10)
    assert (numbers["correlation"].value, numbers["correlation"].n, numbers["correlation_deviation"].value) == (1, 10, 0)
    assert 0.5 < numbers["correlation"].low < 1


def test_a_judge_that_tosses_a_coin_is_at_the_floor() -> None:
    coin = random.Random(5)
    records = [measured(graded(lambda _: f"Image {coin.randint(0, 1)}", told(*DOGS), replace(SAMPLE, id=str(i)))[1]) for i in range(400)]
    numbers = summarised(records)
    assert numbers["correlation"].low < numbers["correlation_floor"].value == 0.5 < numbers["correlation"].high
    assert numbers["correlation"].value == pytest.approx(0.5, abs=0.05)
    means = [sum(record["right"][repeat] for record in records) / 400 for repeat in range(3)]
    assert numbers["correlation_deviation"].value == pytest.approx(np.std(means, ddof=1))
    assert numbers["correlation_deviation"].low <= numbers["correlation_deviation"].value <= numbers["correlation_deviation"].high
    assert numbers["judge_unparsed"].value == 0


def test_a_judge_that_names_no_image_is_wrong_and_counted() -> None:
    replies = iter(["Image 0 or 1? Image 1, or Image 0", "I cannot tell."])
    record = measured(graded(lambda request: next(replies, "") or seeing(request), told(*DOGS))[1])
    assert record == {"right": [0, 0, 1], "unparsed": 2}
    numbers = summarised([record, record])
    assert numbers["correlation"].value == pytest.approx(1 / 3)
    assert numbers["judge_unparsed"].value == pytest.approx(2 / 3)


def test_where_nothing_counts_there_is_no_number() -> None:
    assert summarised([])["correlation"].value is None
    assert summarised([])["correlation_deviation"].value is None
