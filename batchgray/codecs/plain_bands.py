"""Usual PNGs and TIFFs in bands, by the readers of those in memory: `png_rows` from the top, `tiff_rows` from any row.

Whatever is wrong is refused: decoders that know a way round get the file as a whole.
"""

import contextlib
import functools
import mmap
from collections.abc import Iterator
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np

from batchgray.codecs.band_plan import BandPlan, Pieces
from batchgray.codecs.faults import image_failures
from batchgray.codecs.inflating import Unsound
from batchgray.codecs.opened import OpenedImage
from batchgray.codecs.opening import open_unchanged
from batchgray.codecs.png_input import OpenedPng
from batchgray.codecs.png_rows import PngRows
from batchgray.codecs.tiff_input import OpenedTiff
from batchgray.errors import ImageError

Opened = TypeVar("Opened", OpenedPng, OpenedTiff)


def reader_of(path: str, opened: OpenedImage, plan: BandPlan) -> "PngReader | TiffReader":
    """For an image whose plan says that it is `here`. Raises ImageError."""
    if isinstance(opened, OpenedPng):
        return PngReader(path, opened)
    assert isinstance(opened, OpenedTiff)
    assert plan.pieces is not None
    return TiffReader(path, opened, plan.pieces)


class _MappedReader(Generic[Opened]):
    """An input whose file is mapped anew. See `band_reader.BandReader`."""

    def __init__(self, path: str, opened: Opened) -> None:
        """Raises ImageError."""
        self.ignored = False
        self._file = open_unchanged(path, opened.version)
        try:
            self._map = mmap.mmap(self._file.fileno(), 0, prot=mmap.PROT_READ)
        except BaseException:
            self._file.close()
            raise
        self._image: Opened = replace(opened, given=opened.given._replace(data=self._map, fd=None))

    def _let_go(self) -> None:
        """What was read need not count as this process's memory."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        self._map.close()
        self._file.close()


class PngReader(_MappedReader[OpenedPng]):
    """Rows are inflated in order, by one thread at a time, and made gray or colours of 8 bits by any."""

    def __init__(self, path: str, opened: OpenedPng) -> None:
        """Raises ImageError."""
        super().__init__(path, opened)
        self._rows, self._at = PngRows(self._map, opened.outline), 0

    def part(self, top: int, bottom: int) -> "functools.partial[np.ndarray]":
        """See `BandReader`."""
        while self._at < top:
            self._read(min(self._rows.band_rows, top - self._at))
        return functools.partial(self._made, self._read(bottom - top))

    def _read(self, rows: int) -> np.ndarray:
        band = np.empty((rows, self._rows.row_bytes), np.uint8)
        with _refusing():
            self._rows.read(band)
        self._at += rows
        self._let_go()
        return band

    def _made(self, band: np.ndarray) -> np.ndarray:
        image = self._image
        if image.is_as_stored:
            return band.reshape(-1)
        target = np.empty((len(band), image.width, *((3,) if image.colour else ())), np.uint8)
        with _refusing():
            if image.put(band, target):  # `|=` would have read what it was before
                self.ignored = True
        return target.reshape(-1)


class TiffReader(_MappedReader[OpenedTiff]):
    """Strips or rows of tiles, any of them by any thread. Where a part ends within one, it is read twice."""

    def __init__(self, path: str, opened: OpenedTiff, pieces: Pieces) -> None:
        """Raises ImageError."""
        super().__init__(path, opened)
        self._piece_rows = pieces.rows

    def part(self, top: int, bottom: int) -> "functools.partial[np.ndarray]":
        """See `BandReader`."""
        return functools.partial(self._made, top, bottom)

    def _made(self, top: int, bottom: int) -> np.ndarray:
        rows, high = self._image.rows, self._piece_rows
        first, last = top // high * high, min(-(-bottom // high) * high, self._image.height)
        target = np.empty((last - first, self._image.width, rows.channels), np.uint8)
        with _refusing():
            for piece in rows.pieces(first, last):
                there = slice(piece.rows.start - first, piece.rows.stop - first)
                rows.read_piece(self._map, piece, target[there, piece.columns])
        self._let_go()
        return target[top - first : bottom - first].reshape(-1)


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    with image_failures:
        try:
            yield
        except Unsound as why:
            raise ImageError(f"damaged, or not to be converted in bands: {why}") from None
