"""What models write: every reader bears it in time that grows with its length, and nothing of it acts on a terminal, a page, a table."""

import csv
import io
import json
import random
import re
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

from evalkit.errors import EvalkitError
from tests.contract.server import Server, Status
from tests.faults.readers import Read, readers
from tests.faults.tally import Fault, Tally

SHORT, LONG, BEYOND = 2_000, 16_000, 256_000
SLACK, FLOOR = 3, 0.01
"""A text of so many times the length may take three times as many times as long, and a hundredth of a second."""
QUICK = 0.02
"""Seconds for `LONG` characters up to which `BEYOND` are tried too; above, what is quadratic has shown: it takes 64 times as long."""
EVERY = 20_000
"""From so many trials on every pair of a reader and a family is tried."""
ONCE = {("without_boxes", "'(1,2,' in itself"), ("infographicsvqa text, rule official of anls", "'not ' and then 'a'")}
"""Pairs that once took too long: tried first."""

# ---------------------------------------------------------------- time


PIECES = (
    *(
        "[",
        "(",
        "{",
        "]",
        "}",
        "<",
        "1",
        "1 ",
        "1,",
        "1, ",
        "1.",
        "-",
        "- ",
        "a",
        "a ",
        "a-",
        "A",
        "A ",
        "A\n",
        "(A) ",
        "(A)\n",
        " ",
        "\n",
        "\t",
    ),
    *(
        "<answer>",
        "</answer>",
        "<think>",
        "</think>",
        "<rethink>",
        "<bbox>[[",
        "<box>",
        "\\boxed{",
        "\\text{",
        "\\{",
        '"',
        "'",
        '\\"',
        "\\",
    ),
    *(
        "[1,2,3,4",
        "(1 1",
        "[1,2,3,4]",
        "[[1,2],",
        '{"',
        "{'\\",
        '{"a":',
        '{"label": [1,2,3,4]',
        '{"bbox": [1,2,3,4]}',
        "<tool_call>",
        "1e9",
        "1,111,",
    ),
    *(
        "the answer is ",
        "not (B) or ",
        "so there ",
        "between one and ",
        "no ",
        "= ",
        "one-",
        "twenty ",
        "yes and ",
        "either A or B, ",
        "=>",
        "é",
        "\ud800",
    ),
    *(
        "\u202e",
        "\u0301",
        "A. ",
        "A) x\n",
        "is ",
        "\\frac{1}{",
        "!",
        "_",
        "**",
        "``` ",
        "<b>",
        "%",
        "$",
        "answer: ",
        "1/",
        "1:",
        "(1",
        "n't ",
    ),
)
ENDS = ("", "!", "]", "}", "</answer>", "\n", "x", "4")


