"""A JPEG's segments: which its picture needs, and what they say of it, before any library reads it.

A bound on every step (see `limits`); the rules are those of ITU-T T.81, annex B.
"""

import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import BinaryIO

from batchgray.codecs import iptc, metadata
from batchgray.codecs.excerpt import Contents, excerpt
from batchgray.codecs.exif import EXIF_HEADER
from batchgray.codecs.jpeg_markers import (
    ALONE,
    APP1,
    APP2,
    APP13,
    EOI,
    FRAMES,
    JPG,
    METADATA,
    PROGRESSIVE,
    SOS,
    Segment,
    Walk,
)
from batchgray.codecs.limits import check_plausible
from batchgray.codecs.metadata import Besides
from batchgray.errors import ImageError

_TABLES = {*range(256)} - {SOS, EOI, *ALONE, *METADATA, *FRAMES}  # most segments: only needed, and not looked into
_MOST_SCANS = 500  # libjpeg-turbo's own limit, in its fuzz targets and in `djpeg -maxscans`
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
    besides: Besides = field(default_factory=Besides)
    multi_picture: bool = False
    scans: list[Scan] = field(default_factory=list)
    kept: list[slice] = field(default_factory=list)
    kept_bytes: int = 0

    @classmethod
    def walk(cls, data: Contents) -> "JpegOutline":
        """Walk as far as the picture needs: to its only scan, or through all of them. Raises ImageError."""
        walk = Walk(data)
        outline = cls(end=walk.end)
        scans = outline.scans
        for segment in walk:
            if scans and not scans[-1].stop:
                scans[-1].stop = segment.start
            if outline._take(segment, data):
                break
            walk.end = outline.end
        if not outline.scans or not outline.width * outline.height:
            raise ImageError("damaged: a JPEG that ends, or loses its thread, before its picture begins")
        return outline

    def _take(self, segment: Segment, data: Contents) -> bool:
        """Note one segment. Returns whether no other is needed."""
        code = segment.code
        if code in _TABLES and not self.scans:
            self._keep(segment.start, segment.stop)
            return False
        if code == SOS:
            return self._take_scan(segment, data)
        if code == EOI:
            self.eoi = segment.stop
        if code in ALONE or self.scans:
            return False
        if code not in METADATA:
            self._keep(segment.start, segment.stop)
        if code in FRAMES:
            self._take_frame(segment, data)
        elif code in (APP1, APP13):
            self._take_metadata(data[segment.body : segment.stop])
        elif code == APP2 and data[segment.body : segment.body + 4] == b"MPF\0":
            self.multi_picture = True
        return False

    def _take_metadata(self, body: bytes) -> None:
        if body.startswith(EXIF_HEADER):
            self.exif = self.exif or body.removeprefix(EXIF_HEADER)
        elif body.startswith(metadata.JPEG_XMP):
            self.besides.take(metadata.XMP, body, slice(len(metadata.JPEG_XMP), len(body)))
        elif body.startswith(metadata.JPEG_EXTENDED_XMP):
            self.besides.dropped.add(metadata.EXTENDED_XMP)
        elif body.startswith(iptc.PHOTOSHOP):
            self.besides.take_resources(body.removeprefix(iptc.PHOTOSHOP))

    def _take_frame(self, segment: Segment, data: Contents) -> None:
        header, file_bytes = data[segment.body : segment.stop], len(data)
        if len(header) < 6:
            return
        precision, self.height, self.width, self.components = struct.unpack_from(">BHHB", header)
        if precision != 8:
            raise ImageError(f"a JPEG of {precision}-bit samples; convert the file to 8 bits first")
        self.identifiers = header[6::3]
        factors = [(factor >> 4, factor & 15) for factor in header[7::3]]
        largest = max((across for across, _ in factors), default=1) * max((down for _, down in factors), default=1)
        self.samples = sum(across * down for across, down in factors) / max(1, largest)
        self.progressive = segment.code in PROGRESSIVE
        pixels = self.width * self.height
        if segment.code < JPG:  # arithmetic coding, behind it, has no such bound as Huffman's bit for a block
            check_plausible(self.width, self.height, pixels // 64 // 8, file_bytes)
        self.end = min(file_bytes, segment.stop + _SAMPLE_BYTES * pixels * self.components + _SLACK_BYTES)

    def _take_scan(self, segment: Segment, data: Contents) -> bool:
        """Note a scan. Returns whether it is the only one."""
        if not self.scans:
            if self.kept_bytes > _MOST_HEADER_BYTES:
                raise ImageError(f"damaged: a JPEG with {self.kept_bytes:,} bytes of headers")
            self._keep(segment.start, self.end)
        if len(self.scans) == _MOST_SCANS:
            raise ImageError(f"more than {_MOST_SCANS} scans, each a pass over the whole picture")
        header = data[segment.body : segment.stop]
        count = header[0] if header else 0
        components, rest = header[1 : 1 + 2 * count : 2], header[1 + 2 * count :]
        if len(rest) != 3:  # no scan's header: nothing is known of what it brings
            components, rest = b"", bytes(3)
        self.scans.append(Scan(segment.start, 0, components, rest[0], rest[1], rest[2] & 15))
        return not self.progressive and header[:1] >= bytes([self.components])

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

    def _keep(self, start: int, stop: int) -> None:
        self.kept.append(slice(start, stop))
        self.kept_bytes += stop - start

    def parts(self, data: Contents, left_out: Collection[int] = ()) -> list[slice | bytes]:
        """The file with nothing but what its picture needs, for an Excerpt; without segments of the codes `left_out`.

        So there is no EXIF, no profile, no other picture.
        """
        return [slice(0, 2), *(part for part in self.kept if data[part.start + 1] not in left_out)]

    def headers(self, data: Contents) -> bytes:
        """What comes before the first scan's data, without metadata."""
        *segments, scans = self.kept
        first = slice(scans.start, min(scans.stop, scans.start + _SCAN_HEADER_BYTES))
        return b"".join(data[part] for part in (slice(0, 2), *segments, first))

    def without_metadata(self, data: Contents) -> BinaryIO:
        """The file with nothing but what its picture needs, as a file."""
        return excerpt(data, self.parts(data))
