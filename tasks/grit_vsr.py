"""GRIT's VSR: short questions about spatial relations, with gold boxes of what the answer rests on.

Paper: Fan et al.: GRIT: Teaching MLLMs to Think with Images. 2025, arXiv 2505.15879.

Data: `vsr_val.jsonl` of `yfan1997/GRIT_data` on the hub (rows only), or any one `*.jsonl` in its format; the
COCO photographs by bare file name beside it or in a subfolder. 288 rows, refined by hand from Visual-CoT's VSR rows. Licence: none stated.

Row (`bboxs` in pixels of the original image, corners):
    {"question": "Is the motorcycle away from the bird?", "answer": "No", "image": "000000385473.jpg", "width": 333, "height": 500,
     "bboxs": [[0.0, 2.25, 333.0, 494.38]], "dataset": "vsr", "split": "train"}

Metric: `judge_score` is the mean of a judge's scores of the answer against the gold one (the paper's judge is GPT-4o; times 100 its
ACC): `official` as the authors parse it, not bound to 1, `clamped` at most 1; `judge_accuracy` is the share above 0.5. A reply without
`<answer>` is 0 unasked, three replies of the judge without a score are 0 and counted in `judge_unparsed`.

`grounding_iou` is the IoU of the union of the predicted and the union of the gold boxes, a reply without a box counting 0: `official`
takes the written numbers for original pixels, also where the model wrote pixels of the resized image, and thousandths (the authors'
InternVL path) as int(x / 1000 * width); `rescaled` takes the same boxes in original pixels, where they also give precision, recall and F1
at 0.5. `sprayed` is the share of replies with more than 16 boxes. Perfect boxes of Qwen2.5-VL score about 0.46 by `official`.

`bleu_1` is the BLEU-1 of the answer against the row's own, ten times the authors' reward.

`strict` is ours and asks no judge: yes or no by evalkit's parser where that is the gold answer, else equality but for
case, articles and punctuation. The variant `unjudged` leaves the judge out.

Headline: judge_score, `official`, overall.

Departures: the authors' script scores a conversation that its sampler repeated once, and of rows that agree in image, answer and
question up to the question mark only the last in ACC; here each row counts once. Ids are zero-based rows. Their saved outputs
(`output/<setting>/local_log_step_<N>/evaluation_results_<rank>.json`) are read by `--model replay:FOLDER --protocol grit`, the saved
scores as the judge's; name `--frame thousand` for those of InternVL.
"""

from pathlib import Path

from evalkit import Task, sibling

grit = sibling(__file__, "_grit")

VARIANTS: tuple[str, ...] = grit.VARIANTS
DATA = grit.source("vsr_val")


def task(variant: str, data: Path | None) -> Task:
    """GRIT's VSR rows, judged or not."""
    return grit.Set("grit_vsr", DATA, rows=288, dataset="vsr").task(variant, data)
