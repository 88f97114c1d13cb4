"""Probe, decode into a plane, encode. With `bands` and `jpegbands`, all that knows image libraries.

JPEG goes through simplejpeg (libjpeg-turbo), straight into the slot. It refuses files that every viewer opens (stray
bytes before a marker, for one), so imageio has a second opinion before a file is called bad. Everything else, and
CMYK, which needs Adobe's inversion undone, goes through imageio's Pillow plugin. What `containers` can tell of a file
comes first, and of Pillow's parsers only the one for its format ever sees it.
"""

import io
import mmap
import os
import stat
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

import imageio.v3 as iio
import numpy as np
import simplejpeg
from PIL import AvifImagePlugin, ExifTags, Image, ImageOps, UnidentifiedImageError

from batchgray import containers
from batchgray.containers import Contents
from batchgray.errors import ImageError, shown
from batchgray.messages import SourceIdentity
from batchgray.options import Method
from batchgray.planes import EXIF_BYTES
from batchgray.planes import Image as Planes

# Dimensions are checked against --max-pixels before anything is decoded; Pillow's own guess at a bomb would come first.
Image.MAX_IMAGE_PIXELS = None
Image.WARN_POSSIBLE_FORMATS = True  # else why a parser refused its file is lost
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # there is a worker for each core

JPEG_MAX_SIDE = 65500  # libjpeg's JPEG_MAX_DIMENSION
THUMBNAIL_SCRATCH = 800_000_000
_THUMBNAIL_QUALITY = 78
_EXIF_HEADER = b"Exif\0\0"
_SEGMENT_BYTES = 65533  # what fits one APP1 segment after its length
_SMALL_BYTES = 64 << 10  # of an input that is read and not mapped
_BRIEF = 250  # characters of what a library says

# Bytes a pixel that a decoder holds besides the planes. libjpeg keeps all 16-bit coefficients of a progressive file;
# Pillow holds 4 bytes a pixel of its own, and numpy's copy of it is joined from pieces.
_PROGRESSIVE_SCRATCH = {"Gray": 2, "420": 3, "422": 4, "440": 4, "411": 3}
_PILLOW_SCRATCH = 12
_WHOLE_SCRATCH = 19
_ENCODED_SCRATCH = 1

_READ_AS_A_WHOLE = ("WEBP", "AVIF")  # the file too; and their libraries hold a canvas or two of their own

_GRAY_MODES = {"1": "L", "L": "L", "LA": "L", "La": "LA"}
_WIDE_GRAY_MODES = {"I;16", "I;16B", "I;16L", "I;16N"}
_COLOUR_MODES = {"RGBa": "RGBA"}  # premultiplied: only the way over RGBA gives the colour back


@dataclass
class Source:
    """An opened input: its dimensions are known and nothing is decoded yet.

    `colour` says whether `decode` fills the RGB plane (and the kernel is needed) or the gray plane itself;
    `scratch_bytes` is about what the codec will hold besides the planes.
    """

    identity: SourceIdentity
    width: int
    height: int
    colour: bool
    exif: bytes
    note: str | None
    scratch_bytes: int

    def decode(self, planes: Planes) -> str | None:
        """Decode into `planes`. Returns a note where the decoder had to be lenient. Raises ImageError."""
        raise NotImplementedError

    def file_to_draw(self) -> BinaryIO:
        """The input, or what is left of it without its metadata."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the file."""


def open_source(path: str, method: Method, max_pixels: int) -> Source:
    """Open an input and check what its header promises, before a library believes it. Raises ImageError."""
    try:
        fd = _open_regular(path)
        try:
            return _probe(fd, method, max_pixels)
        finally:
            os.close(fd)
    except OSError as error:
        raise ImageError(_os_reason(error)) from None


def identity_of(path: str) -> SourceIdentity:
    """Which version of the input stands under this name now. Raises ImageError where it is gone."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise ImageError(_os_reason(error)) from None
    return SourceIdentity(found.st_size, found.st_mtime_ns)


def encode_jpeg(gray: memoryview, width: int, height: int, quality: int, exif: bytes = b"") -> list[bytes]:
    """A baseline gray JPEG of `gray` (height * width uint8), in pieces to be written one after another."""
    check_jpeg_sides(width, height)
    pixels = np.frombuffer(gray, np.uint8).reshape(height, width)
    # A plane is taken as it is; simplejpeg.encode_jpeg makes the same bytes and copies each row first, which takes 5%.
    return with_exif(simplejpeg.encode_jpeg_yuv_planes(pixels, None, None, quality=quality), exif)


def with_exif(data: bytes, exif: bytes) -> list[bytes]:
    """A JPEG of libjpeg's, or its beginning, with an EXIF segment, in pieces."""
    if not exif:
        return [data]
    payload = _EXIF_HEADER + exif
    after_jfif = 4 + int.from_bytes(data[4:6], "big")  # SOI, then the APP0 that libjpeg writes
    return [data[:after_jfif], b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload, data[after_jfif:]]


