"""Inputs that imageio's Pillow plugin decodes: all that is not JPEG, and the JPEGs that simplejpeg can't do.

What `containers` can tell of a file comes first, and of Pillow's parsers only the one for its format ever sees it.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import BinaryIO

import imageio.v3 as iio
import numpy as np
from PIL import AvifImagePlugin, Image, TiffImagePlugin, UnidentifiedImageError

from batchgray.codecs import containers, tiff_outline, transparency
from batchgray.codecs.containers import EXIF_HEADER, Contents, excerpt
from batchgray.codecs.opened import (
    Limits,
    Source,
    brief,
    check_dimensions,
    collected_warnings,
    joined,
    let_go,
    library_reason,
)
from batchgray.codecs.samples import Samples, of_tiff, unknown_tiff
from batchgray.codecs.tiff_outline import TiffOutline
from batchgray.errors import ImageError
from batchgray.planes.slots import EXIF_BYTES
from batchgray.planes.slots import Image as Planes
from batchgray.records import SourceIdentity

# Dimensions are checked against --max-pixels before anything is decoded; Pillow's own guess at a bomb would come first.
Image.MAX_IMAGE_PIXELS = None
Image.WARN_POSSIBLE_FORMATS = True  # else why a parser refused its file is lost
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # there is a worker for each core
TiffImagePlugin.READ_LIBTIFF = True  # Pillow's own way takes the planes of 16-bit samples for planes of 8-bit ones

# Bytes a pixel that a decoder holds besides the planes: Pillow 4 bytes a pixel of its own, and numpy's copy of it is
# joined from pieces; the libraries of formats that are read as a whole hold a canvas or two more.
_SCRATCH = 12
_CONVERTED_SCRATCH = 14  # where it converts colours to a second image
_WHOLE_SCRATCH = 19
_STRIP_SCRATCH = 100  # bytes for each number in a TIFF's tables

_COPIES = 2  # of a file that is read as a whole
_CANVASES = 8  # bytes a pixel of a WebP that is opened
_SEGMENT_BYTES = 65533  # what fits one APP1 segment of a JPEG after its length

_LIBTIFF_FAILED = "decoder error"  # all that Pillow says of it


@dataclass
class PillowSource(Source):
    """`file` is what imageio gets to read: the input, or what is left of it without its metadata."""

    data: Contents
    file: BinaryIO
    mode: str
    samples: Samples
    background: transparency.Colour | None
    fault: str | None = None  # why simplejpeg refused a JPEG
    unkeyed: bool = False  # which pixels are transparent is not known
    luma: bool = False  # a JPEG whose own Y' plane is wanted

    @classmethod
    def probe(
        cls,
        kind: containers.Format,
        file: BinaryIO,
        data: Contents,
        identity: SourceIdentity,
        limits: Limits,
        background: transparency.Colour | None = None,
    ) -> "PillowSource":
        image = _opened(kind, file)
        width, height = image.size
        pixels = width * height
        check_dimensions(width, height, limits.max_pixels)
        containers.check_plausible(width, height, _least_bytes(image), len(data))
        _check_tiles(image)
        if image.mode in ("I", "F") or not image.mode:
            raise ImageError("32-bit samples, which have no fixed range; convert the file to 8 or 16 bits first")
        samples = Samples.of(image)
        per_pixel = _CONVERTED_SCRATCH if samples.colour and samples.mode != image.mode else _SCRATCH
        source = cls(
            identity=identity,
            width=width,
            height=height,
            colour=False,
            exif=_exif_of(image),
            note=_frames_note(getattr(image, "n_frames", 1)) if kind == "AVIF" else None,
            scratch_bytes=_WHOLE_SCRATCH * pixels + _COPIES * len(data) if kind == "AVIF" else per_pixel * pixels,
            data=data,
            file=file,
            mode=image.mode,
            samples=samples,
            background=background,
        )
        source._take_samples(source.samples)
        return source

    @classmethod
    def probe_png(
        cls, data: Contents, identity: SourceIdentity, limits: Limits, background: transparency.Colour | None
    ) -> Source:
        outline = containers.PngOutline.walk(data)
        check_dimensions(outline.width, outline.height, limits.max_pixels)
        source = cls.probe("PNG", outline.without_metadata(data), data, identity, limits, background)
        source.exif = _fitting(outline.exif)
        source.note = joined(_frames_note(outline.frames), _depth_note(outline.depth))
        if outline.transparent:
            source._take_key(outline)
        return source

    @classmethod
    def probe_tiff(
        cls, fd: int, data: Contents, identity: SourceIdentity, limits: Limits, background: transparency.Colour | None
    ) -> Source:
        if data[:4] == b"MM\0+":
            raise ImageError("a BigTIFF in big-endian order is not read here; convert the file first")
        outline = TiffOutline.walk(data)
        _check_compression(outline.value(data, tiff_outline.COMPRESSION, tiff_outline.UNCOMPRESSED))
        changes, samples = of_tiff(outline, data)
        head = excerpt(data, outline.parts(data, changes, whole=False))
        try:
            source = cls.probe("TIFF", head, data, identity, limits, background)
        except _UnknownMode:
            raise ImageError(unknown_tiff(outline, data)) from None
        source.note = joined(_frames_note(outline.pages), _depth_note(outline.value(data, tiff_outline.BITS, 1)))
        source.scratch_bytes += _STRIP_SCRATCH * outline.numbers + _libtiff_scratch(outline, data)
        source.file = excerpt(data, outline.parts(data, changes), os.dup(fd))
        if samples:
            source._take_samples(samples)
        return source

    @classmethod
    def probe_other(
        cls,
        kind: containers.Format,
        file: BinaryIO,
        data: Contents,
        identity: SourceIdentity,
        limits: Limits,
        background: transparency.Colour | None,
    ) -> Source:
        """The formats whose headers Pillow can read without reading much else; and AVIF, which it reads as a whole."""
        if kind == "BMP":
            containers.check_bmp(data)
        if kind == "AVIF":
            containers.check_read_as_a_whole(len(data))
            limits.reserve(_COPIES * len(data))
        return cls.probe(kind, file, data, identity, limits, background)

    @classmethod
    def probe_gif(
        cls, data: Contents, identity: SourceIdentity, limits: Limits, background: transparency.Colour | None
    ) -> Source:
        outline = containers.GifOutline.walk(data)
        source = cls.probe("GIF", outline.without_metadata(data), data, identity, limits, background)
        source.note = _frames_note(outline.frames)
        source._take_samples(replace(source.samples, window=outline.window))
        return source

    @classmethod
    def probe_webp(
        cls, data: Contents, identity: SourceIdentity, limits: Limits, background: transparency.Colour | None
    ) -> Source:
        outline = containers.WebpOutline.walk(data)
        check_dimensions(outline.width, outline.height, limits.max_pixels)
        # Pillow reads the file and lays out its canvases when it opens it.
        needed = _COPIES * outline.kept_bytes + _CANVASES * outline.width * outline.height
        limits.reserve(needed)
        source = cls.probe("WEBP", outline.without_metadata(data), data, identity, limits, background)
        source.exif, source.note = _fitting(outline.exif), _frames_note(outline.frames)
        source.scratch_bytes = _WHOLE_SCRATCH * outline.width * outline.height + _COPIES * outline.kept_bytes
        return source

    def _take_samples(self, samples: Samples) -> None:
        self.samples = samples
        tinted = self.background is not None and not transparency.is_neutral(self.background)
        self.colour = samples.colour or (tinted and samples.has_alpha)

    def _take_key(self, outline: containers.PngOutline) -> None:
        """One value of a PNG's gray or colours is transparent."""
        if outline.depth == 16 and self.samples.colour:
            # Pillow drops the lower bits before anybody could compare them.
            if self.background is not None:
                raise ImageError("a transparent colour of 16 bits a sample, which --background can't composite")
            self.unkeyed = True
            return
        scale = 255 // ((1 << outline.depth) - 1) if outline.depth < 8 else 1
        self._take_samples(replace(self.samples, key=tuple(scale * value for value in outline.transparent)))

    def decode(self, planes: Planes) -> str | None:
        target = np.frombuffer(planes.rgb if self.colour else planes.gray, np.uint8)
        target = target.reshape(self.height, self.width, *((3,) if self.colour else ()))
        with collected_warnings() as warned:
            try:
                values, alpha = self.read()
            except MemoryError:
                raise
            except Exception as error:
                raise ImageError(self._failure(error)) from None
        if values.shape[:2] != target.shape[:2] or values.ndim > target.ndim:
            raise ImageError(f"{self._verdict}the pixels are not as many as the header promises")
        ignored = transparency.put(values, alpha, self.background, target)
        fault = self.fault or next(iter(warned), None)
        return joined(
            f"decoded, with a fault in the file: {brief(fault)}" if fault else None,
            transparency.IGNORED if ignored or self.unkeyed else None,
        )

    def _failure(self, error: Exception) -> str:
        if _LIBTIFF_FAILED in str(error):
            return "damaged or truncated: its pixels can't be read"
        return f"{self._verdict}{library_reason(error)}"

    @property
    def _verdict(self) -> str:
        return f"not a sound JPEG: {brief(self.fault)}; " if self.fault else "damaged: "

    def read(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Values and alpha, as `Samples.split` gives them. Raises whatever a library raises."""
        return self.samples.split(self._pixels())

    def _pixels(self) -> np.ndarray:
        if self.luma:
            return libjpeg_gray(self.file)
        with iio.imopen(self.file, "r", plugin="pillow") as reader:
            read: Callable[..., np.ndarray] = reader.read  # the plugin's own, which takes more than any plugin's
            mode = None if self.samples.mode == self.mode else self.samples.mode  # to convert to the same is to copy
            return read(index=0, mode=mode, writeable_output=False)

    def file_to_draw(self) -> BinaryIO:
        self.file.seek(0)
        return self.file

    def close(self) -> None:
        self.file.close()
        let_go(self.data)


class _UnknownMode(ImageError):
    """Pillow knows the format, and not how this picture's samples are laid out."""


def _opened(kind: containers.Format, file: BinaryIO) -> Image.Image:
    with collected_warnings() as warned:
        try:
            return Image.open(file, formats=(kind,))  # so that no other of Pillow's forty parsers ever runs
        except UnidentifiedImageError:
            reason = brief(warned[-1]) if warned else f"its {kind} header makes no sense"
            failure = _UnknownMode if reason.endswith("unknown pixel mode") else ImageError
            raise failure(f"damaged: {reason}") from None
        except MemoryError:
            raise
        except Exception as error:
            raise ImageError(f"damaged: {library_reason(error)}") from None


def decode_whole(data: bytes) -> np.ndarray:
    """The first picture of a file, in Pillow's own mode. Raises whatever a library raises."""
    return iio.imread(data, plugin="pillow", index=0)


def libjpeg_gray(file: BinaryIO) -> np.ndarray:
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


def _check_compression(compression: int) -> None:
    """Raise ImageError for a TIFF that may be sound, in a coding that Pillow, or its libtiff (WebP), does not know."""
    if compression not in TiffImagePlugin.COMPRESSION_INFO or compression == tiff_outline.WEBP:
        raise ImageError(f"a TIFF of compression {compression} is not read here; convert the file first")


def _check_tiles(image: Image.Image) -> None:
    """Raise ImageError for a TIFF's tiles that are huge: libtiff holds a whole one, however small the image is."""
    tags = getattr(image, "tag_v2", {})
    with suppress(TypeError):  # not a number
        width, height = tags.get(tiff_outline.TILE_WIDTH, 1), tags.get(tiff_outline.TILE_ROWS, 1)
        if width * height > max(_MOST_TILE_PIXELS, 2 * image.width * image.height):
            raise ImageError(f"damaged: tiles of {width} x {height} in an image of {image.width} x {image.height}")


def _libtiff_scratch(outline: TiffOutline, data: Contents) -> int:
    """What libtiff, which reads the file itself, holds of it: whatever it says besides, a strip or tile as stored,
    and a tile as decoded, which may be far larger than the picture.
    """
    compressed = outline.value(data, tiff_outline.COMPRESSION, 1) != tiff_outline.UNCOMPRESSED
    stored = outline.longest_piece(data) if compressed else 0
    return _COPIES * outline.skipped_bytes + stored + _tile_bytes(outline, data)


def _tile_bytes(outline: TiffOutline, data: Contents) -> int:
    """How long a tile is as libtiff decodes it, or as R, G, B and alpha where it converts colours; 0 without tiles."""
    if tiff_outline.TILE_WIDTH not in outline.entries:
        return 0
    separate = outline.value(data, tiff_outline.PLANES, 1) == tiff_outline.SEPARATE
    samples = 1 if separate else outline.value(data, tiff_outline.SAMPLES, 1)
    pixel_bytes = max(samples * max(outline.values(data, tiff_outline.BITS, (1,))) // 8, 4)
    width, rows = (outline.value(data, tag, 1) for tag in (tiff_outline.TILE_WIDTH, tiff_outline.TILE_ROWS))
    return max(0, width * rows * pixel_bytes)


def _depth_note(bits: int) -> str | None:
    return f"the upper 8 of {bits} bits were taken" if bits > 8 else None


def _frames_note(frames: int) -> str | None:
    more = " or more" if frames == containers.MOST_FRAMES else ""
    return f"the first of {frames}{more} frames or pages" if frames > 1 else None


def _exif_of(image: Image.Image) -> bytes:
    """The EXIF block of a file that is not a JPEG, without its header, or b"" where none would fit a JPEG."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        block = image.info.get("exif")
        return _fitting(block) if isinstance(block, bytes) else b""
    # A TIFF has no EXIF block: its own directory is one. Pillow has applied the orientation by the time the pixels are
    # there.
    exif = Image.Exif()
    with suppress(Exception):  # a tag whose value is of the wrong type
        exif.update({tag: image.tag_v2[tag] for tag in tiff_outline.DESCRIBING if tag in image.tag_v2})
        return _fitting(exif.tobytes()) if exif else b""
    return b""


def _fitting(block: bytes) -> bytes:
    """An EXIF block without its header, or b"" where it is too long for a JPEG."""
    block = block.removeprefix(EXIF_HEADER)
    return block if len(block) <= min(_SEGMENT_BYTES - len(EXIF_HEADER), EXIF_BYTES) else b""
