"""Where a benchmark's rows and images come from: the user's folder or the Hugging Face cache, read row by row.

The readers are lazy and name file and row in every error. `resolve` and `decode` are those of `images`.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .errors import DataError, ImageError
from .geometry import Box
from .images import decode as decode
from .images import resolve as resolve
from .types import Lazy

if TYPE_CHECKING:
    import pyarrow.parquet

WHOLE = 64 * 2**20
"""Up to this many bytes a file is fingerprinted whole; above, by its size and its first and last mebibyte."""

PLAIN, QUOTED = re.compile(r"[^\t]*+"), re.compile(r'[^"]*+(?:""[^"]*+)*+')
"""A cell of a tab-separated record, and one in quotes, where quotes inside are doubled. Python's csv has a global limit on its length."""

Row = dict[str, Any]


# ---------------------------------------------------------------- where the data is


@dataclass(frozen=True, slots=True)
class Data:
    """A benchmark's data: its names on the hub, and what a folder of it must hold."""

    hub: tuple[str, ...]
    """The data set ids that are accepted, the canonical one first; empty where it is not on the hub."""
    files: tuple[str, ...]
    """Annotation files that must be there, as glob patterns below the folder; alternatives are separated by `|`, best first."""
    licence: str
    layout: str
    """What goes where below the folder, for messages."""
    revision: str = "main"
    fetched: tuple[str, ...] = ()
    """Which files of the hub's repository are downloaded, as glob patterns; all of them where empty."""
    task: str = "TASK"
    """What `evalkit data` calls it, for messages."""

    def folder(self, given: Path | None, cache: Path | None = None) -> Path:
        """The folder that holds the data: `given`, else its snapshot in the hub's cache (`cache`, or the hub's own default).

        Nothing is downloaded.

        Raises:
            DataError: there is no such folder, or an annotation file is missing in it.
        """
        if given is None:
            return self._snapshot(cache)
        if not given.is_dir():
            raise DataError(f"expected a folder at {given}, found {'a file' if given.exists() else 'nothing'}. {self._advice()}")
        self.annotations(given)
        return given

    def annotations(self, folder: Path) -> list[Path]:
        """The annotation files below `folder`: for each pattern what its first alternative with a match finds, sorted.

        Raises:
            DataError: a pattern finds nothing.
        """
        found: list[Path] = []
        for pattern in self.files:
            matches: list[Path] = []
            for alternative in pattern.split("|"):
                matches = matches or sorted(path for path in folder.glob(alternative) if path.is_file())
            if not matches:
                here = sorted(path.name for path in folder.iterdir())
                listed = ", ".join(here[:5]) + (f" and {len(here) - 5} more" if len(here) > 5 else "")
                raise DataError(f"expected {pattern.replace('|', ' or ')} in {folder}, found {listed or 'nothing'}. {self._advice()}")
            found += matches
        return found

    def download(self, cache: Path | None = None) -> Path:
        """The folder of the newest snapshot of the revision, fetched from the hub; what is in the cache already is not fetched again.

        Raises:
            DataError: the data is not on the hub, or could not be fetched whole.
        """
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import RepositoryNotFoundError

        reason, patterns = "it is not on the Hugging Face hub", list(self.fetched) or None
        for name in self.hub:
            try:
                folder = Path(
                    snapshot_download(name, repo_type="dataset", revision=self.revision, cache_dir=cache, allow_patterns=patterns)
                )
            except RepositoryNotFoundError as error:
                reason = str(error)
                continue
            except Exception as error:  # which errors the hub's client lets through depends on its version's HTTP library
                raise DataError(f"{name} could not be downloaded: {error}. Run it again to go on. {self._advice()}") from error
            self.annotations(folder)
            return folder
        raise DataError(f"no data to download: {reason}. {self._advice()}")

    def fingerprint(self, folder: Path) -> str:
        """The sha256 over the relative paths and contents of the annotation files, the same for the same files anywhere.

        Images are not part of it. Files above `WHOLE` bytes count by their size, beginning and end.
        """
        digest = hashlib.sha256()
        for path in self.annotations(folder):
            size = path.stat().st_size
            digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
            with path.open("rb") as file:
                if size > WHOLE:
                    digest.update(file.read(2**20))
                    file.seek(size - 2**20)
                while block := file.read(2**20):
                    digest.update(block)
        return digest.hexdigest()

    def _snapshot(self, cache: Path | None) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        for name in self.hub:
            try:
                folder = snapshot_download(name, repo_type="dataset", revision=self.revision, cache_dir=cache, local_files_only=True)
            except LocalEntryNotFoundError:
                continue
            self.annotations(Path(folder))
            return Path(folder)
        where = f"{' or '.join(self.hub)} is not in the Hugging Face cache" if self.hub else "it is not on the Hugging Face hub"
        raise DataError(f"no data: {where}. {self._advice()}")

    def _advice(self) -> str:
        fetch = f"fetch {self.hub[0]} by `evalkit data {self.task} --download`, or name" if self.hub else "name"
        return f"Next: {fetch} a folder with --data DIR. Its layout: {self.layout}"


