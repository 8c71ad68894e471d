"""A real headless Chromium, one for all tests of this folder.

It needs `pip install playwright` and Debian's chromium (or one that EVALKIT_CHROMIUM names), and the tests are skipped without them;
where EVALKIT_REQUIRE_BROWSER is set their want is a failure.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.report.browser.folders import box, ended, picture, record, row
from tests.report.browser.pages import Page, serving

CHROMIUM = os.environ.get("EVALKIT_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or ""
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync "
    "--force-color-profile=srgb"
).split()
SIZE = {"width": 1300, "height": 900}


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """A Chromium that is closed after the last of these tests."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None
    if sync_playwright is None or not CHROMIUM:
        told = "the page's tests need playwright (pip) and chromium (Debian's package, or EVALKIT_CHROMIUM)"
        (pytest.fail if os.environ.get("EVALKIT_REQUIRE_BROWSER") else pytest.skip)(told)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        try:
            yield opened
        finally:
            opened.close()


class Tab:
    """A page that one test after another goes on with, and what it complained of."""

    def __init__(self, browser: Any, **given: Any) -> None:
        self.context = browser.new_context(viewport=SIZE, **given)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.heard: list[str] = []
        self.url = ""
        self.page.on("pageerror", lambda error: self.heard.append(f"thrown: {error}"))
        self.page.on("console", lambda said: self.heard.append(said.text) if said.type in ("error", "warning") else None)
        self.page.on("dialog", self._dismiss)
        self.page.on("request", lambda asked: None if asked.url.startswith((self.url, "file://")) else self.heard.append(asked.url))

    def _dismiss(self, dialog: Any) -> None:
        self.heard.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, url: str, ready: str = "#rows-inner li", color_scheme: str = "light", **size: int) -> Page:
        """The page at an address, as if it had never been elsewhere."""
        self.leave()
        self.url = url.partition("#")[0]
        self.page.set_viewport_size(SIZE | size)
        self.page.emulate_media(color_scheme=color_scheme)
        self.page.mouse.move(0, 0)
        self.page.goto(url)
        if ready:
            self.page.wait_for_selector(ready)
        return self.page

    def leave(self) -> None:
        """Ends what the page is doing, which may be to ask for what is new."""
        self.page.goto("about:blank")

    def check(self) -> None:
        """Fails where the page logged an error, threw, or asked for anything elsewhere."""
        heard, self.heard = [text for text in self.heard if "404" not in text], []
        assert heard == []


@pytest.fixture(scope="package")
def desktop(browser: Any) -> Iterator[Tab]:
    """The one page of these tests."""
    tab = Tab(browser)
    yield tab
    tab.context.close()


@pytest.fixture
def tab(desktop: Tab) -> Iterator[Callable[..., Page]]:
    """Opens addresses; at the end nothing may have gone wrong on the page."""
    yield desktop.open
    desktop.leave()
    desktop.check()


@pytest.fixture
def phone(browser: Any) -> Iterator[Callable[..., Page]]:
    """The same on a phone."""
    tab = Tab(browser, has_touch=True, is_mobile=True)
    yield tab.open
    tab.context.close()
    tab.check()


@pytest.fixture
def shown(tab: Callable[..., Page]) -> Iterator[Callable[..., Page]]:
    """Opens the page on a server of these runs, which is closed at the end of the test."""
    with ExitStack() as stack:
        yield lambda *paths, **given: tab(stack.enter_context(serving(*paths)), **given)


@pytest.fixture
def various(tmp_path: Path) -> Path:
    """Six samples of two tasks, and a gap, that differ in all that can be filtered by."""
    photo = picture(tmp_path / "photo.png", 60, 40)
    predictions = [
        row("a", question="How many cats?", tags=["near"], images=[photo], evidence=[box(1, 1, 20, 20)]),
        row("b", question="How many dogs?", tags=["far"], text="longer " * 9),
        row("c", question="Which dog?", tags=["far", "near"], answer=None, failure="no letter"),
        row("d", task="other", question="Where?", finish="length"),
        row("e", task="other", question="Why?", missing=True, text="", answer=None),
        row("f", task="other", question="Who?", target="B", answer="B"),
    ]
    records = [
        record("a"),
        record("a", rule="strict", correct=0.0),
        record("a", metric="grounding_iou", iou=0.9),
        record("b", correct=0.0),
        record("b", metric="grounding_iou", iou=0.2),
        record("c", correct=0.0, failure="no letter"),
        record("d", task="other"),
        record("e", task="other", correct=0.0, failure="missing"),
    ]
    return ended(tmp_path / "run", predictions, records, [{"sample": "g", "draw": 0, "reason": "time-out"}])
