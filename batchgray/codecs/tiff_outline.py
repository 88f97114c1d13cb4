"""A TIFF's first directory: what it says of the picture, before any library reads it.

A bound on every step (see `limits`); numbers and names are those of TIFF 6.0, its supplements and BigTIFF.

A library reads all entries of a directory, and holds them more than once: a description or a profile may be longer
than the picture. So libraries get the file with a shorter directory in the place of its own (`parts`).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from batchgray.codecs import metadata
from batchgray.codecs.excerpt import Contents
from batchgray.codecs.limits import MOST_FRAMES
from batchgray.codecs.metadata import Besides
from batchgray.errors import ImageError

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, ORIENTATION, SAMPLES, STRIP_ROWS, STRIP_BYTES, PLANES = 273, 274, 277, 278, 279, 284
TILE_WIDTH, TILE_ROWS, TILE_OFFSETS, TILE_BYTES, EXTRA_SAMPLES, SAMPLE_FORMAT = 322, 323, 324, 325, 338, 339
COLOUR_MAP, INK_SET = 320, 332

BIG_ENDIAN_BIGTIFF = b"MM\0+"  # its first bytes
UNCOMPRESSED, JPEG, WEBP = 1, 7, 50001  # of COMPRESSION
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6  # of PHOTOMETRIC
NO_ALPHA, PREMULTIPLIED_ALPHA, ALPHA = 0, 1, 2  # of EXTRA_SAMPLES
UNSIGNED, SIGNED = 1, 2  # of SAMPLE_FORMAT
CMYK_INKS = 1  # of INK_SET
SEPARATE = 2  # of PLANES

_TABLES = {STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES}
_NUMBERS = _TABLES | {
    *(WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES, STRIP_ROWS, PLANES, TILE_WIDTH, TILE_ROWS),
    *(EXTRA_SAMPLES, SAMPLE_FORMAT, COLOUR_MAP, INK_SET),
    *(254, 266, 292, 293, 317),  # subfile type, fill order, fax options, predictor
}
_NEEDED = _NUMBERS | {
    *(347, *range(512, 522), 529, 530, 531, 532),  # tables and whereabouts of JPEGs, and of YCbCr
    50674,  # LERC's parameters
}
# What describes the picture and not the file: ImageDescription, Make, Model, DateTime, Artist, Copyright.
DESCRIBING = (270, 271, 272, 306, 315, 33432)

_MOST_ENTRIES = 65535  # what a TIFF can say; a BigTIFF can say more
_MOST_NUMBERS = 4_000_000  # in one entry: a strip for each row of a gigapixel, and more
_KEPT = _NEEDED.union(DESCRIBING)
_LONGEST_ENTRY = 1 << 20  # bytes, but for the tables; a colour map has 393,216
_LONGEST_DESCRIPTION = 1 << 16  # bytes; longer than any EXIF block that is kept
_FIRST_VALUES = 64  # of an entry, that are looked at
_NUMBERS_AT_ONCE = 1 << 16
_SHORT = 3
_INTEGERS = {1: "B", _SHORT: "H", 4: "I", 16: "Q", 6: "b", 8: "h", 9: "i", 17: "q"}  # libtiff takes signed ones too
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


@dataclass(frozen=True)
class _Layout:
    """How numbers are written in a TIFF: `struct` codes and sizes. BigTIFF has 8 bytes where TIFF has 2 or 4."""

    order: str
    first: int
    count: str
    entry_bytes: int
    pointer: str

    @classmethod
    def of(cls, data: Contents) -> "_Layout":
        order = "<" if data[:1] == b"I" else ">"
        return cls(order, 8, "Q", 20, "Q") if 0x2B in data[2:4] else cls(order, 4, "H", 12, "I")

    def read(self, code: str, data: Contents, at: int) -> tuple[int, ...]:
        """Raises struct.error outside of the file."""
        if at > len(data):  # a BigTIFF's offset may be more than `struct` takes
            raise struct.error(f"{at} is behind the end")
        return struct.unpack_from(self.order + code, data, at)

    def pack(self, code: str, *values: int) -> bytes:
        return struct.pack(self.order + code, *values)


@dataclass(frozen=True)
class _Entry:
    """One entry: as it is in the directory, and where its values lie."""

    raw: bytes
    kind: int
    count: int
    at: int


class Pieces(NamedTuple):
    """Strips, or tiles of which `across` lie side by side, of so many rows; `tables` tell of them."""

    rows: int
    across: int
    tables: tuple[int, int]


@dataclass
class TiffOutline:
    """`pages` are the directories of the chain, at most MOST_FRAMES; `entries` those of the first that are needed.

    `skipped_bytes` is how long the values of its other entries are together; `cut_off` says whether some
    of the first are missing, `odd` whether one that is needed was too long.
    """

    pages: int
    layout: _Layout
    at: int  # of the first directory
    entries: dict[int, _Entry] = field(default_factory=dict)
    skipped_bytes: int = 0
    cut_off: bool = True
    odd: bool = False
    besides: Besides = field(default_factory=Besides)

    @classmethod
    def walk(cls, data: Contents) -> "TiffOutline":
        """Read the first directory and follow the chain, which may bite its own tail. Raises ImageError."""
        layout = _Layout.of(data)
        seen: set[int] = set()
        outline = None
        try:
            (page,) = layout.read(layout.pointer, data, layout.first)
            while page and page not in seen and len(seen) < MOST_FRAMES:
                (count,) = layout.read(layout.count, data, page)
                start = page + struct.calcsize(layout.count)
                if outline is None:
                    outline = cls(0, layout, page)
                    outline._take_entries(data, start, count)
                seen.add(page)
                (page,) = layout.read(layout.pointer, data, start + layout.entry_bytes * count)
                outline.cut_off = False
        except struct.error:  # out of the file
            pass
        if outline is None:
            raise ImageError("damaged: a TIFF that ends before its directory")
        outline.pages = len(seen)
        return outline

    def _take_entries(self, data: Contents, start: int, count: int) -> None:
        if count > _MOST_ENTRIES:
            raise ImageError(f"damaged: a TIFF directory of {count:,} entries")
        layout = self.layout
        for at in range(start, start + layout.entry_bytes * count, layout.entry_bytes):
            tag, kind, numbers = layout.read("HH" + layout.pointer, data, at)
            size = numbers * _BYTES.get(kind, 0)
            longest = _LONGEST_DESCRIPTION if tag in DESCRIBING else _LONGEST_ENTRY
            if tag in _TABLES and numbers > _MOST_NUMBERS:
                raise ImageError(f"damaged: a TIFF of {numbers:,} strips or tiles")
            if tag in _NUMBERS and kind not in _INTEGERS:  # which some libraries would take, and others not
                raise ImageError(f"damaged: a TIFF whose entry {tag} is no integer")
            if tag in metadata.TIFF_TAGS and numbers:
                place = self._place(data, at, size)
                self.besides.take(metadata.TIFF_TAGS[tag], data, slice(place, place + size))
            if tag not in _KEPT or size > (len(data) if tag in _TABLES else longest):
                self.skipped_bytes += size if size <= len(data) else 0
                self.odd |= tag in _NEEDED
                continue
            raw = data[at : at + layout.entry_bytes]
            # Of a repeated one libtiff takes the first.
            self.entries.setdefault(tag, _Entry(raw, kind, numbers, self._place(data, at, size)))

    def _place(self, data: Contents, at: int, size: int) -> int:
        """Where the values of the entry at `at` begin: in it, if they are short. Raises struct.error."""
        layout = self.layout
        pointer_bytes = struct.calcsize(layout.pointer)
        place = at + layout.entry_bytes - pointer_bytes
        return place if size <= pointer_bytes else layout.read(layout.pointer, data, place)[0]

    def values(
        self, data: Contents, tag: int, default: tuple[int, ...] = (), most: int = _FIRST_VALUES
    ) -> tuple[int, ...]:
        """The first numbers of an entry, at most so many; `default` where there is none, or none of integers."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _INTEGERS or not entry.count:
            return default
        try:
            return self.layout.read(f"{min(entry.count, most)}{_INTEGERS[entry.kind]}", data, entry.at)
        except struct.error:  # out of the file
            return default

    def value(self, data: Contents, tag: int, default: int) -> int:
        """The first number of an entry."""
        return self.values(data, tag, (default,))[0]

    @property
    def numbers(self) -> int:
        """How many the tables of strips or tiles have: a library holds each as an object."""
        return sum(entry.count for tag, entry in self.entries.items() if tag in _TABLES)

    def longest_piece(self, data: Contents) -> int:
        """How long the longest strip or tile is as stored, in bytes, and no longer than the file."""
        entry = self.entries.get(STRIP_BYTES) or self.entries.get(TILE_BYTES)
        if entry is None or entry.kind not in _INTEGERS:
            return len(data)
        number = np.dtype(self.layout.order + _INTEGERS[entry.kind])
        end, longest = min(entry.at + entry.count * number.itemsize, len(data)), 0
        for at in range(entry.at, end, _NUMBERS_AT_ONCE * number.itemsize):
            piece = data[at : min(at + _NUMBERS_AT_ONCE * number.itemsize, end)]
            whole = len(piece) // number.itemsize
            longest = max(longest, int(np.frombuffer(piece, number, whole).max(initial=0)))
        return min(longest, len(data))

    def pieces_of(self, data: Contents, width: int, height: int) -> "Pieces | None":
        """How its strips or tiles lie over the picture; None where the tables don't say, or say something else."""
        tiled = TILE_ROWS in self.entries
        rows = min(self.value(data, TILE_ROWS if tiled else STRIP_ROWS, height), height)
        across = -(-width // max(1, self.value(data, TILE_WIDTH, 0))) if tiled else 1
        tables = (TILE_OFFSETS, TILE_BYTES) if tiled else (STRIP_OFFSETS, STRIP_BYTES)
        if rows < 1 or any(tag not in self.entries for tag in tables):
            return None
        count = across * -(-height // rows)
        if any(self.entries[tag].count != count or self.entries[tag].kind not in _INTEGERS for tag in tables):
            return None
        return Pieces(rows, across, tables)

    def parts_of_rows(
        self, data: Contents, pieces: "Pieces", rows: tuple[int, int], changes: Mapping[int, int]
    ) -> list[slice | bytes]:
        """As `parts`, of a picture of nothing but the rows from the first to the last (exclusive) of `rows`.

        The first is the first of a piece.
        """
        top, bottom = rows
        span = slice(top // pieces.rows * pieces.across, -(-bottom // pieces.rows) * pieces.across)
        raws = []
        for tag, entry in sorted(self.entries.items()):
            if tag == HEIGHT:
                raws.append(self._entry(tag, 4, 1, self.layout.pack("I", bottom - top)))
            elif tag in pieces.tables:
                size = _BYTES[entry.kind]
                numbers = slice(entry.at + span.start * size, entry.at + span.stop * size)
                raws.append(self._entry(tag, entry.kind, span.stop - span.start, data[numbers], numbers.start))
            else:
                raws.append(self._packed(tag, entry, changes, True))
        return self._with_directory(data, raws)

    def _entry(self, tag: int, kind: int, count: int, values: bytes, at: int = 0) -> bytes:
        """An entry of these values; where they are too long for it they lie in the file `at`."""
        layout = self.layout
        if len(values) > struct.calcsize(layout.pointer):
            values = layout.pack(layout.pointer, at)
        return (layout.pack(f"HH{layout.pointer}", tag, kind, count) + values).ljust(layout.entry_bytes, b"\0")

    def parts(
        self,
        data: Contents,
        changes: Mapping[int, int] = {},  # never written to
        whole: bool = True,
    ) -> list[slice | bytes]:
        """The file with a directory of nothing but what its picture needs, for an Excerpt.

        `changes` has other values (of 16 bits) for entries that are there. Not `whole`, its tables of strips or tiles
        have one number: it can be opened, and its picture can't be read.
        """
        return self._with_directory(
            data, [self._packed(tag, entry, changes, whole) for tag, entry in sorted(self.entries.items())]
        )

    def _with_directory(self, data: Contents, raws: list[bytes]) -> list[slice | bytes]:
        directory = self.layout.pack(self.layout.count, len(raws)) + b"".join(raws)
        directory += self.layout.pack(self.layout.pointer, 0)  # no further page
        behind = min(self.at + len(directory), len(data))
        return [slice(0, self.at), directory, slice(behind, len(data))]

    def _packed(self, tag: int, entry: _Entry, changes: Mapping[int, int], whole: bool) -> bytes:
        layout = self.layout
        if tag in changes:
            short = layout.pack(f"HH{layout.pointer}H", tag, _SHORT, 1, changes[tag])
            return short.ljust(layout.entry_bytes, b"\0")
        if tag in _TABLES and not whole:
            one = layout.pack(f"HH{layout.pointer}", tag, entry.kind, 1)
            return one + entry.raw[len(one) :]
        return entry.raw
