"""The three methods equal their integer formulas over all 16,777,216 colours, and gray sources keep their values.

If this broke, a measurement made on the gray pictures would be wrong by a level, and nobody would see it.
"""

import io

import numpy as np
import pytest
from harness import batchgray, save_gradient
from PIL import Image

SIDE = 4096


@pytest.fixture(scope="module")
def all_colours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("colours")
    every = np.arange(SIDE * SIDE, dtype=np.uint32).reshape(SIDE, SIDE)
    rgb = np.stack([every >> 16, (every >> 8) & 255, every & 255], -1).astype(np.uint8)
    Image.fromarray(rgb).save(folder / "all.png", compress_level=1)
    return folder, rgb.astype(np.uint32)


@pytest.mark.parametrize(
    ("method", "weights", "half", "divisor"),
    [
        ("bt601", (30, 59, 11), 0, 100),
        ("bt709", (2126, 7152, 722), 0, 10000),
        ("luma", (299, 587, 114), 500, 1000),
    ],
)
def test_every_colour(all_colours, tmp_path, method, weights, half, divisor):
    folder, rgb = all_colours
    batchgray("run", folder, "--out", tmp_path, "--method", method, "--format", "png", "--progress", "none")
    expected = ((rgb * np.array(weights, np.uint32)).sum(-1, dtype=np.uint32) + half) // divisor
    with Image.open(tmp_path / "all.png") as image:
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), expected)


def test_luma_is_the_jpegs_own_y_plane(tmp_path):
    pictures = tmp_path / "in"
    noise = np.random.default_rng(5).integers(0, 256, (301, 403, 3), np.uint8)
    pictures.mkdir()
    expected = {}
    for name, settings in {
        "420": {"subsampling": 2},
        "422": {"subsampling": 1},
        "444": {"subsampling": 0},
        "progressive": {"progressive": True},
    }.items():
        Image.fromarray(noise).save(pictures / f"{name}.jpg", quality=85, **settings)
        with Image.open(pictures / f"{name}.jpg") as image:
            image.draft("L", image.size)  # libjpeg's own grayscale output
            expected[name] = np.asarray(image.convert("L"))
    batchgray("run", pictures, "--out", tmp_path / "out", "--method", "luma", "--format", "png", "--progress", "none")
    for name, gray in expected.items():
        with Image.open(tmp_path / "out" / f"{name}.png") as image:
            assert np.array_equal(np.asarray(image), gray), name


def test_gray_sources_keep_their_values(tmp_path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    eight = (values & 255).astype(np.uint8)
    pictures = tmp_path / "in"
    pictures.mkdir()
    Image.fromarray(eight).save(pictures / "eight.png")
    Image.fromarray(eight).save(pictures / "eight-tiff.tif")
    Image.fromarray(values).save(pictures / "sixteen.png")
    Image.fromarray(values).save(pictures / "sixteen-tiff.tif")
    Image.fromarray(eight).convert("1").save(pictures / "one.png")
    Image.merge("LA", (Image.fromarray(eight), Image.fromarray(eight.T.copy()))).save(pictures / "veiled.png")
    one = np.asarray(Image.fromarray(eight).convert("1")) * np.uint8(255)
    for method in ("bt601", "luma"):
        out = tmp_path / method
        batchgray("run", pictures, "--out", out, "--method", method, "--format", "png", "--progress", "none")
        for name, gray in {
            "eight": eight,
            "eight-tiff": eight,
            "sixteen": (values >> 8).astype(np.uint8),
            "sixteen-tiff": (values >> 8).astype(np.uint8),
            "one": one,
            "veiled": eight,
        }.items():
            with Image.open(out / f"{name}.png") as image:
                assert np.array_equal(np.asarray(image), gray), (method, name)


def test_a_png_has_the_same_pixels_at_every_effort_and_more_of_it_makes_it_smaller(tmp_path):
    source = save_gradient(tmp_path / "in" / "a.png", 640, 480)
    with Image.open(source) as image:
        rgb = np.asarray(image).astype(np.uint32)
    gray = ((rgb * np.array([30, 59, 11], np.uint32)).sum(-1) // 100).astype(np.uint8)
    sizes = []
    for effort in ("0", None, "9"):
        given = ("--compression", effort) if effort else ()
        out = tmp_path / (effort or "default")
        batchgray("run", source, "--out", out, "--format", "png", *given, "--progress", "none")
        with Image.open(out / "a.png") as image:
            assert np.array_equal(np.asarray(image), gray)
        sizes.append((out / "a.png").stat().st_size)
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


def test_jpeg_output_is_the_gray_plane_at_the_asked_quality(tmp_path):
    source = save_gradient(tmp_path / "in" / "a.png", 640, 480)
    batchgray("run", source, "--out", tmp_path / "out", "--quality", 90, "--progress", "none")
    with Image.open(source) as image:
        rgb = np.asarray(image).astype(np.uint32)
    gray = ((rgb * np.array([30, 59, 11], np.uint32)).sum(-1) // 100).astype(np.uint8)
    reference = io.BytesIO()
    Image.fromarray(gray).save(reference, "JPEG", quality=90)
    with Image.open(tmp_path / "out" / "a.jpg") as image, Image.open(reference) as same_quality:
        assert image.mode == "L"
        assert image.quantization == same_quality.quantization
        difference = np.abs(np.asarray(image).astype(int) - gray)
        allowed = np.abs(np.asarray(same_quality).astype(int) - gray)
        assert difference.mean() < 1.1 * allowed.mean() + 0.1
