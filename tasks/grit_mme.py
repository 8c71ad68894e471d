"""GRIT's MME: yes or no about existence, count and position, with a judge in place of MME's own score.

Paper: Fan et al.: GRIT: Teaching MLLMs to Think with Images. 2025, arXiv 2505.15879.

Data: `mme_val.jsonl` of `yfan1997/GRIT_data` on the hub (rows only), or any one `*.jsonl` in its format; the
images by their names in the rows, beside it or in a subfolder. 240 rows, whose `dataset` (mme_count, mme_position, mme_existence,
perhaps mme_color) is their subset. Licence: none stated.

Row (values invented; width, height and boxes may be there and are not read):
    {"question": "Is there a dog in the image?", "answer": "Yes", "image": "000000000001.jpg", "dataset": "mme_existence", "split": "val"}

Metric: the judge's and the strict reading of `grit_vsr`, for each subset too; there are no gold boxes.

Headline: judge_score, `official`, overall.

Departures: those of `grit_vsr`.
"""

from pathlib import Path

from evalkit import Task, sibling

grit = sibling(__file__, "_grit")

VARIANTS: tuple[str, ...] = grit.VARIANTS
DATA = grit.source("mme_val")


def task(variant: str, data: Path | None) -> Task:
    """GRIT's MME rows, judged or not."""
    return grit.Set("grit_mme", DATA, rows=240, dataset="", boxes=False).task(variant, data)
