"""A GIF's blocks: where its first frame lies and how many there are, before any library reads it (GIF89a)."""

import struct
from dataclasses import dataclass, field
from typing import BinaryIO

from batchgray.codecs.excerpt import Contents, excerpt
from batchgray.codecs.limits import MOST_FRAMES
from batchgray.codecs.metadata import XMP, Besides
from batchgray.errors import ImageError

_MOST_BLOCKS = 1_000_000
_XMP_HEAD = b"!\xff\x0bXMP DataXMP"
# XMP stands there as it is, not in blocks of a stated length; whoever takes its letters for lengths ends in this.
_XMP_TAIL = bytes([1, *range(255, -1, -1), 0])


@dataclass
class GifOutline:
    """`frames` beyond MOST_FRAMES, or behind a million blocks, are not counted; `kept` is what the first one needs.

    `window` has its rows and columns of the canvas where it does not cover all of that, else it is empty.
    """

    frames: int = 0
    kept: list[slice] = field(default_factory=list)
    window: tuple[slice, ...] = ()
    besides: Besides = field(default_factory=Besides)

    @classmethod
    def walk(cls, data: Contents) -> "GifOutline":
        """Walk through the blocks. Raises ImageError."""
        outline, at, left = cls(), 13 + _palette_bytes(data[10:11]), _MOST_BLOCKS
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
                elif introducer == 0x21 and data[start : start + len(_XMP_HEAD)] == _XMP_HEAD:
                    outline._take_xmp(data, slice(start, at))
                elif introducer == 0x2C and outline.frames == 1:
                    outline.kept += [*([control] if control else []), slice(start, at)]
        except IndexError:  # cut off
            if outline.frames == 1 and len(outline.kept) == 1:
                outline.kept += [*([control] if control else []), slice(start, len(data))]
        if not outline.frames:
            raise ImageError(f"damaged: a GIF without a picture in its first {_MOST_BLOCKS - left:,} blocks")
        return outline

    def _take_window(self, canvas: bytes, frame: bytes) -> None:
        if len(frame) < 8:
            return
        across, down = struct.unpack("<HH", canvas)
        left, top, width, height = struct.unpack("<4H", frame)
        if left or top or width < across or height < down:
            self.window = slice(top, top + height), slice(left, left + width)

    def _take_xmp(self, data: Contents, block: slice) -> None:
        packet = slice(block.start + len(_XMP_HEAD), block.stop - len(_XMP_TAIL))
        if packet.start < packet.stop and data[packet.stop : block.stop] == _XMP_TAIL:
            self.besides.take(XMP, data, packet)
        else:
            self.besides.dropped.add(XMP)

    def without_metadata(self, data: Contents) -> BinaryIO:
        """The file with nothing but its first frame: no comments, no other frames."""
        return excerpt(data, [*self.kept, b";"])


def _palette_bytes(flags: bytes) -> int:
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0
