"""Small pictures for the report: to look at, not exact."""

import io
import sys
from contextlib import suppress
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from batchgray.codecs import signatures
from batchgray.codecs.exif import EXIF_HEADER
from batchgray.codecs.faults import collected_warnings, library_reason
from batchgray.codecs.opened import OpenedImage
from batchgray.codecs.opening import open_image
from batchgray.errors import ImageError

MOST_SCRATCH_BYTES = 800_000_000
_QUALITY = 78
_SQUARE, _SHADES = 8, (255, 204)  # pixels a side, and grays, of what is drawn behind transparency


def thumbnail(path: str, side: int) -> bytes:
    """A small JPEG of an image, upright, at most `side` pixels a side; squares show through what is transparent.

    Raises ImageError, also for an image that would take more than MOST_SCRATCH_BYTES bytes to decode.
    """
    source = open_image(path, "bt601", sys.maxsize, reserve=_refuse_too_much)
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


def _refuse_too_much(scratch_bytes: int) -> None:
    if scratch_bytes > MOST_SCRATCH_BYTES:
        raise ImageError(f"too large to draw small: it takes {scratch_bytes / 1e6:,.0f} MB to open")


def _drawn_small(source: OpenedImage, side: int) -> bytes:
    file = source.file_to_draw()
    if signatures.format_of(file.read(signatures.HEAD_BYTES)) == "JPEG":
        small = _small_jpeg(file, side)
    else:
        small = _with_alpha(*source.read())
    small.thumbnail((side, side), reducing_gap=2.0)
    small.info = {"exif": EXIF_HEADER + source.exif} if source.exif else {}  # what the output has
    with suppress(Exception):  # an EXIF block that makes no sense
        ImageOps.exif_transpose(small, in_place=True)
    data = io.BytesIO()
    _over_squares(small).save(data, "JPEG", quality=_QUALITY, exif=b"")
    return data.getvalue()


def _small_jpeg(file: BinaryIO, side: int) -> Image.Image:
    with Image.open(file, formats=("JPEG",)) as image:
        image.draft("RGB", (side, side))  # libjpeg decodes no more than is needed
        return image.convert("L" if image.mode == "L" else "RGB")


def _with_alpha(values: np.ndarray, alpha: np.ndarray | None) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(values))
    if alpha is not None:
        image.putalpha(Image.fromarray(np.ascontiguousarray(alpha)))
    return image


def _over_squares(image: Image.Image) -> Image.Image:
    if image.mode not in ("LA", "RGBA"):
        return image
    y, x = np.ogrid[: image.height, : image.width]
    squares = np.array(_SHADES, np.uint8)[(y // _SQUARE + x // _SQUARE) % len(_SHADES)]
    behind = Image.fromarray(squares).convert("RGBA")
    return Image.alpha_composite(behind, image.convert("RGBA")).convert("RGB")
