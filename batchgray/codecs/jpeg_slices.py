"""A baseline JPEG read a slice at a time: by several threads, and from any slice on that the walk has passed.

    walk, from the top: where does each row of MCUs begin? --> slice: a small JPEG of some of these rows --> simplejpeg

A row of MCUs begins in the middle of a byte, and its first DC values are coded as differences to the row before (ITU-T
T.81, F.1.2.1). So the walk passes over all codes, in a third of the time of decoding them, and keeps where each row
begins and what its DC values start from. A slice gets the file's own headers with another height, its first MCU with
the DC values coded anew, and all other bits as they are, moved to where bytes begin.

What is decoded are the pixels of the whole, to the bit: a slice has a row of MCUs more above and below, as chroma that
is scaled up in height depends on its neighbours (libjpeg's "fancy upsampling"). Whatever is not as it should be is
refused: decoders that know a way round get the file as a whole.

Importing this module loads the machine code of the walk, or has it compiled from `walk_code`.
"""

import contextlib
import ctypes
import functools
import mmap
import threading

import numpy as np
import simplejpeg

from batchgray.codecs import jpeg_bands
from batchgray.codecs.faults import image_failures
from batchgray.codecs.jpeg_layout import JpegLayout
from batchgray.codecs.opened import OpenedImage
from batchgray.codecs.opening import open_unchanged
from batchgray.errors import ImageError
from batchgray.kernels import machine_code

_EOI = b"\xff\xd9"
_DAMAGED = "damaged, or not to be converted in bands: its coded data makes no sense"
_LONGEST_MCU = 4096  # bytes: ten blocks of the longest codes, stuffed

# Places in the walk's state.
_AT, _HELD, _OUT, _PENDING, _FILLED, _BEYOND, _END, _STATE = 0, 1, 7, 8, 9, 10, 11, 12


