"""From a model's reply to the numbers of its masks: the chain through a segmenter, a mask model, and what may be wrong with a mask."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

import evalkit
from evalkit import api
from evalkit.engines.sam2 import Sam2
from evalkit.errors import Refused, UserError
from evalkit.store import held
from evalkit.task import find

from .contract.segmenters import tiny_sam2

EXAMPLE = Path(__file__).parents[1] / "examples" / "plugin_masks.py"

MODELS = '''
from evalkit import Mask, Response, Size, encode_mask
from evalkit.geometry import Box, Point


class Filler:
    """A segmenter that fills each box, and marks a 3 x 3 square around each point."""

    answers = ("segment",)

    def answer(self, request):
        import numpy as np

        size, masks = request.kind.image.size, []
        for prompt in request.kind.prompts:
            pixels = np.zeros((size.height, size.width))
            for part in [prompt] if isinstance(prompt, (Box, Point)) else prompt:
                x1, y1, x2, y2 = map(round, part if isinstance(part, Box) else (part.x - 1, part.y - 1, part.x + 2, part.y + 2))
                pixels[max(y1, 0):y2, max(x1, 0):x2] = 1
            masks.append(encode_mask(pixels))
        return Response(masks=tuple(masks))


class Given:
    """A mask model whose masks are those of the file beside it, whatever is asked."""

    frame = "original"

    def answer(self, request):
        import json
        from pathlib import Path

        masks = json.loads(Path(__file__).with_name("masks.json").read_text())
        return Response("Sure.", masks=tuple(Mask(counts, Size(*size)) for counts, size in masks))
'''

PHOTOS = '''
"""Photographs with a box each: its inside is the gold mask, and its coordinates the question."""
import json
from pathlib import Path

from evalkit import Box, GoldMask, Image, MaskIoU, Rule, Sample, Task, Unparsed, Wants, encode_mask, fitted_mask, resolve

VARIANTS = ()
DATA = None
PLACE = Path(REAL)


def task(variant, data):
    return Task("photos", 1, samples, (Rule("official", first, MaskIoU(strict=True), reads="masks"),), "giou", ("mask",))


def first(prediction, sample):
    if not prediction.masks:
        return Unparsed(prediction.failure)
    return fitted_mask(prediction.masks[0], sample.target.mask.size)


def samples():
    import numpy as np

    rows = [json.loads(line) for line in (PLACE / "grit_vsr_10.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        image = resolve(Image(PLACE / "vsr_images" / Path(row["image"]).name))
        x1, y1, x2, y2 = map(round, row["bboxs"][0])
        inside = np.zeros((image.size.height, image.size.width))
        inside[y1:y2, x1:x2] = 1
        yield Sample(
            str(number), row["question"], str([x1, y1, x2, y2]), (image,), Wants("mask", phrase="it"), GoldMask(encode_mask(inside))
        )
'''

ECHO = '''
class Echo:
    """Answers what it is asked."""

    frame = "original"

    def generate(self, messages, images):
        return messages[-1]["content"][-1]["text"]
'''


@pytest.fixture(scope="module")
def sam2(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sam2:{tiny_sam2(tmp_path_factory.mktemp('sam2') / 'tiny')}"


@pytest.fixture
def models(tmp_path: Path) -> Callable[[str], str]:
    """The spec of a plug-in of the file above."""
    (tmp_path / "models.py").write_text(MODELS + ECHO)
    return lambda name: f"plugin:{tmp_path / 'models.py'}:{name}"


def replayed(place: Path, replies: dict[str, str]) -> str:
    """The spec of a replay file with these replies by sample."""
    path = place / "replies.jsonl"
    path.write_text("".join(json.dumps({"sample": sample, "text": text}) + "\n" for sample, text in replies.items()))
    return f"replay:{path}"


def written(count: int) -> dict[str, str]:
    """Replies to the first samples of `shapes:mask-N` that write the gold box."""
    return {sample.id: str(list(map(int, sample.regions[0]))) for sample in find(f"shapes:mask-{count}").samples()}


def rows(summary: evalkit.Summary) -> dict[str, Any]:
    """The flat rows of all samples by metric."""
    return {row["metric"]: row for row in summary.numbers if row["subset"] == "overall"}


def predictions(summary: evalkit.Summary) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (summary.folder / "predictions.jsonl").read_text().splitlines()]


# ---------------------------------------------------------------- the chain


def test_boxes_of_a_checkpoint_become_masks_that_are_kept_resumed_and_scored_again(
    sam2: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, own = [], Sam2.answer

    async def counted(self: Sam2, request: Any) -> Any:
        asked.append(request)
        return await own(self, request)

    monkeypatch.setattr(Sam2, "answer", counted)

    def run() -> evalkit.Summary:
        return evalkit.run("demo", "shapes:mask-8", protocol="segment:direct", segmenter=sam2, out=tmp_path, engine="transformers")

    first = run()
    found = rows(first)
    assert first.complete
    assert len(asked) == 8
    assert found["giou"]["n"] == found["ciou"]["n"] == found["grounding_iou"]["n"] == 8
    assert 0 <= found["giou"]["low"] <= found["giou"]["value"] <= found["giou"]["high"] < 1
    assert found["grounding_iou"]["value"] > 0.5  # the checkpoint points well; only the segmenter knows nothing
    assert all(row["masks"] and row["evidence"] for row in predictions(first))
    assert run().as_json() == first.as_json()
    assert len(asked) == 8
    assert api.score(first.folder) == (first, [])
    assert len(asked) == 8


def test_another_segmenter_is_another_run(sam2: str, tmp_path: Path, models: Callable[[str], str]) -> None:
    model = replayed(tmp_path, written(4))
    folders = {
        evalkit.run(model, "shapes:mask-4", protocol="segment", segmenter=segmenter, frame="original", out=tmp_path).folder
        for segmenter in (sam2, f"sam2:{tiny_sam2(tmp_path / 'other', seed=1)}", models("Filler"))
    }
    assert len(folders) == 3


def test_mask_iou_stands_beside_box_iou_and_both_are_what_they_must(tmp_path: Path, models: Callable[[str], str]) -> None:
    """Gold boxes filled: a square is its box, a circle pi / 4 of it, a triangle about half."""
    samples = list(find("shapes:mask-24").samples())
    model = replayed(tmp_path, written(24))
    summary = evalkit.run(model, "shapes:mask-24", protocol="segment", segmenter=models("Filler"), frame="original", out=tmp_path)
    found = rows(summary)
    assert found["grounding_iou"]["value"] == found["box_f1"]["value"] == 1
    shares = [sample.target.area / sample.regions[0].area for sample in samples]
    assert found["giou"]["value"] == pytest.approx(sum(shares) / 24)
    assert {round(share, 1) for share in shares} == {0.5, 0.8, 1.0}
    assert api.score(summary.folder) == (summary, [])


def test_real_photographs_go_through_the_chain(
    sam2: str, tmp_path: Path, models: Callable[[str], str], shared: Callable[[str], Path]
) -> None:
    (tmp_path / "photos.py").write_text(PHOTOS.replace("REAL", repr(str(shared("real")))))
    options = {"protocol": "segment:direct", "out": tmp_path}
    filled = evalkit.run(models("Echo"), str(tmp_path / "photos.py"), segmenter=models("Filler"), **options)
    assert rows(filled)["giou"]["value"] == rows(filled)["ciou"]["value"] == 1
    random = evalkit.run(models("Echo"), str(tmp_path / "photos.py"), segmenter=sam2, **options)
    assert random.complete
    assert 0 < rows(random)["giou"]["value"] < 0.9
    assert len({row["masks"][0]["counts"] for row in predictions(random)}) == 10
    assert api.score(random.folder) == (random, [])


def test_a_replays_images_are_read_for_the_segmenter_each_its_own(sam2: str, tmp_path: Path) -> None:
    """All replies write the same box: only the images tell the requests apart."""
    model = replayed(tmp_path, dict.fromkeys(written(4), "[20, 20, 60, 60]"))
    summary = evalkit.run(model, "shapes:mask-4", protocol="segment", segmenter=sam2, frame="original", out=tmp_path)
    assert len({row["masks"][0]["counts"] for row in predictions(summary)}) == 4
    assert api.score(summary.folder) == (summary, [])


def test_without_a_segmenter_a_model_that_points_is_refused_and_told_of_it(tmp_path: Path, models: Callable[[str], str]) -> None:
    options = {"protocol": "segment:direct", "out": tmp_path}
    with pytest.raises(Refused, match="name what makes masks of that with --segmenter sam2:DIR"):
        evalkit.run(replayed(tmp_path, written(2)), "shapes:mask-2", frame="original", **options)
    with pytest.raises(Refused, match=r"'shapes:mask-2' wants masks, and 'demo' points where .* --segmenter sam2:DIR"):
        evalkit.run("demo", "shapes:mask-2", engine="transformers", **options)
    assert not list(tmp_path.glob("demo*"))  # before anything is asked
    with pytest.raises(UserError, match="expected --segmenter sam2:DIR, sam2:HUB_ID or plugin:FILE:CLASS, got 'demo'"):
        evalkit.run("demo", "shapes:mask-2", segmenter="demo", **options)
    with pytest.raises(Refused, match="expected a request of kind generate for Echo, got segment"):
        evalkit.run("demo", "shapes:mask-2", segmenter=models("Echo"), engine="transformers", **options)


def test_boxes_and_points_in_a_video_are_refused_before_the_model_is_asked(
    tmp_path: Path, models: Callable[[str], str], golden_data: Callable[[Path], Path]
) -> None:
    data = golden_data(Path(__file__).parent / "golden" / "mevis.jsonl")
    with pytest.raises(
        Refused, match=r"'mevis:valid_u' wants masks of videos, .* nothing says which frame 'demo' means: score a model that"
    ):
        evalkit.run("demo", "mevis", protocol="segment", segmenter=models("Filler"), engine="transformers", data=str(data), out=tmp_path)
    assert not list(tmp_path.glob("demo*"))


# ---------------------------------------------------------------- a mask model, and masks that are wrong


def test_the_example_of_a_checkpoint_with_code_of_its_own_runs_as_it_is(tmp_path: Path) -> None:
    summary = evalkit.run(f"plugin:{EXAMPLE}:ColourModel", "shapes:mask-24", protocol="segment", out=tmp_path)
    found = rows(summary)
    assert summary.complete
    assert 0.6 < found["giou"]["value"] < 1  # another thing may have the colour too
    assert api.score(summary.folder) == (summary, [])


@pytest.mark.parametrize(
    ("task", "told"),
    [("pixelqa:point", "point"), ("pixelqa:box", "box"), ("videorefer:q", "mask"), ("videorefer:q-multi", "mask")],
)
def test_what_marks_an_object_reaches_a_mask_model_as_values_frame_by_frame(
    task: str, told: str, tmp_path: Path, golden_data: Callable[[Path], Path]
) -> None:
    data = golden_data(Path(__file__).parent / "golden" / f"{task.partition(':')[0]}.jsonl")
    samples = list(find(task, data).samples())
    for video in {Path(image.name).parent for sample in samples for image in sample.images}:
        video.mkdir(parents=True)
        for number in range(8):
            PIL.Image.new("RGB", (16, 12), (214, 45, 45)).save(video / f"{number:05}.jpg")
    model = f"plugin:{EXAMPLE}:ColourModel"
    summary = evalkit.run(model, task, protocol="segment", data=str(data), out=tmp_path / "out", allow_incomplete=True)
    assert summary.complete
    for sample in samples:
        [(form, response)], _ = held(summary.folder / "answers.sqlite", f"{task}/{sample.id}")
        assert [region and region[0] for region in form["regions"]] == [region and told for region in sample.given]
        assert len(sample.given) % len(sample.images) == 0
        assert any(sample.given)
        assert "[0]: [" not in str(form["messages"])
        assert "it is red" in response["text"]
    assert api.score(summary.folder) == (summary, [])


def test_the_oracle_masks_everything_and_the_mute_nothing(tmp_path: Path) -> None:
    oracle, mute = (rows(evalkit.run(model, "shapes:mask-24", protocol="segment", out=tmp_path)) for model in ("oracle", "mute"))
    assert oracle["giou"]["value"] == oracle["ciou"]["value"] == 1
    assert (mute["giou"]["value"], mute["giou"]["unparsed"]) == (0, 24)


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ([], "no mask, no box and no point"),
        ([["04", [2, 2]]], "a mask of 2 x 2 pixels for an image of"),
        ([["no runs", None]], "a mask that is no compressed run-length encoding"),
        ([["022", None]], "a mask whose runs cover 4 pixels of"),
        ([["00", None]], "a mask whose runs cover 0 pixels of"),
        ([[None, None], ["04", [2, 2]]], "a mask of 2 x 2 pixels for an image of"),
    ],
    ids=["none", "another size", "no run lengths", "too short", "empty runs", "one of two is wrong"],
)
def test_a_mask_that_is_none_scores_nothing_and_says_why(
    masks: list[Any], words: str, tmp_path: Path, models: Callable[[str], str]
) -> None:
    [sample] = find("shapes:mask-1").samples()
    gold = sample.target.mask
    given = [[gold.counts if counts is None else counts, gold.size if size is None else size] for counts, size in masks]
    model = models("Given")
    (tmp_path / "masks.json").write_text(json.dumps(given))
    summary = evalkit.run(model, "shapes:mask-1", protocol="segment", out=tmp_path)
    assert (rows(summary)["giou"]["value"], rows(summary)["giou"]["unparsed"]) == (0, 1)
    [record] = [json.loads(line) for line in (summary.folder / "records.jsonl").read_text().splitlines() if '"mask_iou"' in line]
    assert words in record["failure"]


def test_too_many_masks_are_taken_together_and_cost_what_they_cover(tmp_path: Path, models: Callable[[str], str]) -> None:
    import numpy as np

    [sample] = find("shapes:mask-1").samples()
    size = sample.target.mask.size
    everywhere = evalkit.encode_mask(np.ones((size.height, size.width)))
    model = models("Given")
    for count, iou in ((1, 1.0), (500, sample.target.area / (size.width * size.height))):
        (tmp_path / "masks.json").write_text(json.dumps([sample.target.mask, *[everywhere] * (count - 1)]))
        summary = evalkit.run(model, "shapes:mask-1", protocol="segment", label=str(count) + "=x", out=tmp_path)
        assert rows(summary)["giou"]["value"] == pytest.approx(iou)
