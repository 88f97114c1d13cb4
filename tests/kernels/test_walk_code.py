"""The walk through coded data, as Python runs it: where it stands after each unit, and what it writes anew."""

import numpy as np
import pytest

from batchgray.kernels import walk_code

# DC categories 0, 1, 2 are coded 00, 01, 10; AC: end of block 0, one bit behind no zeros 10, 16 zeros 110.
DC, AC = {0: (0b00, 2), 1: (0b01, 2), 2: (0b10, 2)}, {0x00: (0b0, 1), 0x01: (0b10, 2), 0xF0: (0b110, 3)}


def tables() -> tuple[np.ndarray, np.ndarray]:
    codes, dc_codes = np.zeros(8 * (1 << 16) + 8 * (1 << 10), np.int16), np.zeros((4, 16, 2), np.int64)
    for number, table in ((0, DC), (4, AC)):
        for symbol, (code, length) in table.items():
            first = (number << 16) + (code << (16 - length))
            codes[first : first + (1 << (16 - length))] = length << 8 | symbol
    for symbol, pair in DC.items():
        dc_codes[0, symbol] = pair
    return codes, dc_codes.reshape(-1)


def walked(bits: str, units: int, writing: bool = False, before: int = 0):
    """What the walk returns, its state, and what it wrote."""
    data = int(bits + "1" * (-len(bits) % 8), 2).to_bytes(-(-len(bits) // 8)).replace(b"\xff", b"\xff\0")
    state, target = np.zeros(12, np.int64), np.zeros(64, np.uint8)
    state[3], state[11] = before, -1 if writing else 0
    codes, dc_codes = tables()
    layout = np.array([1, *[0] * 30])
    with np.errstate(over="ignore"):
        found = walk_code.walk(np.frombuffer(data, np.uint8), len(data), state, codes, layout, dc_codes, units, target)
    written = "".join(f"{byte:08b}" for byte in target[: state[9]])
    return found, state, written + (f"{int(state[8]) and int(state[7]):0{int(state[8])}b}" if state[8] else "")


def test_it_stands_behind_the_units_that_it_passed_over():
    bits = "1011" + "101" + "0" + "010" + "0" + "00" + "0"  # +3 and a coefficient; -1; 0
    for units, used, last in ((1, 8, 3), (2, 12, 2), (3, 15, 2)):
        found, state, _ = walked(bits, units)
        assert found == 0
        assert 8 * state[0] - (state[1] - state[10]) == used
        assert state[3] == last


def test_the_first_value_is_written_as_if_it_came_after_none():
    found, _, written = walked("010" + "101" + "0", 1, writing=True, before=3)  # -1 behind 3 is 2
    assert (found, written) == (0, "1010" + "101" + "0")


@pytest.mark.parametrize(
    "bits",
    [
        "11" + "0" * 14,  # no DC code
        "00" + "111" + "0" * 11,  # no AC code
        "00" + "110" * 4,  # more than 63 zeros
        "00",  # the end
    ],
)
def test_what_makes_no_sense_is_refused(bits):
    assert walked(bits, 40)[0] == -1


def test_it_can_be_compiled():
    assert walk_code.functions().keys() == {"walk"}
