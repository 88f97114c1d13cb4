"""Bands spliced together are, byte for byte, the JPEG of the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray.codecs import encoding, jpeg_bands
from batchgray.planes.slots import NO_METADATA, Metadata

KEPT = Metadata(b"MM\0*", b"<xmp/>", b"\x1c")


def in_bands(gray: np.ndarray, rows: int, quality: int, metadata: Metadata = NO_METADATA) -> bytes:
    height, width = gray.shape
    coder = jpeg_bands.Coder(width, quality)
    splicer = jpeg_bands.Splicer(coder, width, height, metadata)
    # From the last to the first: a band depends on no other.
    bands = [coder.code(gray[top : top + rows].tobytes()) for top in reversed(range(0, height, rows))]
    return b"".join([*map(splicer.add, reversed(bands)), splicer.finish()])


def whole(gray: np.ndarray, quality: int, metadata: Metadata = NO_METADATA) -> bytes:
    height, width = gray.shape
    return b"".join(encoding.encode_jpeg(memoryview(gray.tobytes()), width, height, quality, metadata))


@settings(deadline=None, max_examples=150)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    rows=st.sampled_from([8, 16, 40, 96]),
    quality=st.integers(1, 100),
    seed=st.integers(0, 2**32),
    contrast=st.sampled_from([0, 3, 60, 255]),
)
def test_any_image_in_any_bands(width, height, rows, quality, seed, contrast):
    random = np.random.default_rng(seed)
    gray = (random.integers(0, contrast + 1, (height, width)) + random.integers(0, 256 - contrast)).astype(np.uint8)
    assert in_bands(gray, rows, quality) == whole(gray, quality)


@pytest.mark.parametrize("quality", [1, 75, 100])
def test_the_largest_steps_between_bands(quality):
    gray = np.zeros((64, 8), np.uint8)
    gray[8:16] = gray[24:32] = 255
    assert in_bands(gray, 8, quality) == whole(gray, quality)


@pytest.mark.parametrize("seed", range(40))
def test_a_last_block_of_any_coefficients(seed):
    """At this quality noise leaves no coefficient zero, so that no EOB says where a band's bits end."""
    gray = np.random.default_rng(seed).integers(0, 256, (24, 8)).astype(np.uint8)
    assert in_bands(gray, 8, 100) == whole(gray, 100)


def test_metadata_comes_where_it_belongs():
    gray = np.arange(4096, dtype=np.uint16).astype(np.uint8).reshape(64, 64)
    assert in_bands(gray, 16, 90, KEPT) == whole(gray, 90, KEPT)
