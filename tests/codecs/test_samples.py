"""How 8-bit values and alpha are had of what Pillow reads, one rule at a time."""

import sys

import numpy as np
import pytest
import tiffs
from PIL import Image

from batchgray.codecs import tiff_outline as tiff
from batchgray.codecs.samples import Samples, of_tiff, unknown_tiff
from batchgray.codecs.tiff_outline import TiffOutline
from batchgray.errors import ImageError

RANDOM = np.random.default_rng(9)
GRAY = RANDOM.integers(0, 256, (5, 7), np.uint8)
FOUR = RANDOM.integers(0, 256, (5, 7, 4), np.uint8)


@pytest.mark.parametrize(
    ("mode", "asked", "colour", "alpha"),
    [
        ("1", "L", False, False),
        ("L", "L", False, False),
        ("LA", "LA", False, True),
        ("I;16", None, False, False),
        ("I;16B", None, False, False),
        ("RGB", "RGB", True, False),
        ("RGBA", "RGBA", True, True),
        ("P", "RGB", True, False),
        ("PA", "RGBA", True, True),
        ("CMYK", "RGB", True, False),
        ("YCbCr", "RGB", True, False),
        ("LAB", "RGB", True, False),
    ],
)
def test_of_each_mode_it_is_known_what_to_ask_for(mode, asked, colour, alpha):
    samples = Samples.of(Image.new(mode, (1, 1)))
    assert (samples.mode, samples.colour, samples.has_alpha) == (asked, colour, alpha)


@pytest.mark.parametrize(("mode", "format", "asked"), [("P", None, "RGBA"), ("L", "GIF", "LA"), ("L", None, "L")])
def test_a_transparent_colour_of_a_palette_or_a_gif_is_asked_for(mode, format, asked):
    image = Image.new(mode, (1, 1))
    image.format, image.info = format, {"transparency": 0}
    assert Samples.of(image).mode == asked


