"""What lies on the image, to the pixel: boxes, masks, attention; layers, zoom and pan; words that light up their box."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evalkit.rle import encode_mask
from tests.report.browser.folders import box, ended, picture, row
from tests.report.browser.pages import FRAME, GREEN, LINE, ORANGE, PLACE, Page, drawn, extent, see, until


def test_boxes_lie_on_their_pixels_at_every_zoom_and_size(tmp_path: Path, shown: Callable[..., Page]) -> None:
    """The middle of a line of two pixels is the box's side; a filled patch of the image shows where that is."""
    sizes = [(60, 40), (200, 700), (1600, 900), (37, 23)]
    boxes = [(round(width * 0.25), round(height * 0.25), round(width * 0.7), round(height * 0.6)) for width, height in sizes]
    rows = []
    for place, (size, sides) in enumerate(zip(sizes, boxes, strict=True)):
        photo = picture(tmp_path / f"{place}.png", *size, "#ffffff")
        with Image.open(photo["path"]) as image:
            image.paste((0, 0, 255), sides)
            image.save(photo["path"])
        rows.append(row(str(place), images=[photo], evidence=[box(*sides)]))
    page = shown(ended(tmp_path / "run", rows, []))
    for place, sides in enumerate(boxes):
        see(page, f"toy/{place}")
        page.evaluate("() => { for (const label of document.querySelectorAll('.label')) label.remove() }")
        for steps in (0, 1, 3, -2):
            page.keyboard.press("0")
            for _ in range(abs(steps)):
                page.keyboard.press("+" if steps > 0 else "-")
            check_box(page, sides)


def check_box(page: Page, sides: tuple[int, int, int, int]) -> None:
    """The line of the one box is where the image has its blue patch, and that is where it should be."""
    left, top, across, down = page.evaluate(PLACE)
    expected = [side * (across, down)[place % 2] + (left, top)[place % 2] for place, side in enumerate(sides)]
    pixels, frame = drawn(page), page.evaluate(FRAME)
    middle = [side + (1, 1, -1, -1)[place] for place, side in enumerate(extent(pixels, ORANGE, 60))]
    for place, (found, side) in enumerate(zip(middle, expected, strict=True)):
        if frame[place % 2] + 2 < side < frame[2 + place % 2] - 2:  # the others are out of sight
            assert abs(found - side) <= 1, (middle, expected)
    assert np.allclose(page.evaluate(LINE), expected, atol=0.51)
    seen = [max(side + 2, frame[place]) if place < 2 else min(side - 2, frame[place]) for place, side in enumerate(expected)]
    assert np.allclose(extent(pixels, (0, 0, 255), 60), seen, atol=1.01), "the image lies where its boxes do"


def test_masks_lie_on_their_pixels_gold_and_predicted(tmp_path: Path, shown: Callable[..., Page]) -> None:
    photo = picture(tmp_path / "photo.png", 80, 60, "#ffffff")

    def mask(x1: int, y1: int, x2: int, y2: int) -> dict[str, Any]:
        pixels = np.zeros((60, 80), np.uint8)
        pixels[y1:y2, x1:x2] = 1
        return {"size": [60, 80], "counts": encode_mask(pixels).counts}

    gold = {"masks": [mask(5, 5, 25, 20)]}
    page = shown(ended(tmp_path / "run", [row("1", images=[photo], masks=[mask(40, 10, 70, 50)], gold=gold)], []))
    see(page, "toy/1")
    left, top, across, down = page.evaluate(PLACE)
    for colour, sides in ((ORANGE, (40, 10, 70, 50)), (GREEN, (5, 5, 25, 20))):
        expected = [side * (across, down)[place % 2] + (left, top)[place % 2] for place, side in enumerate(sides)]
        assert np.allclose(extent(drawn(page), colour), expected, atol=1)
    page.keyboard.press("m")
    with pytest.raises(AssertionError, match="no pixel"):
        extent(drawn(page), ORANGE)
    extent(drawn(page), GREEN)


def test_a_mask_is_decoded_as_pycocotools_decodes_it(various: Path, shown: Callable[..., Page]) -> None:
    page = shown(various)
    rng = np.random.default_rng(0)
    for height, width, share in ((1, 1, 1.0), (7, 5, 0.5), (64, 48, 0.02), (9, 900, 0.999)):
        pixels = rng.random((height, width)) < share
        given = {"size": [height, width], "counts": encode_mask(pixels).counts}
        found = page.evaluate("mask => Array.from(maskPixels(mask))", given)
        assert found == pixels.astype(int).ravel().tolist()


def test_a_mask_that_is_none_is_not_drawn_and_told(tmp_path: Path, shown: Callable[..., Page]) -> None:
    photo = picture(tmp_path / "photo.png", 2, 3)
    broken = ["04", "oooooooooooo", "é", "", "0120120120"]
    other = {"size": [9, 9], "counts": "1"}
    rows = [row(str(place), images=[photo], masks=[{"size": [3, 2], "counts": counts}, other]) for place, counts in enumerate(broken)]
    page = shown(ended(tmp_path / "run", rows, []))
    for place in range(len(broken)):
        see(page, f"toy/{place}")
        told = page.locator(".stage .warn").all_inner_texts()
        assert told == [
            "mask 1 is no run-length encoding of its size: not drawn",
            "mask 2 is of 9 × 9 pixels, the image of 2 × 3: not drawn",
        ]


