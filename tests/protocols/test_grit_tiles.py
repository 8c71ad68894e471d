"""GRIT-InternVL-2B's form: an InternVL in transformers' layout, tiny and untrained, asked as GRIT asks."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit import config
from evalkit.geometry import Box, Frame
from evalkit.protocols import find
from evalkit.types import Sample, Wants
from tests.contract.engines import answer, answers, picture

pytest.importorskip("transformers", reason="the extra transformers is not installed")

SIDE, TOKENS = 56, 4
"""Of a tile: its pixels across, and as how many tokens the model is shown it."""
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{{ '<IMG_CONTEXT>\n' if part['type'] == 'image' else part['text'] }}{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    import transformers as hub

    special = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>", "video_token": "<video>"}
    words = hub.AutoTokenizer.from_pretrained(config.model("demo").source, extra_special_tokens=special)  # type: ignore[union-attr]
    images = hub.GotOcr2ImageProcessor(size={"height": SIDE, "width": SIDE}, crop_to_patches=True, min_patches=1, max_patches=2)
    options = {"image_seq_length": TOKENS, "chat_template": TEMPLATE}
    small = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    made = hub.InternVLConfig(
        vision_config=hub.InternVLVisionConfig(**small, image_size=[SIDE, SIDE], patch_size=[14, 14]),
        text_config=hub.Qwen2Config(**small, num_key_value_heads=2, vocab_size=len(words), eos_token_id=words.eos_token_id),
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=TOKENS,
    )
    folder = tmp_path_factory.mktemp("internvl")
    torch.manual_seed(0)
    hub.InternVLForConditionalGeneration(made).save_pretrained(folder)
    hub.InternVLProcessor(images, words, hub.InternVLVideoProcessor(), **options).save_pretrained(folder)
    return folder


@pytest.fixture
def engine(checkpoint: Path) -> Iterator[Any]:
    from evalkit.engines.transformers import Transformers

    made = Transformers(checkpoint, dtype="float32", device="cpu")
    yield made
    made.close()


def test_a_wide_image_is_two_tiles_and_a_thumbnail_and_boxes_are_thousandths_of_the_whole(engine: Any) -> None:
    requests, conversations = [], []
    for size in ((200, 100), (100, 100)):
        sample = Sample("1", "Where?", "not asked", (picture(*size, (200, 30, 30)),), Wants("text"), "here")
        conversations.append(find("grit", max_tokens=6).converse(sample, engine.info))
        requests.append(next(conversations[-1]))
    wide, square = (answer(engine, request) for request in requests)
    assert wide.tokens_in - square.tokens_in == 2 * TOKENS
    assert [response.text for response in answers(engine, requests)] == [wide.text, square.text]
    with pytest.raises(StopIteration) as end:
        conversations[0].send(replace(wide, text="<box>[[100, 250, 500, 750]]</box> <answer> here"))
    assert [(item.frame, item.box) for item in end.value.value.evidence] == [(Frame.THOUSAND, Box(20, 25, 100, 75))]
