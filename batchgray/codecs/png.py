"""A gray PNG written piece by piece: memory for a piece is enough, and how the pixels come makes no difference.

PNG: W3C, third edition. A piece is some rows, filtered and deflated; it becomes one IDAT chunk. How many rows depends
on the width and the effort alone, so that an image makes the same bytes whoever writes it, whole or in bands.

The lower efforts deflate with `kernels.deflate`. Photographs hardly get smaller by more: zlib's best takes hundreds of
times as long for a percent. Text and drawings do; from 3 on each piece is deflated both ways, and the smaller one is
written. That is sound, since a string may point back into any piece, however that was written.
"""

import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from batchgray.codecs.metadata import PNG_XMP
from batchgray.kernels import deflate
from batchgray.planes.slots import NO_METADATA, Metadata

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIECE_BYTES = deflate.BLOCK_BYTES
_PIECE_BYTES_FOR_ZLIB = 1 << 19  # a piece of zlib's ends with 5 bytes that say nothing
_MOST_MEMORY = 9  # zlib's memLevel
_ZLIB_HEAD = b"\x78\x01"  # deflate, a window of 32 KB

_ALONE = ((deflate.NONE, deflate.NONE),)
_PAETH = ((deflate.PAETH, deflate.PAETH),)
_BEST = ((deflate.NONE, deflate.PAETH),)
# What differs only a little from row to row is text with noise: the filters' sums mislead, and none at all is better.
_BEST_OR_NONE = (*_BEST, *_ALONE)


class _Effort(NamedTuple):
    """Which choices of filters are tried, and which levels and strategies of zlib's."""

    filters: tuple[tuple[int, int], ...]
    zlib: tuple[tuple[int, int], ...] = ()
    kernel: bool = True


# Measured: docs/performance.md. With Z_FILTERED zlib takes no strings of fewer than 6 bytes.
_EFFORTS = (
    _Effort(_ALONE, ((0, zlib.Z_DEFAULT_STRATEGY),), kernel=False),
    _Effort(_PAETH),
    _Effort(_BEST),
    *(_Effort(_BEST_OR_NONE, ((level, zlib.Z_FILTERED),)) for level in (1, 4, 5, 7, 8, 9)),
    _Effort(_BEST_OR_NONE, ((9, zlib.Z_FILTERED), (9, zlib.Z_DEFAULT_STRATEGY))),
)


def encode(gray: Any, width: int, height: int, compression: int, metadata: Metadata = NO_METADATA) -> Iterator[bytes]:
    """An 8-bit gray PNG of `gray`, a buffer of height * width bytes, which is read from top to bottom.

    Each of what comes, one after another the file, is made when it is asked for. `compression` is 0 to 9; EXIF begins
    with the byte order, and there is no place for IPTC.
    """
    pixels = np.frombuffer(gray, np.uint8).reshape(height, width)
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    yield _SIGNATURE + _chunk(b"IHDR", header) + b"".join(_described(metadata))
    pieces = _Pieces(pixels, _EFFORTS[compression])
    for top in range(0, height, pieces.rows):
        yield _chunk(b"IDAT", pieces.deflated(top))
    yield _chunk(b"IEND", b"")


def _described(metadata: Metadata) -> Iterator[bytes]:
    if metadata.exif:
        yield _chunk(b"eXIf", metadata.exif)
    if metadata.xmp:
        yield _chunk(b"iTXt", PNG_XMP + bytes(4) + metadata.xmp)  # neither compressed nor translated


def takes_long(compression: int) -> bool:
    """Whether an image is sooner flushed, as a sidecar and a partial JPEG, than written at this effort."""
    return any(level for level, _ in _EFFORTS[compression].zlib)


def scratch_bytes(width: int, compression: int) -> int:
    """About what `encode` holds at a time."""
    effort = _EFFORTS[compression]
    return 4 * len(effort.filters) * _piece_rows(width, effort) * (width + 1) + len(effort.zlib) * (1 << 19)


def piece_rows(width: int, compression: int) -> int:
    """Of how many rows each of what `encode` yields is, between the first and the last."""
    return _piece_rows(width, _EFFORTS[compression])


def _piece_rows(width: int, effort: _Effort) -> int:
    return max(1, (_PIECE_BYTES_FOR_ZLIB if effort.zlib else _PIECE_BYTES) // (width + 1))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join((len(data).to_bytes(4, "big"), kind, data, zlib.crc32(data, zlib.crc32(kind)).to_bytes(4, "big")))


class _Pieces:
    """The pieces of an image, of `rows` rows each but the last, to be deflated from top to bottom."""

    def __init__(self, pixels: np.ndarray, effort: _Effort) -> None:
        self._pixels, self._effort = pixels, effort
        height, width = pixels.shape
        self.rows = min(height, _piece_rows(width, effort))
        self._filtered = [np.empty((self.rows, width + 1), np.uint8) for _ in effort.filters]
        self._kernel = deflate.Stream()
        self._zlibs = [zlib.compressobj(level, zlib.DEFLATED, -15, _MOST_MEMORY, how) for level, how in effort.zlib]
        self._adler = 1

    def deflated(self, top: int) -> bytes:
        """What the piece from row `top` on adds to the stream (RFC 1950)."""
        last = top + self.rows >= len(self._pixels)
        choices = [self._filter(top, number) for number in range(len(self._filtered))]
        made, data = self._by_kernel(choices, last) if self._effort.kernel else (None, choices[0])
        for each in self._zlibs:
            other = each.compress(data.data) + each.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)
            made = other if made is None or len(other) < len(made) else made
        self._adler = deflate.adler32(data, self._adler)
        head, tail = _ZLIB_HEAD if top == 0 else b"", self._adler.to_bytes(4, "big") if last else b""
        return head + (made or b"") + tail  # what nothing is added to is not copied

    def _filter(self, top: int, number: int) -> np.ndarray:
        rows = self._filtered[number][: len(self._pixels) - top]
        deflate.filter_rows(self._pixels, top, self._effort.filters[number], rows)
        return rows

    def _by_kernel(self, choices: list[np.ndarray], last: bool) -> tuple[bytes, np.ndarray]:
        """The shortest of what becomes of these, and which it is of."""
        made = [self._kernel.add(data) + self._tail(last) for data in choices]
        return min(zip(made, choices, strict=True), key=lambda each: len(each[0]))

    def _tail(self, last: bool) -> bytes:
        """What ends the stream, or a piece that zlib's may follow."""
        if last:
            return self._kernel.end()
        return self._kernel.aligned() if self._zlibs else b""
