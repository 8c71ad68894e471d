"""A run pushed to Weights & Biases, by the real package without a network: what it wrote is read back from the files it keeps to send."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import evalkit
from evalkit.cli.push import command
from evalkit.errors import UserError
from evalkit.geometry import Box, Size
from evalkit.report.push_wandb import boxes, chosen, config_of, masks, shown, summary_of
from evalkit.report.runs import Run, opened
from evalkit.rle import decode_mask, encode_mask, fitted_mask

SECRET = "0123456789abcdef0123456789abcdef01234567"
HOSTILE = '\ud800\x00</script>"\\ ,\n'
PLUGIN = f"""
class Mine:
    frame = "original"

    def generate(self, messages, images):
        if "red" in str(messages):
            raise RuntimeError("no answer")
        return {HOSTILE!r} + '<answer>{{"bbox_2d": [1, 2, 30, 40]}}</answer>'
"""
OWN = """
from pathlib import Path

from evalkit import Accuracy, Image, Rule, Sample, Task, Wants

VARIANTS = ()
DATA = None


def task(variant, data):
    return Task("../own", 1, samples, (Rule("official", lambda p, s: p.answer, Accuracy()),), "accuracy", ("text",))


def samples():
    for number in range(2):
        asked = "red" if number else "blue"
        yield Sample(str(number), asked, asked, (Image(Path(HERE) / f"{number}.png"),), Wants("text"), "a")
"""

Write = Callable[..., Path]


def push(folder: Path, place: Path, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`evalkit push` in a process of its own, where nothing of the user's wandb is seen."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    own = {
        "HOME": str(place),
        "WANDB_DATA_DIR": str(place / "data"),
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_BASE_URL": "http://127.0.0.1:9",
    }
    words = [sys.executable, "-m", "evalkit", "push", str(folder), "--to", "wandb", *options]
    environ = {**known, **own, "PYTHONPATH": str(Path(evalkit.__file__).parents[1]), **environ}
    return subprocess.run(words, cwd=place, env=environ, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


class Sent:
    """What an offline run's file holds. Its records are length-prefixed chunks in blocks of 32 KiB, as in LevelDB's log."""

    def __init__(self, place: Path) -> None:
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.run: Any = None
        self.files: dict[str, Path] = {}
        (self.file,) = place.glob("wandb/offline-run-*/*.wandb")
        for record in self._records(self.file.read_bytes()):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = self.run or record.run
                self.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update if item.key}
            elif kind == "summary":
                self.summary |= {item.key: json.loads(item.value_json) for item in record.summary.update if item.key}
            elif kind == "artifact":
                self.files |= {item.path: Path(item.local_path) for item in record.artifact.manifest.contents}

    @staticmethod
    def _records(data: bytes) -> Iterator[Any]:
        from wandb.proto.wandb_internal_pb2 import Record

        place, whole = 7, b""
        while place < len(data):
            if (left := 32768 - place % 32768) < 7:
                place += left
                continue
            _, length, kind = struct.unpack("<IHB", data[place : place + 7])
            whole += data[place + 7 : place + 7 + length]
            place += 7 + length
            if kind in (1, 4):  # a whole record, or its last part
                yield Record.FromString(whole)
                whole = b""

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a table."""
        table = json.loads(self.files[f"samples/{name}.table.json"].read_text("utf-8"))
        return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The oracle's answers, with boxes and masks."""
    folder = tmp_path_factory.mktemp("runs")
    made = evalkit.run("oracle", ["shapes", "shapes:mask-240"], protocol="grit", limit=12, label=["step=30"], out=folder)
    return opened([made.folder])[0]


