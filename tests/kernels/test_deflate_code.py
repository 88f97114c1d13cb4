"""The parts of the deflater that is compiled: the tables of RFC 1951, and Huffman's codes within a longest."""

import heapq
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray.kernels import deflate, deflate_code

LONGEST = 14
# RFC 1951, 3.2.5: the first length of each symbol from 257 on, and how many bits follow it.
FIRST_LENGTHS = [*range(3, 11), *range(11, 19, 2), *range(19, 35, 4), *range(35, 67, 8), *range(67, 131, 16)]
FIRST_LENGTHS += [*range(131, 258, 32), 258]
EXTRA_BITS = [*[0] * 8, *[1] * 4, *[2] * 4, *[3] * 4, *[4] * 4, *[5] * 4, 0]


def codes_of(counts: list[int], longest: int = LONGEST) -> dict[int, str]:
    """By symbol: its code, from the first bit to the last."""
    scratch = np.zeros(deflate_code.SCRATCH, np.int64)
    scratch[: len(counts)] = counts
    deflate_code._codes(scratch, deflate_code._COUNTS, len(counts), longest, deflate_code._CODES)
    found = scratch[deflate_code._CODES : deflate_code._CODES + len(counts)].tolist()
    return {symbol: f"{code >> 4:0{code & 15}b}"[::-1] for symbol, code in enumerate(found) if code}


def cost_by_huffman(counts: list[int]) -> int:
    """How many bits Huffman's codes take: what its tree joins."""
    heap, bits = [count for count in counts if count], 0
    heapq.heapify(heap)
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        bits += joined
        heapq.heappush(heap, joined)
    return bits


# No code of a symbol of 840 has more than 13 bits, however they are shared out.
COUNTS = st.lists(st.integers(0, 14), min_size=2, max_size=60).filter(lambda counts: sum(map(bool, counts)) > 1)


@settings(deadline=None, max_examples=100)
@given(counts=COUNTS)
def test_codes_are_as_short_as_huffmans_and_none_begins_another(counts):
    codes = codes_of(counts)
    assert codes.keys() == {symbol for symbol, count in enumerate(counts) if count}
    assert sum(counts[symbol] * len(code) for symbol, code in codes.items()) == cost_by_huffman(counts)
    assert sum(2.0 ** -len(code) for code in codes.values()) == 1
    ordered = sorted(codes.values())
    assert not any(after.startswith(before) for before, after in itertools.pairwise(ordered))


@settings(deadline=None, max_examples=100)
@given(counts=st.lists(st.integers(1, 1 << 40), min_size=2, max_size=19), longest=st.integers(5, 7))
def test_no_code_is_longer_than_the_longest(counts, longest):
    codes = codes_of(counts, longest)
    assert max(map(len, codes.values())) <= longest
    assert sum(2.0 ** -len(code) for code in codes.values()) == 1


def test_codes_of_one_length_go_up_with_their_symbols():
    """RFC 1951, 3.2.2: else no inflater could tell them from their lengths."""
    codes = codes_of([5, 1, 5, 1, 9, 1, 1])
    for length in set(map(len, codes.values())):
        same = [code for _, code in sorted(codes.items()) if len(code) == length]
        assert same == sorted(same)


@pytest.mark.parametrize("length", [*range(3, 259)])
def test_a_length_has_the_specifications_symbol_and_bits(length):
    number = max(number for number, first in enumerate(FIRST_LENGTHS) if first <= length)
    bits = deflate_code._extra_bits.py_func(length)
    assert bits == EXTRA_BITS[number]
    assert deflate_code._length_symbol.py_func(length, bits) == 257 + number


def test_the_lengths_of_codes_come_in_the_specifications_order():
    order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
    assert [deflate_code._in_order.py_func(place) for place in range(19)] == order


def test_the_scratch_is_as_large_as_the_code_wants_it():
    assert deflate._SCRATCH == deflate_code.SCRATCH


def test_all_functions_can_be_compiled():
    assert deflate_code.functions().keys() == {"filter_rows", "deflate", "adler32"}
