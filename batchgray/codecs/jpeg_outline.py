"""A JPEG's markers: where its segments lie, and what its frame header says, before any library reads it.

Like `containers`, with a bound on every step; the rules are those of ITU-T T.81, annex B.
"""

import re
import struct
from dataclasses import dataclass, field
from typing import BinaryIO

from batchgray.codecs.containers import EXIF_HEADER, Contents, check_plausible, excerpt
from batchgray.errors import ImageError

_MOST_SCANS = 500  # libjpeg-turbo's own limit, in its fuzz targets and in `djpeg -maxscans`
_MOST_STRAY_BYTES = 1 << 20  # before a marker
_SLACK_BYTES = 16 << 20
_SCAN_HEADER_BYTES = 4096
_MOST_HEADER_BYTES = 16 << 20  # before the first scan, without metadata
_SAMPLE_BYTES = 16  # no coding needs as much for a sample, whatever its scans and restart markers
_COEFFICIENTS = 64  # of a block


@dataclass(slots=True)
class Scan:
    """Where a scan lies, from its marker to the next one, and its header (T.81, B.2.3).

    `stop` is 0 where no marker was looked for, `components` has their identifiers. The scan brings the coefficients
    `first` to `last`, but for their `low` lowest bits.
    """

    start: int
    stop: int
    components: bytes
    first: int
    last: int
    low: int


@dataclass
class JpegOutline:
    """The frame header, and what the segments say that libjpeg's header does not.

    `end` is behind the last byte that can belong to the picture (handed more, libjpeg would look for a marker to its
    end), `kept` where the segments lie that decoding needs.
    `eoi` is behind the marker that ends the picture, or 0: for the only scan of a picture it is not looked for.
    """

    end: int
    eoi: int = 0
    width: int = 0
    height: int = 0
    components: int = 0
    identifiers: bytes = b""  # of the components
    samples: float = 0.0  # of all components together, a pixel
    progressive: bool = False
    exif: bytes = b""
    multi_picture: bool = False
    scans: list[Scan] = field(default_factory=list)
    kept: list[slice] = field(default_factory=list)

    # T.81, B.1.1.2: any number of 0xFF, then a code; behind 0xFF, 0 is a stuffed byte and D0 to D7 restart a scan.
    _MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
    _FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
    _METADATA = {0xFE, *range(0xE1, 0xF0)} - {0xEE}  # comments and APPn; APP0 and APP14 tell the colour space

    @classmethod
    def walk(cls, data: Contents) -> "JpegOutline":
        """Walk as far as the picture needs: to its only scan, or through all of them. Raises ImageError.

        Like libjpeg, it passes over stray bytes between segments.
        """
        outline = cls(end=len(data))
        at, limit = 2, 2 + _MOST_STRAY_BYTES
        while found := cls._MARKER.search(data, at, min(limit, outline.end)):
            start = found.end()
            code = data[start - 1]
            at, limit = start, start + _MOST_STRAY_BYTES
            if outline.scans and not outline.scans[-1].stop:
                outline.scans[-1].stop = found.start()
            if code == 0xD9:
                outline.eoi = start
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
            if not self.scans:
                if self.kept_bytes > _MOST_HEADER_BYTES:
                    raise ImageError(f"damaged: a JPEG with {self.kept_bytes:,} bytes of headers")
                self.kept.append(slice(start - 4, self.end))
            if len(self.scans) == _MOST_SCANS:
                raise ImageError(f"more than {_MOST_SCANS} scans, each a pass over the whole picture")
            header = data[start:stop]
            self._take_scan(header, start - 4)
            return not self.progressive and header[:1] >= bytes([self.components])
        if self.scans:
            return False
        if code not in self._METADATA:
            self.kept.append(slice(start - 4, stop))
        if code in self._FRAMES:
            self._take_frame(code, data[start:stop], stop, len(data))
        elif code == 0xE1 and not self.exif and data[start : start + 6] == EXIF_HEADER:
            self.exif = data[start + 6 : stop]
        elif code == 0xE2 and data[start : start + 4] == b"MPF\0":
            self.multi_picture = True
        return False

    def _take_frame(self, code: int, header: bytes, stop: int, file_bytes: int) -> None:
        if len(header) < 6:
            return
        precision, self.height, self.width, self.components = struct.unpack_from(">BHHB", header)
        if precision != 8:
            raise ImageError(f"a JPEG of {precision}-bit samples; convert the file to 8 bits first")
        self.identifiers = header[6::3]
        factors = [(factor >> 4, factor & 15) for factor in header[7::3]]
        largest = max((across for across, _ in factors), default=1) * max((down for _, down in factors), default=1)
        self.samples = sum(across * down for across, down in factors) / max(1, largest)
        self.progressive = code in (0xC2, 0xC6, 0xCA, 0xCE)
        pixels = self.width * self.height
        if code < 0xC8:  # Huffman coding takes a bit for each block of 64 at least; arithmetic coding has no such bound
            check_plausible(self.width, self.height, pixels // 64 // 8, file_bytes)
        self.end = min(file_bytes, stop + _SAMPLE_BYTES * pixels * self.components + _SLACK_BYTES)

    def _take_scan(self, header: bytes, start: int) -> None:
        count = header[0] if header else 0
        components, rest = header[1 : 1 + 2 * count : 2], header[1 + 2 * count :]
        if len(rest) != 3:  # no scan's header: nothing is known of what it brings
            components, rest = b"", bytes(3)
        self.scans.append(Scan(start, 0, components, rest[0], rest[1], rest[2] & 15))

    def luma_parts(self) -> list[slice] | None:
        """Where all lies that the Y' plane of a YCbCr picture needs: the file without the scans of nothing but chroma.

        None where that would be the whole file, or where libjpeg might then decode another Y': a picture that lacks
        coefficients of Y' is smoothed if those of the other components are there.
        """
        luma, chroma = self.identifiers[:1], set(self.identifiers[1:])
        if not self.eoi or len(self.identifiers) != 3 or len(chroma - set(luma)) != 2:
            return None
        parts, at, missing_bits = [], 0, bytearray([0xFF]) * _COEFFICIENTS
        for scan in self.scans:
            if scan.components and chroma.issuperset(scan.components):
                parts.append(slice(at, scan.start))
                at = scan.stop
            elif luma in scan.components and scan.first <= scan.last < _COEFFICIENTS:
                missing_bits[scan.first : scan.last + 1] = bytes([scan.low]) * (scan.last + 1 - scan.first)
        return None if any(missing_bits) or not parts else [*parts, slice(at, self.eoi)]

    @property
    def kept_bytes(self) -> int:
        return sum(part.stop - part.start for part in self.kept)

    def headers(self, data: Contents) -> bytes:
        """What comes before the first scan's data, without metadata."""
        *segments, scans = self.kept
        first = slice(scans.start, min(scans.stop, scans.start + _SCAN_HEADER_BYTES))
        return b"".join(data[part] for part in (slice(0, 2), *segments, first))

    def without_metadata(self, data: Contents) -> BinaryIO:
        """The file with nothing but what its picture needs: no EXIF, no profile, no other pictures."""
        return excerpt(data, [slice(0, 2), *self.kept])
