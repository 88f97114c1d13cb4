"""What a file's own structure tells, before any library reads it: its format, its frames, what it can't possibly hold.

A header costs nothing to write. A kilobyte can promise a gigapixel, a progressive JPEG twenty thousand passes over the
picture, a TIFF pages without end, a PNG text that unfolds to gigabytes; and libraries believe them. So this walks the
chunks of a file, `jpegoutline` its markers and `tiffoutline` its directories, with a bound on every step, and hands on
only what the picture needs.
"""

import io
import os
import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
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

_LONGEST_EXIF = 1 << 16

WEBP_MAX_SIDE = 16383
_WEBP_MOST_CHUNKS = 1_000_000
_WEBP_KEPT = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"}
_WEBP_HEAD_BYTES = 10
_WEBP_FLAGS = 0x12  # alpha and animation; there is no EXIF, XMP or profile any more
_WHOLE_BYTES = 512 << 20  # of a format that libraries read as a whole

_PNG_MOST_CHUNKS = 1_000_000
_PNG_FORGOTTEN_CHUNKS = 4096
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_PNG_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT"}
_PNG_GRAY, _PNG_RGB, _PNG_PALETTE = 0, 2, 3
_PNG_CHANNELS = {_PNG_GRAY: 1, _PNG_RGB: 3, _PNG_PALETTE: 1, 4: 2, 6: 4}
_PNG_LONGEST_CHUNK = 1024  # but for IDAT; a palette has 768 bytes
_PNG_SLACK_BYTES = 16 << 20

_BMP_LONGEST_HEADER = 124  # bytes; BITMAPV5HEADER

_GIF_MOST_BLOCKS = 1_000_000


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


def check_bmp(data: Contents) -> None:
    """Raise ImageError for a BMP whose header is longer than any: it would be read before it is looked at."""
    length = int.from_bytes(data[14:18], "little")
    if length > _BMP_LONGEST_HEADER:
        raise ImageError(f"damaged: a BMP with a header of {length:,} bytes")


