"""An output that is written while its bands come: what they need of an encoder at once, and what only in order.

gray --prepare, any part at any time, by several threads--> Prepared --add, from top to bottom--> bytes
"""

import mmap
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from batchgray.codecs import encoding, jpeg_bands
from batchgray.options import PixelOptions
from batchgray.planes.slots import Metadata, SlotRecord

Prepared = jpeg_bands.Band | None


class Writer(Protocol):
    """`is_prompt` says whether what is left of the writing is soon done once all parts are there."""

    is_prompt: bool

    def prepare(self, gray: memoryview) -> Prepared:
        """Of a part, in any order; several threads may do so at once. Raises ImageError."""
        ...

    def add(self, prepared: Prepared, bottom: int) -> Iterator[bytes]:
        """What is added to the file by the next part, which ends before row `bottom`. Raises ImageError."""
        ...

    def finish(self) -> bytes:
        """The end of the file."""
        ...


def writer_of(record: SlotRecord, pixels: PixelOptions, metadata: Metadata, plane: Callable[[], mmap.mmap]) -> Writer:
    """`plane` maps the gray plane, in which a part is when it is added. Raises ImageError, PlaceError."""
    if pixels.format == "jpeg":
        return _JpegWriter(record, pixels, metadata)
    return _PngWriter(record, pixels, metadata, plane())


class _JpegWriter:
    is_prompt = True

    def __init__(self, record: SlotRecord, pixels: PixelOptions, metadata: Metadata) -> None:
        encoding.check_jpeg_sides(record.width, record.height)
        self._coder = jpeg_bands.Coder(record.width, pixels.quality)
        self._splicer = jpeg_bands.Splicer(self._coder, record.width, record.height, metadata)

    def prepare(self, gray: memoryview) -> Prepared:
        return self._coder.code(gray)

    def add(self, prepared: Prepared, bottom: int) -> Iterator[bytes]:
        assert prepared is not None
        yield self._splicer.add(prepared)

    def finish(self) -> bytes:
        return self._splicer.finish()


class _PngWriter:
    """Its pieces are made one after another, each of rows that are in the plane by then."""

    is_prompt = False

    def __init__(self, record: SlotRecord, pixels: PixelOptions, metadata: Metadata, plane: mmap.mmap) -> None:
        from batchgray.codecs import png  # compiled when it is first needed

        self._plane, self._height = plane, record.height
        self._pieces = png.encode(plane, record.width, record.height, pixels.compression, metadata)
        self._rows = png.piece_rows(record.width, pixels.compression)
        self._head = next(self._pieces)
        self._bottom = 0

    def prepare(self, gray: memoryview) -> Prepared:
        return None

    def add(self, prepared: Prepared, bottom: int) -> Iterator[bytes]:
        head, self._head = self._head, b""
        if head:
            yield head
        while self._bottom < self._height and min(self._bottom + self._rows, self._height) <= bottom:
            yield next(self._pieces)
            self._bottom += self._rows
            self._plane.madvise(mmap.MADV_DONTNEED)  # it is in the file, and need not count as this process's memory

    def finish(self) -> bytes:
        return b"".join(self._pieces)


def partial_jpeg(
    record: SlotRecord, pixels: PixelOptions, metadata: Metadata, bands: Iterable[bytes | int]
) -> Iterator[bytes]:
    """A JPEG of bands from top to bottom, in pieces; a number stands for so many rows of black. Raises ImageError."""
    coder = jpeg_bands.Coder(record.width, pixels.quality)
    splicer = jpeg_bands.Splicer(coder, record.width, record.height, metadata)
    black: dict[int, jpeg_bands.Band] = {}
    for band in bands:
        if isinstance(band, int):
            if band not in black:
                black[band] = coder.code(bytes(band * record.width))
            yield splicer.add(black[band])
        else:
            yield splicer.add(coder.code(band))
    yield splicer.finish()


def scratch_bytes(width: int, pixels: PixelOptions) -> int:
    """About what writing holds at a time, besides what is prepared."""
    if pixels.format == "jpeg":
        return 0
    from batchgray.codecs import png

    return png.scratch_bytes(width, pixels.compression)
