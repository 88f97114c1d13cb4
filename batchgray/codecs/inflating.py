"""Deflated pixels, inflated by ISA-L, which takes half of zlib's time: so many bytes at a time, and never more."""

from collections.abc import Iterable, Iterator

import numpy as np
from isal import isal_zlib

from batchgray.codecs.excerpt import Contents
from batchgray.kernels.unfilter import MARGIN

BAND_BYTES = 1 << 18  # which the caches hold, inflated and as rows
INPUT_BYTES = 1 << 16  # what is left of an input when there is enough output is copied
_DEFLATE, _OWN_DICTIONARY = 8, 0x20  # in a zlib stream's two bytes (RFC 1950)


class Unsound(Exception):
    """The pixels can't be had here: another reader may know why, or have them."""


class Inflated:
    """What a zlib stream unfolds to; `pieces` are its bytes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        """Raises Unsound for what begins no stream."""
        self._pieces = pieces
        self._stream = isal_zlib.decompressobj()
        self._input = next(pieces, b"")
        if len(self._input) < 2 or not _begins_stream(*self._input[:2]):
            raise Unsound("no zlib stream")

    def read(self, size: int) -> np.ndarray:
        """The next `size` bytes, and MARGIN zeros. Raises Unsound where there are fewer."""
        made, missing = [], size
        while missing:
            made.append(self._some(missing))
            missing -= len(made[-1])
        return np.frombuffer(b"".join([*made, bytes(MARGIN)]), np.uint8)

    def finish(self) -> None:
        """Raises Unsound where the stream does not end here, with the right checksum."""
        while not self._stream.eof:
            if self._some(1):
                raise Unsound("more than the pixels")

    def _some(self, most: int) -> bytes:
        if self._stream.eof:
            raise Unsound("fewer than the pixels")
        try:
            made: bytes = self._stream.decompress(self._input, most)
        except isal_zlib.error as error:  # type: ignore[misc]  # their stub has an instance
            raise Unsound(str(error)) from None
        self._input = self._stream.unconsumed_tail
        if not made and not self._input and not self._stream.eof:
            self._input = next(self._pieces, b"")
            if not self._input:
                raise Unsound("cut off")
        return made


def _begins_stream(method: int, flags: int) -> bool:
    known = method & 15 == _DEFLATE and method >> 4 <= 7
    return known and (method << 8 | flags) % 31 == 0 and not flags & _OWN_DICTIONARY


def in_pieces(data: Contents, bodies: Iterable[slice]) -> Iterator[bytes]:
    """The bytes of these parts of a file, some at a time."""
    for body in bodies:
        for at in range(body.start, body.stop, INPUT_BYTES):
            yield data[at : min(at + INPUT_BYTES, body.stop)]
