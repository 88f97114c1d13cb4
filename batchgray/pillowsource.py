"""Inputs that imageio's Pillow plugin decodes: all that is not JPEG, and the JPEGs that simplejpeg can't do.

What `containers` can tell of a file comes first, and of Pillow's parsers only the one for its format ever sees it.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

import imageio.v3 as iio
import numpy as np
from PIL import AvifImagePlugin, ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from batchgray import containers
from batchgray.containers import EXIF_HEADER, Contents
from batchgray.errors import ImageError
from batchgray.messages import SourceIdentity
from batchgray.planes import EXIF_BYTES
from batchgray.planes import Image as Planes
from batchgray.sources import Source, brief, check_dimensions, collected_warnings, let_go, library_reason

# Dimensions are checked against --max-pixels before anything is decoded; Pillow's own guess at a bomb would come first.
Image.MAX_IMAGE_PIXELS = None
Image.WARN_POSSIBLE_FORMATS = True  # else why a parser refused its file is lost
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # there is a worker for each core

# Bytes a pixel that a decoder holds besides the planes: Pillow 4 bytes a pixel of its own, and numpy's copy of it is
# joined from pieces; the libraries of formats that are read as a whole hold a canvas or two more.
_SCRATCH = 12
_WHOLE_SCRATCH = 19

_READ_AS_A_WHOLE = ("WEBP", "AVIF")  # the file too
_SEGMENT_BYTES = 65533  # what fits one APP1 segment of a JPEG after its length

GRAY_MODES = {"1": "L", "L": "L", "LA": "L", "La": "LA"}
WIDE_GRAY_MODES = {"I;16", "I;16B", "I;16L", "I;16N"}
COLOUR_MODES = {"RGBa": "RGBA"}  # premultiplied: only the way over RGBA gives the colour back


@dataclass
class PillowSource(Source):
    """`file` is what imageio gets to read: the input, or what is left of it without its metadata."""

    data: Contents
    file: BinaryIO
    mode: str
    fault: str | None = None  # why simplejpeg refused a JPEG
    luma: bool = False  # a JPEG whose own Y' plane is wanted

    @classmethod
    def probe(
        cls, kind: containers.Format, file: BinaryIO, data: Contents, identity: SourceIdentity, max_pixels: int
    ) -> "PillowSource":
        with collected_warnings() as warned:
            try:
                image = Image.open(file, formats=(kind,))  # so that no other of Pillow's forty parsers ever runs
            except UnidentifiedImageError:
                reason = brief(warned[-1]) if warned else f"its {kind} header makes no sense"
                raise ImageError(f"damaged: {reason}") from None
            except Exception as error:
                raise ImageError(f"damaged: {library_reason(error)}") from None
        width, height = image.size
        whole = kind in _READ_AS_A_WHOLE
        check_dimensions(width, height, max_pixels)
        containers.check_plausible(width, height, _least_bytes(image), len(data))
        _check_tiles(image)
        if image.mode in ("I", "F") or not image.mode:
            raise ImageError("32-bit samples, which have no fixed range; convert the file to 8 or 16 bits first")
        return cls(
            identity=identity,
            width=width,
            height=height,
            colour=image.mode not in GRAY_MODES and image.mode not in WIDE_GRAY_MODES,
            exif=_exif_of(image),
            note=_frames_note(getattr(image, "n_frames", 1)) if whole else None,
            scratch_bytes=_WHOLE_SCRATCH * width * height + 2 * len(data) if whole else _SCRATCH * width * height,
            data=data,
            file=file,
            mode=image.mode,
        )

    @classmethod
    def probe_png(cls, data: Contents, identity: SourceIdentity, max_pixels: int) -> Source:
        outline = containers.PngOutline.walk(data)
        check_dimensions(outline.width, outline.height, max_pixels)
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
            check_dimensions(*canvas, max_pixels)  # Pillow lays it out at once
        source = cls.probe(kind, file, data, identity, max_pixels)
        source.note = source.note or _frames_note(frames)
        return source

    def decode(self, planes: Planes) -> str | None:
        plane = np.frombuffer(planes.rgb if self.colour else planes.gray, np.uint8)
        with collected_warnings() as warned:
            try:
                pixels = self._read()
            except Exception as error:
                raise ImageError(f"damaged: {library_reason(error)}") from None
        if pixels.size != plane.size:
            raise ImageError("damaged: the pixels are not as many as the header promises")
        plane[:] = pixels.reshape(-1)
        fault = self.fault or next(iter(warned), None)
        return f"decoded, with a fault in the file: {brief(fault)}" if fault else None

    def _read(self) -> np.ndarray:
        if self.luma:
            return libjpeg_gray(self.file)
        with iio.imopen(self.file, "r", plugin="pillow") as reader:
            read: Callable[..., np.ndarray] = reader.read  # the plugin's own, which takes more than any plugin's
            if self.mode in WIDE_GRAY_MODES:
                return (read(index=0, writeable_output=False) >> 8).astype(np.uint8)
            if self.colour:
                mode, channels = COLOUR_MODES.get(self.mode, "RGB"), slice(0, 3)
                return read(index=0, mode=mode, writeable_output=False)[..., channels]
            pixels = read(index=0, mode=GRAY_MODES[self.mode], writeable_output=False)
            return pixels if pixels.ndim == 2 else pixels[..., 0]

    def file_to_draw(self) -> BinaryIO:
        self.file.seek(0)
        return self.file

    def close(self) -> None:
        self.file.close()
        let_go(self.data)


def decode_whole(file: BinaryIO | bytes, mode: str | None) -> np.ndarray:
    """The first picture of a file in a mode of Pillow's, or in its own. Raises whatever a library raises."""
    return iio.imread(file, plugin="pillow", index=0, mode=mode)


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
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        block = image.info.get("exif")
        return _fitting(block) if isinstance(block, bytes) else b""
    exif = Image.Exif()
    with suppress(Exception):  # a tag whose value is of the wrong type
        exif.update({tag: image.tag_v2[tag] for tag in _TIFF_TAGS if tag in image.tag_v2})
        return _fitting(exif.tobytes()) if exif else b""
    return b""


def _fitting(block: bytes) -> bytes:
    """An EXIF block without its header, or b"" where it is too long for a JPEG."""
    block = block.removeprefix(EXIF_HEADER)
    return block if len(block) <= min(_SEGMENT_BYTES - len(EXIF_HEADER), EXIF_BYTES) else b""
