"""What every test may use."""

from collections.abc import Callable
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def shared() -> Callable[[str], Path]:
    """Finds real data beside the checkout, or skips the test, saying so."""

    def find(place: str) -> Path:
        if not (SHARED / place).exists():
            pytest.skip(f"the shared data ../shared/{place} is absent")
        return SHARED / place

    return find
