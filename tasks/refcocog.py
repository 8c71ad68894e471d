"""RefCOCOg: whole sentences about one thing in a photograph, which is to be boxed or masked.

Paper: Mao, Huang, Toshev, Camburu, Yuille, Murphy: Generation and Comprehension of Unambiguous Object Descriptions. CVPR 2016, arXiv
1511.02283.

Data: one of
- `jxu124/refcocog` on the hub, `data/*.parquet`, one row a thing: its expressions, and COCO's annotation and image entry as JSON, so
  boxes and masks; `validation` is `val` there;
- `REC_refcocog_umd_SPLIT.jsonl`, one row an expression, made from those rows: boxes alone.
COCO's train2014 photographs lie beside it, in `train2014/`, `images/` or the folder itself. Expressions: val 4896, test 9602.
The split is UMD's. Licence: Apache-2.0 (REFER's); the photographs have those of Flickr.

Row (`REC_refcocog_umd_test.jsonl`; corners in pixels of the original image):
    {"img_path": "COCO_train2014_000000380440.jpg", "expression": "the man in yellow coat", "bbox": [374.31, 65.06, 510.35, 267.0],
     "dataset_name": "jxu124/refcocog", "height": 376, "width": 640, "image_id": 380440, "sent_id": 8, "split": "test"}

Metric: `SPLIT`, boxes to find (REC): `accuracy_at_0.5`, the share of expressions whose box has an IoU of at least 0.5 with the gold one,
COCO's; a reply without a box is a miss. `official` takes the first box of a reply, `strict` none of several.
`SPLIT-masks`, masks to find (RES): `ciou`, the sum of intersections over that of unions, and `giou`, the mean of the IoUs, no epsilons;
the gold is COCO's polygons as pycocotools draws them, a failure an empty mask (unparsed). `official` has the first mask, `strict` all of
a reply together; under both a mask that is not of the image's size is none. `tight_box` is REC from a mask: the box around the first mask's
8-connected parts of 10 pixels and more, its far corner the last pixel itself, as PolyU-ChenLab/UniPixel (`infer_seg.py`) has it.

Headline: accuracy_at_0.5, and ciou of the masks, `official`, overall.

Ids: `sent_id`, the number of the expression in REFER's files, the same in both forms. Clusters: the image.

Departures: the authors have no wording for a model, so it is ours; the protocol `segment` asks for masks in UniPixel's. REFER's own
`refs(umd).p` is a pickle, which can run anything and is not opened. `lmms-lab/RefCOCOg` is not
read: its `val` has 7573 things, where UMD's has 2573, and its masks are one list of numbers, of several polygons or of one.
"""

from pathlib import Path

from evalkit import Task, sibling

shared = sibling(__file__, "_refcoco")
SET = shared.Set(
    name="refcocog",
    stem="refcocog_umd",
    hub="jxu124/refcocog",
    rows={"val": 4896, "test": 9602},
)
VARIANTS = SET.variants
DATA = SET.data(VARIANTS[0])


def task(variant: str, data: Path | None) -> Task:
    """RefCOCOg's `val` or `test`, with boxes or masks to find."""
    made: Task = SET.task(variant, data)
    return made
