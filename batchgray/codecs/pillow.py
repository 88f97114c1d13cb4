"""imageio and Pillow decode every format but JPEG, and the JPEGs that simplejpeg can't do.

What a file's own structure tells comes first (`pillow_probes`), and of Pillow's parsers only the one for its format
ever sees it.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

import imageio.v3 as iio
import numpy as np
from PIL import AvifImagePlugin, Image, TiffImagePlugin, UnidentifiedImageError

from batchgray.codecs import metadata, tiff_outline, transparency
from batchgray.codecs.excerpt import Contents, let_go
from batchgray.codecs.exif import fitting
from batchgray.codecs.faults import collected_warnings, joined, library_reason
from batchgray.codecs.limits import DEFLATE_RATIO, LZW_RATIO, check_dimensions, check_plausible
from batchgray.codecs.opened import OpenedImage, ProbeInput
from batchgray.codecs.samples import Samples
from batchgray.codecs.signatures import Format
from batchgray.errors import ImageError
from batchgray.planes.slots import SlotImage as Planes
from batchgray.texts import one_line

# Dimensions are checked against --max-pixels before anything is decoded; Pillow's own guess at a bomb would come first.
Image.MAX_IMAGE_PIXELS = None
Image.WARN_POSSIBLE_FORMATS = True  # else why a parser refused its file is lost
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # there is a worker for each core
TiffImagePlugin.READ_LIBTIFF = True  # Pillow's own way takes the planes of 16-bit samples for planes of 8-bit ones

# Bytes a pixel that a decoder holds besides the planes: Pillow 4 bytes a pixel of its own, and numpy's copy of it is
# joined from pieces; the libraries of formats that are read as a whole hold a canvas or two more.
_SCRATCH = 12
_CONVERTED_SCRATCH = 14  # where it converts colours to a second image


_LIBTIFF_FAILED = "decoder error"  # all that Pillow says of it


@dataclass
class OpenedWithPillow(OpenedImage):
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
    def probe(cls, given: ProbeInput, kind: Format, file: BinaryIO) -> "OpenedWithPillow":
        """Have Pillow read the headers of `file`. Raises ImageError."""
        image = open_as(kind, file)
        return cls.of(given, image, file)

    @classmethod
    def of(cls, given: ProbeInput, image: Image.Image, file: BinaryIO) -> "OpenedWithPillow":
        """From what Pillow made of `file`, with no note yet. Raises ImageError."""
        width, height = image.size
        check_dimensions(width, height, given.limits.max_pixels)
        check_plausible(width, height, _least_bytes(image), len(given.data))
        _check_tiles(image)
        if image.mode in ("I", "F") or not image.mode:
            raise ImageError("32-bit samples, which have no fixed range; convert the file to 8 or 16 bits first")
        samples = Samples.of(image)
        per_pixel = _CONVERTED_SCRATCH if samples.colour and samples.mode != image.mode else _SCRATCH
        opened = cls(
            version=given.version,
            width=width,
            height=height,
            colour=False,
            exif=_exif_of(image),
            besides=metadata.of_packet(image.info.get("xmp")),
            note=None,
            scratch_bytes=per_pixel * width * height,
            data=given.data,
            file=file,
            mode=image.mode,
            samples=samples,
            background=given.background,
        )
        opened.take_samples(samples)
        return opened

    def take_samples(self, samples: Samples) -> None:
        """Have the pixels read so, which decides whether they are colours."""
        self.samples = samples
        self.colour = samples.fills_colours(self.background)

    def _decode(self, planes: Planes) -> str | None:
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
            f"decoded, with a fault in the file: {one_line(fault)}" if fault else None,
            transparency.IGNORED if ignored or self.unkeyed else None,
        )

    def _failure(self, error: Exception) -> str:
        if _LIBTIFF_FAILED in str(error):
            return "damaged or truncated: its pixels can't be read"
        return f"{self._verdict}{library_reason(error)}"

    @property
    def _verdict(self) -> str:
        return f"not a sound JPEG: {one_line(self.fault)}; " if self.fault else "damaged: "

    def read(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Values and alpha, as `Samples.split` gives them. Raises whatever a library raises."""
        return self.samples.split(self._pixels())

    def _pixels(self) -> np.ndarray:
        if self.luma:
            return _libjpeg_gray(self.file)
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


class UnknownMode(ImageError):
    """Pillow knows the format, and not how this picture's samples are laid out."""


def open_as(kind: Format, file: BinaryIO) -> Image.Image:
    """What Pillow's parser for that format makes of a file's headers. Raises ImageError."""
    with collected_warnings() as warned:
        try:
            return Image.open(file, formats=(kind,))  # so that no other of Pillow's forty parsers ever runs
        except UnidentifiedImageError:
            reason = one_line(warned[-1]) if warned else f"its {kind} header makes no sense"
            failure = UnknownMode if reason.endswith("unknown pixel mode") else ImageError
            raise failure(f"damaged: {reason}") from None
        except MemoryError:
            raise
        except Exception as error:
            raise ImageError(f"damaged: {library_reason(error)}") from None


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
    "tiff_lzw": LZW_RATIO,
    "tiff_deflate": DEFLATE_RATIO,
    "tiff_adobe_deflate": DEFLATE_RATIO,
}
_MOST_TILE_PIXELS = 64_000_000


def _least_bytes(image: Image.Image) -> int:
    """How long the file of an image must be, whatever is in it; 0 where its format knows no bound."""
    width, height = image.size
    if image.format == "GIF":
        return width * height // LZW_RATIO
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
        width, height = tags.get(tiff_outline.TILE_WIDTH, 1), tags.get(tiff_outline.TILE_ROWS, 1)
        if width * height > max(_MOST_TILE_PIXELS, 2 * image.width * image.height):
            raise ImageError(f"damaged: tiles of {width} x {height} in an image of {image.width} x {image.height}")


def _exif_of(image: Image.Image) -> bytes:
    """The EXIF block of a file that is not a JPEG, without its header, or b"" where none would fit a JPEG."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        block = image.info.get("exif")
        return fitting(block) if isinstance(block, bytes) else b""
    # A TIFF has no EXIF block: its own directory is one. Pillow has applied the orientation by the time the pixels are
    # there.
    exif = Image.Exif()
    with suppress(Exception):  # a tag whose value is of the wrong type
        exif.update({tag: image.tag_v2[tag] for tag in tiff_outline.DESCRIBING if tag in image.tag_v2})
        return fitting(exif.tobytes()) if exif else b""
    return b""
