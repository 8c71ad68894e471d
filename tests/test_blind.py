"""`--blind`: the same questions without their images, the floor that a score must rise above."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import evalkit
from evalkit import api
from evalkit.errors import Refused

TASK = """
from pathlib import Path

from evalkit import Accuracy, Box, GroundingIoU, Image, Rule, Sample, Task, Wants

VARIANTS = ()
DATA = None


def task(variant, data):
    rules = (
        Rule("strict", lambda p, s: p.answer, Accuracy()),
        Rule("strict", lambda p, s: [item.box for item in p.evidence], GroundingIoU(), reads="boxes"),
    )
    return Task("look", 1, samples, rules, "accuracy", ("text",))


def samples():
    for i in range(4):
        image = Image(Path(__file__).with_name(f"{i}.png"))
        yield Sample(str(i), f"How wide is {i}?", f"How wide is {i}?", (image,), Wants("text"), str(10 + i), regions=(Box(0, 0, 5, 5),))
"""
PLUGIN = """
import json
from pathlib import Path


class Eyes:
    frame = "original"

    def generate(self, messages, images):
        with Path(__file__).with_name("sent.jsonl").open("a") as file:
            file.write(json.dumps([messages, [image.size for image in images]]) + "\\n")
        return str(images[0].width) if images else "10"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for i in range(4):
        Image.new("RGB", (10 + i, 8), "white").save(tmp_path / f"{i}.png")
    (tmp_path / "look.py").write_text(TASK)
    (tmp_path / "eyes.py").write_text(PLUGIN)
    return tmp_path


def run(place: Path, **options: Any) -> api.Summary:
    return evalkit.run(f"plugin:{place / 'eyes.py'}:Eyes", str(place / "look.py"), out=place / "out", **options)


def sent(place: Path) -> list[Any]:
    """What the model was handed so far: messages and the sizes of images."""
    return [json.loads(line) for line in (place / "sent.jsonl").read_text().splitlines()]


def test_the_model_is_sent_the_same_words_and_no_image(place: Path) -> None:
    run(place)
    sighted = sent(place)
    (place / "sent.jsonl").unlink()
    run(place, blind=True)
    assert {len(sizes) for _, sizes in sighted} == {1}
    for messages, _ in sighted:
        messages[0]["content"].remove({"type": "image"})
    assert sorted(map(str, sent(place))) == sorted(str([messages, []]) for messages, _ in sighted)


def test_its_numbers_are_called_blind_and_say_nothing_of_boxes(place: Path) -> None:
    sighted, blind = run(place), run(place, blind=True)
    assert (sighted.protocol, blind.protocol) == ("direct", "direct, blind")
    assert {row["protocol"] for row in blind.numbers} == {"direct, blind"}
    assert "grounding_iou" in {row["metric"] for row in sighted.numbers}
    assert {row["metric"] for row in blind.numbers} == {"accuracy", "accuracy_floor"}
    assert (sighted.value("look", "accuracy", "strict"), blind.value("look", "accuracy", "strict")) == (1.0, 0.25)
    assert "direct, blind" in blind.table()


def test_it_has_a_folder_of_its_own_and_asks_anew(place: Path) -> None:
    sighted, blind = run(place), run(place, blind=True)
    assert sighted.folder != blind.folder
    assert len(sent(place)) == 8
    assert run(place, blind=True).folder == blind.folder
    assert len(sent(place)) == 8


def test_answers_given_with_images_are_not_taken_for_blind_ones(place: Path) -> None:
    sighted = run(place)
    assert run(place, blind=True, reuse=str(sighted.folder)).value("look", "accuracy", "strict") == 0.25
    assert len(sent(place)) == 8


def test_no_image_need_be_there(place: Path) -> None:
    for i in range(4):
        (place / f"{i}.png").unlink()
    summary = run(place, blind=True)
    assert summary.complete
    assert summary.value("look", "accuracy", "strict") == 0.25
    assert not run(place).complete


def test_no_frame_need_be_declared(place: Path) -> None:
    (place / "eyes.py").write_text(PLUGIN.replace('frame = "original"', "frame = None"))
    assert run(place, blind=True).complete


def test_it_is_scored_again_as_it_was_asked(place: Path) -> None:
    summary = run(place, blind=True)
    again, differences = api.score(summary.folder)
    assert (again.numbers, again.protocol, differences) == (summary.numbers, "direct, blind", [])
    assert len(sent(place)) == 4


def test_every_way_of_asking_can_be_blind(place: Path) -> None:
    summary = run(place, protocol="grit", blind=True)
    assert summary.protocol == "grit, blind"
    assert {len(sizes) for _, sizes in sent(place)} == {0}


def test_a_limit_draws_the_same_questions(place: Path) -> None:
    asked = []
    for blind in (False, True):
        run(place, limit=2, blind=blind)
        asked.append({part["text"] for messages, _ in sent(place) for part in messages[0]["content"] if part["type"] == "text"})
        (place / "sent.jsonl").unlink()
    assert asked[0] == asked[1]
    assert len(asked[0]) == 2


def test_replies_that_were_given_already_cannot_be_asked_blind(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    path.write_text('{"sample": "0", "text": "3"}\n')
    with pytest.raises(Refused, match="were given already"):
        evalkit.run(f"replay:{path}", "shapes:24", out=tmp_path / "out", blind=True)
