"""What the viewer tells of a sample: its conversation, its images, the regions given with the question."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import evalkit
from evalkit.errors import UserError
from evalkit.geometry import Box, Mask, Point, Size
from evalkit.images import decode
from evalkit.report.viewer import pictures
from evalkit.report.viewer.conversation import conversations
from evalkit.report.viewer.viewed import Viewed, regions
from evalkit.types import Generate, Message, Request, Response, Sample, Wants
from evalkit.types import Image as Picture
from tests.report.browser.folders import answers, box, ended, picture, row


def asked(*turns: str, to: str = "model", draw: int = 0, images: tuple[Picture, ...] = ()) -> Request:
    messages = [Message("assistant" if place % 2 else "user", (*(() if place else images), text)) for place, text in enumerate(turns)]
    return Request(Generate(tuple(messages)), to=to, draw=draw, sample="toy/1")


def test_the_turns_of_a_conversation_are_one_and_come_before_the_judges(tmp_path: Path) -> None:
    long = "Look closer. " * 40  # long enough for a row of its own in the store
    pairs = [
        (asked(long, "zoom", "Here it is."), Response("A", tokens_out=1)),
        (asked(long), Response("zoom", tokens_out=9)),
        (asked("Is A right?", to="judge"), Response("{score: 1}")),
        (asked("Is A right?", to="judge", draw=1), Response("no")),
        (asked(long, draw=1000), Response("another draw")),
    ]
    answers(tmp_path, pairs)
    threads, _ = conversations(tmp_path / "answers.sqlite", "toy/1", 0)
    assert [(thread["to"], thread["draw"]) for thread in threads] == [("model", 0), ("judge", 0), ("judge", 1)]
    assert [part for message in threads[0]["messages"] for part in message["content"]] == [long, "zoom", "Here it is."]
    assert threads[0]["response"]["text"] == "A"
    assert threads[0]["replies"] == {1: {"text": "zoom", "tokens_out": 9}}
    again, _ = conversations(tmp_path / "answers.sqlite", "toy/1", 1)
    assert [thread["response"]["text"] for thread in again] == ["another draw"]


def test_reading_a_conversation_writes_nothing(tmp_path: Path) -> None:
    answers(tmp_path, [(asked("What?"), Response("A"))])
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.sqlite")}
    assert conversations(tmp_path / "answers.sqlite", "toy/1", 0)[0]
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.sqlite")} == before


def test_a_run_without_a_store_or_with_a_broken_one_has_no_conversation(tmp_path: Path) -> None:
    assert conversations(tmp_path / "answers.sqlite", "toy/1", 0) == ([], [])
    (tmp_path / "answers.sqlite").write_bytes(b"no database" * 1000)
    assert conversations(tmp_path / "answers.sqlite", "toy/1", 0) == ([], [])


def test_crops_stand_where_the_model_was_shown_them(tmp_path: Path) -> None:
    photo = picture(tmp_path / "photo.png", 100, 80)
    operations = [
        {"name": "crop_image", "arguments": "{}", "error": "too small", "box": None},
        {"name": "crop_image", "arguments": "{}", "error": "", "box": [10, 10, 60, 60]},
    ]
    path = ended(tmp_path / "run", [row("1", images=[photo], operations=operations)], [])
    shown = Picture(Path("photo.png"), digest="resized"), Picture(Path("crop"), digest="crop")
    crop = Message("user", (shown[1],))
    whole = Generate((Message("user", (shown[0], "What?")), Message("assistant", ("zoom",)), crop))
    answers(path, [(Request(whole, sample="toy/1"), Response("A"))])
    run = Viewed(path)
    run.index.read()
    (thread,) = run.detail(0)["threads"]
    first, _, last = thread["messages"]
    assert (first["content"][0]["place"], last["content"][0]["operation"]) == (0, 1)


def test_the_images_of_a_task_that_draws_them_come_through_the_task(run_folder: Callable[..., Path]) -> None:
    run = Viewed(run_folder(samples=4))
    run.index.read()
    data, kind = run.picture(2, 0)
    size = run.detail(2)["images"][0]["size"]
    assert kind == "image/png"
    assert list(Image.open(io.BytesIO(data)).size) == size
    thumbnail, _ = run.thumbnail(2)
    assert max(Image.open(io.BytesIO(thumbnail)).size) == 112


def test_an_image_is_made_anew_and_what_is_none_is_refused(tmp_path: Path) -> None:
    photo = picture(tmp_path / "photo.png", 30, 20)
    (tmp_path / "photo.png").write_bytes((tmp_path / "photo.png").read_bytes() + b"<script>alert(1)</script>")
    (tmp_path / "drawing.png").write_text('<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>')
    drawing = {"path": str(tmp_path / "drawing.png"), "size": None}
    run = Viewed(ended(tmp_path / "run", [row("1", images=[photo]), row("2", images=[drawing])], []))
    run.index.read()
    assert b"script" not in run.picture(0, 0)[0]
    with pytest.raises(UserError, match="not an image"):
        run.picture(1, 0)
    detail = run.detail(1)
    assert detail["images"] == [{"size": None, "missing": True}]
    assert "not an image" in detail["notes"][0]


def test_a_picture_that_many_samples_show_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = [picture(tmp_path / f"{name}.png", 30, 20) for name in "ab"]
    run = Viewed(ended(tmp_path / "run", [row(str(place), images=[photos[place % 2]]) for place in range(6)], []))
    run.index.read()
    made: list[Path] = []
    monkeypatch.setattr(pictures, "decode", lambda image: made.append(image.source) or decode(image))
    for place in range(6):
        run.picture(place, 0)
        run.thumbnail(place)
    assert sorted(path.name for path in made) == ["a.png", "a.png", "b.png", "b.png"]


def test_an_image_that_the_run_saw_turned_is_shown_turned(tmp_path: Path) -> None:
    turned = Image.new("RGB", (40, 20))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "photo.jpg", exif=exif)
    seen = {"path": str(tmp_path / "photo.jpg"), "size": [20, 40]}
    run = Viewed(ended(tmp_path / "run", [row("1", images=[seen])], []))
    run.index.read()
    assert Image.open(io.BytesIO(run.picture(0, 0)[0])).size == (20, 40)


def test_a_run_whose_images_are_gone_or_moved_says_so_and_shows_the_rest(tmp_path: Path) -> None:
    gone = {"path": str(tmp_path / "nowhere.png"), "size": [30, 20]}
    path = ended(tmp_path / "run", [row("1", images=[gone], evidence=[box(1, 2, 3, 4)])], [])
    run = Viewed(path)
    run.index.read()
    detail = run.detail(0)
    assert detail["images"] == [{"size": [30, 20], "missing": True}]
    assert detail["notes"]
    assert detail["row"]["evidence"]
    with pytest.raises(UserError):
        run.picture(0, 0)


LOOK = """
from evalkit import Accuracy, Box, Data, Image, Rule, Sample, Task, Wants, read_jsonl

