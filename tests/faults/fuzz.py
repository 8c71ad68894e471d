"""Inputs made by hypothesis and atheris for whatever reads what strangers wrote. A crash is any error that is not evalkit's own.

Each row first tries its seeds in tests/golden/fuzz: inputs that once crashed, and some that lead into corners. Then come inputs that
hypothesis makes, each with changed forms of it; they depend on `SEED` alone. What atheris makes depends on the code it explores too.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from evalkit import config, geometry, rle, task, tools
from evalkit.config import ModelConfig, RunConfig
from evalkit.data import read_boxes, read_json, read_jsonl, read_tsv
from evalkit.engines.openai_options import OpenAIOptions
from evalkit.engines.replay import Replay
from evalkit.geometry import Box, Frame, Mask, Size
from evalkit.suites import SuiteConfig
from evalkit.types import Budget, Crop, Generate, Image, Message, Request, Unparsed
from tests.faults.explored import SEED, borne, explored, finite, seeds, wrong
from tests.faults.files import GOLDEN, VALUES, places, replaced, written
from tests.faults.images import MOST_MEGABYTES, in_a_process
from tests.faults.keys import keyed
from tests.faults.readers import of_tasks, readers
from tests.faults.tally import Fault, Tally
from tests.faults.texts import HOSTILE, PIECES

# ---------------------------------------------------------------- replies


@cache
def by_name() -> dict[str, Callable[[str], Any]]:
    return readers()


@cache
def rules() -> dict[str, Callable[[str], Any]]:
    return of_tasks()


pieces = st.lists(st.sampled_from((*PIECES, *(text for text in HOSTILE if len(text) < 300))), max_size=12)
replies = st.one_of(st.text(max_size=80), pieces.map("".join), pieces.map(" ".join), st.text(st.characters(codec=None), max_size=20))


def _replies(folder: Path, times: int) -> Tally:
    return _read("replies", {name: read for name, read in by_name().items() if name not in rules()}, times)


def _rules(folder: Path, times: int) -> Tally:
    return _read("rules", rules(), times)


def _read(name: str, readers: dict[str, Callable[[str], Any]], times: int) -> Tally:
    """Texts, each for one reader or another; and the kept ones for every reader, as those come and go."""
    found = [read for _, read in sorted(readers.items())]
    told = explored(name, st.tuples(st.integers(0, 999), replies), lambda value: found[value[0] % len(found)](value[1]), times)
    for (_, text), (reader, read) in product(seeds(name), readers.items()):
        told.tried += 1
        if said := wrong(read, text):
            told.crashed(f"{reader}: {said} of {text!r:.400}")
    return told


# ---------------------------------------------------------------- geometry, tools, masks


numbers = st.one_of(
    st.floats(), st.integers(-(10**30), 10**30), st.floats(-2000, 2000), st.sampled_from([0, -0.0, 1, 1e308, 5e-324, 10**9])
)
sizes = st.tuples(st.integers(0, 70_000), st.integers(0, 70_000))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=20), st.sampled_from([*VALUES])),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)
shapes = st.tuples(
    st.tuples(finite, finite, finite, finite),
    sizes,
    sizes,
    st.integers(0, 3),
    values,
    st.lists(st.tuples(finite, finite, finite, finite), max_size=4),
)


def of_shapes(value: Any) -> None:
    """Boxes change frame and back, overlaps stay in their ranges, tools do or say why not."""
    four, own, other, frame, argument, more = value
    four, original, seen = (*map(finite_of, four), 0.0, 0.0, 0.0, 0.0)[:4], size_of(own, 70_000), size_of(other, 70_000)
    box = Box(*four)
    assert 0 <= geometry.iou(box, box.clipped(original)) <= 1 + 1e-9
    declared = list(Frame)[frame % len(Frame)]
    geometry.from_original(geometry.to_original(four, declared, original, seen), declared, original, seen)
    overlap = geometry.region_overlap([box], [Box(*(*map(finite_of, item), 0, 0, 0, 0)[:4]) for item in more])
    assert not overlap.inter > overlap.union * (1 + 1e-9), overlap
    image = Image(b"", size=original)
    for call in (
        lambda: tools.zoom(image, argument),
        lambda: tools.zoom(image, list(four), longest=600),
        lambda: tools.select_frames([image] * 16, argument),
        lambda: tools.fit(image, Budget(256 * 784, 5120 * 784)),
        lambda: tools.place(box, image.derive(Crop(0, 0, 1, 1)), image),
        lambda: read_boxes(argument, "here"),
    ):
        borne(call)


def finite_of(number: Any) -> float:
    """The number as a finite float."""
    return float(number) if isinstance(number, int | float) and abs(number) < 1e308 else 0.0


def size_of(pair: Any, most: int) -> Size:
    """A pair of numbers as a size of at least 1 x 1."""
    return Size(*(1 + abs(side) % most if type(side) is int else 1 for side in (*pair, 0, 0)[:2]))


def _shapes(folder: Path, times: int) -> Tally:
    return explored("shapes", shapes, of_shapes, times)


runs = st.one_of(
    st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=30),
    st.text(max_size=10),
    values,
    st.sampled_from(["", "0", "PXP?", "\x7f"]),
)
polygons = st.lists(st.lists(st.one_of(finite, numbers, values), max_size=12), max_size=4)
small = st.tuples(st.integers(0, 40), st.integers(0, 40))
masks = st.tuples(
    runs,
    small,
    st.one_of(
        polygons, values, st.fixed_dictionaries({"counts": st.one_of(runs, st.lists(st.integers(-5, 900), max_size=8)), "size": values})
    ),
)


def of_masks(value: Any) -> None:
    """What is no mask of its size is told; what is one can be decoded and measured, and all agree."""
    counts, side, segmentation = value
    size = size_of(side, 40)
    for found in (rle.fitted_mask(Mask(counts, size), size), rle.coco_mask(segmentation, size)):
        if isinstance(found, Unparsed):
            assert found.reason
            continue
        pixels = rle.decode_mask(found)
        assert pixels.shape == (size.height, size.width)
        assert rle.mask_areas(found, found) == [pixels.sum()] * 2
        assert (rle.mask_box(found) is None) == (not pixels.any())
        assert rle.fitted_mask(rle.union_mask([found, rle.empty_mask(size)]), size) == found


def _masks_told(times: int) -> Iterator[tuple[str, str]]:
    told = explored("masks", masks, of_masks, times)
    yield from ((f"{place}", "") for place in range(told.tried - told.crashes))
    yield from ((note, note) for note in told.notes)


def _masks(folder: Path, times: int) -> Tally:
    """In a process of its own: what breaks pycocotools breaks that one."""
    return in_a_process(MOST_MEGABYTES["a bomb"], str, _masks_told, times)


# ---------------------------------------------------------------- options and files


kinds = (ModelConfig, RunConfig, SuiteConfig, OpenAIOptions)
keys = [name for kind in kinds for name in kind.__dataclass_fields__]
tables = st.tuples(
    st.sampled_from(range(len(kinds))),
    st.dictionaries(st.one_of(st.sampled_from(keys), st.text(max_size=12)), values, max_size=5),
    st.text(max_size=60),
)


def of_options(value: Any) -> None:
    """A table becomes options or says why not; so does TOML; so do arguments."""
    place, table, text = value
    for call in (
        lambda: config.build(kinds[place % len(kinds)], table, "here"),
        lambda: config.engine_arguments([text, f"a={text}"]),
        lambda: config.frame(text, "here"),
    ):
        borne(call)


def _options(folder: Path, times: int) -> Tally:
    return explored("options", tables, of_options, times)


def as_line(value: Any) -> str:
    return json.dumps(value)


lines = st.one_of(
    st.text(max_size=60),
    values.map(as_line),
    st.fixed_dictionaries(
        {"sample": st.one_of(st.text(max_size=5), values)},
        optional={
            name: st.one_of(st.text(max_size=5), values) for name in ("text", "turns", "role", "task", "boxes", "labels", "scores", "masks")
        },
    ).map(as_line),
    st.sampled_from(['"', "\t", "[section]", "a = [", 'a = """', "a.b = 1", "{", "\ufeff", "\x00", "[[columns]]"]),
)
contents = st.lists(lines, max_size=4).map("\n".join)


