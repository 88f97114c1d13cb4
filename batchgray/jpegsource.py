"""JPEG inputs: simplejpeg (libjpeg-turbo) decodes them straight into the slot.

It refuses files that every viewer opens (stray bytes before a marker, for one), so imageio has a second opinion before
a file is called bad. CMYK, which needs Adobe's inversion undone, goes through imageio as a whole.
"""

from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import simplejpeg

from batchgray.containers import Contents
from batchgray.errors import ImageError
from batchgray.jpegoutline import JpegOutline
from batchgray.messages import SourceIdentity
from batchgray.options import Method
from batchgray.planes import Image as Planes
from batchgray.sources import Source, brief, check_dimensions, let_go, library_reason

# Bytes a pixel that libjpeg holds besides the planes: all 16-bit coefficients of a progressive file; and the output.
_PROGRESSIVE_SCRATCH = {"Gray": 2, "420": 3, "422": 4, "440": 4, "411": 3}
_ENCODED_SCRATCH = 1


@dataclass
class JpegSource(Source):
    """`luma_parts` are the parts of the file that its Y' plane needs, where that is wanted and not all of it."""

    data: Contents
    outline: JpegOutline
    luma_parts: list[slice] | None

    @classmethod
    def probe(cls, data: Contents, identity: SourceIdentity, method: Method, max_pixels: int) -> Source:
        outline = JpegOutline.walk(data)
        check_dimensions(outline.width, outline.height, max_pixels)
        note = "the first of several pictures in the file" if outline.multi_picture else None
        fault, height, width, colorspace, subsampling = None, 0, 0, "", ""
        try:
            with memoryview(data) as whole, whole[: outline.end] as picture:
                height, width, colorspace, subsampling = simplejpeg.decode_jpeg_header(picture)
        except ValueError as error:
            fault = str(error)
        if fault or colorspace in ("CMYK", "YCCK"):
            from batchgray.pillowsource import PillowSource

            file = outline.without_metadata(data)
            source = PillowSource.probe("JPEG", file, data, identity, max_pixels)
            source.exif, source.note, source.fault = outline.exif, note, fault
            if method == "luma" and source.mode == "RGB":
                source.luma, source.colour = True, False
            return source
        if (width, height) != (outline.width, outline.height):
            raise ImageError("damaged: a JPEG with two frame headers")
        luma_parts = outline.luma_parts() if method == "luma" and colorspace == "YCbCr" else None
        per_pixel = _ENCODED_SCRATCH + (_PROGRESSIVE_SCRATCH.get(subsampling, 6) if outline.progressive else 0)
        return cls(
            identity=identity,
            width=width,
            height=height,
            colour=colorspace != "Gray" and method != "luma",
            exif=outline.exif,
            note=note,
            scratch_bytes=per_pixel * width * height + sum(part.stop - part.start for part in luma_parts or ()),
            data=data,
            outline=outline,
            luma_parts=luma_parts,
        )

    def decode(self, planes: Planes) -> str | None:
        if self.luma_parts and self._decode_luma(planes.gray, self.luma_parts):
            return None
        colorspace, plane = ("RGB", planes.rgb) if self.colour else ("GRAY", planes.gray)
        try:
            with memoryview(self.data) as whole, whole[: self.outline.end] as picture:
                simplejpeg.decode_jpeg(picture, colorspace, buffer=plane)
            return None
        except ValueError as error:
            reason = str(error)
        if reason.startswith("Premature end"):
            raise ImageError(f"truncated: {reason}")
        self._decode_again(plane, reason)
        return f"decoded, with a fault in the file: {brief(reason)}"

    def _decode_luma(self, plane: memoryview, parts: list[slice]) -> bool:
        """Decode Y' from its own scans. Returns whether they are sound; else the whole file tells what is wrong.

        Damage in the data of a scan that is left out goes unseen and unnoted: Y' does not depend on it. (libjpeg, which
        stops at some such damage, would smooth Y' as if its last scan had not come.) A file that is cut off in one has
        lost its end, and is never shortened.
        """
        with memoryview(self.data) as whole:
            shortened = b"".join([whole[part] for part in parts])
        try:
            simplejpeg.decode_jpeg(shortened, "GRAY", buffer=plane)
        except ValueError:
            return False
        return True

    def _decode_again(self, plane: memoryview, reason: str) -> None:
        """The second opinion, into the same plane. Its gray is libjpeg-turbo's gray too."""
        from batchgray.pillowsource import decode_whole, libjpeg_gray

        pixels = np.frombuffer(plane, np.uint8)
        file = self.outline.without_metadata(self.data)
        try:
            decoded = decode_whole(file, "RGB") if self.colour else libjpeg_gray(file)
        except Exception as error:
            raise ImageError(f"not a sound JPEG: {brief(reason)}; {library_reason(error)}") from None
        if decoded.size != pixels.size:
            raise ImageError(f"not a sound JPEG: {brief(reason)}")
        pixels[:] = decoded.reshape(-1)

    def file_to_draw(self) -> BinaryIO:
        return self.outline.without_metadata(self.data)

    def close(self) -> None:
        let_go(self.data)
