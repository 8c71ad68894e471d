"""Protocol `segment`: what is asked, word for word; what is read in a reply; and what the segmenter is asked of it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from evalkit import protocols
from evalkit.errors import Gap, Refused
from evalkit.geometry import Box, Frame, Mask, Point, Size
from evalkit.metrics.masks import GoldMask
from evalkit.protocols.segment import MOST_OBJECTS, pointed
from evalkit.types import Budget, Generate, Image, ModelInfo, Prediction, Request, Resize, Response, Sample, Segment, Wants

SIZE = Size(640, 480)
PHOTO = Image(b"", size=SIZE, digest="photo")
EMPTY, WHOLE = Mask("PP\\9", SIZE), Mask("0PP\\9", SIZE)  # runs of 307,200 pixels
WANTED = Sample("1", "the red cup", "What is the red cup?", (PHOTO,), Wants("mask", phrase="The red cup."), GoldMask(EMPTY))
ORIGINAL = ModelInfo("m", "f", Frame.ORIGINAL)
MASKS = Response(masks=(WHOLE,))

TAGS = "Output the thinking process in <think> </think> and final answer in <answer> </answer> tags."
JSON = (
    "Please find 'the red cup' with bbox and points.Compare the difference between objects and find the most closely matched one."
    f"{TAGS}Output the one bbox and points of two largest inscribed circles inside the interested object in JSON format.i.e., <think> "
    "thinking process here </think><answer>{'bbox': [10,100,200,210], 'points_1': [30,110], 'points_2': [35,180]}</answer>"
)
JSON_ALL = (
    'Please find "the red cup" with bboxs and points.Compare the difference between object(s) and find the most closely matched object(s).'
    f"{TAGS}Output the bbox(es) and point(s) inside the interested object(s) in JSON format.i.e., <think> thinking process here </think>"
    '<answer>[{"bbox_2d": [10,100,200,210], "point_2d": [30,110]}, {"bbox_2d": [225,296,706,786], "point_2d": [302,410]}]</answer>'
)


def talk(
    *replies: Response | str, sample: Sample = WANTED, variant: str = "segment", model: ModelInfo = ORIGINAL, **more: Any
) -> tuple[list[Request], Prediction]:
    """The requests of a conversation that gets these replies, and how it ends."""
    conversation = protocols.find(f"segment:{variant}", **more).converse(sample, model)
    asked = [next(conversation)]
    try:
        for reply in replies:
            request = conversation.send(Response(reply) if isinstance(reply, str) else reply)
            asked.append(request)
    except StopIteration as end:
        return asked, end.value
    raise AssertionError("the conversation goes on")


def text(request: Request) -> str:
    assert isinstance(request.kind, Generate)
    said = request.kind.messages[-1].content[-1]
    assert isinstance(said, str)
    return said


def prompts(request: Request) -> Sequence[Any]:
    assert isinstance(request.kind, Segment)
    assert (request.to, request.kind.image) == ("segmenter", PHOTO)
    return request.kind.prompts


# ---------------------------------------------------------------- what is asked


@pytest.mark.parametrize(
    ("phrasing", "phrase", "form", "asked"),
    [
        ("query", "The red cup.", "image", "Please segment the red cup in this image."),
        ("query", "An A4 sheet", "video", "Please segment the A4 sheet in this video."),
        ("query", "a cup", "image", "Please segment the cup in this image."),
        ("sentence", "What holds tea?", "image", "What holds tea? Please provide the segmentation mask."),
        ("explanatory", "What holds tea?", "image", "What holds tea? Please provide the segmentation mask and explain why."),
        ("question", "Who won?", "video", "Who won? Please answer the question and provide the segmentation mask."),
        ("description", "A cup {of} tea.", "image", "Please segment the object according to the description: A cup {of} tea."),
    ],
)
def test_a_mask_is_asked_for_in_unipixels_words(phrasing: Any, phrase: str, form: Any, asked: str) -> None:
    wants = Wants("mask", phrase=phrase, phrasing=phrasing, form=form)
    [request], _ = talk(MASKS, sample=replace(WANTED, wants=wants))
    assert text(request) == asked
    assert isinstance(request.kind, Generate)
    assert (request.kind.sampling.max_tokens, request.kind.sampling.temperature) == (512, 0)


@pytest.mark.parametrize(("variant", "asked"), [("json", JSON), ("json_all", JSON_ALL), ("direct", WANTED.prompt)])
def test_the_other_forms_are_word_for_word_those_of_their_authors(variant: str, asked: str) -> None:
    [request], _ = talk(MASKS, variant=variant)
    assert text(request) == asked


def test_the_json_forms_show_images_as_their_authors_do_where_the_model_writes_pixels_that_it_sees() -> None:
    [seen], _ = talk(MASKS, variant="json", model=replace(ORIGINAL, frame=Frame.SEEN))
    [other], _ = talk(MASKS, variant="json")
    assert [request.kind.messages[0].content[0] for request in (seen, other)] == [PHOTO.derive(Resize(840, 840)), PHOTO]  # type: ignore[union-attr]


def test_a_budget_and_fields_of_sampling_replace_the_protocols_own() -> None:
    [request], _ = talk(MASKS, budget=Budget(1, 9), max_tokens=7)
    assert isinstance(request.kind, Generate)
    assert (request.kind.messages[0].content[0], request.kind.sampling.max_tokens) == (replace(PHOTO, budget=Budget(1, 9)), 7)


# ---------------------------------------------------------------- whose masks


def test_the_masks_of_the_model_are_the_predictions_and_nobody_else_is_asked() -> None:
    asked, prediction = talk(Response("Sure, [1, 2, 3, 4].", masks=(WHOLE, EMPTY)))
    assert len(asked) == 1
    assert (prediction.masks, prediction.answer, prediction.failure) == ((WHOLE, EMPTY), "Sure, [1, 2, 3, 4].", "")
    assert [item.box for item in prediction.evidence] == [Box(1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("frame", "seen", "written"),
    [
        (Frame.ORIGINAL, Size(320, 120), "[64, 120, 128, 240]"),
        (Frame.THOUSAND, Size(320, 120), "[100, 250, 200, 500]"),
        (Frame.UNIT, Size(320, 120), "[0.1, 0.25, 0.2, 0.5]"),
        (Frame.SEEN, Size(320, 120), "[32, 30, 64, 60]"),
    ],
)
def test_boxes_and_points_become_original_pixels_once_and_boxes_the_evidence(frame: Frame, seen: Size, written: str) -> None:
    x, y = written.strip("[]").split(", ")[:2]
    reply = Response(f'<answer>{{"bbox_2d": {written}, "point_2d": [{x}, {y}]}}</answer>', seen=(seen,))
    asked, prediction = talk(reply, MASKS, model=replace(ORIGINAL, frame=frame))
    assert prompts(asked[1]) == ((Box(64, 120, 128, 240), Point(64, 120)),)
    assert [(item.frame, item.box) for item in prediction.evidence] == [(frame, Box(64, 120, 128, 240))]
    assert (prediction.masks, prediction.failure) == ((WHOLE,), "")


def test_several_objects_are_segmented_in_one_request_each_once() -> None:
    reply = '[{"bbox_2d": [0, 0, 9, 9], "label": "a"}, {"bbox_2d": [0, 0, 9, 9], "label": "b"}, {"point_2d": [5, 5]}]'
    asked, prediction = talk(reply, Response(masks=(WHOLE, EMPTY)), variant="json_all")
    assert prompts(asked[1]) == ((Box(0, 0, 9, 9),), (Point(5, 5),))
    assert prediction.masks == (WHOLE, EMPTY)
    assert [item.label for item in prediction.evidence] == ["a", "b"]


def test_the_form_of_one_object_takes_the_first() -> None:
    reply = '{"bbox": [0, 0, 9, 9], "points_1": [1, 1], "points_2": [2, 2]} {"bbox": [5, 5, 8, 8]}'
    asked, _ = talk(reply, MASKS, variant="json")
    assert prompts(asked[1]) == ((Box(0, 0, 9, 9), Point(1, 1), Point(2, 2)),)


def test_boxes_that_the_engine_gives_as_values_are_segmented_too() -> None:
    asked, prediction = talk(Response("There.", boxes=(Box(1, 2, 3, 4),), scores=(0.5,)), MASKS, model=replace(ORIGINAL, frame=None))
    assert prompts(asked[1]) == ((Box(1, 2, 3, 4),),)
    assert prediction.evidence[0].score == 0.5


@pytest.mark.parametrize(
    ("reply", "objects"),
    [
        ('<think>[1,2,3,4]</think><answer>{"bbox": [5,6,7,8]}</answer>', [((5, 6, 7, 8), ())]),
        ("{'bbox': [5, 6, 7, 8], 'points_1': [1, 2], 'points_2': [3, 4]}", [((5, 6, 7, 8), ((1, 2), (3, 4)))]),
        ('```json\n[\n\t{"bbox_2d": [5, 6, 7, 8], "label": "cup"}\n]\n```', [((5, 6, 7, 8), (), "cup")]),
        ('{"Box": [5, 6, 7, 8], "points": [[1, 2], [3, 4]]}', [((5, 6, 7, 8), ((1, 2), (3, 4)))]),
        ('{"bbox_2d": null, "point_2d": [1, 2]}', [(None, ((1, 2),))]),
        ("The cup is at (5, 6, 7, 8), by [1, 2].", [((5, 6, 7, 8), ())]),
        ("The cup is at (5.5, 6).", [(None, ((5.5, 6),))]),
        ("<think> {'bbox': [1,2,3,4]} </think> <answer> the cup </answer>", [((1, 2, 3, 4), ())]),
        ('{"bbox": [5, 6, 7]}', []),
        ('{"bbox": [1e400, 6, 7, 8], "point": [true, 2]}', []),
        ('{"bbox": [' + "9" * 400 + ", 6, 7, 8]}", []),
        ("I see no cup.", []),
        ("", []),
        ("{" * 50_000 + "[" * 50_000, []),
        ('{"point": ' + "[" * 50_000 + "}", []),
    ],
)
def test_what_a_reply_points_at(reply: str, objects: list[Any]) -> None:
    assert [tuple(item) for item in pointed(reply)] == [(*item, "")[:3] for item in objects]


# ---------------------------------------------------------------- no mask


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        ("I see none.", "no mask, no box and no point"),
        ("", "no mask, no box and no point"),
        ("[700, 10, 800, 90]", "every box and point outside the image"),
        ("[-90, -90, 0, 0] [20, 20, 20, 60]", "every box and point outside the image"),
        (" ".join(f"[{n}, 0, {n + 9}, 9]" for n in range(MOST_OBJECTS + 1)), f"more than {MOST_OBJECTS} objects"),
    ],
)
def test_a_reply_that_no_mask_can_be_made_of_is_a_failure_with_its_reason(reply: str, failure: str) -> None:
    asked, prediction = talk(reply)
    assert len(asked) == 1
    assert (prediction.answer, prediction.failure, prediction.masks) == (None, failure, ())


def test_a_box_is_cut_at_the_images_edge_and_what_lies_outside_is_left_out() -> None:
    reply = '{"bbox": [600, 400, 900, 900], "point": [700, 20]} {"point": [-1, 5]} {"bbox": [1, 1, 5, 5]}'
    asked, prediction = talk(reply, Response(masks=(WHOLE, WHOLE)))
    assert prompts(asked[1]) == ((Box(600, 400, 640, 480),), (Box(1, 1, 5, 5),))
    assert [item.box for item in prediction.evidence] == [Box(600, 400, 900, 900), Box(1, 1, 5, 5)]


def test_a_missing_and_a_truncated_reply_say_so() -> None:
    _, missing = talk(Response(missing=True))
    assert (missing.missing, missing.failure) == (True, "missing")
    _, cut = talk(Response("<think>", finish="length"))
    assert (cut.finish, cut.failure) == ("length", "no mask, no box and no point")


@pytest.mark.parametrize("model", [replace(ORIGINAL, frame=None), replace(ORIGINAL, frame=Frame.SEEN)], ids=["no frame", "no size seen"])
def test_numbers_of_an_unknown_frame_are_refused_and_never_guessed(model: ModelInfo) -> None:
    with pytest.raises(Refused, match=r"'m' points by numbers, and in what frame is not known: say it with --frame original\|seen"):
        talk("[1, 2, 3, 4]", model=model)
    _, prediction = talk(Response("[1, 2, 3, 4]", masks=(WHOLE,)), model=model)
    assert prediction.masks == (WHOLE,)


def test_an_image_that_nobody_reads_is_one_without_a_segmenter() -> None:
    """A replay's images are read where there is one."""
    with pytest.raises(Refused, match="'m' points where a mask is wanted: name what makes masks of that with --segmenter sam2:DIR"):
        talk("[1, 2, 3, 4]", sample=replace(WANTED, images=(Image(b""),)))


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ((), "expected 1 masks from the segmenter, got 0"),
        ((WHOLE, WHOLE), "expected 1 masks from the segmenter, got 2"),
        ((Mask("0120", Size(2, 2)),), "the segmenter gave a mask of 2 x 2 pixels for an image of 640 x 480"),
        ((Mask("no runs", SIZE),), "the segmenter gave a mask that is no compressed run-length encoding"),
        ((Mask("04", SIZE),), "the segmenter gave a mask whose runs cover 4 pixels of 307200"),
    ],
)
def test_a_segmenters_fault_is_a_gap_and_not_the_models(masks: tuple[Mask, ...], words: str) -> None:
    with pytest.raises(Gap, match=words):
        talk("[1, 2, 3, 4]", Response(masks=masks))


