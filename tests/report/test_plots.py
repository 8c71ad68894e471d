"""Plots of runs: what is drawn, read from the figure's artists; the same bytes for the same runs; and what a mistake is told."""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, StepPatch

from evalkit.cli.plot import command
from evalkit.errors import Refused, UserError
from evalkit.report.plots import KINDS, Asked, Plot, draw, paper
from evalkit.report.runs import opened

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with paper.styled():
        yield


@pytest.fixture
def for_kind(run_folder: Write, replies: dict[str, Any]) -> Callable[[str], list[Path]]:
    """Runs that have what a kind draws."""

    def made(kind: str) -> list[Path]:
        if kind == "curve":
            return [run_folder(f"step{step}", replies["erring"](0.5 - step / 1000), label=[f"step={step}"]) for step in (100, 200, 400)]
        if kind == "tools":
            return [run_folder("tools", replies["with_tools"], protocol="pixel_reasoner")]
        return [run_folder("erased", replies["erased"], probe=True)] if kind == "attention" else [run_folder()]

    return made


def drawn(kind: str, *folders: Path, **asked: Any) -> Plot:
    return draw(kind, opened(folders), Asked(**asked))


def refused(kind: str, *folders: Path, **asked: Any) -> str:
    with pytest.raises(UserError) as error:
        drawn(kind, *folders, **asked)
    return str(error.value)


def line(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    """The places and values of the line called so."""
    (found,) = [line for line in axes.lines if line.get_label() == label]
    return [float(x) for x in found.get_xdata()], [float(y) for y in found.get_ydata()]


def spans(axes: Axes, label: str) -> list[tuple[float, float]]:
    """The ends of the intervals drawn as upright bars."""
    (found,) = [bars for bars in axes.collections if isinstance(bars, LineCollection) and bars.get_label() == label]
    return [(float(ends[0][1]), float(ends[1][1])) for ends in found.get_segments()]


def numbers(folder: Path, metric: str, rule: str = "official") -> dict[str, dict[str, Any]]:
    rows = json.loads((folder / "summary.json").read_text())["numbers"]
    return {row["subset"]: row for row in rows if (row["metric"], row["rule"]) == (metric, rule)}


def replies_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (folder / "predictions.jsonl").read_text().splitlines()]


def records_of(folder: Path, metric: str, rule: str = "official") -> dict[str, dict[str, Any]]:
    rows = [json.loads(text) for text in (folder / "records.jsonl").read_text().splitlines()]
    return {row["sample"]: row for row in rows if (row["metric"], row["rule"]) == (metric, rule)}


# ---------------------------------------------------------------- what is drawn


def test_a_curve_goes_through_each_runs_number_over_its_label_with_bands_and_the_floor(for_kind: Callable[[str], list[Path]]) -> None:
    folders = for_kind("curve")
    plot = drawn("curve", *reversed(folders), metric="accuracy,grounding_iou")
    above, below = plot.figure.axes
    for axes, metric in ((above, "accuracy"), (below, "grounding_iou")):
        rows = [numbers(folder, metric)["overall"] for folder in folders]
        assert line(axes, "shapes") == ([100, 200, 400], [row["value"] for row in rows])
        (band,) = axes.collections
        corners = {(float(x), float(y)) for x, y in band.get_paths()[0].vertices}
        assert {(x, row[end]) for x, row in zip((100, 200, 400), rows, strict=True) for end in ("low", "high")} <= corners
    assert line(above, "floor of shapes")[1] == [numbers(folder, "accuracy_floor", "majority")["overall"]["value"] for folder in folders]
    assert [axes.get_ylabel() for axes in (above, below)] == ["accuracy (%)\nn = 36", "grounding IoU\nn = 46"]
    assert below.get_xlabel() == "step"
    assert "best constant answer" in legend(plot.figure)
    assert all(run.name in " ".join(plot.notes) for run in folders)  # each is a part of the benchmark


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_runs_that_differ_in_another_label_are_lines_of_their_own(run_folder: Write) -> None:
    for data in "AB":
        for step in (1, 2):
            run_folder(f"{data}{step}", label=[f"step={step}", f"data={data}"])
    folder = run_folder("other").parent
    names = [folder / f"{data}{step}" for data in "AB" for step in (1, 2)]
    assert legend(drawn("curve", *names, x="step").figure)[:2] == ["shapes, data=A", "shapes, data=B"]


