"""What the benchmarks of referring video object segmentation share: their files, how masks are read, and the folders of results.

The files have the form of Refer-YouTube-VOS: {"videos": {VIDEO: {"expressions": {ID: {"exp": TEXT, ...}}, "frames": [NAME, ...]}}},
and where masks are not label images, {ANNOTATION: [COCO RLE or null, one a frame]}.

A reply is one mask a frame, in the frames' order, or several objects so, one after the other, whose masks are one region, as the gold's
are. (What several objects of a reply are together the benchmarks leave to who writes the files; UniPixel writes the first alone.) Fewer
masks than frames leave the last ones without, which count as empty under `official` (or whatever the first rule is called); `coverage` is
the share of frames that have one, and `strict` reads no such reply. A number of masks that fills no whole number of objects, or one of
another size, is no answer. Where there is no answer, `official` scores empty masks, as UniPixel does where its model fails
(`infer_seg.py`), and counts it as unparsed; `strict` scores 0, and so do both where the reply is missing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from evalkit import (
    Composite,
    DataError,
    GoldVideo,
    Image,
    JAndF,
    Mask,
    Mean,
    Prediction,
    Rule,
    Sample,
    Size,
    Unparsed,
    VideoMasks,
    Wants,
    decode_mask,
    encode_mask,
    fitted_mask,
    read_json,
    require,
    resolve,
    union_mask,
)

HIDDEN = "the masks are not public: `evalkit export` writes the files for the benchmark's server, which gives J, F and J&F"


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression about a video."""

    video: str
    id: str
    text: str
    frames: tuple[str, ...]
    """Their names, in order."""
    row: Mapping[str, Any]
    """What the file says of the expression."""
    about: Mapping[str, Any]
    """What the file says of the video."""
    where: str

    @property
    def name(self) -> str:
        return f"{self.video}/{self.id}"

    @property
    def size(self) -> Size | None:
        """The video's, where the file says it."""
        sides = self.about.get("width"), self.about.get("height")
        return Size(*sides) if all(type(side) is int for side in sides) else None  # type: ignore[arg-type]


class Annotated(Sequence[Mask | None]):
    """An object's masks as a file of run lengths has them, one a frame."""

    def __init__(self, rows: Any, count: int, where: str) -> None:
        if not isinstance(rows, list) or len(rows) != count:
            found = f"{len(rows)} masks" if isinstance(rows, list) else f"{rows!r:.60}"
            raise DataError(f"expected {count} masks, one a frame, in {where}, got {found}")
        self._rows, self._where = rows, where

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: Any) -> Any:
        row = self._rows[number]
        if not row:
            return None
        try:
            height, width = row["size"]
            return Mask(row["counts"], Size(width, height))
        except (TypeError, KeyError, ValueError) as error:
            raise DataError(f"expected run lengths of COCO's form in {self._where}, frame {number}, got {row!r:.60}") from error


class Drawn(Sequence[Mask | None]):
    """An object's masks as label images have them, one a frame, each the pixels of one label; None for a frame without an image."""

    def __init__(self, paths: Sequence[Path | None], label: int) -> None:
        self._paths, self._label = paths, label
        self._known: dict[int, Mask] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: Any) -> Any:
        path = self._paths[number]
        if path is not None and number not in self._known:
            self._known[number] = encode_mask(labels(path) == self._label)
        return self._known.get(number)


def labels(path: Path) -> Any:
    """The labels of a label image, uint8 (height, width): its palette's indices, or its grey levels.

    Raises:
        DataError: it is missing, no image, or one in colours.
    """
    import numpy as np
    import PIL.Image

    try:
        with PIL.Image.open(path) as image:
            if image.mode not in ("P", "L"):
                raise DataError(f"expected an image of labels with a palette or grey levels at {path}, got mode {image.mode}")
            return np.asarray(image)
    except OSError as error:
        raise DataError(f"expected an image of labels at {path}, got: {error}; is the data whole?") from error


def expressions(path: Path) -> Iterator[Expression]:
    """The expressions of a file, in its order.

    Raises:
        DataError: it is not in the form that the module says, or a video has no frame.
    """
    content = read_json(path)
    require(content, {"videos": dict}, str(path))
    for video, about in content["videos"].items():
        where = f"{path}, video {video}"
        require(about, {"expressions": dict, "frames": list}, where)
        if not about["frames"] or not all(isinstance(frame, str) for frame in about["frames"]):
            raise DataError(f"expected the names of a video's frames in {where}, got {about['frames']!r:.60}")
        for name, row in about["expressions"].items():
            require(row, {"exp": str}, f"{where}, expression {name}")
            text = " ".join(row["exp"].split())
            yield Expression(video, name, text, tuple(about["frames"]), row, about, f"{where}, expression {name}")


def annotated(expression: Expression, masks: Mapping[str, Any], where: str) -> GoldVideo:
    """The gold of an expression: the masks of the annotations that its `anno_id` names, together.

    Raises:
        DataError: an annotation is missing, or has not one mask a frame.
    """
    require(expression.row, {"anno_id": list}, expression.where)
    names = [str(name) for name in expression.row["anno_id"]]
    if lacking := [name for name in names if name not in masks]:
        raise DataError(f"expected annotation {lacking[0]} of {expression.where} in {where}, found none")
    count = len(expression.frames)
    objects = tuple(Annotated(masks[name], count, f"{where}, annotation {name}") for name in names)
    seen = (mask.size for one in objects for mask in one if mask)
    return GoldVideo(count, objects, expression.size or next(seen, None), name=expression.name)


