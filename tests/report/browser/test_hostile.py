"""Replies meant to do harm do nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from evalkit.report.viewer.export import export
from evalkit.report.viewer.viewed import Viewed
from evalkit.types import Generate, Message, Request, Response
from tests.report.browser.folders import answers, box, ended, record, row
from tests.report.browser.pages import Page, serving, until

HOSTILE = [
    "<script>window.harmed = 1</script>",
    "<img src=x onerror='window.harmed = 1'><svg onload='window.harmed = 1'>",
    "<a href='javascript:window.harmed=1'>go</a> [go](javascript:window.harmed=1)",
    "<style>body { display: none }</style> <link rel=stylesheet href=//evil.example/x.css> <iframe src=//evil.example></iframe>",
    "</textarea></title></div><base href=//evil.example><meta http-equiv=refresh content='0;url=//evil.example'>",
    "\u202egnp.\u202c \u2066hidden\u2069 \u200f\u200b\x00\x07\x1b[31m \ud800",
    "&lt;b&gt; ${window.harmed = 1} {{constructor.constructor('window.harmed=1')()}} ';window.harmed=1;'",
    "x" * 1_000_000,
    "\n" * 50_000,
    "[" * 100_000 + "1, 2, 3, 4" + "]" * 100_000,
]


def test_hostile_replies_do_nothing(tmp_path: Path, tab: Callable[..., Page]) -> None:
    """As text, question, label, tag, tool, verdict, id and reason; from the server and from disk."""
    predictions, records = [], []
    for place, text in enumerate(HOSTILE):
        given = {"text": text, "question": text, "target": text, "answer": text, "failure": text, "tags": [text[:300]], "group": text}
        operations = [{"name": text[:500], "arguments": text, "error": text, "box": None}]
        evidence = [box(1, 1, 9, 9, label=text[:500]), {"written": [1, 2, 3, 4], "frame": text[:50], "box": [0, 0, 1e9, 1e9]}]
        verdicts = {text[:300]: [text], "judge": {text[:300]: text, "grids": [[[text[:9]]]]}}
        name = f"{place} {text[:200]}"
        predictions.append(row(name, **given, operations=operations, evidence=evidence, verdicts=verdicts))
        records.append(record(name, value=text, failure=text[:1000], correct=0.0))
    path = ended(
        tmp_path / "<b onclick=x>run", predictions, records, [{"sample": HOSTILE[1], "draw": 0, "reason": HOSTILE[0]}], model=HOSTILE[1]
    )
    answers(
        path,
        [
            (
                Request(
                    Generate((Message("user", (HOSTILE[0],)), Message("assistant", (HOSTILE[1],)))),
                    sample=f"toy/{predictions[0]['sample']}",
                ),
                Response(HOSTILE[2]),
            )
        ],
    )
    out = tmp_path / "out"
    export([Viewed(path)], out)
    with serving(path) as url:
        for address in (url, (out / "index.html").as_uri()):
            page = tab(address)
            for place in range(len(HOSTILE) + 1):
                page.evaluate("place => { location.hash = linkTo(list.run, place, {}) }", place)
                page.wait_for_selector(f".row.chosen[data-number='{place}']")
                page.wait_for_selector("#page .pane")
                until(page, "() => document.querySelector('#title h1')")
            page.evaluate("() => { location.hash = 'page=run' }")
            page.wait_for_selector(".about")
            inserted = (
                "script:not([src]), iframe, base, style, #page img[src='x'], a[href^='javascript'], meta[http-equiv=refresh], "
                "link[href*=evil]"
            )
            assert page.evaluate("selector => [window.harmed, document.querySelectorAll(selector).length]", inserted) == [None, 0]
            assert page.evaluate("() => document.scripts.length") == 10
            assert page.evaluate("() => getComputedStyle(document.body).display") == "grid"


def test_marks_that_turn_or_hide_text_are_shown_by_name(tmp_path: Path, shown: Callable[..., Page]) -> None:
    page = shown(ended(tmp_path / "run", [row("1", text="a\u202egnp\u200b \u05d0\u05d1", question="x\u202ey")], []))
    page.click("#rows-inner a")
    page.wait_for_selector(".pane")
    assert page.locator(".card:has-text('Reply') .control").all_inner_texts() == ["U+202E", "U+200B"]
    assert "\u202e" not in page.evaluate("() => document.body.textContent")


MAKE = "() => { try { document.body.insertAdjacentHTML('beforeend', '<i>x</i>'); return 'made' } catch (error) { return error.name } }"
TRIES = """async () => {
  const refused = [];
  for (const attempt of [
    () => document.body.setAttribute("onclick", "window.harmed = 1"),
    () => { document.createElement("script").text = "window.harmed = 1" },
    () => { document.createElement("iframe").srcdoc = "<script>parent.harmed = 1</script>" },
    () => { document.head.append(Object.assign(document.createElement("script"), { src: "http://evil.example/x.js" })) },
    () => chunks.createScriptURL("data/../../../x.js"),
  ]) {
    try { attempt() } catch (error) { refused.push(error.name) }
  }
  const frame = document.createElement("iframe");
  frame.src = "http://evil.example/";
  document.body.append(frame);
  document.body.setAttribute("style", "display: none");
  await fetch("http://evil.example/").catch(() => 0);
  await new Promise((resolve) => {
    const image = new Image();
    image.onload = image.onerror = resolve;
    image.src = "http://evil.example/x.png";
  });
  return [refused, window.harmed, getComputedStyle(document.body).display];
}"""


def test_neither_markup_nor_a_request_can_be_made_even_by_a_mistake_of_the_page(various: Path, browser: Any) -> None:
    """In a page of its own, which may complain."""
    with serving(various) as url, browser.new_page() as page:
        asked: list[str] = []
        page.on("requestfinished", lambda request: asked.append(request.url))
        page.goto(url)
        assert page.evaluate(MAKE) == "TypeError"
        assert page.evaluate(TRIES) == [["TypeError"] * 5, None, "grid"]
        assert all(address.startswith(url) for address in asked)
