"""Boxes, of which JPEG 2000 and HEIF files are made: a length, a kind of four letters, and what is in it."""

import struct
from collections.abc import Iterator

from batchgray.codecs.excerpt import Contents
from batchgray.errors import ImageError

_MOST_BOXES = 100_000


def boxes(data: Contents, within: slice) -> Iterator[tuple[bytes, slice]]:
    """Kind and body of each box in a part of a file; the last one may be cut off. Raises ImageError.

    What is no box ends them, as it does for viewers: some programs write zeros behind the last one.
    """
    at = within.start
    for _ in range(_MOST_BOXES):
        if at + 8 > within.stop:
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1 and at + 16 <= within.stop:
            (length,), head = struct.unpack_from(">Q", data, at + 8), 16
        elif length == 0:
            length = within.stop - at
        if length < head:
            return
        yield kind, slice(at + head, min(at + length, within.stop))
        at += length
    raise ImageError(f"damaged: more than {_MOST_BOXES:,} boxes")


def whole(data: Contents) -> slice:
    """All of a file, as a part of it."""
    return slice(0, len(data))


def made(kind: bytes, body: bytes) -> bytes:
    """A box."""
    return struct.pack(">I4s", 8 + len(body), kind) + body
