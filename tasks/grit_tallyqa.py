"""GRIT's TallyQA: how many are there, with a gold box of each.

Paper: Fan et al.: GRIT: Teaching MLLMs to Think with Images. 2025, arXiv 2505.15879.

Data: `tallyqa_val.jsonl` of `yfan1997/GRIT_data` on the hub (rows only), or any one `*.jsonl` in its format; the
photographs by their names in the rows, beside it or in a subfolder. 491 rows, drawn evenly over the counts 0 to 9. Licence: none stated.

Row (values invented; boxes are TallyQA's own annotations):
    {"question": "How many dogs are there?", "answer": "2", "image": "000000000001.jpg", "width": 640, "height": 480,
     "bboxs": [[10, 20, 110, 220], [200, 20, 300, 220]], "dataset": "tallyqa", "split": "val"}

Metric: those of `grit_vsr`; a row without gold boxes does not count in grounding_iou. `strict` reads the count by evalkit's parser.

Headline: judge_score, `official`, overall.

Departures: those of `grit_vsr`.
"""

from pathlib import Path

from evalkit import Task, sibling

grit = sibling(__file__, "_grit")

VARIANTS: tuple[str, ...] = grit.VARIANTS
DATA = grit.source("tallyqa_val")


def task(variant: str, data: Path | None) -> Task:
    """GRIT's TallyQA rows, judged or not."""
    return grit.Set("grit_tallyqa", DATA, rows=491, dataset="tallyqa", numbers="count").task(variant, data)
