"""Images read from top to bottom, some rows at a time: the way of those that are larger than memory.

libvips reads them, through pyvips, which is an extra of the package (`batchgray[large]`). It is imported in the worker
that needs it and never before the fork: its threads would not survive one.

The pixels must be those that `codec` would give, to the bit. That was tested kind by kind; a kind that libvips reads
otherwise, or that was not tested, is refused with its reason. Where a decoder warns, `codec` may know a way round and
libvips does not, so a warning is refused too.
"""

import contextlib
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np

from batchgray.codecs import jpeg, transparency
from batchgray.codecs import tiff_outline as tiff
from batchgray.codecs.containers import HEAD_BYTES, PngOutline, excerpt, format_of
from batchgray.codecs.jpeg_outline import JpegOutline
from batchgray.codecs.opened import Source
from batchgray.codecs.tiff_outline import TiffOutline
from batchgray.errors import ImageError
from batchgray.options import Method
from batchgray.records import SourceIdentity
from batchgray.storage.guards import open_regular

# libvips keeps this many rows of its own (measured: 792) between the decoder and us.
_CACHED_ROWS = 800
_TABLE_BYTES = 32  # of libtiff's, for each number in a table of strips or tiles
_LONGEST_STRIP = 128  # rows; libvips reads higher strips of a TIFF row by row

_Loader = Literal["jpegload_source", "pngload_source", "tiffload_source"]


class NoReader(Exception):
    """pyvips is not installed."""


@dataclass(frozen=True)
class Way:
    """How an input can be read in bands.

    `row_bytes` is what the decoder makes of a row, `held_bytes` what it holds besides rows. `parts` are what it gets to
    read of the file (see `Excerpt`): what its picture needs.
    """

    loader: _Loader
    row_bytes: int
    held_bytes: int
    parts: tuple[slice | bytes, ...]
    luma: bool = False  # what libvips takes for R is Y'
    alpha: bool = True  # what follows gray or the colours, where something does, is alpha

    def scratch_bytes(self, height: int, band_rows: int) -> int:
        """About what reading holds: libvips's rows and its band, our copy of that, and its 8-bit half."""
        return self.held_bytes + self.row_bytes * (min(height, _CACHED_ROWS) + 3 * band_rows)


def find_way(path: str, source: Source, method: Method) -> Way:
    """How to read an input that `codec` has opened in bands. Raises NoReader, and ImageError where there is no way."""
    _vips()
    with _open(path, source.identity) as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        match format_of(data[:HEAD_BYTES]):
            case "JPEG":
                return _jpeg_way(data, source, method)
            case "PNG":
                return _png_way(data)
            case "TIFF":
                return _tiff_way(data, source)
        raise ImageError("only JPEG, PNG and TIFF can be converted in bands")


