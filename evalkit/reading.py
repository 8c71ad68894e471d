"""How the samples of a run are read: which of them, and how their images get their digests and sizes."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path

from .config import RunConfig
from .data import resolve
from .engines.stored import Stored, StoredOnly
from .geometry import Frame
from .interfaces import Engine
from .store import Store
from .task import Task
from .types import Image, Sample, sha256

FILES = 4096
"""Of how many image files the digests and sizes are kept: a video's frames are asked about again and again."""


def limited(made: Task, config: RunConfig) -> Iterator[Sample]:
    """The task's samples; with a limit, whole groups drawn by seed until there are at least that many, in their own order."""
    yield from made.samples() if config.limit is None else _drawn(made, config.limit, config.seed)


def _drawn(made: Task, limit: int, seed: int) -> Iterator[Sample]:
    groups: dict[str, list[int]] = {}
    for place, sample in enumerate(made.samples()):
        groups.setdefault(sample.group or sample.id, []).append(place)
    chosen: set[int] = set()
    for name in sorted(groups, key=lambda group: sha256(f"{seed}/{group}")):
        if len(chosen) >= limit:
            break
        chosen.update(groups[name])
    last = max(chosen, default=-1)
    yield from (sample for place, sample in enumerate(islice(made.samples(), last + 1)) if place in chosen)


def images(made: Task, engine: Engine, store: Store | None) -> Callable[[Sample], Sequence[Image]] | None:
    """How a task's images get their digests and sizes: by reading them, or by what the store noted when they were read."""
    info, last = engine.info, deque[tuple[Image, Image]](maxlen=64)

    @lru_cache(maxsize=FILES)
    def of_file(image: Image) -> Image:
        return resolve(image)

    def read(image: Image) -> Image:
        if isinstance(image.source, Path):
            return of_file(image)
        for raw, known in last:
            if raw == image:
                return known
        last.append((image, resolve(image)))
        return last[-1][1]

    def noted(sample: Sample) -> Sequence[Image]:
        name = f"{made.name}/{sample.id}"
        if isinstance(engine, StoredOnly) and store is not None and (known := store.recall(name, sample.images)):
            return known
        found = [read(image) for image in sample.images]
        if isinstance(engine, Stored) and store is not None:
            store.note(name, found)
        return found

    def sizes(sample: Sample) -> Sequence[Image]:
        return [image if image.size else read(image) for image in sample.images]

    if info.reads_images:
        return noted
    return sizes if made.grounded and info.frame in (Frame.UNIT, Frame.THOUSAND) else None