def check_published(task_name: str, published: Mapping[str, int], counts: Mapping[str, int]) -> list[str]:
    """A sentence for each count that differs from the published one; both map `rows`, tags and `answer=...` to numbers.

    >>> check_published("vstar", {"rows": 191, "answer=A": 71, "spatial": 76}, {"rows": 190, "answer=A": 70, "spatial": 76})
    ['expected 191 rows in vstar, got 190', 'expected 71 rows with answer A in vstar, got 70']
    """

    def named(key: str) -> str:
        if key == "rows":
            return "rows"
        return f"rows with answer {key[7:]}" if key.startswith("answer=") else f"rows tagged {key}"

    differ = [(key, number) for key, number in published.items() if counts.get(key, 0) != number]
    return [f"expected {number} {named(key)} in {task_name}, got {counts.get(key, 0)}" for key, number in differ]


# ---------------------------------------------------------------- readers


def require(row: Any, keys: Sequence[str] | Mapping[str, Any], where: str) -> None:
    """Checks that a row is a mapping with these columns and, where `keys` maps them to a type or a tuple of types, values of that type.

    Raises:
        DataError: it has not; the message names what was expected, what is there, and `where`.

    >>> require({"text": "Which?", "label": "A"}, {"text": str, "label": str}, "rows.jsonl, row 1")
    """
    if not isinstance(row, Mapping):
        raise DataError(f"expected the columns {', '.join(keys)} in {where}, got {row!r:.60}")
    if any(key not in row for key in keys):
        raise DataError(f"expected the columns {', '.join(keys)} in {where}, got {', '.join(map(str, row)) or 'none'}")
    for key, kind in keys.items() if isinstance(keys, Mapping) else ():
        if not isinstance(row[key], kind):
            expected = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
            raise DataError(f"expected {expected} in column {key} of {where}, got {row[key]!r:.60}")


def read_boxes(value: Any, where: str, form: Literal["xyxy", "xywh"] = "xyxy") -> tuple[Box, ...]:
    """The boxes of a list of lists of four finite numbers, corners or, in form `xywh`, corner, width and height.

    Raises:
        DataError: it is something else; the message names `where`.

    >>> read_boxes([[10, 20, 30, 40]], "bbox of rows.jsonl, row 1", "xywh")
    (Box(x1=10, y1=20, x2=40, y2=60),)
    """
    for item in value if isinstance(value, list) else [value]:
        if not _is_quadruple(item):
            raise DataError(f"expected a list of boxes, each of four finite numbers, in {where}, got {item!r:.60}")
    if form == "xyxy":
        return tuple(Box(*item) for item in value)
    return tuple(Box(x, y, x + width, y + height) for x, y, width, height in value)


def _is_quadruple(item: Any) -> bool:
    return (
        isinstance(item, list)
        and len(item) == 4
        and all(type(number) in (int, float) and abs(number) <= sys.float_info.max for number in item)
    )


def read_jsonl(path: Path) -> Iterator[Row]:
    """The objects of a JSON-lines file, one per line; empty lines are skipped.

    Raises:
        DataError: no such file, or a line is not UTF-8 or not a JSON object, as where the file was cut off.
    """
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            where = f"{path}, line {number}"
            if line.strip():
                row = _json(_utf8(line, where), where)
                if not isinstance(row, dict):
                    raise DataError(f"expected a JSON object in {where}, got {type(row).__name__}")
                yield row


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        DataError: no such file, or it is not UTF-8 or not JSON, as where it was cut off.
    """
    with _opened(path) as file:
        return _json(_utf8(file.read(), str(path)), str(path))


def read_tsv(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a tab-separated file with a header, as text; cells may be quoted, hold line breaks and be of any length.

    Raises:
        DataError: no such file, not UTF-8, or a row without as many cells as the header, as where the file was cut off.
    """
    header: list[str] = []
    for where, cells in _records(path):
        if header and len(cells) != len(header):
            raise DataError(f"expected {len(header)} cells in {where}, got {len(cells)}: is the file cut off?")
        if header:
            yield dict(zip(header, cells, strict=True))
        header = header or cells
    if not header:
        raise DataError(f"expected a header in {path}, got an empty file")