def check_jpeg_sides(width: int, height: int) -> None:
    """Raise ImageError for what no JPEG can hold."""
    if max(width, height) > JPEG_MAX_SIDE:
        raise ImageError(f"{width} x {height}: JPEG holds {JPEG_MAX_SIDE} pixels a side at most; use --format png")


def encode_png(gray: memoryview, width: int, height: int, exif: bytes = b"") -> list[bytes]:
    """An 8-bit gray PNG of `gray` (height * width uint8)."""
    pixels = np.frombuffer(gray, np.uint8).reshape(height, width)
    extra = {"exif": _EXIF_HEADER + exif} if exif else {}
    return [iio.imwrite("<bytes>", pixels, extension=".png", plugin="pillow", mode="L", **extra)]


def write_png(sink: Any, gray: mmap.mmap, width: int, height: int, exif: bytes = b"") -> None:
    """What `encode_png` returns, written to `sink.write` piece by piece while `gray` is read from top to bottom."""
    extra = {"exif": _EXIF_HEADER + exif} if exif else {}
    Image.frombuffer("L", (width, height), gray, "raw", "L", 0, 1).save(sink, "PNG", **extra)


def check_decodes(data: bytes) -> None:
    """Decode an output as far as its last pixel. Raises ImageError."""
    try:
        if data[:2] == b"\xff\xd8":
            simplejpeg.decode_jpeg(data, "GRAY")
        else:
            iio.imread(data, plugin="pillow", index=0)
    except Exception as error:
        raise ImageError(f"does not decode: {_library_reason(error)}") from None


def thumbnail(path: str, side: int) -> bytes:
    """A small JPEG of an image, upright, at most `side` pixels a side: to look at, not exact. Raises ImageError.

    An image that would take more than THUMBNAIL_SCRATCH bytes to decode is refused.
    """
    source = open_source(path, "bt601", sys.maxsize)
    try:
        if source.scratch_bytes > THUMBNAIL_SCRATCH:
            raise ImageError(f"too large to draw small: {source.width * source.height / 1e6:,.0f} megapixels")
        with _warnings():
            try:
                return _drawn_small(source, side)
            except Exception as error:
                raise ImageError(f"damaged: {_library_reason(error)}") from None
    finally:
        source.close()


def _drawn_small(source: Source, side: int) -> bytes:
    file = source.file_to_draw()
    with Image.open(file, formats=(containers.format_of(file.read(containers.HEAD_BYTES)),)) as image:
        image.draft("RGB", (side, side))  # libjpeg decodes no more than is needed
        small = _opaque(image)
    small.thumbnail((side, side), reducing_gap=2.0)
    small.info = {"exif": _EXIF_HEADER + source.exif} if source.exif else {}  # what the output has
    with suppress(Exception):  # an EXIF block that makes no sense
        ImageOps.exif_transpose(small, in_place=True)
    data = io.BytesIO()
    small.save(data, "JPEG", quality=_THUMBNAIL_QUALITY, exif=b"")
    return data.getvalue()


def _opaque(image: Image.Image) -> Image.Image:
    """As RGB or 8-bit gray, the colour under transparent pixels as it is."""
    if image.mode in _WIDE_GRAY_MODES:
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in _GRAY_MODES:
        return image.convert(_GRAY_MODES[image.mode]).convert("L")
    return image.convert(_COLOUR_MODES.get(image.mode, image.mode)).convert("RGB")


def _open_regular(path: str) -> int:
    _check_regular(os.stat(path).st_mode)  # first: to open a device may already be to use it
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _check_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
        raise ImageError(f"a {kinds.get(stat.S_IFMT(mode), 'device')}, not a file")