def _files(folder: Path, times: int) -> Tally:
    """JSON, JSON lines, tables and TOML."""
    path = folder / "a.txt"
    calls: tuple[Callable[[Path], Any], ...] = (
        read_json,
        lambda given: list(read_jsonl(given)),
        lambda given: list(read_tsv(given)),
        lambda given: config.read(RunConfig, given),
        lambda given: config.read(SuiteConfig, given),
    )

    def read(text: str) -> None:
        path.write_text(text, "utf-8", errors="surrogatepass")
        for call in calls:
            borne(partial(call, path))

    return explored("files", contents, read, times)


def used(engine: Replay) -> None:
    """Asks a replay for several samples."""
    for name in ("", "0", "a"):
        answer: Coroutine[Any, Any, Any] = engine.answer(Request(Generate((Message("user", ("q",)),)), sample=f"shapes/{name}"))
        with suppress(StopIteration):  # it waits for nothing
            answer.send(None)
    engine.unknown()
    engine.close()


def _replay(folder: Path, times: int) -> Tally:
    """evalkit's own form of replies, of one task and of several."""
    path = folder / "a.jsonl"
    chosen = [task.find("shapes")]

    def read(text: str) -> None:
        path.write_text(text, "utf-8", errors="surrogatepass")
        for made in (chosen, chosen * 2):
            borne(lambda made=made: used(Replay(path, made)))  # type: ignore[misc]

    return explored("replay", contents, read, times)


