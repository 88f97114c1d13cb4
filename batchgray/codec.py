"""Probe, decode into a plane, encode. The only module that knows image libraries.

JPEG goes through simplejpeg (libjpeg-turbo), straight into the slot. It refuses files that every viewer opens (stray
bytes before a marker, for one), so imageio has a second opinion before a file is called bad. Everything else, and
CMYK, which needs Adobe's inversion undone, goes through imageio's Pillow plugin.
"""

import io
import mmap
import os
import stat
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

import imageio.v3 as iio
import numpy as np
import simplejpeg
from PIL import ExifTags, Image

from batchgray.errors import ImageError
from batchgray.messages import SourceIdentity
from batchgray.options import Method
from batchgray.planes import EXIF_BYTES
from batchgray.planes import Image as Planes

# Dimensions are checked against --max-pixels before anything is decoded; Pillow's own guess at a bomb would come first.
Image.MAX_IMAGE_PIXELS = None

JPEG_MAX_SIDE = 65500  # libjpeg's JPEG_MAX_DIMENSION
_EXIF_HEADER = b"Exif\0\0"
_SEGMENT_BYTES = 65533  # what fits one APP1 segment after its length

# Bytes a pixel that a decoder holds besides the planes. libjpeg keeps all 16-bit coefficients of a progressive file;
# Pillow holds 4 bytes a pixel of its own, and numpy's copy of it is joined from pieces.
_PROGRESSIVE_SCRATCH = {"Gray": 2, "420": 3, "422": 4, "440": 4, "411": 3}
_PILLOW_SCRATCH = 12
_ENCODED_SCRATCH = 1

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

    def close(self) -> None:
        """Let go of the file."""


def open_source(path: str, method: Method, max_pixels: int) -> Source:
    """Open an input and check what its header promises. Raises ImageError; an OSError becomes one."""
    try:
        file = _open_regular(path)
    except OSError as error:
        raise ImageError(_os_reason(error)) from None
    source = None
    try:
        source = _probe(file, method)
        _check_dimensions(source, max_pixels)
    except OSError as error:
        raise ImageError(_os_reason(error)) from None
    finally:
        if source is None or isinstance(source, _JpegSource):
            file.close()
    return source


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
    pixels = np.frombuffer(gray, np.uint8).reshape(height, width, 1)
    data = simplejpeg.encode_jpeg(pixels, quality=quality, colorspace="GRAY", colorsubsampling="Gray")
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


def check_decodes(data: bytes) -> None:
    """Decode an output as far as its last pixel. Raises ImageError."""
    try:
        if data[:2] == b"\xff\xd8":
            simplejpeg.decode_jpeg(data, "GRAY")
        else:
            iio.imread(data, plugin="pillow", index=0)
    except Exception as error:
        raise ImageError(f"does not decode: {error}") from None


def _open_regular(path: str) -> BinaryIO:
    # Without O_NONBLOCK, opening a FIFO waits for a writer for ever.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(fd, "rb")
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        file.close()
        raise ImageError("a folder, not a file" if stat.S_ISDIR(mode) else "not a regular file")
    return file


def _probe(file: BinaryIO, method: Method) -> Source:
    found = os.fstat(file.fileno())
    identity = SourceIdentity(found.st_size, found.st_mtime_ns)
    if found.st_size == 0:
        raise ImageError("an empty file (0 bytes)")
    head = file.read(3)
    file.seek(0)
    if head != b"\xff\xd8\xff":
        return _PillowSource.probe(file, identity)
    # Mapped and not read: a file is as large as it likes, and its pages are the system's to take back.
    return _JpegSource.probe(file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ), identity, method)


def _check_dimensions(source: Source, max_pixels: int) -> None:
    width, height = source.width, source.height
    if width < 1 or height < 1:
        raise ImageError(f"no pixels: {width} x {height}")
    if width * height > max_pixels:
        raise ImageError(
            f"{width} x {height} is {width * height:,} pixels, over the limit of {max_pixels:,}; "
            "if you trust the file, raise --max-pixels"
        )


@dataclass
class _JpegSource(Source):
    data: mmap.mmap

    @classmethod
    def probe(cls, file: BinaryIO, data: mmap.mmap, identity: SourceIdentity, method: Method) -> Source:
        markers = _JpegMarkers.walk(data)
        try:
            height, width, colorspace, subsampling = simplejpeg.decode_jpeg_header(data)
        except ValueError as error:
            source = _PillowSource.probe(file, identity, markers.exif)
            source.fault = str(error)
            if method == "luma" and source.mode == "RGB":
                source.luma_of, source.colour = data, False
            return source
        if colorspace in ("CMYK", "YCCK"):
            return _PillowSource.probe(file, identity, markers.exif)
        per_pixel = _ENCODED_SCRATCH + (_PROGRESSIVE_SCRATCH.get(subsampling, 6) if markers.progressive else 0)
        return cls(
            identity=identity,
            width=width,
            height=height,
            colour=colorspace != "Gray" and method != "luma",
            exif=markers.exif,
            note="the first of several pictures in the file" if markers.multi_picture else None,
            scratch_bytes=per_pixel * width * height,
            data=data,
        )

    def decode(self, planes: Planes) -> str | None:
        colorspace, plane = ("RGB", planes.rgb) if self.colour else ("GRAY", planes.gray)
        try:
            simplejpeg.decode_jpeg(self.data, colorspace, buffer=plane)
            return None
        except ValueError as error:
            reason = str(error)
        if reason.startswith("Premature end"):
            raise ImageError(f"truncated: {reason}")
        self._decode_again(plane, reason)
        return f"decoded, with a fault in the file: {reason}"

    def _decode_again(self, plane: memoryview, reason: str) -> None:
        """The second opinion, into the same plane. Its gray is libjpeg-turbo's gray too."""
        pixels = np.frombuffer(plane, np.uint8)
        try:
            if self.colour:
                decoded = iio.imread(io.BytesIO(self.data), plugin="pillow", index=0, mode="RGB")
            else:
                decoded = _libjpeg_gray(self.data)
        except Exception as error:
            raise ImageError(f"not a sound JPEG: {reason}; {_library_reason(error)}") from None
        if decoded.size != pixels.size:
            raise ImageError(f"not a sound JPEG: {reason}")
        pixels[:] = decoded.reshape(-1)

    def close(self) -> None:
        self.data.close()


