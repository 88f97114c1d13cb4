"""A JPEG's markers: where its segments lie, and what its frame header says, before any library reads it.

Like `containers`, with a bound on every step; the rules are those of ITU-T T.81, annex B.
"""

import io
import re
import struct
from dataclasses import dataclass, field
from typing import BinaryIO

from batchgray.containers import EXIF_HEADER, Contents, Excerpt, check_plausible
from batchgray.errors import ImageError

_MOST_SCANS = 500  # libjpeg-turbo's own limit, in its fuzz targets and in `djpeg -maxscans`
_MOST_STRAY_BYTES = 1 << 20  # before a marker
_SLACK_BYTES = 16 << 20
_SAMPLE_BYTES = 16  # no coding needs as much for a sample, whatever its scans and restart markers


@dataclass
class JpegOutline:
    """The frame header, and what the segments say that libjpeg's header does not.

    `end` is behind the last byte that can belong to the picture, `kept` where the segments lie that decoding needs.
    """

    end: int
    width: int = 0
    height: int = 0
    components: int = 0
    progressive: bool = False
    exif: bytes = b""
    multi_picture: bool = False
    scans: int = 0
    kept: list[slice] = field(default_factory=list)

    # T.81, B.1.1.2: any number of 0xFF, then a code; behind 0xFF, 0 is a stuffed byte and D0 to D7 restart a scan.
    _MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
    _METADATA = {0xFE, *range(0xE1, 0xF0)} - {0xEE}  # comments and APPn; APP0 and APP14 tell the colour space

    @classmethod
    def walk(cls, data: Contents) -> "JpegOutline":
        """Walk as far as the picture needs: to its only scan, or through all of them. Raises ImageError.

        Like libjpeg, it passes over stray bytes between segments.
        """
        outline = cls(end=len(data))
        at, limit = 2, 2 + _MOST_STRAY_BYTES
        while found := cls._MARKER.search(data, at, min(limit, outline.end)):
            code, start = found[1][0], found.end()
            at, limit = start, start + _MOST_STRAY_BYTES
            if code == 0xD9:
                break
            if code in (0x01, 0xD8):
                continue
            at = start + int.from_bytes(data[start : start + 2], "big")
            if at < start + 2 or at > len(data):
                break
            limit = at + _MOST_STRAY_BYTES
            if outline._take(code, data, start + 2, at):
                break
            if outline.scans:
                limit = outline.end
        if not outline.scans or not outline.width * outline.height:
            raise ImageError("damaged: a JPEG that ends, or loses its thread, before its picture begins")
        return outline

    def _take(self, code: int, data: Contents, start: int, stop: int) -> bool:
        """Note one segment. Returns whether no other is needed."""
        if code == 0xDA:
            self.scans += 1
            if self.scans > _MOST_SCANS:
                raise ImageError(f"more than {_MOST_SCANS} scans, each a pass over the whole picture")
            if self.scans == 1:
                self.kept.append(slice(start - 4, self.end))
            return not self.progressive and data[start:stop][:1] >= bytes([self.components])
        if self.scans:
            return False
        if code not in self._METADATA:
            self.kept.append(slice(start - 4, stop))
        head = data[start : min(stop, start + 6)]
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC) and len(head) == 6:
            self._take_frame(code, head, stop, len(data))
        elif code == 0xE1 and head == EXIF_HEADER and not self.exif:
            self.exif = data[start + 6 : stop]
        elif code == 0xE2 and head.startswith(b"MPF\0"):
            self.multi_picture = True
        return False

    def _take_frame(self, code: int, head: bytes, stop: int, file_bytes: int) -> None:
        precision, self.height, self.width, self.components = struct.unpack(">BHHB", head)
        if precision != 8:
            raise ImageError(f"a JPEG of {precision}-bit samples; convert the file to 8 bits first")
        self.progressive = code in (0xC2, 0xC6, 0xCA, 0xCE)
        pixels = self.width * self.height
        if code < 0xC8:  # Huffman coding takes a bit for each block of 64 at least; arithmetic coding has no such bound
            check_plausible(self.width, self.height, pixels // 64 // 8, file_bytes)
        self.end = min(file_bytes, stop + _SAMPLE_BYTES * pixels * self.components + _SLACK_BYTES)

    def without_metadata(self, data: Contents) -> BinaryIO:
        """The file with nothing but what its picture needs: no EXIF, no profile, no other pictures."""
        return io.BufferedReader(Excerpt(data, [slice(0, 2), *self.kept]))
