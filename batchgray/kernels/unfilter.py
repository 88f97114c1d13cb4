"""The filters of PNG undone, of which TIFF has one too: bare arrays in, bare arrays out. The GIL is released.

How it is done stands in `unfilter_code`; importing this module loads what was compiled from it, or has it compiled.
"""

import ctypes

import numpy as np

from batchgray.kernels import machine_code

MARGIN = 8  # bytes behind rows
NONE, SUB = range(2)

_OF_EACH_ROW = -1

_ADDRESS, _NUMBER = ctypes.c_void_p, ctypes.c_int64
_TYPES = {"unfilter": ctypes.CFUNCTYPE(_NUMBER, *[_ADDRESS] * 4, *[_NUMBER] * 4)}


class Unfilter:
    """The filters of an image's rows undone, from top to bottom.

    `row_bytes` is how long a row is, `pixel_bytes` how far a byte's left neighbour is away: from 1 to 8. `only` is the
    filter of all rows, where they don't say it themselves.
    """

    def __init__(self, row_bytes: int, pixel_bytes: int, only: int = _OF_EACH_ROW) -> None:
        self._pixel_bytes, self._only = pixel_bytes, only
        self._above, self._last = (np.zeros(row_bytes + MARGIN, np.uint8) for _ in range(2))

    def rows(self, filtered: np.ndarray, target: np.ndarray) -> bool:
        """The next rows, as many as `target` has, which is uint8 of shape (rows, row_bytes) and contiguous.

        `filtered`, contiguous uint8, has them each behind its filter's type, if it has one, and MARGIN bytes more.
        Returns whether all types are filters; else `target` has rows that mean nothing. Raises ValueError where
        `filtered` is short.
        """
        rows, row_bytes = target.shape
        least = rows * (row_bytes + (self._only == _OF_EACH_ROW)) + MARGIN
        if filtered.size < least or row_bytes + MARGIN != self._above.size:
            raise ValueError("rows of another length")
        starts = (array.ctypes.data for array in (filtered, self._above, target, self._last))
        return bool(_unfilter(*starts, rows, row_bytes, self._pixel_bytes, self._only) == rows)


def _works(functions: machine_code.Functions) -> bool:
    """A row behind each of the filters, below one of 200, by what the standard says (PNG, 9.2)."""
    filtered = np.array([[kind, *range(100, 212, 16)] for kind in range(5)] + [[0] * MARGIN], np.uint8)
    made, above, last = np.zeros((5, 7), np.uint8), np.full(16, 200, np.uint8), np.zeros(16, np.uint8)
    starts = (array.ctypes.data for array in (filtered, above, made, last))
    return functions["unfilter"](*starts, 5, 7, 3, _OF_EACH_ROW) == 5 and made.tolist() == _UNFILTERED


_UNFILTERED = [
    [100, 116, 132, 148, 164, 180, 196],
    [100, 116, 132, 248, 24, 56, 188],
    [200, 232, 8, 140, 188, 236, 128],
    [200, 232, 136, 62, 118, 110, 35],
    [44, 92, 12, 192, 0, 192, 132],
]
_FUNCTIONS = machine_code.load("unfilter_code", _TYPES, _works)
_unfilter = _FUNCTIONS["unfilter"]
