"""Attention as the transformers engine reads it is what the full matrices of eager attention hold, and asking changes nothing else."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from evalkit import config
from evalkit.data import decode
from evalkit.engines import attending
from evalkit.engines.common import chat
from evalkit.engines.transformers import Transformers
from evalkit.errors import Refused
from evalkit.interfaces import Engine
from evalkit.types import Attend, Image, Message, Request, images_of

from .engines import answer, answers, ask, picture

WIDE, TALL = picture(400, 100, (220, 30, 30)), picture(90, 200, (20, 60, 210))


def attend(*content: str | Image, continuation: str = " two red circles and one square", prefill: str = "There are") -> Request:
    return Request(Attend((Message("user", content),), continuation, prefill))


ASKED = [
    attend("Compare", WIDE, "with", TALL, "and count."),
    attend(TALL, "How many red circles are there, and is any of them left of a square?", continuation="three", prefill=""),
    attend(WIDE, TALL, WIDE, "Which?", continuation="".join(f" {number}" for number in range(30)), prefill="I see"),
]


@pytest.fixture(scope="module")
def demo() -> Iterator[Transformers]:
    """The engine over the demo checkpoint."""
    engine = Transformers(config.model("demo").source, dtype="float32")
    yield engine
    engine.close()


def brute_force(model: Any, processor: Any, request: Request) -> list[list[list[list[float]]]]:
    """The mean over layers, heads and queries of the whole matrices of eager attention, of one row without padding, as grids."""
    kind = request.kind
    assert isinstance(kind, Attend)
    text = processor.apply_chat_template(chat(kind), add_generation_prompt=True, tokenize=False) + kind.prefill + kind.continuation
    images = [decode(image) for image in images_of(request)]
    inputs = processor(text=[text], images=images, return_tensors="pt")
    count = len(processor.tokenizer(kind.continuation, add_special_tokens=False).input_ids)
    with torch.inference_mode():
        layers = model(**inputs, output_attentions=True, use_cache=False).attentions
    shares = torch.stack(layers)[:, 0, :, -count - 1 : -1].mean((0, 1, 2))
    seen, grids = shares[inputs["input_ids"][0] == model.config.image_token_id], []
    for rows, columns in shapes(inputs):
        grids.append(seen[: rows * columns].view(rows, columns).tolist())
        seen = seen[rows * columns :]
    assert not len(seen)
    return grids


def shapes(inputs: Any) -> list[tuple[int, int]]:
    if "image_grid_thw" in inputs:
        return [(height // 2, width // 2) for _, height, width in inputs["image_grid_thw"].tolist()]
    return [(4, 4)] * len(inputs["pixel_values"])


def near(found: Any, expected: Any) -> None:
    """Asserts that two sequences of grids are the same to 1e-5, shape included."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.tensor(one), torch.tensor(other), rtol=0, atol=1e-5)


# ---------------------------------------------------------------- what it is


