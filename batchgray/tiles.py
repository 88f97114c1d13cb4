"""Tiles: full-width bands of rows, and the arithmetic on them. No numpy, no I/O.

A tile is contiguous in memory, so that the kernel is one flat loop, and its height is a multiple of 8, so that
tile edges fall on the edges of JPEG blocks and an unfinished tile never shows in a finished neighbour.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

BLOCK_ROWS = 8

# About 0.1 ms of kernel: short enough to hear a signal at once, long enough that the loop around it is lost in
# the noise (about 3 us a tile).
_TILE_PIXELS = 256 * 1024


class Tile(NamedTuple):
    """Rows `top` to `bottom` (exclusive) of an image."""

    index: int  # type: ignore[assignment]  # tuple.index, which nobody misses
    top: int
    bottom: int


def auto_rows(width: int) -> int:
    """Rows in a tile of an image `width` pixels wide: a multiple of 8, at least 8."""
    return max(BLOCK_ROWS, _TILE_PIXELS // max(width, 1) // BLOCK_ROWS * BLOCK_ROWS)


def rounded_rows(rows: int) -> int:
    """The asked-for tile height as a multiple of 8, rounded up."""
    return -(-rows // BLOCK_ROWS) * BLOCK_ROWS


def tile_count(height: int, rows: int) -> int:
    """How many tiles of `rows` rows cover `height` rows; the last may be lower."""
    return -(-height // rows)


def tile_at(index: int, height: int, rows: int) -> Tile:
    """The tile with this index."""
    return Tile(index, index * rows, min((index + 1) * rows, height))


def unfinished(flags: Iterable[int], height: int, rows: int) -> Iterator[Tile]:
    """The tiles whose flag is not raised, top to bottom."""
    return (tile_at(index, height, rows) for index, flag in enumerate(flags) if not flag)


def spans(flags: Iterable[int]) -> list[tuple[int, int]]:
    """Raised flags as [first, last) runs of tile indices."""
    runs: list[tuple[int, int]] = []
    for index, flag in enumerate(flags):
        if flag and runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        elif flag:
            runs.append((index, index + 1))
    return runs
