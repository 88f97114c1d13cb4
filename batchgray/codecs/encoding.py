"""Encode gray pixels as JPEG, through simplejpeg (libjpeg-turbo). PNG: see `png`."""

from collections.abc import Iterator

import numpy as np
import simplejpeg

from batchgray.codecs import iptc, jpeg_markers
from batchgray.codecs.exif import EXIF_HEADER
from batchgray.codecs.metadata import JPEG_XMP
from batchgray.errors import ImageError
from batchgray.planes.slots import NO_METADATA, Metadata

JPEG_MAX_SIDE = 65500  # libjpeg's JPEG_MAX_DIMENSION


def encode_jpeg(
    gray: memoryview, width: int, height: int, quality: int, metadata: Metadata = NO_METADATA
) -> list[bytes]:
    """A baseline gray JPEG of `gray` (height * width uint8), in pieces to be written one after another."""
    check_jpeg_sides(width, height)
    pixels = np.frombuffer(gray, np.uint8).reshape(height, width)
    # A plane is taken as it is; simplejpeg.encode_jpeg makes the same bytes and copies each row first, which takes 5%.
    return with_metadata(simplejpeg.encode_jpeg_yuv_planes(pixels, None, None, quality=quality), metadata)


def with_metadata(data: bytes, metadata: Metadata) -> list[bytes]:
    """A JPEG of libjpeg's, or its beginning, with segments for what there is, in pieces."""
    if not any(metadata):
        return [data]
    jfif = next(iter(jpeg_markers.Walk(data)))  # libjpeg writes it first
    return [data[: jfif.stop], *_segments(metadata), data[jfif.stop :]]


def _segments(metadata: Metadata) -> Iterator[bytes]:
    if metadata.exif:
        yield jpeg_markers.made(jpeg_markers.APP1, EXIF_HEADER + metadata.exif)
    if metadata.xmp:
        yield jpeg_markers.made(jpeg_markers.APP1, JPEG_XMP + metadata.xmp)
    if metadata.iptc:
        yield jpeg_markers.made(jpeg_markers.APP13, iptc.PHOTOSHOP + iptc.as_resources(metadata.iptc))


def check_jpeg_sides(width: int, height: int) -> None:
    """Raise ImageError for what no JPEG can hold."""
    if max(width, height) > JPEG_MAX_SIDE:
        raise ImageError(
            f"{width} x {height}: JPEG holds {JPEG_MAX_SIDE} pixels a side at most: `batchgray run ... --format png`"
        )
