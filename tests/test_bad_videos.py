"""A run over videos of which one does not decode: a gap that says so, the others answered, and filled once the video is whole."""

from collections.abc import Callable
from pathlib import Path

import evalkit

TASK = """
from pathlib import Path

from evalkit import Accuracy, Image, Rule, Sample, Still, Task, Wants

VARIANTS = ()
DATA = None
HERE = Path(__file__).parent


def task(variant, data):
    return Task("clips", 1, samples, (Rule("strict", lambda p, s: p.answer, Accuracy()),), "accuracy", ("text",))


def samples():
    for name in ("whole", "broken"):
        still = Image(HERE / f"{name}.mp4").derive(Still(8))
        yield Sample(name, "How grey?", "How grey?", (still,), Wants("text", form="video"), "64")
"""
PLUGIN = """
class Grey:
    def generate(self, messages, images):
        return str(round(images[0].getpixel((60, 44))[0] / 8) * 8)
"""


def test_a_video_that_does_not_decode_is_a_gap_and_the_next_run_fills_it(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    (tmp_path / "clips.py").write_text(TASK)
    (tmp_path / "grey.py").write_text(PLUGIN)
    whole = make_video(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 500)

    def run() -> evalkit.Summary:
        return evalkit.run(f"plugin:{tmp_path / 'grey.py'}:Grey", str(tmp_path / "clips.py"), out=tmp_path / "out")

    summary = run()
    assert not summary.complete
    [gap] = summary.tasks[0]["gaps"]
    assert gap["sample"] == "broken"
    assert "broken.mp4" in gap["reason"]
    [row] = [row for row in summary.numbers if row["rule"] == "strict"]
    assert (row["value"], row["n"], row["gaps"]) == (1.0, 1, 1)
    (tmp_path / "broken.mp4").write_bytes(whole)
    again = run()
    assert again.complete
    assert (again.folder, again.value("clips", "accuracy", "strict")) == (summary.folder, 1.0)
