"""A PNG's chunks: what they say of the picture, before any library reads it (PNG 3rd edition)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import MADV_DONTNEED, mmap
from typing import BinaryIO

from batchgray.codecs.excerpt import Contents, excerpt
from batchgray.codecs.exif import LONGEST_BLOCK
from batchgray.codecs.limits import DEFLATE_RATIO, check_plausible
from batchgray.codecs.metadata import Besides
from batchgray.errors import ImageError

_MOST_CHUNKS = 1_000_000
_FORGOTTEN_CHUNKS = 4096
_END = b"\0\0\0\0IEND\xaeB`\x82"
_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT"}
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_GRAY, _RGB, _PALETTE = 0, 2, 3
_CHANNELS = {_GRAY: 1, _RGB: 3, _PALETTE: 1, 4: 2, 6: 4}
_LONGEST_CHUNK = 1024  # but for IDAT; a palette has 768 bytes
_SLACK_BYTES = 16 << 20
_MOST_HEADERS = 3  # IHDR, PLTE, tRNS: each at most once


@dataclass
class PngOutline:
    """`frames` is what an animation promises, `kept` where the chunks lie that decoding needs.

    `depth` is bits a sample; `transparent` has the one transparent colour of a picture without a palette, `alphas` the
    alpha of the first colours of its `palette`. `headers` are the first chunks that are kept but for pixels; where
    there are more, or one comes behind pixels, it is an `odd` file. `pixels_at` is where the first chunk of pixels
    begins. The last chunk may be cut off.
    """

    width: int
    height: int
    depth: int
    colour_type: int
    interlaced: bool
    transparent: tuple[int, ...] = ()
    animated: bool = False
    exif: bytes = b""
    besides: Besides = field(default_factory=Besides)
    frames: int = 1
    kept: list[slice] = field(default_factory=list)
    headers: list[slice] = field(default_factory=list)
    palette: bytes = b""
    alphas: bytes = b""
    odd: bool = False
    pixels_at: int = 0
    _colours: int = 0  # in the palette, so far
    _may_have_key: bool = True  # a tRNS chunk counts, if one comes

    @classmethod
    def walk(cls, data: Contents) -> "PngOutline":
        """Walk through all chunks. Raises ImageError."""
        if data[12:16] != b"IHDR" or len(data) < 33:
            raise ImageError("damaged: a PNG without its header")
        width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
        outline, pixels = cls(width, height, depth, colour, data[28] == 1), 0
        raw = width * height * outline.pixel_bits // 8
        check_plausible(width, height, raw // DEFLATE_RATIO, len(data))
        for kind, body in _chunks(data):
            length = body.stop - body.start
            if outline._is_kept(kind, length):
                outline._keep(kind, slice(body.start - 8, body.stop + 4))
                pixels += length if kind == b"IDAT" else 0
                outline._note(kind, data, body)
            elif kind == b"acTL":
                outline.animated = True
                outline.frames = int.from_bytes(data[body][:4], "big") or 1
            elif kind == b"eXIf" and body.stop - body.start <= LONGEST_BLOCK:
                outline.exif = data[body]
            elif kind in _TEXTS:
                outline.besides.take_text(data, body)
        if not pixels:
            raise ImageError("damaged: a PNG that ends before its picture begins")
        if colour == _PALETTE and not outline._colours:
            raise ImageError("damaged: a PNG of palette colours without its palette")
        if pixels > 2 * raw + height + _SLACK_BYTES:
            raise ImageError(f"damaged: {pixels:,} bytes are more than a PNG of {width} x {height} pixels can need")
        return outline

    def _is_kept(self, kind: bytes, length: int) -> bool:
        """Whether the picture needs a chunk. Transparency out of place, or of a wrong length, counts for nothing.

        That is how libpng has it, and so every viewer; Pillow would take the last of several, whatever it is.
        """
        if kind == b"tRNS":
            right = length <= self._colours if self.colour_type == _PALETTE else length == 2 * self._key_numbers
            return self._may_have_key and right and length > 0
        return kind in _KEPT and length > 0 and (kind == b"IDAT" or length <= _LONGEST_CHUNK)

    @property
    def pixel_bits(self) -> int:
        return self.depth * _CHANNELS.get(self.colour_type, 1)

    @property
    def _key_numbers(self) -> int:
        return _CHANNELS[self.colour_type] if self.colour_type in (_GRAY, _RGB) else 0

    def _note(self, kind: bytes, data: Contents, body: slice) -> None:
        """Note what a chunk that is kept tells of colours and transparency, its own or of another one."""
        if kind == b"PLTE":
            self.palette = data[body]
            self._colours = len(self.palette) // 3
        elif kind in (b"IDAT", b"tRNS"):
            self._may_have_key = False
        if kind == b"tRNS":
            mask = (1 << self.depth) - 1
            numbers = struct.unpack_from(f">{self._key_numbers}H", data[body])
            self.transparent = tuple(value & mask for value in numbers)
            self.alphas = data[body] if self.colour_type == _PALETTE else b""

    def _keep(self, kind: bytes, part: slice) -> None:
        if kind == b"IDAT":
            self.pixels_at = self.pixels_at or part.start
        elif self.pixels_at or len(self.headers) == _MOST_HEADERS:
            self.odd = True
        else:
            self.headers.append(part)
        if self.kept and self.kept[-1].stop == part.start:
            part = slice(self.kept.pop().start, part.stop)
        self.kept.append(part)

    def without_metadata(self, data: Contents) -> BinaryIO:
        """The file with nothing but what its picture needs: no text, no profile, no other frames."""
        return excerpt(data, [slice(0, 8), *self.kept])  # Pillow needs no end chunk

    def parts(self, data: Contents) -> list[slice | bytes]:
        """The same for an Excerpt, with an end chunk where the last chunk is whole."""
        whole = self.kept[-1].stop <= len(data)
        return [slice(0, 8), *self.kept, *([_END] if whole else [])]


def image_data(data: Contents, outline: PngOutline) -> Iterator[slice]:
    """Where the chunks of pixels have them, one after another. Raises ImageError."""
    return (body for kind, body in _chunks(data, outline.pixels_at) if kind == b"IDAT")


def _chunks(data: Contents, at: int = 8) -> Iterator[tuple[bytes, slice]]:
    """Kind and body of each chunk; the last one may be cut off."""
    for count in range(_MOST_CHUNKS):
        if isinstance(data, mmap) and count % _FORGOTTEN_CHUNKS == _FORGOTTEN_CHUNKS - 1:
            data.madvise(MADV_DONTNEED)  # it is in the file, and need not count as this process's memory
        head = data[at : at + 8]
        if len(head) < 8 or not head[4:].isalpha() or head[4:] == b"IEND":
            return
        length = int.from_bytes(head[:4], "big")
        yield head[4:], slice(at + 8, min(at + 8 + length, len(data)))
        at += length + 12
    raise ImageError(f"damaged: a PNG of more than {_MOST_CHUNKS:,} chunks")
