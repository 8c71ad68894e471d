"""MME: two yes-or-no questions about each image, one of either answer, in fourteen subtasks of perception and cognition.

Paper: Fu et al.: MME: A Comprehensive Evaluation Benchmark for Multimodal Large Language Models. 2023, arXiv 2306.13394.

Data: the authors give the images on request. A folder of theirs: `Your_Results/<subtask>.txt` of the eval tool (also beside the
images, or that folder itself), a line being image, question and answer parted by tabs, with the images in `<subtask>/` or
`<subtask>/images/`; or the release, where each image has a text file of its stem (beside it, or in `questions_answers_YN/` with
the images in `images/`) of two lines, question and answer. Or `lmms-lab-encoder/MME` on the hub, Parquet with the images inside.
2374 questions about 1187 images. Licence: none stated.

Row (`Your_Results/code_reasoning.txt`, tabs shown as |; on the hub question_id, question, answer and category):
    0020.png|Is a python code shown in the picture? Please answer yes or no.|Yes

Metric: accuracy over questions, `accuracy_plus`, the share of images with both questions right, and for each subtask the `score`
100 accuracy + 100 accuracy_plus; perception is the sum of ten scores (at most 2000), cognition of four (800)
(`eval_tool/calculation.py`). `official` takes the first four characters of the reply in lower case, unstripped: "yes" in them
is a yes, else "no" is a no ("not", "know"), else the reply is neither, and wrong. In the authors' files a reply ends with its
line break, which changes no label. `strict` is evalkit's yes-no parser on the answer that the reply gives.

Headline: score, `official`, perception and cognition.

Departures: the authors' tool pairs lines as they stand and stops at an odd one; here questions pair by image, an image with only one
answered is not right, and a subtask that lacks replies is refused. The ids are `subtask/image/0` and `/1`, in the file's order. In
results files images match by stem (LLaVA's converter names their text files) and questions by their words or, as the authors' tool
never reads these, else by their answer. In what `export` writes each tab and line break of a reply is one space, which changes no
label either.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from evalkit import (
    Columns,
    Composite,
    Data,
    DataError,
    Estimate,
    Image,
    Prediction,
    Record,
    Reply,
    Rule,
    Sample,
    Task,
    Unparsed,
    Wants,
    parsers,
    read_parquet,
    require,
    stats,
)

VARIANTS: tuple[str, ...] = ()

DATA = Data(
    hub=("lmms-lab-encoder/MME", "lmms-lab/MME"),
    files=("**/Your_Results/*.txt|**/*.txt|**/*.parquet",),
    licence="none stated",
    layout="Your_Results/<subtask>.txt of the eval tool and the images in <subtask>/ or <subtask>/images/; or the release's folders, each "
    "image with its text file beside it or in questions_answers_YN/; or the hub's *.parquet",
)

PERCEPTION = {
    "existence": 60,
    "count": 60,
    "position": 60,
    "color": 60,
    "posters": 294,
    "celebrity": 340,
    "scene": 400,
    "landmark": 400,
    "artwork": 400,
    "OCR": 40,
}
COGNITION = {"commonsense_reasoning": 140, "numerical_calculation": 40, "text_translation": 40, "code_reasoning": 40}
SUBTASKS = {**PERCEPTION, **COGNITION}

FLOOR = 50.0
"""What "yes" to everything scores in a subtask: each image has one question of either answer, so half are right and no pair is."""

ASK = "Please answer yes or no."
BREAKS = str.maketrans(dict.fromkeys("\t\n\r", " "))


class Asked(NamedTuple):
    """One question as its file has it."""

    where: str
    subtask: str
    image: Image
    name: str
    """The image's file name."""
    question: str
    gold: str


def task(variant: str, data: Path | None) -> Task:
    """MME; there are no variants."""
    return Task(
        name="mme",
        version=1,
        samples=lambda: samples(DATA.folder(data)),
        rules=(Rule("official", official, Pairs()), Rule("strict", strict, Pairs())),
        headline="score",
        kinds=("yes_no",),
        data=DATA,
        published={"rows": sum(SUBTASKS.values()), "answer=yes": 1187, "answer=no": 1187, **SUBTASKS},
        replies=lambda path: replies(path, data),
        export=export,
        composites=(
            Composite("perception", "score", tuple(PERCEPTION), "sum"),
            Composite("cognition", "score", tuple(COGNITION), "sum"),
        ),
        floors={"score": FLOOR},
        whole=tuple(SUBTASKS),
    )


