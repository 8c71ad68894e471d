"""The numbers that papers report, from results/published.csv.

One row a number, in the unit that papers print: shares, IoUs and average precisions in percent, sums of points as they are. `subset` is
as in a run's rows. `rule` is the rule by which replies were read: `unstated` where the source does not say. `protocol`, `resolution`,
`judge` and `n` are empty where the source says nothing. `source` is where the number was read; `flag` says why it may not be what its
column says it is.
"""

import csv
from dataclasses import dataclass, fields
from pathlib import Path

from ..errors import DataError


@dataclass(frozen=True, slots=True)
class Published:
    """A number of a paper."""

    model: str
    task: str
    metric: str
    rule: str
    subset: str
    value: float
    """In percent, or points."""
    written: str
    """The value to the digits in which it was published."""
    protocol: str
    resolution: str
    judge: str
    n: int | None
    source: str
    flag: str


COLUMNS = tuple(spec.name for spec in fields(Published) if spec.name != "written")


def home() -> Path:
    """The file, inside the wheel or beside the package."""
    package = Path(__file__).parents[1]
    return next(folder / "results" / "published.csv" for folder in (package / "_bundled", package.parent) if (folder / "results").is_dir())


def published(path: Path | None = None) -> list[Published]:
    """The rows of the file, in its order.

    Raises:
        DataError: a row is not as the others; the message names its line.
    """
    path = path or home()
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        head = next(reader, [])
        if tuple(head) != COLUMNS:
            raise DataError(f"expected the columns {', '.join(COLUMNS)} in {path}, got {', '.join(head) or 'none'}")
        return [_row(dict(zip(COLUMNS, cells, strict=False)), len(cells), f"{path}, line {reader.line_num}") for cells in reader]


def _row(cells: dict[str, str], count: int, where: str) -> Published:
    if count != len(COLUMNS):
        raise DataError(f"expected {len(COLUMNS)} values in {where}, got {count}")
    lacking = [name for name in ("model", "task", "metric", "rule", "subset", "value", "source") if not cells[name].strip()]
    if lacking:
        raise DataError(f"expected a value for {', '.join(lacking)} in {where}, got none")
    try:
        value, n = float(cells["value"]), int(cells["n"]) if cells["n"] else None
    except ValueError as error:
        raise DataError(f"expected numbers as value and n in {where}: {error}") from error
    texts = {name: text for name, text in cells.items() if name not in ("value", "n")}
    return Published(value=value, written=cells["value"], n=n, **texts)
