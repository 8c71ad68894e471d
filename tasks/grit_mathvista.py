"""GRIT's MathVista: testmini's questions, with a judge in place of MathVista's own score.

Paper: Fan et al.: GRIT: Teaching MLLMs to Think with Images. 2025, arXiv 2505.15879.

Data: `mathvista_mini_val.jsonl` of `yfan1997/GRIT_data` on the hub (rows only), or any one `*.jsonl` in its format;
the images by their names in the rows, beside it or in a subfolder. 1000 rows. Licence: none stated.

Row (values invented; width and height may be there and are not read):
    {"question": "What is the age gap between these two people?", "answer": "7", "image": "1.jpg", "dataset": "mathvista_mini",
     "split": "val"}

Metric: the judge's of `grit_vsr`; there are no gold boxes. `strict` reads a number or yes or no by evalkit's parsers where that is
the gold answer; else the answer must be equal but for case, articles and punctuation.

Headline: judge_score, `official`, overall.

Departures: those of `grit_vsr`.
"""

from pathlib import Path

from evalkit import Task, sibling

grit = sibling(__file__, "_grit")

VARIANTS: tuple[str, ...] = grit.VARIANTS
DATA = grit.source("mathvista_mini_val")


def task(variant: str, data: Path | None) -> Task:
    """GRIT's MathVista rows, judged or not."""
    return grit.Set("grit_mathvista", DATA, rows=1000, dataset="mathvista_mini", boxes=False, numbers="number").task(variant, data)
