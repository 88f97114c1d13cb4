"""A WebP's chunks: what they say of the picture, before any library reads it (RFC 9649)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from batchgray.codecs.excerpt import Contents, excerpt
from batchgray.codecs.exif import LONGEST_BLOCK
from batchgray.codecs.limits import MOST_FRAMES
from batchgray.codecs.metadata import XMP, Besides
from batchgray.errors import ImageError

MAX_SIDE = 16383
_MOST_CHUNKS = 1_000_000
_KEPT = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"}
_HEAD_BYTES = 10
_FLAGS = 0x12  # alpha and animation; there is no EXIF, XMP or profile any more
_MOST_PARTS = 4  # one more than a picture has
_ALPHA, _ANIMATION = 0x10, 0x02
_PICTURES = {(b"VP8 ",), (b"VP8L",), (b"VP8X", b"VP8 "), (b"VP8X", b"VP8L"), (b"VP8X", b"ALPH", b"VP8 ")}


@dataclass
class WebpOutline:
    """`kept` are the chunks that decoding the first frame needs, `frames` what an animation has.

    `is_one_picture` says whether they are what they should be for a picture that is not animated, and whole.
    """

    width: int
    height: int
    frames: int = 1
    exif: bytes = b""
    besides: Besides = field(default_factory=Besides)
    kept: list[slice] = field(default_factory=list)
    has_alpha: bool = False
    is_one_picture: bool = False
    _flags: int = 0

    @classmethod
    def walk(cls, data: Contents) -> "WebpOutline":
        """Walk through the chunks, as far as the file's own length says. Raises ImageError."""
        outline, animated = cls(0, 0), 0
        kinds: list[bytes] = []
        for kind, body in _chunks(data):
            animated += kind == b"ANMF"
            if kind == b"EXIF" and body.stop - body.start <= LONGEST_BLOCK:
                outline.exif = data[body]
            if kind == b"XMP ":
                outline.besides.take(XMP, data, body)
            if kind not in _KEPT or (kind == b"ANMF" and animated > 1):
                continue
            if not outline.width:
                outline._take_sides(kind, data[body.start : body.start + _HEAD_BYTES])
            outline.kept.append(slice(body.start - 8, body.stop + body.stop % 2))
            kinds = [*kinds, kind][:_MOST_PARTS]
            if animated == MOST_FRAMES:
                break
        if not outline.width:
            raise ImageError("damaged: a WebP without a picture")
        if max(outline.width, outline.height) > MAX_SIDE:
            raise ImageError(
                f"damaged: a canvas of {outline.width} x {outline.height}; WebP has {MAX_SIDE} pixels a side at most"
            )
        outline.frames = max(1, animated)
        whole = outline.kept[-1].stop <= len(data) and not outline._flags & _ANIMATION
        outline.is_one_picture = whole and tuple(kinds) in _PICTURES
        return outline

    def _take_sides(self, kind: bytes, head: bytes) -> None:
        if kind == b"VP8X":
            self._flags = head[0] & _FLAGS
            self.has_alpha = bool(self._flags & _ALPHA)
            self.width, self.height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (4, 7))
        elif kind == b"VP8L":
            sides = int.from_bytes(head[1:5], "little")
            self.width, self.height = (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1
            self.has_alpha = bool(sides >> 28 & 1)
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


def _chunks(data: Contents) -> Iterator[tuple[bytes, slice]]:
    """Kind and body of each chunk; the last one may be cut off."""
    at, end = 12, min(8 + int.from_bytes(data[4:8], "little"), len(data))
    for _ in range(_MOST_CHUNKS):
        head = data[at : at + 8]
        if len(head) < 8 or at + 8 >= end:
            return
        length = int.from_bytes(head[4:], "little")
        yield head[:4], slice(at + 8, min(at + 8 + length, end))
        at += 8 + length + length % 2
    raise ImageError(f"damaged: a WebP of more than {_MOST_CHUNKS:,} chunks")
