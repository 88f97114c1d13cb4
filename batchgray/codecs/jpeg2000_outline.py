"""A JPEG 2000's boxes and the head of its codestream: what they say of the picture (ISO 15444-1, annexes A and I).

Pillow shifts samples of other than 8 bits in ways of its own, and takes the fourth for alpha whatever it is. So it
gets a file with a head that is made here, of what it reads rightly; the rest is refused.
"""

import struct
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

import numpy as np

from batchgray.codecs.boxes import boxes, made, whole
from batchgray.codecs.excerpt import Contents, excerpt
from batchgray.codecs.exif import LONGEST_BLOCK
from batchgray.codecs.limits import MOST_FRAMES
from batchgray.codecs.metadata import XMP, Besides
from batchgray.errors import ImageError

CMYK, SRGB, GRAY, SYCC = 12, 16, 17, 18  # colour spaces, as numbered in the files

_CODESTREAM = b"\xff\x4f\xff\x51"
_EXIF_BOX = b"JpgTiffExif->JP2"  # what exiftool and others name it
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # ISO 16684-3
_MOST_TILES = 65535
_MOST_COLOURS = 1024
_PROFILE_SPACES = {b"RGB ": SRGB, b"GRAY": GRAY, b"CMYK": CMYK}
_NAMES = {SRGB: "RGB", GRAY: "gray", SYCC: "YCC", CMYK: "CMYK"}
_COMPONENTS = {GRAY: (1, 2), SRGB: (3, 4), SYCC: (3, 4), CMYK: (4,)}
_ELSEWHERE = "is not read here; convert the file first"


class Component(NamedTuple):
    """`across` and `down` are the steps in pixels from one sample to the next."""

    bits: int
    signed: bool
    across: int
    down: int


