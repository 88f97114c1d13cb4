"""A gray JPEG encoded a band at a time, to the very bytes of encoding the whole: memory for a band is enough.

    gray --Coder.code, any band at any time, by several threads--> Band --Splicer.add, from top to bottom--> bytes

Each band is a JPEG of its own, of the same quality and so with the same tables; its entropy-coded data is spliced onto
that of the bands before. Two things know of what came before (ITU-T T.81, F.1.2.1 and B.1.1.5): the first block's DC
value is coded as the difference to the last block's, which an encoder that starts afresh takes for 0, and the bits
don't end at a byte. So that one symbol is coded anew, and all bits move up.

Walking through all symbols of a band, to find its last DC value and where its bits end, would take longer than encoding
it. So its last block is encoded once more by itself: that says both. Its AC codes are those that the band's data ends
with, whatever came before, and behind them are at most seven ones (F.1.2.3). Only one number of ones will do: if two
did, the codes would be nothing but ones, and no code is (annex C).

Importing this module loads the machine code that moves the bits, or has it compiled from `splice_code`.
"""

import ctypes
from typing import NamedTuple

import numpy as np

from batchgray.codecs import encoding
from batchgray.codecs import jpeg_markers as markers
from batchgray.errors import ImageError
from batchgray.kernels import machine_code
from batchgray.planes.slots import Metadata

_EOI = b"\xff\xd9"
_BLOCK = 8
_FIRST_BYTES = 16  # hold the longest DC code and its bits, whatever is stuffed
_LAST_BYTES = 512  # hold the longest block
_EOB, _COEFFICIENTS = 0x00, 64


class Band(NamedTuple):
    """A band coded by itself: its entropy-coded data, and what makes it another's continuation."""

    data: np.ndarray
    first_dc: int
    first_bits: int  # of the code of the first DC value
    last_dc: int
    padding: int  # ones behind the last code


