"""A hundred thousand samples."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.report.viewer.viewed import Viewed
from tests.report.browser.folders import ended, record, row
from tests.report.browser.pages import Page, running, until

COUNT = 100_000


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A run of so many samples, its rows encoded as `evalkit run` encodes them."""
    path = ended(tmp_path / "run", [], [])

    def like(told: dict[str, Any]) -> str:
        return json.dumps(told, separators=(",", ":")) + "\n"

    told = like(row("NAME", question="How many cups are on table TABLE?", tags=["relation=TAG"], text="It is A. " * 12))
    answered, pointed = like(record("NAME", correct=-1)), like(record("NAME", metric="grounding_iou", iou=-1))
    with (path / "predictions.jsonl").open("w") as predictions, (path / "records.jsonl").open("w") as records:
        for number in range(COUNT):
            name = str(number)
            predictions.write(told.replace("NAME", name).replace("TABLE", str(number % 977)).replace("TAG", str(number % 7)))
            records.write(answered.replace("NAME", name).replace("-1", f"{number % 3 > 0:d}.0"))
            records.write(pointed.replace("NAME", name).replace("-1", f"{number % 100 / 100}"))
    return path


def test_a_hundred_thousand_samples(many: Path, tmp_path: Path, tab: Callable[..., Page], capsys: pytest.CaptureFixture[str]) -> None:
    """The page opens while the rows are read; only so many are in it as can be seen; what a reader does is quick; times are printed."""
    times: dict[str, float] = {}
    run = Viewed(many, tmp_path / "cache")
    with running([run]) as url:
        begun = time.monotonic()
        run.follow()
        page = tab(url)
        times["first rows"], early = time.monotonic() - begun, len(run.index)
        until(page, "() => document.querySelector('#count').textContent === '100,000 samples'")
        times["all rows"] = time.monotonic() - begun
        begun = time.monotonic()
        Viewed(many, tmp_path / "cache").index.read()
        times["index read again"] = time.monotonic() - begun
        begun = time.monotonic()
        page.goto(f"{url}?again")
        until(page, "() => document.querySelector('#count').textContent === '100,000 samples'")
        times["page opened again"] = time.monotonic() - begun
        for what, act, expected in (
            ("filter", lambda: page.select_option("#outcome", "wrong"), "33,334 of 100,000"),
            ("search", lambda: page.fill("#search", "table 976?"), "34 of 100,000"),
            ("clear", lambda: page.click("#clear"), "100,000 samples"),
            ("sort", lambda: page.select_option("#sort", "iou"), "100,000 samples"),
        ):
            begun = time.monotonic()
            act()
            until(page, "text => document.querySelector('#count').textContent === text", expected)
            times[what] = time.monotonic() - begun
        begun = time.monotonic()
        page.evaluate("() => { location.hash = 'sample=toy/99999' }")
        page.wait_for_selector(".pane")
        times["a sample"] = time.monotonic() - begun
        most = 0
        for share in (0, 0.3, 0.99, 1):
            page.evaluate("share => { const rows = document.querySelector('#rows'); rows.scrollTop = share * rows.scrollHeight }", share)
            page.wait_for_timeout(60)
            most = max(most, page.locator("#rows-inner li").count())
        assert page.locator("#rows-inner li").last.get_attribute("aria-posinset") == str(COUNT)
    assert 5 < most < 60
    with capsys.disabled():
        told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in times.items())
        print(f"\n100,000 samples ({early:,} indexed when the first rows showed): {told}")  # noqa: T201
