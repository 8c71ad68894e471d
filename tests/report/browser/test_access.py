"""The page at every width, light and dark, by eye, by key and by touch."""

from collections.abc import Callable
from pathlib import Path

from tests.report.browser.pages import Page, see, serving, until

WIDE = "() => [document.documentElement, document.querySelector('#page')].filter((one) => one.scrollWidth > innerWidth).length"


def test_nothing_is_cut_off_at_any_width_and_text_stands_out(various: Path, shown: Callable[..., Page]) -> None:
    """The list, a sample, and the numbers; every text in its own colours, computed, light and dark."""
    page = shown(various)
    for address, there in (("", "#rows-inner li"), ("sample=toy/a", "#page .pane"), ("page=run", "#page .about")):
        page.evaluate("address => { location.hash = address }", address)
        page.wait_for_selector(there)
        until(page, "() => !document.querySelector('[aria-busy]')")
        for width in (320, 390, 800, 1300):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate(WIDE) == 0, (address, width)
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                assert page.evaluate(CONTRAST) == [], (address, width, scheme)


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((value, i) => (value * a + below[i] * (255 - a)) / 255);
  const linear = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = (colour) => colour.slice(0, 3).reduce((sum, value, i) => sum + linear(value / 255) * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    if (!node) return rgb(getComputedStyle(document.body).backgroundColor);
    const own = rgb(getComputedStyle(node).backgroundColor);
    return own[3] === 255 ? own : over(own, ground(node.parentElement));
  };
  const weak = [];
  for (const node of document.querySelectorAll("body *")) {
    if (!node.checkVisibility() || !node.getClientRects().length || node.closest("[aria-disabled=true], select, canvas, svg")) continue;
    const text = [...node.childNodes].filter((child) => child.nodeType === 3).map((child) => child.data.trim()).join("");
    if (!text) continue;
    const behind = ground(node);
    const [dark, bright] = [light(over(rgb(getComputedStyle(node).color), behind)), light(behind)].sort((one, other) => one - other);
    const contrast = (bright + 0.05) / (dark + 0.05);
    if (contrast < 4.5) weak.push([text.slice(0, 30), node.className, contrast.toFixed(2)]);
  }
  return weak;
}"""
NAMELESS = """() => [...document.querySelectorAll("button, a[href], input, select, summary, [tabindex='0']")]
  .filter((one) => one.checkVisibility())
  .filter((one) => !(one.getAttribute("aria-label") || one.textContent.trim() || one.closest("label")?.textContent.trim() || one.title))
  .map((one) => one.outerHTML.slice(0, 99))"""
FOCUSED = """() => {
  const style = getComputedStyle(document.activeElement);
  return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
}"""


def test_every_control_has_a_name_and_shows_its_focus(various: Path, shown: Callable[..., Page]) -> None:
    page = shown(various)
    see(page, "toy/a")
    assert page.evaluate(NAMELESS) == []
    page.evaluate("() => document.querySelector('#search').focus()")
    for _ in range(12):
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUSED)
    assert page.evaluate("() => [...document.images].every((image) => image.hasAttribute('alt'))")


def test_on_a_phone_the_list_and_the_sample_take_turns(various: Path, phone: Callable[..., Page]) -> None:
    with serving(various) as url:
        turns(phone(url, width=390, height=800))


def turns(page: Page) -> None:
    assert page.locator("#list").is_visible() and not page.locator("#page").is_visible()
    page.tap("#rows-inner li:nth-child(1) a")
    page.wait_for_selector("#page .pane")
    assert not page.locator("#list").is_visible()
    page.tap(".back")
    page.wait_for_selector("#rows-inner a", state="visible")
    assert not page.locator("#page").is_visible()
    page.go_back()
    page.wait_for_selector("#page .pane")
