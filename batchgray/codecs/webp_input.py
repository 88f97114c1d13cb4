"""WebP inputs: libwebp decodes a picture straight into the slot; what is animated or unusual is Pillow's.

Pillow brings libwebp, and decodes every file as an animation: into a canvas of four bytes a pixel, which is copied
three times. libwebp's call for one picture gives the same pixels in a third of the time. It is found through Pillow's
own extension module, whichever libwebp that is linked to; where there is no such call, everything is Pillow's. So is
what libwebp refuses: one library alone tells the reason.
"""

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

import numpy as np

from batchgray.codecs import transparency
from batchgray.codecs.by_pillow import opened_by_pillow
from batchgray.codecs.excerpt import let_go
from batchgray.codecs.exif import fitting
from batchgray.codecs.limits import Limits, check_dimensions, reserve_nothing
from batchgray.codecs.opened import OpenedImage, ProbeInput, SecondOpinion
from batchgray.codecs.samples import Samples
from batchgray.codecs.webp_outline import WebpOutline
from batchgray.planes.slots import SlotImage as Planes

# Bytes: of the file twice; a pixel of a canvas and of a picture's own, as Pillow would have them if it is asked.
_COPIES = 2
_SCRATCH = 8

_OPAQUE, _SEEN_THROUGH = Samples("RGB", colour=True), Samples("RGBA", colour=True)


def probe(given: ProbeInput) -> OpenedImage:
    """Read the chunks, and have Pillow open what is not read here. Raises ImageError."""
    outline = WebpOutline.walk(given.data)
    check_dimensions(outline.width, outline.height, given.limits.max_pixels)
    if not outline.is_one_picture or _libwebp() is None:
        return opened_by_pillow("WEBP", given)
    samples = _SEEN_THROUGH if outline.has_alpha else _OPAQUE
    return OpenedWebp(
        version=given.version,
        width=outline.width,
        height=outline.height,
        colour=samples.fills_colours(given.background),
        exif=fitting(outline.exif),
        besides=outline.besides,
        note=None,
        scratch_bytes=_SCRATCH * outline.width * outline.height + _COPIES * outline.kept_bytes,
        given=given,
        outline=outline,
    )


@dataclass
class OpenedWebp(OpenedImage):
    """One picture, with or without alpha, which has the sides that its container says."""

    given: ProbeInput
    outline: WebpOutline

    def _decode(self, planes: Planes) -> str | None:
        target = np.frombuffer(planes.rgb, np.uint8).reshape(self.height, self.width, 3)
        if not self.outline.has_alpha:
            self._fill(target)
            return None
        values, alpha = self.read()
        ignored = transparency.put(values, alpha, self.given.background, target)
        return transparency.IGNORED if ignored else None

    def read(self) -> tuple[np.ndarray, np.ndarray | None]:
        """R, G and B of (H, W, 3), and alpha of (H, W), as uint8. Raises SecondOpinion."""
        pixels = np.empty((self.height, self.width, 4 if self.outline.has_alpha else 3), np.uint8)
        self._fill(pixels)
        return (_SEEN_THROUGH if self.outline.has_alpha else _OPAQUE).split(pixels)

    def _fill(self, pixels: np.ndarray) -> None:
        """Raises SecondOpinion."""
        if not _decoded(self.file_to_draw().read(), pixels):
            reserved = Limits(self.given.limits.max_pixels, reserve_nothing)  # already, for this image
            raise SecondOpinion(opened_by_pillow("WEBP", self.given._replace(limits=reserved)))

    def file_to_draw(self) -> BinaryIO:
        return self.outline.without_metadata(self.given.data)

    def close(self) -> None:
        let_go(self.given.data)


@cache
def _libwebp() -> ctypes.CDLL | None:
    """libwebp's functions; None where they can't be had."""
    try:
        from PIL import _webp

        library = ctypes.CDLL(_webp.__file__)
        library.WebPGetInfo.argtypes = [ctypes.c_char_p, ctypes.c_size_t, *[ctypes.POINTER(ctypes.c_int)] * 2]
        for decode in (library.WebPDecodeRGBInto, library.WebPDecodeRGBAInto):
            decode.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
            decode.restype = ctypes.c_void_p
    except (ImportError, OSError, AttributeError):
        return None
    return library


def _decoded(data: bytes, pixels: np.ndarray) -> bool:
    """Decode into `pixels`, uint8 of shape (H, W, 3) or (H, W, 4) and contiguous. Returns whether it is all there."""
    library = _libwebp()
    width, height = ctypes.c_int(), ctypes.c_int()
    if library is None or not library.WebPGetInfo(data, len(data), ctypes.byref(width), ctypes.byref(height)):
        return False
    if (height.value, width.value) != pixels.shape[:2]:
        return False
    decode = library.WebPDecodeRGBInto if pixels.shape[2] == 3 else library.WebPDecodeRGBAInto
    return bool(decode(data, len(data), pixels.ctypes.data, pixels.nbytes, pixels.strides[0]))
