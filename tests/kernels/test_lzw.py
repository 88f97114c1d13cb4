"""What TIFF 6.0 says is coded comes out again; what is not coded writes nothing where it should not."""

import io

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from batchgray.kernels import lzw

SENTINEL = 77


def unfolded(coded: bytes, size: int) -> bytes | None:
    """The bytes, or None where they make no sense; what is behind the margin stays as it is."""
    whole = np.full(size + lzw.MARGIN + 64, SENTINEL, np.uint8)
    sound = lzw.unfold(np.frombuffer(coded, np.uint8), whole[: size + lzw.MARGIN])
    assert (whole[size + lzw.MARGIN :] == SENTINEL).all()
    return whole[:size].tobytes() if sound else None


@settings(deadline=None, max_examples=200)
@given(
    symbols=st.integers(1, 256),
    runs=st.integers(1, 300),
    size=st.integers(1, 12_000),
    seed=st.integers(0, 999),
)
def test_what_is_coded_comes_out_again(symbols, runs, size, seed):
    random = np.random.default_rng(seed)
    data = np.repeat(random.integers(0, symbols, size, np.uint8), random.integers(1, runs + 1, size))[:size].tobytes()
    assert unfolded(naive.lzw(data), size) == data


def test_one_byte_again_and_again_is_a_string_that_is_used_while_it_is_made():
    assert unfolded(naive.lzw(b"a" * 100_000), 100_000) == b"a" * 100_000


@settings(deadline=None, max_examples=300)
@given(coded=st.binary(max_size=400), size=st.integers(1, 3000))
def test_noise_is_unfolded_to_no_more_than_was_asked_for(coded, size):
    unfolded(coded, size)


@settings(deadline=None, max_examples=200)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7), seed=st.integers(0, 9))
def test_a_flipped_bit_writes_nothing_elsewhere(place, bit, seed):
    data = np.random.default_rng(seed).integers(0, 9, 4000, np.uint8).tobytes()
    coded = bytearray(naive.lzw(data))
    coded[place % len(coded)] ^= 1 << bit
    unfolded(bytes(coded), 4000)


@pytest.mark.parametrize("missing", [1, 2, 100])
def test_fewer_bytes_than_were_asked_for_are_told(missing):
    assert unfolded(naive.lzw(bytes(range(200))), 200 + missing) is None


def test_libtiff_codes_as_the_specification_says():
    """So that the slow one here is as good a reference as libtiff is."""
    data = np.random.default_rng(3).integers(0, 30, (50, 200), np.uint8)
    file = io.BytesIO()
    Image.fromarray(data).save(file, "TIFF", compression="tiff_lzw")
    image = Image.open(file)
    (offset,), (length,) = image.tag_v2[273], image.tag_v2[279]
    assert file.getvalue()[offset : offset + length] == naive.lzw(data.tobytes())
