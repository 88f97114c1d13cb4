"""The reader of an image in bands, as its plan has it: each has `part`, `ignored` and `close` (see `BandReader`)."""

from typing import TYPE_CHECKING

from batchgray.codecs.band_plan import BandPlan
from batchgray.codecs.band_reader import BandReader
from batchgray.codecs.opened import OpenedImage
from batchgray.codecs.transparency import Colour

if TYPE_CHECKING:
    from batchgray.codecs.jpeg_slices import SliceReader
    from batchgray.codecs.plain_bands import PngReader, TiffReader

    AnyReader = SliceReader | PngReader | TiffReader | BandReader


def open_bands(path: str, opened: OpenedImage, plan: BandPlan, background: Colour | None = None) -> "AnyReader":
    """Raises ImageError, PyvipsMissing."""
    if plan.slices:
        from batchgray.codecs.jpeg_slices import SliceReader  # what it needs is compiled when it is first needed

        return SliceReader(path, opened, plan.slices)
    if plan.here:
        from batchgray.codecs import plain_bands  # likewise

        return plain_bands.reader_of(path, opened, plan)
    return BandReader(path, opened, plan, background)
