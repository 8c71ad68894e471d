"""Checkpoints served by vLLM in this process: continuous batching, fed as fast as it takes.

Images are decoded by a pool of threads and rendered (resized, tokenised) by one more, while vLLM's own process generates; a last
thread hands rendered requests over and takes finished ones back, so that nothing waits for a batch, a turn or a task. The
checkpoint's generation_config changes nothing. vLLM's own log goes to a file, whose last lines are in the message if it dies.
"""

import asyncio
import itertools
import os
import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data import decode
from ..errors import EvalkitError, Gap, Refused
from ..geometry import Size
from ..types import Finish, Generate, Image, Likelihood, ModelInfo, Request, Response, Sampling, images_of, sha256
from . import checkpoint, launch, rendering
from .common import admit, one_by_one

MOST_DECODED = 32
"""How many requests' images are decoded at most and not yet rendered."""
COLDEST = 0.01
"""The lowest temperature but 0 that vLLM samples at: it would raise a lower one to this, with a line in its log."""
WATCH = 1.0
"""Seconds between looks at whether vLLM's process is still there."""
LIKELIHOOD_BYTES = 4 << 30
"""The most memory that the log-probabilities of a prompt may take; vLLM holds those of every token of a step at once."""
CPU_CACHE = 1 << 30
"""The bytes of vLLM's cache on a CPU where no argument says more: its own default is nearly all memory there is."""
HARMLESS = {
    *("data_parallel_size", "distributed_executor_backend", "enable_prefix_caching", "enforce_eager"),
    *("gpu_memory_utilization", "kv_cache_memory_bytes"),
    *("max_num_batched_tokens", "max_num_seqs", "mm_processor_cache_gb", "pipeline_parallel_size", "tensor_parallel_size"),
}
"""Arguments of vLLM that change no answer, beyond the last bits of floating point, and are left out of the fingerprint."""


@dataclass(eq=False, slots=True)
class Job:
    """A rendered request on its way through vLLM."""

    request: Request
    prompt: Any
    params: Any
    seen: tuple[Size, ...]
    counted: int = 0
    """How many last tokens of the prompt are the continuation whose likelihood is asked."""
    future: "Future[Response]" = field(default_factory=Future)
    began: float = field(default_factory=time.perf_counter)


class _Failed(Gap):
    """A request that vLLM gave up, or that names an image which it has dropped: asked once more, with every image."""


