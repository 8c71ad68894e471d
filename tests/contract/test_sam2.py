"""SAM 2 as a segmenter: transformers' own masks, whatever shares the batch, each image encoded once."""

import io
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit import api, engines
from evalkit.config import RunConfig
from evalkit.data import decode, resolve
from evalkit.engines import sam2
from evalkit.engines.sam2 import Sam2
from evalkit.errors import Gap, ImageError, Refused, UserError
from evalkit.geometry import Box, Mask, Point, Size
from evalkit.rle import decode_mask, encode_mask, fitted_mask
from evalkit.types import Generate, Image, Message, Request, Segment

from .engines import answer, answers, picture
from .segmenters import tiny_sam2

DEMO = Path(__file__).parents[2] / "evalkit" / "demo" / "checkpoints" / "demo"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sam2(tmp_path_factory.mktemp("sam2") / "tiny")


@pytest.fixture
def engine(checkpoint: Path) -> Iterator[Sam2]:
    made = Sam2(checkpoint, batch_size=4)
    yield made
    made.close()


@pytest.fixture(scope="module")
def photo() -> Image:
    """A picture with something in it, not square."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    drawn = Pillow.new("RGB", (150, 90), (20, 60, 200))
    ImageDraw.Draw(drawn).ellipse((30, 20, 100, 70), fill=(240, 220, 10))
    file = io.BytesIO()
    drawn.save(file, "PNG")
    return resolve(Image(file.getvalue()))


def segment(image: Image, *prompts: Any) -> Request:
    return Request(Segment(image, prompts), to="segmenter")


def alike(some: Sequence[Mask], others: Sequence[Mask]) -> bool:
    """Whether masks are equal but for a pixel in a thousand: the last bits of floating point depend on the batch."""
    pairs = [
        (decode_mask(fitted_mask(one, one.size)), decode_mask(fitted_mask(other, one.size)))
        for one, other in zip(some, others, strict=True)
    ]
    return bool(pairs) and all((one != other).mean() < 0.001 for one, other in pairs)


def reference(checkpoint: Path, image: Image, box: Box | None, points: tuple[Point, ...]) -> np.ndarray:
    """The mask of one object by transformers' documented calls alone, the image and the prompt in one."""
    import torch
    from transformers import Sam2Model, Sam2Processor

    model, processor = Sam2Model.from_pretrained(checkpoint).eval(), Sam2Processor.from_pretrained(checkpoint)
    given: dict[str, Any] = {"input_boxes": [[list(map(float, box))]]} if box else {}
    if points:
        given |= {"input_points": [[[list(map(float, point)) for point in points]]], "input_labels": [[[1] * len(points)]]}
    inputs = processor(images=decode(image), return_tensors="pt", **given)
    with torch.inference_mode():
        outputs = model(**inputs)
    [masks] = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])
    return masks[0, int(outputs.iou_scores[0, 0].argmax())].numpy()


@pytest.mark.parametrize(
    ("box", "points"),
    [(Box(30, 20, 101, 71), ()), (None, (Point(60, 45),)), (Box(30, 20, 101, 71), (Point(60, 45), Point(40, 40)))],
    ids=["box", "point", "box and points"],
)
def test_a_mask_is_what_transformers_own_calls_give(
    engine: Sam2, checkpoint: Path, photo: Image, box: Box | None, points: tuple[Point, ...]
) -> None:
    prompt = (*([box] if box else []), *points)
    [mask] = answer(engine, segment(photo, prompt if len(prompt) > 1 else prompt[0])).masks
    expected = reference(checkpoint, photo, box, points)
    assert expected.any()
    assert not expected.all()
    assert alike([mask], [encode_mask(expected)])


