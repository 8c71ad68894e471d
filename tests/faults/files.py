"""Data sets of strangers: archives, Parquet, JSON, tables, annotations. Each is read, or is one error of evalkit's that names the file."""

import json
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from evalkit import config, suites, task
from evalkit.data import read_boxes, read_json, read_jsonl, read_parquet, read_tsv
from evalkit.errors import EvalkitError, UserError
from evalkit.images import decode, image_in, resolve
from evalkit.reading import limited
from evalkit.types import Image, Lazy
from tests.faults.images import MOST_MEGABYTES, ended, in_a_process, picture, saved
from tests.faults.tally import Fault, Tally

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
CONTROL = "\x1b[2J\x1b]0;owned\x07\x00\x08\r\u202e\u2066\ufeff\ud800\U000e0041"
DEEP = 100_000


def wrong(read: Callable[[], Any], *names: object) -> str:
    """What is wrong with how reading ends: with anything but a value, or a short error of evalkit's with one of the names in it."""
    try:
        read()
    except EvalkitError as error:
        said = str(error)
        if not any(str(name) in said for name in names):
            return f"an error that names none of {', '.join(map(str, names))}: {said:.300}"
        return "" if len(said) < 12_000 else f"an error of {len(said)} characters"
    except BaseException as error:  # noqa: BLE001 - a crash is what is looked for
        return f"{type(error).__name__}: {error!s:.300}"
    return ""


# ---------------------------------------------------------------- JSON, tables, TOML


def texts() -> Iterator[tuple[str, bytes]]:
    """What a text file may hold that is meant to be JSON, a table or TOML."""
    yield from {
        "NaN": b'{"a": NaN, "b": -Infinity}',
        "a name twice": b'{"a": 1, "a": {"a": 2, "a": 3}}',
        "lists in lists": b"[" * DEEP + b"]" * DEEP,
        "objects in objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        "objects that do not close": b'{"a":' * DEEP,
        "lists just below the limit": b"[" * 950 + b"]" * 950,
        "a number of 100,000 digits": b'{"a": ' + b"9" * 100_000 + b"}",
        "an exponent": b'{"a": 1e999999999999, "b": 1e-999999999}',
        "a lone surrogate": b'{"a": "\\ud800", "\\udfff": 1}',
        "control characters": json.dumps({"question": CONTROL, CONTROL: [CONTROL]}).encode(),
        "raw control characters": b'{"a": "\x00\x01\x1b[2J"}',
        "UTF-16": '{"a": 1}'.encode("utf-16"),
        "UTF-32": '{"a": 1}'.encode("utf-32"),
        "Latin-1": '{"a": "é"}'.encode("latin-1"),
        "surrogates in UTF-8": b'{"a": "\xed\xa0\x80"}',
        "overlong UTF-8": b'{"a": "\xc0\xaf"}',
        "three marks of byte order": b"\xef\xbb\xbf" * 3 + b'{"a": 1}',
        "nothing": b"",
        "null bytes": bytes(1000),
        "white space": b" \n\t\r\n" * 1000,
        "a text": b'"a"',
        "a number": b"1",
        "a million quotes": b'"' * 1_000_000,
        "a million tabs": b"\t" * 1_000_000,
        "a hundred thousand lines": b"\n" * 100_000,
        "a cell that does not close": b'a\tb\n"' + b"x\n" * 100_000,
        "a cell of a hundred thousand quoted lines": b'a\tb\n1\t"' + b'said ""x""\n' * 100_000 + b'"\n',
        "a key of a megabyte": b'{"' + b"k" * 1_000_000 + b'": 1}',
        "dotted keys": b"a" + b".a" * 500 + b" = 1",
        "TOML in TOML": b"a = " + b"[" * DEEP + b"]" * DEEP,
        "inline tables": b"a = " + b"{a = " * DEEP + b"1" + b"}" * DEEP,
        "TOML's number": b"max_cost = " + b"9" * 100_000,
        "a number too large for a float": b"max_cost = 1" + b"0" * 400 + b"\ntemperature = 1" + b"0" * 400,
        "TOML's dates": b"seed = 2020-01-01\nlimit = 25:61:61",
        "TOML's NaN": b"temperature = nan\ntop_p = inf\nmax_time = -inf",
        "TOML's columns": b'title = "a"\nsource = ""\ntasks = []\ncolumns = [{title = "", task = ""}, 1]',
    }.items()


