"""`evalkit show`: samples of a run."""

import json
from pathlib import Path
from typing import Any

import click

from . import OfRuns


@click.command(cls=OfRuns)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--sample", help="One sample, by its id, or task/id.")
@click.option("--wrong", is_flag=True, help="Only samples that a rule scored wrong.")
@click.option("--limit", default=10, show_default=True, help="How many to show.")
def command(run: Path, sample: str | None, wrong: bool, limit: int) -> int:
    """Show samples of RUN: the question, the reply, what each rule read in it, and what was right."""
    from ..data import read_jsonl
    from ..errors import UserError, did_you_mean
    from ..folder import RunFolder

    folder = RunFolder.at(run)
    gaps = {(entry["task"], gap["sample"]): gap["reason"] for entry in folder.summary()["tasks"] for gap in entry["gaps"]}
    records: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for row in read_jsonl(folder.path / "records.jsonl"):
        records.setdefault((row["task"], row["sample"], row["draw"]), []).append(row)
    shown, known = 0, []
    for row in read_jsonl(folder.path / "predictions.jsonl"):
        mine = records.get((row["task"], row["sample"], row["draw"]), [])
        known.append(row["sample"])
        if sample not in (None, row["sample"], f"{row['task']}/{row['sample']}"):
            continue
        if wrong and not any(_wrong(record) for record in mine):
            continue
        click.echo(_text(row, mine))
        shown += 1
        if shown >= limit and sample is None:
            break
    told = [reason for (task, name), reason in gaps.items() if sample in (name, f"{task}/{name}")]
    if sample is not None and told:
        click.echo(f"{_flat(sample)} has no answer: {_flat(told[0])}")
        return 0
    if sample is not None and not shown:
        raise UserError(f"no sample '{sample}' in {run}. {did_you_mean(sample, known[:1000])}")
    if not shown:
        click.echo("no sample was wrong" if wrong and known else f"nothing to show: {len(gaps)} answers did not come")
    return 0


def _wrong(record: dict[str, Any]) -> bool:
    """Whether a record says that something was missed: a wrong answer, no overlap, a gold box that was not found."""
    return record.get("correct") == 0 or record.get("iou") == 0 or record.get("matched", 0) < record.get("gold", 0)


KNOWN = {"task", "sample", "draw", "rule", "metric", "value", "failure"}


def _text(row: dict[str, Any], records: list[dict[str, Any]]) -> str:
    draw = f" draw {row['draw']}" if row["draw"] else ""
    lines = [click.style(_flat(f"{row['task']}/{row['sample']}{draw}"), bold=True), f"  question  {_flat(row['question'])}"]
    lines += [
        f"  target    {_flat(row['target'])}",
        f"  reply     {_flat(row['text'])}" + ("" if row["finish"] == "stop" else f" [{row['finish']}]"),
    ]
    lines += [f"  box       {[round(v, 1) for v in item['box']]}" for item in row.get("evidence", ()) if item["box"]]
    for record in (record for record in records if record.keys() - KNOWN):
        numbers = ", ".join(f"{name} {value:g}" for name, value in record.items() if name not in KNOWN)
        read = f"unparsed: {_flat(record['failure'])}" if record["failure"] else f"read {_flat(record['value'])[:60]}"
        lines.append(f"  {record['rule']:9} {record['metric']}: {read} -> {numbers}")
    return "\n".join(lines)


def _flat(value: Any) -> str:
    """The value on one line, with nothing in it that a terminal would obey."""
    from ..report.form import plain

    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ⏎ ".join(map(plain, text.split("\n")))
