"""A JPEG's markers, from one to the next: the one place that knows how segments follow each other (T.81, annex B).

Like libjpeg, the walk passes over stray bytes before a marker, at most so many.
"""

import re
from collections.abc import Iterator

import msgspec

from batchgray.codecs.excerpt import Contents

TEM, SOF0, DHT, JPG, DAC, SOI, EOI, SOS, DRI, COM = 0x01, 0xC0, 0xC4, 0xC8, 0xCC, 0xD8, 0xD9, 0xDA, 0xDD, 0xFE
APP0, APP1, APP2 = 0xE0, 0xE1, 0xE2  # JFIF; EXIF and XMP; profiles and further pictures
APP13, APP14 = 0xED, 0xEE  # Photoshop, IPTC; Adobe
FRAMES = {*range(SOF0, 0xD0)} - {DHT, JPG, DAC}
PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
METADATA = {COM, *range(APP1, 0xF0)} - {APP14}  # comments and APPn; APP0 and APP14 tell the colour space

# B.1.1.2: any number of 0xFF, then a code; behind 0xFF, 0 is a stuffed byte and D0 to D7 restart a scan.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
ALONE = {TEM, SOI, EOI}
_MOST_STRAY_BYTES = 1 << 20


class Segment(msgspec.Struct, frozen=True, gc=False):
    """From its marker at `start` to `stop`; `body` is where its parameters begin, behind their length.

    A marker that stands alone has no body.
    """

    code: int
    start: int
    body: int
    stop: int

    @property
    def part(self) -> slice:
        return slice(self.start, self.stop)


class Walk:
    """The segments behind SOI: as far as EOI, or before the first that is cut off.

    Nothing is looked for behind `end`, which may be brought nearer on the way: a scan's data may be as long as that.
    """

    def __init__(self, data: Contents) -> None:
        self._data = data
        self.end = len(data)

    def __iter__(self) -> Iterator[Segment]:
        data, scans = self._data, False
        at, limit = 2, 2 + _MOST_STRAY_BYTES
        while found := _MARKER.search(data, at, min(limit, self.end)):
            start, at = found.span()
            code = data[at - 1]
            if code in ALONE:
                yield Segment(code, start, at, at)
                if code == EOI:
                    return
                limit = at + _MOST_STRAY_BYTES
                continue
            body = at + 2
            at += int.from_bytes(data[at:body], "big")
            if not body <= at <= len(data):
                return
            yield Segment(code, start, body, at)
            scans |= code == SOS
            limit = self.end if scans else at + _MOST_STRAY_BYTES


def made(code: int, body: bytes) -> bytes:
    """A segment of these parameters."""
    return bytes((0xFF, code)) + (2 + len(body)).to_bytes(2, "big") + body