def _probe(fd: int, method: Method, max_pixels: int) -> Source:
    found = os.fstat(fd)
    _check_regular(found.st_mode)
    identity = SourceIdentity(found.st_size, found.st_mtime_ns)
    if found.st_size == 0:
        raise ImageError("an empty file (0 bytes)")
    data = _contents(fd, found.st_size)
    try:
        kind = containers.format_of(data[: containers.HEAD_BYTES])
        if kind == "JPEG":
            return _JpegSource.probe(data, identity, method, max_pixels)
        if kind == "PNG":
            return _PillowSource.probe_png(data, identity, max_pixels)
        return _PillowSource.probe_other(kind, os.fdopen(os.dup(fd), "rb"), data, identity, max_pixels)
    except BaseException:
        _let_go(data)
        raise


def _contents(fd: int, size: int) -> Contents:
    """A file's bytes: a small one is read, which takes fewer calls; any other is mapped.

    So a file is as large as it likes, and its pages are the system's to take back.
    """
    return os.read(fd, size) if size <= _SMALL_BYTES else mmap.mmap(fd, 0, prot=mmap.PROT_READ)


def _let_go(data: Contents) -> None:
    if isinstance(data, mmap.mmap):
        data.close()


def _check_dimensions(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"no pixels: {width} x {height}")
    if width * height > max_pixels:
        raise ImageError(
            f"{width} x {height} is {width * height:,} pixels, over the limit of {max_pixels:,}; "
            "if you trust the file, raise --max-pixels"
        )


@dataclass
class _JpegSource(Source):
    data: Contents
    outline: containers.JpegOutline

    @classmethod
    def probe(cls, data: Contents, identity: SourceIdentity, method: Method, max_pixels: int) -> Source:
        outline = containers.JpegOutline.walk(data)
        _check_dimensions(outline.width, outline.height, max_pixels)
        note = "the first of several pictures in the file" if outline.multi_picture else None
        fault, height, width, colorspace, subsampling = None, 0, 0, "", ""
        try:
            with _picture(data, outline) as picture:
                height, width, colorspace, subsampling = simplejpeg.decode_jpeg_header(picture)
        except ValueError as error:
            fault = str(error)
        if fault or colorspace in ("CMYK", "YCCK"):
            file = outline.without_metadata(data)
            source = _PillowSource.probe("JPEG", file, data, identity, max_pixels)
            source.exif, source.note, source.fault = outline.exif, note, fault
            if method == "luma" and source.mode == "RGB":
                source.luma, source.colour = True, False
            return source
        if (width, height) != (outline.width, outline.height):
            raise ImageError("damaged: a JPEG with two frame headers")
        per_pixel = _ENCODED_SCRATCH + (_PROGRESSIVE_SCRATCH.get(subsampling, 6) if outline.progressive else 0)
        return cls(
            identity=identity,
            width=width,
            height=height,
            colour=colorspace != "Gray" and method != "luma",
            exif=outline.exif,
            note=note,
            scratch_bytes=per_pixel * width * height,
            data=data,
            outline=outline,
        )

    def decode(self, planes: Planes) -> str | None:
        colorspace, plane = ("RGB", planes.rgb) if self.colour else ("GRAY", planes.gray)
        try:
            with _picture(self.data, self.outline) as picture:
                simplejpeg.decode_jpeg(picture, colorspace, buffer=plane)
            return None
        except ValueError as error:
            reason = str(error)
        if reason.startswith("Premature end"):
            raise ImageError(f"truncated: {reason}")
        self._decode_again(plane, reason)
        return f"decoded, with a fault in the file: {_brief(reason)}"

    def _decode_again(self, plane: memoryview, reason: str) -> None:
        """The second opinion, into the same plane. Its gray is libjpeg-turbo's gray too."""
        pixels = np.frombuffer(plane, np.uint8)
        file = self.outline.without_metadata(self.data)
        try:
            decoded = iio.imread(file, plugin="pillow", index=0, mode="RGB") if self.colour else _libjpeg_gray(file)
        except Exception as error:
            raise ImageError(f"not a sound JPEG: {_brief(reason)}; {_library_reason(error)}") from None
        if decoded.size != pixels.size:
            raise ImageError(f"not a sound JPEG: {_brief(reason)}")
        pixels[:] = decoded.reshape(-1)

    def file_to_draw(self) -> BinaryIO:
        return self.outline.without_metadata(self.data)

    def close(self) -> None:
        _let_go(self.data)


