"""CRC-64 of ECMA-182, reflected: what OSS tells of every object, and what .xz files end with.

liblzma's takes 0.15 ns a byte on an AMD EPYC, by carry-less multiplication; an MD5 takes 1.15.
"""

import ctypes
from collections.abc import Callable


def _of_liblzma() -> Callable[[bytes], int] | None:
    """None where the system has none: macOS, or an image of a container with nothing but Python."""
    try:
        function = ctypes.CDLL("liblzma.so.5").lzma_crc64
    except (OSError, AttributeError):
        return None
    function.restype, function.argtypes = ctypes.c_uint64, (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64)
    return lambda data: int(function(data, len(data), 0))


crc64 = _of_liblzma()
