"""One run as the page asks for it, all by number: the index, a row with its conversation and boxes, pictures, plots."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...errors import UserError
from ...folder import RunFolder
from ...geometry import Box, Mask
from ...images import resolve
from ...types import Image, Sample
from ..plots import KINDS, Asked, draw
from ..runs import Run, opened
from .conversation import conversations
from .pictures import THUMBNAIL, Pictures
from .rows import Index, Row

PAUSE = 1.0
"""Seconds between two looks at what a run has written."""
SEGMENT = 20_000
"""Rows of the index that are handed out at once."""
_DRAWING = threading.Lock()  # matplotlib's settings are global


class Viewed:
    """A run folder that is looked at, whether its run has ended or not."""

    def __init__(self, path: Path, cache: Path | None = None, data: Path | None = None) -> None:
        """Opens it; `cache` is a folder of the user's, `data` where the images are now.

        Raises:
            UserError: it is no run's folder, or one that this evalkit cannot read.
        """
        self.folder = RunFolder.at(path)
        self.manifest = self.folder.manifest()
        self._rules = {entry["name"]: [_key(rule) for rule in entry.get("rules", ())] for entry in self.manifest.get("tasks", ())}
        self.index = Index(self.folder, cache, [key for keys in self._rules.values() for key in keys])
        self.pictures = Pictures(Run(self.folder, {}, self.manifest), data)
        self.name = path.resolve().name
        self._path = path
        self._ended = threading.Event()

    def follow(self) -> None:
        """Reads the rows in a thread of its own, and what is written later as it comes."""
        threading.Thread(target=self._follow, name=f"index of {self.name}", daemon=True).start()

    def close(self) -> None:
        """Ends that thread."""
        self._ended.set()

    def _follow(self) -> None:
        while not self._ended.wait(PAUSE if self.index.state != "reading" else 0):
            self.index.read()

    # ------------------------------------------------------------ what a page asks

    def brief(self) -> dict[str, Any]:
        """What the page knows of a run before any of its rows."""
        index, options = self.index, self.manifest.get("options", {})
        with index.lock:
            names: dict[str, list[Any]] = {"tasks": list(index.tasks.texts), "tags": list(index.tags.texts), "keys": list(index.keys.texts)}
        names["orders"] = [[names["keys"].index(key) for key in self._rules.get(task, ())] for task in names["tasks"]]
        told = {"name": self.name, "model": self.manifest.get("name", ""), "protocol": self.manifest.get("protocol", "")}
        status = {"state": index.state, "version": index.version, "trouble": index.trouble, "rows": len(index)}
        return told | status | names | {"blind": bool(options.get("blind")), "limit": options.get("limit")}

    def segment(self, first: int, most: int = SEGMENT) -> str:
        """A part of the index from row `first` on, as JSON: the version it is of, how many rows are settled, and the rows."""
        rows, settled = self.index.segment(first, most)
        return f'{{"version":{self.index.version},"settled":{settled},"first":{first},"rows":[{",".join(rows)}]}}'

    def detail(self, number: int) -> dict[str, Any]:
        """All that is known of one row.

        Raises:
            UserError: there is no such row.
        """
        row, records = self.index.told(number)
        threads, asked = conversations(self.folder.store, f"{row['task']}/{row['sample']}", row["draw"])
        images, notes = self._images(row, asked)
        for thread in threads:
            _place_images(thread, [image["digest"] for image in asked], row)
        stored = self.manifest.get("roles", {}).get("model", {}).get("stored", False)
        if stored and not threads and "text" in row and self.folder.store.exists():
            notes.append("nothing whole is stored of what was said: `evalkit score RUN --check` tells what is damaged")
        told = {"row": row, "records": records, "threads": threads, "images": images, "notes": notes}
        return told | {"given": self._given(row)}

    def picture(self, number: int, place: int) -> tuple[bytes, str]:
        """An image of a row's sample. Raises `UserError` where it cannot be had."""
        return self.pictures.picture(self.index.told(number)[0], place)

    def thumbnail(self, number: int) -> tuple[bytes, str]:
        """The first image of a row's sample, small. Raises `UserError` where it cannot be had."""
        return self.pictures.picture(self.index.told(number)[0], 0, THUMBNAIL)

    def about(self) -> dict[str, Any]:
        """What the run's own page shows: its manifest, its numbers and which plots it may have."""
        try:
            summary: Mapping[str, Any] = self.folder.summary()
        except UserError:
            summary = {}
        tasks = [entry["task"] for entry in summary.get("tasks", ())]
        plots = [{"task": task, "kind": kind, "told": told} for task in tasks for kind, told in KINDS.items() if kind != "curve"]
        told = {"numbers": summary.get("numbers", []), "tasks": summary.get("tasks", []), "plots": plots}
        return told | {"manifest": self.manifest, "folder": str(self._path.absolute())}

    def plot(self, number: int) -> bytes:
        """The plot of that number in `about`, as SVG.

        Raises:
            UserError: the run has no data for it, or matplotlib is not installed.
        """
        plots = self.about()["plots"]
        if not 0 <= number < len(plots):
            raise UserError(f"expected a plot from 0 to {len(plots) - 1}, got {number}")
        with _DRAWING, TemporaryDirectory() as folder:
            try:
                from ..plots import paper

                with paper.styled():
                    made = draw(plots[number]["kind"], opened([self._path]), Asked(task=plots[number]["task"]))
                    path = Path(folder) / "plot.svg"
                    paper.save(made.figure, path)
            except ImportError as error:
                raise UserError("plots need matplotlib: pip install 'evalkit[plots]'") from error
            return path.read_bytes()

    # ------------------------------------------------------------ of one row

    def _given(self, row: Row) -> list[dict[str, Any]]:
        """The regions that are part of the question, where the task's data is there."""
        try:
            return regions(self.pictures.sample(row["task"], row["sample"]))
        except UserError:
            return []

    def _images(self, row: Row, asked: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
        """The size of each image, where it can be had, and what is to be said of those that cannot."""
        known = [one["size"] for one in row.get("images") or asked]
        try:
            found = self.pictures.images(row)
        except UserError as error:
            return [{"size": size, "missing": True} for size in known], [f"{error}"]
        images, notes = [], []
        for place, image in enumerate(found):
            size = known[place] if len(known) == len(found) else None
            try:
                if size is None or (isinstance(image.source, Path) and not image.source.is_file()):
                    size = _size(image)
                images.append({"size": size})
            except UserError as error:
                images.append({"size": size, "missing": True})
                notes.append(f"{error}")
        return images, notes


def folders(paths: Sequence[Path]) -> list[Path]:
    """The run folders at these paths, and those right below a path that is none itself, each once.

    Raises:
        UserError: there is no run.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        inside = [path] if (path / "manifest.json").is_file() else sorted(manifest.parent for manifest in path.glob("*/manifest.json"))
        if not inside:
            raise UserError(
                f"expected a run's folder (with manifest.json), or one that holds some, at {path}, found none. "
                "`evalkit run` prints the folder it wrote"
            )
        for folder in inside:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def named(runs: Sequence[Viewed]) -> None:
    """Gives runs of one folder's name names of their own."""
    names = [run.name for run in runs]
    for place, run in enumerate(runs):
        if names.count(run.name) > 1:
            run.name = f"{run.name} ({place + 1})"


def _key(rule: str) -> str:
    """The index's name of a rule that a manifest calls `official: accuracy`."""
    return "\n".join(rule.split(": ", 1))


def _size(image: Image) -> list[int]:
    size = image.size or resolve(image).size
    return list(size) if size else [0, 0]


def _place_images(thread: dict[str, Any], digests: Sequence[str], row: Row) -> None:
    """Says of each image in a conversation which of the sample's it is, or else which operation made it.

    What is shown before the model has said anything is the sample's own, be it resized, in its order.
    """
    done = [place for place, one in enumerate(row.get("operations", ())) if not one.get("error") and "frame" not in one.get("name", "")]
    made, own, begun = iter(done if thread["to"] == "model" else ()), iter(range(len(digests))), False
    messages = [*thread.get("messages", ())] or [{"role": "user", "content": [thread.get("image")]}]
    for message in messages:
        begun = begun or message["role"] == "assistant"
        for part in message["content"]:
            if not isinstance(part, dict):
                continue
            if part.get("image") in digests:
                part["place"] = digests.index(part["image"])
            elif not begun and thread["to"] == "model":
                part["place"] = next(own, 0)
            elif (operation := next(made, None)) is not None:
                part["operation"] = operation


def regions(sample: Sample) -> list[dict[str, Any]]:
    """The regions that are part of the question: boxes and points on the first image, masks; of a video a mask or none for each frame."""
    frames = len(sample.images) if sample.wants.form == "video" else 1
    found: list[dict[str, Any]] = []
    for start in range(0, len(sample.given), max(frames, 1)):
        volume = sample.given[start : start + frames]
        if any(isinstance(region, Mask) for region in volume):
            masks = [region.as_coco() if isinstance(region, Mask) else None for region in volume]
            found.append({"mask": masks if frames > 1 else masks[0]})
        elif volume[0] is not None:
            found.append({"box" if isinstance(volume[0], Box) else "point": list(volume[0])})
    return found
