"""The page of a sample and that of a run: the conversation, what is missing, long replies, numbers and manifest."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from evalkit.report.viewer.viewed import Viewed
from evalkit.types import Generate, Message, Request, Response
from evalkit.types import Image as Picture
from tests.report.browser.folders import answers, ended, picture, record, row
from tests.report.browser.pages import Page, running, see, until


def test_the_conversation_is_whole_with_crops_where_they_were_taken(tmp_path: Path, shown: Callable[..., Page]) -> None:
    photo = picture(tmp_path / "photo.png", 100, 80, "#ffffff")
    with Image.open(photo["path"]) as image:
        image.paste((255, 0, 0), (20, 10, 60, 50))
        image.save(photo["path"])
    operations = [{"name": "crop_image", "arguments": '{"box": 1}', "error": "", "box": [20, 10, 60, 50]}]
    verdicts = {"judge": ["{score: 1} because <b>it fits</b>"]}
    path = ended(
        tmp_path / "run",
        [row("1", images=[photo], operations=operations, verdicts=verdicts)],
        [record("1"), record("1", rule="strict", correct=0.0, failure="more than a letter")],
    )
    first = Message("user", (Picture(Path("photo.png"), digest="0"), "What is it?"))
    turns = (first, Message("assistant", ("zoom!",)), Message("user", (Picture(Path("crop"), digest="1"), "Here it is.")))
    judged = Request(Generate((Message("user", ("Is it?",)),)), to="judge", sample="toy/1")
    answers(
        path,
        [
            (Request(Generate(turns), sample="toy/1"), Response("It is A.", tokens_out=3)),
            (Request(Generate(turns[:1]), sample="toy/1"), Response("zoom!", tokens_out=7)),
            (judged, Response("{score: 1} because")),
        ],
    )
    page = shown(path)
    see(page, "toy/1")
    said = page.locator(".thread").first
    assert said.locator(".role").all_inner_texts() == ["user", "assistant 7 out", "user", "reply 3 out"]
    page.wait_for_selector(".thread canvas")
    assert page.locator(".thread canvas").evaluate("c => [c.width, c.height, ...c.getContext('2d').getImageData(20, 20, 1, 1).data]") == [
        40,
        40,
        255,
        0,
        0,
        255,
    ]
    page.locator(".shown[data-link='crop-0']").hover()
    assert page.locator(".region.crop.hot").count() == 1
    assert page.locator("summary", has_text="judge").count() == 1
    assert "<b>it fits</b>" in page.locator("section.card", has_text="Verdict").inner_text()
    scores = page.locator("section.card", has_text="Scores").inner_text()
    assert "unparsed: more than a letter" in scores and "correct 1" in scores


def test_the_page_of_a_run_has_its_numbers_and_its_manifest(various: Path, shown: Callable[..., Page]) -> None:
    page = shown(various)
    page.click("#about")
    page.wait_for_selector(".about table")
    assert "0.5000" in page.locator(".about table").inner_text()
    page.click("summary:has-text('Manifest')")
    page.wait_for_selector(".about .fold .said")
    assert '"protocol": "direct"' in page.locator(".about .fold").inner_text()


def test_a_run_of_one_sample_without_boxes_or_images_can_be_read(tmp_path: Path, shown: Callable[..., Page]) -> None:
    page = shown(ended(tmp_path / "run", [row("1", text="Nothing to point at.")], []))
    page.click("#rows-inner a")
    page.wait_for_selector(".pane")
    assert "Nothing to point at." in page.inner_text("#page")
    assert page.inner_text(".lacking") == "No image"


def test_a_sample_that_no_answer_came_to_says_why(various: Path, shown: Callable[..., Page]) -> None:
    page = shown(various)
    see_gap = "() => { location.hash = 'sample=toy/g' }"
    page.evaluate(see_gap)
    until(page, "() => document.querySelector('#page')?.textContent.includes('time-out')")


def test_a_long_reply_is_shown_in_parts(tmp_path: Path, shown: Callable[..., Page]) -> None:
    page = shown(ended(tmp_path / "run", [row("1", text="y" * 130_000)], []))
    page.click("#rows-inner a")
    reply = page.locator(".card:has(h3:text-is('Reply')) .said")
    assert reply.evaluate("e => e.textContent.replace(/[^y]/g, '').length") == 20_000
    reply.get_by_role("button", name="110,000 characters more").click()
    reply.get_by_role("button", name="10,000 characters more").click()
    assert reply.evaluate("e => e.textContent.length") == 130_000


def test_a_reply_of_many_lines_is_shown_in_parts(tmp_path: Path, shown: Callable[..., Page]) -> None:
    page = shown(ended(tmp_path / "run", [row("1", text="y\n" * 1000)], []))
    page.click("#rows-inner a")
    reply = page.locator(".card:has(h3:text-is('Reply')) .said")
    assert reply.evaluate("e => e.firstChild.textContent.split('\\n').length") == 400
    reply.get_by_role("button", name="1,201 characters more").click()
    assert reply.evaluate("e => e.textContent") == "y\n" * 1000


def test_a_picture_is_asked_for_by_a_number_of_the_viewers_own_since_browsers_keep_pictures(
    various: Path, tab: Callable[..., Page]
) -> None:
    """Another viewer at the same address has other pictures by the same place in the list."""
    run = Viewed(various)
    run.index.read()
    with running([run]) as url:
        page = tab(url)
        see(page, "toy/a")
        sources = page.evaluate("() => [...document.querySelectorAll('.picture img, .thumbnail img')].map((image) => image.src)")
    assert sources and all(source.endswith(f"?{run.index.version}") for source in sources)
