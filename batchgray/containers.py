"""What a file's own structure tells, before any library reads it: its format, its frames, what it can't possibly hold.

A header costs nothing to write. A kilobyte can promise a gigapixel, a progressive JPEG twenty thousand passes over the
picture, a TIFF pages without end, a PNG text that unfolds to gigabytes; and libraries believe them. So this walks the
chunks and directories of a file, and `jpegoutline` its markers, with a bound on every step, and hands on only what the
picture needs.
"""

import io
import os
import re
import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from mmap import MADV_DONTNEED, mmap
from typing import BinaryIO, Literal

from batchgray.errors import ImageError

Contents = bytes | mmap  # of a file, read or mapped
Format = Literal["JPEG", "PNG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "AVIF"]  # as Pillow names them

HEAD_BYTES = 16
EXIF_HEADER = b"Exif\0\0"  # of an EXIF block in a JPEG
MOST_FRAMES = 1000  # counted; who wants to know of more opens the file

_SIGNATURES: dict[Format, re.Pattern[bytes]] = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]|II\0\*|MM\*\0"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "BMP": re.compile(rb"BM"),
    "DIB": re.compile(rb"[\x28\x34\x38\x40\x6c\x7c]\0\0\0"),  # a BMP without its file header
    "GIF": re.compile(rb"GIF8[79]a"),
    "AVIF": re.compile(rb"....ftyp(?:avif|avis|mif1|msf1)", re.DOTALL),
}

_HEIC = re.compile(rb"....ftyphe[iv][cxms]", re.DOTALL)

# The picture that the smallest file can hold costs no more than this many pixels anyway: a fraction of a second.
_HARMLESS_PIXELS = 16_000_000

# The most that one byte can unfold to. Deflate: 258 bytes for two bits. LZW: a string of 4096 for twelve bits.
DEFLATE_RATIO = 1032
LZW_RATIO = 4096 * 8 // 12

WEBP_MAX_SIDE = 16383
_WHOLE_BYTES = 512 << 20  # of a format that libraries read as a whole

_PNG_MOST_CHUNKS = 1_000_000
_PNG_FORGOTTEN_CHUNKS = 4096
_PNG_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT"}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_SLACK_BYTES = 16 << 20

_GIF_MOST_BLOCKS = 1_000_000

_TIFF_MOST_ENTRIES = 65535  # what a TIFF can say; a BigTIFF can say more
_TIFF_MOST_NUMBERS = 4_000_000  # in one entry: a strip for each row of a gigapixel, and more
_TIFF_TYPE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_TIFF_BYTES = {1, 2, 6, 7}  # types that stay bytes


def format_of(head: bytes) -> Format:
    """Which of the formats a file that begins with `head` is in. Raises ImageError."""
    for name, signature in _SIGNATURES.items():
        if signature.match(head):
            return name
    if _HEIC.match(head):
        raise ImageError("HEIC is not read here; convert it to JPEG first, or have the phone export JPEG")
    raise ImageError("in none of the formats that are read here (JPEG, PNG, TIFF, WebP, BMP, GIF, AVIF)")


def check_plausible(width: int, height: int, least_bytes: int, file_bytes: int) -> None:
    """Raise ImageError where even the best compression would need more bytes than there are."""
    if width * height > _HARMLESS_PIXELS and file_bytes < least_bytes:
        raise ImageError(
            f"damaged: its header promises {width} x {height} pixels, which {file_bytes:,} bytes can't hold"
        )


def check_read_as_a_whole(file_bytes: int) -> None:
    """Raise ImageError where a file is too long for a library that needs all of it in memory."""
    if file_bytes > _WHOLE_BYTES:
        raise ImageError(f"{file_bytes:,} bytes, over the {_WHOLE_BYTES:,} that a file of its format can have here")