class Reader:
    """Rows of an input, from top to bottom. Rows may be passed over; none can be had twice.

    `ignored` says whether transparency was, in the rows so far.
    """

    def __init__(self, path: str, source: Source, way: Way, background: transparency.Colour | None = None) -> None:
        """Raises ImageError."""
        self._vips = _vips()
        self._source, self._way, self._background = source, way, background
        self._data: mmap.mmap | None = None
        self.ignored = False
        self._file = _open(path, source.identity)
        try:
            with self._errors():
                loader = getattr(self._vips.Image, way.loader)
                # A strip may be as long as was agreed to; of a PNG, the limits keep texts from being inflated.
                unlimited = {"unlimited": True} if way.loader == "tiffload_source" else {}
                self._input = self._open_input()  # held on to: its callbacks are libvips's as long as it reads
                self._image = loader(self._input, access="sequential", fail_on="warning", **unlimited)
                self._region = self._vips.Region.new(self._image)
            self._check()
        except BaseException:
            self.close()
            raise

    def rows(self, top: int, bottom: int) -> np.ndarray:
        """Rows `top` to `bottom` (exclusive) as flat uint8: R, G, B of colour, else gray. Raises ImageError."""
        image = self._image
        with self._errors():
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
        alpha = None
        if image.hasalpha() and self._way.alpha:
            alpha = pixels[..., 3 if image.bands > 3 else 1]
        values = pixels[..., :3] if image.bands >= 3 and not self._way.luma else pixels[..., 0]
        shape = (bottom - top, image.width, *((3,) if self._source.colour else ()))
        target = np.empty(shape, np.uint8)
        self.ignored |= transparency.put(values, alpha, self._background, target)
        return target.reshape(-1)

    def close(self) -> None:
        self._region = self._image = self._input = None
        if self._data is not None:
            self._data.close()
        self._file.close()

    def _open_input(self) -> Any:
        self._data = mmap.mmap(self._file.fileno(), 0, prot=mmap.PROT_READ)
        file = excerpt(self._data, self._way.parts)
        source = self._vips.SourceCustom()
        source.on_read(file.read)
        source.on_seek(file.seek)
        return source

    def _check(self) -> None:
        """Whether it is what the header was taken for, by the libraries that read it otherwise."""
        image, source = self._image, self._source
        sound = (
            (image.width, image.height) == (source.width, source.height)
            and image.format in ("uchar", "ushort")
            and (image.interpretation != "cmyk" or (source.colour and image.bands == 4))
            and image.interpretation in ("b-w", "grey16", "cmyk", *(("srgb", "rgb16") if self._has_colours else ()))
        )
        if not sound:
            raise ImageError(f"libvips takes it for {image.width} x {image.height} {image.interpretation}")

    @property
    def _has_colours(self) -> bool:
        return self._source.colour or self._way.luma

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._vips.Error as error:
            text = " ".join(str(error.detail or error.message).split())[:250]
            raise ImageError(f"damaged, or not to be converted in bands: {text}") from None


def _vips() -> Any:
    """pyvips, told to keep nothing and to start no threads. Raises NoReader."""
    os.environ["VIPS_CONCURRENCY"] = "1"
    try:
        import pyvips
    except Exception:  # whatever stops it, it can't be used
        raise NoReader from None
    pyvips.cache_set_max(0)
    return pyvips


def _open(path: str, identity: SourceIdentity) -> BinaryIO:
    try:
        file = open_regular(path)
    except OSError as error:
        raise ImageError((error.strerror or str(error)).lower()) from None
    found = os.fstat(file.fileno())
    if SourceIdentity(found.st_size, found.st_mtime_ns) != identity:
        file.close()
        raise ImageError("changed while it was being read; the next run or resume takes it up again")
    return file


# JPEG

_JFIF, _ADOBE = 0xE0, 0xEE
# An Adobe marker that says "no colour transform", behind SOI.
_UNTRANSFORMED = b"\xff\xd8\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"


def _jpeg_way(data: mmap.mmap, source: Source, method: Method) -> Way:
    outline = JpegOutline.walk(data)
    colorspace = jpeg.colorspace_of(data, outline)
    if method == "luma" and colorspace not in ("Gray", "YCbCr", "CMYK", "YCCK"):
        raise ImageError(f"the Y' of a JPEG that holds {colorspace or 'such samples'} can't be had in bands")
    luma = method == "luma" and colorspace == "YCbCr"
    return Way(
        loader="jpegload_source",
        row_bytes=outline.components * source.width,
        # libjpeg keeps all 16-bit coefficients of a progressive file.
        held_bytes=int(2 * outline.samples * source.width * source.height) if outline.progressive else 0,
        parts=_untransformed(data, outline) if luma else (slice(0, 2), *outline.kept),
        luma=luma,
    )


def _untransformed(data: mmap.mmap, outline: JpegOutline) -> tuple[slice | bytes, ...]:
    """A JPEG of Y', Cb and Cr that says it holds R, G and B: so libvips, which can't give Y' alone, gives all three.

    A JFIF marker would be believed first, and another Adobe marker later, so they are left out.
    """
    return _UNTRANSFORMED, *(part for part in outline.kept if data[part.start + 1] not in (_JFIF, _ADOBE))


# PNG

_PNG_CHANNELS = {0: 2, 2: 4, 3: 4, 4: 2, 6: 4}  # of each colour type, with alpha