@dataclass
class PngOutline:
    """`frames` is what an animation promises, `kept` where the chunks lie that decoding needs.

    `depth` is bits a sample; `transparent` has the one transparent colour of a picture without a palette. The last
    chunk may be cut off.
    """

    width: int
    height: int
    depth: int
    colour_type: int
    interlaced: bool
    transparent: tuple[int, ...] = ()
    animated: bool = False
    exif: bytes = b""
    frames: int = 1
    kept: list[slice] = field(default_factory=list)
    _colours: int = 0  # in the palette, so far
    _may_have_key: bool = True  # a tRNS chunk counts, if one comes

    @classmethod
    def walk(cls, data: Contents) -> "PngOutline":
        """Walk through all chunks. Raises ImageError."""
        if data[12:16] != b"IHDR" or len(data) < 33:
            raise ImageError("damaged: a PNG without its header")
        width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
        raw = width * height * depth * _PNG_CHANNELS.get(colour, 1) // 8
        check_plausible(width, height, raw // DEFLATE_RATIO, len(data))
        outline, pixels = cls(width, height, depth, colour, data[28] == 1), 0
        for kind, body in _png_chunks(data):
            length = body.stop - body.start
            if outline._is_kept(kind, length):
                outline._keep(slice(body.start - 8, body.stop + 4))
                pixels += length if kind == b"IDAT" else 0
                outline._note(kind, data, body)
            elif kind == b"acTL":
                outline.animated = True
                outline.frames = int.from_bytes(data[body][:4], "big") or 1
            elif kind == b"eXIf" and body.stop - body.start < _LONGEST_EXIF:
                outline.exif = data[body]
        if not pixels:
            raise ImageError("damaged: a PNG that ends before its picture begins")
        if colour == _PNG_PALETTE and not outline._colours:
            raise ImageError("damaged: a PNG of palette colours without its palette")
        if pixels > 2 * raw + height + _PNG_SLACK_BYTES:
            raise ImageError(f"damaged: {pixels:,} bytes are more than a PNG of {width} x {height} pixels can need")
        return outline

    def _is_kept(self, kind: bytes, length: int) -> bool:
        """Whether the picture needs a chunk. Transparency out of place, or of a wrong length, counts for nothing.

        That is how libpng has it, and so every viewer; Pillow would take the last of several, whatever it is.
        """
        if kind == b"tRNS":
            right = length <= self._colours if self.colour_type == _PNG_PALETTE else length == 2 * self._key_numbers
            return self._may_have_key and right and length > 0
        return kind in _PNG_KEPT and length > 0 and (kind == b"IDAT" or length <= _PNG_LONGEST_CHUNK)

    @property
    def _key_numbers(self) -> int:
        return _PNG_CHANNELS[self.colour_type] if self.colour_type in (_PNG_GRAY, _PNG_RGB) else 0

    def _note(self, kind: bytes, data: Contents, body: slice) -> None:
        """Note what a chunk that is kept tells of transparency, its own or of another one."""
        if kind == b"PLTE":
            self._colours = (body.stop - body.start) // 3
        elif kind in (b"IDAT", b"tRNS"):
            self._may_have_key = False
        if kind == b"tRNS":
            mask = (1 << self.depth) - 1
            numbers = struct.unpack_from(f">{self._key_numbers}H", data[body])
            self.transparent = tuple(value & mask for value in numbers)

    def _keep(self, part: slice) -> None:
        if self.kept and self.kept[-1].stop == part.start:
            part = slice(self.kept.pop().start, part.stop)
        self.kept.append(part)

    def without_metadata(self, data: Contents) -> BinaryIO:
        """The file with nothing but what its picture needs: no text, no profile, no other frames."""
        return excerpt(data, [slice(0, 8), *self.kept])  # Pillow needs no end chunk

    def parts(self, data: Contents) -> list[slice | bytes]:
        """The same for an Excerpt, with an end chunk where the last chunk is whole."""
        whole = self.kept[-1].stop <= len(data)
        return [slice(0, 8), *self.kept, *([_PNG_END] if whole else [])]


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


@dataclass
class WebpOutline:
    """`kept` are the chunks that decoding the first frame needs, `frames` what an animation has."""

    width: int
    height: int
    frames: int = 1
    exif: bytes = b""
    kept: list[slice] = field(default_factory=list)
    _flags: int = 0

    @classmethod
    def walk(cls, data: Contents) -> "WebpOutline":
        """Walk through the chunks, as far as the file's own length says. Raises ImageError."""
        outline, animated = cls(0, 0), 0
        for kind, body in _webp_chunks(data):
            animated += kind == b"ANMF"
            if kind == b"EXIF" and body.stop - body.start <= _LONGEST_EXIF:
                outline.exif = data[body]
            if kind not in _WEBP_KEPT or (kind == b"ANMF" and animated > 1):
                continue
            if not outline.width:
                outline._take_sides(kind, data[body.start : body.start + _WEBP_HEAD_BYTES])
            outline.kept.append(slice(body.start - 8, body.stop + body.stop % 2))
            if animated == MOST_FRAMES:
                break
        if not outline.width:
            raise ImageError("damaged: a WebP without a picture")
        if max(outline.width, outline.height) > WEBP_MAX_SIDE:
            raise ImageError(
                f"damaged: a canvas of {outline.width} x {outline.height}; "
                f"WebP has {WEBP_MAX_SIDE} pixels a side at most"
            )
        outline.frames = max(1, animated)
        return outline

    def _take_sides(self, kind: bytes, head: bytes) -> None:
        if kind == b"VP8X":
            self._flags = head[0] & _WEBP_FLAGS
            self.width, self.height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (4, 7))
        elif kind == b"VP8L":
            sides = int.from_bytes(head[1:5], "little")
            self.width, self.height = (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1
        elif kind == b"VP8 ":
            self.width, self.height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (6, 8))

    @property
    def kept_bytes(self) -> int:
        return sum(part.stop - part.start for part in self.kept)

    def without_metadata(self, data: Contents) -> BinaryIO:
        """The file with nothing but what its first frame needs, in a container of that length."""
        head = b"RIFF" + (4 + self.kept_bytes).to_bytes(4, "little") + b"WEBP"
        parts: list[slice | bytes] = [head, *self.kept]
        if data[self.kept[0]][:4] == b"VP8X":
            parts[1] = b"VP8X\x0a\0\0\0" + bytes([self._flags]) + data[self.kept[0]][9:18]
        return excerpt(data, parts)


