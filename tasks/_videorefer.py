"""What VideoRefer-Bench-Q, -D and PixelQA share: the rows, the frames that are looked at, the objects' masks on them, and names of objects.

Source: `benchmark/README.md` and `videorefer/eval/` of alibaba-damo-academy/PixelRefer, formerly DAMO-NLP-SG/VideoRefer, at 972c99f;
`unipixel/dataset/sub_classes/evaluation/videorefer.py` and `load_frames_with_inds_keep` of PolyU-ChenLab/UniPixel.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from evalkit import (
    Data,
    DataError,
    Image,
    Mask,
    Prediction,
    Sample,
    Size,
    Still,
    Unparsed,
    coco_mask,
    mask_box,
    parsers,
    read_json,
    require,
)

FRAMES = 16
LETTERS = "ABCDEFGHIJ"
OPTION = re.compile(r"\s*\(([A-J])\)\s*(.*?)\s*")
OBJECT = re.compile(r"<object(\d+)><region>")
REGION = "<region>"
MEMORY = "<|mem|>"
ASK = "\nPlease only give the best option."

DATA = {
    letter: Data(
        hub=("DAMO-NLP-SG/VideoRefer-Bench",),
        files=(f"VideoRefer-Bench-{letter}.json",),
        licence="Apache-2.0 (annotations); the videos have those of their sources",
        layout=f"VideoRefer-Bench-{letter}.json and {videos}, or the same below videos/",
    )
    for letter, videos in {
        "Q": "MeViS/valid_u/JPEGImages/*/*.jpg, DAVIS/JPEGImages/480p/*/*.jpg",
        "D": "Panda-70M-part/*.mp4",
    }.items()
}
HOMES = {"Q": ("", "videos"), "D": ("Panda-70M-part", "videos/Panda-70M-part", "")}


@dataclass(frozen=True, slots=True)
class Row:
    """One row, with what is shown of its video."""

    number: int
    """Its place in the file, from 0."""
    where: str
    values: Mapping[str, Any]
    frames: tuple[Image, ...]
    prompted: int
    """Which of the frames is the one whose masks are given in single-frame mode."""
    volumes: tuple[tuple[Mask, ...], ...]
    """Of each object its masks on the frames, empty ones where it has none."""

    def given(self, multi: bool) -> tuple[Mask | None, ...]:
        """The masks that are part of the question, object by object and of each its frames in order: all, or those of one frame.

        None where there is none, or an empty one.
        """
        placed = [(place, mask) for volume in self.volumes for place, mask in enumerate(volume)]
        return tuple(mask if (multi or place == self.prompted) and mask_box(mask) else None for place, mask in placed)


def rows(letter: str, folder: Path, columns: Mapping[str, Any]) -> Iterator[Row]:
    """The rows of a file, of the columns named and those that both files have."""
    [path] = DATA[letter].annotations(folder)
    held = read_json(path)
    if not isinstance(held, list):
        raise DataError(f"expected a list of rows in {path}, got {type(held).__name__}")
    stills: dict[str, list[Path]] = {}
    for number, values in enumerate(held):
        where = f"{path}, row {number}"
        require(values, {"video": str, "frame_idx": (str, int), "annotation": list, **columns}, where)
        objects = [_by_frame(thing, where) for thing in values["annotation"]]
        annotated = sorted({frame for thing in objects for frame in thing})
        if not str(values["frame_idx"]).isdigit() or int(values["frame_idx"]) not in annotated:
            raise DataError(f"expected frame_idx among the {len(annotated)} frames annotated in {where}, got {values['frame_idx']!r}")
        keep = annotated.index(int(values["frame_idx"]))
        chosen = [annotated[place] for place in sampled(len(annotated), keep)]
        size = _size(objects, where)
        video = next((home for home in _homes(letter, folder, values["video"]) if home.exists()), folder / values["video"])
        if values["video"] not in stills:
            stills[values["video"]] = sorted(video.glob("*.jpg"), key=_place) if video.is_dir() else []
        yield Row(
            number=number,
            where=where,
            values=values,
            frames=tuple(_frame(video, stills[values["video"]], frame, where) for frame in chosen),
            prompted=chosen.index(annotated[keep]),
            volumes=tuple(tuple(_mask(thing.get(frame), size, where) for frame in chosen) for thing in objects),
        )


def sampled(count: int, keep: int, most: int = FRAMES) -> list[int]:
    """Which of `count` annotated frames are shown: all, or `most` from the first to the last, evenly, the nearest to `keep` moved there.

    >>> sampled(5, 2, 3), sampled(32, 7)[:5], sampled(3, 0)
    ([0, 2, 4], [0, 2, 4, 7, 8], [0, 1, 2])
    """
    if count <= most:
        return list(range(count))
    places = [round(place * (count - 1) / (most - 1)) for place in range(most)]
    nearest = min(range(most), key=lambda place: abs(keep - places[place]))
    places[nearest] = keep
    return places


class Asked(NamedTuple):
    """A row's question, its objects called `[3]` and so on."""

    question: str
    options: tuple[str, ...]
    """Their texts, without the letters."""
    answer: str
    """The letter of the right one."""
    listed: str
    """The question with its options, as UniPixel lists them."""
    numbers: tuple[str, ...]
    """What the objects are called, in the order in which the question brings them up."""


