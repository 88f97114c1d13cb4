"""Image files as bytes: those that Pillow writes, and by hand those that it can't."""

import io
import re
import struct
import zlib

import numpy as np
from harness import gradient
from PIL import Image

RGB = gradient(203, 155, seed=3)
# How many samples Y' has across and down for each of Cb and Cr, where no camera would.
ODD = [(1, 4), (4, 2), (3, 1), (1, 3), (2, 4), (4, 4)]


def saved(image, format, **settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **settings)
    return buffer.getvalue()


def png(header: bytes, rows: bytes, transparent: bytes = b"") -> bytes:
    """A PNG from the bytes of its header chunk and its rows, filter types included. PNG specification, 5.2."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    middle = chunk(b"tRNS", transparent) if transparent else b""
    pixels = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + middle + pixels


def png16(samples: np.ndarray, colour_type: int) -> bytes:
    """A 16-bit PNG, which Pillow can't write in colour."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return png(struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0), rows)


def sampled(across: int, down: int, image: Image.Image | None = None) -> bytes:
    """A JPEG whose Y' has so many samples for each of Cb and Cr, without interleaved scans, of three gray ones."""
    luma, *chroma = (image or Image.fromarray(RGB)).convert("YCbCr").split()
    small = -(-luma.width // across), -(-luma.height // down)
    planes, parts = [luma, *(plane.resize(small) for plane in chroma)], []
    for plane in planes:
        buffer = io.BytesIO()
        plane.save(buffer, "JPEG", quality=90)
        parts.append(re.split(rb"(?=\xff[\xc0-\xcf\xd9-\xfe])", buffer.getvalue()))
    frame = next(part for part in parts[0] if part[:2] == b"\xff\xc0")
    factors = (across << 4 | down, 0x11, 0x11)
    components = b"".join(bytes((number, factor, 0)) for number, factor in enumerate(factors, 1))
    head = b"".join(part for part in parts[0] if part[:2] in (b"\xff\xd8", b"\xff\xdb", b"\xff\xe0", b"\xff\xc4"))
    frame = frame[:2] + b"\0\x11" + frame[4:9] + b"\3" + components
    for number, plane in enumerate(parts, 1):
        scan = next(part for part in plane if part[:2] == b"\xff\xda")
        frame += scan[:5] + bytes([number]) + scan[6:]
    return head + frame + b"\xff\xd9"
