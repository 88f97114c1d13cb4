"""libvips reads what is larger than memory: an image from top to bottom, some rows at a time (see `band_plan`).

It is used through pyvips, an extra of the package (`batchgray[large]`), which is imported in the worker that needs it
and never before the fork: its threads would not survive one.

Where a decoder warns, simplejpeg or Pillow may know a way round and libvips does not, so a warning is refused too.
"""

import contextlib
import mmap
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from batchgray.codecs import transparency
from batchgray.codecs.band_plan import BandPlan
from batchgray.codecs.excerpt import excerpt
from batchgray.codecs.faults import image_failures
from batchgray.codecs.opened import OpenedImage
from batchgray.codecs.opening import open_unchanged
from batchgray.codecs.signatures import Format
from batchgray.errors import ImageError
from batchgray.texts import one_line

_LOADERS: dict[Format, str] = {"JPEG": "jpegload_source", "PNG": "pngload_source", "TIFF": "tiffload_source"}
# A strip may be as long as was agreed to; of a PNG, the limits keep texts from being inflated.
_SETTINGS: dict[Format, dict[str, bool]] = {"TIFF": {"unlimited": True}}
Part = Callable[[], np.ndarray]  # makes the rows of a part: flat uint8; raises ImageError

_GRAY, _COLOURED = {"b-w", "grey16"}, {"srgb", "rgb16"}


class PyvipsMissing(Exception):
    """pyvips is not installed, or does not work."""


def check_installed() -> None:
    """Raises PyvipsMissing."""
    _vips()


class BandReader:
    """Rows of an input, from top to bottom. Rows may be passed over; none can be had twice.

    `ignored` says whether transparency was, in the rows so far.
    """

    def __init__(
        self, path: str, opened: OpenedImage, plan: BandPlan, background: transparency.Colour | None = None
    ) -> None:
        """Raises ImageError, PyvipsMissing."""
        self._vips = _vips()
        self._opened, self._plan, self._background = opened, plan, background
        self._data: mmap.mmap | None = None
        self.ignored = False
        self._file = open_unchanged(path, opened.version)
        try:
            with self._errors():
                load = getattr(self._vips.Image, _LOADERS[plan.format])
                settings = _SETTINGS.get(plan.format, {})
                self._input = self._open_input()  # held on to: its callbacks are libvips's as long as it reads
                self._image = load(self._input, access="sequential", fail_on="warning", **settings)
                self._region = self._vips.Region.new(self._image)
            self._check()
        except BaseException:
            self.close()
            raise

    def part(self, top: int, bottom: int) -> Part:
        """What makes rows `top` to `bottom` (exclusive); they are read by now. Raises ImageError."""
        rows = self.rows(top, bottom)
        return lambda: rows

    def rows(self, top: int, bottom: int) -> np.ndarray:
        """Rows `top` to `bottom` (exclusive) as flat uint8: R, G, B of colour, else gray. Raises ImageError."""
        with self._errors():
            pixels = self._fetch(top, bottom)
        if self._data is not None:
            self._data.madvise(mmap.MADV_DONTNEED)  # what was read need not count as this process's memory
        channels = pixels.shape[2]
        alpha = None
        if self._image.hasalpha() and self._plan.alpha:
            alpha = pixels[..., 3 if channels > 3 else 1]
        if channels == 3 and self._opened.colour and pixels.flags.writeable and pixels.flags.c_contiguous:
            return pixels.reshape(-1)  # as the library gave them
        values = pixels[..., :3] if channels >= 3 and not self._plan.luma else pixels[..., 0]
        target = np.empty((*pixels.shape[:2], *((3,) if self._opened.colour else ())), np.uint8)
        self.ignored |= transparency.put(values, alpha, self._background, target)
        return target.reshape(-1)

    def _fetch(self, top: int, bottom: int) -> np.ndarray:
        """Rows as uint8 of shape (rows, width, channels); R, G, B of C, M, Y, K. Raises whatever a library raises."""
        image = self._image
        data = self._region.fetch(0, top, image.width, bottom - top)
        wide = image.format == "ushort"
        pixels: np.ndarray = np.frombuffer(data, np.uint16 if wide else np.uint8)
        pixels = pixels.reshape(bottom - top, image.width, image.bands)
        if wide:
            pixels = (pixels >> 8).astype(np.uint8)
        if image.interpretation == "cmyk":
            from PIL import Image

            size = image.width, bottom - top
            pixels = np.asarray(Image.frombuffer("CMYK", size, pixels.tobytes(), "raw", "CMYK", 0, 1).convert("RGB"))
        return pixels

    def close(self) -> None:
        self._region = self._image = self._input = None
        if self._data is not None:
            self._data.close()
        self._file.close()

    def _open_input(self) -> Any:
        self._data = mmap.mmap(self._file.fileno(), 0, prot=mmap.PROT_READ)
        file = excerpt(self._data, self._plan.parts)
        source = self._vips.SourceCustom()
        source.on_read(file.read)
        source.on_seek(file.seek)
        return source

    def _check(self) -> None:
        """Whether it is what the header was taken for, by the libraries that read it otherwise."""
        image, opened = self._image, self._opened
        known = _GRAY | {"cmyk"} | (_COLOURED if opened.colour or self._plan.luma else set())
        sound = (
            (image.width, image.height) == (opened.width, opened.height)
            and image.format in ("uchar", "ushort")
            and (image.interpretation != "cmyk" or (opened.colour and image.bands == 4))
            and image.interpretation in known
        )
        if not sound:
            raise ImageError(f"libvips takes it for {image.width} x {image.height} {image.interpretation}")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        with image_failures:
            try:
                yield
            except self._vips.Error as error:
                text = one_line(str(error.detail or error.message))
                raise ImageError(f"damaged, or not to be converted in bands: {text}") from None


def _vips() -> Any:
    """pyvips, told to keep nothing and to start no threads. Raises PyvipsMissing."""
    os.environ["VIPS_CONCURRENCY"] = "1"
    try:
        import pyvips
    except Exception:  # whatever stops it, it can't be used
        raise PyvipsMissing from None
    pyvips.cache_set_max(0)
    return pyvips
