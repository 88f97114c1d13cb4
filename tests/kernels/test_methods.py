"""Every kernel equals the contract's formula, exactly, whatever the tiles."""

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray import tiles
from batchgray.kernels import methods

METHODS = sorted(methods.BY_METHOD)


def convert(method, rgb):
    gray = np.zeros(rgb.size // 3, np.uint8)
    methods.BY_METHOD[method](rgb, gray)
    return gray


def test_there_is_a_kernel_for_every_formula():
    assert methods.BY_METHOD.keys() == naive.BY_METHOD.keys()


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
        methods.BY_METHOD[method](rgb[3 * first : 3 * last], gray[first:last])
    assert np.array_equal(gray, naive.gray(method, rgb))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("offset", [0, 1, 5, 31])
def test_any_length_from_anywhere_is_right_and_nothing_else_is_written(method, offset):
    rgb = np.random.default_rng(offset).integers(0, 256, 1000, np.uint8)
    for size in range(140):
        gray, source = np.full(offset + size + 40, 7, np.uint8), rgb[offset : offset + 3 * size]
        methods.BY_METHOD[method](source, gray[offset : offset + size])
        assert gray.tolist() == [7] * offset + naive.gray(method, source).tolist() + [7] * 40


@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_contiguous_or_not_writable_is_refused(method):
    rgb, gray, constant = np.zeros(600, np.uint8), np.zeros(200, np.uint8), np.zeros(600, np.uint8)
    constant.flags.writeable = False
    for source, target in ((rgb[::2], gray[:100]), (rgb[:300], gray[::2]), (rgb, constant[:200])):
        with pytest.raises(TypeError):
            methods.BY_METHOD[method](source, target)