def _texts(folder: Path, times: int) -> Tally:
    told = Tally()
    readers: dict[str, Callable[[Path], Any]] = {
        "read_json": read_json,
        "read_jsonl": lambda path: list(read_jsonl(path)),
        "read_tsv": lambda path: list(read_tsv(path)),
        "a model's TOML": lambda path: config.read(config.ModelConfig, path),
        "a run's TOML": lambda path: config.read(config.RunConfig, path),
        "a suite's TOML": lambda path: config.read(suites.SuiteConfig, path),
        "boxes": lambda path: read_boxes(read_json(path), f"{path}"),
    }
    for place, (name, data) in enumerate(texts()):
        path = folder / f"{place}.txt"
        path.write_bytes(data)
        for kind, read in readers.items():
            told.tried += 1
            if said := wrong(lambda read=read, path=path: read(path), path):  # type: ignore[misc]
                told.crashed(f"{name}, as {kind}: {said}")
    twice = folder / "twice.json"
    twice.write_text('{"a": 1, "a": 2}', "utf-8")
    for read in (read_json, lambda path: next(iter(read_jsonl(path)))):
        told.tried += 1
        if (found := read(twice)) != {"a": 2}:
            told.crashed(f"of a name that comes twice the last counts, and {found} was read")
    return told


# ---------------------------------------------------------------- Parquet


def cells() -> Iterator[tuple[str, Any]]:
    """Columns of every type in place of a text and an image."""
    import datetime
    import decimal

    import pyarrow

    image = saved(picture("RGB"), "PNG")
    values: dict[str, list[Any]] = {
        "nulls": [None, None],
        "whole numbers": [1, 2**62],
        "floats": [float("nan"), float("inf")],
        "truth values": [True, False],
        "bytes": [b"", b"\xff\xfe"],
        "texts": [CONTROL.encode("utf-8", "replace").decode(), ""],
        "lists": [["a"], []],
        "lists of lists": [[[1]], [[], [2]]],
        "objects": [{"bytes": image, "path": "../../etc/passwd"}, {"bytes": None, "path": None}],
        "objects of others": [{"bytes": 7, "path": 8.5}, None],
        "dates": [datetime.datetime(1, 1, 1, tzinfo=datetime.UTC), datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC)],
        "durations": [datetime.timedelta(days=999999), None],
        "decimals": [decimal.Decimal("1e30"), None],
        "times": [datetime.time(23, 59), None],
    }
    for name, listed in values.items():
        yield name, pyarrow.array(listed)
    yield "dates beyond Python's", pyarrow.array([2**62, -(2**62)], pyarrow.timestamp("us"))
    yield "days beyond Python's", pyarrow.array([2**30, -(2**30)], pyarrow.date32())
    yield "nanoseconds", pyarrow.array([1, 2**62], pyarrow.timestamp("ns"))
    yield (
        "texts that are no UTF-8",
        pyarrow.Array.from_buffers(
            pyarrow.string(), 2, [None, pyarrow.py_buffer(b"\0\0\0\0\x02\0\0\0\x04\0\0\0"), pyarrow.py_buffer(b"\xff\xfe\xc0\xaf")]
        ),
    )
    yield "a dictionary", pyarrow.array(["a", "b"]).dictionary_encode()
    yield "a map", pyarrow.array([[("a", 1)], []], pyarrow.map_(pyarrow.string(), pyarrow.int64()))


def read_whole(path: Path) -> str:
    """What is wrong with how a Parquet file of the columns `text` and `image` ends."""

    def read() -> None:
        for row in read_parquet(path, ("text",), ("image",)):
            repr(row["text"])
            lazy: Lazy = row["image"]
            if said := wrong(lambda lazy=lazy: decode(resolve(Image(lazy))), path):  # type: ignore[misc]
                raise AssertionError(said)

    return wrong(read, path)


