"""Whether an output decodes to its last pixel, in little memory however large it is.

A JPEG is decoded to an eighth of its sides: all of its coded data is read, and 1/64 of the pixels are kept. One that is
longer than LONGEST_WHOLE is read by Pillow, piece by piece; a PNG is unfolded a piece at a time, and not kept.
"""

import zlib
from collections.abc import Iterator
from typing import BinaryIO

import simplejpeg

from batchgray.codecs.faults import library_reason
from batchgray.errors import ImageError

LONGEST_WHOLE = 16 << 20  # bytes

_PIECE = 1 << 20
_SHRINK = 8
_PNG = b"\x89PNG\r\n\x1a\n"
_GRAY_8 = b"\x08\x00\x00\x00\x00"  # depth, colour type, and no interlacing: what batchgray writes
_FILTERS = 4  # the highest number of a filter (PNG 3rd edition, 9.2)


def check_decodes(file: BinaryIO) -> None:
    """Decode an output from where the file stands, to its end. The file must seek. Raises ImageError, OSError."""
    begin = file.tell()
    head = file.read(len(_PNG))
    file.seek(begin)
    try:
        if head != _PNG:
            _check_jpeg(file)
        elif fault := _fault_of_png(file):
            raise ImageError(fault)
    except OSError as error:
        if error.errno is not None:  # Pillow's own have none
            raise
        raise ImageError(f"does not decode: {library_reason(error)}") from None
    except Exception as error:
        raise ImageError(f"does not decode: {library_reason(error)}") from None


def _check_jpeg(file: BinaryIO) -> None:
    data = file.read(LONGEST_WHOLE + 1)
    if len(data) <= LONGEST_WHOLE:
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, min_factor=_SHRINK)
        return
    from batchgray.codecs.pillow import open_as

    file.seek(-len(data), 1)
    with open_as("JPEG", file) as image:
        image.draft("L", (image.width // _SHRINK, image.height // _SHRINK))
        image.load()


def _fault_of_png(file: BinaryIO) -> str:
    """What is wrong with a PNG of 8 bits of gray; "" where nothing is."""
    file.seek(len(_PNG), 1)
    kind, pieces = _chunk(file)
    header = b"".join(pieces)
    if kind != b"IHDR" or header[8:] != _GRAY_8:
        return "is no PNG of 8 bits of gray"
    width, height = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    rows = _Rows(width + 1)
    inflate = zlib.decompressobj()
    while kind != b"IEND":
        kind, pieces = _chunk(file)
        for piece in pieces:
            left = piece if kind == b"IDAT" else b""
            while left:
                rows.take(inflate.decompress(left, _PIECE))
                left = inflate.unconsumed_tail
    if not inflate.eof:
        return "its pixels are cut off"
    return "" if rows.seen == height * (width + 1) else "it has another number of pixels than it says"


class _Rows:
    """Counts the bytes of rows, and looks at the filter that each begins with."""

    def __init__(self, length: int) -> None:
        self.seen = 0
        self._length = length

    def take(self, data: bytes) -> None:
        if any(each > _FILTERS for each in data[-self.seen % self._length :: self._length]):
            raise ImageError("a row has a filter that there is not")
        self.seen += len(data)


def _chunk(file: BinaryIO) -> tuple[bytes, Iterator[bytes]]:
    """A chunk's kind, and its data in pieces, which are to be taken. Raises ImageError where it is not whole."""
    head = file.read(8)
    if len(head) < 8:
        raise ImageError("it is cut off")
    return head[4:], _data_of(file, int.from_bytes(head[:4]), zlib.crc32(head[4:]))


def _data_of(file: BinaryIO, left: int, check: int) -> Iterator[bytes]:
    while left:
        piece = file.read(min(left, _PIECE))
        if not piece:
            raise ImageError("it is cut off")
        left, check = left - len(piece), zlib.crc32(piece, check)
        yield piece
    if file.read(4) != check.to_bytes(4):
        raise ImageError("a chunk's checksum is another")
