"""The list of samples: every filter, search and order, by its field and by its link; keys; two runs; runs that still grow."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.report.browser.folders import ended, manifest, record, row, written
from tests.report.browser.pages import Page, serving, until, wait_list

FILTERED: list[tuple[dict[str, str], str]] = [
    ({}, "abcdefg"),
    ({"search": "dog"}, "bc"),
    ({"search": "many CATS"}, "a"),
    ({"search": "zebra"}, ""),
    ({"task": "other"}, "def"),
    ({"subset": "near"}, "ac"),
    ({"outcome": "right"}, "ad"),
    ({"outcome": "wrong"}, "bce"),
    ({"outcome": "wrong", "rule": "strict\naccuracy"}, "a"),
    ({"outcome": "unparsed"}, "c"),
    ({"outcome": "none"}, "eg"),
    ({"outcome": "length"}, "d"),
    ({"outcome": "noboxes"}, "bcdefg"),
    ({"least": "0.5"}, "a"),
    ({"most": "0.5"}, "b"),
    ({"least": "0.1", "most": "0.95"}, "ab"),
    ({"subset": "far", "outcome": "wrong", "search": "dogs"}, "b"),
    ({"sort": "iou"}, "bacdefg"),
    ({"sort": "iou", "order": "down"}, "abcdefg"),
    ({"sort": "length", "order": "down"}, "bacdfeg"),
    ({"sort": "id", "order": "down"}, "gfedcba"),
    ({"sort": "boxes", "order": "down"}, "abcdefg"),
    ({"sort": "score", "order": "down"}, "adbcefg"),
]


def test_every_filter_and_order_by_its_field_and_by_its_link(various: Path, shown: Callable[..., Page]) -> None:
    page = shown(various)
    names = {name: f"{'toy' if name in 'abcg' else 'other'}/{name}" for name in "abcdefg"}
    for filters, expected in FILTERED:
        page.evaluate("() => { document.activeElement.blur(); location.hash = '' }")
        until(page, "() => document.querySelectorAll('#rows-inner li').length === 7 && !document.querySelector('#search').value")
        for name, value in filters.items():
            if name == "order":
                page.click("#order")
            elif name in ("search", "least", "most"):
                page.fill(f"#{name}", value)
            else:
                page.select_option(f"#{name}", value=value)
        wait_list(page, [names[name] for name in expected])
        told = {{"search": "q"}.get(name, name): value for name, value in filters.items()}
        until(
            page,
            "told => JSON.stringify(Object.entries(state.read()).sort()) === told",
            json.dumps(sorted(map(list, told.items())), separators=(",", ":")),
        )
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    wait_list(page, [names[name] for name in FILTERED[-1][1]])


def test_a_row_is_judged_by_the_first_rule_of_its_task_that_counts_it(tmp_path: Path, shown: Callable[..., Page]) -> None:
    """In the task's own order, though a row that only another rule counts came first."""
    records = [record("1", metric="grounding_iou", iou=0.9), record("2", metric="grounding_iou", iou=0.1), record("2")]
    rules = ["official: accuracy", "official: grounding_iou"]
    page = shown(ended(tmp_path / "run", [row("1"), row("2")], records, rules=rules))
    assert page.locator("#rows-inner .sign").evaluate_all("all => all.map(one => one.title)") == ["right", "right"]
    page.select_option("#rule", value="official\ngrounding_iou")
    until(page, "() => [...document.querySelectorAll('#rows-inner .sign')].map(one => one.title).join() === 'right,wrong'")


def test_all_filters_can_be_cleared(various: Path, shown: Callable[..., Page]) -> None:
    page = shown(various)
    page.fill("#search", "dog")
    page.select_option("#outcome", "wrong")
    wait_list(page, ["toy/b", "toy/c"])
    page.fill("#least", "0")
    page.click("#order")
    wait_list(page, ["toy/b"])
    page.click("#clear")
    until(page, "() => document.querySelectorAll('#rows-inner li').length === 7 && location.hash === ''")
    assert (page.input_value("#search"), page.input_value("#least"), page.locator("#clear").is_visible()) == ("", "", False)


def test_keys_go_through_the_samples_and_the_wrong_ones(various: Path, shown: Callable[..., Page]) -> None:
    page = shown(various)

    def pressed(key: str) -> str:
        page.keyboard.press(key)
        page.evaluate("() => new Promise(requestAnimationFrame)")
        return str(page.evaluate("() => state.read().sample ?? ''"))

    assert [pressed(key) for key in "nnnnppp"] == ["toy/b", "toy/c", "other/e", "other/e", "toy/c", "toy/b", "toy/b"]
    assert [pressed(key) for key in "kkjj"] == ["toy/a", "toy/a", "toy/b", "toy/c"]
    assert pressed("Escape") == ""
    assert pressed("p") == "other/e"
    page.keyboard.press("/")
    page.keyboard.type("jn")
    wait_list(page, [])
    assert page.input_value("#search") == "jn"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.locator("#keys").get_attribute("open") is not None
    page.keyboard.press("Escape")
    assert page.locator("#keys").get_attribute("open") is None


