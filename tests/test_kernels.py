"""Every kernel equals the contract's formula, exactly, whatever the tiles."""

import inspect
import re

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray import kernels, tiles

METHODS = sorted(kernels.BY_METHOD)


def convert(method, rgb):
    gray = np.zeros(rgb.size // 3, np.uint8)
    kernels.BY_METHOD[method](rgb, gray)
    return gray


def test_there_is_a_kernel_for_every_formula():
    assert kernels.BY_METHOD.keys() == naive.BY_METHOD.keys()


@pytest.mark.parametrize("method", METHODS)
def test_all_16_777_216_colours_are_exact(method):
    green_blue = np.stack(np.meshgrid(np.arange(256), np.arange(256), indexing="ij"), axis=-1).reshape(-1, 2)
    rgb = np.empty((256 * 256, 3), np.uint8)
    rgb[:, 1:] = green_blue
    for red in range(256):
        rgb[:, 0] = red
        flat = rgb.reshape(-1)
        assert np.array_equal(convert(method, flat), naive.gray(method, flat)), f"R = {red}"


@pytest.mark.parametrize("method", METHODS)
def test_a_neutral_pixel_keeps_its_value(method):
    values = np.arange(256, dtype=np.uint8)
    assert np.array_equal(convert(method, np.repeat(values, 3)), values)


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None, max_examples=50)
@given(width=st.integers(1, 70), height=st.integers(1, 70), blocks=st.integers(1, 4), seed=st.integers(0, 999))
def test_any_tiles_in_any_order_give_the_same_as_one_call(method, width, height, blocks, seed):
    random = np.random.default_rng(seed)
    rgb = random.integers(0, 256, 3 * width * height, np.uint8)
    gray = np.zeros(width * height, np.uint8)
    rows = 8 * blocks
    for index in random.permutation(tiles.tile_count(height, rows)):
        tile = tiles.tile_at(int(index), height, rows)
        first, last = tile.top * width, tile.bottom * width
        kernels.BY_METHOD[method](rgb[3 * first : 3 * last], gray[first:last])
    assert np.array_equal(gray, naive.gray(method, rgb))


@pytest.mark.parametrize("method", METHODS)
def test_a_kernel_writes_nothing_outside_its_tile(method):
    gray = np.full(30, 7, np.uint8)
    kernels.BY_METHOD[method](np.full(30, 200, np.uint8), gray[10:20])
    assert gray.tolist() == [7] * 10 + [200] * 10 + [7] * 10


@pytest.mark.parametrize(
    ("method", "largest", "divisor"),
    [("bt601", 255 * 100, 100), ("luma", (255 * 1000 + 500) >> 3, 125)],
)
def test_multiply_and_shift_is_the_division_for_every_sum_and_fits_32_bits(method, largest, divisor):
    source = inspect.getsource(kernels.BY_METHOD[method].py_func)
    multiplier, shift = map(int, re.search(r"uint32\((\d+)\)\) >> uint32\((\d+)\)$", source, re.MULTILINE).groups())
    sums = np.arange(largest + 1)
    assert largest * multiplier < 1 << 32
    assert np.array_equal((sums * multiplier) >> shift, sums // divisor)


def test_dividing_by_8_and_then_by_125_is_dividing_by_1000():
    sums = np.arange(255 * 1000 + 500 + 1)
    assert np.array_equal((sums >> 3) // 125, sums // 1000)