@dataclass
class _JpegMarkers:
    """What the segments before the first scan say that libjpeg's header does not."""

    exif: bytes = b""
    progressive: bool = False
    multi_picture: bool = False

    @classmethod
    def walk(cls, data: mmap.mmap) -> "_JpegMarkers":
        """ITU-T T.81, annex B: 0xFF, a code, a 16-bit length that counts itself. Stops at anything else."""
        markers, at = cls(), 2
        while at + 4 <= len(data) and data[at] == 0xFF:
            code, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
            if code == 0xFF:  # fill byte
                at += 1
                continue
            if code == 0xDA or length < 2:
                break
            start = data[at + 4 : at + 10]
            if code == 0xE1 and start == _EXIF_HEADER and not markers.exif:
                markers.exif = data[at + 10 : at + 2 + length]
            markers.multi_picture |= code == 0xE2 and start[:4] == b"MPF\0"
            markers.progressive |= code in (0xC2, 0xC6, 0xCA, 0xCE)
            at += 2 + length
        return markers


@dataclass
class _PillowSource(Source):
    reader: Any
    mode: str
    fault: str | None = None  # why simplejpeg refused a JPEG
    luma_of: mmap.mmap | None = None  # a JPEG whose own Y' plane is wanted

    @classmethod
    def probe(cls, file: BinaryIO, identity: SourceIdentity, exif: bytes | None = None) -> "_PillowSource":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                reader = iio.imopen(file, "r", plugin="pillow")
            except Exception:
                raise ImageError(
                    "not an image that can be read here: the format is unknown, or its header is damaged"
                ) from None
            try:
                metadata = reader.metadata(index=0, exclude_applied=False)
                frames = reader.properties(index=...).n_images or 1
            except Exception as error:
                reader.close()
                raise ImageError(f"damaged: {_library_reason(error)}") from None
        width, height = metadata["shape"]
        mode = metadata["mode"]
        if mode in ("I", "F") or not mode:
            reader.close()
            raise ImageError("32-bit samples, which have no fixed range; convert the file to 8 or 16 bits first")
        return cls(
            identity=identity,
            width=width,
            height=height,
            colour=mode not in _GRAY_MODES and mode not in _WIDE_GRAY_MODES,
            exif=_exif_of(metadata) if exif is None else exif,
            note=f"the first of {frames} frames or pages" if frames > 1 else None,
            scratch_bytes=_PILLOW_SCRATCH * width * height,
            reader=reader,
            mode=mode,
        )

    def decode(self, planes: Planes) -> str | None:
        plane = np.frombuffer(planes.rgb if self.colour else planes.gray, np.uint8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                pixels = self._read()
            except Exception as error:
                raise ImageError(f"damaged: {_library_reason(error)}") from None
        if pixels.size != plane.size:
            raise ImageError("damaged: the pixels are not as many as the header promises")
        plane[:] = pixels.reshape(-1)
        return f"decoded, with a fault in the file: {self.fault}" if self.fault else None

    def _read(self) -> np.ndarray:
        if self.luma_of is not None:
            return _libjpeg_gray(self.luma_of)
        if self.mode in _WIDE_GRAY_MODES:
            return (self.reader.read(index=0, writeable_output=False) >> 8).astype(np.uint8)
        if self.colour:
            mode, channels = _COLOUR_MODES.get(self.mode, "RGB"), slice(0, 3)
            return self.reader.read(index=0, mode=mode, writeable_output=False)[..., channels]
        pixels = self.reader.read(index=0, mode=_GRAY_MODES[self.mode], writeable_output=False)
        return pixels if pixels.ndim == 2 else pixels[..., 0]

    def close(self) -> None:
        self.reader.close()


def _libjpeg_gray(data: mmap.mmap) -> np.ndarray:
    """A JPEG's own Y' plane. imageio has no way to ask for it; Pillow's draft is libjpeg's grayscale output."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft("L", image.size)
        return np.asarray(image.convert("L"))


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


def _exif_of(metadata: dict[str, Any]) -> bytes:
    """The EXIF block of a file that is not a JPEG, without its header, or b"" where none would fit a JPEG."""
    block = metadata.get("exif")
    if not isinstance(block, bytes):
        exif = Image.Exif()
        if "ImageWidth" in metadata:
            exif.update({tag: metadata[tag.name] for tag in _TIFF_TAGS if tag.name in metadata})
        with suppress(Exception):  # a tag whose value is of the wrong type
            block = exif.tobytes() if exif else b""
    block = (block or b"").removeprefix(_EXIF_HEADER)
    return block if len(block) <= min(_SEGMENT_BYTES - len(_EXIF_HEADER), EXIF_BYTES) else b""


def _os_reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower() if error.errno else _library_reason(error)


def _library_reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
