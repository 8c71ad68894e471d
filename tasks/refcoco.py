"""RefCOCO: phrases for one thing in a photograph, which is to be boxed or masked; place words such as left allowed.

Paper: Yu, Poirson, Yang, Berg, Berg: Modeling Context in Referring Expressions. ECCV 2016, arXiv 1608.00272.

Data: one of
- `jxu124/refcoco` on the hub, `data/*.parquet`, one row a thing: its expressions, and COCO's annotation and image entry as JSON, so
  boxes and masks; `validation` is `val` there, `test` is `testA`;
- `REC_refcoco_unc_SPLIT.jsonl`, one row an expression, made from those rows: boxes alone.
COCO's train2014 photographs lie beside it, in `train2014/`, `images/` or the folder itself. Expressions: val 10834, testA 5657, testB 5095.
The split is UNC's. Licence: Apache-2.0 (REFER's); the photographs have those of Flickr.

Row (`REC_refcoco_unc_val.jsonl`; corners in pixels of the original image):
    {"img_path": "COCO_train2014_000000580957.jpg", "expression": "dish in top right corner", "bbox": [468.3, 0.91, 640.0, 117.03],
     "dataset_name": "jxu124/refcoco", "height": 428, "width": 640, "image_id": 580957, "sent_id": 223, "split": "validation"}

Metric: `SPLIT`, boxes to find (REC): `accuracy_at_0.5`, the share of expressions whose box has an IoU of at least 0.5 with the gold one,
COCO's; a reply without a box is a miss. `official` takes the first box of a reply, `strict` none of several.
`SPLIT-masks`, masks to find (RES): `ciou`, the sum of intersections over that of unions, and `giou`, the mean of the IoUs, no epsilons;
the gold is COCO's polygons as pycocotools draws them, a failure an empty mask (unparsed). `official` has the first mask, `strict` all of
a reply together; under both a mask that is not of the image's size is none. `tight_box` is REC from a mask: the box around the first mask's
8-connected parts of 10 pixels and more, its far corner the last pixel itself, as PolyU-ChenLab/UniPixel (`infer_seg.py`) has it.

Headline: accuracy_at_0.5, and ciou of the masks, `official`, overall.

Ids: `sent_id`, the number of the expression in REFER's files, the same in both forms. Clusters: the image.

Departures: the authors have no wording for a model, so it is ours; the protocol `segment` asks for masks in UniPixel's. REFER's own
`refs(unc).p` is a pickle, which can run anything and is not opened. `lmms-lab/RefCOCO` is not
read: its `val` has 8811 things, where UNC's has 3811, and its masks are one list of numbers, of several polygons or of one.
"""

from pathlib import Path

from evalkit import Task, sibling

shared = sibling(__file__, "_refcoco")
SET = shared.Set(
    name="refcoco",
    stem="refcoco_unc",
    hub="jxu124/refcoco",
    rows={"val": 10834, "testA": 5657, "testB": 5095},
)
VARIANTS = SET.variants
DATA = SET.data(VARIANTS[0])


def task(variant: str, data: Path | None) -> Task:
    """RefCOCO's `val`, `testA` (people) or `testB` (other things), with boxes or masks to find."""
    made: Task = SET.task(variant, data)
    return made