def families() -> list[tuple[str, Callable[[int], str]]]:
    """Texts of any length: a piece again and again and an end that does not fit, brackets inside brackets, one opener and a long tail."""
    found: list[tuple[str, Callable[[int], str]]] = []
    for place, piece in enumerate(PIECES):
        end = ENDS[place % len(ENDS)]
        found.append((f"{piece!r} and {end!r}", lambda size, piece=piece, end=end: piece * (size // len(piece)) + end))  # type: ignore[misc]
    for opened, closed in ("[]", "()", "{}", ("<think>", "</think>"), ("<answer>", "</answer>"), ("\\boxed{", "}"), ("(1,2,", "3,4)")):
        per = len(opened) + len(closed)
        found.append((f"{opened!r} in itself", lambda size, o=opened, c=closed, n=per: o * (size // n) + c * (size // n)))  # type: ignore[misc]
    heads = ("(A) ", "<answer>", "the answer is ", "[1, 2, 3, ", "1", "not ", '{"label": "', "<tool_call>{", "\\boxed{")
    tails = ("a", "a ", "-", " ", "1", "(A) not 1-a no ")
    found += [
        (f"{head!r} and then {tail!r}", lambda size, h=head, t=tail: h + t * (size // len(t)))  # type: ignore[misc]
        for head in heads
        for tail in tails
    ]
    return found


def seconds(read: Read, text: str, tries: int) -> float:
    """The least processor time of several tries."""
    took = []
    for _ in range(tries):
        start = time.process_time()
        with suppress(EvalkitError):
            read(text)
        took.append(time.process_time() - start)
    return min(took)


def slower(read: Read, make: Callable[[int], str], tries: int) -> str:
    """Between which lengths of a text reading takes longer than its length explains; empty where it does not."""
    took = {size: seconds(read, make(size), tries) for size in (SHORT, LONG)}
    if took[LONG] <= QUICK:
        took[BEYOND] = seconds(read, make(BEYOND), tries)
    for short, long in pairwise(took):
        if took[long] > SLACK * (long / short) * took[short] + FLOOR:
            return f"{took[short]:.4f} s for {short:,} characters, {took[long]:.4f} s for {long:,}"
    return ""


def _linear(folder: Path, times: int) -> Tally:
    """Every reader on every family, in some 15 minutes of processor. What math-verify reads has a deadline instead (`parsers.math`)."""
    told, read = Tally(), readers()
    pairs = [(reader, name, make) for reader in read for name, make in families()]
    random.Random(2).shuffle(pairs)
    pairs.sort(key=lambda pair: pair[:2] not in ONCE)
    for reader, name, make in pairs if times >= EVERY else pairs[:times]:
        told.tried += 1
        for tries in (1, 3, 7):  # slower ones are measured again: something else may have been going on
            if not (said := slower(read[reader], make, tries)):
                break
        else:
            told.crashed(f"{reader} of {name}: {said}")
    told.notes += [f"every pair of {len(read)} readers and {len(families())} families"] if times >= EVERY else []
    return told


# ---------------------------------------------------------------- words


HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)><a href='javascript:alert(1)'>x</a></table></title></style>",
    "\x1b[2J\x1b[31m\x1b]0;owned\x07\x1b]8;;http://evil/\x07link\x1b]8;;\x07\x9b31m\x08\x08\x7f\r",
    "\\input{/etc/passwd}\\write18{id}\\immediate\\end{document}%&$#_^~{}\\def\\x{\\x}\\x",
    "=HYPERLINK(\"http://evil\",\"x\")",
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "\n=1+1\r\n=2+2",
    "\u202egnp.exe\u2066\u2069\u200f\u061c",
    "\ud800lone\udfff",
    "\0\x00null\x00",
    "| a | b |\n|---|\n`code` **bold** [x](javascript:alert(1)) <!-- -->",
    "\ufeff\u2028\u2029\u0085",
    "\U0001f468\u200d\U0001f469\u0301" * 50,
    "]]>&amp;&#x1b;&lt;script&gt;",
    "{{7*7}}${7*7}%(x)s{0}%n%s",
    "'; DROP TABLE answers; --",
    "../../../etc/passwd\0.png",
    "nan", "inf", "1e400", "0x41", "٣", "²", "𝟙", "９", "１，２，３，４", "[１,２,３,４]", "Ⅷ",
    "9" * 5000, "-" + "9" * 400 + ".5e9999", "[" * 2000, "{\"a\":" * 2000, "(" * 2000 + "A", "\\boxed{" * 500,
    '<tool_call>{"name": ' + "[" * 960 + "]" * 960 + ', "arguments": 1}</tool_call>',
    '<tool_call>{"name": "crop_image_normalized", "arguments": {"bbox_2d": [1e999, NaN, -1e999, 1], "target_image": 1e308}}</tool_call>',
    '<tool_call>{"name": "crop_image_normalized", "arguments": {"bbox_2d": [0, 0, 1, 1], "target_image": NaN}}</tool_call>',
    '<tool_call>{"name": "crop_image_normalized", "arguments": {"bbox_2d": [0.1, 0.1, 0.9, 0.9], "target_image": true}}</tool_call>',
    '<tool_call>{"name": "select_frames", "arguments": {"target_frames": [1, -1, 99999999999999999999, true]}}</tool_call>',
    '<tool_call>{"name": null, "arguments": []}</tool_call>', "<tool_call>[]</tool_call>", '<tool_call>"name"</tool_call>',
)  # fmt: skip


def words(rng: random.Random) -> str:
    """A text made of hostile ones and of what readers look for."""
    pieces = rng.choices((*HOSTILE, *PIECES, *ENDS), k=rng.choice((1, 1, 2, 3, 5, 12)))
    return rng.choice(("", " ", "\n")).join(pieces)


def _read(folder: Path, times: int) -> Tally:
    """Every reader on every hostile text, then on mixtures of them."""
    told, rng, found = Tally(), random.Random(4), readers()
    texts = [*HOSTILE, *(f"<answer>{text}</answer>" for text in HOSTILE), *(f"The answer is {text}" for text in HOSTILE)]
    while told.tried < times:
        text = texts[told.tried // len(found)] if told.tried // len(found) < len(texts) else words(rng)
        for name, read in found.items():
            told.tried += 1
            try:
                read(text)
            except EvalkitError:
                continue
            except BaseException as error:  # noqa: BLE001 - a crash is what is looked for
                told.crashed(f"{name} of {text!r:.80}: {type(error).__name__}: {error!s:.200}")
    return told


# ---------------------------------------------------------------- where words are shown


TASK = """
import json
from pathlib import Path
from evalkit import Accuracy, Rule, Sample, Task, Wants, parsers

VARIANTS, DATA = (), None
ROWS = json.loads((Path(__file__).parent / "rows.json").read_text("utf-8"))


def task(variant, data):
    def export(answered, folder):
        (folder / "rows.json").write_text(json.dumps([[sample.id, row["text"]] for sample, row in answered]), "utf-8")
        return [folder / "rows.json"]

    rules = (Rule("strict", lambda prediction, sample: parsers.final_answer(prediction.text), Accuracy()),)
    return Task("hostile", 1, lambda: map(sample, range(len(ROWS))), rules, "accuracy", ("text",), export=export)


def sample(place):
    text = ROWS[place]
    tag = frozenset({text[:60] or "none"})
    return Sample(f"{place} {text[:40]}", text, text, (), Wants("text"), text, options=(text,), tags=tag, group=text)
"""
TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def acts(text: str) -> str:
    """What in a text would act on a terminal; empty where nothing does."""
    signs = {sign for sign in text if unicodedata.category(sign) in ("Cc", "Cs") and sign != "\n"} | set(TURNS.findall(text))
    return " ".join(f"U+{ord(sign):04X}" for sign in sorted(signs))


class Page(HTMLParser):
    """Keeps what on a page could act: elements and attributes that evalkit's own pages do not have."""

    TAGS = frozenset("html meta title style figure figcaption p div table thead tbody tr th td b u small span sup bdi footer".split())
    ATTRIBUTES = frozenset("lang charset name content class scope colspan".split())

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.TAGS or {name for name, _ in attrs} - self.ATTRIBUTES:
            self.found.append(f"<{tag} {dict(attrs)}>")


def acts_in(style: str, text: str) -> str:
    """What in a table of this form would act where it is opened."""
    if said := acts(text):
        return said
    if style == "html":
        return " ".join(Page(text).found)
    if style == "latex":
        known = re.findall(r"\\(?:input|write|immediate|end\{document|def|include|openin|csname|catcode)", text)
        return " ".join(known)
    if style == "csv":
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        return " ".join(cell for cell in cells if cell[:1] in tuple("=+-@\t\r") and not re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", cell))
    if style == "md":
        return " ".join(re.findall(r"(?<!\\)<(?:script|img|a )", text))
    return "" if json.loads(text) else "nothing"


def called(*arguments: object) -> subprocess.CompletedProcess[str]:
    """What a command says, in a process of its own."""
    words = [sys.executable, "-m", "evalkit", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False)


def _shown(folder: Path, times: int) -> Tally:
    """A run of hostile replies to hostile questions, and everything that prints or writes it."""
    told, rng = Tally(), random.Random(6)
    rows = [*HOSTILE, *(words(rng) for _ in range(times))]
    (folder / "task.py").write_text(TASK, "utf-8")
    (folder / "rows.json").write_text(json.dumps(rows), "utf-8")
    name = "=1+1 \\input{x}"
    with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
        for place, text in enumerate(rows):
            file.write(json.dumps({"sample": f"{place} {text[:40]}", "text": rng.choice((text, rows[place - 1]))}) + "\n")
    ran = called(
        "run", "--model", f"replay:{folder / name}.jsonl", "--tasks", folder / "task.py", "--out", folder / "runs", "--label", f"l={name}"
    )
    _judge(told, "run", ran)
    run = next((folder / "runs").iterdir())
    shown = called("show", run, "--limit", len(rows))
    _judge(told, "show", shown)
    for style in ("md", "latex", "html", "csv", "json"):
        for numbers in ("all", "headline")[: 1 + (times > 100)]:
            table = called("table", run, "--format", style, "--numbers", numbers)
            _judge(told, f"table in {style} of {numbers}", table, partial(acts_in, style))
    exported, viewed = called("export", run), called("view", run, "--out", folder / "view")
    _judge(told, "export", exported)
    _judge(told, "view", viewed)
    for path in (folder / "view").rglob("*.html"):
        told.tried += 1
        if "<script>alert" in path.read_text("utf-8"):
            told.crashed(f"a reply is markup in {path.name}")
    told.tried += len(rows)
    return told


def _judge(told: Tally, what: str, result: subprocess.CompletedProcess[str], acting: Callable[[str], str] = acts) -> None:
    told.tried += 1
    if result.returncode not in (0, 1) or "Traceback" in result.stderr:
        told.crashed(f"{what}: exit code {result.returncode}: {result.stderr[-300:]!r}")
    elif said := acts(result.stderr) or acting(result.stdout):
        told.crashed(f"{what}: {said:.300} acts")


def _errors(folder: Path, times: int) -> Tally:
    """A server that says hostile things in its errors: nothing of it acts on the terminal, in the log or where gaps are shown."""
    told, said = Tally(), HOSTILE[:19]
    (folder / "task.py").write_text(TASK, "utf-8")
    (folder / "rows.json").write_text(json.dumps([f"row {place}" for place in range(len(said))]), "utf-8")
    with Server(lambda number, body: Status(400, {"error": {"message": said[number % len(said)]}})) as server:
        more = ("--model", "openai:tiny", "--base-url", server.url, "--out", folder / "runs")
        ran = called("run", "--tasks", folder / "task.py", *more)
    _judge(told, "run", ran)
    run = next((folder / "runs").iterdir())
    _judge(told, "log", ran, lambda said: acts((run / "run.log").read_text("utf-8")))
    for place in range(min(len(said), times)):
        shown = called("show", run, "--sample", f"{place} row {place}")
        _judge(told, "show of a gap", shown)
    return told


FAULTS: Sequence[Fault] = (
    Fault("readers: time linear in hostile texts of 2,000, 16,000, 256,000 characters", _linear, EVERY, 60),
    Fault("readers: hostile replies (HTML, ANSI, LaTeX, marks, surrogates, nesting)", _read, 100_000, 6_000),
    Fault("hostile runs shown on a terminal, in Markdown, LaTeX, HTML, CSV, a viewer", _shown, 500, 20),
    Fault("hostile words in a server's errors", _errors, 20, 5),
)
