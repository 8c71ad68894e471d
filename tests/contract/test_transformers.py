"""What the transformers engine promises beyond the contract: a checkpoint's habits change nothing, memory, fingerprints, errors."""

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from evalkit.engines import checkpoint as checkpoints
from evalkit.engines.sampling import Sampler
from evalkit.engines.transformers import Transformers
from evalkit.errors import Gap, Refused, UserError
from evalkit.geometry import Frame
from evalkit.types import Budget, Generate, Likelihood, Message, Request, Sampling, sha256

from .engines import SAMPLES, answer, answers, ask, picture

Open = Callable[..., Transformers]
ASKED = [ask(index) for index in range(7)]


@pytest.fixture
def open_engine() -> Iterator[Open]:
    """Opens engines, and closes them after the test."""
    made: list[Transformers] = []

    def make(*args: Any, **options: Any) -> Transformers:
        made.append(Transformers(*args, **options))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def copy(checkpoint: Callable[[], Path], tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint, to be spoilt."""
    return Path(shutil.copytree(checkpoint(), tmp_path / "copy"))


@pytest.fixture(scope="module")
def plain(checkpoint: Callable[[], Path]) -> Iterator[Transformers]:
    """The engine over the tiny checkpoint as it is."""
    engine = Transformers(checkpoint())
    yield engine
    engine.close()


def texts(engine: Transformers, requests: list[Request]) -> list[str]:
    return [response.text for response in answers(engine, requests)]


def edit(path: Path, **changes: Any) -> None:
    """Changes keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# ---------------------------------------------------------------- decoding


def test_a_checkpoints_own_generation_config_changes_nothing(plain: Transformers, copy: Path, open_engine: Open) -> None:
    habits = {"repetition_penalty": 1.3, "do_sample": True, "temperature": 0.5, "top_k": 7, "no_repeat_ngram_size": 1, "max_new_tokens": 2}
    edit(copy / "generation_config.json", **habits)
    engine = open_engine(copy)
    assert texts(engine, ASKED) == texts(plain, ASKED)
    assert engine.info.fingerprint == plain.info.fingerprint
    assert engine.sampling == Sampling(temperature=0.5, top_k=7, repetition_penalty=1.3)
    assert plain.sampling == Sampling(temperature=0.7, top_k=5, repetition_penalty=1.3)


def test_what_is_sent_is_the_chat_template_and_the_prefill(plain: Transformers) -> None:
    """Against `generate` by hand, on a text rendered by hand."""
    prompt = "<|im_start|>user\n{}<|vision_start|><|image_pad|><|vision_end|><|im_end|>\n<|im_start|>assistant\nThere are"
    from evalkit.data import decode

    sample = SAMPLES["task/5"]
    inputs = plain.processor(text=[prompt.format(sample.prompt)], images=[decode(sample.images[0])], return_tensors="pt")
    row = plain.model.generate(**inputs, do_sample=False, repetition_penalty=1.0, max_new_tokens=6)[0, inputs["input_ids"].shape[1] :]
    by_hand = plain.processor.tokenizer.decode(row, skip_special_tokens=True)
    response = answer(plain, ask(5, prefill="There are"))
    assert (response.text, response.tokens_in) == (by_hand, inputs["input_ids"].shape[1])


def test_padding_is_no_token_that_was_said_before() -> None:
    tokens, scores = torch.tensor([[0, 0, 2], [1, 3, 2]]), torch.tensor([[4.0, 4.0, 4.0, -4.0]] * 2)
    sampler = Sampler(Sampling(repetition_penalty=2.0), torch.tensor([[0, 0, 1], [1, 1, 1]]), ["0", "0"])
    assert sampler(tokens, scores).tolist() == [[4, 4, 2, -4], [4, 2, 2, -8]]
    assert tokens.tolist() == [[0, 0, 2], [1, 3, 2]]


@pytest.mark.parametrize(
    ("sampling", "shares"),
    [
        (Sampling(temperature=1.0), [0.5, 0.3, 0.15, 0.05]),
        (Sampling(temperature=0.5), [0.25, 0.09, 0.0225, 0.0025]),
        (Sampling(temperature=1.0, top_k=2), [0.5, 0.3, 0, 0]),
        (Sampling(temperature=1.0, top_p=0.9), [0.5, 0.3, 0.15, 0]),
        (Sampling(temperature=1.0, top_p=0.8), [0.5, 0.3, 0, 0]),
        (Sampling(temperature=1.0, top_p=0.4), [1, 0, 0, 0]),
    ],
)
def test_tokens_are_drawn_in_proportion_to_the_filtered_distribution(sampling: Sampling, shares: list[float]) -> None:
    rows = 4000
    scores = torch.tensor([[0.05, 0.5, 0.15, 0.3]]).log().repeat(rows, 1)
    keys = [sha256(str(index)) for index in range(rows)]
    drawn = Sampler(sampling, torch.ones(rows, 1), keys)(torch.zeros(rows, 1, dtype=torch.long), scores).argmax(-1)
    found = torch.bincount(drawn, minlength=4)[[1, 3, 2, 0]] / rows
    expected = torch.tensor(shares) / sum(shares)
    assert torch.equal(found == 0, expected == 0)
    assert (found - expected).abs().max() < 4 * 0.5 / rows**0.5


def test_likelihoods_are_mean_log_probabilities_of_the_continuation_and_its_end(plain: Transformers) -> None:
    """Against a forward pass by hand, for continuations of different length in one batch."""
    messages = (Message("user", ("How many?",)),)
    words = plain.processor.tokenizer
    continuations = ("yes", "no circles are there", "A B C D")
    prompt = words("<|im_start|>user\nHow many?<|im_end|>\n<|im_start|>assistant\n").input_ids
    by_hand = []
    for continuation in continuations:
        tail = words(continuation + "<|im_end|>").input_ids
        with torch.no_grad():
            logs = plain.model(torch.tensor([prompt + tail])).logits[0].log_softmax(-1)
        by_hand.append(float(sum(logs[len(prompt) + i - 1, token] for i, token in enumerate(tail)) / len(tail)))
    response = answer(plain, Request(Likelihood(messages, continuations)))
    assert response.likelihoods == pytest.approx(by_hand, abs=1e-4)
    assert answer(plain, Request(Likelihood(messages, ()))).likelihoods == ()


def test_likelihoods_depend_on_the_image(plain: Transformers) -> None:
    asked = [
        Request(Likelihood((Message("user", (picture(200, 120, colour), "?")),), ("yes", "no"))) for colour in ((9, 9, 9), (250, 9, 9))
    ]
    dark, red = answers(plain, asked)
    assert dark.likelihoods != red.likelihoods
    assert len(dark.seen) == 1


# ---------------------------------------------------------------- memory and limits


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("MPS backend out of memory (1 GiB)")])
def test_memory_that_runs_out_in_big_batches_changes_no_answer(
    plain: Transformers, checkpoint: Callable[[], Path], open_engine: Open, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    engine, sizes = open_engine(checkpoint(), batch_size=8), []
    generate = engine.model.generate

    def small(**inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 2:
            raise error
        return generate(**inputs)

    monkeypatch.setattr(engine.model, "generate", small)
    assert texts(engine, ASKED) == texts(plain, ASKED)
    assert max(sizes) > 2
    sizes.clear()
    assert texts(engine, ASKED) == texts(plain, ASKED)
    assert max(sizes) <= 2


def test_memory_that_runs_out_on_one_request_is_a_gap(copy: Path, open_engine: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine(copy)

    def full(**inputs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr(engine.model, "generate", full)
    with pytest.raises(Gap, match="out of memory on a single request: CUDA out of memory"):
        answer(engine, ask(0))


def test_a_prompt_beyond_the_context_is_a_gap_to_itself(plain: Transformers) -> None:
    long = Request(Generate((Message("user", ("How many are there? " * 900,)),), Sampling(max_tokens=4)))
    short = Request(Generate((Message("user", ("How many?",)),), Sampling(max_tokens=4)))
    gap, reply = answers(plain, [long, short])
    assert isinstance(gap, Gap)
    assert "the context of" in str(gap)
    assert "2048" in str(gap)
    assert reply.tokens_out == 4


def test_an_image_that_is_asked_for_larger_than_the_context_is_a_gap_to_itself(plain: Transformers) -> None:
    image = replace(picture(300, 200, (3, 90, 200)), budget=Budget(min_pixels=4_000_000, max_pixels=8_000_000))
    large = Request(Generate((Message("user", (image, "?")),), Sampling(max_tokens=4)))
    gap, reply = answers(plain, [large, ask(0)])
    assert isinstance(gap, Gap)
    assert "the context of" in str(gap)
    assert reply.text


def test_a_reply_ends_where_the_context_does(copy: Path, open_engine: Open) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 60
    (copy / "config.json").write_text(json.dumps(config))
    response = answer(open_engine(copy), ask(0, max_tokens=500))
    assert response.finish == "length" if response.tokens_in + response.tokens_out == 60 else response.tokens_out < 60
    assert response.tokens_in + response.tokens_out <= 60


def test_closing_ends_a_long_reply_at_once_and_makes_it_a_gap(copy: Path, open_engine: Open) -> None:
    engine = open_engine(copy)
    engine._config.eos_token_id = None
    begun, steps = threading.Event(), list[int]()

    def note(*_: Any) -> None:
        steps.append(1)
        begun.set()

    engine.model.register_forward_hook(note)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(answer, engine, ask(0, max_tokens=100_000))
        assert begun.wait(60)
        engine.close()
        with pytest.raises(Gap, match="closed"):
            waiting.result(60)
    assert len(steps) < engine._context


def test_an_image_placeholder_in_the_text_harms_its_own_request_only(plain: Transformers) -> None:
    sly = replace(ASKED[0], kind=replace(ASKED[0].kind, messages=(Message("user", (*SAMPLES["task/0"].images, "What is <|image_pad|>?")),)))
    gap, *others = answers(plain, [sly, *ASKED[1:4]])
    assert isinstance(gap, Gap)
    assert [response.text for response in others] == texts(plain, ASKED[1:4])


def test_a_budget_that_cannot_be_kept_is_refused(plain: Transformers, monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(300, 200, (1, 2, 3))
    tight = replace(image, budget=Budget(max_pixels=10_000))
    mixed = Request(Generate((Message("user", (image, tight, "?")),), Sampling(max_tokens=2)))
    with pytest.raises(Refused, match="expected one budget for all images"):
        answer(plain, mixed)
    monkeypatch.setattr(plain.processor.image_processor, "size", {"height": 224, "width": 224})
    with pytest.raises(Refused, match="resizes by no number of pixels"):
        answer(plain, Request(Generate((Message("user", (tight, "?")),), Sampling(max_tokens=2))))


# ---------------------------------------------------------------- a loaded model, an adapter, fingerprints


def test_a_loaded_model_answers_alike_and_is_left_as_it_was(plain: Transformers, checkpoint: Callable[[], Path]) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(checkpoint(), dtype=torch.float32).train()
    own = model.generation_config
    engine = Transformers(model, AutoProcessor.from_pretrained(checkpoint()))
    assert texts(engine, ASKED) == texts(plain, ASKED)
    fingerprint = engine.info.fingerprint
    engine.close()
    assert model.training
    assert model.generation_config is own
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    changed = Transformers(model, AutoProcessor.from_pretrained(checkpoint()))
    assert changed.info.fingerprint != fingerprint
    changed.close()


def test_what_it_runs_on_is_stated(plain: Transformers) -> None:
    assert plain.info.frame is Frame.THOUSAND
    stated = {"device", "dtype", "attn_implementation", "model_type", "torch", "transformers", "weights", "processor"}
    assert all(plain.info.details[key] for key in stated)
    assert plain.info.details["dtype"] == str(plain.model.dtype).removeprefix("torch.")


def test_the_fingerprint_holds_what_changes_answers_and_nothing_else(plain: Transformers, copy: Path, open_engine: Open) -> None:
    known = plain.info.fingerprint
    assert open_engine(copy, batch_size=3).info.fingerprint == known
    assert open_engine(copy, dtype="bfloat16").info.fingerprint != known
    assert open_engine(copy, attn_implementation="eager").info.fingerprint != known
    template = (copy / "chat_template.jinja").read_text()
    (copy / "chat_template.jinja").write_text(template.replace("assistant\n", "assistant\n\n"))
    assert open_engine(copy).info.fingerprint != known
    (copy / "chat_template.jinja").write_text(template)
    config = json.loads((copy / "processor_config.json").read_text())
    config["image_processor"]["size"]["longest_edge"] += 1
    (copy / "processor_config.json").write_text(json.dumps(config))
    assert open_engine(copy).info.fingerprint != known


def test_a_processor_of_its_own_directory_is_used(plain: Transformers, copy: Path, tmp_path: Path, open_engine: Open) -> None:
    apart = tmp_path / "apart"
    plain.processor.save_pretrained(apart)
    for name in ("processor_config.json", "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
        (copy / name).unlink()
    engine = open_engine(copy, apart)
    assert engine.info.fingerprint == plain.info.fingerprint
    assert texts(engine, ASKED[:2]) == texts(plain, ASKED[:2])


def test_an_adapter_changes_answers_and_the_fingerprint(
    plain: Transformers, checkpoint: Callable[[], Path], tmp_path: Path, open_engine: Open
) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    peft.get_peft_model(AutoModelForImageTextToText.from_pretrained(checkpoint()), config).save_pretrained(tmp_path / "lora")
    engine = open_engine(checkpoint(), adapter=tmp_path / "lora")
    assert engine.info.fingerprint != plain.info.fingerprint
    assert texts(engine, ASKED) != texts(plain, ASKED)


def test_weights_are_read_once_and_again_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, cache = tmp_path / "model.safetensors", tmp_path / "cache"
    weights.write_bytes(b"one")
    first = checkpoints.files_hash([weights], cache)
    with monkeypatch.context() as patched:
        patched.setattr(hashlib, "file_digest", lambda *_: pytest.fail("the weights were read again"))
        assert checkpoints.files_hash([weights], cache) == first
    weights.write_bytes(b"another")
    second = checkpoints.files_hash([weights], cache)
    assert second != first
    (cache / "weights.json").write_text("{damaged")
    assert checkpoints.files_hash([weights], cache) == second == checkpoints.files_hash([weights])


# ---------------------------------------------------------------- what a user can mend


def drop(*names: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return spoil


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None  # type: ignore[func-returns-value]


def make_text_only(folder: Path) -> None:
    config = {"model_type": "qwen3", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 100}
    (folder / "config.json").write_text(json.dumps(config))


def name_another_architecture(folder: Path) -> None:
    edit(folder / "config.json", model_type="other_vl")


def say(**values: object) -> Callable[[Path], None]:
    """Gives the language model's config these values."""

    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config["text_config"] |= values
        (folder / "config.json").write_text(json.dumps(config))

    return change


def lose_a_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.language_model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (drop("config.json"), r"found no config\.json"),
        (write("config.json", "{"), "the config of .* cannot be read"),
        (write("config.json", "[" * 100_000), r"the config of .* cannot be read: .*config\.json, got: maximum recursion depth"),
        (write("config.json", "7"), "the config of .* cannot be read: expected a JSON object, got 7"),
        (write("config.json", '{"model_type": "qwen2_vl", "vision_config": 7}'), "the config of .* cannot be read: .*'vision_config'.* 7 "),
        (write("generation_config.json", "{"), r"the generation config .*generation_config\.json cannot be read"),
        (write("generation_config.json", '{"eos_token_id": [["a"]]}'), r"eos_token_id in the generation config of /.*, got \['a'\]"),
        (write("generation_config.json", '{"eos_token_id": {}}'), r"eos_token_id in the generation config of /.*, got \{\}"),
        (say(eos_token_id=""), r"eos_token_id in the config of /.*, got ''"),
        (write("generation_config.json", '{"do_sample": true, "temperature": "hot"}'), r"generation_config\.json cannot be read: .*hot"),
        (drop("model.safetensors"), r"found no \*\.safetensors"),
        (write("model.safetensors", "cut off"), "does not load on cpu as float32"),
        (lose_a_tensor, r"found none for 1 tensors such as model\.language_model\.layers\.1\.mlp\.up_proj\.weight"),
        (drop("processor_config.json"), "name one with --processor DIR"),
        (drop("tokenizer.json", "tokenizer_config.json"), r"expected a tokenizer of \d+ tokens .* got one of 1: .*--processor DIR"),
        (drop("chat_template.jinja"), "has no chat template.*--processor DIR"),
        (make_text_only, "expected a vision-language checkpoint in .*'qwen3', which reads no images.*--model openai:NAME"),
        (name_another_architecture, "cannot be read: .*other_vl.*Update transformers, or .*--trust-remote-code.*--model openai:NAME"),
    ],
    ids=[
        "no config",
        "broken config",
        "deep config",
        "config of no object",
        "config of a wrong type",
        "broken generation config",
        "ends that are no tokens",
        "ends that are nothing",
        "an end of the config that is none",
        "a temperature that is no number",
        "no weights",
        "broken weights",
        "a tensor lost",
        "no processor",
        "no tokenizer",
        "no template",
        "text only",
        "unknown architecture",
    ],
)
def test_a_spoilt_checkpoint_is_told_in_words(copy: Path, spoil: Callable[[Path], None], words: str) -> None:
    spoil(copy)
    with pytest.raises(UserError, match=words):
        Transformers(copy, device="cpu")


def test_what_is_not_there_is_told_in_words(checkpoint: Callable[[], Path], plain: Transformers, tmp_path: Path) -> None:
    for absent in (tmp_path / "nowhere", str(tmp_path / "nowhere"), "./nowhere"):
        with pytest.raises(UserError, match="there is no such directory"):
            Transformers(absent)
    with pytest.raises(UserError, match="expected a processor beside a loaded model"):
        Transformers(plain.model)
    with pytest.raises(UserError, match="expected a processor of images and text"):
        Transformers(checkpoint(), plain.processor.tokenizer)
    with pytest.raises(UserError, match=r"expected adapter_config\.json"):
        Transformers(checkpoint(), adapter=tmp_path)
    with pytest.raises(UserError, match="does not load on cpu as float33"):
        Transformers(checkpoint(), device="cpu", dtype="float33")
