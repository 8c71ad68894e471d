"""VSR, Visual Spatial Reasoning: is a statement about where things are true of the photograph?

Paper: Liu, Emerson, Collier: Visual Spatial Reasoning. TACL 2023, arXiv 2205.00363.

Data: `cambridgeltl/vsr_random` and `cambridgeltl/vsr_zeroshot` on the hub, one per variant; test splits, 2195 rows (1181 true)
and 1222 rows (629 true). A folder holds `random/test.jsonl` or `zeroshot/test.jsonl`, or the variant's `test.jsonl` itself as
on the hub. The photographs are COCO 2017's (train and val), by bare file name in `images/`, else beside the folder's files;
they are not on the hub. Apache-2.0 (the hub's card: CC BY 4.0).

Row (`random`; in `zeroshot`, `subj` and `obj` stand in place of `reference_frame`):
    {"image": "000000451431.jpg", "image_link": "http://images.cocodataset.org/train2017/000000451431.jpg",
     "caption": "The person is inside the refrigerator.", "label": 1, "relation": "inside", "annotator_id": 29,
     "vote_true_validator_id": "[2, 9]", "vote_false_validator_id": "[3]", "reference_frame": null}

Metric: accuracy, also by relation and by meta-category (`relation=...`, `meta=...`), each over its rows, as the authors'
`analysis_scripts/` print them. Those read one 0 or 1 per row and no text, so `official` is the reading of the published runs of
models that reply in text (`parse_true_false` of vlm-spatial-reasoning): a few whole replies ("yes", "not correct", ...), else
whether just one of "true" and "false" occurs. `strict` is evalkit's yes-no parser.

Headline: accuracy, `official`, overall.

Departures: the authors have no prompt; the wording is ours, as LLaVA-like models are asked. Paper and README give 616 rows for
zeroshot, its file has 1222. The ids are zero-based rows of the split's file. "among" is listed under two meta-categories; the
authors' script keeps the last, Unallocated.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from evalkit import Accuracy, Data, DataError, Image, Prediction, Rule, Sample, Task, Unparsed, Wants, parsers, read_jsonl, require

VARIANTS = ("random", "zeroshot")

SPLITS = {
    variant: Data(
        hub=(f"cambridgeltl/vsr_{variant}",),
        files=(f"{variant}/test.jsonl|test.jsonl",),
        licence="Apache-2.0; the hub's card says CC BY 4.0",
        layout=f"{variant}/test.jsonl or test.jsonl, and the COCO 2017 photographs by bare name in images/",
    )
    for variant in VARIANTS
}
DATA = SPLITS["random"]

PUBLISHED = {
    "random": {
        "rows": 2195,
        "answer=yes": 1181,
        "answer=no": 1014,
        "meta=Projective": 843,
        "meta=Topological": 629,
        "meta=Adjacency": 289,
        "meta=Orientation": 137,
        "meta=Proximity": 133,
        "meta=Directional": 88,
        "meta=Unallocated": 76,
    },
    "zeroshot": {"rows": 1222, "answer=yes": 629, "answer=no": 593},
}

# data/data_files/rel_meta_category_dict.txt of cambridgeltl/visual-spatial-reasoning at b27a0af
RELATIONS = {
    "Adjacency": "adjacent to, alongside, at the side of, at the right side of, at the left side of, attached to, at the back of, ahead of,"
    " against, at the edge of",
    "Directional": "off, past, toward, down, deep down, up, away from, along, around, from, into, to, across, across from, through,"
    " down from",
    "Orientation": "facing, facing away from, parallel to, perpendicular to",
    "Projective": "on top of, beneath, beside, behind, left of, right of, under, in front of, below, above, over, in the middle of",
    "Proximity": "by, close to, near, far from, far away from",
    "Topological": "connected to, detached from, has as a part, part of, contains, within, at, on, in, with, surrounding, among,"
    " consists of, out of, between, inside, outside, touching",
    "Unallocated": "beyond, next to, opposite to, after, among, enclosed by",
}
META = {relation: meta for meta, relations in RELATIONS.items() for relation in relations.split(", ")}

OPENING = re.compile(r"\A(?:the answer is|answer:|response:|output:)\s*")
YES = {"yes", "correct", "the statement is correct", "absolutely", "definitely"}
NO = {"no", "incorrect", "the statement is incorrect", "not true", "not correct"}


def task(variant: str, data: Path | None) -> Task:
    """VSR's test split of `variant`: `random` or `zeroshot`."""
    return Task(
        name=f"vsr:{variant}",
        version=1,
        samples=lambda: samples(SPLITS[variant], data),
        rules=(Rule("official", official, Accuracy()), Rule("strict", strict, Accuracy())),
        headline="accuracy",
        kinds=("yes_no",),
        data=SPLITS[variant],
        published=PUBLISHED[variant],
    )


def samples(source: Data, data: Path | None) -> Iterator[Sample]:
    """The rows of the split's file, in its order."""
    folder = source.folder(data)
    [path] = source.annotations(folder)
    images = folder / "images" if (folder / "images").is_dir() else path.parent
    for number, row in enumerate(read_jsonl(path)):
        where = f"{path}, row {number}"
        require(row, {"image": str, "caption": str, "label": int, "relation": str}, where)
        if row["label"] not in (0, 1) or row["relation"] not in META:
            raise DataError(f"expected a known relation with a label of 0 or 1 in {where}, got {row['relation']!r} with {row['label']}")
        yield Sample(
            id=str(number),
            question=f'Is the statement true? "{row["caption"]}"',
            prompt=f'Is the statement true? "{row["caption"]}" Answer yes or no.',
            images=(Image(images / row["image"]),),
            wants=Wants("yes_no"),
            target="yes" if row["label"] else "no",
            tags=frozenset({f"relation={row['relation']}", f"meta={META[row['relation']]}"}),
            group=row["image"],
        )


def official(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """ "yes" where the reply calls the statement true, "no" where it calls it false, as the published runs read it."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    said = OPENING.sub("", prediction.answer.strip().lower()).rstrip(". \t\r\n")
    if said in YES or said in NO:
        return "yes" if said in YES else "no"
    if ("true" in said) == ("false" in said):
        return Unparsed("not one of true and false")
    return "yes" if "true" in said else "no"


def strict(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """ "yes" or "no", whichever the answer says."""
    return Unparsed(prediction.failure) if prediction.answer is None else parsers.yes_no(prediction.answer)
