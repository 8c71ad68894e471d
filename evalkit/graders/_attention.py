"""What probes make of the attention that an engine gives."""

from collections.abc import Sequence

Grid = Sequence[Sequence[float]]
"""Rows of an image's visual tokens, each with its share of the attention, which over all tokens of the context is 1."""


def rounded(grids: Sequence[Grid]) -> list[list[list[float]]]:
    """The grids to 6 significant digits, as lists that go into JSON.

    >>> rounded([((0.123456789, 1.5e-7),)])
    [[[0.123457, 1.5e-07]]]
    """
    return [[[float(f"{share:.6g}") for share in row] for row in grid] for grid in grids]


def whole(grid: Grid) -> float:
    """The attention that an image gets, in [0, 1]: the sum over its visual tokens.

    >>> whole([[0.25, 0.125], [0.0, 0.125]])
    0.5
    """
    return sum(share for row in grid for share in row)
