"""A HEIF's boxes: the sides of its primary picture, before its library reads it (ISO/IEC 23008-12 and 14496-12).

The library checks that a picture has the sides that the file gives only when it was decoded, so the decoder's own head
is looked at as well.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from batchgray.codecs import hevc
from batchgray.codecs.boxes import boxes, whole
from batchgray.codecs.excerpt import Contents
from batchgray.errors import ImageError

_MOST_HEAD_BYTES = 4 << 20  # of the box that says what is where; a phone's has some 5 kB
_HARMLESS_PIXELS = 64_000_000


@dataclass(frozen=True)
class HeifOutline:
    """Sides before the picture is turned or cut; `sequence` says that pictures follow which move."""

    width: int
    height: int
    sequence: bool

    @classmethod
    def walk(cls, data: Contents) -> "HeifOutline":
        """Read the boxes. Raises ImageError."""
        parts = dict(reversed(list(boxes(data, whole(data)))))  # of several, the first
        head = parts.get(b"meta")
        if head is None:
            if b"moov" in parts:
                raise ImageError("a HEIF sequence without a still picture is not read here; export its frames first")
            raise ImageError("damaged: a HEIF without its head")
        if head.stop - head.start > _MOST_HEAD_BYTES:
            raise ImageError(f"damaged: a HEIF with a head of {head.stop - head.start:,} bytes")
        try:
            width, height = _sides(data, head)
        except struct.error:
            raise ImageError("damaged: a HEIF whose head ends too early") from None
        return cls(width, height, b"moov" in parts)


def _sides(data: Contents, head: slice) -> tuple[int, int]:
    """Raises ImageError, struct.error."""
    parts = dict(boxes(data, _behind_version(head)))
    properties = dict(boxes(data, parts.get(b"iprp", slice(0, 0))))
    listed = [(kind, data[body]) for kind, body in boxes(data, properties.get(b"ipco", slice(0, 0)))]
    if b"pitm" not in parts or b"ipma" not in properties:
        raise ImageError("damaged: a HEIF without a primary picture")
    primary = _primary(data[parts[b"pitm"]])
    numbers = _properties_of(primary, data[properties[b"ipma"]])
    own = [listed[number - 1] for number in numbers if 0 < number <= len(listed)]
    for kind, body in own:
        if kind == b"ispe":
            width, height = struct.unpack_from(">II", body, 4)
            _check_decoder(width, height, own)
            _check_others(width, height, listed)
            return width, height
    raise ImageError("damaged: a HEIF that does not give the sides of its primary picture")


def _check_decoder(width: int, height: int, own: list[tuple[bytes, bytes]]) -> None:
    """Raise ImageError where the primary picture's decoder will not give so many pixels."""
    for kind, body in own:
        for across, down in hevc.sides(body) if kind == b"hvcC" else ():
            if across < width or down < height:
                raise ImageError(
                    f"damaged: its head promises {width} x {height} pixels, and its picture has {across} x {down}"
                )


def _behind_version(box: slice) -> slice:
    return slice(min(box.start + 4, box.stop), box.stop)


def _primary(box: bytes) -> int:
    (number,) = struct.unpack_from(">I" if box[:1] != b"\0" else ">H", box, 4)
    return int(number)


def _properties_of(item: int, box: bytes) -> Iterator[int]:
    """The numbers, from 1, of an item's properties."""
    (head, count), at = struct.unpack_from(">II", box), 8
    wide, long = head & 1, head >> 24 > 0
    for _ in range(count):
        found, numbers = struct.unpack_from(">IB" if long else ">HB", box, at)
        at += 5 if long else 3
        if found == item:
            associated = struct.unpack_from(f">{numbers}{'H' if wide else 'B'}", box, at)
            yield from (number & (0x7FFF if wide else 0x7F) for number in associated)
            return
        at += numbers * (2 if wide else 1)


def _check_others(width: int, height: int, listed: list[tuple[bytes, bytes]]) -> None:
    """Raise ImageError where a tile, or what a decoder is to be told, is far larger than the picture."""
    for kind, body in listed:
        sides = (0, 0)
        if kind == b"ispe":
            sides = struct.unpack_from(">II", body, 4)
        elif kind == b"hvcC":
            sides = max(hevc.sides(body), key=lambda each: each[0] * each[1], default=sides)
        if sides[0] * sides[1] > max(_HARMLESS_PIXELS, 2 * width * height):
            raise ImageError(f"damaged: a part of {sides[0]} x {sides[1]} in an image of {width} x {height}")