@cache
def official(folder: Path) -> list[tuple[Any, Any]]:
    """The tasks that read a results format of their own, with a value in it."""
    found: list[tuple[Any, Any]] = []
    results: dict[str, Any] = {
        "gqa": [{"questionId": "201307251", "prediction": "yes"}],
        "mathvista": {"1": {"response": "5", "extraction": "5", "pid": "1", "metadata": {}}},
        "ovdeval": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}],
        "grit_gqa": [
            {
                "input_output_conv": {
                    "message": [{"content": [{"text": "\nQuestion: q"}]}, {"content": [{"text": "a"}]}],
                    "dataset": "gqa",
                    "image": "1.jpg",
                    "gt_answer": "yes",
                },
                "reward_name": ["gpt_score_reward"],
                "reward_list": "[1.0]",
            }
        ],
    }
    for name, value in results.items():
        head = json.loads((GOLDEN / f"{name}.jsonl").read_text("utf-8").splitlines()[0])
        for place, content in head["files"].items():
            written(folder / name, place, content)
        found.append((task.find(head.get("task", name), folder / name), value))
    return found


def _official(folder: Path, times: int) -> Tally:
    """Results in the formats of benchmarks, with one value replaced or as any text."""
    path = folder / "results.json"
    known = official(folder)

    def read(value: Any) -> None:
        place, at, by, text, way = value
        made, whole = known[place % len(known)]
        ways = list(places(whole))
        other = replaced(whole, ways[at % len(ways)], by)
        rows = other if isinstance(other, list) else [other]
        body = (text, json.dumps(other), "\n".join(map(json.dumps, rows)))[way % 3]
        path.write_text(body, "utf-8", errors="surrogatepass")
        Replay(path, [made]).close()

    drawn = st.tuples(st.integers(0, 3), st.integers(0, 60), values, contents, st.integers(0, 2))
    return explored("official", drawn, read, times)


