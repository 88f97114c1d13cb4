"""The sides of the pictures that an HEVC decoder is set up for, from its parameter sets (ITU-T H.265, 7.3.2.2)."""

import struct
from collections.abc import Iterator

_SEQUENCE_PARAMETERS = 33
_LONGEST_HEAD = 256  # bytes of a parameter set; the sides come within some thirty


def sides(setup: bytes) -> Iterator[tuple[int, int]]:
    """Width and height of each parameter set of a sequence in an hvcC box. Raises struct.error where it is cut off."""
    (arrays,), at = struct.unpack_from(">B", setup, 22), 23
    for _ in range(arrays):
        kind, count = struct.unpack_from(">BH", setup, at)
        at += 3
        for _ in range(count):
            (length,) = struct.unpack_from(">H", setup, at)
            if kind & 0x3F == _SEQUENCE_PARAMETERS:
                yield _sides(setup[at + 2 : at + 2 + min(length, _LONGEST_HEAD)])
            at += 2 + length


def _sides(unit: bytes) -> tuple[int, int]:
    bits = _Bits(unit[2:].replace(b"\0\0\3", b"\0\0"))
    bits.take(4)
    layers = bits.take(3)
    bits.take(1 + 88 + 8)  # nesting; profile, tier and level
    _skip_layers(bits, layers)
    bits.number()
    if bits.number() == 3:
        bits.take(1)  # colours apart
    return bits.number(), bits.number()


def _skip_layers(bits: "_Bits", layers: int) -> None:
    given = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    if layers:
        bits.take(2 * (8 - layers))
    for profile, level in given:
        bits.take(88 * profile + 8 * level)


class _Bits:
    """Reads bits from the highest of each byte on."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """Raises struct.error behind the end."""
        if count > self._left:
            raise struct.error("a parameter set that is cut off")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def number(self) -> int:
        """One of Exp-Golomb code. Raises struct.error."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)
