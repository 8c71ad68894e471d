"""Checkpoints of the Hugging Face layout, answered in batches by `generate` of transformers.

A batch holds requests of equal sampling and equal image budgets, of like length, padded on the left. An answer does not depend on
its batch, beyond the last bits of floating point: padding is masked, and a drawn token's noise comes from its request's own key.
"""

import asyncio
import copy
import inspect
import time
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..data import decode
from ..errors import Gap
from ..geometry import Size
from ..types import Attend, Generate, Likelihood, ModelInfo, Request, Response, Sampling, images_of
from . import attending, checkpoint, rendering
from .batching import CLOSED, POOL, Batcher, within_memory
from .common import admit, one_by_one
from .sampling import Ending, Sampler, read


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests of one group with the processor's tensors for them, row by row."""

    requests: list[Request]
    inputs: Any
    seen: list[tuple[Size, ...]]
    lengths: list[int]
    """Tokens of each row without its padding."""
    grids: list[list[attending.Grid]]
    """The visual tokens of each row's images, where attention is asked for; empty elsewhere, and so is the next."""
    tails: list[int]
    """How many tokens at the end of each row are the continuation's."""


class Transformers:
    """An engine over a directory, a hub id, or a loaded model with its processor (which it leaves as it found them).

    Args:
        model: the checkpoint.
        processor: a directory or a loaded processor, where it is not in the checkpoint.
        dtype: "bfloat16", ...; None: the checkpoint's own on a GPU, float32 on a CPU.
        device: "cuda", "mps", "cpu", "auto" (spread by accelerate); None: the first of them that there is.
        adapter: the directory of a LoRA, merged into the weights.
        batch_size: the most requests in a batch; halved where memory runs out.
        trust_remote_code: whether code inside the checkpoint may run, and its weights may be a pickle.
        attn_implementation: "sdpa", "eager", ...; None: the architecture's own.
        cache: where hashes of weights are kept; None: nowhere.

    Raises:
        UserError: the checkpoint, the processor or the adapter is not there or does not fit; see the message.
    """

    def __init__(
        self,
        model: Any,
        processor: Any = None,
        *,
        dtype: Any = None,
        device: str | None = None,
        adapter: str | Path | None = None,
        batch_size: int = 8,
        trust_remote_code: bool = False,
        attn_implementation: str | None = None,
        cache: Path | None = None,
    ) -> None:
        training = getattr(model, "training", False)
        loaded = checkpoint.load(
            model,
            processor,
            dtype=dtype,
            device=device,
            adapter=adapter,
            trust_remote_code=trust_remote_code,
            attn_implementation=attn_implementation,
            cache=cache,
        )
        self.model, self.processor = loaded.model, loaded.processor
        answers = frozenset({"generate", "likelihood", "attend"})
        self.info = ModelInfo(loaded.name, loaded.fingerprint, loaded.frame, answers, details=loaded.details)
        self.room = POOL * batch_size
        """How many requests keep it busy: the batches that it chooses among."""
        self._training = training
        # The batch after this one is tokenised while this one is decoded, and a fast tokenizer cannot do both at once.
        self._words = copy.deepcopy(self.processor.tokenizer)
        self._config, self._ends = self._generation()
        self._context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 1 << 40
        self._batcher = Batcher(
            group=self._group, length=partial(rendering.length, self.processor), prepare=self._prepare, run=self._run, size=batch_size
        )

    @property
    def sampling(self) -> Sampling:
        """How the checkpoint's own generation_config decodes, which otherwise changes nothing."""
        return checkpoint.sampling(self.model.generation_config)

    async def answer(self, request: Request) -> Response:
        """The response.

        Raises:
            Gap: memory ran out on this request alone, the prompt is longer than the model's context, or the model raised.
            ImageError: one of its images cannot be read.
            Refused: the request's kind is not served, the processor cannot honour an image's budget, or its attention forms no grid.
        """
        admit(self.info, request)
        return await one_by_one(request, self._answer)

    def top_two(self, request: Request) -> tuple[float, float]:
        """The log-probabilities of the two likeliest tokens after the prompt and its prefill, the likelier first."""
        import torch

        batch = self._prepare([request])
        with torch.inference_mode():
            logits = self.model(**batch.inputs.to(self.model.device, dtype=self.model.dtype)).logits[0, -1].float()
        first, second = logits.log_softmax(-1).topk(2).values.tolist()
        return first, second

    def close(self) -> None:
        """Ends the threads. A loaded model that was given in training mode is in it again."""
        self._batcher.close()
        self.model.train(self._training)

    async def _answer(self, request: Request) -> Response:
        return await asyncio.wrap_future(self._batcher.submit(request))

    def _generation(self) -> tuple[Any, list[int]]:
        """A generation config that knows only the special tokens, and the ids of those that end a reply."""
        from transformers import GenerationConfig

        own, words = self.model.generation_config, self.processor.tokenizer
        ends = checkpoint.ends(own, self.model.config, self.processor)
        padding = next((token for token in (words.pad_token_id, own.pad_token_id, *ends[:1]) if token is not None), 0)
        return GenerationConfig(eos_token_id=ends or None, pad_token_id=padding, bos_token_id=own.bos_token_id), ends

    def _group(self, request: Request) -> Hashable:
        """What requests of one batch have in common: kind, sampling, whether there are images, and the size they are resized to."""
        images = list(images_of(request))
        sampling = request.kind.sampling if isinstance(request.kind, Generate) else None
        return type(request.kind), sampling, bool(images), rendering.edges(self.processor, images, self.info.name)

    def _prepare(self, requests: list[Request]) -> Batch:
        """Decodes, renders and tokenises. Raises for any of the requests, whichever it is: the batcher finds out."""
        texts = [rendering.prompt(self.processor, _kind(request)) for request in requests]
        images = [[decode(image) for image in images_of(request)] for request in requests]
        edges = rendering.edges(self.processor, list(images_of(requests[0])), self.info.name)
        options: dict[str, Any] = {"images": images} if images[0] else {}
        if edges:
            options["images_kwargs"] = {"size": rendering.of_edges(edges)}
        inputs = self.processor(
            text=texts,
            padding=True,
            padding_side="left",
            return_tensors="pt",
            add_special_tokens=not rendering.starts_itself(self.processor, texts[0]),
            **options,
        )
        lengths = [int(length) for length in inputs["attention_mask"].sum(1)]
        if max(lengths) >= self._context:
            raise Gap(f"the prompt has {max(lengths)} tokens, the context of {self.info.name} {self._context}")
        counts = [len(row) for row in images]
        tails = [rendering.continued(self.processor, kind) for kind in map(_kind, requests) if isinstance(kind, Attend)]
        grids = attending.grids(self.processor, self.model.config, inputs, counts) if tails else []
        if self.model.device.type == "cuda":
            inputs.data = {key: value.pin_memory() if hasattr(value, "pin_memory") else value for key, value in inputs.items()}
        return Batch(requests, inputs, self._seen(inputs, counts), lengths, grids, tails)

    def _seen(self, inputs: Any, counts: list[int]) -> list[tuple[Size, ...]]:
        """Each row's image sizes after the resize; empty where the processor does not tell."""
        sizes: list[Size] = []
        if "image_grid_thw" in inputs:
            patch = self.processor.image_processor.patch_size
            sizes = [Size(int(width) * patch, int(height) * patch) for _, height, width in inputs["image_grid_thw"]]
        elif "pixel_values" in inputs and getattr(inputs["pixel_values"], "ndim", 0) == 4:
            sizes = [Size(pixels.shape[-1], pixels.shape[-2]) for pixels in inputs["pixel_values"]]
        if len(sizes) != sum(counts):  # tiles of images, not images
            return [() for _ in counts]
        places = iter(sizes)
        return [tuple(next(places) for _ in range(count)) for count in counts]

    def _run(self, batch: Batch) -> list[Response]:
        """The responses.

        Raises:
            MemoryError: the device has not the memory for a batch of this size.
        """
        answer = {Generate: self._generate, Likelihood: self._likelihoods, Attend: self._attention}[type(_kind(batch.requests[0]))]
        inputs = copy.copy(batch.inputs)
        return within_memory(lambda: answer(batch, inputs.to(self.model.device, dtype=self.model.dtype, non_blocking=True)))

    def _generate(self, batch: Batch, inputs: Any) -> list[Response]:
        kind = batch.requests[0].kind
        assert isinstance(kind, Generate)
        began, sampling, start = time.perf_counter(), kind.sampling, inputs["input_ids"].shape[1]
        rooms = [min(sampling.max_tokens, self._context - length) for length in batch.lengths]
        keys = [request.key(self.info.fingerprint) if sampling.temperature else "" for request in batch.requests]
        own, self.model.generation_config = self.model.generation_config, self._config
        config = copy.copy(self._config)  # given, since without one `generate` makes the model's config anew to look for settings in it
        config.max_new_tokens, config.do_sample = max(rooms), False
        try:
            rows = self.model.generate(
                **inputs,
                generation_config=config,
                logits_processor=[Sampler(sampling, inputs["attention_mask"], keys)],
                stopping_criteria=[Ending(self._decode, sampling.stop, start, rooms, lambda: self._batcher.closed)],
            )
        finally:
            self.model.generation_config = own
        if self._batcher.closed:
            raise Gap(CLOSED)
        seconds = (time.perf_counter() - began) / len(rooms)
        responses = []
        for row, room, seen, length in zip(rows[:, start:].tolist(), rooms, batch.seen, batch.lengths, strict=True):
            text, finish, count = read(row, room, self._ends, sampling.stop, self._decode)
            responses.append(Response(text, finish, seen=seen, tokens_in=length, tokens_out=count, seconds=seconds))
        return responses

    def _likelihoods(self, batch: Batch, inputs: Any) -> list[Response]:
        """The mean log-probability of each row's continuation and its end token, the last tokens of the row."""
        began = time.perf_counter()
        kinds = [request.kind for request in batch.requests]
        tails = [rendering.tail(self.processor, kind) for kind in kinds if isinstance(kind, Likelihood)]
        counts = [len(ids) for ids in self._words(tails, add_special_tokens=False).input_ids]
        logits = self._logits(inputs, max(counts) + 1)[:, -max(counts) - 1 : -1].float().log_softmax(-1)
        tokens = inputs["input_ids"][:, -max(counts) :]
        scores = logits.gather(-1, tokens[..., None])[..., 0].cpu()
        seconds = (time.perf_counter() - began) / len(counts)
        return [
            Response(seen=seen, tokens_in=length, seconds=seconds, likelihoods=(float(row[-count:].mean()),))
            for row, count, seen, length in zip(scores, counts, batch.seen, batch.lengths, strict=True)
        ]

    def _attention(self, batch: Batch, inputs: Any) -> list[Response]:
        """The attention that each row's continuation pays to each of its images."""
        began = time.perf_counter()
        with attending.collecting(self.model, inputs["attention_mask"], batch.tails) as collected:
            self._logits(inputs, 1)
        shares, visual = collected.mean(), attending.visual(self.model.config, inputs)
        attention = [attending.split(row[its].tolist(), grids) for row, its, grids in zip(shares, visual, batch.grids, strict=True)]
        seconds = (time.perf_counter() - began) / len(attention)
        return [
            Response(seen=seen, tokens_in=length, seconds=seconds, attention=grids)
            for grids, seen, length in zip(attention, batch.seen, batch.lengths, strict=True)
        ]

    def _logits(self, inputs: Any, last: int) -> Any:
        """Those of the last tokens at least: the logits of a whole row of a big vocabulary can be larger than the model."""
        keep = {"logits_to_keep": last} if "logits_to_keep" in inspect.signature(self.model.forward).parameters else {}
        return self.model(**inputs, **keep, use_cache=False).logits

    def _decode(self, rows: list[list[int]]) -> list[str]:
        return list(self._words.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _kind(request: Request) -> Generate | Likelihood | Attend:
    assert isinstance(request.kind, Generate | Likelihood | Attend)
    return request.kind
