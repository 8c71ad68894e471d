"""One set of answers gives one summary, to the byte: whatever the window, the number of engines, the order and what was stored already.

A scripted engine answers by what it is asked, in an order drawn from a seed; the samples come in one drawn from it too. The runs have
everything in them whose sums or ties an order could move: floats, equal scores, clusters, tags, draws, several turns, a judge, equal
requests in flight, replies cut off, empty or never given.
"""

import json
import random
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import evalkit
from evalkit import runner
from tests.faults.tally import Fault, Tally

SEED = 20261123
AT_ONCE = ((1, 1), (512, 4), (512, 1), (1, 4))
"""Windows, and engines that share the requests."""
TASK = """
import json
import random
from pathlib import Path

from evalkit import Accuracy, AveragePrecision, Box, Composite, Counts, Detection, GoldBox, GroundingIoU, Image, Mean, Rule, Sample, Share
from evalkit import Caption, GoldText, Task, Wants, parsers
from evalkit.graders.judge import JUDGED, Judge

VARIANTS = ("boxes", "count", "text", "many")
DATA = None
HERE = Path(__file__).parent
LABELS = ("cup", "dog", "key")


def task(variant, data):
    kind = "count" if variant == "many" else variant
    numbers = (
        Rule("official", lambda p, s: len(p.text) / 700, Mean("length")),
        Rule("official", lambda p, s: len(p.text) % 3 == 0, Share("third")),
    )
    rules = {
        "boxes": (Rule("official", found, AveragePrecision(), reads="boxes"), Rule("official", plain, GroundingIoU(), reads="boxes")),
        "count": (
            Rule("official", lambda p, s: parsers.count(p.answer or ""), Accuracy()),
            Rule("official", lambda p, s: parsers.count(p.answer or ""), Counts()),
            *JUDGED,
        ),
        "text": (Rule("official", lambda p, s: p.answer or "", Caption()),),
    }[kind]
    composites = tuple(
        Composite("both", metric, ("odd", "even")) for metric in {"boxes": ("ap50",), "count": ("accuracy",), "text": ("length",)}[kind]
    )
    return Task(
        f"mixed:{variant}",
        1,
        lambda: samples(kind, 600 if variant == "many" else 16),
        (*rules, *numbers),
        {"boxes": "ap", "count": "accuracy", "text": "length"}[kind],
        (kind,),
        graders=(Judge(),) if kind == "count" else (),
        composites=composites,
    )


def found(prediction, sample):
    return [Detection(item.box, item.label, len(item.label) / 10) for item in prediction.evidence if item.box]


def plain(prediction, sample):
    return [item.box for item in prediction.evidence if item.box]


def samples(kind, count):
    rng = random.Random(kind)
    made = []
    for i in range(count):
        corners = ((rng.randint(0, 30), 9), (9, 9))
        gold = [(rng.choice(LABELS), Box(x, y, x + rng.randint(15, 30), y + rng.randint(15, 30))) for x, y in corners]
        words = " ".join(rng.choice(LABELS) for _ in range(5))
        caption = GoldText((words,), words)
        target = {"boxes": tuple(GoldBox(box, label) for label, box in gold), "count": rng.randrange(4), "text": caption}[kind]
        question = f"{kind} number {i % (count - 2)}"
        tags = frozenset({"odd" if i % 2 else "even", *(["few"] if i % 11 == 0 else [])})
        image = Image(HERE / f"{i % 8}.png")
        regions = tuple(box for _, box in gold)
        made.append(Sample(str(i), question, question, (image,), Wants(kind), target, regions=regions, tags=tags, group=str(i % 8)))
    random.Random(json.loads((HERE / "drawn.json").read_text())["seed"]).shuffle(made)
    return iter(made)
"""
ENGINE = '''
import asyncio
import json
import random
from pathlib import Path

from evalkit.types import Response

DRAWN = Path(__file__).with_name("drawn.json")


class AnyOrder:
    """Several engines behind one, each of which gathers what it is asked for a moment and answers some of it in any order."""

    frame = "original"

    def __init__(self):
        drawn = json.loads(DRAWN.read_text())
        self.rng, self.waiting, self.tasks = random.Random(drawn["seed"]), [[] for _ in range(drawn["engines"])], {}

    async def answer(self, request):
        place = min(range(len(self.waiting)), key=lambda place: (len(self.waiting[place]), self.rng.random()))
        turn = asyncio.get_running_loop().create_future()
        self.waiting[place].append(turn)
        if place not in self.tasks:
            self.tasks[place] = asyncio.ensure_future(self.go_on(place))
        await turn
        return reply(request)

    async def go_on(self, place):
        waiting = self.waiting[place]
        while waiting:
            await asyncio.sleep(0.001)
            for _ in range(self.rng.randint(1, len(waiting))):
                turn = waiting.pop(self.rng.randrange(len(waiting)))
                if not turn.done():
                    turn.set_result(None)
        del self.tasks[place]


def reply(request):
    said = " ".join(part for message in request.kind.messages for part in message.content if isinstance(part, str))
    rng = random.Random(f"{request.to} {request.draw} {said}")
    chance, finish = rng.random(), "length" if rng.random() < 0.15 else "stop"
    if chance < 0.05:
        raise RuntimeError("the machine is on fire")
    if request.to == "judge":
        return Response(f"{{score: 0.{rng.randrange(10)}}}")
    if chance < 0.1:
        return Response("", finish)
    if "tool" in said and chance < 0.5:
        call = {"name": "crop_image_normalized", "arguments": {"bbox_2d": [rng.random() / 3, 0.1, 0.9, 0.9], "target_image": 1}}
        return Response(f"<tool_call>{json.dumps(call)}</tool_call>", finish)
    if "boxes" in said:
        boxes = [[x, 9, x + rng.randint(15, 30), 9 + rng.randint(15, 30)] for x in (9, 9, rng.randint(0, 30))]
        return Response(json.dumps([{"bbox_2d": box, "label": rng.choice(("cup", "dog", "key"))} for box in boxes]), finish)
    text = str(rng.randrange(4)) if "count" in said else " ".join(rng.choice(("cup", "dog", "key")) for _ in range(5))
    return Response(f"\\\\boxed{{{text}}}", finish) if "boxed" in said else Response(text, finish)
'''
RUNS: Mapping[str, tuple[tuple[str, ...], Mapping[str, Any]]] = {
    "drawn": (("count", "text"), {"protocol": "pixel_reasoner", "repeats": 2, "temperature": 0.7}),
    "once": (("boxes", "count", "text"), {"protocol": "direct"}),
    "many": (("many",), {"protocol": "direct"}),
}
"""Variants and options of runs that differ in kind; the last has more samples than a window of 512."""
TURNS = ("drawn", "once", "drawn", "once", "many")
"""Which run is tried after which."""


