"""HEICs and JPEG 2000s of any layout, which Pillow does not write: boxes by hand around what an encoder made."""

import io
import struct

import numpy as np
from files import saved
from PIL import Image

RGB, GRAY, YCC, CMYK = 16, 17, 18, 12  # colour spaces of JPEG 2000


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def codestream(samples: np.ndarray) -> bytes:
    """A JPEG 2000 without a container, lossless: uint8 of shape (H, W) or (H, W, 2 to 4), or uint16 of (H, W)."""
    return saved(Image.fromarray(samples), "JPEG2000", no_jp2=True)


def shallower(stream: bytes, bits: int) -> bytes:
    """A gray codestream that says it has so many bits: each sample is as far from the middle as it was."""
    return stream[:42] + bytes([bits - 1]) + stream[43:]


def jp2(stream: bytes, *boxes: bytes, sides: tuple[int, int] | None = None, behind: bytes = b"") -> bytes:
    """A codestream in a container with these boxes in its head."""
    width, height = sides or struct.unpack(">II", stream[8:16])
    head = box(b"ihdr", struct.pack(">IIHBBBB", height, width, stream[41], 7, 7, 0, 0)) + b"".join(boxes)
    start = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    return start + box(b"jp2h", head) + box(b"jp2c", stream) + behind


def colours(space: int) -> bytes:
    return box(b"colr", struct.pack(">BBBI", 1, 0, 0, space))


def channels(*each: tuple[int, int, int]) -> bytes:
    """Of each channel its number, kind (0 colour, 1 alpha, 2 alpha multiplied in) and what it is, from 1."""
    return box(b"cdef", struct.pack(">H", len(each)) + b"".join(struct.pack(">HHH", *one) for one in each))


def palette(table: np.ndarray) -> bytes:
    """Of uint8 of shape (N, channels)."""
    count, wide = table.shape
    mapping = b"".join(struct.pack(">HBB", 0, 1, channel) for channel in range(wide))
    head = struct.pack(">HB", count, wide) + b"\7" * wide
    return box(b"pclr", head + table.tobytes()) + box(b"cmap", mapping)


def heic(*samples: np.ndarray, **settings) -> bytes:
    """A lossless HEIC of uint8, or of uint16 whose lowest 6 bits are 0 (it has 10): (H, W) or (H, W, 3 or 4)."""
    import pillow_heif

    modes = {2: "L", 3: "RGB", 4: "RGBA"}
    buffer = io.BytesIO()
    file = pillow_heif.HeifFile()
    for each in samples:
        mode = modes[each.shape[2] if each.ndim == 3 else 2] + (";16" if each.dtype == np.uint16 else "")
        file.add_frombytes(mode, each.shape[1::-1], np.ascontiguousarray(each).tobytes())
    defaults = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}
    file.save(buffer, **defaults | settings)
    return buffer.getvalue()


def patched(data: bytes, marker: bytes, offset: int, new: bytes) -> bytes:
    """`data` with `new` at `offset` behind the beginning of `marker`."""
    at = data.index(marker) + offset
    return data[:at] + new + data[at + len(new) :]
