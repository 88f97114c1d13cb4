"""The rows of a PNG, from top to bottom, in memory for some of them: ISA-L inflates them, a kernel undoes the filters.

Whatever is unusual, or wrong in any way, is left to another reader, which knows what is wrong or that it is harmless.
So all is checked here that any reader checks: the checksums of the headers and of the pixels, and their number. (The
checksums of the chunks of pixels are checked by none: the pixels have their own.)
"""

import zlib

import numpy as np

from batchgray.codecs.excerpt import Contents
from batchgray.codecs.inflating import BAND_BYTES, INPUT_BYTES, Inflated, Unsound, in_pieces
from batchgray.codecs.png_outline import PngOutline, image_data
from batchgray.kernels.unfilter import Unfilter

# Of each colour type. Gray with alpha, of 16 bits, is what Pillow takes for colours, so it stays with Pillow.
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8,), 6: (8, 16)}
_METHODS = b"\0\0\0"  # of compression, of filtering, of interlacing (none)
_HEADER_BYTES = 13
_PALETTE, _MOST_COLOURS = 3, 256


def can_read(outline: PngOutline, data: Contents) -> bool:
    """Whether this is the reader for a PNG, as far as its headers tell."""
    usual = outline.depth in _DEPTHS.get(outline.colour_type, ()) and data[26:29] == _METHODS
    if not usual or outline.odd or int.from_bytes(data[8:12], "big") != _HEADER_BYTES:
        return False
    if outline.colour_type == _PALETTE and not 0 < len(outline.palette) <= 3 * _MOST_COLOURS:
        return False
    return all(_is_whole(data, chunk) for chunk in outline.headers)


def _is_whole(data: Contents, chunk: slice) -> bool:
    """Whether a chunk's checksum is right."""
    return zlib.crc32(data[chunk.start + 4 : chunk.stop - 4]).to_bytes(4, "big") == data[chunk.stop - 4 : chunk.stop]


class PngRows:
    """Of a PNG that `can_read` says it can: rows as the samples lie in the file, each of `row_bytes`.

    `band_rows` at a time are the fastest; `scratch_bytes` is what is held besides them.
    """

    def __init__(self, data: Contents, outline: PngOutline) -> None:
        self.row_bytes = -(-outline.width * outline.pixel_bits // 8)
        self.band_rows = min(max(1, BAND_BYTES // (self.row_bytes + 1)), outline.height)
        self._unread = outline.height
        self._unfilter = Unfilter(self.row_bytes, max(1, outline.pixel_bits // 8))
        self._stream = in_pieces(data, image_data(data, outline))
        self._inflated: Inflated | None = None

    @property
    def scratch_bytes(self) -> int:
        """The rows as inflated, twice while they are put together; the two that the kernel holds; and the inputs."""
        return 2 * (self.band_rows + 1) * (self.row_bytes + 1) + 2 * self.row_bytes + 4 * INPUT_BYTES

    def read(self, target: np.ndarray) -> None:
        """The next rows, as many as `target` has, which is uint8 of shape (rows, row_bytes) and contiguous.

        Raises Unsound, with the last rows also for what is behind them.
        """
        inflated = self._inflated = self._inflated or Inflated(self._stream)
        for top in range(0, len(target), self.band_rows):
            rows = target[top : top + self.band_rows]
            filtered = inflated.read(len(rows) * (self.row_bytes + 1))
            if not self._unfilter.rows(filtered, rows):
                raise Unsound("no such filter")
            self._unread -= len(rows)
        if not self._unread:
            inflated.finish()