def read_parquet(path: Path, columns: Sequence[str], images: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a Parquet file, one row group in memory at a time.

    The columns named by `images` (binary, or the hub's {bytes, path}) come as `Lazy`: they are read when wanted, with their row
    group, of which the two last used are kept.

    Raises:
        DataError: no such file, not Parquet or cut off, or a column is missing.
    """
    held = set(_parquet(path).schema_arrow.names)
    if not held >= {*columns, *images}:
        raise DataError(f"expected the columns {', '.join([*columns, *images])} in {path}, got {', '.join(sorted(held))}")

    @lru_cache(maxsize=2)
    def group_of(group: int, column: str) -> list[Any]:
        cells: list[Any] = _row_group(path, group, [column])[column]
        return cells

    def lazy(group: int, index: int, column: str, number: int) -> Lazy:
        name = f"{path}, row {number}, column {column}"
        return Lazy(name, lambda: _bytes(group_of(group, column)[index], name))

    number = 0
    for group in range(_parquet(path).num_row_groups):
        cells = _row_group(path, group, list(columns))
        for index in range(len(next(iter(cells.values())))):
            row = {column: cells[column][index] for column in columns}
            yield row | {column: lazy(group, index, column, number) for column in images}
            number += 1


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"expected a file at {path}, got: {error.strerror}. `evalkit data` says of each task what it needs") from error


def _utf8(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"expected UTF-8 text in {where}, got byte {data[error.start]:#04x}: is it in another encoding?") from error


def _records(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Where each record of a tab-separated file starts, and its cells."""
    where, cells, parts = "", list[str](), list[str]()  # the parts of a cell whose quotes are still open, none where none is
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            here = f"{path}, line {number}"
            text = _utf8(line, here)
            where = where if parts else here
            at, end = 0, len(text.rstrip("\r\n"))
            while at <= end:
                quoted = parts or text.startswith('"', at)
                cell = QUOTED.match(text, at if parts else at + 1) if quoted else PLAIN.match(text, at, end)
                assert cell
                at = cell.end()
                if quoted:
                    parts.append(cell[0])
                    if at == len(text):
                        break
                    at += 1
                    cells.append("".join(parts).replace('""', '"'))
                    parts.clear()
                else:
                    cells.append(cell[0])
                if at < end and text[at] != "\t":
                    raise DataError(f"expected a tab behind the closing quote of a cell in {here}, got {text[at:end]!r:.60}")
                at += 1
            if not parts:
                if end:
                    yield where, cells
                cells = []
    if parts:
        raise DataError(f"expected the closing quote of a cell in {where}, got the end of the file: is it cut off?")


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"expected JSON in {where}, got: {error}; is the file cut off? Fetch it again") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; lists in lists without end
        raise DataError(f"expected JSON that can be read in {where}, got: {error}. Fetch it again") from error


def _parquet(path: Path) -> "pyarrow.parquet.ParquetFile":
    import pyarrow.parquet

    _opened(path).close()
    try:
        opened = pyarrow.parquet.ParquetFile(path)
        opened.schema_arrow  # noqa: B018 - its names may be no UTF-8
    except Exception as error:  # beside Arrow's own, what broken bytes make Python stumble over
        raise DataError(f"expected a Parquet file at {path}, got: {error}; is it cut off? Fetch it again") from error
    return opened


def _row_group(path: Path, group: int, columns: list[str]) -> dict[str, list[Any]]:
    """The cells of a row group by column, as many in each as the file says it has rows."""
    opened = _parquet(path)
    try:
        cells: dict[str, list[Any]] = opened.read_row_group(group, columns=columns).to_pydict()
        rows = opened.metadata.row_group(group).num_rows
    except Exception as error:  # beside Arrow's own: a date beyond Python's, a text that is no UTF-8
        raise DataError(f"row group {group} of {path} cannot be read: {error}; is the file whole? Fetch it again") from error
    if any(len(column) != rows for column in cells.values()):
        raise DataError(f"expected {rows} rows in row group {group} of {path}, got others: is the file whole? Fetch it again")
    return cells


def _bytes(cell: Any, name: str) -> bytes:
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(data, bytes):
        raise ImageError(f"expected an image's bytes in {name}, got {type(data).__name__}")
    return data
