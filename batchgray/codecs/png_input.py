"""PNG inputs: read here (`png_rows`), straight into the slot where that has the same samples; the rest by Pillow.

What is unusual goes to Pillow when it is opened, and what turns out to be damaged when it is decoded: Pillow has the
last word on what is wrong with a file, or that it is well enough.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from batchgray.codecs import transparency
from batchgray.codecs.by_pillow import opened_by_pillow
from batchgray.codecs.excerpt import let_go
from batchgray.codecs.exif import fitting
from batchgray.codecs.faults import joined
from batchgray.codecs.inflating import Unsound
from batchgray.codecs.limits import check_dimensions
from batchgray.codecs.notes import depth_note, frames_note
from batchgray.codecs.opened import OpenedImage, ProbeInput, SecondOpinion
from batchgray.codecs.png_outline import PngOutline
from batchgray.codecs.png_rows import PngRows, can_read
from batchgray.codecs.samples import Samples
from batchgray.planes.slots import SlotImage as Planes

_MODES = {0: "L", 2: "RGB", 4: "LA", 6: "RGBA"}  # of each colour type but palettes
_PALETTE = 3
_COPIES = 6  # of a band: its samples, and what numpy makes of them on their way into the plane


def probe(given: ProbeInput) -> OpenedImage:
    """Read the chunks, and have Pillow open what is not read here. Raises ImageError."""
    outline = PngOutline.walk(given.data)
    check_dimensions(outline.width, outline.height, given.limits.max_pixels)
    keyed_beyond_8_bits = bool(outline.transparent) and outline.depth > 8
    if keyed_beyond_8_bits or not can_read(outline, given.data):
        return opened_by_pillow("PNG", given)
    return OpenedPng.of(given, outline)


@dataclass
class OpenedPng(OpenedImage):
    """`samples` is what the pixels are once they have 8 bits each."""

    given: ProbeInput
    outline: PngOutline
    samples: Samples

    @classmethod
    def of(cls, given: ProbeInput, outline: PngOutline) -> "OpenedPng":
        samples = _samples_of(outline)
        rows = PngRows(given.data, outline)
        return cls(
            version=given.version,
            width=outline.width,
            height=outline.height,
            colour=samples.fills_colours(given.background),
            exif=fitting(outline.exif),
            besides=outline.besides,
            note=joined(frames_note(outline.frames), depth_note(outline.depth)),
            scratch_bytes=rows.scratch_bytes + _COPIES * rows.band_rows * (rows.row_bytes + 4 * outline.width),
            given=given,
            outline=outline,
            samples=samples,
        )

    def _decode(self, planes: Planes) -> str | None:
        target = np.frombuffer(planes.rgb if self.colour else planes.gray, np.uint8)
        try:
            ignored = self._fill(target.reshape(self.height, self.width, *((3,) if self.colour else ())))
        except Unsound:
            raise SecondOpinion(opened_by_pillow("PNG", self.given)) from None
        return transparency.IGNORED if ignored else None

    def _fill(self, target: np.ndarray) -> bool:
        """Whether transparency was ignored. Raises Unsound."""
        rows = PngRows(self.given.data, self.outline)
        if self.is_as_stored:
            rows.read(target.reshape(self.height, rows.row_bytes))
            return False
        ignored = False
        for top, band in self._bands(rows):
            ignored |= self.put(band, target[top : top + len(band)])
        return ignored

    def put(self, band: np.ndarray, target: np.ndarray) -> bool:
        """Rows as they are stored, of shape (rows, row_bytes), into those of a plane. Raises Unsound.

        Returns whether transparency was ignored.
        """
        values, alpha = self._split(band)
        return transparency.put(values, alpha, self.given.background, target)

    @property
    def is_as_stored(self) -> bool:
        """Whether the plane has the very bytes of the rows."""
        outline, samples = self.outline, self.samples
        stored = outline.depth == 8 and outline.colour_type != _PALETTE and not samples.has_alpha
        return stored and self.colour == samples.colour

    def _bands(self, rows: PngRows) -> Iterator[tuple[int, np.ndarray]]:
        """The rows from each of these on, as they are stored. Raises Unsound."""
        for top in range(0, self.height, rows.band_rows):
            band = np.empty((min(rows.band_rows, self.height - top), rows.row_bytes), np.uint8)
            rows.read(band)
            yield top, band

    def _split(self, band: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Values and alpha. Raises Unsound."""
        return self.samples.split(self._pixels(band))

    def _pixels(self, band: np.ndarray) -> np.ndarray:
        """Samples of 8 bits, of shape (rows, width) or (rows, width, channels). Raises Unsound."""
        outline = self.outline
        if outline.depth < 8:
            band = _unpacked(band, outline.depth)[:, : outline.width]
        if outline.colour_type == _PALETTE:
            return self._coloured(band)
        if outline.depth < 8:
            return band * np.uint8(255 // ((1 << outline.depth) - 1))
        pixels = band.reshape(len(band), outline.width, -1)
        if outline.depth > 8:
            pixels = pixels[..., ::2]  # the upper byte comes first
        return pixels if pixels.shape[2] > 1 else pixels[..., 0]

    def _coloured(self, indices: np.ndarray) -> np.ndarray:
        """Raises Unsound."""
        palette = np.frombuffer(self.outline.palette, np.uint8)
        palette = palette[: len(palette) // 3 * 3].reshape(-1, 3)
        if indices.max() >= len(palette):
            raise Unsound("a colour that is not in the palette")
        if self.samples.has_alpha:
            alphas = np.frombuffer(self.outline.alphas.ljust(len(palette), b"\xff"), np.uint8)
            palette = np.column_stack([palette, alphas])
        return palette.take(indices, axis=0)

    def read(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Gray of shape (H, W), or R, G and B of (H, W, 3), and alpha of (H, W), as uint8. Raises Unsound."""
        bands = [self._split(band) for _, band in self._bands(PngRows(self.given.data, self.outline))]
        values, alphas = zip(*bands, strict=True)
        return np.concatenate(values), None if alphas[0] is None else np.concatenate(alphas)

    def file_to_draw(self) -> BinaryIO:
        return self.outline.without_metadata(self.given.data)

    def close(self) -> None:
        let_go(self.given.data)


def _samples_of(outline: PngOutline) -> Samples:
    if outline.colour_type == _PALETTE:
        return Samples("RGBA" if outline.alphas else "RGB", colour=True)
    mode = _MODES[outline.colour_type]
    samples = Samples(mode, colour=mode.startswith("RGB"))
    scale = 255 // ((1 << outline.depth) - 1) if outline.depth < 8 else 1
    return replace(samples, key=tuple(scale * value for value in outline.transparent))


def _unpacked(band: np.ndarray, depth: int) -> np.ndarray:
    """Samples of less than 8 bits, the first of a byte in its upper bits."""
    if depth == 1:
        return np.unpackbits(band, axis=1)
    shifts = np.arange(8 - depth, -1, -depth, dtype=np.uint8)
    return ((band[..., None] >> shifts) & np.uint8((1 << depth) - 1)).reshape(len(band), -1)