def samples(folder: Path) -> Iterator[Sample]:
    """The questions, subtask by subtask as the files have them."""
    asked: Counter[str] = Counter()
    for row in _of_hub(folder) if DATA.annotations(folder)[0].suffix == ".parquet" else _of_text(folder):
        target, group = row.gold.strip().lower(), f"{row.subtask}/{row.name}"
        if target not in ("yes", "no"):
            raise DataError(f"expected Yes or No as the answer in {row.where}, got {row.gold!r}")
        if asked[group] == 2:
            raise DataError(f"expected two questions about {group}, got a third in {row.where}")
        yield Sample(
            id=f"{group}/{asked[group]}",
            question=row.question.strip().removesuffix(ASK).strip(),
            prompt=row.question,
            images=(row.image,),
            wants=Wants("yes_no"),
            target=target,
            tags=frozenset({row.subtask, "perception" if row.subtask in PERCEPTION else "cognition"}),
            group=group,
        )
        asked[group] += 1


def official(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """ "yes" or "no", whichever is in the first four characters; "yes" where both are."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    opening = prediction.answer.lower()[:4]
    return next((word for word in ("yes", "no") if word in opening), Unparsed("neither yes nor no in the first four characters"))


def strict(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """ "yes" or "no", whichever the answer says."""
    return Unparsed(prediction.failure) if prediction.answer is None else parsers.yes_no(prediction.answer)


@dataclass(frozen=True, slots=True)
class Pairs:
    """`accuracy` and `accuracy_plus` in [0, 1] and `score`, 100 times their sum, of questions that come in pairs about one image.

    An image counts in `accuracy_plus` by the product of its two questions' shares of right answers: 1 where both are right, 0
    where one is wrong or absent; of repeats, the share of pairs of draws that are right.
    """

    @property
    def name(self) -> str:
        return "pairs"

    def measure(self, value: Any | None, sample: Sample) -> Record:
        """`correct`, and `question`: the 0 or 1 that ends the sample's id."""
        return {"correct": float(value == sample.target), "question": float(sample.id[-1])}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """Shares with Wilson's intervals; the score's by bootstrap over images, since its two parts move together."""
        import numpy as np

        correct, question = stats.column(records, "correct"), stats.column(records, "question")
        images, image = np.unique(records.group, return_inverse=True)
        right = [np.bincount(image[question == number], correct[question == number], len(images)) for number in (0, 1)]
        asked = [np.bincount(image[question == number], minlength=len(images)) for number in (0, 1)]
        both = right[0] * right[1] / np.maximum(asked[0] * asked[1], 1)
        half = (sum(right) * (len(images) / max(len(correct), 1)) + both) / 2
        mean = stats.mean(half, images, bounded=True)
        scaled = (None if number is None else 200 * number for number in (mean.value, mean.stderr, mean.low, mean.high))
        return {
            "accuracy": stats.share(correct, records.group),
            "accuracy_plus": stats.share(both, images),
            "score": Estimate(*scaled, len(correct)),
        }


def replies(path: Path, data: Path | None) -> Iterator[Reply] | None:
    """The replies of a folder of `<subtask>.txt`, lines of image, question, answer and reply; None for anything else.

    Raises:
        DataError: a line is none such, or says another answer than the data; or a question comes twice.
    """
    files = [file for subtask in SUBTASKS if (file := path / f"{subtask}.txt").is_file()]
    return _replies(files, data) if files else None


def export(answered: Iterable[tuple[Sample, Mapping[str, Any]]], folder: Path) -> list[Path]:
    """Writes `<subtask>.txt` of the authors' tool, a reply being the answer as the protocol found it, on one line.

    Raises:
        DataError: an image lacks a reply to one of its questions: the tool would pair its lines wrongly.
    """
    lines: dict[str, list[str]] = {}
    found: Counter[str] = Counter()
    for sample, row in answered:
        subtask, _, name = sample.group.partition("/")
        found[sample.group] += not row["missing"]
        reply = (row["answer"] or "").translate(BREAKS)
        lines.setdefault(subtask, []).append(f"{name}\t{sample.prompt}\t{sample.target.capitalize()}\t{reply}\n")
    if lacking := [group for group, number in found.items() if number != 2]:
        raise DataError(
            f"expected replies to both questions about every image, got them for all but {len(lacking)} of {len(found)} images, such "
            f"as {lacking[0]}: run `evalkit run` again to fill the gaps, or replay a file that holds them"
        )
    for subtask, written in lines.items():
        (folder / f"{subtask}.txt").write_text("".join(written), "utf-8", errors="backslashreplace", newline="\n")
    return [folder / f"{subtask}.txt" for subtask in lines]


def _of_hub(folder: Path) -> Iterator[Asked]:
    columns = ("question_id", "question", "answer", "category")
    for path in DATA.annotations(folder):
        for number, row in enumerate(read_parquet(path, columns, images=("image",))):
            where = f"{path}, row {number}"
            require(row, dict.fromkeys(columns, str), where)
            if row["category"] not in SUBTASKS:
                raise DataError(f"expected one of the 14 subtasks as category in {where}, got {row['category']!r}")
            name = Path(row["question_id"]).name
            yield Asked(where, row["category"], Image(row["image"]), name, row["question"], row["answer"])


def _of_text(folder: Path) -> Iterator[Asked]:
    """The eval tool's tables where there are any, else the release's text files; any other text file is passed over."""
    paths = DATA.annotations(folder)
    tables = [path for path in paths if path.stem in SUBTASKS and path.parent.name not in SUBTASKS]
    yield from _of_tables(folder, tables) if tables else _of_release(paths)


def _of_tables(folder: Path, paths: list[Path]) -> Iterator[Asked]:
    for path in paths:
        homes = (folder / path.stem, *sorted(folder.glob(f"*/{path.stem}")))
        images = _images(next((home for home in homes if home.is_dir()), homes[0]))
        for where, cells in _lines(path):
            if len(cells) != 3:
                raise DataError(f"expected image, question and answer, parted by tabs, in {where}, got {len(cells)} cells")
            name, question, gold = cells
            yield Asked(where, path.stem, Image(images / name), name, question, gold)


def _of_release(paths: list[Path]) -> Iterator[Asked]:
    images: dict[Path, dict[str, Path]] = {}
    for path in paths:
        home = path.parent.parent if path.parent.name == "questions_answers_YN" else path.parent
        if home.name not in SUBTASKS:
            continue
        if home not in images:
            images[home] = {file.stem: file for file in _images(home).iterdir() if file.suffix != ".txt"}
        image = images[home].get(path.stem)
        if image is None:
            raise DataError(f"expected the image of {path} in {_images(home)}, found none of that stem")
        for where, cells in _lines(path):
            if len(cells) != 2:
                raise DataError(f"expected question and answer, parted by a tab, in {where}, got {len(cells)} cells")
            yield Asked(where, home.name, Image(image), image.name, *cells)


def _images(home: Path) -> Path:
    return home / "images" if (home / "images").is_dir() else home


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Where each line that is not blank is, and its cells."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"expected UTF-8 text in {path}, got byte {error.object[error.start]:#04x}: is it in another encoding?") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path}, line {number}", line.split("\t")


def _replies(files: Iterable[Path], data: Path | None) -> Iterator[Reply]:
    """Of each question by its words or, where only one of its image has that answer, by the answer; of others under ids of their own."""
    worded: dict[tuple[str, ...], Sample] = {}
    golden: defaultdict[tuple[str, ...], list[Sample]] = defaultdict(list)
    for sample in samples(DATA.folder(data)):
        subtask, _, name = sample.group.partition("/")
        worded[subtask, Path(name).stem, _words(sample.prompt)] = sample
        golden[subtask, Path(name).stem, sample.target].append(sample)
    given: set[str] = set()
    for path in files:
        for where, cells in _lines(path):
            if len(cells) not in (3, 4):
                raise DataError(
                    f"expected image, question, answer and reply, parted by tabs, in {where}, got {len(cells)} cells: in a reply, "
                    "tabs and line breaks must be spaces"
                )
            image, question, gold, text = (*cells, "")[:4]  # an editor may have cut off the tab before an empty reply
            found, target = worded.get((path.stem, Path(image).stem, _words(question))), gold.strip().lower()
            if found and target != found.target:
                raise DataError(f"expected the answer {found.target.capitalize()}, as the data has it, in {where}, got {gold!r}")
            if target not in ("yes", "no"):
                raise DataError(f"expected Yes or No as the answer in {where}, got {gold!r}")
            alike = [found] if found else golden[path.stem, Path(image).stem, target]
            name = alike[0].id if len(alike) == 1 else f"{path.stem}/{image}: {' '.join(question.split())}"
            if name in given:
                raise DataError(f"expected each question of {path.stem} once, got '{question}' about '{image}' again in {where}")
            given.add(name)
            yield Reply(name, text)


def _words(question: str) -> str:
    """What is asked, without how to answer."""
    return " ".join(question.partition(ASK)[0].split())
