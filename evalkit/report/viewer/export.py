"""The viewer as a folder of files, which opens from disk and from any web host.

A page that is opened from disk may not fetch, but it may load scripts that lie beside it; so what the server would answer is written
as scripts, each of which hands over one value. Pictures are written once however many samples show them.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import UserError
from .pictures import LONGEST, THUMBNAIL
from .server import STATIC, static
from .viewed import SEGMENT, Viewed

CHUNK = 25
"""Rows in one file; `ROWS_IN_CHUNK` of source.js."""
MARK = ".evalkit-view"
ENDINGS = {"image/png": "png", "image/jpeg": "jpg"}


def export(runs: Sequence[Viewed], out: Path) -> int:
    """Writes the folder and returns how many samples are in it.

    Raises:
        UserError: the folder holds something else, or cannot be written.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file()):
        raise UserError(f"expected a new or empty folder, or one that `evalkit view` wrote, at {out}: name another with --out")
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()
    for name in STATIC:
        text = static(name).decode()
        if name == "index.html":
            text = text.replace('data-source="server"', 'data-source="static"')
        (out / name).write_text(text, "utf-8")
    for number, run in enumerate(runs):
        run.index.read()
        if run.index.state == "broken":
            raise UserError(run.index.trouble)
        _Writer(out, number, run).write()
    _deliver(out, "runs", [run.brief() | {"version": 1} for run in runs])
    return sum(len(run.index) for run in runs)


class _Writer:
    """Writes one run."""

    def __init__(self, out: Path, number: int, run: Viewed) -> None:
        self.out, self.number, self.run = out, number, run
        self.written: set[str] = set()

    def write(self) -> None:
        """Writes the rows, then the index, which names their thumbnails, then what is about the run."""
        count, thumbnails = len(self.run.index), list[str | None]()
        for first in range(0, count, CHUNK):
            details = [self._detail(place, thumbnails) for place in range(first, min(first + CHUNK, count))]
            self._deliver(f"rows-{first // CHUNK}", details)
        for first in range(0, max(count, 1), SEGMENT):
            rows, _ = self.run.index.segment(first, SEGMENT)
            listed = [[*json.loads(row), thumbnails[first + place]] for place, row in enumerate(rows)]
            self._deliver(f"index-{first}", {"version": 1, "settled": count, "first": first, "rows": listed})
        about = self.run.about()
        about["plots"] = [plot | {"file": file} for place, plot in enumerate(about["plots"]) if (file := self._plot(place))]
        self._deliver("about", about | {"folder": ""})

    def _detail(self, place: int, thumbnails: list[str | None]) -> dict[str, Any]:
        detail = self.run.detail(place)
        row = detail["row"]
        for number, image in enumerate(detail["images"]):
            if not image.get("missing"):
                image["file"] = self._picture(row, number, LONGEST)
                image["missing"] = image["file"] is None
        # Where this machine keeps the images is nobody's business.
        detail["row"] = {name: value for name, value in row.items() if name != "images"}
        there = bool(detail["images"]) and not detail["images"][0].get("missing")
        thumbnails.append(self._picture(row, 0, THUMBNAIL) if there else None)
        return detail

    def _picture(self, row: dict[str, Any], number: int, longest: int) -> str | None:
        try:
            data, kind = self.run.pictures.picture(row, number, longest)
        except UserError:
            return None
        name = f"{'thumbs' if longest == THUMBNAIL else 'images'}/{hashlib.sha256(data).hexdigest()[:20]}.{ENDINGS[kind]}"
        if name not in self.written:
            _write(self.out / name, data)
            self.written.add(name)
        return name

    def _plot(self, place: int) -> str | None:
        try:
            data = self.run.plot(place)
        except UserError:
            return None
        name = f"plots/{self.number}-{place}.svg"
        _write(self.out / name, data)
        return name

    def _deliver(self, name: str, value: Any) -> None:
        _deliver(self.out, f"{self.number}/{name}", value)


def _deliver(out: Path, name: str, value: Any) -> None:
    text = json.dumps(value, separators=(",", ":"), default=repr)
    _write(out / "data" / f"{name}.js", f"deliver({json.dumps(name)},{text});\n".encode())


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
