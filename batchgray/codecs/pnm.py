"""PNM inputs (PBM, PGM, PPM): read here, some rows at a time, and by no library.

Pillow's reader would take minutes where the highest value is neither 255 nor 65535, and where samples are text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from batchgray.codecs.excerpt import Contents, excerpt, let_go
from batchgray.codecs.faults import joined
from batchgray.codecs.limits import check_dimensions
from batchgray.codecs.metadata import Besides
from batchgray.codecs.notes import depth_note, frames_note
from batchgray.codecs.opened import OpenedImage, ProbeInput
from batchgray.codecs.pnm_outline import PnmOutline
from batchgray.errors import ImageError, shown
from batchgray.planes.slots import SlotImage as Planes

_AT_ONCE = 1 << 16  # samples, or bytes of text
_SCRATCH = 100  # bytes for each of them; text takes most, as each of its words is an object
_LONGEST_WORD = 1000  # digits and zeros before them; no number of 16 bits has more than five
_OVER = 1 << 16  # stands for every number that is more
_DIGITS, _SPACES = b"0123456789", b" \t\n\v\f\r"
_COMMENT = re.compile(rb"#[^\r\n]*")


@dataclass
class OpenedPnm(OpenedImage):
    """`data` is the file's."""

    data: Contents
    outline: PnmOutline

    @classmethod
    def probe(cls, given: ProbeInput) -> OpenedImage:
        """Read the head. Raises ImageError."""
        outline = PnmOutline.walk(given.data)
        check_dimensions(outline.width, outline.height, given.limits.max_pixels)
        there = len(given.data) - outline.start
        if there < outline.raster_bytes:
            raise ImageError(f"truncated: {there:,} bytes of pixels, which must be {outline.raster_bytes:,} or more")
        return cls(
            version=given.version,
            width=outline.width,
            height=outline.height,
            colour=outline.colour,
            exif=b"",
            besides=Besides(),
            note=joined(frames_note(outline.frames), depth_note(outline.most.bit_length())),
            scratch_bytes=_SCRATCH * max(_AT_ONCE, outline.row_samples),
            data=given.data,
            outline=outline,
        )

    def _decode(self, planes: Planes) -> str | None:
        self._fill(np.frombuffer(planes.rgb if self.colour else planes.gray, np.uint8))
        return None

    def read(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Gray of shape (H, W) or R, G and B of (H, W, 3), as uint8; there is no alpha. Raises ImageError."""
        values = np.empty((self.height, self.width, *((3,) if self.colour else ())), np.uint8)
        self._fill(values.reshape(-1))
        return values, None

    def _fill(self, target: np.ndarray) -> None:
        at, scale = 0, scale_to_8_bits(self.outline.most)
        for samples in self._plain() if self.outline.plain else self._raw():
            samples = samples[: len(target) - at]
            if samples.max(initial=0) > self.outline.most:
                raise ImageError(f"damaged: a sample over {self.outline.most}, which is to be the highest")
            values = scale[samples]
            target[at : at + len(values)] = 255 - values if self.outline.bits else values
            at += len(values)
            if at == len(target):
                return
        if at < len(target):
            raise ImageError(f"truncated: {at:,} samples of {len(target):,}")

    def _raw(self) -> Iterator[np.ndarray]:
        outline = self.outline
        at_once = max(1, _AT_ONCE // outline.row_samples)
        for top in range(0, outline.height, at_once):
            rows = min(at_once, outline.height - top)
            start = outline.start + top * outline.row_bytes
            data = self.data[start : start + rows * outline.row_bytes]
            if outline.bits:
                packed = np.frombuffer(data, np.uint8).reshape(rows, -1)
                yield np.unpackbits(packed, axis=1, count=outline.width).reshape(-1)
            else:
                yield np.frombuffer(data, ">u2" if outline.most > 255 else np.uint8)

    def _plain(self) -> Iterator[np.ndarray]:
        for text in _texts(self.data, self.outline.start, cut=not self.outline.bits):
            if wrong := text.translate(None, _DIGITS + _SPACES):
                raise ImageError(f"damaged: {shown(wrong[:1].decode('latin-1'))} among the samples, which are numbers")
            if self.outline.bits:  # which need no space between them
                yield np.frombuffer(text.translate(None, _SPACES), np.uint8) - ord("0")
            else:
                yield np.array([min(int(word), _OVER) for word in text.split()], np.int32)

    def file_to_draw(self) -> BinaryIO:
        return excerpt(self.data, [slice(0, len(self.data))])

    def close(self) -> None:
        let_go(self.data)


def scale_to_8_bits(most: int) -> np.ndarray:
    """For each sample from 0 to `most` its 8 bits: in proportion, rounded; of more than 8 bits their upper ones."""
    samples = np.arange(most + 1, dtype=np.uint32)
    scaled = (samples * 255 + most // 2) // most if most < 256 else samples * 256 // (most + 1)
    return scaled.astype(np.uint8)


def _texts(data: Contents, start: int, cut: bool) -> Iterator[bytes]:
    """What stands behind `start`, without comments; with `cut`, never in the middle of a word."""
    held = b""
    for text in _without_comments(data, start):
        text = held + text
        end = len(text) if not cut else 1 + max(text.rfind(space) for space in map(bytes, zip(_SPACES)))
        held = text[end:]
        if len(held) > _LONGEST_WORD:
            raise ImageError(f"damaged: a sample of more than {_LONGEST_WORD:,} digits")
        yield text[:end]
    yield held


def _without_comments(data: Contents, start: int) -> Iterator[bytes]:
    inside = False
    for at in range(start, len(data), _AT_ONCE):
        text = (b"#" if inside else b"") + data[at : at + _AT_ONCE]
        inside = text.rfind(b"#") > max(text.rfind(b"\n"), text.rfind(b"\r"))
        yield _COMMENT.sub(b"", text)
