"""Arrays become gray by the contract's formulas, whatever their layout, and to what a run writes."""

import naive
import numpy as np
import pytest
from harness import batchgray
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from batchgray import to_gray

METHODS = sorted(naive.BY_METHOD)
RANDOM = np.random.default_rng(7)


def expected(method, pixels):
    """The slow way: `pixels` uint8 of shape (H, W, 3)."""
    return naive.gray(method, np.ascontiguousarray(pixels).reshape(-1)).reshape(pixels.shape[:2])


def check(gray, values):
    assert gray.dtype == np.uint8
    assert gray.flags.c_contiguous
    assert gray.flags.writeable
    assert gray.shape == values.shape
    assert np.array_equal(gray, values)


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None, max_examples=30)
@given(
    pixels=arrays.arrays(
        st.sampled_from([np.dtype(np.uint8), np.dtype("<u2"), np.dtype(">u2")]),
        st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(3, 4)),
    ),
    layout=st.sampled_from(["as it is", "fortran", "mirrored", "every second", "turned", "read-only"]),
)
def test_any_colours_in_any_layout(method, pixels, layout):
    pixels = {
        "as it is": lambda: pixels,
        "fortran": lambda: np.asfortranarray(pixels),
        "mirrored": lambda: pixels[::-1, ::-1],
        "every second": lambda: pixels[::2, 1::2],
        "turned": lambda: pixels.transpose(1, 0, 2),
        "read-only": lambda: np.frombuffer(pixels.tobytes(), pixels.dtype).reshape(pixels.shape),
    }[layout]()
    before = pixels.copy()
    eight = (pixels if pixels.dtype == np.uint8 else pixels // 256).astype(np.uint8)
    check(to_gray(pixels, method), expected(method, eight[..., :3]))
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("width", [1, 1000, 300_000])
def test_images_of_many_tiles(width):
    pixels = RANDOM.integers(0, 256, (600_000 // width, width, 4), np.uint8)
    check(to_gray(pixels), expected("bt601", pixels[..., :3]))
    check(to_gray(pixels[..., :3].copy(), "luma"), expected("luma", pixels[..., :3]))


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 2), (0, 7), (5, 0, 1)])
def test_gray_keeps_its_values_in_an_array_of_its_own(shape):
    pixels = RANDOM.integers(0, 65536, shape, np.uint16)
    plane = pixels if pixels.ndim == 2 else pixels[..., 0]
    check(to_gray(pixels), plane >> 8)
    eight = plane.astype(np.uint8)
    gray = to_gray(eight.T)
    check(gray, eight.T)
    assert not np.shares_memory(gray, eight)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (0, 0, 4), (3, 0, 4)])
def test_nothing_becomes_nothing(shape):
    check(to_gray(np.zeros(shape, np.uint8)), np.zeros(shape[:2]))


def test_what_a_mask_hides_counts_like_the_rest():
    pixels = RANDOM.integers(0, 65536, (9, 9, 3), np.uint16)
    check(to_gray(np.ma.masked_less(pixels, 30000)), expected("bt601", pixels // 256))
    check(to_gray(np.ma.masked_less(pixels[..., 0], 30000)), pixels[..., 0] >> 8)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ([[[1, 2, 3]]], TypeError, "takes a numpy array of uint8 or uint16, not list"),
        (Image.new("P", (2, 2)), TypeError, "not Image"),
        (np.zeros((2, 2, 3)), TypeError, "uint8 or uint16, not float64; scale"),
        (np.zeros((2, 2, 3), np.uint32), TypeError, "not uint32"),
        (np.zeros((2, 2, 3), np.int8), TypeError, "not int8"),
        (np.zeros((2, 2), bool), TypeError, "not bool"),
        (np.zeros(6, np.uint8), ValueError, r"takes \(H, W, 3\) or .*, not \(6,\)"),
        (np.zeros((2, 2, 0), np.uint8), ValueError, r"not \(2, 2, 0\)"),
        (np.zeros((3, 2, 5), np.uint8), ValueError, r"not \(3, 2, 5\)"),
        (np.zeros((1, 2, 2, 3), np.uint8), ValueError, r"not \(1, 2, 2, 3\)"),
        (np.uint8(3), TypeError, "not uint8$"),
        (np.array(3, np.uint8), ValueError, r"not \(\)"),
    ],
)
def test_what_is_no_image_is_refused_with_what_would_be(given, error, words):
    with pytest.raises(error, match=words):
        to_gray(given)


@pytest.mark.parametrize("method", ["BT601", "", None, ["bt601"]])
def test_another_method_is_refused_with_those_that_are(method):
    with pytest.raises(ValueError, match="bt601, bt709, luma"):
        to_gray(np.zeros((1, 1, 3), np.uint8), method)


def test_it_is_what_a_run_writes(tmp_path):
    noise = RANDOM.integers(0, 256, (70, 90, 4), np.uint8)
    sixteen = RANDOM.integers(0, 65536, (70, 90), np.uint16)
    pictures = {"rgb": noise[..., :3], "rgba": noise, "gray": noise[..., 0], "veiled": noise[..., :2], "deep": sixteen}
    (tmp_path / "in").mkdir()
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / "in" / f"{name}.png")
    out = tmp_path / "out"
    batchgray("run", tmp_path / "in", "--out", out, "--format", "png", "--method", "bt709", "--progress", "none")
    for name, pixels in pictures.items():
        with Image.open(out / f"{name}.png") as image:
            check(to_gray(pixels, "bt709"), np.asarray(image))