def asked(row: Row, renumbered: bool = False) -> Asked:
    """The question of a row of Q; `renumbered`, its objects count from 0 in the order in which it brings them up."""
    held = row.values
    if not all(isinstance(option, str) for option in held["options"]):
        raise DataError(f"expected options as texts in {row.where}, got {held['options']!r:.60}")
    raw = "\n".join([held["Question"].strip(), "Options:", *held["options"]])
    listed, numbers = named(raw, len(row.volumes), row.where, renumbered)
    lines = listed.splitlines()[-len(held["options"]) :] if held["options"] else []
    options = [OPTION.fullmatch(line) for line in lines]
    letters = "".join(option[1] if option else "?" for option in options)
    answer = OPTION.fullmatch(held["Answer"])
    if not answer or answer[1] not in letters or letters != LETTERS[: len(letters)]:
        raise DataError(f"expected options (A), (B) and so on, and one of them as Answer, in {row.where}, got {held['Answer']!r:.60}")
    question = listed[: listed.rindex("\nOptions:")]
    return Asked(question, tuple(option[2] for option in options if option), answer[1], listed, numbers)


def named(text: str, objects: int, where: str, renumbered: bool = False) -> tuple[str, tuple[str, ...]]:
    """The text with `[3]` for `<object3><region>` and every other `<object3>`, and what its objects are called, in its order.

    The object of a text whose one region has no number is called `[0]`.

    Raises:
        DataError: it has not as many regions as there are objects.

    >>> named("Does <object3><region> follow <object1><region>? <object1> stands.", 2, "row 1")
    ('Does [3] follow [1]? [1] stands.', ('3', '1'))
    >>> named("Is <object7><region> red?", 1, "row 1", renumbered=True), named("Is <region> red?", 1, "row 1")
    (('Is [0] red?', ('0',)), ('Is [0] red?', ('0',)))
    """
    numbers = tuple(OBJECT.findall(text)) or ("0",) * text.count(REGION)
    if len(numbers) != objects or text.count(REGION) != objects:
        raise DataError(f"expected {objects} times {REGION} in the question of {where}, got {text!r:.80}")
    called = tuple(map(str, range(objects))) if renumbered else numbers
    for number, name in zip(numbers, called, strict=True):
        text = text.replace(f"<object{number}>{REGION}", f"[{name}]").replace(f"<object{number}>", f"[{name}]")
    return text.replace(REGION, "[0]"), called


def highlighted(numbers: Sequence[str], given: Sequence[Mask | None]) -> str:
    """UniPixel's lines that say on which pairs of frames each object is highlighted, of masks as `Row.given` has them."""
    count = len(given) // len(numbers)
    lines = [f"Here is a video with {count} frames denoted as <1> to <{count}>. The highlighted regions are as follows:\n"]
    for place, number in enumerate(numbers):
        volume = given[place * count : (place + 1) * count]
        pairs = [first for first in range(0, count, 2) if any(volume[first : first + 2])]
        lines.append(f"[{number}]: " + " ".join(f"<{first + 1}>-<{first + 2}> {MEMORY}" for first in pairs) + "\n")
    return "".join(lines)


def tag(row: Row) -> str:
    """What the row's kind of question is called as a subset."""
    name: str = row.values["type"]
    return name.strip().lower().replace(" ", "_")


# ---------------------------------------------------------------- readings


def first_word(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The letter that the first word begins with, brackets and full stops aside: UniPixel's `check_ans` (`eval_general.py`)."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    word = re.sub(r"[().]", "", prediction.answer.upper().split(" ")[0])
    return word[0] if word and word[0] in LETTERS[: len(sample.options)] else Unparsed("no option's letter at the beginning")


def strict(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The letter that the answer gives."""
    return Unparsed(prediction.failure) if prediction.answer is None else parsers.letter(prediction.answer, sample.options)


# ---------------------------------------------------------------- rows


def _by_frame(thing: Any, where: str) -> dict[int, Any]:
    """An object's segmentations by the number of their frame."""
    if not isinstance(thing, dict) or not thing or not all(key.isdigit() for key in thing):
        raise DataError(f"expected an object's masks by the number of their frame in annotation of {where}, got {thing!r:.60}")
    for key, frame in thing.items():
        require(frame, {"segmentation": (dict, type(None))}, f"annotation of {where}, frame {key}")
    return {int(key): frame["segmentation"] for key, frame in thing.items()}


def _size(objects: Sequence[Mapping[int, Any]], where: str) -> Size:
    """The size of the first mask there is; all others must have it."""
    for segmentation in (held for thing in objects for held in thing.values() if held):
        sides = segmentation.get("size")
        if isinstance(sides, list) and len(sides) == 2 and all(type(side) is int and side > 0 for side in sides):
            return Size(sides[1], sides[0])
    raise DataError(f"expected run lengths with the size [height, width] of their mask in annotation of {where}, got none")


def _mask(segmentation: Any, size: Size, where: str) -> Mask:
    """The mask of a segmentation, an empty one where there is none."""
    mask = coco_mask(segmentation or {"counts": [size.width * size.height], "size": [size.height, size.width]}, size)
    if isinstance(mask, Unparsed):
        raise DataError(f"expected masks of one size as run lengths in annotation of {where}, got {mask.reason}")
    return mask


def _homes(letter: str, folder: Path, video: str) -> Iterator[Path]:
    return (folder / home / video for home in HOMES[letter])


def _place(path: Path) -> int:
    return int(re.sub(r"^\D*", "", path.stem) or 0)


def _frame(video: Path, stills: Sequence[Path], number: int, where: str) -> Image:
    """A frame of a video, or of a folder of stills, the file that DAVIS would have where it has none."""
    if stills and number >= len(stills):
        raise DataError(f"expected frame {number} in {video}, annotated in {where}, got {len(stills)} frames: fetch the folder again")
    if video.suffix:
        return Image(video).derive(Still(number))
    return Image(stills[number] if stills else video / f"{number:05d}.jpg")