@pytest.mark.parametrize("frame", [PHOTO, Image(b"")], ids=["", "of a replay, which nobody reads"])
def test_in_a_video_only_the_models_own_masks_count(frame: Image) -> None:
    video = replace(WANTED, images=(frame, frame), wants=replace(WANTED.wants, form="video"))
    asked, prediction = talk("[1, 2, 3, 4]", sample=video, model=replace(ORIGINAL, frame=None))
    assert len(asked) == 1
    assert prediction.failure == "boxes or points in a video, of which no masks are made"
    assert talk(Response(masks=(WHOLE, EMPTY)), sample=video)[1].masks == (WHOLE, EMPTY)


# ---------------------------------------------------------------- regions that are given, and other answers

ASKED = Sample(
    *("2", "What is [0] doing?", "What is [0] doing?\nOptions:\n(A) Sleeping\n(B) Running", (PHOTO,), Wants("choice"), "B"),
    options=("Sleeping", "Running"),
    given=(Box(64, 120, 128, 240), Point(320, 24), WHOLE),
)


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (Frame.ORIGINAL, "[0]: [64, 120, 128, 240]\n[1]: [320, 24]\n[2]: [0, 0, 640, 480]\n"),
        (Frame.THOUSAND, "[0]: [100, 250, 200, 500]\n[1]: [500, 50]\n[2]: [0, 0, 1000, 1000]\n"),
        (Frame.UNIT, "[0]: [0.1, 0.25, 0.2, 0.5]\n[1]: [0.5, 0.05]\n[2]: [0.0, 0.0, 1.0, 1.0]\n"),
        (Frame.SEEN, "[0]: [64, 119, 129, 238]\n[1]: [322, 24]\n[2]: [0, 0, 644, 476]\n"),
    ],
)
def test_regions_that_are_given_are_told_in_the_models_frame(frame: Frame, told: str) -> None:
    [request], _ = talk(Response("B", seen=(Size(644, 476),)), sample=ASKED, model=replace(ORIGINAL, frame=frame))
    assert text(request) == f"The highlighted regions are as follows:\n{told}{ASKED.prompt}"
    assert isinstance(request.kind, Generate)
    shown = request.kind.messages[0].content[0]
    assert isinstance(shown, Image)
    assert shown.size == (Size(644, 476) if frame is Frame.SEEN else SIZE)


