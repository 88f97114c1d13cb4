"""The sides that an HEVC decoder is set up for."""

import struct

import numpy as np
import pytest
from boxed import heic

from batchgray.codecs import hevc

BITS = "{:0{}b}".format


def number(value: int) -> str:
    """Exp-Golomb."""
    return BITS(value + 1, 2 * (value + 1).bit_length() - 1)


def parameters(width: int, height: int, layers: int = 0, given: tuple[int, int] = (0, 0), chroma: int = 1) -> bytes:
    """A parameter set, as far as its sides."""
    bits = BITS(0, 4) + BITS(layers, 3) + "1" + "01" * 48
    bits += "".join(map(str, given)) * layers + ("00" * (8 - layers) if layers else "")
    bits += ("01" * 44 * given[0] + "01" * 4 * given[1]) * layers
    bits += number(0) + number(chroma) + ("0" if chroma == 3 else "") + number(width) + number(height) + "1"
    body = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    return b"\x42\1" + body


def setup(*units: tuple[int, bytes]) -> bytes:
    parts = b"".join(struct.pack(">BHH", 0x80 | kind, 1, len(unit)) + unit for kind, unit in units)
    return bytes(22) + bytes([len(units)]) + parts


def box_of(data: bytes) -> bytes:
    at = data.index(b"hvcC")
    return data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]


@pytest.mark.parametrize("sides", [(64, 64), (80, 64), (1000, 72)])
@pytest.mark.parametrize("chroma", [420, 444])
def test_an_encoders_are_found(sides, chroma):
    picture = np.zeros((sides[1], sides[0], 3), np.uint8)
    assert list(hevc.sides(box_of(heic(picture, chroma=chroma, matrix_coefficients=1)))) == [sides]


@pytest.mark.parametrize("layers", [0, 1, 6])
@pytest.mark.parametrize("given", [(0, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("chroma", [0, 1, 3])
def test_whatever_stands_before_them(layers, given, chroma):
    unit = parameters(30000, 20001, layers, given, chroma)
    assert list(hevc.sides(setup((32, b"\x40\1xx"), (33, unit), (34, b"\x44\1")))) == [(30000, 20001)]


@pytest.mark.parametrize(
    "data", [b"", bytes(22), bytes(22) + b"\1\x21\0\1", setup((33, parameters(64, 64)[:14])), setup((33, b""))]
)
def test_one_that_is_cut_off_is_told(data):
    with pytest.raises(struct.error):
        list(hevc.sides(data))
