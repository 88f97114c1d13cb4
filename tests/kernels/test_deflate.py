"""The filters equal the specification's, byte for byte; what is deflated, zlib inflates."""

import zlib

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray.kernels import deflate

# As many symbols as there are, few, a run in the middle: what makes codes of every length, and of few symbols.
KINDS_OF_DATA = ["noise", "few", "runs", "flat", "steep"]


def picture(kind: str, height: int, width: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    shape = height, width
    if kind == "noise":
        return random.integers(0, 256, shape, np.uint8)
    if kind == "few":
        return random.integers(0, 3, shape, np.uint8) * 127
    if kind == "flat":
        return np.full(shape, random.integers(0, 256), np.uint8)
    if kind == "runs":
        return np.repeat(random.integers(0, 256, width * height, np.uint8), random.integers(1, 40))[
            : height * width
        ].reshape(shape)
    return np.minimum(255, random.geometric(0.5, shape) ** 3).astype(np.uint8)


@settings(deadline=None, max_examples=150)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 20),
    top=st.integers(0, 19),
    kind=st.sampled_from(KINDS_OF_DATA),
    filters=st.tuples(st.integers(0, 4), st.integers(0, 4)).map(sorted),
    seed=st.integers(0, 999),
)
def test_rows_are_filtered_as_the_specification_says(width, height, top, kind, filters, seed):
    gray, top = picture(kind, height, width, seed), min(top, height - 1)
    target = np.full((height - top + 1, width + 1), 7, np.uint8)
    deflate.filter_rows(gray, top, tuple(filters), target[:-1])
    first, last = filters
    assert target[:-1].tobytes() == naive.filtered(gray, range(first, last + 1))[top * (width + 1) :]
    assert (target[-1] == 7).all()


@pytest.mark.parametrize("above", range(0, 256, 15))
def test_every_paeth_is_right(above):
    left, corner = np.meshgrid(np.arange(256), np.arange(256))
    pairs = np.stack([corner, np.full_like(corner, above), left, np.full_like(left, 255)], -1).astype(np.uint8)
    for upper_left, over, beside, value in pairs[::7].reshape(-1, 4)[::3].tolist():
        gray, target = np.array([[upper_left, over], [beside, value]], np.uint8), np.zeros((1, 3), np.uint8)
        deflate.filter_rows(gray, 1, (deflate.PAETH, deflate.PAETH), target)
        assert target[0, 2] == (value - naive._paeth(beside, over, upper_left)) % 256


@settings(deadline=None, max_examples=150)
@given(
    sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=4),
    kind=st.sampled_from(KINDS_OF_DATA),
    aligned=st.lists(st.booleans(), min_size=4, max_size=4),
    seed=st.integers(0, 999),
)
def test_what_is_deflated_is_inflated(sizes, kind, aligned, seed):
    pieces = [picture(kind, 1, size, seed + number)[0] for number, size in enumerate(sizes)]
    stream, made = deflate.Stream(), b""
    for piece, align in zip(pieces, aligned, strict=False):
        made += stream.add(piece) + (stream.aligned() if align else b"")
    made += stream.end()
    inflater = zlib.decompressobj(-15)
    assert inflater.decompress(made) == b"".join(piece.tobytes() for piece in pieces)
    assert (inflater.eof, inflater.unused_data) == (True, b"")


def test_codes_longer_than_the_longest_are_cut():
    """Counts like Fibonacci's numbers: Huffman's codes would have 25 bits."""
    counts = [1, 1]
    while len(counts) < 26:
        counts.append(counts[-1] + counts[-2])
    data = np.random.default_rng(0).permutation(np.repeat(np.arange(26, dtype=np.uint8), counts))[: 1 << 17]
    data[:26] = np.arange(26)
    stream = deflate.Stream()
    assert zlib.decompress(stream.add(data) + stream.end(), -15) == data.tobytes()


@pytest.mark.parametrize("length", [*range(1, 300), 515, 516, 517, 1000, 100_000])
def test_runs_of_any_length_anywhere(length):
    for before in range(1, 6):
        data = np.array([*range(before), *[9] * length, 1, 2, 3], np.uint8)
        stream = deflate.Stream()
        assert zlib.decompress(stream.add(data) + stream.end(), -15) == data.tobytes()


def test_a_run_costs_next_to_nothing_and_noise_no_more_than_its_head():
    stream = deflate.Stream()
    assert len(stream.add(np.zeros(100_000, np.uint8)) + stream.end()) < 200
    noise = np.random.default_rng(0).integers(0, 256, 100_000, np.uint8)
    assert len(stream.add(noise) + stream.end()) < 100_300


@settings(deadline=None, max_examples=100)
@given(size=st.integers(0, 20_000), before=st.integers(0, 65520), over=st.integers(0, 65520), seed=st.integers(0, 99))
def test_the_checksum_is_zlibs(size, before, over, seed):
    for data in (picture("noise", 1, size, seed)[0], np.full(size, 255, np.uint8)):
        start = over << 16 | before
        assert deflate.adler32(data, start) == zlib.adler32(data.data, start)
