"""The layout of Pixel Reasoner's evaluation sets (`JasperHaozhe/*-EvalData-PixelReasoner`): a Parquet file, and images.zip beside it.

Read in `onestep_evaluation` of TIGER-AI-Lab/Pixel-Reasoner and `examples/data_preprocess/pixel_reasoner` of TIGER-AI-Lab/verl-tool,
not in the data. Columns: `qid`, `question`, `answer` (a text or several, each perhaps in a `\\boxed{}`), `image` (paths as in
images.zip, several for the frames of a video), `is_video`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evalkit import DataError, Image, image_in, read_parquet, require

BOX = re.compile(r"\\boxed\{(.*)\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Row:
    """One question."""

    id: str
    question: str
    answers: tuple[str, ...]
    images: tuple[Image, ...]
    group: str
    """The first image's path."""
    where: str


def rows(path: Path) -> Iterator[Row]:
    """The rows of a Parquet file, in its order; images that are not unpacked come from images.zip."""
    for number, row in enumerate(read_parquet(path, ("qid", "question", "answer", "image"))):
        where = f"{path}, row {number}"
        require(row, {"qid": (str, int), "question": str, "answer": (str, list), "image": list}, where)
        answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
        if not answers or not row["image"] or not all(isinstance(text, str) for text in (*answers, *row["image"])):
            raise DataError(f"expected texts as answers and images in {where}, got {answers!r:.60} and {row['image']!r:.60}")
        plain = tuple(match[1] if (match := BOX.fullmatch(answer.strip())) else answer for answer in answers)
        images = tuple(image_in(path.parent, place) for place in row["image"])
        yield Row(str(row["qid"]), row["question"], plain, images, row["image"][0], where)