def _tables(folder: Path, times: int) -> Tally:
    """Results of MME, a text file for each subtask, with a part of it changed or as any text."""
    head, results = json.loads((GOLDEN / "mme.jsonl").read_text("utf-8").splitlines()[0]), folder / "results"
    for place, content in head["files"].items():
        written(folder / "mme", place, content)
    made, path = task.find("mme", folder / "mme"), results / "existence.txt"
    results.mkdir()

    def read(text: str) -> None:
        path.write_text(text, "utf-8", errors="surrogatepass")
        Replay(results, [made]).close()

    return explored("tables", contents, read, times)


# ---------------------------------------------------------------- atheris

CHILD = """
import sys
import atheris

with atheris.instrument_imports(include=["evalkit"]):
    import evalkit.parsers.boxes, evalkit.parsers.choice, evalkit.parsers.numbers, evalkit.parsers.tags, evalkit.parsers.tool_calls
    import evalkit.parsers.yes_no, evalkit.protocols.grit, evalkit.protocols.satori, evalkit.protocols.segment, evalkit.graders.judge
    import evalkit.graders.correlation, evalkit.graders._chain, evalkit.rle, evalkit.config, evalkit.data
    from evalkit.errors import EvalkitError
    from tests.faults.readers import readers

found = readers()
read = [found[name] for name in sorted(found) if not name.startswith("protocol ") and ", rule " not in name]


def one(data):
    given = atheris.FuzzedDataProvider(data)
    chosen = read[given.ConsumeIntInRange(0, len(read) - 1)]
    try:
        chosen(given.ConsumeUnicode(400))
    except EvalkitError:
        pass


atheris.Setup(sys.argv, one)
atheris.Fuzz()
"""


def _atheris(folder: Path, times: int) -> Tally:
    """Replies that are led by which lines of evalkit they reach."""
    told, corpus = Tally(), folder / "corpus"
    corpus.mkdir()
    for place, (_, text) in enumerate(seeds("replies")):
        (corpus / str(place)).write_text(text[:400], "utf-8", errors="surrogatepass")
    words = [f"-runs={times}", f"-seed={SEED}", "-max_len=1200", "-print_final_stats=1", f"-artifact_prefix={folder}/", str(corpus)]
    done = subprocess.run([sys.executable, "-c", CHILD, *words], capture_output=True, text=True, errors="replace", check=False)
    counted = re.findall(r"number_of_executed_units: (\d+)", done.stderr)
    told.tried = int(counted[-1]) if counted else 0
    for path in sorted(path for path in folder.iterdir() if path != corpus):  # crash-, timeout-, oom-, slow-unit-
        told.crashed(f"{path.name}: {path.read_bytes()[:400]!r}")
    if done.returncode or told.tried < times:
        said = done.stdout[-1500:] + done.stderr[-600:]
        told.crashed(f"exit code {done.returncode} after {told.tried:,} of {times:,} inputs: {said}")
    told.notes.append(f"{sum(1 for _ in corpus.iterdir()) - len(seeds('replies')):,} inputs reached something new")
    return told


FAULTS = (
    Fault("fuzzed replies to every parser, led by what they reach in it (atheris)", _atheris, 400_000, 0, needs="atheris"),
    Fault("fuzzed replies to every reader and protocol", _replies, 100_000, 700),
    Fault("fuzzed replies to every rule of every task", _rules, 50_000, 600),
    Fault("fuzzed boxes, frames, arguments of tools", _shapes, 80_000, 600),
    Fault("fuzzed masks: run lengths, polygons", _masks, 80_000, 600),
    Fault("fuzzed options: tables, arguments, frames", _options, 80_000, 600),
    Fault("fuzzed files of JSON, tables, TOML", _files, 60_000, 500),
    Fault("fuzzed replays", _replay, 50_000, 500),
    Fault("fuzzed results in benchmarks' own formats", _official, 50_000, 500),
    Fault("fuzzed results of MME, tables of text", _tables, 20_000, 300),
    Fault("fuzzed requests and their keys", keyed, 50_000, 500),
)
