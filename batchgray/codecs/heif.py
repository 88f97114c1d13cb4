"""HEIC and HEIF inputs: pillow-heif (libheif, libde265) decodes them, an extra of the package (`batchgray[heif]`).

libheif turns, mirrors and cuts the picture as the file says. Its EXIF has an orientation too, which viewers leave
alone, and which would turn the output a second time: it is set to upright.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from batchgray.codecs import metadata
from batchgray.codecs.boxes import whole
from batchgray.codecs.excerpt import Contents, excerpt
from batchgray.codecs.exif import fitting
from batchgray.codecs.faults import joined, library_reason
from batchgray.codecs.heif_outline import HeifOutline
from batchgray.codecs.limits import check_dimensions, check_read_as_a_whole
from batchgray.codecs.notes import depth_note
from batchgray.codecs.opened import OpenedImage, ProbeInput
from batchgray.codecs.pillow import OpenedWithPillow
from batchgray.codecs.samples import Samples
from batchgray.errors import ImageError

# Bytes that the library holds: of the file twice, and for each pixel its planes, and what it makes of them.
_COPIES = 2
_SCRATCH, _DEEP_SCRATCH = 14, 28

_MISSING = "HEIC and HEIF are read with batchgray[heif]: install it, or convert the file to JPEG first"
_NOT_THERE = ("Unsupported", "not been built in")  # libheif's words for a codec that it has not
_SAMPLES = {
    "L": Samples("L"),
    "I": Samples("L"),  # gray of more than 8 bits
    "LA": Samples("LA"),
    "La": Samples("LA", premultiplied=True),
    "RGB": Samples("RGB", colour=True),
    "RGBA": Samples("RGBA", colour=True),
    "RGBa": Samples("RGBA", colour=True, premultiplied=True),
}


@dataclass
class OpenedHeif(OpenedWithPillow):
    """`picture` is the library's, of which nothing is decoded yet."""

    picture: Any = None

    @classmethod
    def probe_heif(cls, given: ProbeInput) -> OpenedImage:
        """Have the library read what is in the file. Raises ImageError."""
        outline = HeifOutline.walk(given.data)
        check_dimensions(outline.width, outline.height, given.limits.max_pixels)
        check_read_as_a_whole(len(given.data))
        given.limits.reserve(_COPIES * len(given.data))
        found = _read(given.data)
        if not len(found):
            raise ImageError("a HEIF without a picture of a kind that is read here; convert the file first")
        picture = found[found.primary_index]
        width, height = picture.size
        check_dimensions(width, height, given.limits.max_pixels)
        bits, mode = picture.info["bit_depth"], picture.mode.partition(";")[0]
        samples = _SAMPLES.get(mode)
        if samples is None:
            raise ImageError(f"a HEIF of {picture.mode} is not read here; convert the file first")
        opened = cls(
            version=given.version,
            width=width,
            height=height,
            colour=False,
            exif=_upright_exif(picture),
            besides=metadata.of_packet(picture.info.get("xmp")),
            note=joined(_note(len(found), outline), depth_note(bits)),
            scratch_bytes=(_DEEP_SCRATCH if bits > 8 else _SCRATCH) * outline.width * outline.height
            + _COPIES * len(given.data),
            data=given.data,
            file=excerpt(given.data, [whole(given.data)]),
            mode=mode,
            samples=samples,
            background=given.background,
            picture=picture,
        )
        opened.take_samples(samples)
        return opened

    def _pixels(self) -> np.ndarray:
        pixels = np.asarray(self.picture)
        return pixels if pixels.dtype == np.uint8 else _upper_bytes(pixels)

    def _failure(self, error: Exception) -> str:
        return _reason(error)


def _upper_bytes(pixels: np.ndarray) -> np.ndarray:
    """Of samples of 16 bits, to which the library scales by appending zeros."""
    upper = np.ascontiguousarray(pixels).astype("<u2", copy=False).view(np.uint8)[..., 1::2]
    return upper.reshape(pixels.shape)


def _read(data: Contents) -> Any:
    """What pillow-heif makes of a file, with nothing decoded. Raises ImageError."""
    library = _library()
    try:
        return library.open_heif(data[:], convert_hdr_to_8bit=False)
    except MemoryError:
        raise
    except Exception as error:
        raise ImageError(_reason(error)) from None


def _library() -> Any:
    """pillow-heif, told to start no threads and to leave thumbnails and depths alone. Raises ImageError without it."""
    try:
        import pillow_heif

        pillow_heif.libheif_version()
    except Exception:  # whatever stops it, it can't be used
        raise ImageError(_MISSING) from None
    pillow_heif.options.DECODE_THREADS = 1  # there is a worker for each core
    pillow_heif.options.THUMBNAILS = pillow_heif.options.DEPTH_IMAGES = pillow_heif.options.AUX_IMAGES = False
    return pillow_heif


def _reason(error: Exception) -> str:
    reason = library_reason(error)
    if any(words in reason for words in _NOT_THERE):
        return f"not read here: {reason}; convert the file first"
    return f"damaged: {reason}"


def _upright_exif(picture: Any) -> bytes:
    info = {"exif": picture.info.get("exif") or b""}
    with contextlib.suppress(Exception):  # a block that makes no sense
        _library().set_orientation(info)
    return fitting(info["exif"])


def _note(pictures: int, outline: HeifOutline) -> str | None:
    if outline.sequence:
        return "the still picture of a file that holds a sequence too"
    return f"the primary one of {pictures} pictures in the file" if pictures > 1 else None
