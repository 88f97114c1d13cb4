"""A gray JPEG encoded a band at a time, to the very bytes of encoding the whole: memory for a band is enough.

Each band is a JPEG of its own, of the same quality and so with the same tables; its entropy-coded data is spliced onto
that of the bands before. Two things know of what came before (ITU-T T.81, F.1.2.1 and B.1.1.5): the first block's DC
value is coded as the difference to the last block's, which an encoder that starts afresh takes for 0, and the bits
don't end at a byte. So that one symbol is coded anew and all bits move up; to find where the bits of a band end, its
symbols are walked through.

Importing this module compiles (or loads from numba's cache).
"""

from typing import Any

import numpy as np
from numba import int64, uint8, uint64

from batchgray import codec
from batchgray.errors import ImageError
from batchgray.kernels import compiled

_SOF0, _DHT, _SOS = 0xC0, 0xC4, 0xDA
_EOI = b"\xff\xd9"
_NO_SYMBOL = 0


class Encoder:
    """Bands in, bytes out: all that `encode` and then `finish` return, one after another, is the file.

    A band is `rows` rows, a multiple of 8; only the last may be lower.
    """

    def __init__(self, width: int, height: int, quality: int, exif: bytes) -> None:
        codec.check_jpeg_sides(width, height)
        self._width, self._height, self._quality, self._exif = width, height, quality, exif
        self._tables: _Tables | None = None
        self._gray: bytes | None = None
        self._data = b""
        self._state = np.zeros(3, np.int64)  # the bits that fill no byte yet, how many, the last DC value

    def encode(self, gray: bytes) -> bytes:
        """The bytes that a band adds. Raises ImageError."""
        rows = len(gray) // self._width
        if gray is not self._gray:  # what is black is the same object over and over
            (self._data,) = codec.encode_jpeg(memoryview(gray), self._width, rows, self._quality)
            self._gray = gray
        data = self._data
        head = b""
        if self._tables is None:
            self._tables = _Tables(data)
            head = b"".join(codec.with_exif(self._tables.head_of(self._height), self._exif))
        tables = self._tables
        if not data.startswith(tables.head_of(rows)):
            raise ImageError("the JPEG encoder's tables differ from band to band; raise --memory")
        source = np.frombuffer(bytearray(data[tables.data_at : -len(_EOI)]), np.uint8)  # numba wants it writable
        target = np.empty(2 * source.size + 64, np.uint8)
        blocks = -(-rows // 8) * -(-self._width // 8)
        size = splice(source, target, self._state, tables.dc, tables.ac, tables.dc_codes, blocks)
        if size < 0:
            raise ImageError("the JPEG encoder's data makes no sense; raise --memory")
        return head + target[:size].tobytes()

    def finish(self) -> bytes:
        """The last bits, filled up with ones, and the end."""
        bits, count = int(self._state[0]), int(self._state[1])
        if not count:
            return _EOI
        last = bits << (8 - count) | (1 << (8 - count)) - 1
        return (b"\xff\0" if last == 0xFF else bytes([last])) + _EOI


class _Tables:
    """What a band's own headers say. `dc` and `ac` give length << 8 | symbol for each 16 bits that may follow."""

    def __init__(self, data: bytes) -> None:
        at, tables = 2, {}
        while (code := data[at + 1]) != _SOS:
            length = int.from_bytes(data[at + 2 : at + 4], "big")
            if code == _SOF0:
                self._height_at = at + 5
            if code == _DHT:
                tables |= _huffman_codes(data[at + 4 : at + 2 + length])
            at += 2 + length
        self.data_at = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        self._head = data[: self.data_at]
        self.dc, self.ac = (_lookup(tables[kind]) for kind in (0x00, 0x10))
        self.dc_codes = np.zeros((16, 2), np.int64)  # code and length of each category
        for symbol, (code, length) in tables[0x00].items():
            self.dc_codes[symbol] = code, length

    def head_of(self, height: int) -> bytes:
        """All before the entropy-coded data, for an image of this height."""
        head, at = self._head, self._height_at
        return head[:at] + height.to_bytes(2, "big") + head[at + 2 :]


def _huffman_codes(segment: bytes) -> dict[int, dict[int, tuple[int, int]]]:
    """By table class and number, by symbol: code and its length (T.81, annex C)."""
    tables, at = {}, 0
    while at < len(segment):
        kind, counts = segment[at], segment[at + 1 : at + 17]
        symbols = iter(segment[at + 17 : at + 17 + sum(counts)])
        code, table = 0, tables.setdefault(kind, {})
        for length, count in enumerate(counts, 1):
            for _ in range(count):
                table[next(symbols)] = code, length
                code += 1
            code <<= 1
        at += 17 + sum(counts)
    return tables


def _lookup(codes: dict[int, tuple[int, int]]) -> np.ndarray:
    table = np.full(1 << 16, _NO_SYMBOL, np.int64)
    for symbol, (code, length) in codes.items():
        first = code << (16 - length)
        table[first : first + (1 << (16 - length))] = length << 8 | symbol
    return table


def _try(splicer: Any) -> bytes:
    """Four blocks of made-up codes: a DC value of 3 bits after 1, then an end of block of 2 bits."""
    source, target, state = np.array([0xA7, 0xFF, 0, 0x5C], np.uint8), np.zeros(80, np.uint8), np.array([1, 3, 5])
    dc, ac = np.full(1 << 16, 1 << 8 | 3), np.full(1 << 16, 2 << 8)
    size = splicer(source, target, state, dc, ac, np.full((16, 2), 3), 4)
    return target[:size].tobytes() + state.tobytes()


_SIGNATURE = "int64(uint8[::1], uint8[::1], int64[::1], int64[::1], int64[::1], int64[:, ::1], int64)"


@compiled(_SIGNATURE, _try)
def splice(source, target, state, dc, ac, dc_codes, blocks):
    """Append a band's entropy-coded `source` to what `state` stands for, into `target`; update `state`.

    `source` and `target` are with stuffed zeros (T.81, B.1.1.5). Returns how many bytes of `target` are filled, or -1
    where `source` does not hold `blocks` blocks.
    """
    bits, held, at = uint64(0), int64(0), int64(0)
    out, pending, filled = uint64(state[0]), int64(state[1]), int64(0)
    last_dc, own_dc = state[2], int64(0)
    for block in range(blocks):
        k = 0
        while k < 64:
            while held <= 48:
                byte = uint64(255)  # behind the end: as if filled up with ones
                if at < source.size:
                    byte = uint64(source[at])
                    at += 1 if byte != 255 else 2
                elif at > source.size + 8:
                    return int64(-1)
                else:
                    at += 1
                bits = (bits << uint64(8)) | byte
                held += 8
            ahead = int64((bits >> uint64(held - 16)) & uint64(0xFFFF))
            entry = dc[ahead] if k == 0 else ac[ahead]
            if entry == 0:
                return int64(-1)
            size = entry & 15
            length = (entry >> 8) + size
            piece = (bits >> uint64(held - length)) & ((uint64(1) << uint64(length)) - uint64(1))
            held -= length
            if k == 0:
                value = int64(piece & ((uint64(1) << uint64(size)) - uint64(1)))
                if size and value < (int64(1) << (size - 1)):
                    value -= (int64(1) << size) - 1  # T.81, F.2.2.1: EXTEND
                own_dc += value
                if block == 0:
                    difference = value - last_dc
                    magnitude, size = abs(difference), int64(0)
                    while magnitude:
                        magnitude >>= 1
                        size += 1
                    if difference < 0:
                        difference += (int64(1) << size) - 1
                    piece = uint64((dc_codes[size, 0] << size) | difference)
                    length = dc_codes[size, 1] + size
                k = 1
            elif (entry & 255) == 0:
                k = 64  # EOB
            else:
                k += ((entry >> 4) & 15) + 1
            out = (out << uint64(length)) | piece
            pending += length
            while pending >= 8:
                pending -= 8
                byte = (out >> uint64(pending)) & uint64(255)
                target[filled] = uint8(byte)
                filled += 1
                if byte == 255:
                    target[filled] = uint8(0)
                    filled += 1
            out &= (uint64(1) << uint64(pending)) - uint64(1)
    state[0], state[1], state[2] = int64(out), pending, own_dc
    return filled
