"""GRIT's OVDEval: find the one thing that a phrase about its position names.

Paper: Fan et al.: GRIT: Teaching MLLMs to Think with Images. 2025, arXiv 2505.15879.

Data: `ovd_position_val.jsonl` of `yfan1997/GRIT_data` on the hub (rows only), or any one `*.jsonl` in its format;
the images by their names in the rows, beside it or in a subfolder. 2146 rows of OVDEval's position subset with one thing each (the paper's
text has 2164). Licence: none stated.

Row (values invented; the gold box is the answer, in pixels of the original image):
    {"question": "Where is the dog on the left of the tree?", "answer": "[10, 20, 110, 220]", "image": "000001.jpg", "width": 640,
     "height": 480, "dataset": "ovd_position", "split": "val"}

Metric: no judge. `threshold_score` is the mean, over the IoU thresholds 0.5, 0.55 to 0.95, of 1 / (number of boxes written) where one of
them meets the first gold box and 0 where none does (`map_single_gt_set`). Boxes count wherever they are written: one in the thoughts and
again in the answer is two. `official` takes the numbers as they are written, whatever the frame, since the authors' script scores them
before it converts thousandths; `rescaled` in original pixels. grounding_iou, box_f1 and sprayed are those of `grit_vsr`.

Headline: threshold_score, `official`, overall.

Departures: those of `grit_vsr`. The published InternVL rows of this set are higher than thousandths left as they are
could score on photographs of usual size: they hardly come from the script as it stands.
"""

from pathlib import Path

from evalkit import Task, sibling

grit = sibling(__file__, "_grit")

VARIANTS: tuple[str, ...] = ()
DATA = grit.source("ovd_position_val")


def task(variant: str, data: Path | None) -> Task:
    """GRIT's OVDEval rows; there are no variants."""
    return grit.Set("grit_ovdeval", DATA, rows=2146, dataset="ovd_position", located=True).task(variant, data)