def test_it_is_the_mean_of_the_full_matrices_alone_and_in_a_batch(demo: Transformers) -> None:
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(config.model("demo").source, dtype=torch.float32, attn_implementation="eager")
    expected = [brute_force(model, demo.processor, request) for request in ASKED]
    sides = [[(len(grid), len(grid[0])) for grid in grids] for grids in expected]
    assert [rows < columns for rows, columns in sides[0]] == [True, False]
    for request, response, grids in zip(ASKED, answers(demo, ASKED), expected, strict=True):
        near(response.attention, grids)
        near(answer(demo, request).attention, grids)
        assert [(size.height // 32, size.width // 32) for size in response.seen] == [(len(grid), len(grid[0])) for grid in grids]


def test_shares_are_positive_and_all_images_together_get_no_more_than_all(demo: Transformers) -> None:
    for request, response in zip(ASKED, answers(demo, ASKED), strict=True):
        shares = [share for grid in response.attention for row in grid for share in row]
        assert len(response.attention) == len(list(images_of(request)))
        assert min(shares) > 0
        assert 0.01 < sum(shares) < 1
        assert response.text == ""


def test_a_token_counts_where_it_is_generated(demo: Transformers) -> None:
    """At the token before it: the attention of the first is that of the prompt's end, whatever it is; of the second, it matters."""
    one, other, longer = answers(demo, [attend(WIDE, "?", continuation=text) for text in (" red", " yes", " red yes")])
    near(one.attention, other.attention)
    with pytest.raises(AssertionError):
        near(one.attention, longer.attention)


def test_a_token_that_begins_before_the_continuation_is_one_of_its_own(demo: Transformers) -> None:
    """The demo's tokens of `There are` are T, h, ere and are."""
    across, whole = answers(
        demo, [attend(WIDE, "?", prefill="Ther", continuation="e are"), attend(WIDE, "?", prefill="Th", continuation="ere are")]
    )
    near(across.attention, whole.attention)


def test_without_images_there_is_no_grid(demo: Transformers) -> None:
    assert answer(demo, attend("Which colour?")).attention == ()


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_it_is_the_same_whatever_attention_the_model_was_given(demo: Transformers, implementation: str) -> None:
    engine = Transformers(config.model("demo").source, dtype="float32", attn_implementation=implementation)
    try:
        near(answer(engine, ASKED[0]).attention, answer(demo, ASKED[0]).attention)
    finally:
        engine.close()


def test_no_matrix_of_attention_is_made(demo: Transformers) -> None:
    """Nothing of the size of all tokens by all tokens comes into being, be it for one head and one layer."""
    sizes: list[int] = []

    class Watch(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = function(*args, **(kwargs or {}))
            sizes.extend(one.numel() for one in (made if isinstance(made, tuple | list) else (made,)) if isinstance(one, torch.Tensor))
            return made

    text = demo.processor.apply_chat_template(
        chat(attend(WIDE, "red " * 1_200).kind),  # type: ignore[arg-type]
        add_generation_prompt=True,
        tokenize=False,
    )
    inputs = demo.processor(text=[text], images=[decode(WIDE)], return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    with torch.inference_mode(), Watch(), attending.collecting(demo.model, inputs["attention_mask"], [40]) as collected:
        demo.model(**inputs, use_cache=False, logits_to_keep=1)
    assert length > 1_200
    assert max(sizes) < length**2
    assert collected.mean().shape == (1, length)
    assert float(collected.mean().sum()) == pytest.approx(1, abs=1e-5)


# ---------------------------------------------------------------- what it leaves alone


def state(engine: Transformers) -> list[str]:
    """How each part of the model attends."""
    return [module.config._attn_implementation for module in engine.model.modules() if hasattr(module, "config")]


def test_replies_are_the_same_before_and_after(demo: Transformers) -> None:
    before, replies = state(demo), answers(demo, [ask(index) for index in range(4)])
    fingerprint = demo.info.fingerprint
    mixed = answers(demo, [*ASKED, *(ask(index) for index in range(4))])
    assert [reply.text for reply in mixed[3:]] == [reply.text for reply in replies]
    assert (state(demo), demo.info.fingerprint) == (before, fingerprint)
    assert set(before) == {"sdpa"}


def test_a_forward_that_fails_leaves_the_model_as_it_was(demo: Transformers, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(demo)
    with monkeypatch.context() as patched:
        patched.setattr(attending.Collector, "add", lambda *_: 1 / 0)
        (gap,) = answers(demo, [ASKED[0]])
        assert "ZeroDivisionError" in str(gap)
    assert state(demo) == before
    near(answer(demo, ASKED[0]).attention, answers(demo, ASKED)[0].attention)


def test_a_batch_too_big_for_the_memory_is_halved(demo: Transformers, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, add = answers(demo, ASKED), attending.Collector.add

    def add_one_row(self: attending.Collector, *others: Any) -> None:
        if len(self.tokens) > 1:
            raise torch.OutOfMemoryError("out of memory")
        add(self, *others)

    monkeypatch.setattr(attending.Collector, "add", add_one_row)
    engine = Transformers(demo.model, demo.processor)
    try:
        for one, other in zip(answers(engine, ASKED), whole, strict=True):
            near(one.attention, other.attention)
    finally:
        engine.close()


# ---------------------------------------------------------------- other architectures


@pytest.fixture(scope="module")
def llava(demo: Transformers) -> Callable[..., tuple[Any, Any]]:
    """A tiny untrained LLaVA with grouped keys, whose images are 4 x 4 tokens, and its processor."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor, MistralConfig

    words = demo.processor.tokenizer
    small = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}

    def make(window: int | None) -> tuple[Any, Any]:
        torch.manual_seed(0)
        model = LlavaForConditionalGeneration(
            LlavaConfig(
                vision_config=CLIPVisionConfig(**small, image_size=56, patch_size=14, projection_dim=32),
                text_config=MistralConfig(**small, num_key_value_heads=2, vocab_size=len(words), sliding_window=window),
                image_token_index=words.convert_tokens_to_ids("<|image_pad|>"),
                vision_feature_layer=-1,
            )
        ).eval()
        with torch.no_grad():
            for weights in model.parameters():
                weights.mul_(5)
        images = CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
        options = {"vision_feature_select_strategy": "default", "num_additional_image_tokens": 1, "image_token": "<|image_pad|>"}
        processor = LlavaProcessor(images, words, patch_size=14, chat_template=demo.processor.chat_template, **options)
        return model, processor

    return make


def test_one_token_per_patch_is_a_grid_and_grouped_keys_are_counted(llava: Callable[..., tuple[Any, Any]]) -> None:
    model, processor = llava(None)
    engine = Transformers(model, processor)
    try:
        found = answers(engine, ASKED)
    finally:
        engine.close()
    model.set_attn_implementation("eager")
    for request, response in zip(ASKED, found, strict=True):
        expected = brute_force(model, processor, request)
        near(response.attention, expected)
        assert max(expected[0][0]) - min(expected[0][0]) > 1e-4, "attention that is even would show nothing"


def test_layers_that_see_a_window_do_not_count_and_where_all_do_it_is_refused(llava: Callable[..., tuple[Any, Any]]) -> None:
    engine = Transformers(*llava(1_000))
    try:
        with pytest.raises(Refused, match=r"expected layers that attend to the whole row .* got none"):
            answer(engine, ASKED[0])
    finally:
        engine.close()


# ---------------------------------------------------------------- what is refused


def test_a_continuation_of_no_tokens_is_refused(demo: Transformers) -> None:
    refused, fine = answers(demo, [attend(WIDE, "?", continuation=""), ASKED[0]])
    assert isinstance(refused, Refused)
    assert "expected a continuation that attends, got ''" in str(refused)
    assert len(fine.attention) == 2


@pytest.mark.parametrize("pixels", [torch.zeros(1, 5, 3, 28, 28), torch.zeros(3, 3, 28, 28), torch.zeros(1, 3, 56, 56)])
def test_images_that_are_cut_up_form_no_known_grid(pixels: Any) -> None:
    inputs = {"input_ids": torch.tensor([[1, 9, 9, 9, 9, 1]]), "pixel_values": pixels}
    configs = SimpleNamespace(image_token_id=9, vision_config=SimpleNamespace(patch_size=14))
    with pytest.raises(Refused, match="one grid per image, got 4 tokens for 1 images"):
        attending.grids(SimpleNamespace(image_processor=object()), configs, inputs, [1])


def test_every_other_engine_refuses_and_names_the_one_that_does(choosy_engine: Engine) -> None:
    if "attend" in choosy_engine.info.answers:
        pytest.skip("it serves it")
    with pytest.raises(Refused, match="got attend: choose another engine, a checkpoint with --engine transformers"):
        answer(choosy_engine, ASKED[0])