def sample(
    expression: Expression,
    images: Iterable[Image],
    target: GoldVideo,
    prompt: str = "",
    tags: Iterable[str] = (),
    phrasing: Literal["query", "question", "description"] | None = None,
) -> Sample:
    """The sample of an expression, by itself a question where it ends as one; its prompt is the expression where there is no other."""
    kind = phrasing or ("question" if expression.text.endswith("?") else "query")
    return Sample(
        id=expression.name,
        question=expression.text,
        prompt=prompt or expression.text,
        images=tuple(images),
        wants=Wants("mask", form="video", phrase=expression.text, phrasing=kind),
        target=target,
        tags=frozenset(tags),
        group=expression.video,
    )


def jpegs(expression: Expression, folder: Path) -> Iterator[Image]:
    """The frames of a video, files of their names in a folder of its name."""
    return (Image(folder / expression.video / f"{frame}.jpg") for frame in expression.frames)


# ---------------------------------------------------------------- rules


def rules(name: str = "official", read: Callable[[Prediction, Sample], Any] | None = None) -> tuple[Rule, ...]:
    """The readings of a task whose gold is public; the first is called `name` and reads as `read` does, in place of `padded`."""
    return (
        Rule(name, read or padded, JAndF(), reads="masks"),
        Rule(name, covered, Mean("coverage"), reads="masks"),
        Rule("strict", exact, JAndF(), reads="masks"),
    )


def submitted() -> tuple[Rule, ...]:
    """The readings of a task whose gold is a server's: what would be measured has no row."""
    return (Rule("official", covered, Mean("coverage"), reads="masks"), replace(rules()[0], optional=True))


def means(groups: Sequence[str], *metrics: str) -> tuple[Composite, ...]:
    """The whole as the plain mean of the groups."""
    return tuple(Composite("overall", metric, tuple(groups)) for metric in metrics)


def padded(prediction: Prediction, sample: Sample) -> VideoMasks | Unparsed:
    """The masks of the reply; frames at the end may lack one. Empty masks are scored where there is no answer."""
    read = fitted(prediction.masks, sample) if prediction.masks else Unparsed(prediction.failure or "no mask")
    return Unparsed(read.reason, sample.target.blank) if isinstance(read, Unparsed) else read


def whole(prediction: Prediction, sample: Sample) -> VideoMasks | Unparsed:
    """As `padded`, but nothing is scored where frames lack a mask."""
    return exact(prediction, sample) if 0 < len(prediction.masks) < sample.target.count else padded(prediction, sample)


def exact(prediction: Prediction, sample: Sample) -> VideoMasks | Unparsed:
    """The masks of the reply, none lacking. Nothing is scored where there is no answer."""
    count, frames, read = len(prediction.masks), sample.target.count, padded(prediction, sample)
    if isinstance(read, Unparsed):
        return Unparsed(read.reason)
    return read if count >= frames else Unparsed(f"{count} masks for {frames} frames")


def covered(prediction: Prediction, sample: Sample) -> float | Unparsed:
    """The share of frames for which the reply has a mask."""
    read = padded(prediction, sample)
    return Unparsed(read.reason) if isinstance(read, Unparsed) else min(len(prediction.masks) / sample.target.count, 1.0)


def fitted(masks: Sequence[Mask], sample: Sample) -> VideoMasks | Unparsed:
    """The masks, of the size of the gold or, where that has none, of the first image or of the first mask; one a frame."""
    gold: GoldVideo = sample.target
    if len(masks) > gold.count and len(masks) % gold.count:
        return Unparsed(f"{len(masks)} masks for {gold.count} frames")
    size, read = gold.size or sample.images[0].size or masks[0].size, list[Any]()
    for mask in masks:
        one = fitted_mask(mask, size)
        if isinstance(one, Unparsed):
            return one
        read.append(one)
    if len(read) > gold.count:
        read = [union_mask(read[number :: gold.count]) for number in range(gold.count)]
    return VideoMasks((*read, *[None] * (gold.count - len(read))))


# ---------------------------------------------------------------- files of results


def folders(pairs: Iterable[tuple[Sample, Mapping[str, Any]]], folder: Path) -> list[Path]:
    """Writes VIDEO/EXPRESSION/FRAME.png for each frame, 255 where masked, and returns the videos' folders.

    A frame without a mask, and a reply that is no answer, are black.
    """
    import numpy as np
    import PIL.Image

    made: dict[Path, None] = {}
    for sample, row in pairs:
        video, _, expression = sample.id.rpartition("/")
        target = folder / video / expression
        target.mkdir(parents=True, exist_ok=True)
        made[folder / video] = None
        frames = of_row(sample, row)
        size = next((mask.size for mask in frames if mask), sample.target.size) or resolve(sample.images[0]).size
        assert size
        for image, mask in zip(sample.images, frames, strict=True):
            pixels = decode_mask(mask).astype(np.uint8) * 255 if mask else np.zeros((size.height, size.width), np.uint8)
            PIL.Image.fromarray(pixels).save(target / f"{Path(image.name).stem}.png")
    return list(made)


def of_row(sample: Sample, row: Mapping[str, Any]) -> Sequence[Any]:
    """The masks of a row of predictions.jsonl, one a frame; None for a frame without one."""
    masks = tuple(Mask(mask["counts"], Size(*mask["size"][::-1])) for volume in row.get("masks", ()) for mask in volume)
    read = fitted(masks, sample) if masks else Unparsed("no mask")
    return (None,) * sample.target.count if isinstance(read, Unparsed) else read.frames
