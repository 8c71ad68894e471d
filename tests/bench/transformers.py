"""The transformers engine through the whole run against the loop that a careful user writes by hand.

python -m tests.bench.transformers [PASSES [SAMPLES]]

300 samples of `shapes`, float32, at most 16 tokens. The loop has the same model and processor, and its samples are sorted by their exact
numbers of tokens before the clock starts; it asks them in batches of the same 16, padded on the left. The run sees its samples as they
come. Passes take turns in one process; `ratio` is bare seconds over ours (median). Both must say the same, but for 1 reply in 100.
"""

import sys
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

from evalkit import protocols
from evalkit.engines.transformers import Transformers
from evalkit.types import Sample

from .whole import DEMO, evaluate, shapes, tell

BATCH, TOKENS = 16, 16


def main(passes: int = 5, count: int = 300) -> None:
    engine = Transformers(DEMO, dtype="float32", batch_size=BATCH)
    model, processor, samples = engine.model, engine.processor, shapes(count)
    asked = protocols.find("direct", max_tokens=TOKENS)
    ordered = sorted(samples, key=lambda sample: tensors(processor, [sample])["input_ids"].shape[1])

    def bare() -> dict[str, str]:
        return by_hand(model, processor, ordered)

    def ours() -> dict[str, str]:
        return evaluate(engine, asked, samples)

    first, second = bare(), ours()
    equal = sum(second[name] == text for name, text in first.items())
    assert equal >= 0.99 * count, f"expected the same replies, got {equal} of {count}"
    pairs = [(seconds(bare), seconds(ours)) for _ in range(passes)]
    engine.close()
    tell(pairs, equal=equal, samples=count, device=str(model.device))


def by_hand(model: Any, processor: Any, samples: Sequence[Sample]) -> dict[str, str]:
    """Every sample's reply, from the loop that a user writes."""
    import torch

    replies = {}
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        inputs = tensors(processor, batch).to(model.device)
        with torch.inference_mode():
            rows = model.generate(**inputs, do_sample=False, max_new_tokens=TOKENS)
        said = processor.batch_decode(rows[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        replies.update({sample.id: text for sample, text in zip(batch, said, strict=True)})
    return replies


def tensors(processor: Any, batch: Sequence[Sample]) -> Any:
    """What the processor makes of a batch."""
    from PIL import Image

    images = [Image.open(BytesIO(sample.images[0].source)).convert("RGB") for sample in batch]  # type: ignore[arg-type]
    chats = [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": sample.prompt}]}] for sample in batch]
    texts = processor.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
    return processor(text=texts, images=images, padding=True, padding_side="left", return_tensors="pt")


def seconds(way: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    way()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