def test_a_curve_over_a_wide_range_is_logarithmic(run_folder: Write) -> None:
    wide = [run_folder(f"w{rows}", samples=8, label=[f"rows={rows}"]) for rows in (20, 500, 7000)]
    assert drawn("curve", *wide).figure.axes[0].get_xscale() == "log"
    assert drawn("curve", *wide[:1], run_folder("near", samples=8, label=["rows=100"])).figure.axes[0].get_xscale() == "linear"


def test_the_histogram_holds_every_sample_once_and_marks_those_without_any_overlap(run_folder: Write) -> None:
    folder = run_folder()
    values = [row["iou"] for row in records_of(folder, "grounding_iou").values()]
    (axes,) = drawn("iou", folder).figure.axes
    (steps,) = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
    shares, edges, _ = steps.get_data()
    assert shares.sum() == pytest.approx(1)
    assert shares[10] == pytest.approx(sum(0.5 <= value < 0.55 for value in values) / len(values))
    assert (len(shares), edges[0], edges[-1]) == (20, 0, 1)
    (none,) = [patch for patch in axes.patches if type(patch) is Rectangle and patch.get_width() == pytest.approx(0.05)]
    assert none.get_height() == pytest.approx(values.count(0) / len(values)) != 0
    assert line(axes, "mean of mine")[0] == [numbers(folder, "grounding_iou")["overall"]["value"]] * 2


def test_subsets_are_drawn_as_the_summary_has_them_best_first(run_folder: Write) -> None:
    folder = run_folder()
    rows = numbers(folder, "accuracy")
    (axes,) = drawn("accuracy-by", folder).figure.axes
    values, places = line(axes, "mine")
    assert values == sorted((row["value"] for subset, row in rows.items() if subset != "overall"), reverse=True)
    assert places == [0, 1, 2]
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert sorted(names) == ["choice (12)", "count (12)", "yes_no (12)"]
    assert rows[names[0].split()[0]]["value"] == values[0]
    assert len(line(axes, "floor")[0]) == 3
    assert line(axes, "all samples of mine")[0] == [rows["overall"]["value"]] * 2


def test_accuracy_by_count_is_that_of_the_samples_with_that_target(run_folder: Write) -> None:
    folder = run_folder()
    correct = records_of(folder, "accuracy")
    by: dict[int, list[float]] = defaultdict(list)
    for row in replies_of(folder):
        if isinstance(row["target"], int):
            by[row["target"]].append(correct[row["sample"]]["correct"])
    (axes,) = drawn("accuracy-by", folder, by="count").figure.axes
    assert line(axes, "mine") == (list(range(6)), [sum(by[count]) / len(by[count]) for count in range(6)])
    assert [text.get_text() for text in axes.get_xticklabels()] == [f"{count}\n{len(by[count])}" for count in range(6)]
    assert all(low <= value <= high for value, (low, high) in zip(line(axes, "mine")[1], spans(axes, "95% interval of mine"), strict=True))


def test_box_sizes_are_shares_of_the_image_and_hold_every_sample_with_a_region(run_folder: Write) -> None:
    folder = run_folder()
    plot = drawn("accuracy-by", folder, by="box-size", metric="grounding_iou")
    names, ns = zip(*(text.get_text().split("\n") for text in plot.figure.axes[0].get_xticklabels()), strict=True)
    assert set(names) <= {"1–3", "3–10", "10–30", "≥ 30"}  # a shape's side is about a fifth of the image's; several are asked for
    assert sum(map(int, ns)) == numbers(folder, "grounding_iou")["overall"]["n"]


def test_two_runs_stand_side_by_side_and_are_named_by_what_tells_them_apart(run_folder: Write, replies: dict[str, Any]) -> None:
    folders = [run_folder("first"), run_folder("second", replies["erring"](0.0), protocol="direct")]
    (axes,) = drawn("accuracy-by", *folders, by="count").figure.axes
    first, second = line(axes, "first, grit"), line(axes, "second, direct")
    assert all(b - a == pytest.approx(0.25) for a, b in zip(first[0], second[0], strict=True))
    assert second[1] == [1.0] * 6


def test_tool_use_is_drawn_against_accuracy_with_the_failures(for_kind: Callable[[str], list[Path]]) -> None:
    (folder,) = for_kind("tools")
    used, correct = records_of(folder, "operations"), records_of(folder, "accuracy")
    by: dict[int, list[str]] = defaultdict(list)
    for name in correct:
        by[int(used[name]["asked"])].append(name)
    above, below = drawn("tools", folder).figure.axes
    assert line(above, "tools") == (
        sorted(by),
        [sum(correct[name]["correct"] for name in by[asked]) / len(by[asked]) for asked in sorted(by)],
    )
    done, failed = below.containers
    assert sum(bar.get_height() for bar in [*done, *failed]) == pytest.approx(1)
    assert sum(bar.get_height() for bar in failed) == pytest.approx(sum(used[name]["failed"] > 0 for name in correct) / len(correct)) != 0
    assert [text.get_text() for text in below.get_xticklabels()] == [f"{asked}\n{len(by[asked])}" for asked in sorted(by)]