@pytest.fixture(scope="module")
def sent(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """What was written of it."""
    pytest.importorskip("wandb")
    place = tmp_path_factory.mktemp("offline")
    done = push(run.folder.path, place, "--offline", "--limit", "6", "--project", "team/shapes", WANDB_API_KEY=SECRET)
    assert done.returncode == 0, done.stderr
    made = Sent(place)
    assert f"wandb sync {made.file.parent}" in done.stdout
    assert SECRET not in done.stdout + done.stderr
    return made


def test_every_number_is_in_the_summary_with_its_interval_and_a_part_of_a_benchmark_says_so(run: Run, sent: Sent) -> None:
    row = run.numbers("shapes", "grounding_iou")["overall"]
    name = "shapes (partial)/grounding_iou"
    assert [sent.summary[f"{name}{end}"] for end in ("", "_low", "_high", "_n")] == [row[key] for key in ("value", "low", "high", "n")]
    assert {key: value for key, value in sent.summary.items() if "/" in key and not key.startswith("samples/")} == pytest.approx(
        summary_of(run)
    )
    assert list(sent.run.tags) == ["partial"]
    assert "shapes: only 12 of 960 samples were asked, so it is not the benchmark's number" in sent.run.notes


def test_the_config_says_what_was_run_and_nothing_of_the_machine(run: Run, sent: Sent) -> None:
    assert (sent.run.entity, sent.run.project, sent.run.display_name) == ("team", "shapes", run.name)
    assert (sent.config["model"], sent.config["protocol"], sent.config["labels"]) == ("oracle", "grit", {"step": 30})
    assert {key: value for key, value in sent.config.items() if key != "_wandb"} == config_of(run)
    written = sent.file.read_bytes().replace(str(sent.file.parent.parent.parent).encode(), b"")
    assert str(run.folder.path.parent).encode() not in written
    assert SECRET.encode() not in written
    assert sent.run.host == ""


def test_no_more_samples_have_a_row_than_asked_for_with_reply_answer_and_scores(run: Run, sent: Sent) -> None:
    rows = sent.rows("shapes")
    known = {row["sample"]: (row, records) for row, records in run.rows("shapes")}
    assert len(rows) == 6
    for row in rows:
        prediction, records = known[row["sample"]]
        assert (row["reply"], row["answer"], row["question"]) == tuple(prediction[key] for key in ("text", "answer", "question"))
        scores = {f"{one['metric']} ({one['rule']})": one["iou"] for one in records if "iou" in one}
        assert scores.items() <= row.items()


def test_a_row_of_boxes_has_the_picture_with_gold_and_predicted_boxes_in_shares_of_its_sides(run: Run, sent: Sent) -> None:
    known = {row["sample"]: row for row, _ in run.rows("shapes")}
    drawn = 0
    for row in sent.rows("shapes"):
        image = row["image"]
        with Image.open(sent.files[image["path"]]) as picture:
            assert picture.size == (image["width"], image["height"])
            width, height = picture.size
        layers = image.get("boxes") or {}
        gold = known[row["sample"]].get("gold", {}).get("boxes", [])
        drawn += len(gold)
        for name, number in (("gold", 1), ("predicted", 2)):
            assert {one["class_id"] for one in layers.get(name, [])} <= {number}
            edges = [[one["position"][key] for key in ("minX", "minY", "maxX", "maxY")] for one in layers.get(name, [])]
            scaled = [[x1 * width, y1 * height, x2 * width, y2 * height] for x1, y1, x2, y2 in edges]
            assert sorted(scaled)[: len(gold)] == [pytest.approx(box, abs=1e-6) for box in sorted(gold)]
    assert drawn


def test_a_row_of_masks_has_gold_and_predicted_pixel_by_pixel(run: Run, sent: Sent) -> None:
    known = {row["sample"]: row for row, _ in run.rows("shapes:mask-240")}
    rows = sent.rows("shapes-mask-240")
    assert len(rows) == 6
    for row in rows:
        for name, number in (("gold", 1), ("predicted", 2)):
            plain = known[row["sample"]]["gold"]["masks"] if name == "gold" else known[row["sample"]]["masks"]
            with Image.open(sent.files[row["image"]["masks"][name]["path"]]) as picture:
                classes = np.asarray(picture)
            size = Size(*reversed(plain[0]["size"]))
            fitted = fitted_mask(evalkit.Mask(plain[0]["counts"], size), size)
            assert isinstance(fitted, evalkit.Mask)
            assert (classes == np.where(decode_mask(fitted), number, 0)).all()


def test_a_run_with_gaps_hostile_signs_and_images_that_are_gone_is_pushed_and_all_of_it_told(tmp_path: Path) -> None:
    """WANDB_MODE=offline does what --offline does, and the table's name stays inside its folder."""
    pytest.importorskip("wandb")
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "own.py").write_text(OWN.replace("HERE", repr(str(tmp_path))).replace("../own", "own: .."))
    for number in range(2):
        Image.new("RGB", (64, 48), "gray").save(tmp_path / f"{number}.png")
    made = evalkit.run(f"plugin:{tmp_path / 'mine.py'}:Mine", str(tmp_path / "own.py"), protocol="grit", out=tmp_path)
    (tmp_path / "0.png").unlink()
    done = push(made.folder, tmp_path, WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    assert "1 answers did not come" in done.stderr
    assert "1 of 1 samples have no picture, as no image at" in done.stderr
    (row,) = Sent(tmp_path).rows("own-..")
    assert row["image"] is None
    assert row["reply"].startswith("\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}</script>")


# ---------------------------------------------------------------- what is drawn


def test_boxes_are_cut_at_the_edge_and_those_outside_or_without_a_frame_left_out() -> None:
    row = {
        "evidence": [{"box": [-10, 0, 10, 40]}, {"box": None}, {"box": [50, 0, 60, 5]}, {"box": [5, 5, 5, 9]}],
        "gold": {"points": [[1, 2]]},
    }
    assert [one["position"] for one in boxes(row, Size(20, 20))["predicted"]] == [{"minX": 0, "minY": 0, "maxX": 0.5, "maxY": 1}]
    assert list(boxes(row, Size(20, 20))) == ["predicted"]
    assert boxes({"gold": {"boxes": [Box(20, 10, 0, 0)]}}, Size(20, 10))["gold"][0]["position"]["maxX"] == 1


def plain(pixels: Any) -> dict[str, Any]:
    mask = encode_mask(np.asarray(pixels))
    return {"size": [mask.size.height, mask.size.width], "counts": mask.counts}


def test_of_a_video_the_first_frame_with_an_object_is_shown_with_that_frames_masks() -> None:
    none, seen, other = plain(np.zeros((2, 3))), plain([[1, 0, 0], [0, 0, 0]]), plain([[0, 0, 1], [0, 0, 0]])
    row = {"masks": [[none, other, other]], "gold": {"masks": [[none, none, seen], [None, seen, none]]}}
    assert shown(row) == 1
    drawn = masks(row, Size(3, 2), 1)
    assert drawn["gold"].tolist() == [[1, 0, 0], [0, 0, 0]]
    assert drawn["predicted"].tolist() == [[0, 0, 2], [0, 0, 0]]
    assert shown({"masks": [[none]], "gold": {"masks": [[none]]}}) == 0


def test_a_mask_of_another_size_or_of_no_runs_is_not_drawn() -> None:
    broken = {"size": [2, 3], "counts": "!!"}
    assert masks({"masks": [plain(np.ones((4, 4))), broken]}, Size(3, 2)) == {}
    assert shown({"masks": [[broken, None]]}) == 0


def test_samples_are_spread_evenly_over_the_run(run_folder: Write) -> None:
    run = opened([run_folder(samples=40, gaps=4)])[0]
    every = [row["sample"] for row, _ in run.rows("shapes")]
    assert [row["sample"] for row, _ in chosen(run, "shapes", 10)] == every[::4][:10]
    assert [row["sample"] for row, _ in chosen(run, "shapes", 1000)] == every


# ---------------------------------------------------------------- mistakes


def called(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(command, [str(folder), "--to", "wandb", *options])


def test_a_dry_run_prints_config_and_summary_and_needs_no_wandb(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    done = called(run.folder.path, "--dry-run", "--limit", "5")
    told = json.loads(done.stdout)
    assert (told["project"], told["samples"]) == ("evalkit", {"shapes": 4, "shapes:mask-240": 4})
    assert (told["config"], told["summary"]) == (config_of(run), summary_of(run))
    assert "not the benchmark's number" in done.stderr


def test_mistakes_are_told_with_the_next_step(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    cases = {
        "found none": (tmp_path,),
        "--repo does nothing with --to wandb": (run.folder.path, "--repo", "a/b"),
        "ENTITY/NAME": (run.folder.path, "--project", "a#b"),
        "needs the package wandb": (run.folder.path,),
        "pip install 'evalkit[push]'": (run.folder.path,),
    }
    for said, (place, *options) in cases.items():
        error = called(Path(place), *map(str, options)).exception
        assert isinstance(error, UserError)
        assert said in str(error)


def test_a_server_that_cannot_be_reached_is_told_and_the_key_never(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    done = push(run.folder.path, tmp_path, WANDB_API_KEY=SECRET, WANDB_INIT_TIMEOUT="2")
    assert done.returncode == 2
    assert "Weights & Biases did not take" in done.stderr
    assert "--offline" in done.stderr
    assert SECRET not in done.stdout + done.stderr
