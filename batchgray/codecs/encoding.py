"""Encode gray pixels: JPEG through simplejpeg (libjpeg-turbo), PNG through imageio and Pillow; and check an output.

imageio and Pillow are imported when they are needed (see `opening`).
"""

import mmap
from typing import Any

import numpy as np
import simplejpeg

from batchgray.codecs import jpeg_markers
from batchgray.codecs.exif import EXIF_HEADER
from batchgray.codecs.faults import library_reason
from batchgray.errors import ImageError

JPEG_MAX_SIDE = 65500  # libjpeg's JPEG_MAX_DIMENSION


def encode_jpeg(gray: memoryview, width: int, height: int, quality: int, exif: bytes = b"") -> list[bytes]:
    """A baseline gray JPEG of `gray` (height * width uint8), in pieces to be written one after another."""
    check_jpeg_sides(width, height)
    pixels = np.frombuffer(gray, np.uint8).reshape(height, width)
    # A plane is taken as it is; simplejpeg.encode_jpeg makes the same bytes and copies each row first, which takes 5%.
    return with_exif(simplejpeg.encode_jpeg_yuv_planes(pixels, None, None, quality=quality), exif)


def with_exif(data: bytes, exif: bytes) -> list[bytes]:
    """A JPEG of libjpeg's, or its beginning, with an EXIF segment, in pieces."""
    if not exif:
        return [data]
    jfif = next(iter(jpeg_markers.Walk(data)))  # libjpeg writes it first
    segment = jpeg_markers.made(jpeg_markers.APP1, EXIF_HEADER + exif)
    return [data[: jfif.stop], segment, data[jfif.stop :]]


def check_jpeg_sides(width: int, height: int) -> None:
    """Raise ImageError for what no JPEG can hold."""
    if max(width, height) > JPEG_MAX_SIDE:
        raise ImageError(f"{width} x {height}: JPEG holds {JPEG_MAX_SIDE} pixels a side at most; use --format png")


def encode_png(gray: memoryview, width: int, height: int, exif: bytes = b"") -> list[bytes]:
    """An 8-bit gray PNG of `gray` (height * width uint8)."""
    import imageio.v3 as iio

    pixels = np.frombuffer(gray, np.uint8).reshape(height, width)
    extra: dict[str, Any] = {"exif": EXIF_HEADER + exif} if exif else {}
    return [iio.imwrite("<bytes>", pixels, extension=".png", plugin="pillow", mode="L", **extra)]


def write_png(sink: Any, gray: mmap.mmap, width: int, height: int, exif: bytes = b"") -> None:
    """What `encode_png` returns, written to `sink.write` piece by piece while `gray` is read from top to bottom."""
    from PIL import Image

    extra = {"exif": EXIF_HEADER + exif} if exif else {}
    # Pillow says that it takes bytes only; it takes any buffer.
    Image.frombuffer("L", (width, height), gray, "raw", "L", 0, 1).save(sink, "PNG", **extra)  # type: ignore[arg-type]


def check_decodes(data: bytes) -> None:
    """Decode an output as far as its last pixel. Raises ImageError."""
    try:
        if data[:2] == b"\xff\xd8":
            simplejpeg.decode_jpeg(data, "GRAY")
        else:
            from batchgray.codecs.pillow import decode_whole

            decode_whole(data)
    except Exception as error:
        raise ImageError(f"does not decode: {library_reason(error)}") from None