@contextmanager
def _picture(data: Contents, outline: containers.JpegOutline) -> Iterator[memoryview]:
    """The file as far as its picture can reach: behind that, libjpeg would look for a marker to the end of the disk."""
    with memoryview(data) as whole, whole[: outline.end] as picture:
        yield picture


@dataclass
class _PillowSource(Source):
    """`file` is what imageio gets to read: the input, or what is left of it without its metadata."""

    data: Contents
    file: BinaryIO
    mode: str
    fault: str | None = None  # why simplejpeg refused a JPEG
    luma: bool = False  # a JPEG whose own Y' plane is wanted

    @classmethod
    def probe(
        cls, kind: containers.Format, file: BinaryIO, data: Contents, identity: SourceIdentity, max_pixels: int
    ) -> "_PillowSource":
        with _warnings() as warned:
            try:
                image = Image.open(file, formats=(kind,))  # so that no other of Pillow's forty parsers ever runs
            except UnidentifiedImageError:
                reason = _brief(warned[-1]) if warned else f"its {kind} header makes no sense"
                raise ImageError(f"damaged: {reason}") from None
            except Exception as error:
                raise ImageError(f"damaged: {_library_reason(error)}") from None
        width, height = image.size
        whole = kind in _READ_AS_A_WHOLE
        _check_dimensions(width, height, max_pixels)
        containers.check_plausible(width, height, _least_bytes(image), len(data))
        _check_tiles(image)
        if image.mode in ("I", "F") or not image.mode:
            raise ImageError("32-bit samples, which have no fixed range; convert the file to 8 or 16 bits first")
        return cls(
            identity=identity,
            width=width,
            height=height,
            colour=image.mode not in _GRAY_MODES and image.mode not in _WIDE_GRAY_MODES,
            exif=_exif_of(image),
            note=_frames_note(image.n_frames) if whole else None,
            scratch_bytes=_WHOLE_SCRATCH * width * height + 2 * len(data)
            if whole
            else _PILLOW_SCRATCH * width * height,
            data=data,
            file=file,
            mode=image.mode,
        )

    @classmethod
    def probe_png(cls, data: Contents, identity: SourceIdentity, max_pixels: int) -> Source:
        outline = containers.PngOutline.walk(data)
        _check_dimensions(outline.width, outline.height, max_pixels)
        source = cls.probe("PNG", outline.without_metadata(data), data, identity, max_pixels)
        source.exif, source.note = _fitting(outline.exif), _frames_note(outline.frames)
        return source

    @classmethod
    def probe_other(
        cls, kind: containers.Format, file: BinaryIO, data: Contents, identity: SourceIdentity, max_pixels: int
    ) -> Source:
        """The formats whose headers Pillow can read without reading much else."""
        frames = 1
        if kind == "GIF":
            frames = containers.gif_frames(data)
        elif kind == "TIFF":
            frames = containers.tiff_pages(data)
        elif kind in _READ_AS_A_WHOLE:
            containers.check_read_as_a_whole(len(data))
        if kind == "WEBP" and (canvas := containers.webp_size(data[:30])):
            _check_dimensions(*canvas, max_pixels)  # Pillow lays it out at once
        source = cls.probe(kind, file, data, identity, max_pixels)
        source.note = source.note or _frames_note(frames)
        return source

    def decode(self, planes: Planes) -> str | None:
        plane = np.frombuffer(planes.rgb if self.colour else planes.gray, np.uint8)
        with _warnings() as warned:
            try:
                pixels = self._read()
            except Exception as error:
                raise ImageError(f"damaged: {_library_reason(error)}") from None
        if pixels.size != plane.size:
            raise ImageError("damaged: the pixels are not as many as the header promises")
        plane[:] = pixels.reshape(-1)
        fault = self.fault or next(iter(warned), None)
        return f"decoded, with a fault in the file: {_brief(fault)}" if fault else None

    def _read(self) -> np.ndarray:
        if self.luma:
            return _libjpeg_gray(self.file)
        with iio.imopen(self.file, "r", plugin="pillow") as reader:
            if self.mode in _WIDE_GRAY_MODES:
                return (reader.read(index=0, writeable_output=False) >> 8).astype(np.uint8)
            if self.colour:
                mode, channels = _COLOUR_MODES.get(self.mode, "RGB"), slice(0, 3)
                return reader.read(index=0, mode=mode, writeable_output=False)[..., channels]
            pixels = reader.read(index=0, mode=_GRAY_MODES[self.mode], writeable_output=False)
            return pixels if pixels.ndim == 2 else pixels[..., 0]

    def file_to_draw(self) -> BinaryIO:
        self.file.seek(0)
        return self.file

    def close(self) -> None:
        self.file.close()
        _let_go(self.data)