class SliceReader:
    """See `band_reader.BandReader`. Rows are walked through in order, by one thread at a time."""

    ignored = False  # there is no transparency

    def __init__(self, path: str, opened: OpenedImage, layout: JpegLayout) -> None:
        """Raises ImageError."""
        self._opened, self._layout = opened, layout
        with contextlib.ExitStack() as stack:
            self._file = stack.enter_context(open_unchanged(path, opened.version))
            self._map = stack.enter_context(mmap.mmap(self._file.fileno(), 0, prot=mmap.PROT_READ))
            self._head = b"".join([self._map[part] for part in layout.head])
            with image_failures:
                tables = [jpeg_bands.huffman_codes(self._map[part]) for part in layout.huffman]
                self._codes, self._dc_codes = _lookups({kind: codes for each in tables for kind, codes in each.items()})
            stack.pop_all()
        self._start = np.frombuffer(self._map, np.uint8).ctypes.data  # an array would keep the map from being closed
        self._blocks = np.array(layout.blocks, np.int64)
        self._rows = -(-opened.height // layout.mcu_height)
        self._across = -(-opened.width // layout.mcu_width)
        state = np.zeros(_STATE, np.int64)
        state[_AT] = layout.data_at
        self._states = [state]  # at the beginning of each row of MCUs
        self._buffers = threading.local()

    def part(self, top: int, bottom: int) -> "functools.partial[np.ndarray]":
        """What makes rows `top` to `bottom` (exclusive), in any thread, as flat uint8: R, G, B of colour, else gray.

        Of colour it is valid until the same thread makes others. Raises ImageError.
        """
        height, around = self._layout.mcu_height, self._layout.rows_around
        first = max(0, top // height - around)
        last = min(self._rows, -(-bottom // height) + around)
        while len(self._states) <= last:
            self._pass_over_row()
        return functools.partial(self._decode, first, last, top, bottom)

    def close(self) -> None:
        self._map.close()
        self._file.close()

    def _pass_over_row(self) -> None:
        """Raises ImageError."""
        state = self._states[-1].copy()
        self._walk(state, len(self._map), self._across, None)
        self._states.append(state)
        if len(self._states) == self._rows + 1:
            self._check_end(state)

    def _check_end(self, state: np.ndarray) -> None:
        """There is nothing between the last MCU and EOI but ones that fill a byte. Raises ImageError."""
        end = int(state[_END]) or len(self._map)
        if state[_AT] != end or state[_HELD] - state[_BEYOND] >= 8 or self._map[end : end + 2] != _EOI:
            raise ImageError(_DAMAGED)

    def _walk(self, state: np.ndarray, size: int, mcus: int, target: np.ndarray | None) -> None:
        arrays = [each.ctypes.data for each in (state, self._codes, self._blocks, self._dc_codes)]
        if _walk(self._start, size, *arrays, mcus, 0 if target is None else target.ctypes.data):
            raise ImageError(_DAMAGED)

    def _decode(self, first: int, last: int, top: int, bottom: int) -> np.ndarray:
        """Raises ImageError."""
        height, width = self._layout.mcu_height, self._opened.width
        rows = min(last * height, self._opened.height) - first * height
        jpeg = self._slice(first, last, rows)
        colour = self._opened.colour
        target = self._buffer(3 * rows * width) if colour else np.empty(rows * width, np.uint8)
        with image_failures:
            simplejpeg.decode_jpeg(jpeg, "RGB" if colour else "GRAY", buffer=target)
        self._map.madvise(mmap.MADV_DONTNEED)  # what was read need not count as this process's memory
        row_bytes = width * (3 if colour else 1)
        return target[(top - first * height) * row_bytes : (bottom - first * height) * row_bytes]

    def _buffer(self, size: int) -> np.ndarray:
        buffer: np.ndarray | None = getattr(self._buffers, "rgb", None)
        if buffer is None or buffer.size < size:
            self._buffers.rgb = buffer = np.empty(size, np.uint8)
        return buffer[:size]

    def _slice(self, first: int, last: int, rows: int) -> bytes:
        """A JPEG of the rows of MCUs from `first` to `last` (exclusive), `rows` rows high."""
        state, stop = self._states[first].copy(), self._states[last]
        beginning = np.empty(_LONGEST_MCU, np.uint8)
        state[_END] = -1
        self._walk(state, len(self._map), 1, beginning)
        begin, passed_over = self._place(state)
        end, used = self._place(stop)
        end += len(self._byte_at(end)) if used else 0
        bits = np.array([state[_OUT], state[_PENDING]])
        target = np.empty(2 * (end - begin) + 64, np.uint8)
        filled = jpeg_bands.append(self._start + begin, end - begin, (passed_over, -used % 8), target, bits)
        if filled < 0:
            raise ImageError(_DAMAGED)
        at = self._layout.height_at
        head = self._head[:at] + rows.to_bytes(2, "big") + self._head[at + 2 :]
        pieces = head, beginning[: state[_FILLED]].tobytes(), target[:filled].tobytes(), jpeg_bands.finished(bits), _EOI
        return b"".join(pieces)

    def _place(self, state: np.ndarray) -> tuple[int, int]:
        """The byte that the next bit is in, and how many bits of it were used."""
        at, held = int(state[_AT]), int(state[_HELD]) - int(state[_BEYOND])
        while held > 0:
            at -= 2 if self._map[at - 2 : at] == b"\xff\0" else 1
            held -= 8
        return at, -held

    def _byte_at(self, at: int) -> bytes:
        """With the zero that is stuffed behind it."""
        return self._map[at : at + 2] if self._map[at] == 0xFF else self._map[at : at + 1]


def _lookups(tables: dict[int, dict[int, tuple[int, int]]]) -> tuple[np.ndarray, np.ndarray]:
    """The tables by class and number, as `walk_code` wants them. Raises ImageError."""
    codes, dc_codes = np.zeros(8 * (1 << 16) + 8 * (1 << 10), np.int16), np.zeros((4, 16, 2), np.int64)
    for kind, table in tables.items():
        number = (kind & 3) + (4 if kind >> 4 else 0)
        for symbol, (code, length) in table.items():
            if code >> length:
                raise ImageError("damaged: a JPEG with more codes than there can be")
            first = (number << 16) + (code << (16 - length))
            codes[first : first + (1 << (16 - length))] = length << 8 | symbol
            if length <= 10:
                first = 8 * (1 << 16) + (number << 10) + (code << (10 - length))
                codes[first : first + (1 << (10 - length))] = length << 8 | symbol
            if kind < 4 and symbol < 16:
                dc_codes[kind, symbol] = code, length
    return codes, dc_codes


def _works(functions: machine_code.Functions) -> bool:
    """Two MCUs of a block: DC +5 behind 2 and a coefficient; DC -1 and nothing. Any DC code is 2 bits, AC's 1 and 2."""
    tables = {0x00: {0: (0, 2), 1: (1, 2), 3: (2, 2)}, 0x10: {0x00: (0, 1), 0x01: (2, 2)}}
    codes, dc_codes = _lookups(tables)
    blocks = np.array([1, *[0] * 30])
    bits = "10101" + "101" + "0" + "010" + "0"
    source = np.array([int(f"{bits:1<16}"[at : at + 8], 2) for at in (0, 8)], np.uint8)
    state, target = np.zeros(_STATE, np.int64), np.zeros(64, np.uint8)
    state[3] = 2
    arrays = [each.ctypes.data for each in (state, codes, blocks, dc_codes)]
    copied = state.copy()
    copied[_END] = -1
    again = [copied.ctypes.data, *arrays[1:]]
    done = functions["walk"](source.ctypes.data, 2, *arrays, 2, 0)
    done |= functions["walk"](source.ctypes.data, 2, *again, 1, target.ctypes.data)
    read = int(copied[_HELD]) - int(copied[_BEYOND])
    # 2 + 5 is 7, of three bits.
    return (done, state[3], read) == (0, 6, 7) and (target[0], copied[_PENDING]) == (0b10111101, 1)


_NUMBER, _ADDRESS = ctypes.c_int64, ctypes.c_void_p
_TYPE = ctypes.CFUNCTYPE(_NUMBER, _ADDRESS, _NUMBER, *[_ADDRESS] * 4, _NUMBER, _ADDRESS)
_walk = machine_code.load("walk_code", {"walk": _TYPE}, _works)["walk"]
