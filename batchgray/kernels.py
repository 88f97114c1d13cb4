"""The jitted tile functions and their weights. Bare arrays in, bare arrays out: no allocation, no validation.

Each takes `rgb`, uint8 of shape (3 n,), interleaved R, G, B, and writes `gray`, uint8 of shape (n,). Signatures are
given, so that importing this module compiles (or loads from numba's cache): a fork server pays for it once for all
workers.

Why integers: the contract is exact, and uint32 lanes vectorise (vpmulld); floating point is slower and rounds. Why a
flat loop: a tile is contiguous, and a 2-D loop was measured at a third of the speed. Why multiply and shift: there is
no vector division. For a divisor d, m = ceil(2^k / d) and e = m d - 2^k, (n m) >> k is exactly n // d for every n
with n e < 2^k (Granlund and Montgomery 1994, theorem 4.2), and the product must stay below 2^32.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit, uint32

_SIGNATURE = "void(uint8[::1], uint8[::1])"
_TRIED_PIXELS = 64


def compiled(signature: str, trial: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: the function compiled for `signature`.

    `trial` calls it with something small and returns what came out.
    """

    def compile_now(function: Callable[..., Any]) -> Any:
        return _from_cache(function, signature, trial) or njit(signature, nogil=True)(function)

    return compile_now


def _from_cache(function: Callable[..., Any], signature: str, trial: Callable[[Any], Any]) -> Any:
    """The function by numba's cache, or None where that can't be had or trusted.

    The cache is for every CPU and numba of its own, but numba neither syncs nor seals it, and replaces its index
    before its code: after a crash it may be cut off, or hold the code of another version of this module.
    """
    try:
        Path.home()  # fails for a user without one, whom numba would make a folder named ~ in the working folder
        cached = njit(signature, nogil=True, cache=True)(function)
    except Exception:  # no folder that can be written, no space in it, or whatever unpickling a torn file raises
        return None
    return cached if trial(cached) == trial(function) else None


def _try(kernel: Any) -> bytes:
    rgb, gray = np.arange(3 * _TRIED_PIXELS, dtype=np.uint8), np.zeros(_TRIED_PIXELS, np.uint8)
    kernel(rgb, gray)
    return gray.tobytes()


@compiled(_SIGNATURE, _try)
def bt601(rgb, gray):
    """(30 R + 59 G + 11 B) // 100, the weights of ITU-R BT.601 in hundredths.

    s <= 25500; d = 100, k = 19: m = 5243, e = 12, and 25500 * 12 < 2^19.
    """
    for i in range(gray.size):
        s = uint32(30) * rgb[3 * i] + uint32(59) * rgb[3 * i + 1] + uint32(11) * rgb[3 * i + 2]
        gray[i] = (s * uint32(5243)) >> uint32(19)


@compiled(_SIGNATURE, _try)
def bt709(rgb, gray):
    """(2126 R + 7152 G + 722 B) // 10000, the weights of ITU-R BT.709 in ten-thousandths.

    s <= 2550000 leaves no m that fits 32 bits, so LLVM divides by the constant: a widening multiply, still vectorised.
    """
    for i in range(gray.size):
        s = uint32(2126) * rgb[3 * i] + uint32(7152) * rgb[3 * i + 1] + uint32(722) * rgb[3 * i + 2]
        gray[i] = s // uint32(10000)


@compiled(_SIGNATURE, _try)
def luma(rgb, gray):
    """(299 R + 587 G + 114 B + 500) // 1000, the Y' of JFIF 1.02, for sources that carry no Y' plane of their own.

    s <= 255500; dividing by 8 first, s >> 3 <= 31937; d = 125, k = 23: m = 67109, e = 17, and 31937 * 17 < 2^23.
    """
    for i in range(gray.size):
        s = uint32(299) * rgb[3 * i] + uint32(587) * rgb[3 * i + 1] + uint32(114) * rgb[3 * i + 2] + uint32(500)
        gray[i] = ((s >> uint32(3)) * uint32(67109)) >> uint32(23)


BY_METHOD = {"bt601": bt601, "bt709": bt709, "luma": luma}
