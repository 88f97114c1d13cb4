"""Encode gray pixels as JPEG, through simplejpeg (libjpeg-turbo). PNG: see `png`."""

import numpy as np
import simplejpeg

from batchgray.codecs import jpeg_markers
from batchgray.codecs.exif import EXIF_HEADER
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
        raise ImageError(
            f"{width} x {height}: JPEG holds {JPEG_MAX_SIDE} pixels a side at most: `batchgray run ... --format png`"
        )
