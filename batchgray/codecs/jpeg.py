"""JPEG inputs: simplejpeg (libjpeg-turbo) decodes them, straight into the slot.

It refuses files that every viewer opens (stray bytes before a marker, for one), so imageio has a second opinion before
a file is called bad. CMYK, which needs Adobe's inversion undone, goes through imageio as a whole.
"""

from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import simplejpeg

from batchgray.codecs.excerpt import Contents, let_go
from batchgray.codecs.jpeg_outline import JpegOutline
from batchgray.codecs.limits import check_dimensions
from batchgray.codecs.opened import OpenedImage, ProbeInput, SecondOpinion
from batchgray.errors import ImageError
from batchgray.planes.slots import SlotImage as Planes

# Bytes a pixel that libjpeg holds besides the planes: all 16-bit coefficients of a progressive file; and the output.
_PROGRESSIVE_SCRATCH = {"Gray": 2, "420": 3, "422": 4, "440": 4, "411": 3}
_ENCODED_SCRATCH = 1
_MOST_METADATA = 1 << 20  # bytes that libjpeg may keep; a phone's photo has some 50 kB

_UNKNOWN_SAMPLING = "Could not determine subsampling"  # of a sound picture too, in simplejpeg's words


def _picture(data: Contents, outline: JpegOutline) -> memoryview:
    """The file as far as its picture goes; copied without its metadata where that is long: libjpeg keeps profiles.

    To be released before the file is unmapped.
    """
    if _is_copied(outline):
        return memoryview(outline.without_metadata(data).read())
    return memoryview(data)[: outline.end]


def _is_copied(outline: JpegOutline) -> bool:
    return outline.end - outline.kept_bytes > _MOST_METADATA


class _Header(NamedTuple):
    """What simplejpeg makes of the headers; `colorspace` and `subsampling` are "" where it has no name for them."""

    width: int = 0
    height: int = 0
    colorspace: str = ""
    subsampling: str = ""


def _header(data: Contents, outline: JpegOutline) -> _Header:
    """Raises ValueError."""
    try:
        if _is_copied(outline):
            height, width, colorspace, subsampling = simplejpeg.decode_jpeg_header(outline.headers(data))
        else:
            with _picture(data, outline) as picture:
                height, width, colorspace, subsampling = simplejpeg.decode_jpeg_header(picture)
    except KeyError:  # 4:4:1
        return _Header()
    except ValueError as error:
        if _UNKNOWN_SAMPLING in str(error):
            return _Header()
        raise
    return _Header(width, height, colorspace, subsampling)


def colorspace_of(data: Contents, outline: JpegOutline) -> str:
    """`Gray`, `YCbCr`, `RGB`, `CMYK` or `YCCK`; "" where that is not known. Raises ImageError."""
    try:
        return _header(data, outline).colorspace
    except ValueError:
        raise ImageError("a JPEG with a fault in its headers can't be converted in bands") from None


@dataclass
class OpenedJpeg(OpenedImage):
    """`luma_parts` are the parts of the file that its Y' plane needs, where that is wanted and not all of it."""

    given: ProbeInput
    outline: JpegOutline
    luma_parts: list[slice] | None

    @classmethod
    def probe(cls, given: ProbeInput) -> OpenedImage:
        """Have simplejpeg read the headers. Raises ImageError."""
        data, method = given.data, given.method
        outline = JpegOutline.walk(data)
        check_dimensions(outline.width, outline.height, given.limits.max_pixels)
        note = "the first of several pictures in the file" if outline.multi_picture else None
        fault, header = None, _Header()
        try:
            header = _header(data, outline)
        except ValueError as error:
            fault = str(error)
        if fault or not header.colorspace or header.colorspace in ("CMYK", "YCCK"):
            return cls._for_pillow(given, outline, note, fault)
        width, height, colorspace, subsampling = header
        if (width, height) != (outline.width, outline.height):
            raise ImageError("damaged: a JPEG with two frame headers")
        luma_parts = outline.luma_parts() if method == "luma" and colorspace == "YCbCr" else None
        per_pixel = _ENCODED_SCRATCH + (_PROGRESSIVE_SCRATCH.get(subsampling, 6) if outline.progressive else 0)
        copied = sum(part.stop - part.start for part in luma_parts or ())
        if _is_copied(outline):
            copied += outline.kept_bytes
        return cls(
            version=given.version,
            width=width,
            height=height,
            colour=colorspace != "Gray" and method != "luma",
            exif=outline.exif,
            besides=outline.besides,
            note=note,
            scratch_bytes=per_pixel * width * height + copied,
            given=given,
            outline=outline,
            luma_parts=luma_parts,
        )

    def _decode(self, planes: Planes) -> str | None:
        if self.luma_parts and self._decode_luma(planes.gray, self.luma_parts):
            return None
        colorspace, plane = ("RGB", planes.rgb) if self.colour else ("GRAY", planes.gray)
        try:
            with _picture(self.given.data, self.outline) as picture:
                simplejpeg.decode_jpeg(picture, colorspace, buffer=plane)
            return None
        except ValueError as error:
            reason = str(error)
        if reason.startswith("Premature end"):
            raise ImageError(f"truncated: {reason}")
        raise SecondOpinion(self._for_pillow(self.given, self.outline, self.note, reason))

    @classmethod
    def _for_pillow(cls, given: ProbeInput, outline: JpegOutline, note: str | None, fault: str | None) -> OpenedImage:
        """What simplejpeg can't decode, or refuses for a fault. Pillow's gray of Y' is libjpeg-turbo's too."""
        from batchgray.codecs.pillow import OpenedWithPillow

        opened = OpenedWithPillow.probe(given, "JPEG", outline.without_metadata(given.data))
        opened.exif, opened.besides, opened.note, opened.fault = outline.exif, outline.besides, note, fault
        if given.method == "luma" and outline.components == 3:
            opened.luma, opened.colour = True, False
        return opened

    def _decode_luma(self, plane: memoryview, parts: list[slice]) -> bool:
        """Decode Y' from its own scans. Returns whether they are sound; else the whole file tells what is wrong.

        Damage in the data of a scan that is left out goes unseen and unnoted: Y' does not depend on it. (libjpeg, which
        stops at some such damage, would smooth Y' as if its last scan had not come.) A file that is cut off in one has
        lost its end, and is never shortened.
        """
        with memoryview(self.given.data) as whole:
            shortened = b"".join([whole[part] for part in parts])
        try:
            simplejpeg.decode_jpeg(shortened, "GRAY", buffer=plane)
        except ValueError:
            return False
        return True

    def file_to_draw(self) -> BinaryIO:
        return self.outline.without_metadata(self.given.data)

    def close(self) -> None:
        let_go(self.given.data)