def parquets(folder: Path, damaged: int) -> Iterator[tuple[str, Path]]:
    """Files of wrong types, then whole ones with bytes changed or cut off."""
    import pyarrow
    import pyarrow.parquet

    path = folder / "a.parquet"
    for name, column in cells():
        for where in ("text", "image"):
            other = pyarrow.array(["a", "b"])
            table = pyarrow.table({"text": column if where == "text" else other, "image": column if where == "image" else other})
            try:
                pyarrow.parquet.write_table(table, path)
            except pyarrow.ArrowException:
                continue
            yield f"{name} as {where}", path
    rows = {"text": [f"text {n}" for n in range(50)], "image": [saved(picture("RGB"), "PNG")] * 50}
    pyarrow.parquet.write_table(pyarrow.table(rows), path, row_group_size=20)
    whole, rng = path.read_bytes(), random.Random(3)
    foot = len(whole) - int.from_bytes(whole[-8:-4], "little") - 8
    for place in range(damaged):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 5))):
            data[rng.randrange(foot if rng.random() < 0.6 else 0, len(data))] = rng.choice((0, 255, rng.randrange(256)))
        path.write_bytes(data[: rng.randrange(len(data))] if rng.random() < 0.1 else data)
        yield f"damaged {place}", path


def _parquet(folder: Path, times: int) -> Tally:
    return in_a_process(MOST_MEGABYTES["a bomb"], read_whole, parquets, folder, times)


# ---------------------------------------------------------------- archives


def archives(folder: Path, damaged: int) -> Iterator[tuple[str, tuple[Path, str]]]:
    """Archives of every kind, and the name that is looked up in them."""
    image, packed = saved(picture("RGB"), "PNG"), folder / "images.zip"
    names = (
        "../secret.png",
        "/tmp/secret.png",
        "a/../../secret.png",
        "..\\secret.png",
        "C:\\secret.png",
        "a\0b.png",
        "x" * 5000,
        "",
        "a/",
        "a.png",
    )
    for name in names:
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(zipfile.ZipInfo(name or "a.png"), image)
        yield f"a member called {name:.30}", (folder, name)
    with zipfile.ZipFile(packed, "w") as archive:
        link = zipfile.ZipInfo("a.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    yield "a link", (folder, "a.png")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.png", "w", force_zip64=True) as member:
        for _ in range(64):
            member.write(bytes(1 << 20))
    bomb = bytearray(packed.read_bytes())
    yield "a member of zeros", (folder, "a.png")
    at = bomb.rindex(b"PK\x01\x02")
    for said in (10, 1 << 30, 3 << 30):
        bomb[at + 24 : at + 28] = said.to_bytes(4, "little")
        packed.write_bytes(bomb)
        yield f"the same, which says it has {said} bytes", (folder, "a.png")
    wholes = []
    for way in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(packed, "w", way) as archive:
            archive.writestr("b.png", image)
            archive.writestr("a.png", image * 3)
        wholes.append(packed.read_bytes())
        yield f"packed the way {way}", (folder, "a.png")
    rng = random.Random(5)
    for place in range(damaged):
        data = bytearray(rng.choice(wholes))
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(len(data)) if rng.random() < 0.5 else rng.choice((data.rindex(b"PK\x01\x02"), 0)) + rng.randrange(46)
            data[at] = rng.choice((0, 1, 255, rng.randrange(256)))
        packed.write_bytes(data[: rng.randrange(len(data))] if rng.random() < 0.1 else data)
        yield f"damaged {place}", (folder, "a.png")


def shown_of(where: tuple[Path, str]) -> str:
    """What is wrong with how an image of an archive ends, or whether anything was written beside the archive."""
    folder, name = where
    image = image_in(folder, name)
    said = ended(image.source) if isinstance(image.source, Path) else wrong(lambda: decode(resolve(image)), "images.zip")
    stray = [path.name for path in (*folder.iterdir(), *folder.parent.glob("secret*")) if path.name != "images.zip"]
    return said or (f"there is {stray[0]} on the disk" if stray else "")