def test_boxes_are_drawn_against_the_count_that_the_reply_answers(run_folder: Write) -> None:
    folder = run_folder()
    read = records_of(folder, "accuracy")
    pairs = [
        (read[row["sample"]]["value"], len({tuple(item["written"]) for item in row.get("evidence", ())}))
        for row in replies_of(folder)
        if isinstance(row["target"], int)
    ]
    plot = drawn("calibration", folder)
    (axes,) = plot.figure.axes
    (discs,) = [found for found in axes.collections if isinstance(found, PathCollection)]
    assert {tuple(place) for place in discs.get_offsets()} == set(pairs)
    answers, means = line(axes, "mine")
    assert means == [pytest.approx(sum(b for a, b in pairs if a == answer) / sum(a == answer for a, _ in pairs)) for answer in answers]
    equal = sum(answer == boxes for answer, boxes in pairs) / len(pairs)
    assert f"mine: mean; equal in {equal:.0%}, n = {len(pairs)}" in legend(plot.figure)


def test_attention_is_paired_by_sample_and_mapped_over_the_image(for_kind: Callable[[str], list[Path]]) -> None:
    (folder,) = for_kind("attention")
    rows = {row["sample"]: row["verdicts"]["box_erasure"] for row in replies_of(folder)}
    plot = drawn("attention", folder, sample="shapes/7")
    first, second, bar, paired = plot.figure.axes
    (lines,) = [found for found in paired.collections if found.get_label() == "samples"]
    ends = {(float(ends[0][1]), float(ends[1][1])) for ends in lines.get_segments()}
    assert ends == {tuple(rows[name][context]["attention"] for context in ("with_boxes", "without_boxes")) for name in rows}
    for axes, context in ((first, "with_boxes"), (second, "without_boxes")):
        image, heat = axes.images
        assert heat.get_array().tolist() == rows["7"][context]["grids"][0]
        assert heat.get_extent() == image.get_extent() == [0, image.get_array().shape[1], image.get_array().shape[0], 0]
    assert first.images[1].get_clim() == second.images[1].get_clim()
    assert any(isinstance(patch, Rectangle) for patch in first.patches)
    row = numbers(folder, "box_erasure", "evalkit")["overall"]
    assert f"{100 * row['value']:+.1f} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f}) points, n = 48" in paired.get_xlabel()
    assert bar.get_ylabel() == "% of all, a cell"


def test_without_a_named_sample_the_median_one_is_mapped(for_kind: Callable[[str], list[Path]]) -> None:
    (folder,) = for_kind("attention")
    rows = {row["sample"]: row["verdicts"]["box_erasure"] for row in replies_of(folder)}
    ordered = sorted(rows, key=lambda name: rows[name]["with_boxes"]["attention"] - rows[name]["without_boxes"]["attention"])
    assert f"sample {ordered[23]}." in drawn("attention", folder).caption


# ---------------------------------------------------------------- the file


@pytest.mark.parametrize("ending", ["pdf", "svg", "png"])
def test_the_same_runs_give_the_same_bytes_and_no_date(tmp_path: Path, for_kind: Callable[[str], list[Path]], ending: str) -> None:
    folders = for_kind("attention" if ending == "pdf" else "tools")
    kind = folders[0].name.replace("erased", "attention")
    paths = [tmp_path / f"{place}.{ending}" for place in "ab"]
    for path in paths:
        paper.save(drawn(kind, *folders).figure, path)
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert b"CreationDate" not in first
    assert b"<dc:date>" not in first
    if ending == "pdf":
        assert b"/FontFile2" in first  # TrueType, inside the file
        assert b"/Type3" not in first


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_one_column_wide_and_names_its_axes_and_how_many_samples(
    kind: str, for_kind: Callable[[str], list[Path]], tmp_path: Path
) -> None:
    asked = {"by": "count"} if kind == "accuracy-by" else {}
    plot = drawn(kind, *for_kind(kind), **asked)
    paper.save(plot.figure, tmp_path / "made.png")
    assert plot.figure.get_figwidth() == 3.3
    axes = plot.figure.axes
    assert any(one.get_xlabel() for one in axes)
    assert any(one.get_ylabel() for one in axes)
    texts = [text.get_text() for found in plot.figure.legends for text in found.get_texts()]
    texts += [label for one in axes for label in (one.get_xlabel(), one.get_ylabel())]
    assert any("n = " in text or "(below: n)" in text for text in texts)
    assert "48 of 960 samples of shapes, not the benchmark's number" in plot.notes[0]