VARIANTS = ()
DATA = Data(hub=("me/look",), files=("rows.jsonl",), licence="none", layout="rows.jsonl, images/")


def task(variant, data):
    folder = DATA.folder(data)

    def samples():
        for row in read_jsonl(folder / "rows.jsonl"):
            yield Sample(row["id"], "What?", "What?", (Image(folder / "images/a.png"),), Wants("text"), "x", given=(Box(1, 2, 3, 4),))

    return Task("look", 1, samples, (Rule("strict", lambda p, s: p.answer, Accuracy()),), "accuracy", ("text",), data=DATA)
"""


def test_images_that_were_moved_are_found_where_data_says_and_with_them_what_was_given(tmp_path: Path) -> None:
    picture(tmp_path / "data/images/a.png", 30, 20)
    (tmp_path / "data/rows.jsonl").write_text('{"id": "1"}\n')
    (tmp_path / "look.py").write_text(LOOK)
    (tmp_path / "said.py").write_text("class Said:\n    def generate(self, messages, images):\n        return 'x'\n")
    done = evalkit.run(f"plugin:{tmp_path / 'said.py'}:Said", str(tmp_path / "look.py"), data=str(tmp_path / "data"), out=tmp_path / "out")
    (tmp_path / "data").rename(tmp_path / "moved")
    here, moved = Viewed(done.folder), Viewed(done.folder, data=tmp_path / "moved")
    here.index.read()
    moved.index.read()
    detail = here.detail(0)
    assert (detail["images"], detail["given"], detail["row"]["answer"]) == ([{"size": [30, 20], "missing": True}], [], "x")
    assert "--data DIR" in detail["notes"][0]
    assert (moved.detail(0)["images"], moved.detail(0)["given"]) == ([{"size": [30, 20]}], [{"box": [1, 2, 3, 4]}])
    assert Image.open(io.BytesIO(moved.picture(0, 0)[0])).size == (30, 20)


def test_regions_given_with_the_question_are_told_of_a_video_frame_by_frame() -> None:
    frame = Picture(Path("frame.png"))
    mask = Mask("0120", Size(2, 2))
    photo = Sample("1", "", "", (frame,), Wants("text"), target="", given=(Box(1, 2, 3, 4), Point(5, 6), mask))
    coco = {"size": [2, 2], "counts": "0120"}
    assert regions(photo) == [{"box": [1, 2, 3, 4]}, {"point": [5, 6]}, {"mask": coco}]
    video = Sample("1", "", "", (frame, frame), Wants("text", form="video"), target="", given=(None, mask, Box(1, 2, 3, 4), None))
    assert regions(video) == [{"mask": [None, coco]}, {"box": [1, 2, 3, 4]}]
