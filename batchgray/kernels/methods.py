"""The conversions to gray, one a method: bare arrays in, bare arrays out. No allocation, no validation of sizes.

Each takes `rgb`, uint8 of shape (3 n,), interleaved R, G, B, and writes `gray`, uint8 of shape (n,). Both are arrays or
memoryviews, writable and contiguous (TypeError otherwise), and don't overlap. The GIL is released. How it is done, and
why it is exact, stands in `method_code`; importing this module loads what was compiled from it, or has it compiled.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from batchgray.kernels import machine_code, weights

Pixels = np.ndarray | memoryview
Kernel = Callable[[Pixels, Pixels], None]

_TYPE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ssize_t)
_TRIED_PIXELS = 3 * 32 + 7  # blocks and a rest

# The address of an array's data, which must be writable and contiguous; a fifth of the time that `array.ctypes` takes.
_start_of: Callable[[Any], ctypes.Array[ctypes.c_char]] = (ctypes.c_char * 0).from_buffer


def _kernel(method: str, convert: Callable[..., None]) -> Kernel:
    def kernel(rgb: Pixels, gray: Pixels) -> None:
        convert(_start_of(rgb), _start_of(gray), gray.nbytes)

    kernel.__name__ = method
    return kernel


def _works(functions: machine_code.Functions) -> bool:
    rgb = bytearray(number * number % 256 for number in range(3 * _TRIED_PIXELS))
    pixels = list(zip(rgb[::3], rgb[1::3], rgb[2::3], strict=True))
    for method, convert in functions.items():
        gray = bytearray(_TRIED_PIXELS)
        convert(_start_of(rgb), _start_of(gray), _TRIED_PIXELS)
        if gray != bytes(weights.BY_METHOD[method].gray(*pixel) for pixel in pixels):
            return False
    return True


BY_METHOD: dict[str, Kernel] = {
    method: _kernel(method, convert)
    for method, convert in machine_code.load("method_code", dict.fromkeys(weights.BY_METHOD, _TYPE), _works).items()
}
bt601, bt709, luma = (BY_METHOD[method] for method in ("bt601", "bt709", "luma"))
