"""GRIT's GQA: compositional questions about scenes, with gold boxes of what the answer rests on.

Paper: Fan et al.: GRIT: Teaching MLLMs to Think with Images. 2025, arXiv 2505.15879.

Data: `gqa_val.jsonl` of `yfan1997/GRIT_data` on the hub (rows only), or any one `*.jsonl` in its format; the
photographs by their names in it, beside it or in a subfolder. 509 rows, refined by hand from Visual-CoT's GQA rows. Licence: none stated.

Row (values invented):
    {"question": "Is the cup left of the plate?", "answer": "Yes", "image": "2370799.jpg", "width": 640, "height": 480,
     "bboxs": [[10, 20, 110, 220]], "dataset": "gqa", "split": "val"}

Metric: those of `grit_vsr`. Perfect boxes of Qwen2.5-VL have a grounding_iou of about 0.77 by `official`.

Headline: judge_score, `official`, overall.

Departures: those of `grit_vsr`.
"""

from pathlib import Path

from evalkit import Task, sibling

grit = sibling(__file__, "_grit")

VARIANTS: tuple[str, ...] = grit.VARIANTS
DATA = grit.source("gqa_val")


def task(variant: str, data: Path | None) -> Task:
    """GRIT's GQA rows, judged or not."""
    return grit.Set("grit_gqa", DATA, rows=509, dataset="gqa").task(variant, data)
