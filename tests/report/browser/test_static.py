"""The folder that `evalkit view --out` writes, opened from disk."""

import shutil
from collections.abc import Callable
from pathlib import Path

from evalkit.report.viewer.export import export
from evalkit.report.viewer.viewed import Viewed
from tests.report.browser.folders import box, ended, picture, record, row
from tests.report.browser.pages import Page, until, wait_list


def test_a_static_folder_shows_the_same_from_disk(tmp_path: Path, tab: Callable[..., Page]) -> None:
    photo = picture(tmp_path / "photo.png", 60, 40, "#0000ff")
    names = [str(number) for number in range(30)]
    first = ended(
        tmp_path / "first", [row(name, images=[photo], evidence=[box(6, 4, 30, 20)]) for name in names], [record(name) for name in names]
    )
    other = ended(tmp_path / "other", [row(name) for name in names], [record(name, correct=float(name != "28")) for name in names])
    runs = [Viewed(first), Viewed(other)]
    export(runs, tmp_path / "out")
    for folder in (first, other):
        shutil.rmtree(folder)
    page = tab((tmp_path / "out/index.html").as_uri())
    until(page, "() => document.querySelector('#rows-inner img')?.naturalWidth > 0")
    page.select_option("#beside", "other")
    page.select_option("#flip", value="any")
    wait_list(page, ["28"])
    page.click("#rows-inner a")
    page.wait_for_selector(".pane + .pane")
    until(page, "() => document.querySelector('.picture img')?.naturalWidth === 60")
    assert page.locator(".region.predicted").count() == 1
    page.click("#about")
    page.wait_for_selector(".about table")


def test_ten_thousand_rows_are_read_from_disk_as_they_are_asked_for(tmp_path: Path, tab: Callable[..., Page]) -> None:
    photo = picture(tmp_path / "photo.png", 60, 40)
    names = [str(number) for number in range(10_000)]
    rows = [row(name, text=f"I say {name}.", images=[photo] if name in ("0", "9999") else []) for name in names]
    records = [record(name, correct=float(name != "7777")) for name in names]
    export([Viewed(ended(tmp_path / "run", rows, records))], tmp_path / "out")
    page = tab((tmp_path / "out/index.html").as_uri())
    with page.expect_request("**/data/0/rows-*.js") as asked:
        page.evaluate("() => { location.hash = 'sample=toy/9999' }")
        page.wait_for_selector("#page .pane")
    assert asked.value.url.endswith("/rows-399.js")
    assert (page.inner_text("#count"), "I say 9999." in page.inner_text("#page")) == ("10,000 samples", True)
    until(page, "() => document.querySelector('.picture img')?.naturalWidth === 60")
    page.select_option("#outcome", "wrong")
    wait_list(page, ["7777"])
    page.click("#rows-inner a")
    until(page, "() => document.querySelector('#page').textContent.includes('I say 7777.')")
