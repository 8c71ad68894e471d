"""A run as one of Weights & Biases: its numbers as the summary, its settings as the config, its samples as a table with overlays.

Nothing but these is sent: no command line, no path, no environment, no list of packages. Who sends is `wandb login`'s affair.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..geometry import Box, Mask, Size
from ..images import decode
from ..rle import decode_mask, fitted_mask
from ..types import Unparsed
from .push import faults, notes, text
from .runs import OVERALL, Run
from .viewer.marks import mark
from .viewer.pictures import Pictures

if TYPE_CHECKING:
    import numpy as np

LONGEST = 1024
"""The longest side of a picture; what is larger is made smaller."""
CLASSES = {1: "gold", 2: "predicted"}
BESIDE = ("low", "high", "stderr", "n")
COLUMNS = ("sample", "draw", "image", "question", "target", "answer", "failure", "reply", "tags")
SENT = ("limit", "seed", "repeats", "blind", "judge", "segmenter", "min_pixels", "max_pixels", "max_new_tokens", "temperature")
"""The options of a run that the config names, beside model, protocol, sampling, tasks, versions and labels."""
PROJECT = re.compile(r"[^/\\#?%:]{1,128}")
UNSAFE = re.compile(r"[^\w.=@+-]+")


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where a run now is: its address, or the folder that `wandb sync` sends; and what is to be said of it."""

    place: str
    offline: bool
    notes: tuple[str, ...]


def summary_of(run: Run) -> dict[str, float | int]:
    """Every number by `task/metric`, with the subset and the rule in between where they are not the first ones; beside each number its
    interval, standard error and n as `..._low`, `_high`, `_stderr`, `_n`. What is not the benchmark's number says so: `task (partial)`.
    """
    found: dict[str, float | int] = {}
    first: dict[tuple[str, str], str] = {}
    named = {task: f"{task} (partial)" if faults(run, task) else task for task in run.tasks}
    for row in run.summary["numbers"]:
        rule = first.setdefault((row["task"], row["metric"]), row["rule"])
        parts = [named.get(row["task"], row["task"]), *([row["subset"]] if row["subset"] != OVERALL else []), row["metric"]]
        key = text("/".join(parts) + (f" ({row['rule']})" if row["rule"] != rule else ""))
        values = {key: row["value"]} | {f"{key}_{name}": row[name] for name in BESIDE}
        found |= {name: value for name, value in values.items() if value is not None}
    return found


def config_of(run: Run) -> dict[str, Any]:
    """What was run, as far as it says what the numbers are: nothing of the machine."""
    manifest, options = run.manifest, run.manifest["options"]
    tasks = {made["name"]: {"version": made["version"], "data": (made["data"] or {}).get("fingerprint", "")} for made in manifest["tasks"]}
    roles = {role: {"name": said["name"], "fingerprint": said["fingerprint"]} for role, said in manifest.get("roles", {}).items()}
    told = {
        "model": run.summary["model"],
        "protocol": run.summary["protocol"],
        "sampling": dict(manifest.get("sampling") or {}),
        "tasks": tasks,
        "roles": roles,
        "options": {name: _bare(options[name]) for name in SENT if options.get(name) not in (None, "", False)},
        "versions": dict(manifest.get("versions") or {}),
        "labels": {name: _number(value) for name, value in run.labels.items()},
        "run": run.name,
    }
    return dict(_clean(told))


