"""What the tests of the viewer's page share: a server of runs, and what can be read off the page."""

import io
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evalkit.report.viewer.server import Server
from evalkit.report.viewer.viewed import Viewed, named

ORANGE, GREEN = (213, 94, 0), (0, 158, 115)
Page = Any


@contextmanager
def serving(*paths: Path, follow: bool = False) -> Iterator[str]:
    """The address of a server of these runs, their rows read or else followed."""
    runs = [Viewed(path) for path in paths]
    named(runs)
    for run in runs:
        run.follow() if follow else run.index.read()
    with running(runs) as url:
        yield url


@contextmanager
def running(runs: Sequence[Viewed], port: int = 0) -> Iterator[str]:
    """The address of a server of what is looked at."""
    with Server(runs, port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()
            for run in runs:
                run.close()


def listed(page: Page) -> list[str]:
    return [text.partition(" draw")[0] for text in page.locator("#rows-inner .row-id").all_inner_texts()]


def until(page: Page, condition: str, argument: Any = None) -> None:
    page.wait_for_function(condition, arg=argument)


def wait_list(page: Page, expected: Sequence[str]) -> None:
    try:
        until(
            page,
            "expected => JSON.stringify([...document.querySelectorAll('#rows-inner .row-id')].map(e => e.textContent)) === expected",
            json.dumps(list(expected), separators=(",", ":")),
        )
    except Exception:  # noqa: BLE001 - what is listed says more than a time-out
        assert listed(page) == list(expected)


def drawn(page: Page) -> np.ndarray[Any, Any]:
    """The pixels of the page as they are on the screen, all white but for the frame around the image."""
    x1, y1, x2, y2 = map(round, page.evaluate(FRAME))
    shot = page.screenshot(clip={"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1})
    seen = np.full((y2, x2, 3), 255, np.int16)
    seen[y1:, x1:] = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))
    return seen


def extent(pixels: np.ndarray[Any, Any], colour: Sequence[int], tolerance: int = 12) -> tuple[int, int, int, int]:
    """The tight box of the pixels of a colour: x1, y1, x2, y2, the last two exclusive."""
    ys, xs = np.nonzero((abs(pixels - np.array(colour)) <= tolerance).all(axis=2))
    assert len(xs), f"no pixel of colour {colour}"
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


LINE = """() => {
  const line = document.querySelector(".region.predicted rect").getBoundingClientRect();
  return [line.left, line.top, line.right, line.bottom];
}"""
FRAME = "() => { const frame = shown[0].frame.getBoundingClientRect(); return [frame.left, frame.top, frame.right, frame.bottom]; }"
PLACE = """() => {
  const picture = shown[0].picture.getBoundingClientRect();
  const [width, height] = shown[0].size;
  return [Math.round(picture.left), Math.round(picture.top), picture.width / width, picture.height / height];
}"""


def see(page: Page, sample: str) -> None:
    """Opens a sample by its link and waits until its image is there."""
    page.evaluate("sample => { location.hash = new URLSearchParams({sample}) }", sample)
    page.wait_for_selector("#page .frame")
    until(page, "sample => document.title.startsWith(sample)", sample)
    until(page, "() => [...document.querySelectorAll('.picture img')].every(image => image.complete && image.naturalWidth)")
