"""A gray JPEG encoded a band at a time, to the very bytes of encoding the whole: memory for a band is enough.

Each band is a JPEG of its own, of the same quality and so with the same tables; its entropy-coded data is spliced onto
that of the bands before. Two things know of what came before (ITU-T T.81, F.1.2.1 and B.1.1.5): the first block's DC
value is coded as the difference to the last block's, which an encoder that starts afresh takes for 0, and the bits
don't end at a byte. So that one symbol is coded anew and all bits move up; to find where the bits of a band end, its
symbols are walked through.

Importing this module loads the machine code of that walk, or has it compiled from `splice_code`.
"""

import ctypes

import numpy as np

from batchgray.codecs import encoding
from batchgray.codecs import jpeg_markers as markers
from batchgray.errors import ImageError
from batchgray.kernels import machine_code
from batchgray.planes.slots import Metadata

_EOI = b"\xff\xd9"
_NO_SYMBOL = 0


class Encoder:
    """Bands in, bytes out: all that `encode` and then `finish` return, one after another, is the file.

    A band is `rows` rows, a multiple of 8; only the last may be lower.
    """

    def __init__(self, width: int, height: int, quality: int, metadata: Metadata) -> None:
        encoding.check_jpeg_sides(width, height)
        self._width, self._height, self._quality, self._metadata = width, height, quality, metadata
        self._tables: _Tables | None = None
        self._gray: bytes | None = None
        self._data = b""
        self._state = np.zeros(3, np.int64)  # the bits that fill no byte yet, how many, the last DC value

    def encode(self, gray: bytes) -> bytes:
        """The bytes that a band adds. Raises ImageError."""
        rows = len(gray) // self._width
        if gray is not self._gray:  # what is black is the same object over and over
            (self._data,) = encoding.encode_jpeg(memoryview(gray), self._width, rows, self._quality)
            self._gray = gray
        data = self._data
        head = b""
        if self._tables is None:
            self._tables = _Tables(data)
            head = b"".join(encoding.with_metadata(self._tables.head_of(self._height), self._metadata))
        tables = self._tables
        if not data.startswith(tables.head_of(rows)):
            raise ImageError("the JPEG encoder's tables differ from band to band; raise --memory")
        source = np.frombuffer(data, np.uint8)[tables.data_at : -len(_EOI)]
        target = np.empty(2 * source.size + 64, np.uint8)
        blocks = -(-rows // 8) * -(-self._width // 8)
        arrays = (array.ctypes.data for array in (target, self._state, tables.dc, tables.ac, tables.dc_codes))
        size = _splice(source.ctypes.data, source.size, *arrays, blocks)
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
        tables: dict[int, dict[int, tuple[int, int]]] = {}
        for segment in markers.Walk(data):
            if segment.code == markers.SOF0:
                self._height_at = segment.body + 1
            elif segment.code == markers.DHT:
                tables |= _huffman_codes(data[segment.body : segment.stop])
            elif segment.code == markers.SOS:
                self.data_at = segment.stop
                break
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
    tables: dict[int, dict[int, tuple[int, int]]] = {}
    at = 0
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


def _works(functions: machine_code.Functions) -> bool:
    """Four blocks of made-up codes: any bit, a DC value of 3 bits, an end of block of any 2 bits; after 001 and a 5.

    101001 111111 111101 011100, the first DC value -5. The difference to 5 is -10, coded as 011 0101, so 1 010 becomes
    that, and all the rest stays: 00101101 01011111 11111101 011100. The DC values add up to -5 + 7 + 7 + 7.
    """
    source, target = np.array([0xA7, 0xFF, 0, 0x5C], np.uint8), np.zeros(80, np.uint8)
    dc, ac, dc_codes = np.full(1 << 16, 1 << 8 | 3), np.full(1 << 16, 2 << 8), np.full((16, 2), 3)
    state = np.array([0b001, 3, 5])
    arrays = (array.ctypes.data for array in (target, state, dc, ac, dc_codes))
    size: int = functions["splice"](source.ctypes.data, source.size, *arrays, 4)
    return (target[:size].tolist(), state.tolist()) == ([0x2D, 0x5F, 0xFD], [0b011100, 6, 16])


_NUMBERS = [ctypes.c_void_p] * 5
_TYPE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, *_NUMBERS, ctypes.c_int64)
_splice = machine_code.load("splice_code", {"splice": _TYPE}, _works)["splice"]
