"""The demo checkpoint's architecture: a Qwen3-VL of 2 million parameters with its own tokenizer, template and processor.

Nothing here is custom code at load time: `save_pretrained` writes a folder that plain `AutoModelForImageTextToText` and
`AutoProcessor` (and vLLM) read. Two choices make so small a model learn:

- The chat template puts a turn's text before its images, so that the language model's image tokens can read the question.
- One token per digit, and coordinates in thousandths of the image.

The head dimension is 32 because vLLM's CPU attention refuses less.
"""

from collections.abc import Iterable
from typing import Any

from ..protocols.grit import SUFFIX

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
PIECES = r"""\s?</?(?:think|rethink|answer)>|\s?\{"bbox_2d": \[|\]\}|, (?=\d)|\d| ?\p{L}+| ?[^\s\p{L}\d]+|\s+"""
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% endif %}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PATCH, MERGE = 16, 2
CELL = PATCH * MERGE  # pixels of one image token's side, after the resize
MIN_PIXELS, MAX_PIXELS = 16_384, 26_000  # 16 to 25 image tokens
WIDTH, HEAD, VOCABULARY = 128, 32, 480


def tokenizer(corpus: Iterable[str]) -> Any:
    """A byte-level BPE tokenizer trained on `corpus`, one token per digit, the GRIT suffix one token."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PIECES), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False)
    )
    bpe.add_tokens([AddedToken(SUFFIX, normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL),
        padding_side="left",
    )


def processor(words: Any) -> Any:
    """The Qwen3-VL processor over `words` (a tokenizer): patches of 16 pixels, 16 to 25 image tokens an image."""
    from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    images = Qwen2VLImageProcessor(
        patch_size=PATCH, merge_size=MERGE, min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return Qwen3VLProcessor(image_processor=images, tokenizer=words, video_processor=Qwen3VLVideoProcessor(), chat_template=TEMPLATE)


def model(words: Any, seed: int) -> Any:
    """The untrained model in float32, initialised from `seed`."""
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    token = {name: words.convert_tokens_to_ids(name) for name in SPECIAL}
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(words),
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": 4,
            "num_attention_heads": WIDTH // HEAD,
            "num_key_value_heads": WIDTH // HEAD,
            "head_dim": HEAD,
            "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6], "mrope_interleaved": True},
            "bos_token_id": token["<|endoftext|>"],
            "eos_token_id": token["<|im_end|>"],
            "pad_token_id": token["<|endoftext|>"],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 3,
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_heads": WIDTH // HEAD,
            "out_hidden_size": WIDTH,
            "patch_size": PATCH,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
        },
        image_token_id=token["<|image_pad|>"],
        video_token_id=token["<|video_pad|>"],
        vision_start_token_id=token["<|vision_start|>"],
        vision_end_token_id=token["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    made = Qwen3VLForConditionalGeneration(config).to(torch.float32)
    made.generation_config.eos_token_id = token["<|im_end|>"]
    made.generation_config.pad_token_id = token["<|endoftext|>"]
    return made
