"""The splicing of entropy-coded data, bit by bit, against one that writes bits as text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray.kernels import splice_code

# Codes of a made-up table, by symbol: for DC of the categories 0 to 3; for AC of EOB, of 0 zeros and 2 bits, of ZRL.
DC = {0: "00", 1: "010", 2: "011", 3: "100"}
AC = {0x00: "10", 0x02: "0", 0xF0: "110"}


def table(codes: dict[int, str]) -> np.ndarray:
    entries = np.zeros(1 << 16, np.int64)
    for symbol, code in codes.items():
        first = int(code, 2) << (16 - len(code))
        entries[first : first + (1 << (16 - len(code)))] = len(code) << 8 | symbol
    return entries


DC_CODES = np.zeros((16, 2), np.int64)
for category, code in DC.items():
    DC_CODES[category] = int(code, 2), len(code)


def category(value: int) -> tuple[int, str]:
    """T.81, F.1.2.1: the category of a difference, and its bits."""
    size = abs(value).bit_length()
    return size, f"{value + (value < 0) * ((1 << size) - 1):0{size}b}" if size else ""


def coded(blocks: list[tuple[int, list[int]]], last: int) -> str:
    """Blocks as bits, each a DC value and the symbols that follow, behind a block whose DC value was `last`."""
    bits = ""
    for value, symbols in blocks:
        size, piece = category(value - last)
        bits += DC[size] + piece + "".join(AC[symbol] + "01" * (symbol == 0x02) for symbol in symbols)
        last = value
    return bits


def stuffed(bits: str) -> bytes:
    """Whole bytes, a zero behind each 0xFF (T.81, B.1.1.5)."""
    data = int(bits or "0", 2).to_bytes(len(bits) // 8)
    return data.replace(b"\xff", b"\xff\0")


def spliced(source: bytes, state: np.ndarray, blocks: int) -> bytes | None:
    target = np.zeros(2 * len(source) + 64, np.uint8)
    given = np.frombuffer(source, np.uint8), len(source), target, state, table(DC), table(AC), DC_CODES.reshape(-1)
    with np.errstate(over="ignore"):
        size = splice_code.splice(*given, blocks)
    return None if size < 0 else target[:size].tobytes()


BLOCKS = st.lists(
    st.tuples(st.integers(-3, 3), st.lists(st.sampled_from([0x02, 0xF0]), max_size=3).map(lambda s: [*s, 0x00])),
    min_size=1,
    max_size=6,
)


def within_reach(blocks: list[tuple[int, list[int]]], last: int) -> list[tuple[int, list[int]]]:
    """The same with DC values whose differences have a code."""
    near = []
    for value, symbols in blocks:
        last = max(last - 7, min(last + 7, value))
        near.append((last, symbols))
    return near


@settings(deadline=None, max_examples=60)
@given(bands=st.lists(BLOCKS, min_size=1, max_size=3))
def test_bands_that_were_coded_on_their_own_become_one(bands):
    whole, state, data = [], np.zeros(3, np.int64), b""
    for blocks in bands:
        alone = within_reach(blocks, 0)
        bits = coded(alone, 0)
        source = stuffed(bits + "1" * (-len(bits) % 8))
        data += spliced(source, state, len(alone))
        whole += alone
        assert state[2] == alone[-1][0]
    bits = coded(whole, 0)
    ended = len(bits) // 8 * 8
    assert data == stuffed(bits[:ended])
    assert (int(state[0]), int(state[1])) == (int(bits[ended:] or "0", 2), len(bits) - ended)


@pytest.mark.parametrize(
    ("source", "blocks"),
    [
        (b"\xe0", 1),  # no DC code begins with 111
        (b"\x3f", 1),  # DC 0, then no AC code begins with 111
        (b"", 1),
        (b"\x20", 99),  # fewer blocks than are asked for
    ],
)
def test_what_holds_no_such_blocks_is_refused(source, blocks):
    assert spliced(source, np.zeros(3, np.int64), blocks) is None


def test_it_can_be_compiled():
    assert splice_code.functions().keys() == {"splice"}