def _libjpeg_gray(file: BinaryIO) -> np.ndarray:
    """A JPEG's own Y' plane. imageio has no way to ask for it; Pillow's draft is libjpeg's grayscale output."""
    with Image.open(file) as image:
        image.draft("L", image.size)
        return np.asarray(image.convert("L"))


# The most pixels that one byte of a compressed TIFF can unfold to; fax codes have a bit for a whole row of any length.
_TIFF_RATIOS = {
    "raw": 1,
    "packbits": 64,
    "jpeg": 64,  # a bit for each block of 64 at least
    "tiff_lzw": containers.LZW_RATIO,
    "tiff_deflate": containers.DEFLATE_RATIO,
    "tiff_adobe_deflate": containers.DEFLATE_RATIO,
}
_MOST_TILE_PIXELS = 64_000_000


def _least_bytes(image: Image.Image) -> int:
    """How long the file of an image must be, whatever is in it; 0 where its format knows no bound."""
    width, height = image.size
    if image.format == "GIF":
        return width * height // containers.LZW_RATIO
    if image.format == "TIFF":
        ratio = _TIFF_RATIOS.get(image.info.get("compression", "raw"))
        return -(-width // 8) * height // ratio if ratio else 0
    if image.format in ("BMP", "DIB") and image.info.get("compression") in (0, 3):  # not run-length coded
        return -(-width // 8) * height
    return 0


def _check_tiles(image: Image.Image) -> None:
    """Raise ImageError for a TIFF's tiles that are huge: libtiff holds a whole one, however small the image is."""
    tags = getattr(image, "tag_v2", {})
    with suppress(TypeError):  # not a number
        width, height = tags.get(_TILE_WIDTH, 1), tags.get(_TILE_LENGTH, 1)
        if width * height > max(_MOST_TILE_PIXELS, 2 * image.width * image.height):
            raise ImageError(f"damaged: tiles of {width} x {height} in an image of {image.width} x {image.height}")


def _frames_note(frames: int) -> str | None:
    more = " or more" if frames == containers.MOST_FRAMES else ""
    return f"the first of {frames}{more} frames or pages" if frames > 1 else None


# A TIFF has no EXIF block: its own directory is one. These are the entries that describe the picture and not the
# file; Pillow has applied the orientation by the time the pixels are there.
_TIFF_TAGS = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
)
_TILE_WIDTH, _TILE_LENGTH = ExifTags.Base.TileWidth, ExifTags.Base.TileLength


def _exif_of(image: Image.Image) -> bytes:
    """The EXIF block of a file that is not a JPEG, without its header, or b"" where none would fit a JPEG."""
    if image.format != "TIFF":
        block = image.info.get("exif")
        return _fitting(block) if isinstance(block, bytes) else b""
    exif = Image.Exif()
    with suppress(Exception):  # a tag whose value is of the wrong type
        exif.update({tag: image.tag_v2[tag] for tag in _TIFF_TAGS if tag in image.tag_v2})
        return _fitting(exif.tobytes()) if exif else b""
    return b""


def _fitting(block: bytes) -> bytes:
    """An EXIF block without its header, or b"" where it is too long for a JPEG."""
    block = block.removeprefix(_EXIF_HEADER)
    return block if len(block) <= min(_SEGMENT_BYTES - len(_EXIF_HEADER), EXIF_BYTES) else b""


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Python's warnings stay off the terminal; the first and the last that tell something of the file are kept."""
    kept: list[str] = []

    def keep(message: Warning | str, *_: object, **__: object) -> None:
        kept[1:] = [str(message)]

    with warnings.catch_warnings():
        warnings.simplefilter("always")  # any other filter remembers every text it has seen
        warnings.filterwarnings("ignore", message="Palette images with Transparency")
        warnings.showwarning = keep
        yield kept


def _os_reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower() if error.errno else _library_reason(error)


def _library_reason(error: BaseException) -> str:
    text = _brief(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _brief(text: str) -> str:
    """What a library says, on one line, and not longer than anybody would read."""
    text = shown(" ".join(text[: 4 * _BRIEF].split()))
    return text if len(text) <= _BRIEF else f"{text[:_BRIEF]}..."
