"""The head of a PNM (PBM, PGM, PPM): what it says of the picture, and how many follow (Netpbm's formats)."""

import re
from dataclasses import dataclass

from batchgray.codecs.excerpt import Contents
from batchgray.codecs.limits import MOST_FRAMES
from batchgray.errors import ImageError

_LONGEST_HEAD = 1 << 16  # bytes; comments are of some ten
_MOST_VALUE = 65535
_BITS, _COLOURS, _PLAIN = b"14", b"36", b"123"  # the kinds of one bit a pixel, of R, G and B, and of text

_SPACE = rb"(?:[ \t\n\v\f\r]|#[^\n\r]*[\n\r])"  # a comment counts as the end of its line
_NUMBER = rb"%b+0*([0-9]{1,10})" % _SPACE
_HEAD_OF_BITS = re.compile(rb"P[14]%b%b%b" % (_NUMBER, _NUMBER, _SPACE))
_HEAD = re.compile(rb"P[2356]%b%b%b%b" % (_NUMBER, _NUMBER, _NUMBER, _SPACE))


@dataclass(frozen=True)
class PnmOutline:
    """`start` is where samples of 0 to `most` begin: text, if `plain`, else of 1, 8 or 16 bits, with the big end first.

    `most` is 1 for a picture of bits, whose 1 is black. `frames` beyond MOST_FRAMES are not counted.
    """

    width: int
    height: int
    start: int
    most: int
    bits: bool
    colour: bool
    plain: bool
    frames: int = 1

    @classmethod
    def walk(cls, data: Contents) -> "PnmOutline":
        """Read the head, and those of the pictures behind it. Raises ImageError."""
        first = cls._at(data, 0)
        frames, at = 1, first.start + first.raster_bytes
        while not first.plain and frames < MOST_FRAMES and re.match(rb"P[456]\s", data[at : at + 3]):
            try:
                last = cls._at(data, at)
            except ImageError:  # it was no picture then
                break
            frames, at = frames + 1, last.start + last.raster_bytes
        return cls(**{**vars(first), "frames": frames})

    @classmethod
    def _at(cls, data: Contents, at: int) -> "PnmOutline":
        head = data[at : at + _LONGEST_HEAD]
        kind = head[1:2]
        found = (_HEAD_OF_BITS if kind in _BITS else _HEAD).match(head)
        if not found:
            raise ImageError("damaged: a PNM whose head has not width, height and highest value")
        width, height, *most = map(int, found.groups())
        if most and not 1 <= most[0] <= _MOST_VALUE:
            raise ImageError(f"damaged: a PNM whose highest value is {most[0]}; it is from 1 to {_MOST_VALUE}")
        return cls(
            width=width,
            height=height,
            start=at + found.end(),
            most=most[0] if most else 1,
            bits=kind in _BITS,
            colour=kind in _COLOURS,
            plain=kind in _PLAIN,
        )

    @property
    def row_samples(self) -> int:
        return self.width * (3 if self.colour else 1)

    @property
    def row_bytes(self) -> int:
        """Of a picture that is not plain."""
        if self.bits:
            return -(-self.width // 8)
        return self.row_samples * (2 if self.most > 255 else 1)

    @property
    def raster_bytes(self) -> int:
        """How long all samples are; of plain ones, how short they can be: a digit each, and a space between two."""
        if self.plain:
            samples = self.row_samples * self.height
            return samples if self.bits else max(0, 2 * samples - 1)
        return self.row_bytes * self.height
