"""What every test may use."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def shared() -> Callable[[str], Path]:
    """Finds real data beside the checkout, or skips the test, saying so."""

    def find(place: str) -> Path:
        if not (SHARED / place).exists():
            pytest.skip(f"the shared data ../shared/{place} is absent")
        return SHARED / place

    return find


@pytest.fixture
def golden_data(tmp_path: Path) -> Callable[[Path], Path]:
    """Writes the data that the first line of a task's golden file holds, in the benchmark's own layout, into a folder."""

    def write(golden: Path) -> Path:
        head = json.loads(golden.read_text(encoding="utf-8").splitlines()[0])
        folder = tmp_path / "golden data"
        for place, content in head["files"].items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, dict) and "draw" in content:
                Image.new("RGB", tuple(content["draw"]), "gray").save(path)
            elif isinstance(content, str):
                path.write_text(content, encoding="utf-8", newline="")
            else:
                lines = [json.dumps(row) for row in content] if path.suffix == ".jsonl" else [json.dumps(content)]
                path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return folder

    return write
