"""libvips reads what is large: from top to bottom, or strips and tiles in any order (see `band_plan`).

It is used through pyvips, an extra of the package (`batchgray[large]`), which is imported in the worker that needs it
and never before the fork: its threads would not survive one.

Where a decoder warns, simplejpeg or Pillow may know a way round and libvips does not, so a warning is refused too.
"""

import contextlib
import functools
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

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
                self._data = mmap.mmap(self._file.fileno(), 0, prot=mmap.PROT_READ)
                self._whole = None if plan.pieces else self._open(plan.parts, opened.height)
        except BaseException:
            self.close()
            raise

    def part(self, top: int, bottom: int) -> Part:
        """What makes rows `top` to `bottom` (exclusive), in any thread. Raises ImageError.

        What can only be read from the top is read by now.
        """
        if self._plan.pieces:
            return functools.partial(self.rows, top, bottom)
        rows = self.rows(top, bottom)
        return lambda: rows

    def rows(self, top: int, bottom: int) -> np.ndarray:
        """Rows `top` to `bottom` (exclusive) as flat uint8: R, G, B of colour, else gray. Raises ImageError."""
        with self._errors():
            pixels, has_alpha = self._fetch(top, bottom)
        if self._data is not None:
            self._data.madvise(mmap.MADV_DONTNEED)  # what was read need not count as this process's memory
        channels = pixels.shape[2]
        if channels == 3 and self._opened.colour and pixels.flags.writeable and pixels.flags.c_contiguous:
            return pixels.reshape(-1)  # as the library gave them
        alpha = None
        if has_alpha and self._plan.alpha:
            alpha = pixels[..., 3 if channels > 3 else 1]
        values = pixels[..., :3] if channels >= 3 and not self._plan.luma else pixels[..., 0]
        target = np.empty((*pixels.shape[:2], *((3,) if self._opened.colour else ())), np.uint8)
        if transparency.put(values, alpha, self._background, target):
            self.ignored = True
        return target.reshape(-1)

    def _fetch(self, top: int, bottom: int) -> tuple[np.ndarray, bool]:
        """Rows of shape (rows, width, channels), and whether they have alpha. Raises whatever a library raises."""
        pieces = self._plan.pieces
        if self._whole is not None or pieces is None or self._data is None:
            assert self._whole is not None
            return self._whole.fetch(top, bottom)
        first = top // pieces.rows * pieces.rows
        last = min(-(-bottom // pieces.rows) * pieces.rows, self._opened.height)
        return self._open(pieces.parts(self._data, (first, last)), last - first).fetch(top - first, bottom - first)

    def _open(self, parts: Sequence[slice | bytes], height: int) -> "_Image":
        """Parts of the file that are a picture of this height. Raises ImageError, and what the library raises."""
        assert self._data is not None
        image = _Image(self._vips, self._plan.format, excerpt(self._data, parts))
        image.check(self._opened, height, self._plan.luma)
        return image

    def close(self) -> None:
        self._whole = None
        if self._data is not None:
            self._data.close()
        self._file.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        with image_failures:
            try:
                yield
            except self._vips.Error as error:
                text = one_line(str(error.detail or error.message))
                raise ImageError(f"damaged, or not to be converted in bands: {text}") from None


class _Image:
    """What libvips reads of a file, from top to bottom. Its methods raise whatever a library raises."""

    def __init__(self, vips: Any, kind: Format, file: BinaryIO) -> None:
        self._source = vips.SourceCustom()  # held on to: its callbacks are libvips's as long as it reads
        self._source.on_read(file.read)
        self._source.on_seek(file.seek)
        load = getattr(vips.Image, _LOADERS[kind])
        self._image = load(self._source, access="sequential", fail_on="warning", **_SETTINGS.get(kind, {}))
        self._region = vips.Region.new(self._image)

    def fetch(self, top: int, bottom: int) -> tuple[np.ndarray, bool]:
        """Rows as uint8 of shape (rows, width, channels), R, G, B of C, M, Y, K; and whether there is alpha."""
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
        return pixels, bool(image.hasalpha())

    def check(self, opened: OpenedImage, height: int, luma: bool) -> None:
        """Whether it is what the header was taken for, by the libraries that read it otherwise. Raises ImageError."""
        image = self._image
        known = _GRAY | {"cmyk"} | (_COLOURED if opened.colour or luma else set())
        sound = (
            (image.width, image.height) == (opened.width, height)
            and image.format in ("uchar", "ushort")
            and (image.interpretation != "cmyk" or (opened.colour and image.bands == 4))
            and image.interpretation in known
        )
        if not sound:
            raise ImageError(f"libvips takes it for {image.width} x {image.height} {image.interpretation}")


def _vips() -> Any:
    """pyvips, told to keep nothing and to start no threads. Raises PyvipsMissing."""
    os.environ["VIPS_CONCURRENCY"] = "1"
    try:
        import pyvips
    except Exception:  # whatever stops it, it can't be used
        raise PyvipsMissing from None
    pyvips.cache_set_max(0)
    return pyvips
