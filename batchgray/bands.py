"""Images read from top to bottom, some rows at a time: the way of those that are larger than memory.

libvips reads them, through pyvips, which is an extra of the package (`batchgray[large]`). It is imported in the worker
that needs it and never before the fork: its threads would not survive one.

The pixels must be those that `codec` would give, to the bit. That was tested kind by kind; a kind that libvips reads
otherwise, or that was not tested, is refused with its reason. Where a decoder warns, `codec` may know a way round and
libvips does not, so a warning is refused too.
"""

import contextlib
import ctypes
import mmap
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal

import numpy as np
import simplejpeg

from batchgray.errors import ImageError
from batchgray.guards import open_regular
from batchgray.messages import SourceIdentity
from batchgray.options import Method
from batchgray.sources import Source

# libvips keeps this many rows of its own (measured: 792) between the decoder and us.
_CACHED_ROWS = 800
_LONGEST_STRIP = 128  # rows; libvips reads higher strips of a TIFF row by row

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h

_Loader = Literal["jpegload_source", "pngload_source", "tiffload_source"]


class NoReader(Exception):
    """pyvips is not installed."""


@dataclass(frozen=True)
class Way:
    """How an input can be read in bands.

    `row_bytes` is what the decoder makes of a row, `held_bytes` what it holds besides rows. `disguise` has what to
    change in a JPEG (see `_disguise`) for its Y' plane.
    """

    loader: _Loader
    row_bytes: int
    held_bytes: int = 0
    disguise: dict[int, bytes] | None = None

    def scratch_bytes(self, height: int, band_rows: int) -> int:
        """About what reading holds: libvips's rows and its band, our copy of that, and its 8-bit half."""
        return self.held_bytes + self.row_bytes * (min(height, _CACHED_ROWS) + 3 * band_rows)


def find_way(path: str, source: Source, method: Method) -> Way:
    """How to read an input that `codec` has opened in bands. Raises NoReader, and ImageError where there is no way."""
    _vips()
    with _open(path, source.identity) as file:
        if file.read(2) == b"\xff\xd8":
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
                return _jpeg_way(data, source, method)
        from PIL import Image

        file.seek(0)
        try:
            with Image.open(file, formats=("PNG", "TIFF")) as image:
                return _png_way(image) if image.format == "PNG" else _tiff_way(image, source)
        except ImageError:
            raise
        except Exception:
            raise ImageError("only JPEG, PNG and TIFF can be converted in bands") from None


class Reader:
    """Rows of an input, from top to bottom. Rows may be passed over; none can be had twice."""

    def __init__(self, path: str, source: Source, way: Way) -> None:
        """Raises ImageError."""
        self._vips = _vips()
        self._source, self._way = source, way
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
        image, colour = self._image, self._source.colour
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
        if colour and image.bands < 3:  # gray with 16 bits and alpha, which Pillow has no gray mode for
            return np.repeat(pixels[..., 0], 3)
        wanted = pixels[..., :3] if colour else pixels[..., 0]
        return np.require(wanted, requirements=["C", "W"]).reshape(-1)  # the kernels' signature says writable

    def close(self) -> None:
        self._region = self._image = self._input = None
        self._file.close()

    def _open_input(self) -> Any:
        if self._way.disguise is None:
            return self._vips.Source.new_from_descriptor(self._file.fileno())
        disguised = _Disguised(self._file.fileno(), self._way.disguise)
        source = self._vips.SourceCustom()
        source.on_read(disguised.read)
        source.on_seek(disguised.seek)
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
        return self._source.colour or self._way.disguise is not None

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
    if sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "mallopt"):
        # libvips's rows come and go; left to itself, glibc would raise this with them, and keep three times the memory.
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 16)
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

_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass
class _Frame:
    """What the headers before the first scan say (ITU-T T.81, annex B)."""

    progressive: bool = False
    samples: float = 0.0  # of all components together, a pixel
    marks: dict[int, bytes] = field(default_factory=dict)  # what to write where, so that libjpeg believes our marker

    @classmethod
    def walk(cls, data: mmap.mmap) -> "_Frame":
        frame, at = cls(), 2
        while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
            code, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
            if code == 0xFF:  # fill byte
                at += 1
                continue
            if code in _FRAMES:
                factors = [data[place] for place in range(at + 11, at + 2 + length, 3)]
                largest = max(factor >> 4 for factor in factors) * max(factor & 15 for factor in factors)
                frame.samples = sum((factor >> 4) * (factor & 15) for factor in factors) / largest
                frame.progressive = code in _PROGRESSIVE
            if (code == 0xE0 and data[at + 4 : at + 9] == b"JFIF\0") or (
                code == 0xEE and data[at + 4 : at + 9] == b"Adobe"
            ):
                frame.marks[at + 4] = b"X"
            at += 2 + length
        return frame


def _jpeg_way(data: mmap.mmap, source: Source, method: Method) -> Way:
    try:
        _, _, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        frame = _Frame.walk(data)
    except (ValueError, IndexError, ZeroDivisionError):
        raise ImageError("a JPEG with a fault in its headers can't be converted in bands") from None
    if method == "luma" and colorspace not in ("Gray", "YCbCr", "CMYK", "YCCK"):
        raise ImageError(f"the Y' of a JPEG that holds {colorspace} can't be had in bands")
    samples = {"Gray": 1, "CMYK": 4, "YCCK": 4}.get(colorspace, 3)
    return Way(
        loader="jpegload_source",
        row_bytes=samples * source.width,
        # libjpeg keeps all 16-bit coefficients of a progressive file.
        held_bytes=int(2 * frame.samples * source.width * source.height) if frame.progressive else 0,
        disguise=frame.marks if method == "luma" and colorspace == "YCbCr" else None,
    )