def test_layers_are_switched_by_button_and_by_key(tmp_path: Path, shown: Callable[..., Page]) -> None:
    photo = picture(tmp_path / "photo.png", 60, 40)
    operations = [{"name": "crop_image", "arguments": "{}", "error": "", "box": [5, 5, 50, 30]}]
    given = {"images": [photo], "evidence": [box(1, 1, 20, 20)], "gold": {"boxes": [[2, 2, 30, 30]], "points": [[9, 9]]}}
    page = shown(ended(tmp_path / "run", [row("1", **given, operations=operations)], []))
    see(page, "toy/1")
    for name, key, kind in (("Gold", "g", "gold"), ("Boxes", "b", "predicted"), ("Crops", "c", "crop")):
        button, regions = page.get_by_role("button", name=name), page.locator(f".region.{kind}")
        assert (regions.count(), button.get_attribute("aria-pressed")) == (1, "true")
        page.keyboard.press(key)
        assert (regions.count(), button.get_attribute("aria-pressed")) == (0, "false")
        button.click()
        assert regions.count() == 1


def test_dragging_pans_and_the_wheel_zooms_where_it_points(tmp_path: Path, shown: Callable[..., Page]) -> None:
    photo = picture(tmp_path / "photo.png", 600, 400)
    page = shown(ended(tmp_path / "run", [row("1", images=[photo])], []))
    see(page, "toy/1")
    frame = page.locator(".frame").bounding_box()
    before = page.evaluate("() => [...shown[0].shift]")
    page.mouse.move(frame["x"] + 100, frame["y"] + 100)
    page.mouse.down()
    page.mouse.move(frame["x"] + 150, frame["y"] + 70)
    page.mouse.up()
    assert page.evaluate("() => [...shown[0].shift]") == [before[0] + 50, before[1] - 30]
    spot = "() => [(200 - shown[0].shift[0]) / shown[0].zoom, (90 - shown[0].shift[1]) / shown[0].zoom]"
    pointed, zoom = page.evaluate(spot), page.evaluate("() => shown[0].zoom")
    page.mouse.move(frame["x"] + 200, frame["y"] + 90)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    until(page, "zoom => shown[0].zoom > zoom * 1.5", zoom)
    assert np.allclose(page.evaluate(spot), pointed, atol=1)


def test_a_box_lights_up_with_the_words_that_wrote_it(tmp_path: Path, shown: Callable[..., Page]) -> None:
    text = 'First {"bbox_2d": [10, 20, 30, 40]}, then (50, 60, 70.5, 80), of 10, 20 or 30 cups; again [10,20,30,40]. <answer> 2'
    evidence = [
        box(1, 2, 3, 4, written=(10, 20, 30, 40)),
        box(5, 6, 7, 8, written=(50, 60, 70.5, 80)),
        box(1, 2, 3, 4, written=(10, 20, 30, 40)),
    ]
    photo = picture(tmp_path / "photo.png", 60, 40)
    page = shown(ended(tmp_path / "run", [row("1", images=[photo], text=text, evidence=evidence)], []))
    see(page, "toy/1")
    marks = page.locator(".card mark")
    assert [(mark.get_attribute("data-link"), mark.evaluate("e => e.firstChild.textContent")) for mark in marks.all()] == [
        ("box-0", "[10, 20, 30, 40]"),
        ("box-1", "(50, 60, 70.5, 80)"),
        ("box-2", "[10,20,30,40]"),
    ]
    marks.nth(1).hover()
    assert page.locator(".region.hot").evaluate_all("all => all.map(one => one.dataset.link)") == ["box-1"]
    page.mouse.move(0, 0)
    assert page.locator(".hot").count() == 0
    page.locator("[data-link='box-1'] .casing").hover(force=True)
    assert "hot" in marks.nth(1).get_attribute("class")
    page.mouse.move(0, 0)
    marks.nth(0).focus()
    assert page.locator(".region.hot").evaluate_all("all => all.map(one => one.dataset.link)") == ["box-0"]


def test_attention_maps_lie_over_the_image_one_at_a_time(
    run_folder: Callable[..., Path], replies: dict[str, Any], shown: Callable[..., Page]
) -> None:
    path = run_folder(answer=replies["erased"], samples=8, probe=True)
    page = shown(path)
    see(page, "shapes/0")
    assert page.locator("canvas.attention").count() == 0
    shapes = []
    for _ in range(2):
        page.keyboard.press("a")
        canvas = page.locator("canvas.attention")
        shapes.append(canvas.evaluate("c => [c.width, c.height]"))
        picture_, veil = page.locator(".picture").bounding_box(), canvas.bounding_box()
        assert picture_ == veil
    page.keyboard.press("a")
    assert (shapes, page.locator("canvas.attention").count()) == ([[5, 4], [5, 4]], 0)


def test_boxes_are_drawn_at_their_places_where_the_image_is_gone(tmp_path: Path, shown: Callable[..., Page]) -> None:
    gone = {"path": str(tmp_path / "nowhere.png"), "size": [60, 40]}
    page = shown(ended(tmp_path / "run", [row("1", images=[gone], evidence=[box(6, 4, 30, 20)])], []))
    see(page, "toy/1")
    assert "not here: 60 × 40 pixels" in page.inner_text(".lacking")
    left, top, across, down = page.evaluate(PLACE)
    page.evaluate("() => { for (const label of document.querySelectorAll('.label')) label.remove() }")
    assert np.allclose(
        extent(drawn(page), ORANGE, 70), [left + 6 * across - 1, top + 4 * down - 1, left + 30 * across + 1, top + 20 * down + 1], atol=1
    )