def mixed(place: Path) -> None:
    """Writes the task, its images and the engine."""
    from PIL import Image

    for number in range(8):
        Image.new("RGB", (60, 48), (30 * number,) * 3).save(place / f"{number}.png")
    (place / "mixed.py").write_text(TASK)
    (place / "engine.py").write_text(ENGINE)


def ran(place: Path, out: str, which: str, seed: int, window: int, engines: int, **options: Any) -> Path:
    """The folder of a run of the tasks in `place`, in an order drawn from a seed."""
    (place / "drawn.json").write_text(json.dumps({"seed": seed, "engines": engines}))
    model = f"plugin:{place / 'engine.py'}:AnyOrder"
    variants, own = RUNS[which]
    tasks = [f"{place / 'mixed.py'}:{name}" for name in variants]
    with patch.object(runner, "WINDOW", window):
        return evalkit.run(model, tasks, judge=model, out=place / out, **own, **options).folder


def cold_to_warm(place: Path, times: int, run: Callable[..., Path]) -> Tally:
    """Runs with nothing stored, with half of the answers, and with all of them: each is compared with the first run of its kind."""
    mixed(place)
    told, rng = Tally(), random.Random(SEED)
    expected: dict[str, bytes] = {}
    while told.tried < times:
        which = TURNS[told.tried // 3 % len(TURNS)]
        if which not in expected:
            first = run(place, f"first {which}", which, 0, runner.WINDOW, 1)
            expected[which] = (first / "summary.json").read_bytes()
            _tells(expected[which])
        for stored in ("nothing", "half", "all"):
            window, engines = AT_ONCE[told.tried % len(AT_ONCE)]
            drawn = {"seed": rng.randrange(2**32), "window": window, "engines": engines}
            folder = run(place, f"out {told.tried // 3}", which, **drawn)
            told.tried += 1
            if (folder / "summary.json").read_bytes() != expected[which]:
                told.crashed(f"another summary of run '{which}' with {stored} stored, {drawn}: {_first(folder, expected[which])}")
            (folder / "summary.json").unlink()
            if stored == "nothing":
                _forget_half(folder, rng)
    return told


def _tells(summary: bytes) -> None:
    """Checks that a summary is worth comparing: it has floats, gaps, cut-off replies and intervals."""
    numbers = json.loads(summary)["numbers"]
    assert len([row for row in numbers if row["low"] is not None and row["value"] % 1]) > 20
    assert any(row["gaps"] for row in numbers)
    assert any(row["truncated"] for row in numbers)


def _first(folder: Path, expected: bytes) -> str:
    """The first line of a summary that is not as expected."""
    lines = zip(expected.decode().splitlines(), (folder / "summary.json").read_text().splitlines(), strict=False)
    return next((f"{was.strip()}, now {now.strip()}" for was, now in lines if was != now), "another length")


def _forget_half(folder: Path, rng: random.Random) -> None:
    """Takes half of the answers out of a run's store, as if it had been killed."""
    with closing(sqlite3.connect(folder / "answers.sqlite")) as store:
        keys = sorted(key for (key,) in store.execute("SELECT key FROM answers"))
        store.executemany("DELETE FROM answers WHERE key = ?", [(key,) for key in rng.sample(keys, len(keys) // 2)])
        store.commit()


def _numbered(folder: Path) -> dict[str, int]:
    """The numbers of the rows of a run's answers by their keys. An answer that is stored again has another number."""
    with closing(sqlite3.connect(folder / "answers.sqlite")) as store:
        return dict(store.execute("SELECT key, rowid FROM answers"))


def any_order(place: Path, times: int) -> Tally:
    return cold_to_warm(place, times, ran)


def any_order_through_ray(place: Path, times: int) -> Tally:
    def run(place: Path, out: str, which: str, seed: int, window: int, engines: int) -> Path:
        return ran(place, out, which, seed, window, 1, replicas=engines)

    return cold_to_warm(place, times, run)


def warm_checkpoint(place: Path, times: int) -> Tally:
    """The demo checkpoint on transformers: what is stored gives the summary again, and nothing is asked."""
    told = Tally()
    while told.tried < times:
        summaries, answers = [], []
        for _ in range(2):
            made = evalkit.run("demo", f"shapes:{8 * (told.tried + 1)}", protocol="grit", engine="transformers", out=place / "out")
            summaries.append((made.folder / "summary.json").read_bytes())
            (made.folder / "summary.json").unlink()
            answers.append(_numbered(made.folder))
        told.tried += 1
        if summaries[0] != summaries[1]:
            told.crashed("another summary from the store")
        if not answers[0] or answers[0] != answers[1]:
            told.crashed(f"expected the {len(answers[0])} answers of the store, and no more asked, got {len(answers[1])} or others")
        if f" {len(answers[0])} answers from the store" not in (last := (made.folder / "run.log").read_text().splitlines()[-1]):
            told.crashed(f"expected {len(answers[0])} answers from the store, got: {last}")
    return told


FAULTS: tuple[Fault, ...] = (
    Fault("answers in any order: window 1 and 512, 1 and 4 engines, cold to warm", any_order, 300, 6),
    Fault("the same through Ray, 1 and 4 replicas", any_order_through_ray, 6, 0, needs="ray"),
    Fault("a real engine (transformers) and a warm store", warm_checkpoint, 4, 1, needs="transformers"),
)
