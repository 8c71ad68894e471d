"""A checkpoint as transformers loads it, with the hash of everything in it that changes answers."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data import read_json
from ..errors import DataError, UserError
from ..geometry import Frame
from ..types import Sampling, sha256
from . import rendering

FRAMES = {
    "internvl": Frame.THOUSAND,
    "qwen2_vl": Frame.THOUSAND,
    "qwen2_5_vl": Frame.SEEN,
    "qwen3_vl": Frame.THOUSAND,
    "qwen3_vl_moe": Frame.THOUSAND,
}
"""In what each architecture (`model_type`) writes coordinates, by its authors; the others declare theirs in a config."""
SERVER = "ask a server that serves it: --model openai:NAME --base-url URL"
"""What does for any architecture, for the end of a message."""
WHOLE = "Is the download complete?"
"""What to look at where a file cannot be read, for the end of a message."""
NOT_WEIGHTS = ["*.gguf", "*.h5", "*.msgpack", "*.onnx", "*.pth", "original/*"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model with its processor, ready to answer."""

    model: Any
    processor: Any
    name: str
    fingerprint: str
    frame: Frame | None
    details: Mapping[str, Any]


def load(
    source: Any,
    processor: Any,
    *,
    dtype: Any,
    device: str | None,
    adapter: str | Path | None,
    trust_remote_code: bool,
    attn_implementation: str | None,
    cache: Path | None,
) -> Checkpoint:
    """The checkpoint of a directory or hub id, or the loaded model given as `source`.

    Raises:
        UserError: torch is not installed, or something is not there or not what it should be.
    """
    torch, transformers = libraries()
    loaded = not isinstance(source, str | Path)
    if loaded:
        if processor is None:
            raise UserError("expected a processor beside a loaded model, got none: pass processor=AutoProcessor.from_pretrained(...)")
        model, weights = source.eval(), _tensors_hash(source)
        reader = _processor(processor, trust_remote_code) if isinstance(processor, str | Path) else processor
    else:
        place, weights, _, reader = read(source, processor, trust_remote_code, cache)
        device = device or best_device(torch)
        asked = dtype or ("float32" if device == "cpu" else "auto")
        model = _model(place, asked, device, trust_remote_code, attn_implementation)
    if loaded:
        _check_processor(reader, source, model.config.get_text_config().vocab_size)
    adapted = ""
    if adapter:
        model, adapted = _adapted(model, Path(adapter), cache)
    config = model.config
    details = {
        "engine": "transformers",
        "model_type": config.model_type,
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "attn_implementation": getattr(config, "_attn_implementation", None),
        "weights": weights,
        "adapter": adapted,
        "processor": processor_hash(reader),
        "pixels": rendering.pixels(reader),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    changing = {key: details[key] for key in ("engine", "dtype", "attn_implementation", "weights", "adapter", "processor")}
    changing["ends"] = ends(model.generation_config, model.config, reader)
    changing["version"] = ".".join(transformers.__version__.split(".")[:2])
    name = Path(getattr(config, "_name_or_path", "") or type(model).__name__).name if loaded else Path(source).name
    return Checkpoint(model, reader, name, sha256(json.dumps(changing, sort_keys=True)), FRAMES.get(config.model_type), details)


def read(source: str | Path, processor: Any, trust_remote_code: bool, cache: Path | None) -> tuple[Path, str, Any, Any]:
    """The directory of a checkpoint, the hash of its weights, its config and its processor (or the one given), before it is loaded.

    Raises:
        UserError: something is not there or not what it should be.
    """
    place = folder(source)
    config = config_of(place, trust_remote_code)
    _check_generation(place)
    weights = files_hash(_weight_files(place, trust_remote_code), cache)
    reader = processor if processor is not None and not isinstance(processor, str | Path) else None
    reader = reader or _processor(processor or place, trust_remote_code)
    _check_processor(reader, source, getattr(config.get_text_config(), "vocab_size", 0))
    return place, weights, config, reader


def ends(generation_config: Any, config: Any, processor: Any) -> list[int]:
    """The ids of the tokens that end a reply, sorted: those of the generation config, of the model's config and of the tokenizer.

    Raises:
        UserError: one is no number.
    """
    found: set[int] = set()
    holders = {"generation config": generation_config, "config": config.get_text_config(), "tokenizer": processor.tokenizer}
    for name, holder in holders.items():
        ids = getattr(holder, "eos_token_id", None)
        for held in ids if isinstance(ids, list) else [] if ids is None else [ids]:
            if type(held) is not int:
                where = f"the {name} of {config.name_or_path or 'the model'}"
                raise UserError(f"expected numbers of tokens as eos_token_id in {where}, got {held!r:.80}. {WHOLE}")
            found.add(held)
    return sorted(found)


def sampling(own: Any) -> Sampling:
    """How a generation config decodes."""
    return Sampling(
        temperature=float((1.0 if own.temperature is None else own.temperature) if own.do_sample else 0.0),
        top_p=1.0 if own.top_p is None else own.top_p,
        top_k=own.top_k or 0,
        repetition_penalty=float(own.repetition_penalty or 1.0),
    )


def folder(source: str | Path) -> Path:
    """The directory of a checkpoint: `source` itself, or where the hub's client put the repository of that id.

    Raises:
        UserError: there is neither.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if isinstance(source, Path) or source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise UserError(f"expected a checkpoint's directory, got '{source}': there is no such directory")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, ignore_patterns=NOT_WEIGHTS))
    except (OSError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise UserError(
            f"expected a directory or a model of the hub, got '{source}': no such directory, and {first_line(error)}"
        ) from error


def files_hash(paths: Iterable[Path], cache: Path | None = None) -> str:
    """The sha256 of the files' names and contents, in order of name.

    A file's own hash is kept in `cache`/weights.json under its path, size, time of change and inode, so that big files are read once.
    """
    book = cache / "weights.json" if cache else None
    known: dict[str, str] = {}
    if book and book.is_file():
        try:
            known = dict(read_json(book))
        except (DataError, ValueError, TypeError):
            known = {}  # a damaged cache costs one more reading of the weights
    found, before = [], len(known)
    for path in sorted(paths):
        stat = path.stat()
        key = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}"
        if key not in known:
            with path.open("rb") as file:
                known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        found.append(f"{path.name} {known[key]}")
    if book and len(known) > before:
        book.parent.mkdir(parents=True, exist_ok=True)
        fresh = book.with_name(f"{book.name}.{os.getpid()}")
        fresh.write_text(json.dumps(known, indent=0, sort_keys=True), "utf-8")
        fresh.replace(book)
    return sha256("\n".join(found))


def libraries() -> tuple[Any, Any]:
    try:
        import torch
        import torchvision  # noqa: F401 - the image processors need it, and would say so less plainly
        import transformers
    except ImportError as error:
        raise UserError(
            f"the transformers engine needs torch, torchvision and transformers ({error}): pip install 'evalkit[transformers]'"
        ) from error
    return torch, transformers


def best_device(torch: Any) -> str:
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def _weight_files(place: Path, trust_remote_code: bool) -> list[Path]:
    own = place.glob("*.py") if trust_remote_code else ()
    return [*weight_files(place, trust_remote_code), place / "config.json", *own]


def weight_files(place: Path, pickled: bool = False) -> list[Path]:
    """The weights in a checkpoint's directory: safetensors, and a pickle, which is code, only where its maker is trusted.

    Raises:
        UserError: there are none that may be loaded.
    """
    if weights := list(place.glob("*.safetensors")):
        return weights
    weights = list(place.glob("*.bin"))
    if weights and not pickled:
        raise UserError(
            f"expected weights in {place} as *.safetensors, found a pickle, {weights[0].name}: save them again with "
            "save_pretrained of transformers, or, where you trust their maker, give a checkpoint's with --trust-remote-code"
        )
    if not weights:
        raise UserError(f"expected weights in {place}, found no *.safetensors: is the download complete?")
    return weights


def config_of(place: Path, trust_remote_code: bool) -> Any:
    """The config of a checkpoint's directory.

    Raises:
        UserError: there is none, it cannot be read, or it is that of a model that reads no images.
    """
    if not (place / "config.json").is_file():
        raise UserError(f"expected a checkpoint in {place}, found no config.json: name the directory that holds it")
    said = settings(place)
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig

    try:
        config = AutoConfig.from_pretrained(place, trust_remote_code=trust_remote_code)
    except ValueError as error:  # an architecture that is unknown, or code of its own that may not run
        raise UserError(
            f"the config of {place} cannot be read: {first_line(error)} Update transformers, or give --trust-remote-code where the "
            f"checkpoint ships its own code and you trust it, or {SERVER}"
        ) from error
    except Exception as error:  # whatever a value of the wrong type, or code of its own, makes it stumble over
        advice = f"Install what its own code needs, or {SERVER}" if trust_remote_code and "auto_map" in said else WHOLE
        raise UserError(f"the config of {place} cannot be read: {first_line(error).rstrip('.')}. {advice}") from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and "AutoModelForImageTextToText" not in getattr(config, "auto_map", {}):
        raise UserError(
            f"expected a vision-language checkpoint in {place}, got one of type '{config.model_type}', which reads no images "
            f"in transformers, and the vllm engine needs that too: choose a checkpoint with a vision tower, or {SERVER}"
        )
    return config


def settings(place: Path) -> dict[str, Any]:
    """What the config.json of a checkpoint's directory says.

    Raises:
        UserError: it is no JSON object.
    """
    try:
        held = read_json(place / "config.json")
    except DataError as error:
        raise UserError(f"the config of {place} cannot be read: {error}") from error
    if not isinstance(held, dict):
        raise UserError(f"the config of {place} cannot be read: expected a JSON object, got {held!r:.80}. {WHOLE}")
    return held


def _check_generation(place: Path) -> None:
    """Looks at a generation config, in whose place transformers takes another without a word where it cannot read it.

    Raises:
        UserError: it cannot be read, or not decoded by.
    """
    path = place / "generation_config.json"
    if not path.is_file():
        return
    from transformers import GenerationConfig

    try:
        sampling(GenerationConfig.from_pretrained(place))
    except Exception as error:  # whatever a value of the wrong type makes it stumble over
        raise UserError(f"the generation config {path} cannot be read: {first_line(error).rstrip('.')}. {WHOLE}") from error


def _processor(place: str | Path, trust_remote_code: bool) -> Any:
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(folder(place), trust_remote_code=trust_remote_code)
    except Exception as error:  # whatever a file that is missing or wrong makes its many readers stumble over
        raise UserError(
            f"expected a processor in {place}, got none that loads: name one with --processor DIR ({first_line(error)})"
        ) from error


def _check_processor(reader: Any, source: Any, vocabulary: int) -> None:
    where = source if isinstance(source, str | Path) else "the loaded model"
    if getattr(reader, "image_processor", None) is None or getattr(reader, "tokenizer", None) is None:
        raise UserError(
            f"expected a processor of images and text for {where}, got a {type(reader).__name__}: name one with --processor DIR"
        )
    if not (getattr(reader, "chat_template", None) or reader.tokenizer.chat_template):
        raise UserError(f"the processor for {where} has no chat template: name one that has with --processor DIR")
    if 2 * len(reader.tokenizer) < vocabulary:  # without its files transformers makes a tokenizer of no words
        known = len(reader.tokenizer)
        raise UserError(
            f"expected a tokenizer of {vocabulary} tokens for {where}, got one of {known}: name the right one with --processor DIR"
        )


def _model(place: Path, dtype: Any, device: str, trust_remote_code: bool, attn_implementation: str | None) -> Any:
    from transformers import AutoModelForImageTextToText

    options: dict[str, Any] = {"attn_implementation": attn_implementation} if attn_implementation else {}
    if device == "auto":
        options["device_map"] = "auto"
    try:
        model, found = AutoModelForImageTextToText.from_pretrained(
            place,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            use_safetensors=None if trust_remote_code else True,
            output_loading_info=True,
            **options,
        )
        model = (model if device == "auto" else model.to(device)).eval()
    except Exception as error:  # whatever weights, dtype or device make the loaders stumble over
        raise UserError(f"the checkpoint {place} does not load on {device} as {dtype}: {first_line(error)}") from error
    absent = sorted(map(str, found["missing_keys"]))
    if absent:  # transformers would fill them with random numbers, and say so in a log
        raise UserError(
            f"expected all weights in {place}, found none for {len(absent)} tensors such as {absent[0]}: is the download complete?"
        )
    return model


def adapter_hash(place: Path, cache: Path | None) -> str:
    """The hash of an adapter's config and weights.

    Raises:
        UserError: they are not there.
    """
    files = [path for path in (place / "adapter_config.json", place / "adapter_model.safetensors") if path.is_file()]
    if len(files) < 2:
        raise UserError(
            f"expected adapter_config.json and adapter_model.safetensors in {place}: name the directory that holds them, or save a pickled "
            "adapter again"
        )
    return files_hash(files, cache)


def _adapted(model: Any, place: Path, cache: Path | None) -> tuple[Any, str]:
    """The model with a LoRA merged into its weights, and the adapter's hash."""
    found = adapter_hash(place, cache)
    try:
        from peft import PeftModel
    except ImportError as error:
        raise UserError("an adapter needs peft: pip install peft") from error
    try:
        return PeftModel.from_pretrained(model, place).merge_and_unload().eval(), found
    except Exception as error:  # whatever peft stumbles over
        raise UserError(f"the adapter in {place} does not fit the checkpoint: {first_line(error)}") from error


def _tensors_hash(model: Any) -> str:
    """The sha256 of a loaded model's config and of the bytes of its tensors, one after the other."""
    import torch

    config = {key: value for key, value in model.config.to_dict().items() if key not in ("_name_or_path", "transformers_version")}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def processor_hash(reader: Any) -> str:
    tokenizer = reader.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    words: Any = json.loads(backend.to_str()) if backend is not None else sorted(tokenizer.get_vocab().items())
    if backend is not None:
        words.update(padding=None, truncation=None)  # set by every call, and no property of the tokenizer
    form = [type(reader).__name__, reader.image_processor.to_dict(), reader.chat_template or tokenizer.chat_template, words]
    return sha256(json.dumps(form, sort_keys=True, default=str))


def first_line(error: Exception) -> str:
    """The first line of an error's words, with the next where it only announces that."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return " ".join(line.strip() for line in lines[: 1 + lines[0].endswith(":")])