def test_a_list_that_scrolls_while_the_address_changes_still_marks_the_sample_that_is_read(
    various: Path, shown: Callable[..., Page]
) -> None:
    """A scroll is drawn after the address has changed and before the page has heard of it."""
    page = shown(various)
    page.evaluate("() => { location.hash = linkTo(list.run, 3, {}); byId('rows').scrollTop = 1; list.draw() }")
    page.wait_for_selector(".row.chosen[data-number='3']")
    assert page.locator(".row.chosen").count() == 1


def test_the_verdict_of_the_rule_that_is_chosen_is_marked_also_while_a_sample_is_read(various: Path, shown: Callable[..., Page]) -> None:
    page = shown(various)
    page.evaluate("() => { location.hash = linkTo(list.run, 0, {}) }")
    page.wait_for_selector(".pane")
    assert page.locator("#page tr.chosen").count() == 0
    page.evaluate("() => state.go({ rule: 'strict\\naccuracy' })")
    page.wait_for_selector("#page tr.chosen:has-text('strict')")


def test_two_runs_are_side_by_side_and_what_flipped_can_be_listed(tmp_path: Path, shown: Callable[..., Page]) -> None:
    def run(name: str, right: str, samples: str) -> Path:
        records = [record(sample, correct=float(sample in right)) for sample in samples]
        return ended(tmp_path / name, [row(sample, text=f"{name} says {sample}") for sample in samples], records, model=name)

    page = shown(run("first", "abx", "abcdx"), run("second", "bd", "dcba"))
    page.select_option("#beside", "second")
    wait_list(page, list("abcdx"))
    for flip, expected in (("any", "ad"), ("here", "a"), ("there", "d")):
        page.select_option("#flip", value=flip)
        wait_list(page, list(expected))
    page.select_option("#flip", value="")
    wait_list(page, list("abcdx"))
    page.click("#rows-inner li:nth-child(1) a")
    page.wait_for_selector(".panes.two .pane + .pane")
    assert [pane.locator("h2").inner_text().split()[:2] for pane in page.locator(".pane").all()] == [["✓", "first"], ["✗", "second"]]
    signs = page.locator("#rows-inner li:nth-child(1) .sign").evaluate_all("all => all.map(one => one.title)")
    assert signs == ["first: right", "second: wrong"]
    assert "first says a" in page.locator(".pane").nth(0).inner_text()
    assert "second says a" in page.locator(".pane").nth(1).inner_text()
    page.click("#rows-inner li:nth-child(5) a")
    until(page, "() => document.querySelector('.pane + .pane')?.textContent.includes('no such sample')")


def test_a_click_on_a_row_is_heard_though_the_list_changes_meanwhile(tmp_path: Path, tab: Callable[..., Page]) -> None:
    path = tmp_path / "run"
    manifest(path)
    with serving(path, follow=True) as url:
        page = tab(url, ready="#count")
        written(path, [row("1"), row("2")], [record("1"), record("2")], ".part")
        wait_list(page, ["1", "2"])
        page.hover("#rows-inner li:nth-child(2) a")
        page.mouse.down()
        ended(path, [row(name) for name in "1234"], [record(name) for name in "1234"])
        until(page, "() => document.querySelector('#count').textContent === '4 samples'")
        page.mouse.up()
        page.wait_for_selector(".pane")
        assert page.evaluate("() => state.read().sample") == "toy/2"
        wait_list(page, ["1", "2", "3", "4"])


def test_rows_appear_while_a_run_writes_them_and_the_sample_that_is_read_stays(tmp_path: Path, tab: Callable[..., Page]) -> None:
    path = tmp_path / "run"
    manifest(path)
    with serving(path, follow=True) as url:
        page = tab(url, ready="#count")
        written(path, [row("1"), row("2")], [record("1"), record("2")], ".part")
        wait_list(page, ["1", "2"])
        assert "not ended: 2 rows so far" in page.inner_text("#status")
        page.click("#rows-inner li:nth-child(1) a")
        page.wait_for_selector(".pane")
        page.evaluate("() => { document.querySelector('.pane').dataset.seen = 'yes' }")
        ended(path, [row(name) for name in "1234"], [record(name) for name in "1234"])
        wait_list(page, ["1", "2", "3", "4"])
        until(page, "() => document.querySelector('#status').textContent === ''")
        assert page.evaluate("() => state.read().sample") == "toy/1"