def test_there_is_one_mask_for_each_prompt_in_order_of_the_images_size(engine: Sam2, photo: Image) -> None:
    box, point, both = Box(30, 20, 101, 71), Point(10, 80), (Box(0, 0, 30, 30), Point(5, 5))
    together = answer(engine, segment(photo, box, point, both, box)).masks
    alone = [answer(engine, segment(photo, prompt)).masks[0] for prompt in (box, point, both, box)]
    assert alike(together, alone)
    assert {mask.size for mask in together} == {photo.size}
    assert not any(alike([together[0]], [other]) for other in together[1:3])


def test_no_mask_depends_on_what_else_is_asked(engine: Sam2, photo: Image) -> None:
    other = picture(64, 80, (200, 30, 30))
    asked = [
        segment(image, *prompts)
        for image in (photo, other)
        for prompts in ((Box(5, 5, 50, 50),), (Point(9, 9), Point(40, 40)), ((Box(5, 5, 50, 50), Point(9, 9)),), (Box(0, 0, 60, 60),) * 7)
    ]
    assert all(
        alike(response.masks, answer(engine, request).masks) for request, response in zip(asked, answers(engine, asked), strict=True)
    )


def test_an_image_is_encoded_once_while_there_is_room(engine: Sam2, photo: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, own = [], engine.model.get_image_embeddings
    monkeypatch.setattr(engine.model, "get_image_embeddings", lambda pixels: encoded.append(len(pixels)) or own(pixels))
    others = [picture(40 + index, 50, (index, 90, 90)) for index in range(2)]
    asked = [segment(image, Box(1, 1, 30, 30)) for image in (photo, *others)] * 3
    first = answers(engine, asked)
    assert sum(encoded) == 3
    monkeypatch.setattr(sam2, "KEPT", 1)
    again = [answer(engine, request) for request in asked[:3]]
    assert len(engine._embeddings) == 1
    assert all(alike(one.masks, other.masks) for one, other in zip(again, first, strict=False))
    assert sum(encoded) > 3


def test_an_image_whose_requests_lie_far_apart_is_decoded_and_encoded_once(
    checkpoint: Path, photo: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six images twice over, four requests a batch, four embeddings kept: in the order in which they come none would last."""
    engine = Sam2(checkpoint, batch_size=4)
    engine._batcher._window = 2.0  # so that all have come, however slow the machine
    decoded, encoded = list[str](), list[int]()
    own, encode = sam2.decode, engine.model.get_image_embeddings
    monkeypatch.setattr(sam2, "decode", lambda image: decoded.append(image.digest) or own(image))
    monkeypatch.setattr(engine.model, "get_image_embeddings", lambda pixels: encoded.append(len(pixels)) or encode(pixels))
    monkeypatch.setattr(sam2, "KEPT", 4)
    images = [photo, *(picture(40 + index, 50, (index, 90, 90)) for index in range(5))]
    asked = [segment(image, Box(1, 1, 30, 20 + place)) for place in range(2) for image in images]
    found = answers(engine, asked)
    engine.close()
    assert all(response.masks for response in found)
    assert sorted(decoded) == sorted(image.digest for image in images)
    assert sum(encoded) == len(images)
    assert not engine._pixels


def test_a_batch_that_is_made_ready_while_its_image_is_encoded_does_not_decode_it_again(
    engine: Sam2, photo: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded, own = list[str](), sam2.decode
    monkeypatch.setattr(sam2, "decode", lambda image: decoded.append(image.digest) or own(image))
    first, second = (engine._prepare([segment(photo, Box(1, 1, 30, 20 + place))]) for place in range(2))
    assert [len(engine._run(batch)[0].masks) for batch in (first, second)] == [1, 1]
    third = engine._prepare([segment(photo, Box(2, 2, 9, 9))])
    assert engine._run(third)[0].masks
    assert decoded == [photo.digest]


def test_the_device_and_the_size_of_a_batch_are_those_of_the_run(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[Sam2]()
    monkeypatch.setattr(engines, "close", made.append)

    class Stop(Exception):
        pass

    def stop(*_: Any, **__: Any) -> None:
        raise Stop

    monkeypatch.setattr(api, "_evaluate", stop)
    with pytest.raises(Stop):
        api.run("oracle", "shapes:mask-2", protocol="segment", segmenter=f"sam2:{checkpoint}", device="cpu", batch_size=3, dtype="float16")
    [segmenter] = [engine for engine in made if isinstance(engine, Sam2)]
    assert (segmenter._batcher.size, segmenter.info.details["device"]) == (3, "cpu")
    assert segmenter.info.details["dtype"] == "float32"  # that of the run is the model's own
    segmenter.close()
    with pytest.raises(UserError, match=r"the segmenter .* does not load on nowhere"):
        api.run("oracle", "shapes:mask-2", protocol="segment", segmenter=f"sam2:{checkpoint}", device="nowhere")


def test_a_prompt_outside_the_image_is_moved_to_its_border(engine: Sam2, photo: Image) -> None:
    far = answer(engine, segment(photo, Box(-40, 20, 900, 71), Point(-3, 500), (Box(100, 10, -20, 71), Point(1e9, 0)))).masks
    near = answer(engine, segment(photo, Box(0, 20, 150, 71), Point(0, 90), (Box(0, 10, 100, 71), Point(150, 0)))).masks
    assert alike(far, near)


def test_scores_that_are_no_numbers_are_a_gap_and_never_a_mask(engine: Sam2, photo: Image) -> None:
    import torch

    with torch.no_grad():
        engine.model.mask_decoder.iou_prediction_head.proj_out.bias.fill_(float("nan"))
    with pytest.raises(Gap, match=r"scores of tiny are no numbers \(NaN\): are its weights whole, is torch.float32 wide enough"):
        answer(engine, segment(photo, Box(1, 1, 30, 30)))


def test_a_prompt_that_is_no_number_is_a_gap_to_its_own_request_only(engine: Sam2, photo: Image) -> None:
    sound = segment(photo, Box(1, 1, 30, 30))
    mixed = answers(engine, [sound, segment(photo, Box(1, float("nan"), 30, 30)), sound])
    assert isinstance(mixed[1], Gap)
    assert alike(mixed[0].masks, mixed[2].masks)


def test_a_batch_for_which_memory_is_short_is_halved(engine: Sam2, photo: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    own, sizes = engine._masks, []

    def short(batch: Any) -> Any:
        sizes.append(len(batch.requests))
        if len(batch.requests) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return own(batch)

    monkeypatch.setattr(engine, "_masks", short)
    assert all(response.masks for response in answers(engine, [segment(photo, Box(1, 1, 30 + index, 30)) for index in range(4)]))
    assert max(sizes) > 2


def test_a_broken_image_and_a_request_that_cannot_be_served_are_told_to_those_who_asked(engine: Sam2, photo: Image) -> None:
    broken, sound = Image(b"no image", size=Size(9, 9), digest="broken"), segment(photo, Box(1, 1, 30, 30))
    first, second = answers(engine, [segment(broken, Box(1, 1, 3, 3)), sound])
    assert isinstance(first, ImageError)
    assert second.masks
    with pytest.raises(Refused, match="expected a request of kind segment for tiny, got generate"):
        answer(engine, Request(Generate((Message("user", ("Where?",)),))))
    for prompt in ((), (Box(0, 0, 1, 1), Box(1, 1, 2, 2))):
        with pytest.raises(Refused, match="expected one box, points, or both for each object"):
            answer(engine, segment(photo, prompt))


def test_a_prompts_group_is_part_of_what_is_asked() -> None:
    image, box, point = picture(10, 10, (0, 0, 0)), Box(1, 1, 4, 4), Point(2, 2)
    keys = {segment(image, *prompts).key("f") for prompts in ((box, point), ((box, point),), ((box,), (point,)), (point, box))}
    assert len(keys) == 4


# ---------------------------------------------------------------- loading


def test_the_fingerprint_is_that_of_the_weights(checkpoint: Path, tmp_path: Path) -> None:
    made = [Sam2(checkpoint), Sam2(checkpoint), Sam2(tiny_sam2(tmp_path / "tiny", seed=1))]
    first, again, other = (engine.info for engine in made)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert (first.name, first.answers, first.details["dtype"]) == ("tiny", frozenset({"segment"}), "float32")
    for engine in made:
        engine.close()


def test_a_checkpoint_that_says_it_is_of_the_tracker_is_taken(checkpoint: Path, tmp_path: Path, photo: Image, engine: Sam2) -> None:
    """Those of the hub do: they hold a tracker for videos as well."""
    copy = shutil.copytree(checkpoint, tmp_path / "tracker")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "sam2_video"}))
    tracker = engines.open_model(f"sam2:{copy}", RunConfig(), []).engine
    asked = segment(photo, Box(1, 1, 30, 30))
    assert alike(answer(tracker, asked).masks, answer(engine, asked).masks)
    engines.close(tracker)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda place: (place / "model.safetensors").unlink(), r"expected weights in .*, found no \*.safetensors"),
        (lambda place: (place / "config.json").unlink(), "expected a SAM 2 checkpoint in .*, found no config.json: name the directory"),
        (lambda place: (place / "config.json").write_text("{"), "the config of .* cannot be read"),
        (lambda place: (place / "config.json").write_text("[" * 100_000), "the config of .* cannot be read: .*maximum recursion depth"),
        (lambda place: (place / "config.json").write_text("[7]"), r"the config of .* cannot be read: expected a JSON object, got \[7\]"),
        (
            lambda place: (place / "config.json").write_text('{"model_type": []}'),
            r"expected a SAM 2 checkpoint in .*, got one of type \[\]",
        ),
        (lambda place: (place / "model.safetensors").write_bytes(b"cut"), "the segmenter .* does not load on cpu as float32"),
        (lambda place: (place / "processor_config.json").unlink(), "the segmenter .* does not load"),
        (
            lambda place: _drop(place / "model.safetensors", "mask_decoder.iou_token"),
            "expected all weights in .*, found none for 1",
        ),
    ],
    ids=[
        "no weights",
        "no config",
        "broken config",
        "deep config",
        "a list",
        "a strange type",
        "broken weights",
        "no processor",
        "a tensor missing",
    ],
)
def test_a_segmenter_that_is_not_whole_is_told_before_anything_is_asked(checkpoint: Path, tmp_path: Path, spoil: Any, words: str) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    spoil(copy)
    with pytest.raises(UserError, match=words):
        engines.open_model(f"sam2:{copy}", RunConfig(device="cpu"), [])


def test_a_segmenter_of_another_architecture_or_place_is_told() -> None:
    with pytest.raises(UserError, match=r"expected a SAM 2 checkpoint in .*demo, got one of type 'qwen3_vl': name one such as facebook/"):
        engines.open_model(f"sam2:{DEMO}", RunConfig(), [])
    with pytest.raises(UserError, match=r"expected a checkpoint's directory, got './nowhere'"):
        engines.open_model("sam2:./nowhere", RunConfig(), [])
    with pytest.raises(UserError, match="--engine vllm does not go with"):
        engines.open_model(f"sam2:{DEMO}", RunConfig(engine="vllm"), [])
    with pytest.raises(UserError, match="--replicas are of a checkpoint or a plugin"):
        engines.open_model(f"sam2:{DEMO}", RunConfig(replicas=2), [])


def _drop(path: Path, start: str) -> None:
    """Takes the tensors whose names begin so out of a safetensors file."""
    from safetensors.numpy import load_file, save_file

    save_file({name: tensor for name, tensor in load_file(path).items() if not name.startswith(start)}, path, {"format": "pt"})
