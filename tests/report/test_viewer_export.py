"""The viewer as a folder of files, and the command that serves or writes it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from evalkit.cli.view import command
from evalkit.errors import UserError
from evalkit.report.viewer import rows as viewer_rows
from evalkit.report.viewer.export import export
from evalkit.report.viewer.viewed import Viewed, folders, named
from tests.report.browser.folders import ended, picture, record, row


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    photo = picture(tmp_path / "photo.png", 30, 20)
    return ended(tmp_path / "run", [row("1", images=[photo]), row("2")], [record("1"), record("2", correct=0.0)])


def delivered(file: Path) -> Any:
    """What a script of a static folder hands over."""
    text = file.read_text("utf-8")
    assert text.startswith("deliver(") and text.endswith(");\n")
    return json.loads(f"[{text[8:-3]}]")[1]


def test_a_static_folder_holds_every_row_and_each_picture_once(tmp_path: Path) -> None:
    photo = picture(tmp_path / "photo.png", 30, 20)
    names = [str(number) for number in range(60)]
    path = ended(tmp_path / "run", [row(name, images=[photo]) for name in names], [record(name) for name in names])
    out = tmp_path / "out"
    assert export([Viewed(path)], out) == 60
    rows_ = [detail for place in range(3) for detail in delivered(out / "data/0" / f"rows-{place}.js")]
    assert [detail["row"]["sample"] for detail in rows_] == names
    listed = delivered(out / "data/0/index-0.js")["rows"]
    assert len({line[-1] for line in listed}) == len(list((out / "thumbs").iterdir())) == len(list((out / "images").iterdir())) == 1
    assert (out / rows_[7]["images"][0]["file"]).is_file()
    assert 'data-source="static"' in (out / "index.html").read_text("utf-8")


def test_a_static_folder_says_nothing_of_where_this_machine_keeps_images(tmp_path: Path) -> None:
    photo = picture(tmp_path / "private" / "photo.png", 30, 20)
    export([Viewed(ended(tmp_path / "run", [row("1", images=[photo])], []))], tmp_path / "out")
    assert not [file for file in (tmp_path / "out/data").rglob("*.js") if "private" in file.read_text("utf-8")]


def test_a_static_folder_is_written_over_but_nothing_else_is(toy: Path, tmp_path: Path) -> None:
    export([Viewed(toy)], tmp_path / "out")
    export([Viewed(toy)], tmp_path / "out")
    with pytest.raises(UserError, match="expected a new or empty folder"):
        export([Viewed(toy)], toy)
    with pytest.raises(UserError, match="expected a new or empty folder"):
        export([Viewed(toy)], toy / "manifest.json")


def test_a_static_folder_of_rows_that_do_not_go_together_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not go with"):
        export([Viewed(ended(tmp_path / "run", [row("1")], [record("2")]))], tmp_path / "out")


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected a run's folder .* found none"):
        folders([tmp_path])
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match="as `evalkit run` writes it"):
        Viewed(tmp_path)


def test_a_folder_of_runs_is_all_of_them_each_once_and_each_by_a_name_of_its_own(tmp_path: Path) -> None:
    one, other = ended(tmp_path / "a/run", [row("1")], []), ended(tmp_path / "b/run", [row("1")], [])
    assert folders([tmp_path / "a", one, other]) == [one, other]
    runs = [Viewed(one), Viewed(other)]
    named(runs)
    assert len({run.name for run in runs}) == 2


def test_the_command_writes_a_folder_and_says_how_to_open_it(toy: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [os.fspath(toy), "--out", os.fspath(tmp_path / "out")], catch_exceptions=False)
    assert (done.exit_code, "2 samples" in done.output, "index.html" in done.output) == (0, True, True)


def test_the_page_holds_no_inline_script_or_style_and_no_foreign_address() -> None:
    folder = Path(viewer_rows.__file__).parent / "static"
    page = (folder / "index.html").read_text("utf-8")
    assert "<style" not in page and "style=" not in page and " on" not in page.replace(" one", "")
    scripts = [line for line in page.splitlines() if "<script" in line]
    assert scripts and all('src="' in line and line.endswith("></script>") for line in scripts)
    for file in folder.iterdir():
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text and "https:" not in text, file.name
        assert not [word for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(") if word in text], file.name
        assert len(text.splitlines()) <= 400, file.name
