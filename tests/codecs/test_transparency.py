"""What is seen through: ignored and told, or composited over a background as the obvious arithmetic has it."""

import naive
import numpy as np
import pytest

from batchgray.codecs import transparency

RANDOM = np.random.default_rng(5)
GRAY = RANDOM.integers(0, 256, (300, 257), np.uint8)  # more than are composited at once
COLOURS = RANDOM.integers(0, 256, (300, 257, 3), np.uint8)
ALPHA = RANDOM.integers(0, 256, (300, 257), np.uint8)
OPAQUE = np.full_like(ALPHA, 255)


@pytest.mark.parametrize(
    ("background", "colour"),
    [("none", None), ("#000000", (0, 0, 0)), ("#0a10ff", (10, 16, 255)), ("#0A10FF", None), ("#fff", None), ("", None)],
)
def test_a_background_is_read_as_options_write_it(background, colour):
    assert transparency.colour_of(background) == colour


def test_gray_stays_gray_over_gray_alone():
    assert transparency.is_neutral((7, 7, 7))
    assert not transparency.is_neutral((7, 7, 8))


def test_every_value_of_every_alpha_is_composited_to_the_nearest():
    values, alpha = (each.astype(np.uint8) for each in np.meshgrid(np.arange(256), np.arange(256)))
    for behind in (0, 1, 77, 254, 255):
        target = np.zeros_like(values)
        assert not transparency.put(values, alpha, (behind,) * 3, target)
        assert np.array_equal(target, naive.over(values.astype(int), alpha.astype(int), behind))


@pytest.mark.parametrize("values", [GRAY, COLOURS], ids=["gray", "colours"])
def test_over_a_colour_each_channel_is_composited_on_its_own(values):
    target = np.zeros_like(COLOURS)
    assert not transparency.put(values, ALPHA, (10, 120, 250), target)
    for channel, behind in enumerate((10, 120, 250)):
        alone = np.zeros_like(GRAY)
        transparency.put(values if values.ndim == 2 else values[..., channel], ALPHA, (behind,) * 3, alone)
        assert np.array_equal(target[..., channel], alone)


@pytest.mark.parametrize(("alpha", "ignored"), [(None, False), (OPAQUE, False), (ALPHA, True)])
@pytest.mark.parametrize("values", [GRAY, COLOURS], ids=["gray", "colours"])
def test_without_a_background_the_colour_under_it_counts_and_is_told(values, alpha, ignored):
    target = np.zeros_like(values)
    assert transparency.put(values, alpha, None, target) is ignored
    assert np.array_equal(target, values)


def test_one_pixel_that_is_seen_through_is_enough():
    alpha = OPAQUE.copy()
    alpha[-1, -1] = 254
    assert transparency.put(GRAY, alpha, None, np.zeros_like(GRAY))


@pytest.mark.parametrize("target", [GRAY, COLOURS], ids=["gray", "colours"])
def test_what_is_opaque_is_copied_over_any_background(target):
    put = np.zeros_like(target)
    assert not transparency.put(GRAY, OPAQUE, (1, 1, 1), put)
    assert np.array_equal(put if put.ndim == 2 else put[..., 1], GRAY)


def test_an_image_without_pixels_is_seen_through_nowhere():
    nothing = np.zeros((0, 5), np.uint8)
    assert not transparency.put(nothing, nothing, None, nothing.copy())