# Before the file's own headers: an Adobe marker that says "no colour transform".
_UNTRANSFORMED = b"\xff\xd8\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"


class _Disguised:
    """A JPEG of Y', Cb and Cr that says it holds R, G and B: so libvips, which can't give Y' alone, gives all three.

    A JFIF marker would be believed first, and another Adobe marker later, so their names are made others.
    """

    def __init__(self, fd: int, marks: dict[int, bytes]) -> None:
        self._fd, self._at = fd, 0
        shift = len(_UNTRANSFORMED) - 2  # in place of the file's own SOI
        end = max((at + len(mark) for at, mark in marks.items()), default=2)
        head = bytearray(os.pread(fd, end, 0))
        for at, mark in marks.items():
            head[at : at + len(mark)] = mark
        self._head, self._shift = _UNTRANSFORMED + bytes(head[2:]), shift

    def read(self, size: int) -> bytes:
        at = self._at
        data = self._head[at : at + size] if at < len(self._head) else os.pread(self._fd, size, at - self._shift)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: os.fstat(self._fd).st_size + self._shift}
        self._at = base[whence] + offset
        return self._at


# PNG

_PNG_BYTES = {"1": 2, "L": 2, "I;16": 4, "LA": 2, "P": 4, "RGB": 8, "RGBA": 8}  # a pixel, at most


def _png_way(image: Any) -> Way:
    if image.mode not in _PNG_BYTES:
        raise ImageError(f"a PNG of {image.mode} can't be converted in bands")
    if "default_image" in image.info or getattr(image, "is_animated", False):
        raise ImageError("an animated PNG can't be converted in bands")
    row_bytes = _PNG_BYTES[image.mode] * image.width
    interlaced = bool(image.info.get("interlace"))  # its rows come in seven passes, so libvips holds them all
    return Way(loader="pngload_source", row_bytes=row_bytes, held_bytes=row_bytes * image.height if interlaced else 0)


# TIFF

_COMPRESSION, _PHOTOMETRIC, _OFFSETS, _ORIENTATION, _ROWS_PER_STRIP = 259, 262, 273, 274, 278
_STRIP_BYTES, _PLANAR, _TILE_WIDTH, _TILE_ROWS, _TILE_BYTES = 279, 284, 322, 323, 325
_BITS, _SAMPLES, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 258, 277, 338, 339
_NONE, _JPEG = 1, 7
_COMPRESSIONS = {_NONE, 2, 3, 4, 5, _JPEG, 8, 32773, 32946}  # CCITT, LZW, deflate, PackBits
_WHITE_IS_ZERO, _YCBCR, _ASSOCIATED_ALPHA, _SEPARATE = 0, 6, 1, 2


def _tiff_way(image: Any, source: Source) -> Way:
    tags = image.tag_v2
    compression, photometric = tags.get(_COMPRESSION, _NONE), tags.get(_PHOTOMETRIC)
    bits = max(_all(tags.get(_BITS, 1)))
    if tags.get(_ORIENTATION, 1) != 1:
        raise ImageError("a TIFF that is to be turned can't be converted in bands")
    if compression not in _COMPRESSIONS:
        raise ImageError(f"a TIFF of compression {compression} can't be converted in bands")
    if photometric not in (0, 1, 2, 3, 5) and (photometric, compression) != (_YCBCR, _JPEG):
        raise ImageError(f"a TIFF of photometric interpretation {photometric} can't be converted in bands")
    if photometric == _WHITE_IS_ZERO and bits > 8:
        raise ImageError("a TIFF of 16 bits whose 0 is white can't be converted in bands")
    if _ASSOCIATED_ALPHA in _all(tags.get(_EXTRA_SAMPLES, ())):
        raise ImageError("a TIFF whose alpha is multiplied in already can't be converted in bands")
    if set(_all(tags.get(_SAMPLE_FORMAT, 1))) != {1} or bits > 16:
        raise ImageError("a TIFF of other than unsigned 8 or 16 bits can't be converted in bands")
    if tags.get(_PLANAR, 1) == _SEPARATE:
        raise ImageError("a TIFF that holds its colours one after another can't be converted in bands")
    samples = 3 if photometric == 3 else tags.get(_SAMPLES, 1)
    row_bytes = source.width * samples * (2 if bits > 8 else 1)
    return Way(loader="tiffload_source", row_bytes=row_bytes, held_bytes=_tiff_held(tags, source, row_bytes))


def _tiff_held(tags: Any, source: Source, row_bytes: int) -> int:
    """The rows of a strip, or a row of tiles twice, as they are decoded together; and the longest of them as stored."""
    if _TILE_ROWS in tags:
        columns = -(-source.width // max(1, tags.get(_TILE_WIDTH, 1)))
        across = columns * tags.get(_TILE_WIDTH, 1) * (row_bytes // source.width)
        decoded: int = 3 * across * tags[_TILE_ROWS]
    else:
        rows = min(tags.get(_ROWS_PER_STRIP, source.height), source.height)
        decoded = row_bytes * (rows if rows <= _LONGEST_STRIP else 1)
    stored: int = max(_all(tags.get(_STRIP_BYTES, tags.get(_TILE_BYTES, 0))), default=0)
    return decoded + (min(stored, source.identity.size) if tags.get(_COMPRESSION, _NONE) != _NONE else 0)


def _all(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
