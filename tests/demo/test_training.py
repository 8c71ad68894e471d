"""The demo checkpoint is taught what the processor really makes of an image, and its training can be stopped at any step."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit.protocols.grit import SUFFIX
from evalkit.task import module

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from evalkit.demo import architecture, lessons, train  # noqa: E402 - they need torch

shapes = module("shapes")


@pytest.fixture(scope="module")
def words() -> Any:
    taught = [lessons.lesson(shapes, index) for index in range(200)]
    return architecture.tokenizer([text for item in taught for text in (item.prompt.replace(SUFFIX, ""), item.reply)])


def test_patches_are_those_of_the_image_processor(words: Any) -> None:
    reader = architecture.processor(words).image_processor
    for index in range(6):
        item = lessons.lesson(shapes, index)
        made = reader(shapes.render(item.drawn), return_tensors="pt")
        values, grids = train.pixels([item])
        assert made["image_grid_thw"].tolist() == grids.tolist()
        frames = made["pixel_values"].reshape(len(values), 3, 2, -1)
        assert torch.equal(frames[:, :, 0], frames[:, :, 1])
        difference = (frames[:, :, 0].flatten(1) - values).abs()
        assert difference.max() < 0.05, "but for the rounding of two bicubic resizes"


def test_a_digit_is_a_token_and_so_is_the_suffix(words: Any) -> None:
    assert len(words("[120, 340]").input_ids) == len(["[", "1", "2", "0", ", ", "3", "4", "0", "]"])
    assert len(words(SUFFIX).input_ids) == 1
    text = 'How many räd circles?\n<think> {"bbox_2d": [1, 2, 3, 4]} </think>'
    assert words.decode(words(text).input_ids) == text


def test_the_template_puts_the_question_before_the_image(words: Any) -> None:
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Where?"}]}]
    text = architecture.processor(words).apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert text == "<|im_start|>user\nWhere?<|vision_start|><|image_pad|><|vision_end|><|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("index", range(16))
def test_a_reply_is_what_the_protocols_and_parsers_read(index: int) -> None:
    from evalkit.parsers import integer_quadruples

    item = lessons.lesson(shapes, index)
    boxes = list(integer_quadruples(item.reply))
    if "<think>" in item.reply:
        assert len(dict.fromkeys(boxes)) == len(item.evidence)
    for box, place in zip(boxes, item.evidence, strict=False):
        size = item.drawn.width, item.drawn.height
        gold = [1000 * v / s for v, s in zip(item.drawn.objects[place].box, (*size, *size), strict=True)]
        assert np.abs(np.array(box) - gold).max() <= 5


def test_stopped_and_resumed_it_ends_in_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "corpus", lambda shapes: [lessons.lesson(shapes, index).reply for index in range(50)])
    monkeypatch.setattr(train, "BATCH", {"sight": 4, "speech": 6})

    def trained(out: str, *stops: dict[str, int]) -> dict[str, Any]:
        for steps in stops:
            run = train.Training(shapes, tmp_path / out, steps, early=1)
            run.run(lambda *_: None)
        return run.trainee.model.state_dict()

    whole = trained("whole", {"sight": 2, "speech": 2})
    parts = trained("parts", {"sight": 2, "speech": 0}, {"sight": 2, "speech": 2})
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert (tmp_path / "whole" / "demo-early" / "model.safetensors").exists()
    first = (tmp_path / "whole" / "demo" / "model.safetensors").read_bytes()
    assert first == (tmp_path / "parts" / "demo" / "model.safetensors").read_bytes()