def test_names_are_drawn_as_they_are_and_not_as_mathematics(run_folder: Write, tmp_path: Path) -> None:
    folder = run_folder(r"a$\frac{b$_c")
    plot = drawn("iou", folder)
    paper.save(plot.figure, tmp_path / "made.pdf")
    assert r"a$\frac{b$_c" in legend(plot.figure)[0]


def test_what_the_font_lacks_is_said(run_folder: Write, tmp_path: Path) -> None:
    plot = drawn("iou", run_folder("猫"))
    assert "the font of the plots lacks" in paper.save(plot.figure, tmp_path / "made.png")[0]


# ---------------------------------------------------------------- runs that are odd


@pytest.mark.parametrize("kind", ["iou", "calibration", "accuracy-by", "attention", "tools"])
def test_a_single_sample_is_drawn_without_an_interval_that_nobody_knows(
    kind: str, run_folder: Write, replies: dict[str, Any], tmp_path: Path
) -> None:
    answers = {"attention": replies["erased"], "tools": replies["with_tools"]}
    # of nine rows the last, a question for a count, has an answer
    folder = run_folder(
        "one", answers.get(kind), samples=9, gaps=8, probe=kind == "attention", protocol="pixel_reasoner" if kind == "tools" else "grit"
    )
    plot = drawn(kind, folder, **({"by": "count"} if kind == "accuracy-by" else {}))
    paper.save(plot.figure, tmp_path / "one.pdf")
    assert any("8 answers of shapes did not come" in note for note in plot.notes)
    assert "8 gaps" in plot.figure.legends[0].get_title().get_text().replace("\n", " ")


def test_replies_that_are_all_wrong_and_without_boxes_are_drawn_at_zero(run_folder: Write, replies: dict[str, Any], tmp_path: Path) -> None:
    folder = run_folder("wrong", replies["erring"](1.0, boxes=False))
    (axes,) = drawn("accuracy-by", folder, by="count").figure.axes
    assert line(axes, "wrong")[1] == [0.0] * 6
    assert all(high > 0 for _, high in spans(axes, "95% interval of wrong"))
    plot = drawn("iou", folder)
    assert "no overlap at all: 100%" in legend(plot.figure)
    paper.save(plot.figure, tmp_path / "wrong.png")


def test_a_run_without_any_answer_is_told_to_go_on(run_folder: Write) -> None:
    folder = run_folder("gone", gaps=48)
    for kind in ("iou", "accuracy-by"):
        assert "no answer came" in refused(kind, folder, by="subset" if kind == "accuracy-by" else None)


def test_a_run_without_what_a_kind_draws_says_what_to_run(run_folder: Write, replies: dict[str, Any]) -> None:
    folder = run_folder("bare", replies["erring"](boxes=False))
    assert "such as --protocol pixel_reasoner" in refused("tools", folder)
    assert f"--probe box-erasure --engine transformers, and with --reuse {folder}" in refused("attention", folder)
    assert "--protocol grit, which asks for boxes" in refused("calibration", folder)


def test_a_curve_says_which_run_lacks_the_label_and_how_to_give_it(run_folder: Write) -> None:
    labelled, bare = run_folder("labelled", samples=8, label=["step=1"]), run_folder("bare", samples=8)
    assert f"run bare has no label 'step'. Give it: the same `evalkit run` once more with --label step=N --reuse {bare}" in refused(
        "curve", labelled, bare
    )
    assert "a curve needs a label on each run, such as step=200, and bare has none" in refused("curve", bare)
    assert "Did you mean 'step'?" in refused("curve", labelled, x="stp")
    assert "two values of step or more, got only 1" in refused("curve", labelled)
    again = run_folder("again", samples=8, label=["step=1"])
    far = run_folder("far", samples=8, label=["step=3", "epoch=1"])
    assert "labelled and again are both at step=1" in refused("curve", labelled, again, far)
    assert "expected a number as label step of run worded, got 'last'" in refused(
        "curve", labelled, run_folder("worded", samples=8, label=["step=last"]), x="step"
    )
    both = run_folder("both", samples=8, label=["step=2", "epoch=1"])
    assert "name the one that the curve goes over with --x" in refused("curve", both, far)