class Coder:
    """Encodes bands of an image so wide. A band is `rows` rows, a multiple of 8; only the last may be lower."""

    def __init__(self, width: int, quality: int) -> None:
        self._width, self._quality = width, quality
        self.tables = _Tables(self._encode(np.zeros((_BLOCK, width), np.uint8)))

    def code(self, gray: bytes | bytearray | memoryview | np.ndarray) -> Band:
        """Encode a band of uint8, flat; several threads may do so at once. Raises ImageError."""
        plane = np.frombuffer(gray, np.uint8).reshape(-1, self._width)
        data, tables = self._encode(plane), self.tables
        if not data.startswith(tables.head_of(len(plane), self._width)):
            raise ImageError("the JPEG encoder's tables differ from band to band; raise --memory")
        coded = np.frombuffer(data, np.uint8)[tables.data_at : -len(_EOI)]
        first, first_bits = tables.dc_value(_Bits(coded[:_FIRST_BYTES].tobytes()))
        last, ac_codes = self._last_block(plane)
        return Band(coded, first, first_bits, last, _padding(coded, ac_codes))

    def _last_block(self, plane: np.ndarray) -> tuple[int, "_Bits"]:
        """The DC value of the block at the lower right, and its AC codes."""
        height, width = ((side - 1) // _BLOCK * _BLOCK for side in plane.shape)
        data = self._encode(np.ascontiguousarray(plane[height:, width:]))
        bits = _Bits(data[self.tables.data_at : -len(_EOI)])
        value, start = self.tables.dc_value(bits)
        return value, bits.part(start, self.tables.end_of_block(bits, start))

    def _encode(self, plane: np.ndarray) -> bytes:
        height, width = plane.shape
        (data,) = encoding.encode_jpeg(plane.reshape(-1).data, width, height, self._quality)
        return data


class Splicer:
    """Bands in, from top to bottom; bytes out: what `add` and then `finish` return, one after another, is the file."""

    def __init__(self, coder: Coder, width: int, height: int, metadata: Metadata) -> None:
        encoding.check_jpeg_sides(width, height)
        self._tables = coder.tables
        self._head = b"".join(encoding.with_metadata(self._tables.head_of(height, width), metadata))
        self._state = np.zeros(2, np.int64)  # the bits that fill no byte yet, and how many
        self._last_dc = 0

    def add(self, band: Band) -> bytes:
        """The bytes that a band adds. Raises ImageError."""
        bits, count = self._tables.dc_code(band.first_dc - self._last_dc)
        self._state[:] = int(self._state[0]) << count | bits, int(self._state[1]) + count
        target = np.empty(2 * band.data.size + 32, np.uint8)
        size = append(band.data.ctypes.data, band.data.size, (band.first_bits, band.padding), target, self._state)
        if size < 0:
            raise ImageError("the JPEG encoder's data makes no sense; raise --memory")
        self._last_dc = band.last_dc
        head, self._head = self._head, b""
        return head + target[:size].tobytes()

    def finish(self) -> bytes:
        """The last bits, filled up with ones, and the end."""
        return finished(self._state) + _EOI


def append(start: int, size: int, outer: tuple[int, int], target: np.ndarray, state: np.ndarray) -> int:
    """See `splice_code`, of `size` bytes from the address `start` on.

    `outer` are the bits at the beginning and the end that don't count.
    """
    return int(_splice(start, size, *outer, target.ctypes.data, state.ctypes.data))


def finished(state: np.ndarray) -> bytes:
    """The bits that fill no byte yet, filled up with ones (F.1.2.3)."""
    bits, count = int(state[0]), int(state[1])
    padding = -count % 8
    return _stuffed((bits << padding | (1 << padding) - 1).to_bytes((count + padding) // 8, "big"))


def _stuffed(data: bytes) -> bytes:
    return data.replace(b"\xff", b"\xff\0")


class _Bits:
    """Bytes with stuffed zeros as a number, and how many bits it has."""

    def __init__(self, data: bytes) -> None:
        plain = data.replace(b"\xff\0", b"\xff")
        self.number, self.count = int.from_bytes(plain, "big"), 8 * len(plain)

    def part(self, start: int, stop: int) -> "_Bits":
        part = _Bits(b"")
        part.number, part.count = self.at(start, stop - start), stop - start
        return part

    def at(self, start: int, count: int) -> int:
        """The `count` bits from `start` on; behind the end are ones."""
        beyond = max(0, start + count - self.count)
        number = self.number << beyond | (1 << beyond) - 1
        return number >> (self.count + beyond - start - count) & (1 << count) - 1


def _padding(coded: np.ndarray, codes: _Bits) -> int:
    """How many ones are behind the AC codes that the data ends with. Raises ImageError."""
    end = _Bits(_from_a_code(coded[-_LAST_BYTES:].tobytes()))
    for ones in range(8):
        if end.number & (1 << ones) - 1 != (1 << ones) - 1:
            break
        if end.number >> ones & (1 << codes.count) - 1 == codes.number:
            return ones
    raise ImageError("the JPEG encoder's data makes no sense; raise --memory")


def _from_a_code(data: bytes) -> bytes:
    """Data that was cut out, without the stuffed zero of a byte that is missing."""
    return data[1:] if data[:1] == b"\0" else data


class _Tables:
    """What a band's own headers say: where its data begins, and the Huffman codes."""

    def __init__(self, data: bytes) -> None:
        tables: dict[int, dict[int, tuple[int, int]]] = {}
        for segment in markers.Walk(data):
            if segment.code == markers.SOF0:
                self._sides_at = segment.body + 1
            elif segment.code == markers.DHT:
                tables |= huffman_codes(data[segment.body : segment.stop])
            elif segment.code == markers.SOS:
                self.data_at = segment.stop
                break
        self._head = data[: self.data_at]
        self._dc_codes = tables[0x00]
        self._dc, self._ac = (_symbols(tables[kind]) for kind in (0x00, 0x10))

    def head_of(self, height: int, width: int) -> bytes:
        """All before the entropy-coded data, for an image of these sides."""
        head, at = self._head, self._sides_at
        return head[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + head[at + 4 :]

    def dc_code(self, difference: int) -> tuple[int, int]:
        """The code of a DC difference with its bits, and its length (F.1.2.1)."""
        size = abs(difference).bit_length()
        code, length = self._dc_codes[size]
        low = difference if difference >= 0 else difference + (1 << size) - 1
        return code << size | low, length + size

    def dc_value(self, bits: _Bits) -> tuple[int, int]:
        """The first DC value, and where its bits end (F.2.2.1)."""
        size, at = _next_symbol(bits, 0, self._dc)
        value = bits.at(at, size)
        return value - ((1 << size) - 1 if size and value < 1 << (size - 1) else 0), at + size

    def end_of_block(self, bits: _Bits, at: int) -> int:
        """Where the AC codes end that begin at a bit (F.2.2.2)."""
        k = 1
        while k < _COEFFICIENTS:
            symbol, at = _next_symbol(bits, at, self._ac)
            if symbol == _EOB:
                break
            k, at = k + (symbol >> 4) + 1, at + (symbol & 15)
        return at


def _next_symbol(bits: _Bits, at: int, symbols: dict[tuple[int, int], int]) -> tuple[int, int]:
    """A symbol, and where its code ends. Raises ImageError."""
    for length in range(1, 17):
        symbol = symbols.get((length, bits.at(at, length)))
        if symbol is not None:
            return symbol, at + length
    raise ImageError("the JPEG encoder's data makes no sense; raise --memory")


def huffman_codes(segment: bytes) -> dict[int, dict[int, tuple[int, int]]]:
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


def _symbols(codes: dict[int, tuple[int, int]]) -> dict[tuple[int, int], int]:
    return {(length, code): symbol for symbol, (code, length) in codes.items()}


def _works(functions: machine_code.Functions) -> bool:
    """Behind the bits 001 those of A7 FF 5C 01 23 45 but for its first four and last two, with a word of its own."""
    source, target = np.array([0xA7, 0xFF, 0, 0x5C, 1, 0x23, 0x45, 0x67], np.uint8), np.zeros(48, np.uint8)
    state = np.array([0b001, 3])
    arrays = target.ctypes.data, state.ctypes.data
    size = functions["splice"](source.ctypes.data, source.size, 4, 2, *arrays)
    bits = "001" + f"{0xA7FF5C01234567:056b}"[4:-2]
    made = "".join(f"{byte:08b}" for byte in target[:size])
    waiting = f"{int(state[0]):0{int(state[1])}b}" if state[1] else ""
    return _unstuffed(made) + waiting == bits


def _unstuffed(bits: str) -> str:
    data = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    return "".join(f"{byte:08b}" for byte in data.replace(b"\xff\0", b"\xff"))


_NUMBER, _ADDRESS = ctypes.c_int64, ctypes.c_void_p
_TYPE = ctypes.CFUNCTYPE(_NUMBER, _ADDRESS, _NUMBER, _NUMBER, _NUMBER, _ADDRESS, _ADDRESS)
_splice = machine_code.load("splice_code", {"splice": _TYPE}, _works)["splice"]
