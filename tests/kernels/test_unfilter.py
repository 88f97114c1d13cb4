"""Filters are undone as the specification says, byte for byte, and nothing is written but the rows."""

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray.kernels.unfilter import MARGIN, SUB, Unfilter

SENTINEL = 77


@settings(deadline=None, max_examples=300)
@given(
    size=st.integers(1, 8),
    width=st.integers(1, 40),
    kinds=st.lists(st.integers(0, 4), min_size=1, max_size=9),
    cut=st.integers(0, 9),
    spread=st.sampled_from([2, 256]),
    seed=st.integers(0, 999),
)
def test_rows_are_unfiltered_as_the_specification_says(size, width, kinds, cut, spread, seed):
    filtered = np.random.default_rng(seed).integers(0, spread, (len(kinds), width * size + 1), np.uint8)
    filtered[:, 0] = kinds
    around = np.full((len(kinds) + 2) * width * size, SENTINEL, np.uint8)
    target = around[width * size : -width * size].reshape(len(kinds), -1)
    rows, cut = Unfilter(width * size, size), min(cut, len(kinds))
    for part in (slice(0, cut), slice(cut, len(kinds))):
        if part.start < part.stop:
            assert rows.rows(np.append(filtered[part], np.zeros(MARGIN, np.uint8)), target[part])
    assert target.tobytes() == naive.unfiltered(filtered.tolist(), [0] * width * size, size)
    assert (around[: width * size] == SENTINEL).all()
    assert (around[-width * size :] == SENTINEL).all()


def test_rows_may_all_have_one_filter_that_they_dont_name():
    filtered = np.random.default_rng(1).integers(0, 256, (5, 3 * 11), np.uint8)
    target = np.zeros_like(filtered)
    assert Unfilter(33, 3, SUB).rows(np.append(filtered, np.zeros(MARGIN, np.uint8)), target)
    assert np.array_equal(target.reshape(5, 11, 3), np.cumsum(filtered.reshape(5, 11, 3), axis=1, dtype=np.uint8))


@pytest.mark.parametrize("above", range(0, 256, 15))
def test_every_paeth_is_right(above):
    corner, left = (axis.reshape(-1) for axis in np.meshgrid(np.arange(0, 256, 3), np.arange(256)))
    expected = [naive._paeth(a, above, c) for a, c in zip(left.tolist(), corner.tolist(), strict=True)]
    first = np.stack([corner, np.full_like(corner, above)], -1).astype(np.uint8)
    second = np.stack([left - corner, np.zeros_like(left)], -1).astype(np.uint8)
    for start in range(0, len(first), 4):  # four pictures of two pixels in a row, as channels
        part = slice(start, start + 4)
        upper, lower = first[part].T.reshape(-1), second[part].T.reshape(-1)
        rows = np.concatenate([[0], upper, [4], lower, np.zeros(MARGIN)]).astype(np.uint8)
        target = np.zeros((2, len(upper)), np.uint8)
        assert Unfilter(len(upper), len(upper) // 2).rows(rows, target)
        assert target[1, len(upper) // 2 :].tolist() == expected[part]


@pytest.mark.parametrize("kind", [5, 77, 255])
def test_what_is_no_filter_is_told(kind):
    rows = np.array([0, 1, 2, kind, 3, 4, *bytes(MARGIN)], np.uint8)
    assert not Unfilter(2, 1).rows(rows, np.zeros((2, 2), np.uint8))


def test_too_few_rows_are_refused_before_anything_is_written():
    target = np.full((2, 3), SENTINEL, np.uint8)
    with pytest.raises(ValueError, match="rows of another length"):
        Unfilter(3, 1).rows(np.zeros(2 * 4 + MARGIN - 1, np.uint8), target)
    with pytest.raises(ValueError, match="rows of another length"):
        Unfilter(4, 1).rows(np.zeros(100, np.uint8), target)
    assert (target == SENTINEL).all()