def push(run: Run, project: str, limit: int, offline: bool, data: Path | None = None) -> Pushed:
    """Sends a run, or with `offline` writes a folder that `wandb sync` sends; `limit` samples of each task have a row in its table.

    Args:
        project: NAME, or ENTITY/NAME.
        data: where the images are now, in place of where the run found them.

    Raises:
        UserError: wandb is not installed, nobody is logged in, the network fails, or a file of the run is damaged.
    """
    entity, _, name = project.rpartition("/")
    if not PROJECT.fullmatch(name) or "/" in entity:
        raise UserError(f"expected --project NAME or ENTITY/NAME, without any of \\ # ? % :, got '{project}'")
    try:
        import wandb
    except ImportError as error:
        raise UserError(f"--to wandb needs the package wandb ({error}): pip install 'evalkit[push]'") from error
    told = list(map(text, notes(run)))
    settings = wandb.Settings(
        silent=True,
        console="off",
        host="",
        disable_git=True,
        save_code=False,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    try:
        handle = wandb.init(
            project=name,
            entity=entity or None,
            name=text(run.name, 120),
            notes="\n".join(told) or None,
            tags=["partial"] if any(faults(run, task) for task in run.tasks) else [],
            config=config_of(run),
            mode="offline" if offline else None,
            settings=settings,
        )
        with handle:
            handle.summary.update(summary_of(run))
            pictures = Pictures(run, data)
            for task in run.tasks if limit else ():
                table, without = _table(wandb, run, task, limit, pictures)
                handle.log({f"samples/{UNSAFE.sub('-', task)}": table})
                told += [without] if without else []
    except wandb.Error as error:
        raise UserError(
            f"Weights & Biases did not take {run.name}: {error}. `wandb login` says who you are; "
            "--offline writes a folder for `wandb sync` in place of sending"
        ) from error
    away = bool(handle.settings.mode == "offline")
    place = handle.settings.sync_dir if away else handle.url
    if place is None:
        raise UserError(f"WANDB_MODE={handle.settings.mode} sends nothing: unset it, or write a folder with --offline")
    return Pushed(str(place), away, tuple(told))


def chosen(run: Run, named: str, limit: int) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Predictions with their records, no more than `limit`, spread evenly over the task in its order."""
    expected = run.entry(named)["samples"] * (run.manifest["options"].get("repeats") or 1) - len(run.entry(named)["gaps"])
    step = max(1, math.ceil(expected / limit))
    yield from islice(run.rows(named), 0, limit * step, step)


def _table(wandb: Any, run: Run, named: str, limit: int, pictures: Pictures) -> tuple[Any, str]:
    """The table of a task's samples, and what is to be said where pictures are missing."""
    rows, without, reason = [], 0, ""
    for prediction, records in chosen(run, named, limit):
        try:
            image = _picture(wandb, prediction, pictures)
        except UserError as error:
            image, without, reason = None, without + 1, reason or str(error)
        told = {"image": image, "reply": prediction["text"], "tags": ", ".join(prediction["tags"])}
        plain = {name: text(told.get(name, prediction.get(name))) for name in COLUMNS if name not in ("draw", "image")}
        scores = {text(f"{one['metric']} ({one['rule']})"): value for one in records if (value := mark(one)) is not None}
        rows.append(plain | {"draw": prediction["draw"], "image": image} | scores)
    columns = list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))
    table = wandb.Table(columns=columns, data=[[row.get(name) for name in columns] for row in rows], allow_mixed_types=True)
    return table, f"{named}: {without:,} of {len(rows):,} samples have no picture, as {reason}" if without else ""


def _picture(wandb: Any, row: Mapping[str, Any], pictures: Pictures) -> Any:
    """The image of a row with its overlays: the first image, or of a video the first frame that has a mask.

    Raises:
        UserError: there is no image, or it cannot be read.
    """
    images, place = pictures.images(row), shown(row)
    if place >= len(images):
        raise UserError(f"{row['task']}/{row['sample']} has {len(images)} images")
    pixels = decode(images[place])
    size = Size(*pixels.size)
    drawn = boxes(row, size) if place == 0 else {}
    layers = masks(row, size, place)
    if max(size) > LONGEST:
        ratio = LONGEST / max(size)
        small = Size(max(1, round(size.width * ratio)), max(1, round(size.height * ratio)))
        pixels, layers = pixels.resize(small), {name: _resized(layer, small) for name, layer in layers.items()}
    return wandb.Image(
        pixels,
        file_type="jpg",
        boxes={name: {"box_data": data, "class_labels": CLASSES} for name, data in drawn.items()} or None,
        masks={name: {"mask_data": data, "class_labels": CLASSES} for name, data in layers.items()} or None,
    )


