"""Small pictures for the report: to look at, not exact."""

import io
import sys
from contextlib import suppress

import numpy as np
from PIL import Image, ImageOps

from batchgray import containers
from batchgray.codec import open_source
from batchgray.containers import EXIF_HEADER
from batchgray.errors import ImageError
from batchgray.pillowsource import COLOUR_MODES, GRAY_MODES, WIDE_GRAY_MODES
from batchgray.sources import Source, collected_warnings, library_reason

MOST_SCRATCH_BYTES = 800_000_000
_QUALITY = 78


def thumbnail(path: str, side: int) -> bytes:
    """A small JPEG of an image, upright, at most `side` pixels a side. Raises ImageError.

    An image that would take more than MOST_SCRATCH_BYTES bytes to decode is refused.
    """
    source = open_source(path, "bt601", sys.maxsize)
    try:
        if source.scratch_bytes > MOST_SCRATCH_BYTES:
            raise ImageError(f"too large to draw small: {source.width * source.height / 1e6:,.0f} megapixels")
        with collected_warnings():
            try:
                return _drawn_small(source, side)
            except Exception as error:
                raise ImageError(f"damaged: {library_reason(error)}") from None
    finally:
        source.close()


def _drawn_small(source: Source, side: int) -> bytes:
    file = source.file_to_draw()
    with Image.open(file, formats=(containers.format_of(file.read(containers.HEAD_BYTES)),)) as image:
        image.draft("RGB", (side, side))  # libjpeg decodes no more than is needed
        small = _opaque(image)
    small.thumbnail((side, side), reducing_gap=2.0)
    small.info = {"exif": EXIF_HEADER + source.exif} if source.exif else {}  # what the output has
    with suppress(Exception):  # an EXIF block that makes no sense
        ImageOps.exif_transpose(small, in_place=True)
    data = io.BytesIO()
    small.save(data, "JPEG", quality=_QUALITY, exif=b"")
    return data.getvalue()


def _opaque(image: Image.Image) -> Image.Image:
    """As RGB or 8-bit gray, the colour under transparent pixels as it is."""
    if image.mode in WIDE_GRAY_MODES:
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in GRAY_MODES:
        return image.convert(GRAY_MODES[image.mode]).convert("L")
    return image.convert(COLOUR_MODES.get(image.mode, image.mode)).convert("RGB")