@dataclass
class Jpeg2000Outline:
    """`palette` has R, G and B of each of 256 values, where gray stands for something else than itself.

    `alpha` says that what follows gray or the colours is alpha; `colours` is CMYK, SRGB, GRAY or SYCC.
    """

    width: int
    height: int
    components: tuple[Component, ...]
    codestream: slice
    colours: int = 0
    alpha: bool = False
    palette: bytes = b""
    exif: bytes = b""
    besides: Besides = field(default_factory=Besides)
    frames: int = 1
    _head: list[tuple[bytes, slice]] = field(default_factory=list)

    @classmethod
    def walk(cls, data: Contents) -> "Jpeg2000Outline":
        """Read the boxes and the codestream's head. Raises ImageError, also for what Pillow would read wrongly."""
        head: list[tuple[bytes, slice]] = []
        streams, exif, besides = [], b"", Besides()
        if data[:4] == _CODESTREAM:
            streams = [whole(data)]
        else:
            for kind, body in boxes(data, whole(data)):
                if kind == b"jp2h" and not head:
                    head = list(boxes(data, body))
                elif kind == b"jp2c" and len(streams) < MOST_FRAMES:
                    streams.append(body)
                elif kind == b"uuid" and _is_exif(data, body):
                    exif = data[body.start + 16 : body.stop]
                elif kind == b"uuid" and data[body.start : body.start + 16] == _XMP_BOX:
                    besides.take(XMP, data, slice(body.start + 16, body.stop))
        if not streams:
            raise ImageError("damaged: a JPEG 2000 without its picture")
        outline = _of_codestream(data, streams[0])
        outline._head, outline.exif, outline.frames, outline.besides = head, exif, len(streams), besides
        outline._check_sides(data)
        outline._take_palette(data)
        outline._take_colours(data)
        outline._take_channels(data)
        outline._check_samples()
        return outline

    def _box(self, data: Contents, kind: bytes, most: int) -> bytes:
        """The first such box of the head, at most so many bytes of it; b"" without one."""
        return next(
            (data[body.start : min(body.stop, body.start + most)] for name, body in self._head if name == kind), b""
        )

    def _check_sides(self, data: Contents) -> None:
        sides = self._box(data, b"ihdr", 10)
        if len(sides) == 10 and struct.unpack(">IIH", sides) != (self.height, self.width, len(self.components)):
            raise ImageError("damaged: a JPEG 2000 with two sizes")
        if any((each.across, each.down) != (1, 1) for each in self.components):  # Pillow puts them in the wrong places
            raise ImageError(f"a JPEG 2000 with fewer samples than pixels {_ELSEWHERE}")

    def _take_palette(self, data: Contents) -> None:
        """A palette's colours; or the grays that fewer than 8 bits stand for: Pillow gives the bits' upper places."""
        bits = self.components[0].bits
        if bits > 8 or len(self.components) > 1:
            return
        table = self._box(data, b"pclr", 6 + 3 * _MOST_COLOURS)
        if table:
            count, channels = struct.unpack(">HB", table[:3].ljust(3, b"\0"))
            if channels != 3 or table[3:6] != b"\7\7\7" or not 1 <= count <= 256:
                raise ImageError(f"a JPEG 2000 with a palette of other than R, G and B of 8 bits {_ELSEWHERE}")
            colours = np.frombuffer(table[6 : 6 + 3 * count].ljust(3 << 8, b"\0"), np.uint8)
            self._spread(colours.reshape(-1, 3), bits)
        elif bits < 8:
            most = (1 << bits) - 1
            grays = (np.arange(most + 1) * 255 + most // 2) // most
            self._spread(np.repeat(grays[:, None], 3, axis=1).astype(np.uint8), bits)

    def _spread(self, colours: np.ndarray, bits: int) -> None:
        self.palette = np.repeat(colours[: 1 << bits], 256 >> bits, axis=0).tobytes()

    def _take_colours(self, data: Contents) -> None:
        found = [_colours_of(data[body.start : body.start + 23]) for kind, body in self._head if kind == b"colr"]
        known = [colours for colours in found if colours in _NAMES]
        if found and not known:
            raise ImageError(f"a JPEG 2000 in a colour space other than gray, RGB, YCC and CMYK {_ELSEWHERE}")
        count = len(self.components)
        if self.palette:
            if known and known[0] not in (SRGB, GRAY):
                raise ImageError(f"a JPEG 2000 with a palette of {_NAMES[known[0]]} {_ELSEWHERE}")
            self.colours = GRAY
            return
        self.colours = known[0] if known else GRAY if count < 3 else SRGB
        if count not in _COMPONENTS[self.colours]:
            raise ImageError(f"a JPEG 2000 of {_NAMES[self.colours]} in {count} components {_ELSEWHERE}")

    def _take_channels(self, data: Contents) -> None:
        """What each component is. Raises ImageError where they stand in another order, or alpha is multiplied in."""
        count = len(self.components)
        colours = count if self.colours == CMYK else 3 if count > 2 else 1
        table = self._box(data, b"cdef", 2 + 6 * 4)
        for at in range(2, len(table) - 5, 6):
            channel, kind, meant = struct.unpack_from(">HHH", table, at)
            if kind == 2:
                raise ImageError(f"a JPEG 2000 with alpha multiplied in {_ELSEWHERE}")
            if (kind == 0) != (channel < colours) or (kind == 0 and meant not in (0, channel + 1)):
                raise ImageError(f"a JPEG 2000 with its channels in another order {_ELSEWHERE}")
            self.alpha |= kind == 1

    def _check_samples(self) -> None:
        bits = {each.bits for each in self.components}
        if any(each.signed for each in self.components):
            raise ImageError("signed samples, whose black is not known; convert the file to unsigned ones first")
        if bits != {8} and (len(self.components) > 1 or max(bits) > 16):
            each = " and ".join(map(str, sorted(bits)))
            raise ImageError(f"a JPEG 2000 of {len(self.components)} x {each} bits {_ELSEWHERE}, to 8 bits or to TIFF")

    def for_pillow(self, data: Contents) -> BinaryIO:
        """The codestream in a file whose head says no more than Pillow needs."""
        depth = 15 if self.components[0].bits > 8 else 7  # Pillow takes 9 bits for 8
        head = made(b"ihdr", struct.pack(">IIHBBBB", self.height, self.width, len(self.components), depth, 7, 0, 0))
        head += made(b"colr", struct.pack(">BBBI", 1, 0, 0, self.colours))
        file = made(b"jP  ", b"\r\n\x87\n") + made(b"ftyp", b"jp2 \0\0\0\0jp2 ") + made(b"jp2h", head)
        return excerpt(data, [file + b"\0\0\0\0jp2c", self.codestream])  # of no length: as far as the end


def _is_exif(data: Contents, body: slice) -> bool:
    return data[body.start : body.start + 16] == _EXIF_BOX and body.stop - body.start - 16 <= LONGEST_BLOCK


def _colours_of(box: bytes) -> int:
    """The colour space that a colr box gives, by number or with the head of a profile; 0 for any other."""
    if len(box) >= 7 and box[0] == 1:
        return int.from_bytes(box[3:7], "big")
    return _PROFILE_SPACES.get(box[19:23], 0) if box[:1] in (b"\2", b"\3") else 0


def _of_codestream(data: Contents, body: slice) -> Jpeg2000Outline:
    """From the segment that has the sizes, which comes first. Raises ImageError."""
    head = data[body.start : min(body.stop, body.start + 42 + 3 * 4)]
    if head[:4] != _CODESTREAM or len(head) < 45:
        raise ImageError("damaged: a JPEG 2000 without the head of its picture")
    right, bottom, left, top, *tiles, count = struct.unpack_from(">8IH", head, 8)
    if not 1 <= count <= 4:
        raise ImageError(f"a JPEG 2000 of {count} components {_ELSEWHERE}")
    table = head[42 : 42 + 3 * count]
    parts = [
        Component((depth & 127) + 1, depth > 127, *steps) for depth, *steps in zip(*[iter(table)] * 3, strict=False)
    ]
    if len(parts) < count or any(not each.across or not each.down for each in parts):
        raise ImageError("damaged: a JPEG 2000 without the head of its picture")
    _check_tiles(right, bottom, *tiles)
    return Jpeg2000Outline(max(0, right - left), max(0, bottom - top), tuple(parts), body)


def _check_tiles(right: int, bottom: int, width: int, height: int, left: int, top: int) -> None:
    if not width or not height or left >= right or top >= bottom:
        raise ImageError("damaged: a JPEG 2000 whose tiles have no pixels")
    tiles = -(-(right - left) // width) * -(-(bottom - top) // height)
    if tiles > _MOST_TILES:
        raise ImageError(f"damaged: a JPEG 2000 of {tiles:,} tiles; it has {_MOST_TILES:,} at most")