def test_tasks_that_runs_lack_or_share_are_named(run_folder: Write) -> None:
    one, other = run_folder("one", samples=8), run_folder("other", samples=8, tasks=["shapes:24"])
    two = run_folder("two", samples=8, tasks=["shapes", "shapes:24"])
    assert "no task in common: one has shapes; other has shapes:24" in refused("iou", one, other)
    assert "the runs have shapes, shapes:24: name it with --task" in refused("iou", two)
    assert "run one has no task 'shaps'. Did you mean 'shapes'?" in refused("iou", one, task="shaps")


def test_metrics_rules_and_subsets_that_are_not_there_are_named(run_folder: Write) -> None:
    folder = run_folder(samples=8)
    assert "run mine has no 'acuracy' of shapes. Did you mean 'accuracy'?" in refused("curve", *_curve(run_folder), metric="acuracy")
    assert "by rule 'strickt'. Did you mean 'strict'?" in refused("accuracy-by", folder, by="count", rule="strickt")
    assert "no subsets of shapes by 'relation' have accuracy. There are: box-size, count, subset." in refused(
        "accuracy-by", folder, by="relation"
    )
    assert "'box_f1' of shapes is no mean over samples of mine" in refused("accuracy-by", folder, by="count", metric="box_f1")


def _curve(run_folder: Write) -> list[Path]:
    return [run_folder(f"{place}/mine", samples=8, label=[f"step={place}"]) for place in (1, 2)]


def test_runs_of_another_version_of_the_task_are_not_drawn_together(run_folder: Write) -> None:
    with pytest.raises(Refused, match="one and other are not comparable on shapes: another version of the task"):
        drawn("iou", run_folder("one", samples=8), run_folder("other", samples=8, version=2))


def test_records_that_do_not_go_with_the_predictions_are_refused(run_folder: Write) -> None:
    folder = run_folder(samples=8)
    lines = (folder / "predictions.jsonl").read_text().splitlines(keepends=True)
    (folder / "predictions.jsonl").write_text("".join(lines[:2] + lines[3:]))
    assert f"write both anew with `evalkit score {folder}`" in refused("iou", folder)


def test_an_image_that_is_gone_leaves_the_grids_and_says_so(for_kind: Callable[[str], list[Path]], tmp_path: Path) -> None:
    (folder,) = for_kind("attention")
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"tasks": [\n   "shapes"', f'"tasks": [\n   "{tmp_path}/gone.py"'))
    plot = drawn("attention", folder)
    assert "is not drawn: no task" in plot.notes[-1]
    assert len(plot.figure.axes[0].images) == 1


# ---------------------------------------------------------------- the command


def test_the_command_writes_the_file_and_prints_a_caption_with_the_numbers(run_folder: Write, tmp_path: Path) -> None:
    folder, out = run_folder(), tmp_path / "new" / "made.pdf"
    told = subprocess.run(
        [sys.executable, "-m", "evalkit", "plot", str(folder), "--kind", "iou", "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert out.read_bytes().startswith(b"%PDF")
    assert told.stdout.splitlines()[-1] == str(out)
    assert f"mean {numbers(folder, 'grounding_iou')['overall']['value']:.3g}" in told.stdout
    assert told.stderr.startswith("note: mine: 48 of 960 samples")
    told = subprocess.run(
        [sys.executable, "-m", "evalkit", "plot", str(tmp_path / "new"), "-k", "iou"], capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stdout) == (2, "")
    assert "expected a run's folder, or one that holds some" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--kind", "iou", "--out", "plot.jpg"),
            "expected a file that ends in .pdf, .svg, .png, got --out plot.jpg: name one such as plot.pdf",
        ),
        (("--kind", "iou", "--by", "count"), "--by does nothing for --kind iou: it goes with accuracy-by"),
        (("--kind", "tools", "--x", "step"), "--x does nothing for --kind tools: it goes with curve"),
    ],
)
def test_options_that_do_nothing_are_refused(run_folder: Write, arguments: tuple[str, ...], message: str) -> None:
    told = CliRunner().invoke(command, [str(run_folder(samples=4)), *arguments])
    assert isinstance(told.exception, UserError)
    assert str(told.exception) == message


def test_a_run_that_was_stopped_is_told_to_go_on(run_folder: Write) -> None:
    folder = run_folder(samples=4)
    (folder / "summary.json").unlink()
    told = CliRunner().invoke(command, [str(folder), "--kind", "iou"])
    assert "it was stopped before its end" in str(told.exception)