def shown(row: Mapping[str, Any]) -> int:
    """The number of the image that is shown: of a video the first in which an object is, gold before predicted, else the first.

    >>> seen, none = {"size": [2, 2], "counts": "04"}, {"size": [2, 2], "counts": "4"}
    >>> shown({"masks": [[none, seen]]}), shown({"masks": [seen]}), shown({})
    (1, 0, 0)
    """
    for volumes in (_regions(row, "gold", "masks"), _regions(row, "predicted", "masks")):
        frames = [place for volume in volumes if isinstance(volume, list) for place, one in enumerate(volume) if one and not _empty(one)]
        if frames:
            return min(frames)
    return 0


def boxes(row: Mapping[str, Any], size: Size) -> dict[str, list[dict[str, Any]]]:
    """The boxes of a row as W&B draws them, gold and predicted: shares of the image's sides, cut at its edge; degenerate ones left out.

    >>> row = {"evidence": [{"box": [10, 0, 30, 10], "label": "cat", "score": 0.5}, {"box": None}], "gold": {"boxes": [[0, 0, 20, 5]]}}
    >>> boxes(row, Size(20, 10))["predicted"]  # doctest: +NORMALIZE_WHITESPACE
    [{'position': {'minX': 0.5, 'minY': 0.0, 'maxX': 1.0, 'maxY': 1.0}, 'class_id': 2, 'box_caption': 'cat',
      'scores': {'confidence': 0.5}}]
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for number, name in CLASSES.items():
        for one in _regions(row, name, "boxes"):
            item = one if isinstance(one, dict) else {"box": one}
            if not item["box"]:
                continue
            x1, y1, x2, y2 = box = Box(*item["box"]).ordered().clipped(size)
            if not box.area:
                continue
            edges = {"minX": x1 / size.width, "minY": y1 / size.height, "maxX": x2 / size.width, "maxY": y2 / size.height}
            drawn = {"position": edges, "class_id": number, "box_caption": text(item.get("label"), 80) or name}
            sure = item.get("score")
            found.setdefault(name, []).append(drawn | ({} if sure is None else {"scores": {"confidence": sure}}))
    return found


def masks(row: Mapping[str, Any], size: Size, place: int = 0) -> dict[str, "np.ndarray[Any, Any]"]:
    """The masks of image `place` of a row, gold and predicted, each as an array (height, width) of class numbers, 0 where there is none.

    All objects are drawn as one. A mask that is not of the image's size is left out.
    """
    import numpy as np

    found: dict[str, np.ndarray[Any, Any]] = {}
    for number, name in CLASSES.items():
        volumes = _regions(row, name, "masks")
        for one in (volume[place : place + 1] if isinstance(volume, list) else [volume] * (place == 0) for volume in volumes):
            fitted = fitted_mask(_mask(one[0]), size) if one and one[0] else Unparsed("")
            if not isinstance(fitted, Unparsed):
                layer = found.setdefault(name, np.zeros((size.height, size.width), np.uint8))
                layer[decode_mask(fitted)] = number
    return found


def _regions(row: Mapping[str, Any], name: str, kind: str) -> list[Any]:
    if name == "gold":
        return list((row.get("gold") or {}).get(kind) or ())
    return list(row.get("evidence" if kind == "boxes" else kind) or ())


def _mask(plain: Mapping[str, Any]) -> Mask:
    height, width = plain["size"]
    return Mask(plain["counts"], Size(width, height))


def _empty(plain: Mapping[str, Any]) -> bool:
    fitted = fitted_mask(mask := _mask(plain), mask.size)
    return isinstance(fitted, Unparsed) or not decode_mask(fitted).any()


def _resized(layer: "np.ndarray[Any, Any]", size: Size) -> "np.ndarray[Any, Any]":
    import numpy as np
    import PIL.Image

    return np.asarray(PIL.Image.fromarray(layer).resize(size, PIL.Image.Resampling.NEAREST))


def _bare(value: Any) -> Any:
    """An option without the folder that it names."""
    return Path(value).name if isinstance(value, str) and "/" in value else value


def _number(value: str) -> str | float:
    """A label as the number that it is, so that a chart can go over it."""
    try:
        return float(value) if math.isfinite(float(value)) else value
    except ValueError:
        return value


def _clean(value: Any) -> Any:
    """The same with every text as any encoder takes it."""
    if isinstance(value, Mapping):
        return {text(key): _clean(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    return text(value) if isinstance(value, str) else value
