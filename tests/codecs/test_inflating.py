"""Deflated pixels come out as they went in, as many as are asked for; whatever is wrong with the stream is told."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray.codecs import inflating
from batchgray.codecs.inflating import Inflated, Unsound, in_pieces
from batchgray.kernels.unfilter import MARGIN

PLAIN = np.random.default_rng(1).integers(0, 20, 50_000, np.uint8).tobytes()
STREAM = zlib.compress(PLAIN)


def whole(stream: bytes, size: int) -> bytes:
    inflated = Inflated(iter([stream]))
    made = inflated.read(size)[:-MARGIN].tobytes()
    inflated.finish()
    return made


@settings(deadline=None, max_examples=100)
@given(sizes=st.lists(st.integers(1, 30_000), min_size=1, max_size=9), length=st.integers(2, 40_000))
def test_however_it_is_cut_it_is_the_same(sizes, length):
    pieces = [STREAM[at : at + length] for at in range(0, len(STREAM), length)]
    inflated, made = Inflated(iter(pieces)), b""
    for size in sizes:
        size = min(size, len(PLAIN) - len(made))
        part = inflated.read(size)
        assert part[size:].tolist() == [0] * MARGIN
        made += part[:size].tobytes()
    made += inflated.read(len(PLAIN) - len(made))[:-MARGIN].tobytes()
    inflated.finish()
    assert made == PLAIN


@pytest.mark.parametrize("size", [len(PLAIN) - 1, len(PLAIN) + 1])
def test_more_or_fewer_bytes_than_there_are_is_told(size):
    with pytest.raises(Unsound):
        whole(STREAM, size)


@pytest.mark.parametrize("kept", [0, 1, 2, 3, 100, len(STREAM) - 5, len(STREAM) - 1])
def test_a_stream_that_is_cut_off_is_told(kept):
    with pytest.raises(Unsound):
        whole(STREAM[:kept], len(PLAIN))


@pytest.mark.parametrize("place", [*range(8), 1000, -4, -3, -2, -1])
def test_a_flipped_bit_is_told(place):
    damaged = bytearray(STREAM)
    damaged[place] ^= 4
    with pytest.raises(Unsound):
        whole(bytes(damaged), len(PLAIN))


def test_a_dictionary_of_ones_own_is_no_stream_that_is_read_here():
    compressor = zlib.compressobj(zdict=b"words")
    with pytest.raises(Unsound):
        whole(compressor.compress(PLAIN) + compressor.flush(), len(PLAIN))


def test_what_is_behind_the_stream_counts_for_nothing():
    assert whole(STREAM + b"behind it", len(PLAIN)) == PLAIN


def test_parts_of_a_file_come_some_bytes_at_a_time(monkeypatch):
    monkeypatch.setattr(inflating, "INPUT_BYTES", 3)
    pieces = list(in_pieces(b"0123456789", [slice(1, 6), slice(6, 6), slice(8, 10)]))
    assert pieces == [b"123", b"45", b"89"]
