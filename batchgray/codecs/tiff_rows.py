"""The strips and tiles of a TIFF, each by itself: of 8 bits a sample, as they are, deflated, or LZW-coded.

Whatever is unusual, or wrong in any way, is left to another reader (see `png_rows`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from batchgray.codecs import tiff_outline as tiff
from batchgray.codecs.excerpt import Contents
from batchgray.codecs.inflating import BAND_BYTES, INPUT_BYTES, Inflated, Unsound, in_pieces
from batchgray.codecs.tiff_outline import TiffOutline
from batchgray.kernels import lzw
from batchgray.kernels.unfilter import SUB, Unfilter

_DEFLATE = {8, 32946}
_LZW = 5
_NO_PREDICTOR, _HORIZONTAL = 1, 2
_MOST_PIECE_BYTES = 1 << 30
_NUMBER_BYTES = 100  # of a number in a table, as an object
_FILL_ORDER, _PREDICTOR = 266, 317
_CHANNELS = {tiff.WHITE_IS_ZERO: 1, tiff.BLACK_IS_ZERO: 1, tiff.RGB: 3}
_STRIPS = {tiff.STRIP_OFFSETS, tiff.STRIP_ROWS, tiff.STRIP_BYTES}
_TILES = {tiff.TILE_WIDTH, tiff.TILE_ROWS, tiff.TILE_OFFSETS, tiff.TILE_BYTES}
_OF_BIGTIFF = b"\x08\0\0\0"  # pointers of 8 bytes
_MOST_ROWS, _ALL_ROWS = (1 << 31) - 1, (1 << 32) - 1
_CLEAR_CODE = 256  # of 9 bits, which every piece begins with
_PLAIN_KINDS = {3, 4, 16}  # SHORT, LONG, LONG8


@dataclass(frozen=True)
class Piece:
    """A strip or tile: where it lies in the file, and its rows and columns of the picture (a tile may go past them)."""

    at: slice
    rows: slice
    columns: slice


@dataclass(frozen=True)
class TiffRows:
    """Pieces of `piece_rows` x `piece_width` pixels, of `channels` bytes each."""

    width: int
    height: int
    channels: int
    piece_width: int
    piece_rows: int
    compression: int
    predicted: bool
    inverted: bool
    tiled: bool
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, data: Contents, outline: TiffOutline) -> "TiffRows | None":
        """None where this is not the reader for a TIFF, as far as its directory tells."""

        entries = _Entries(data, outline)
        if not entries.are_usual:
            return None
        width, height = entries.number(tiff.WIDTH, 0), entries.number(tiff.HEIGHT, 0)
        tiled = tiff.TILE_WIDTH in outline.entries
        if tiled:
            sides = entries.number(tiff.TILE_WIDTH, 0), entries.number(tiff.TILE_ROWS, 0)
        else:
            sides = width, entries.strip_rows(height)
        if min(width, height, *sides) < 1 or sides[0] * sides[1] * entries.channels > _MOST_PIECE_BYTES:
            return None
        count = -(-width // sides[0]) * -(-height // sides[1])
        tables = (tiff.TILE_OFFSETS, tiff.TILE_BYTES) if tiled else (tiff.STRIP_OFFSETS, tiff.STRIP_BYTES)
        offsets, lengths = (entries.numbers(tag, count) for tag in tables)
        if not offsets or not lengths:
            return None
        return cls(
            width=width,
            height=height,
            channels=entries.channels,
            piece_width=sides[0],
            piece_rows=sides[1],
            compression=entries.compression,
            predicted=entries.predictor == _HORIZONTAL,
            inverted=entries.number(tiff.PHOTOMETRIC, -1) == tiff.WHITE_IS_ZERO,
            tiled=tiled,
            offsets=offsets,
            lengths=lengths,
        )

    @property
    def scratch_bytes(self) -> int:
        """A band as it is unfolded and as it is put together, or an LZW-coded piece as stored and unfolded."""
        row = self.piece_width * self.channels
        bands = 4 * (BAND_BYTES + 2 * row) + 4 * INPUT_BYTES
        whole = self.piece_rows * row + min(max(self.lengths), 2 * self.piece_rows * row) + lzw.TABLE_BYTES
        return bands + (whole if self.compression == _LZW else 0) + _NUMBER_BYTES * len(self.offsets)

    def pieces(self, first: int = 0, last: int | None = None) -> Iterator[Piece]:
        """From top to bottom, and from left to right: those that have rows of `first` to `last` (exclusive)."""
        across = -(-self.width // self.piece_width)
        below = -(-(self.height if last is None else last) // self.piece_rows)
        for number in range(first // self.piece_rows * across, below * across):
            start, length = self.offsets[number], self.lengths[number]
            top, left = number // across * self.piece_rows, number % across * self.piece_width
            rows = slice(top, min(top + self.piece_rows, self.height))
            columns = slice(left, min(left + self.piece_width, self.width))
            yield Piece(slice(start, start + length), rows, columns)

    def read_piece(self, data: Contents, piece: Piece, target: np.ndarray) -> None:
        """A piece's pixels, as far as they are in the picture, into uint8 of shape (rows, columns, channels).

        Raises Unsound.
        """
        row_bytes = self.piece_width * self.channels
        height = self.piece_rows if self.tiled else len(target)  # a strip ends with the picture, a tile doesn't
        undo = Unfilter(row_bytes, self.channels, SUB).rows if self.predicted else _copy
        unfolded, at_once = self._unfolded(data, piece.at, height * row_bytes), max(1, BAND_BYTES // row_bytes)
        for top in range(0, height, at_once):
            rows, part = min(at_once, height - top), target[top : top + at_once]
            whole = target.shape[1] == self.piece_width and len(part) == rows and part.flags.c_contiguous
            band = part.reshape(rows, row_bytes) if whole else np.empty((rows, row_bytes), np.uint8)
            undo(unfolded.read(rows * row_bytes), band)
            if not whole:
                part[...] = band.reshape(rows, self.piece_width, -1)[: len(part), : target.shape[1]]
        unfolded.finish()
        if self.inverted:
            np.subtract(255, target, out=target)

    def _unfolded(self, data: Contents, at: slice, size: int) -> "_Bytes":
        """The bytes of a piece, which must be so many. Raises Unsound."""
        if not 0 < at.start <= at.stop <= len(data):
            raise Unsound("outside of the file")
        if self.compression == tiff.UNCOMPRESSED:
            return _Stored(data, at, size)
        if self.compression == _LZW:
            return _Unfolded(data[at], size)
        return Inflated(in_pieces(data, [at]))


class _Entries:
    """What a directory says, as far as it says it plainly: as many numbers as there should be, of usual kinds."""

    def __init__(self, data: Contents, outline: TiffOutline) -> None:
        self._data, self._outline = data, outline
        self.channels = _CHANNELS.get(self.number(tiff.PHOTOMETRIC, -1), 0)
        self.compression = self.number(tiff.COMPRESSION, tiff.UNCOMPRESSED)
        self.predictor = self.number(_PREDICTOR, _NO_PREDICTOR)

    def number(self, tag: int, default: int) -> int:
        """`default` where there is none; -1 where it is said otherwise."""
        return (self.numbers(tag, 1) or (-1,))[0] if tag in self._outline.entries else default

    def numbers(self, tag: int, count: int) -> tuple[int, ...]:
        """None where there are not so many."""
        entry = self._outline.entries.get(tag)
        plain = entry is not None and entry.count == count and entry.kind in _PLAIN_KINDS
        return self._outline.values(self._data, tag, most=count) if plain else ()

    def strip_rows(self, height: int) -> int:
        """Of a strip; what is beyond 31 bits, but for what stands for all rows, is not read everywhere."""
        rows = self.number(tiff.STRIP_ROWS, height)
        return min(rows, height) if rows <= _MOST_ROWS or rows == _ALL_ROWS else 0

    @property
    def are_usual(self) -> bool:
        """Whether the samples are such as are read here."""
        entries, coded = self._outline.entries, self.compression != tiff.UNCOMPRESSED
        eights, unsigned = (8,) * self.channels, (tiff.UNSIGNED,) * self.channels
        return (
            not self._outline.cut_off
            and not self._outline.odd
            and self._data[:4] != tiff.BIG_ENDIAN_BIGTIFF
            and self.compression in {tiff.UNCOMPRESSED, _LZW, *_DEFLATE}
            and self.predictor in ((_NO_PREDICTOR, _HORIZONTAL) if coded else (_NO_PREDICTOR,))
            and self.channels == self.number(tiff.SAMPLES, 1)
            and self.numbers(tiff.BITS, self.channels) == eights
            and (tiff.SAMPLE_FORMAT not in entries or self.numbers(tiff.SAMPLE_FORMAT, self.channels) == unsigned)
            and all(self.number(tag, 1) == 1 for tag in (tiff.PLANES, _FILL_ORDER, tiff.ORIENTATION))
            and tiff.EXTRA_SAMPLES not in entries
            and (_STRIPS.isdisjoint(entries) or _TILES.isdisjoint(entries))
            and (self._data[2:3] not in b"+" or self._data[4:8] == _OF_BIGTIFF)
        )


class _Bytes(Protocol):
    """Like `Inflated`."""

    def read(self, size: int) -> np.ndarray: ...
    def finish(self) -> None: ...


class _Stored:
    """Bytes as they are in the file. No MARGIN follows: there is no predictor."""

    def __init__(self, data: Contents, at: slice, size: int) -> None:
        """Raises Unsound."""
        if at.stop - at.start != size:
            raise Unsound("fewer than the pixels, or more")
        self._data, self._at = data, at.start

    def read(self, size: int) -> np.ndarray:
        start, self._at = self._at, self._at + size
        return np.frombuffer(self._data[start : self._at], np.uint8)

    def finish(self) -> None:
        pass


class _Unfolded:
    """An LZW-coded piece, unfolded as a whole: its strings refer to all that was before."""

    def __init__(self, stored: bytes, size: int) -> None:
        """Raises Unsound."""
        if int.from_bytes(stored[:2], "big") >> 7 != _CLEAR_CODE:  # before TIFF 5 codes began with their lower bits
            raise Unsound("no table to begin with")
        self._bytes, self._at = np.empty(size + lzw.MARGIN, np.uint8), 0
        if not lzw.unfold(np.frombuffer(stored, np.uint8), self._bytes):
            raise Unsound("no such code, or fewer than the pixels")

    def read(self, size: int) -> np.ndarray:
        start, self._at = self._at, self._at + size
        return self._bytes[start : self._at + lzw.MARGIN]

    def finish(self) -> None:
        pass


def _copy(source: np.ndarray, target: np.ndarray) -> None:
    target.reshape(-1)[:] = source[: target.size]
