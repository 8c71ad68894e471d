"""Whatever reads what a model wrote, each as a function of the text."""

import atexit
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from evalkit import parsers, protocols, task
from evalkit.engines.completions import problem
from evalkit.engines.completions import read as completions_read
from evalkit.errors import EvalkitError
from evalkit.geometry import Frame, Size
from evalkit.graders._chain import chain, without_boxes
from evalkit.graders.correlation import named
from evalkit.graders.judge import score_of
from evalkit.metrics.text import caption_score
from evalkit.parsers import tags, tool_calls
from evalkit.protocols import grit, satori, segment
from evalkit.rle import empty_mask
from evalkit.types import Conversation, Generate, Image, ModelInfo, Prediction, Response, Sample, Wants
from tests.faults.files import GOLDEN, written

Read = Callable[[str], Any]
OPTIONS = ("rubber", "cotton", "kevlar", "leather")


def readers() -> dict[str, Read]:
    """Every function that reads what a model wrote, as a function of the text, but for math-verify's, which have a deadline instead."""
    found: dict[str, Read] = {
        "between": lambda text: parsers.between(text, "answer"),
        "letter": lambda text: parsers.letter(text, OPTIONS),
        "boxed": tags.boxed,
        "without_thoughts": tags.without_thoughts,
        "calls_tool": tool_calls.calls_tool,
        "last_call": tool_calls.last_call,
        "keeps_thoughts": grit.keeps_thoughts,
        "boxes_before": grit.boxes_before,
        "written_answer": satori.written_answer,
        "written_boxes": satori.written_boxes,
        "keeps_form": satori.keeps_form,
        "pointed": segment.pointed,
        "chain": chain,
        "without_boxes": without_boxes,
        "named": named,
        "score_of": score_of,
        "caption_score": lambda text: caption_score(text, "a dog on a mat"),
        "VideoRefer's scores": task.module("videorefer").scores_of,
        "a server's reply": of_server,
        "a server's error": lambda text: problem(text.encode("utf-8", "replace"), "a secret"),
    }
    names = ("count", "number", "yes_no", "final_answer", "quadruples", "integer_quadruples", "labelled_quadruples")
    found |= {name: getattr(parsers, name) for name in names}
    found |= {f"protocol {name}": of_protocol(name) for name in asked()}
    return found | of_tasks()


def of_server(text: str) -> None:
    """A server's body of that text, and one with the text in it."""
    for body in (text, json.dumps({"choices": [{"message": {"content": text}}]})):
        with suppress(EvalkitError):
            completions_read(body.encode("utf-8", "replace"), ("stop",))


def asked() -> list[str]:
    """The protocols that ask for text, with their variants."""
    return [
        *("direct", "grit", "grit:one_shot", "grit:direct", "grit:sft", "satori", "satori:no_caption", "segment", "segment:json"),
        *("segment:json_all", "segment:direct", "pixel_reasoner", "pixel_reasoner:crop_image", "pixel_reasoner:zoom_in"),
    ]


def of_protocol(name: str) -> Read:
    """The conversations of a protocol about samples of several kinds in which every reply is the text."""
    image = Image(b"", size=Size(1000, 500), digest="0" * 64)
    kinds = (Wants("choice"), Wants("boxes"), Wants("mask", phrase="the dog"), Wants("text", form="video"))
    samples = [Sample("1", "q", "q", (image,) * (3 if wants.form == "video" else 1), wants, "A", options=OPTIONS) for wants in kinds]
    model = ModelInfo("m", "m", Frame.SEEN)

    def read(text: str) -> None:
        for sample in samples:
            conversed(protocols.find(name), sample, model, text)

    return read


def conversed(protocol: Any, sample: Sample, model: ModelInfo, text: str) -> Prediction:
    """The prediction of a conversation in which every reply is the text and every mask is whole."""
    found: Prediction = ended(protocol.converse(sample, model), text)
    return found


def ended(conversation: Conversation[Any], text: str) -> Any:
    """What a conversation ends in whose every reply is the text and every mask whole."""
    try:
        request = next(conversation)
        while True:
            if isinstance(request.kind, Generate):
                response = Response(text, seen=(Size(1008, 504),) * 16)
            else:
                response = Response(masks=(empty_mask(Size(1000, 500)),) * len(request.kind.prompts))
            request = conversation.send(response)
    except StopIteration as end:
        return end.value


@cache
def golden_samples() -> dict[str, tuple[Any, Sample]]:
    """Of each task with golden rows of its own the task and a sample of each kind, by a name."""
    found: dict[str, tuple[Any, Sample]] = {}
    home = TemporaryDirectory()  # some rules read their data later
    atexit.register(home.cleanup)
    for golden in sorted(GOLDEN.glob("*.jsonl")):
        head = json.loads(golden.read_text("utf-8").splitlines()[0])
        if golden.stem not in task.names() or not isinstance(head.get("files"), dict):
            continue
        folder = Path(home.name) / golden.stem
        for place, content in head["files"].items():
            written(folder, place, content)
        own = head.get("task", golden.stem)
        for name in (own, *(f"{golden.stem}:{variant}" for variant in task.variants(golden.stem) if variant != "...")):
            try:
                made = task.find(name, folder)
                for sample in made.samples():
                    found.setdefault(f"{golden.stem if name == own else name} {sample.wants.kind}", (made, sample))
            except EvalkitError:  # its data is more than these rows
                continue
    return found


def of_tasks() -> dict[str, Read]:
    """The rules that read text of each task, each as a function that reads a reply, the graders' too, and measures what was read.

    Of a task's variants those rules that no other has.
    """
    found: dict[str, Read] = {}
    known: set[tuple[Any, ...]] = set()
    model = ModelInfo("m", "m", Frame.ORIGINAL)
    for name, (made, sample) in golden_samples().items():
        for rule in made.rules:
            same = (name.partition(" ")[0].partition(":")[0], sample.wants.kind, rule.name, str(rule.metric), _function(rule.parse))
            if rule.reads not in ("text", "boxes") or same in known:
                continue
            known.add(same)

            def read(text: str, rule: Any = rule, sample: Sample = sample, graders: Any = made.graders) -> None:
                prediction = conversed(protocols.find("direct"), sample, model, text)
                verdicts = {grader.name: ended(grader.grade(sample, prediction), text) for grader in graders}
                prediction = replace(prediction, verdicts=verdicts)
                value = rule.parse(prediction, sample)
                rule.metric.measure(None if hasattr(value, "reason") else value, sample)

            found[f"{name}, rule {rule.name} of {rule.metric.name}"] = read
    return found


def _function(parse: Any) -> str:
    """What a parser is called, without what is filled in."""
    return str(getattr(getattr(parse, "func", parse), "__qualname__", parse))