def _archives(folder: Path, times: int) -> Tally:
    (folder / "data").mkdir()
    return in_a_process(MOST_MEGABYTES["a bomb"], shown_of, archives, folder / "data", times)


# ---------------------------------------------------------------- annotations


VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        1e308,
        float("nan"),
        float("inf"),
        10**400,
        "",
        CONTROL,
        "a" * 3000,
        "../../../etc/passwd",
        "a\0b",
        "/dev/zero",
    ),
    *(
        [],
        {},
        [[]],
        [None],
        {"a": 1},
        [1, 2, 3, 4],
        [["a"]],
        [[1, 2, 3, 4]] * 3,
        "NaN",
        "[[[[",
        "<b>",
        "=1+1",
        "\\input{x}",
        "A",
        "yes",
        7,
        2.5,
    ),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside a JSON value."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield from places(item, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    """The value with another at that place."""
    if not path:
        return by
    if isinstance(value, dict):
        return {key: replaced(item, path[1:], by) if key == path[0] else item for key, item in value.items()}
    return [replaced(item, path[1:], by) if key == path[0] else item for key, item in enumerate(value)]


def written(folder: Path, place: str, content: Any) -> None:
    """Writes a file of a golden data set as the fixture of the tests does."""
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict) and {"draw", "labels"} & content.keys():
        if "draw" in content:
            path.write_bytes(saved(picture("RGB", tuple(content["draw"])), "PNG"))
    elif isinstance(content, str):
        path.write_text(content, "utf-8", errors="surrogatepass", newline="")
    elif isinstance(content, list) and path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in content), "utf-8")
    else:
        path.write_text(json.dumps(content), "utf-8")


def _annotations(folder: Path, times: int) -> Tally:
    """Every task's golden rows with one value replaced: the samples are read, or one error says what is wrong."""
    told, rng, seen = Tally(), random.Random(11), set[str]()
    goldens = [path for path in sorted(GOLDEN.glob("*.jsonl")) if path.stem in task.names()]
    held = {path: json.loads(path.read_text("utf-8").splitlines()[0]) for path in goldens}
    usable = [path for path in goldens if isinstance(held[path].get("files"), dict)]
    for turn in range(times):
        golden = usable[turn % len(usable)]
        files = held[golden]["files"]
        rows = [name for name, content in files.items() if not isinstance(content, dict) or not {"draw", "labels"} & content.keys()]
        chosen = rng.choice(rows)
        content = files[chosen]
        if isinstance(content, str):
            lines = content.split("\n")
            parts = lines[at := rng.randrange(len(lines))].split("\t")
            parts[rng.randrange(len(parts))] = str(rng.choice(VALUES))[:2000]
            changed: Any = "\n".join([*lines[:at], "\t".join(parts), *lines[at + 1 :]])
        else:
            changed = replaced(content, rng.choice(list(places(content))), rng.choice(VALUES))
        home = folder / str(turn % len(usable))
        for name, whole in files.items():
            if turn < len(usable) or name in rows:
                written(home, name, changed if name == chosen else whole)

        def read(golden: Path = golden, home: Path = home) -> None:
            try:
                made = task.find(held[golden].get("task", golden.stem), home)
                for sample in task.checked(limited(made, config.RunConfig()), made.name):
                    repr(sample)
            except OSError as error:  # such as a name too long: the command line says it in one message
                raise UserError(f"{error.filename}: {error.strerror}") from error

        told.tried += 1
        if (said := wrong(read, Path(chosen).name, home, golden.stem)) and (known := f"{golden.stem}: {said:.60}") not in seen:
            seen.add(known)
            told.crashed(f"{golden.stem}, {chosen}: {said}")
    return told


FAULTS = (
    Fault("JSON, tables and TOML: NaN, names twice, depth 100,000, no UTF-8", _texts, 247, 247),
    Fault("Parquet of wrong types, and with bytes changed or cut off", _parquet, 4_000, 60),
    Fault("archives: ../, links, bombs, changed bytes; nothing is unpacked", _archives, 4_000, 100),
    Fault("annotations of every task with one value replaced", _annotations, 10_000, 0),
)