def test_a_model_that_takes_regions_gets_their_values_and_no_words_in_whatever_frame_it_writes() -> None:
    for frame in (None, Frame.SEEN):
        [request], _ = talk("B", sample=ASKED, model=replace(ORIGINAL, frame=frame, takes_regions=True))
        assert isinstance(request.kind, Generate)
        assert (text(request), request.kind.regions, request.kind.messages[0].content[0]) == (ASKED.prompt, ASKED.given, PHOTO)
    [told], _ = talk("B", sample=ASKED)
    assert isinstance(told.kind, Generate)
    assert told.kind.regions == ()


def test_regions_of_a_videos_frames_are_told_without_the_frames_that_have_none() -> None:
    video = replace(ASKED, images=(PHOTO, PHOTO), given=(None, Box(1, 2, 3, 4), Point(5, 6), None), wants=Wants("choice", form="video"))
    [request], _ = talk("B", sample=video)
    assert text(request) == f"The highlighted regions are as follows:\n[0]: [1, 2, 3, 4]\n[1]: [5, 6]\n{ASKED.prompt}"


@pytest.mark.parametrize(
    ("model", "images"),
    [(replace(ORIGINAL, frame=None, reads_images=False), (Image(b""),)), (ORIGINAL, ())],
    ids=["a replay", "a blind run"],
)
def test_where_no_image_is_shown_nothing_is_told_of_its_regions(model: ModelInfo, images: tuple[Image, ...]) -> None:
    [request], prediction = talk("B) Running.", sample=replace(ASKED, images=images), model=model)
    assert (text(request), prediction.answer) == (ASKED.prompt, "B")


