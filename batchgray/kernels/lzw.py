"""TIFF's LZW undone: bare arrays in, bare arrays out. The GIL is released.

How it is done stands in `lzw_code`; importing this module loads what was compiled from it, or has it compiled.
"""

import ctypes

import numpy as np

from batchgray.kernels import machine_code

MARGIN = 8  # bytes behind what is unfolded

_TABLE = 2 * 4096
TABLE_BYTES = 8 * _TABLE
_ADDRESS, _NUMBER = ctypes.c_void_p, ctypes.c_int64
_TYPES = {"lzw": ctypes.CFUNCTYPE(_NUMBER, _ADDRESS, _NUMBER, _ADDRESS, _NUMBER, _ADDRESS)}


def unfold(source: np.ndarray, target: np.ndarray) -> bool:
    """Unfold `source` to all of `target` but for its last MARGIN bytes; both are contiguous uint8.

    Returns whether the codes make sense and are as many; else `target` has bytes that mean nothing.
    """
    table = np.empty(_TABLE, np.uint64)
    wanted = target.size - MARGIN
    made = _lzw(source.ctypes.data, source.size, target.ctypes.data, wanted, table.ctypes.data)
    return bool(made == wanted)


def _works(functions: machine_code.Functions) -> bool:
    """The example of TIFF 6.0, section 13, and a string that is used while it is made."""
    codes, expected = (256, 7, 258, 8, 8, 258, 6, 262, 257), [7, 7, 7, 8, 8, 7, 7, 6, 7, 7, 6]
    number = sum(code << 9 * place for place, code in enumerate(reversed(codes)))
    source = np.frombuffer((number << 7).to_bytes(11, "big"), np.uint8)
    target, table = np.zeros(11 + MARGIN, np.uint8), np.zeros(_TABLE, np.uint64)
    made = functions["lzw"](source.ctypes.data, source.size, target.ctypes.data, 11, table.ctypes.data)
    return bool(made == 11) and target[:11].tolist() == expected


_lzw = machine_code.load("lzw_code", _TYPES, _works)["lzw"]
