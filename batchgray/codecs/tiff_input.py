"""TIFF inputs: strips and tiles are read here (`tiff_rows`), straight into the slot; all others by Pillow and libtiff.

As with PNGs (`png_input`), Pillow has the last word on what is wrong with a file.
"""

import os
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from batchgray.codecs import tiff_outline
from batchgray.codecs.by_pillow import opened_by_pillow
from batchgray.codecs.excerpt import excerpt, let_go
from batchgray.codecs.inflating import Unsound
from batchgray.codecs.limits import DEFLATE_RATIO, LZW_RATIO, check_dimensions, check_plausible
from batchgray.codecs.notes import frames_note
from batchgray.codecs.opened import OpenedImage, ProbeInput, SecondOpinion
from batchgray.codecs.tiff_outline import TiffOutline
from batchgray.codecs.tiff_rows import TiffRows
from batchgray.planes.slots import SlotImage as Planes

_RATIOS = {tiff_outline.UNCOMPRESSED: 1, 5: LZW_RATIO}  # of what one byte can unfold to; the others are deflated


def probe(given: ProbeInput) -> OpenedImage:
    """Read the directory, and have Pillow open what is not read here. Raises ImageError."""
    outline = TiffOutline.walk(given.data)
    rows = TiffRows.of(given.data, outline)
    if rows is None:
        return opened_by_pillow("TIFF", given)
    check_dimensions(rows.width, rows.height, given.limits.max_pixels)
    ratio = _RATIOS.get(rows.compression, DEFLATE_RATIO)
    check_plausible(rows.width, rows.height, -(-rows.width // 8) * rows.height // ratio, len(given.data))
    return OpenedTiff(
        version=given.version,
        width=rows.width,
        height=rows.height,
        colour=rows.channels > 1,
        exif=_exif_of(given, outline),
        besides=outline.besides,
        note=frames_note(outline.pages),
        scratch_bytes=rows.scratch_bytes,
        given=given._replace(fd=_dup(given.fd)),
        outline=outline,
        rows=rows,
    )


def _exif_of(given: ProbeInput, outline: TiffOutline) -> bytes:
    """What describes the picture, as the EXIF block that Pillow makes of it. Raises ImageError."""
    if not outline.entries.keys() & set(tiff_outline.DESCRIBING):
        return b""
    opened = opened_by_pillow("TIFF", given)
    opened.file_to_draw().close()
    return opened.exif


@dataclass
class OpenedTiff(OpenedImage):
    """`given.fd`, where there is one, is the image's own."""

    given: ProbeInput
    outline: TiffOutline
    rows: TiffRows

    def _decode(self, planes: Planes) -> str | None:
        target = np.frombuffer(planes.rgb if self.colour else planes.gray, np.uint8)
        try:
            self._fill(target.reshape(self.height, self.width, -1))
        except Unsound:
            raise SecondOpinion(opened_by_pillow("TIFF", self.given)) from None
        return None

    def _fill(self, target: np.ndarray) -> None:
        """Raises Unsound."""
        for piece in self.rows.pieces():
            self.rows.read_piece(self.given.data, piece, target[piece.rows, piece.columns])

    def read(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Gray of shape (H, W), or R, G and B of (H, W, 3), as uint8; there is no alpha. Raises Unsound."""
        target = np.empty((self.height, self.width, self.rows.channels), np.uint8)
        self._fill(target)
        return (target if self.colour else target[..., 0]), None

    def file_to_draw(self) -> BinaryIO:
        return excerpt(self.given.data, self.outline.parts(self.given.data, {}), _dup(self.given.fd))

    def close(self) -> None:
        if self.given.fd is not None:
            os.close(self.given.fd)
        let_go(self.given.data)


def _dup(fd: int | None) -> int | None:
    return None if fd is None else os.dup(fd)