def _png_way(data: mmap.mmap) -> Way:
    outline = PngOutline.walk(data)
    if outline.frames > 1 or outline.animated:
        raise ImageError("an animated PNG can't be converted in bands")
    row_bytes = _PNG_CHANNELS.get(outline.colour_type, 4) * (2 if outline.depth > 8 else 1) * outline.width
    # Interlaced rows come in seven passes, so libvips holds them all.
    held_bytes = row_bytes * outline.height if outline.interlaced else 0
    return Way(loader="pngload_source", row_bytes=row_bytes, held_bytes=held_bytes, parts=tuple(outline.parts(data)))


# TIFF

_PHOTOMETRICS = {tiff.WHITE_IS_ZERO, tiff.BLACK_IS_ZERO, tiff.RGB, tiff.PALETTE, tiff.CMYK}
_COMPRESSIONS = {tiff.UNCOMPRESSED, 2, 3, 4, 5, tiff.JPEG, 8, 32773, 32946}  # CCITT, LZW, deflate, PackBits


def _tiff_way(data: mmap.mmap, source: Source) -> Way:
    outline = TiffOutline.walk(data)
    compression = outline.value(data, tiff.COMPRESSION, tiff.UNCOMPRESSED)
    photometric = outline.value(data, tiff.PHOTOMETRIC, -1)
    samples, bits = outline.value(data, tiff.SAMPLES, 1), max(outline.values(data, tiff.BITS, (1,)))
    extras = outline.values(data, tiff.EXTRA_SAMPLES)
    if outline.value(data, tiff.ORIENTATION, 1) != 1:
        raise ImageError("a TIFF that is to be turned can't be converted in bands")
    if compression not in _COMPRESSIONS:
        raise ImageError(f"a TIFF of compression {compression} can't be converted in bands")
    if photometric not in _PHOTOMETRICS and (photometric, compression) != (tiff.YCBCR, tiff.JPEG):
        raise ImageError(f"a TIFF of photometric interpretation {photometric} can't be converted in bands")
    if tiff.PREMULTIPLIED_ALPHA in extras:
        raise ImageError("a TIFF whose alpha is multiplied in already can't be converted in bands")
    if set(outline.values(data, tiff.SAMPLE_FORMAT, (1,))) != {tiff.UNSIGNED} or bits not in (1, 2, 4, 8, 16):
        raise ImageError("a TIFF of other than unsigned 8 or 16 bits can't be converted in bands")
    if samples > 1 and outline.value(data, tiff.PLANES, 1) == tiff.SEPARATE:
        raise ImageError("a TIFF that holds its colours one after another can't be converted in bands")
    changes = {tiff.PLANES: 1} if samples == 1 and tiff.PLANES in outline.entries else {}  # it is all the same
    row_bytes = source.width * (3 if photometric == tiff.PALETTE else samples) * (2 if bits > 8 else 1)
    return Way(
        loader="tiffload_source",
        row_bytes=row_bytes,
        held_bytes=_tiff_held(outline, data, source, row_bytes),
        parts=tuple(outline.parts(data, changes)),
        alpha=tiff.NO_ALPHA not in extras[:1],  # what else follows counts for nothing
    )


def _tiff_held(outline: TiffOutline, data: mmap.mmap, source: Source, row_bytes: int) -> int:
    """The rows of a strip, or a row of tiles twice, as they are decoded together; and the longest of them as stored."""
    if tiff.TILE_ROWS in outline.entries:
        tile_width = max(1, outline.value(data, tiff.TILE_WIDTH, 1))
        across = -(-source.width // tile_width) * tile_width * (row_bytes // source.width)
        decoded = 3 * across * outline.value(data, tiff.TILE_ROWS, 1)
    else:
        rows = min(outline.value(data, tiff.STRIP_ROWS, source.height), source.height)
        decoded = row_bytes * (rows if rows <= _LONGEST_STRIP else 1)
    compressed = outline.value(data, tiff.COMPRESSION, tiff.UNCOMPRESSED) != tiff.UNCOMPRESSED
    return decoded + _TABLE_BYTES * outline.numbers + (outline.longest_piece(data) if compressed else 0)