def _webp_chunks(data: Contents) -> Iterator[tuple[bytes, slice]]:
    """Kind and body of each chunk; the last one may be cut off."""
    at, end = 12, min(8 + int.from_bytes(data[4:8], "little"), len(data))
    for _ in range(_WEBP_MOST_CHUNKS):
        head = data[at : at + 8]
        if len(head) < 8 or at + 8 >= end:
            return
        length = int.from_bytes(head[4:], "little")
        yield head[:4], slice(at + 8, min(at + 8 + length, end))
        at += 8 + length + length % 2
    raise ImageError(f"damaged: a WebP of more than {_WEBP_MOST_CHUNKS:,} chunks")


@dataclass
class GifOutline:
    """`frames` beyond MOST_FRAMES, or behind a million blocks, are not counted; `kept` is what the first one needs.

    `window` has its rows and columns of the canvas where it does not cover all of that, else it is empty.
    """

    frames: int = 0
    kept: list[slice] = field(default_factory=list)
    window: tuple[slice, ...] = ()

    @classmethod
    def walk(cls, data: Contents) -> "GifOutline":
        """Walk through the blocks. Raises ImageError."""
        outline, at, left = cls(), 13 + _palette_bytes(data[10:11]), _GIF_MOST_BLOCKS
        outline.kept, control = [slice(0, at)], None
        try:
            while outline.frames < MOST_FRAMES and left > 0:
                left -= 1
                introducer, start = data[at], at
                if introducer == 0x2C:
                    outline.frames += 1
                    if outline.frames == 1:
                        outline._take_window(data[6:10], data[at + 1 : at + 9])
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
                if introducer == 0x21 and data[start + 1] == 0xF9:
                    control = slice(start, at)
                elif introducer == 0x2C and outline.frames == 1:
                    outline.kept += [*([control] if control else []), slice(start, at)]
        except IndexError:  # cut off
            if outline.frames == 1 and len(outline.kept) == 1:
                outline.kept += [*([control] if control else []), slice(start, len(data))]
        if not outline.frames:
            raise ImageError(f"damaged: a GIF without a picture in its first {_GIF_MOST_BLOCKS - left:,} blocks")
        return outline

    def _take_window(self, canvas: bytes, frame: bytes) -> None:
        if len(frame) < 8:
            return
        across, down = struct.unpack("<HH", canvas)
        left, top, width, height = struct.unpack("<4H", frame)
        if left or top or width < across or height < down:
            self.window = slice(top, top + height), slice(left, left + width)

    def without_metadata(self, data: Contents) -> BinaryIO:
        """The file with nothing but its first frame: no comments, no other frames."""
        return excerpt(data, [*self.kept, b";"])


def _palette_bytes(flags: bytes) -> int:
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


class Excerpt(io.RawIOBase):
    """Parts of a mapped file as a file, and bytes that stand between them.

    Nothing is copied but what is read: the file may be larger than memory. `fd` is a descriptor for libraries that
    read the file itself; it is the excerpt's to close.
    """

    def __init__(self, data: Contents, parts: Sequence[slice | bytes], fd: int | None = None) -> None:
        self._data, self._parts, self._at, self._fd = data, parts, 0, fd
        self._ends = list(
            accumulate(len(part) if isinstance(part, bytes) else part.stop - part.start for part in parts)
        )

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return super().fileno() if self._fd is None else self._fd

    def close(self) -> None:
        if not self.closed and self._fd is not None:
            os.close(self._fd)
        super().close()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._ends[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]  # io gives a memoryview
        number = bisect_right(self._ends, self._at)
        if number == len(self._parts):
            return 0
        part, left = self._parts[number], self._ends[number] - self._at
        source, stop = (part, len(part)) if isinstance(part, bytes) else (self._data, part.stop)
        piece = source[stop - left : min(stop, stop - left + len(target))]
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def excerpt(data: Contents, parts: Sequence[slice | bytes], fd: int | None = None) -> BinaryIO:
    """An Excerpt as libraries want a file to be."""
    return io.BufferedReader(Excerpt(data, parts, fd))