@dataclass
class PngOutline:
    """`frames` is what an animation promises, `kept` where the chunks lie that decoding needs.

    The last chunk may be cut off.
    """

    width: int
    height: int
    exif: bytes = b""
    frames: int = 1
    kept: list[slice] = field(default_factory=list)

    @classmethod
    def walk(cls, data: Contents) -> "PngOutline":
        """Walk through all chunks. Raises ImageError."""
        if data[12:16] != b"IHDR" or len(data) < 33:
            raise ImageError("damaged: a PNG without its header")
        width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
        raw = width * height * depth * _PNG_CHANNELS.get(colour, 1) // 8
        check_plausible(width, height, raw // DEFLATE_RATIO, len(data))
        outline, pixels = cls(width, height), 0
        for kind, body in _png_chunks(data):
            if kind in _PNG_KEPT and body.start < body.stop:
                outline._keep(slice(body.start - 8, body.stop + 4))
                pixels += body.stop - body.start if kind == b"IDAT" else 0
            elif kind == b"acTL":
                outline.frames = int.from_bytes(data[body][:4], "big") or 1
            elif kind == b"eXIf" and body.stop - body.start < 1 << 16:
                outline.exif = data[body]
        if not pixels:
            raise ImageError("damaged: a PNG that ends before its picture begins")
        if pixels > 2 * raw + height + _PNG_SLACK_BYTES:
            raise ImageError(f"damaged: {pixels:,} bytes are more than a PNG of {width} x {height} pixels can need")
        return outline

    def _keep(self, part: slice) -> None:
        if self.kept and self.kept[-1].stop == part.start:
            part = slice(self.kept.pop().start, part.stop)
        self.kept.append(part)

    def without_metadata(self, data: Contents) -> BinaryIO:
        """The file with nothing but what its picture needs: no text, no profile, no other frames."""
        return io.BufferedReader(Excerpt(data, [slice(0, 8), *self.kept]))  # Pillow needs no end chunk


def _png_chunks(data: Contents) -> Iterator[tuple[bytes, slice]]:
    """Kind and body of each chunk; the last one may be cut off."""
    at = 8
    for count in range(_PNG_MOST_CHUNKS):
        if isinstance(data, mmap) and count % _PNG_FORGOTTEN_CHUNKS == _PNG_FORGOTTEN_CHUNKS - 1:
            data.madvise(MADV_DONTNEED)  # it is in the file, and need not count as this process's memory
        head = data[at : at + 8]
        if len(head) < 8 or not head[4:].isalpha() or head[4:] == b"IEND":
            return
        length = int.from_bytes(head[:4], "big")
        yield head[4:], slice(at + 8, min(at + 8 + length, len(data)))
        at += length + 12
    raise ImageError(f"damaged: a PNG of more than {_PNG_MOST_CHUNKS:,} chunks")


def webp_size(head: bytes) -> tuple[int, int] | None:
    """Width and height of a WebP's canvas where the file declares one, from its first 30 bytes. Raises ImageError."""
    if head[12:16] != b"VP8X" or len(head) < 30:
        return None
    width = int.from_bytes(head[24:27], "little") + 1
    height = int.from_bytes(head[27:30], "little") + 1
    if max(width, height) > WEBP_MAX_SIDE:
        raise ImageError(f"damaged: a canvas of {width} x {height}; WebP has {WEBP_MAX_SIDE} pixels a side at most")
    return width, height


def gif_frames(data: Contents) -> int:
    """How many frames a GIF has; those beyond MOST_FRAMES, or a million blocks, are not counted. Raises ImageError."""
    frames, at, left = 0, 13 + _palette_bytes(data[10:11]), _GIF_MOST_BLOCKS
    try:
        while frames < MOST_FRAMES and left > 0:
            left -= 1
            introducer = data[at]
            if introducer == 0x2C:
                frames += 1
                at += 11 + _palette_bytes(data[at + 9 : at + 10])
            elif introducer == 0x21:
                at += 2
            elif introducer == 0x3B:
                break
            else:
                at += 1
                continue
            while left > 0 and (length := data[at]):
                at += length + 1
                left -= 1
            at += 1
    except IndexError:  # cut off
        pass
    if not frames:
        raise ImageError(f"damaged: a GIF without a picture in its first {_GIF_MOST_BLOCKS - left:,} blocks")
    return frames


def _palette_bytes(flags: bytes) -> int:
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


class Excerpt(io.RawIOBase):
    """Parts of a mapped file as a file. Nothing is copied but what is read: the file may be larger than memory."""

    def __init__(self, data: Contents, parts: list[slice]) -> None:
        self._data, self._parts, self._at = data, parts, 0
        self._ends = list(accumulate(part.stop - part.start for part in parts))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._ends[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]  # io gives a memoryview
        number = bisect_right(self._ends, self._at)
        if number == len(self._parts):
            return 0
        left = self._ends[number] - self._at
        stop = self._parts[number].stop
        piece = self._data[stop - left : min(stop, stop - left + len(target))]
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


@dataclass(frozen=True)
class _TiffLayout:
    """How numbers are written in a TIFF: `struct` codes and sizes. BigTIFF has 8 bytes where TIFF has 2 or 4."""

    order: str
    first: int
    count: str
    entry_bytes: int
    pointer: str

    @classmethod
    def of(cls, data: Contents) -> "_TiffLayout":
        order = "<" if data[:1] == b"I" else ">"
        return cls(order, 8, "Q", 20, "Q") if 0x2B in data[2:4] else cls(order, 4, "H", 12, "I")

    def read(self, code: str, data: Contents, at: int) -> tuple[int, ...]:
        """Raises struct.error outside of the file."""
        if at > len(data):  # a BigTIFF's offset may be more than `struct` takes
            raise struct.error(f"{at} is behind the end")
        return struct.unpack_from(self.order + code, data, at)


def tiff_pages(data: Contents) -> int:
    """How many directories are in a TIFF's chain, which may bite its own tail; at most MOST_FRAMES are counted.

    Raises ImageError where the first one's entries are more than anybody should unpack.
    """
    layout = _TiffLayout.of(data)
    seen: set[int] = set()
    try:
        (page,) = layout.read(layout.pointer, data, layout.first)
        while page and page not in seen and len(seen) < MOST_FRAMES:
            (entries,) = layout.read(layout.count, data, page)
            start = page + struct.calcsize(layout.count)
            if not seen:
                _check_entries(layout, data, start, entries)
            seen.add(page)
            (page,) = layout.read(layout.pointer, data, start + layout.entry_bytes * entries)
    except struct.error:  # out of the file
        pass
    return len(seen)


def _check_entries(layout: _TiffLayout, data: Contents, start: int, entries: int) -> None:
    if entries > _TIFF_MOST_ENTRIES:
        raise ImageError(f"damaged: a TIFF directory of {entries:,} entries")
    total = 0
    for index in range(entries):
        _, kind, count = layout.read("HH" + layout.pointer, data, start + layout.entry_bytes * index)
        size = count * _TIFF_TYPE_BYTES.get(kind, 0)
        if size > len(data):
            continue  # Pillow passes over it
        total += size
        if total > _WHOLE_BYTES or (kind not in _TIFF_BYTES and count > _TIFF_MOST_NUMBERS):
            raise ImageError("damaged: a TIFF directory whose entries are longer than any picture's")