class VLLM:
    """An engine over a directory or a hub id.

    Args:
        model: the checkpoint.
        processor: a directory, where it is not in the checkpoint.
        dtype: "bfloat16", ...; None: the checkpoint's own on a GPU, float32 on a CPU.
        adapter: the directory of a LoRA of the language model.
        trust_remote_code: whether code inside the checkpoint may run, and its weights may be a pickle.
        arguments: fields of vLLM's `EngineArgs`, such as tensor_parallel_size or max_model_len.
        cache: where hashes of weights are kept; None: nowhere.

    Raises:
        UserError: vLLM is not installed, has no such argument, or does not start with this checkpoint or adapter.
    """

    def __init__(
        self,
        model: str | Path,
        processor: str | None = None,
        *,
        dtype: str | None = None,
        adapter: str | Path | None = None,
        trust_remote_code: bool = False,
        arguments: Mapping[str, Any] | None = None,
        cache: Path | None = None,
    ) -> None:
        vllm = launch.library()
        lora = Path(adapter).expanduser() if adapter else None
        adapted = checkpoint.adapter_hash(lora, cache) if lora else ""
        place, weights, config, self.processor = checkpoint.read(model, processor, trust_remote_code, cache)
        device = launch.device()
        given = {
            "dtype": dtype or ("float32" if device == "cpu" else "auto"),
            "trust_remote_code": trust_remote_code,
            "limit_mm_per_prompt": {"video": 0},
            **({"kv_cache_memory_bytes": CPU_CACHE} if device == "cpu" else {}),
            **(launch.serves_lora(lora) if lora else {}),
            **(arguments or {}),
        }
        if processor:
            given["tokenizer"] = str(checkpoint.folder(processor))
        with launch.Keeper() as self._keeper:
            self._engine, self._log, self._lora = launch.start(str(place), given, lora)
        details = {
            "engine": "vllm",
            "model_type": config.model_type,
            "device": device,
            "dtype": str(self._engine.model_config.dtype).removeprefix("torch."),
            "weights": weights,
            "adapter": adapted,
            "processor": checkpoint.processor_hash(self.processor),
            "pixels": None if "mm_processor_kwargs" in given else rendering.pixels(self.processor),
            "ends": checkpoint.ends(launch.generation_config(place), config, self.processor),
            "arguments": {name: value for name, value in sorted(given.items()) if name not in ("dtype", "tokenizer")},
            "vllm": vllm.__version__,
        }
        changing = {key: details[key] for key in ("engine", "dtype", "weights", "adapter", "processor", "ends")}
        changing["arguments"] = {name: value for name, value in details["arguments"].items() if name not in HARMLESS}
        changing["version"] = ".".join(vllm.__version__.split(".")[:2])
        answers = frozenset({"generate", "likelihood"})
        frame = checkpoint.FRAMES.get(config.model_type)
        self.info = ModelInfo(Path(model).name, sha256(repr(sorted(changing.items()))), frame, answers, details=details)
        self._ends: list[int] = details["ends"]
        self._vocabulary = config.get_text_config().vocab_size
        self._sizes: dict[str, Size] = {}
        self._hashes: dict[str, str] = {}
        """What vLLM's caches call the images that it was sent, by their names."""
        self._numbers = itertools.count()
        self._flying: dict[str, Job] = {}
        self._arrivals: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.died = ""
        """Why it answers no more; empty while it does."""
        self.room = self._engine.vllm_config.scheduler_config.max_num_seqs
        """How many requests it holds at a time."""
        self._decoders = ThreadPoolExecutor(min(2 * (os.cpu_count() or 1), MOST_DECODED), "decode")
        self._renderer = ThreadPoolExecutor(1, "render")
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="vllm", daemon=True)
        self._thread.start()
        threading.Thread(target=self._watch, name="vllm watch", daemon=True).start()

    @property
    def sampling(self) -> Sampling:
        """How the checkpoint's own generation_config decodes, which otherwise changes nothing."""
        return checkpoint.sampling(launch.generation_config(checkpoint.folder(self._engine.model_config.model)))

    async def answer(self, request: Request) -> Response:
        """The response.

        Raises:
            Gap: the prompt is longer than the model's context, or vLLM failed or died.
            ImageError: one of its images cannot be read.
            Refused: the request's kind is not served, its temperature or an image's budget cannot be honoured, or a likelihood takes too
                much memory.
        """
        admit(self.info, request)
        if isinstance(request.kind, Generate) and 0 < request.kind.sampling.temperature < COLDEST:
            raise Refused(
                f"expected a temperature of 0 or of at least {COLDEST} for vLLM, got {request.kind.sampling.temperature}, which it would "
                "raise: choose 0, or --engine transformers"
            )
        return await one_by_one(request, self._answer)

    def close(self) -> None:
        """Ends vLLM's process and the threads; whoever still waits gets a gap."""
        self._closed.set()
        self._arrivals.put(None)
        for pool in (self._decoders, self._renderer):
            pool.shutdown(wait=False, cancel_futures=True)
        self._thread.join(timeout=30)
        with launch.quiet(self._log):
            self._engine.engine_core.shutdown()
            self._engine.renderer.shutdown()
        self._keeper.leave()
        if not self.died:
            self._log.unlink(missing_ok=True)

    # ------------------------------------------------------------ on the way in

    async def _answer(self, request: Request) -> Response:
        if self.died:
            raise Gap(self.died)
        try:
            return await self._tried(request)
        except _Failed:
            return await self._tried(request, whole=True)

    async def _tried(self, request: Request, whole: bool = False) -> Response:
        job = await asyncio.get_running_loop().run_in_executor(self._decoders, self._made, request, whole)
        return await asyncio.wrap_future(job.future)

    def _made(self, request: Request, whole: bool) -> Job:
        """The request with its images decoded, then rendered; the thread waits, so that no more are decoded than there are threads.

        An image that vLLM still holds from an earlier request, such as one of the turn before, is only named, unless all are to go whole.
        """
        shown = list(images_of(request))
        limits = rendering.edges(self.processor, shown, self.info.name)
        names = [_name(image, limits) for image in shown]
        images = [None if not whole and self._holds(name) else decode(image) for name, image in zip(names, shown, strict=True)]
        return self._renderer.submit(self._rendered, request, images, names, limits).result()

    def _holds(self, name: str | None) -> bool:
        cache, known = self._engine.renderer.mm_processor_cache, self._hashes.get(name or "")
        return bool(cache and known and cache.is_cached_item(known))

    def _rendered(self, request: Request, images: list[Any], names: list[str | None], limits: tuple[int, int] | None) -> Job:
        """The request in the tokens and tensors that vLLM takes, handed on to the thread that feeds it.

        In the order of rendering: an image goes along with the first request that shows it, and later ones only name it.

        Raises:
            Gap: vLLM cannot take it, such as one longer than the model's context.
        """
        kind = request.kind
        assert isinstance(kind, Generate | Likelihood)
        try:
            text = rendering.prompt(self.processor, kind)
            words = self.processor.tokenizer
            prompt: dict[str, Any] = {
                "prompt_token_ids": words(text, add_special_tokens=not rendering.starts_itself(self.processor, text)).input_ids
            }
            if images:
                prompt |= {"multi_modal_data": {"image": images}, "multi_modal_uuids": {"image": names}}
            if limits:
                prompt["mm_processor_kwargs"] = {"size": rendering.of_edges(limits)}
            [rendered] = self._engine.renderer.render_cmpl([prompt])
            seen = self._seen(rendered, names)
            self._hashes.update(
                (name, key) for name, key in zip(names, rendered.get("mm_hashes", {}).get("image", ()), strict=False) if name
            )
        except EvalkitError:
            raise
        except Exception as error:
            gap = _Failed if None in images else Gap  # what was held a moment ago may be gone
            raise gap(f"vLLM cannot take the prompt: {checkpoint.first_line(error)}") from error
        if isinstance(kind, Generate):
            return self._handed_on(Job(request, rendered, self._params(request, kind.sampling), seen))
        counted = len(words(rendering.tail(self.processor, kind), add_special_tokens=False).input_ids)
        self._check_likelihood(len(rendered["prompt_token_ids"]))
        return self._handed_on(Job(request, rendered, _scoring(), seen, counted))

    def _handed_on(self, job: Job) -> Job:
        self._arrivals.put(job)
        return job

    def _params(self, request: Request, sampling: Sampling) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            repetition_penalty=sampling.repetition_penalty,
            stop=list(sampling.stop),
            stop_token_ids=self._ends,
            seed=int(request.key(self.info.fingerprint)[:15], 16) if sampling.temperature else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _check_likelihood(self, tokens: int) -> None:
        step = min(tokens, self._engine.vllm_config.scheduler_config.max_num_batched_tokens)
        needed = 2 * 4 * step * self._vocabulary  # float32 logits and their logarithms
        if needed > LIKELIHOOD_BYTES:
            raise Refused(
                f"the likelihoods of a prompt of {tokens} tokens over {self._vocabulary} words take {needed >> 20} MiB in vLLM, more than "
                f"{LIKELIHOOD_BYTES >> 20}: use --engine transformers, or --engine-args max_num_batched_tokens="
                f"{LIKELIHOOD_BYTES // (8 * self._vocabulary)}"
            )

    def _seen(self, rendered: Mapping[str, Any], names: list[str | None]) -> tuple[Size, ...]:
        """Each image's size after the resize; empty where the processor does not tell. vLLM sends an image it holds only by name."""
        items = rendered.get("mm_kwargs", {}).get("image", [])
        told = {name: size for name, item in zip(names, items, strict=True) if item is not None and (size := self._size(item.get_data()))}
        self._sizes.update((name, size) for name, size in told.items() if name)
        sizes = [told.get(name) or self._sizes.get(name or "") for name in names]
        known = tuple(size for size in sizes if size)
        return known if len(known) == len(sizes) else ()

    def _size(self, data: Mapping[str, Any]) -> Size | None:
        if "image_grid_thw" in data:
            _, height, width = (int(number) for number in data["image_grid_thw"])
            patch = self.processor.image_processor.patch_size
            return Size(width * patch, height * patch)
        pixels = data.get("pixel_values")
        return Size(pixels.shape[-1], pixels.shape[-2]) if pixels is not None and pixels.ndim == 3 else None

    # ------------------------------------------------------------ through vLLM and out

    def _serve(self) -> None:
        """The one thread that talks to vLLM: new requests in, finished ones out, until it is told to end or vLLM dies."""
        try:
            while self._take():
                for output in self._engine.step():
                    if output.finished:
                        self._finish(output)
        except Exception as error:  # noqa: BLE001 - whatever killed vLLM, those who wait must hear of it
            self.died = f"vLLM died: {checkpoint.first_line(error)}. The last lines of its log, {self._log}:\n{launch.tail(self._log)}"
        reason = self.died or "the engine was closed"
        for job in self._flying.values():
            _settle(job, Gap(reason))
        self._flying.clear()
        while True:  # answers to whoever comes after the end
            late = self._arrivals.get()
            if late is None:
                return
            _settle(late, Gap(reason))

    def _watch(self) -> None:
        """Wakes the thread that waits for vLLM's outputs when vLLM's process is gone: by itself it would wait for ever."""
        core = self._engine.engine_core
        while not self._closed.wait(WATCH):
            if getattr(getattr(core, "resources", None), "engine_dead", False) and hasattr(core, "outputs_queue"):
                core.outputs_queue.put_nowait(RuntimeError("its process ended"))
                return

    def _take(self) -> bool:
        """Hands over what has arrived, waiting for something only while nothing is under way; False when told to end."""
        while True:
            try:
                job = self._arrivals.get(block=not self._flying)
            except queue.Empty:
                return True
            if job is None:
                self._arrivals.put(None)
                return False
            if not job.future.set_running_or_notify_cancel():
                continue
            name = str(next(self._numbers))
            self._flying[name] = job
            try:
                self._engine.add_request(name, job.prompt, job.params, lora_request=self._lora)
            except Exception as error:  # such as a prompt that its images make longer than the context
                from vllm.v1.engine.exceptions import EngineDeadError

                if isinstance(error, EngineDeadError):
                    raise
                _settle(self._flying.pop(name), Gap(f"vLLM cannot take the prompt: {checkpoint.first_line(error)}"))
                continue
            job.prompt = None

    def _finish(self, output: Any) -> None:
        job = self._flying.pop(output.request_id)
        [reply] = output.outputs
        spent = time.perf_counter() - job.began
        if reply.finish_reason not in ("stop", "length"):
            _settle(job, _Failed(f"vLLM ended the request with '{reply.finish_reason}'"))
            return
        length = len(output.prompt_token_ids)
        if job.counted:
            scored = zip(output.prompt_token_ids[-job.counted :], output.prompt_logprobs[-job.counted :], strict=True)
            mean = sum(known[token].logprob for token, known in scored) / job.counted
            _settle(job, Response(seen=job.seen, tokens_in=length, seconds=spent, likelihoods=(mean,)))
            return
        finish: Finish = "stop" if reply.finish_reason == "stop" else "length"
        _settle(job, Response(reply.text, finish, seen=job.seen, tokens_in=length, tokens_out=len(reply.token_ids), seconds=spent))


def _settle(job: Job, result: Response | Exception) -> None:
    if job.future.done():
        return
    if isinstance(result, Exception):
        job.future.set_exception(result)
    else:
        job.future.set_result(result)


def _scoring() -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY)


def _name(image: Image, limits: tuple[int, int] | None) -> str | None:
    """What vLLM's caches know the resized image by; None for one without a digest, which it then hashes itself."""
    return f"{image.digest} {image.upright} {limits}" if image.digest else None
