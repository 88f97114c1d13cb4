"""A PNG's filters, and a deflater for what is behind them: the same bytes on every machine, at the speed of memory.

How it is done stands in `deflate_code`; importing this module loads what was compiled from it, or has it compiled. The
GIL is released.
"""

import contextlib
import ctypes
import zlib

import numpy as np

from batchgray.kernels import machine_code

NONE, SUB, UP, AVERAGE, PAETH = range(5)
BLOCK_BYTES = 1 << 17  # with codes of their own; of photographs, half and twice as many come out larger

_SCRATCH = 4224  # numbers, as `deflate_code` lays them out
_HEAD_BYTES = 1024  # more than a block's head takes
_EMPTY_LAST_BLOCK = (0b011, 10)  # the bits, and how many
_ADDRESS, _NUMBER = ctypes.c_void_p, ctypes.c_int64
_TYPES = {
    "filter_rows": ctypes.CFUNCTYPE(None, _ADDRESS, _ADDRESS, *[_NUMBER] * 4, _ADDRESS, _ADDRESS),
    "adler32": ctypes.CFUNCTYPE(_NUMBER, _ADDRESS, _NUMBER, _NUMBER),
    "deflate": ctypes.CFUNCTYPE(_NUMBER, _ADDRESS, _NUMBER, _ADDRESS, _ADDRESS, _ADDRESS),
}


def filter_rows(gray: np.ndarray, top: int, filters: tuple[int, int], target: np.ndarray) -> None:
    """Filter rows of `gray`, uint8 of shape (height, width), from `top` on.

    Into `target`, uint8 of shape (rows, width + 1): each with its filter's type before it. Of the filters from the
    first to the last of `filters`, each row gets the one whose bytes, taken as signed, are the smallest. Both are
    contiguous.
    """
    width, count = gray.shape[1], len(target)
    work = np.empty(width, np.uint8)
    above = gray[top - 1] if top else np.zeros(width, np.uint8)
    rows = gray[top : top + count]
    _filter_rows(_start_of(rows), _start_of(above), width, count, *filters, _start_of(target), _start_of(work))


def adler32(data: np.ndarray, before: int) -> int:
    """As zlib's, of contiguous uint8, and four times as fast."""
    return int(_adler32(_start_of(data), data.size, before))


class Stream:
    """A raw deflate stream (RFC 1951): what its methods return, one after another."""

    def __init__(self) -> None:
        self._target = np.empty(2 * BLOCK_BYTES + _HEAD_BYTES, np.uint8)
        self._state = np.zeros(3, np.int64)  # the bits that fill no byte yet, how many, the bytes filled
        self._scratch = np.empty(_SCRATCH, np.int64)

    def add(self, data: np.ndarray) -> bytes:
        """The whole bytes that `data`, contiguous uint8, adds; some bits may wait for what comes next."""
        arrays = [_start_of(array) for array in (self._target, self._state, self._scratch)]
        start, made = _start_of(data), []
        for at in range(0, data.size, BLOCK_BYTES):
            size = _deflate(start + at, min(BLOCK_BYTES, data.size - at), *arrays)
            made.append(self._target[:size].tobytes())
        return b"".join(made)

    def aligned(self) -> bytes:
        """The bits that wait, and an empty stored block, which ends with a byte (RFC 1951, 3.2.4)."""
        return _last_bits(self._state, 0, 3) + b"\0\0\xff\xff"

    def end(self) -> bytes:
        """The bits that wait, and the last block: of fixed codes, with nothing in it."""
        return _last_bits(self._state, *_EMPTY_LAST_BLOCK)


def _last_bits(state: np.ndarray, bits: int, count: int) -> bytes:
    """The bits that wait, these after them, and zeros up to a byte."""
    waiting, held = int(state[0]), int(state[1])
    state[:] = 0
    return (waiting | bits << held).to_bytes((held + count + 7) // 8, "little")


def _start_of(array: np.ndarray) -> int:
    return array.ctypes.data


def _works(functions: machine_code.Functions) -> bool:
    """A picture of two rows, whose second is the first and one more; and a run between literals."""
    gray, above = np.array([[9, 7, 200], [10, 8, 201]], np.uint8), np.zeros(3, np.uint8)
    target, work = np.zeros((2, 4), np.uint8), np.zeros(3, np.uint8)
    starts = [_start_of(array) for array in (gray, above, target, work)]
    functions["filter_rows"](*starts[:2], 3, 2, NONE, PAETH, *starts[2:])
    if target.tolist() != [[AVERAGE, 9, 3, 197], [UP, 1, 1, 1]]:
        return False
    if functions["adler32"](_start_of(gray), gray.size, 1) != zlib.adler32(gray.data):
        return False
    data = np.array([*range(40), *[7] * 500, *range(90, 100)], np.uint8)
    stream, state, scratch = np.zeros(2000, np.uint8), np.zeros(3, np.int64), np.zeros(_SCRATCH, np.int64)
    starts = [_start_of(array) for array in (data, stream, state, scratch)]
    size = functions["deflate"](starts[0], data.size, *starts[1:])
    with contextlib.suppress(zlib.error):
        whole = stream[:size].tobytes() + _last_bits(state, *_EMPTY_LAST_BLOCK)
        return zlib.decompress(whole, -zlib.MAX_WBITS) == data.tobytes()
    return False


_FUNCTIONS = machine_code.load("deflate_code", _TYPES, _works)
_filter_rows, _adler32, _deflate = (_FUNCTIONS[name] for name in _TYPES)
