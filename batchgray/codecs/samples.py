"""Samples of any depth and order, as Pillow reads them, to gray or colours of 8 bits, and alpha; TIFFs above all."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchgray.codecs import tiff_outline, transparency
from batchgray.codecs.excerpt import Contents
from batchgray.codecs.tiff_outline import TiffOutline
from batchgray.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

_GRAY_MODES = {"1": "L", "L": "L", "LA": "LA", "La": "LA"}
_WIDE_GRAY_MODES = {"I;16", "I;16B", "I;16L", "I;16N"}
_COLOUR_MODES = {"RGBA": "RGBA", "RGBa": "RGBA", "PA": "RGBA"}  # those with alpha

_MOST_COLOURS = 3 << 8  # numbers of a colour map that is read here
_UPPER_BYTE = 1 if sys.byteorder == "little" else 0  # of 16 bits, as libtiff hands them on


@dataclass(frozen=True)
class Samples:
    """How values of 8 bits are had of what Pillow reads.

    It is asked for `mode`; None is the picture's own, of gray with more than 8 bits, of which `shift` are dropped.
    `key` is a value that is transparent. Of `paired`, the four channels are the bytes of 16-bit gray and alpha.
    `inverted` gray has its 0 for white, `premultiplied` values are multiplied by their alpha. With a `palette`, gray
    stands for colours.
    """

    mode: str | None
    colour: bool = False
    shift: int = 0
    key: tuple[int, ...] = ()
    paired: bool = False
    inverted: bool = False
    premultiplied: bool = False
    opaque: bool = False  # the second sample is not alpha
    window: tuple[slice, ...] = ()  # of rows and columns, outside of which all is transparent
    palette: bytes = b""  # R, G and B of each of the 256 values that gray has

    @property
    def has_alpha(self) -> bool:
        return bool(self.key or self.window) or (self.mode in ("LA", "RGBA") and not self.opaque)

    def fills_colours(self, background: transparency.Colour | None) -> bool:
        """Whether what is seen over `background` has colours."""
        tinted = background is not None and not transparency.is_neutral(background)
        return self.colour or (tinted and self.has_alpha)

    @classmethod
    def of(cls, image: "Image.Image") -> "Samples":
        # Of a PNG's gray or colours, one value is: see `pillow_probes`.
        keyed = "transparency" in image.info and (image.mode == "P" or image.format == "GIF")
        if image.mode in _WIDE_GRAY_MODES:
            return cls(None, shift=8)
        if image.mode in _GRAY_MODES:
            return cls("LA" if keyed else _GRAY_MODES[image.mode])
        return cls("RGBA" if keyed else _COLOUR_MODES.get(image.mode, "RGB"), colour=True)

    def split(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Values, of shape (H, W) or (H, W, 3), and alpha, of shape (H, W), as uint8."""
        if self.paired:
            pixels = pixels[..., _UPPER_BYTE::2]
        values, alpha = pixels, None
        if pixels.ndim == 3:
            channels = 3 if self.colour else 1
            values = pixels[..., :channels] if self.colour else pixels[..., 0]
            alpha = pixels[..., channels] if pixels.shape[2] > channels else None
        if self.key:
            transparent = _equal(values, self.key)
            alpha = np.where(transparent, np.uint8(0), np.uint8(255))
        if self.window:
            seen = np.zeros(values.shape[:2], np.uint8)
            seen[self.window] = 255 if alpha is None else alpha[self.window]
            alpha = seen
        if self.shift:
            values = (values >> self.shift).astype(np.uint8)
        if self.premultiplied and alpha is not None:
            divisor = np.where(alpha == 0, 255, alpha)  # what is wholly transparent stays as it is, as Pillow has it
            divisor = divisor[..., None] if values.ndim == 3 else divisor
            values = np.minimum(values.astype(np.uint16) * 255 // divisor, 255).astype(np.uint8)
        if self.palette:
            values = np.frombuffer(self.palette, np.uint8).reshape(-1, 3)[values]
        return (255 - values if self.inverted else values), (None if self.opaque else alpha)


def _equal(values: np.ndarray, key: tuple[int, ...]) -> np.ndarray:
    """Where gray or colours have this value, channel by channel: all at once would take four bytes a pixel."""
    found: np.ndarray = (values[..., 0] if len(key) > 1 else values) == key[0]
    for channel in range(1, len(key)):
        found &= values[..., channel] == key[channel]
    return found


def of_tiff(outline: TiffOutline, data: Contents) -> tuple[dict[int, int], Samples | None]:
    """What to change in a TIFF's directory so that Pillow reads it, and how; None where it reads it rightly itself.

    Raises ImageError for what it would read wrongly.
    """
    bits = outline.values(data, tiff_outline.BITS, (1,))
    samples = outline.value(data, tiff_outline.SAMPLES, 1)
    photometric = outline.value(data, tiff_outline.PHOTOMETRIC, -1)
    extra = outline.value(data, tiff_outline.EXTRA_SAMPLES, tiff_outline.ALPHA)
    if tiff_outline.SIGNED in outline.values(data, tiff_outline.SAMPLE_FORMAT):
        raise ImageError("signed samples, whose black is not known; convert the file to unsigned ones first")
    if photometric == tiff_outline.CMYK and outline.value(data, tiff_outline.INK_SET, 1) != tiff_outline.CMYK_INKS:
        raise ImageError("inks other than cyan, magenta, yellow and black; convert the file to RGB first")
    palette = _palette_of_bytes(outline, data) if photometric == tiff_outline.PALETTE else None
    if palette is not None:
        return _as_gray_of_palette(samples, bits[0], palette)
    inverted = photometric == tiff_outline.WHITE_IS_ZERO
    separate = outline.value(data, tiff_outline.PLANES, 1) == tiff_outline.SEPARATE
    if samples > 4 and separate and extra != tiff_outline.NO_ALPHA:  # which Pillow calls a decoder's error
        raise ImageError("a TIFF in planes, with more than colours and alpha, is not read here; convert it first")
    if samples == 2 and separate:
        if extra != tiff_outline.NO_ALPHA:  # Pillow loses it
            raise ImageError("a TIFF of gray, and alpha after it, is not read here; convert the file first")
        samples = 1  # Pillow leaves the other alone
    if photometric > tiff_outline.BLACK_IS_ZERO or samples > 2 or (samples == 1 and bits[0] <= 8):
        return {}, None
    if samples == 2 and set(bits) not in ({8}, {16}):
        return {}, None
    if photometric < 0:
        raise ImageError("a TIFF that does not say whether its 0 is black or white")
    if inverted and samples == 2 and extra == tiff_outline.PREMULTIPLIED_ALPHA:
        raise ImageError("a TIFF whose 0 is white, with alpha multiplied in, is not read here; convert the file first")
    changes = {tiff_outline.PHOTOMETRIC: tiff_outline.BLACK_IS_ZERO} if inverted else {}
    if samples == 1:
        return changes, Samples(None, shift=bits[0] - 8, inverted=inverted)
    if bits[0] <= 8:
        return changes, Samples("LA" if extra else "L", inverted=inverted)
    # Pillow has no mode for it, and knows the same bytes as R, G, B and alpha of 8 bits. libtiff, which reads the file
    # itself, knows better, and hands on samples of 16 bits in this machine's order.
    changes = {tiff_outline.PHOTOMETRIC: tiff_outline.RGB, tiff_outline.BITS: 8, tiff_outline.SAMPLES: 4}
    changes[tiff_outline.EXTRA_SAMPLES] = tiff_outline.ALPHA
    premultiplied = extra == tiff_outline.PREMULTIPLIED_ALPHA
    return changes, Samples("RGBA", paired=True, inverted=inverted, premultiplied=premultiplied, opaque=not extra)


def _palette_of_bytes(outline: TiffOutline, data: Contents) -> np.ndarray | None:
    """R, G and B of each index where all numbers of the colour map are of 8 bits, else None.

    They should be of 16; early writers got that wrong, and libtiff has always told it by this.
    """
    numbers = outline.values(data, tiff_outline.COLOUR_MAP, most=_MOST_COLOURS)
    if not numbers or len(numbers) % 3 or not 0 <= min(numbers) <= max(numbers) < 256:
        return None
    return np.array(numbers, np.uint8).reshape(3, -1).T


def _as_gray_of_palette(samples: int, bits: int, palette: np.ndarray) -> tuple[dict[int, int], Samples]:
    """Indices, which Pillow would look up in a palette of nothing but black, as gray: 8 bits, or the same share."""
    if samples != 1 or bits not in (1, 2, 4, 8) or len(palette) != 1 << bits:
        raise ImageError("a TIFF whose palette has colours of 8 bits, not 16, is not read here; convert the file first")
    spread = np.repeat(palette, 256 // len(palette), axis=0)
    return {tiff_outline.PHOTOMETRIC: tiff_outline.BLACK_IS_ZERO}, Samples("L", colour=True, palette=spread.tobytes())


def unknown_tiff(outline: TiffOutline, data: Contents) -> str:
    """Why a TIFF whose samples Pillow has no name for is not read."""
    bits = " and ".join(map(str, sorted(set(outline.values(data, tiff_outline.BITS, (1,))))))
    samples, photometric = (
        outline.value(data, tiff_outline.SAMPLES, 1),
        outline.value(data, tiff_outline.PHOTOMETRIC, 0),
    )
    return (
        f"a TIFF of {samples} x {bits} bits with photometric interpretation {photometric} is not read here; "
        "convert the file first"
    )