def test_a_question_about_given_regions_begins_its_reply_as_unipixel_does() -> None:
    [request], prediction = talk("B) Running.", sample=ASKED)
    assert isinstance(request.kind, Generate)
    assert (request.kind.prefill, prediction.answer, prediction.text) == ("The best option is (", "B", "B) Running.")
    [request], prediction = talk("B) Running.", sample=replace(ASKED, given=()))
    assert isinstance(request.kind, Generate)
    assert (request.kind.prefill, text(request), prediction.answer) == ("", ASKED.prompt, "B) Running.")


def test_regions_that_cannot_be_told_are_refused() -> None:
    with pytest.raises(Refused, match="sample '2' gives regions, and in what frame 'm' reads them is not known: say it with --frame"):
        talk(sample=ASKED, model=replace(ORIGINAL, frame=None))
    with pytest.raises(Refused, match="regions were told as of an image of another size than 'm' saw: give its own --max-pixels"):
        talk(Response("B", seen=(Size(504, 364),)), sample=ASKED, model=replace(ORIGINAL, frame=Frame.SEEN))


def test_an_answer_and_a_mask_may_be_wanted_together() -> None:
    both = replace(ASKED, given=(), wants=Wants("choice", also=("mask",), phrase="What is it doing?", phrasing="question"))
    asked, prediction = talk("B, at [1, 2, 3, 4]", MASKS, sample=both)
    assert text(asked[0]) == "What is it doing? Please answer the question and provide the segmentation mask."
    assert (prediction.answer, prediction.masks) == ("B, at [1, 2, 3, 4]", (WHOLE,))
    _, without = talk("B", sample=both)
    assert (without.answer, without.failure, without.masks) == ("B", "no mask, no box and no point", ())


def test_boxes_alone_are_asked_for_in_the_tasks_words_or_as_json() -> None:
    where = Sample("3", "the red cup", "Where is the red cup?", (PHOTO,), Wants("boxes", phrase="The red cup."), (Box(1, 2, 3, 4),))
    for variant, asked in (("segment", "Where is the red cup?"), ("json", JSON)):
        requests, prediction = talk('{"bbox": [1, 2, 3, 4]}', sample=where, variant=variant)
        assert [text(request) for request in requests] == [asked]
        assert [item.box for item in prediction.evidence] == [Box(1, 2, 3, 4)]


def test_without_an_image_nothing_is_segmented() -> None:
    asked, prediction = talk("[1, 2, 3, 4]", sample=replace(WANTED, images=()))
    assert len(asked) == 1
    assert prediction.masks == ()
