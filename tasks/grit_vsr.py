"""GRIT's VSR: short questions about spatial relations, with gold boxes of what the answer rests on.

Paper: Fan et al.: GRIT: Teaching MLLMs to Think with Images. 2025, arXiv 2505.15879.

Data: `vsr_val.jsonl` of `yfan1997/GRIT_data` on the hub (rows only), or any one `*.jsonl` in its format; the COCO photographs by bare
file name beside it or in a subfolder. 288 rows, refined by hand from Visual-CoT's VSR rows. Licence: none stated.

Row (`bboxs` in pixels of the original image, corners):
    {"question": "Is the motorcycle away from the bird?", "answer": "No", "image": "000000385473.jpg", "width": 333, "height": 500,
     "bboxs": [[0.0, 2.25, 333.0, 494.38]], "dataset": "vsr", "split": "train"}

Metric: grounding IoU, the IoU of the union of the predicted and the union of the gold boxes, a reply without a box counting 0
(`GRIT-fork/extract_eval_results.py` at 44699c9). `official` reads the numbers as the authors do: as written, also where the model
wrote pixels of the resized image; thousandths (their InternVL path) become int(x / 1000 * width). Perfect boxes of Qwen2.5-VL
score about 0.46 so. `rescaled` reads the same boxes in original pixels; one by one they also give precision, recall and F1 at 0.5.

Headline: grounding_iou, `official`, overall.

Departures: the paper's accuracy is a judge's score from 0 to 1. Here `strict` is an exact match: yes or no by evalkit's parser
where that is the gold answer, else equality but for case, articles and punctuation. Ids are zero-based rows.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from evalkit import (
    Accuracy,
    Box,
    BoxMatch,
    Data,
    DataError,
    GroundingIoU,
    Image,
    Prediction,
    Rule,
    Sample,
    Size,
    Task,
    Unparsed,
    Wants,
    parsers,
    read_boxes,
    read_jsonl,
    require,
)

VARIANTS: tuple[str, ...] = ()

DATA = Data(
    hub=("yfan1997/GRIT_data",),
    files=("vsr_val.jsonl|*.jsonl",),
    licence="none stated",
    layout="vsr_val.jsonl (or one other *.jsonl) and the photographs by bare name, beside it or in a subfolder",
)

PUBLISHED = {"rows": 288}


def task(variant: str, data: Path | None) -> Task:
    """GRIT's VSR subset; there are no variants."""
    return Task(
        name="grit_vsr",
        version=1,
        samples=lambda: samples(DATA.folder(data)),
        rules=(
            Rule("official", official, GroundingIoU(), reads="boxes"),
            Rule("rescaled", rescaled, GroundingIoU(), reads="boxes"),
            Rule("rescaled", rescaled, BoxMatch(0.5), reads="boxes"),
            Rule("strict", strict, Accuracy()),
        ),
        headline="grounding_iou",
        kinds=("text", "yes_no", "boxes"),
        data=DATA,
        published=PUBLISHED,
    )


def samples(folder: Path) -> Iterator[Sample]:
    """The rows of the one annotation file, in its order."""
    paths = DATA.annotations(folder)
    if len(paths) > 1:
        raise DataError(f"expected vsr_val.jsonl or one *.jsonl in {folder}, got {', '.join(path.name for path in paths)}")
    homes = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    for number, row in enumerate(read_jsonl(paths[0])):
        where = f"{paths[0]}, row {number}"
        require(row, {"question": str, "answer": str, "image": str, "width": int, "height": int, "bboxs": list}, where)
        path = next((home / row["image"] for home in homes if (home / row["image"]).is_file()), folder / row["image"])
        answer = _plain(row["answer"])
        yield Sample(
            id=str(number),
            question=row["question"],
            prompt=row["question"],
            images=(Image(path, size=Size(row["width"], row["height"])),),
            wants=Wants("yes_no" if answer in ("yes", "no") else "text", also=("boxes",)),
            target=answer,
            regions=read_boxes(row["bboxs"], f"bboxs of {where}"),
            group=row["image"],
        )


def official(prediction: Prediction, sample: Sample) -> list[Box] | Unparsed:
    """The boxes as the authors' script reads them: no conversion, but for thousandths, which are cut to whole pixels."""
    size = sample.images[0].size
    boxes = []
    for evidence in prediction.evidence:
        x1, y1, x2, y2 = evidence.written
        if evidence.frame == "thousand" and size:
            x1, x2 = int(x1 / 1000 * size.width), int(x2 / 1000 * size.width)
            y1, y2 = int(y1 / 1000 * size.height), int(y2 / 1000 * size.height)
        boxes.append(Box(x1, y1, x2, y2))
    return boxes or Unparsed("no box")


def rescaled(prediction: Prediction, sample: Sample) -> list[Box] | Unparsed:
    """The boxes in pixels of the original image."""
    boxes = [evidence.box for evidence in prediction.evidence if evidence.box is not None]
    if len(boxes) < len(prediction.evidence):
        return Unparsed("boxes in an unknown frame")
    return boxes or Unparsed("no box")


def strict(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The answer in the target's plain form."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    if "yes_no" in sample.wants:
        return parsers.yes_no(prediction.answer)
    return _plain(prediction.answer) or Unparsed("no word")


def _plain(text: str) -> str:
    """The words in lower case, without articles and punctuation."""
    return " ".join(word for word in re.findall(r"\w+", text.lower()) if word not in ("a", "an", "the"))