def split(samples: Samples, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    before = pixels.copy()
    values, alpha = samples.split(pixels)
    assert values.dtype == np.uint8
    assert np.array_equal(pixels, before)
    return values, alpha


def test_gray_colours_and_alpha_are_taken_apart():
    values, alpha = split(Samples("L"), GRAY)
    assert alpha is None
    assert np.array_equal(values, GRAY)
    values, alpha = split(Samples("LA"), FOUR[..., :2])
    assert np.array_equal(values, FOUR[..., 0])
    assert np.array_equal(alpha, FOUR[..., 1])
    values, alpha = split(Samples("RGBA", colour=True), FOUR)
    assert np.array_equal(values, FOUR[..., :3])
    assert np.array_equal(alpha, FOUR[..., 3])
    assert split(Samples("RGBA", colour=True, opaque=True), FOUR)[1] is None


def test_of_wide_gray_the_upper_bits_are_taken():
    wide = RANDOM.integers(0, 1 << 12, (5, 7), np.uint16)
    assert np.array_equal(split(Samples(None, shift=4), wide)[0], wide >> 4)


def test_of_16_bits_in_pairs_the_upper_bytes_are_taken():
    upper = 1 if sys.byteorder == "little" else 0
    values, alpha = split(Samples("RGBA", paired=True), FOUR)
    assert np.array_equal(values, FOUR[..., upper])
    assert np.array_equal(alpha, FOUR[..., 2 + upper])


def test_one_value_is_transparent():
    values, alpha = split(Samples("L", key=(int(GRAY[2, 3]),)), GRAY)
    assert np.array_equal(values, GRAY)
    assert np.array_equal(alpha == 0, GRAY[2, 3] == GRAY)
    colours = FOUR[..., :3]
    _, alpha = split(Samples("RGB", colour=True, key=tuple(map(int, colours[1, 1]))), colours)
    assert np.array_equal(alpha == 0, (colours == colours[1, 1]).all(-1))
    assert set(np.unique(alpha)) == {0, 255}


def test_outside_of_its_window_a_frame_is_transparent():
    window = slice(1, 3), slice(2, 5)
    _, alpha = split(Samples("L", window=window), GRAY)
    expected = np.zeros_like(GRAY)
    expected[window] = 255
    assert np.array_equal(alpha, expected)
    _, alpha = split(Samples("LA", window=window), FOUR[..., :2])
    expected[window] = FOUR[..., 1][window]
    assert np.array_equal(alpha, expected)


def test_white_for_0_is_turned_round():
    assert np.array_equal(split(Samples("L", inverted=True), GRAY)[0], 255 - GRAY)


def test_what_was_multiplied_by_its_alpha_is_divided_by_it():
    pixels = np.array([[[100, 200], [200, 200], [255, 200], [9, 0], [9, 255]]], np.uint8)
    values, _ = split(Samples("LA", premultiplied=True), pixels)
    assert values.tolist() == [[127, 255, 255, 9, 9]]


def test_gray_may_stand_for_colours():
    palette = RANDOM.integers(0, 256, (256, 3), np.uint8)
    assert np.array_equal(split(Samples("L", colour=True, palette=palette.tobytes()), GRAY)[0], palette[GRAY])


def of(samples: int, **tags) -> tuple[dict[int, int], Samples | None]:
    pixels = np.zeros((2, 3, samples), int)
    data = tiffs.tiff(pixels, **{"bits": 8, "photometric": tiffs.BLACK_IS_ZERO, **tags})
    return of_tiff(TiffOutline.walk(data), data)


@pytest.mark.parametrize(
    ("samples", "tags"),
    [
        (3, {"photometric": tiffs.RGB}),
        (4, {"photometric": tiffs.RGB, "extras": (2,)}),
        (1, {}),
        (1, {"photometric": tiffs.WHITE_IS_ZERO, "bits": 4}),
        (2, {"bits": 4, "extras": (2,)}),
    ],
)
def test_what_pillow_reads_rightly_is_left_to_it(samples, tags):
    assert of(samples, **tags) == ({}, None)


def test_what_pillow_has_no_mode_for_is_read_in_another_dress():
    assert of(1, bits=16) == ({}, Samples(None, shift=8))
    turned = {tiff.PHOTOMETRIC: tiff.BLACK_IS_ZERO}
    assert of(1, bits=12, photometric=tiffs.WHITE_IS_ZERO) == (turned, Samples(None, shift=4, inverted=True))
    assert of(2, extras=(2,)) == ({}, Samples("LA"))
    assert of(2, extras=(0,)) == ({}, Samples("L"))
    changes, samples = of(2, bits=16, extras=(1,))
    assert changes[tiff.SAMPLES] == 4
    assert samples == Samples("RGBA", paired=True, premultiplied=True)


@pytest.mark.parametrize(
    ("samples", "tags", "reason"),
    [
        (1, {"sample_format": 2}, "signed samples"),
        (4, {"photometric": 5, "more": {332: (3, 2)}}, "inks other than"),
        (1, {"photometric": None, "bits": 16}, "does not say whether its 0 is black or white"),
        (2, {"photometric": 0, "extras": (1,)}, "whose 0 is white, with alpha multiplied in"),
        (2, {"separate": True, "extras": (2,)}, "a TIFF of gray, and alpha after it"),
        (5, {"photometric": 2, "separate": True, "extras": (2, 0)}, "a TIFF in planes, with more than"),
        (1, {"photometric": 3, "more": {320: (3, (1, 2, 3))}}, "whose palette has colours of 8 bits"),
    ],
)
def test_what_pillow_would_read_wrongly_is_refused(samples, tags, reason):
    with pytest.raises(ImageError, match=reason):
        of(samples, **tags)


def test_a_layout_without_a_name_is_described():
    data = tiffs.tiff(np.zeros((2, 3, 3), int), bits=12, photometric=tiffs.RGB)
    assert "a TIFF of 3 x 12 bits with photometric interpretation 2" in unknown_tiff(TiffOutline.walk(data), data)
