"""Slices of a JPEG are the rows of the whole, to the bit, in whatever order they are decoded; or they are refused."""

import random
from contextlib import closing

import numpy as np
import pytest
import simplejpeg
from files import ODD, sampled
from harness import decode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from batchgray.codecs.band_plan import plan_bands
from batchgray.codecs.jpeg_slices import SliceReader
from batchgray.codecs.opening import open_image
from batchgray.errors import ImageError


def picture(width: int, height: int, seed: int, contrast: int, channels: int = 3) -> np.ndarray:
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([(x * (c + 1) + y * 3) % 256 for c in range(channels)], -1)
    noise = chance.integers(-contrast, contrast + 1, (height, width, channels))
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def plan_of(path, method="bt601"):
    opened = open_image(str(path), method, 10**9)
    opened.close()
    return opened, plan_bands(str(path), opened, method)


def whole(path, method="bt601") -> np.ndarray:
    opened = open_image(str(path), method, 10**9)
    plane = memoryview(bytearray(opened.width * opened.height * (3 if opened.colour else 1)))
    with closing(opened):
        assert decode(opened, plane) is None
    return np.frombuffer(plane, np.uint8).reshape(opened.height, -1)


def in_slices(path, rows: int, method: str = "bt601") -> np.ndarray:
    """The pixels, from slices of so many rows that are decoded in any order."""
    opened, plan = plan_of(path, method)
    assert plan.slices
    spans = [(top, min(top + rows, opened.height)) for top in range(0, opened.height, rows)]
    pixels = np.zeros((opened.height, opened.width * (3 if opened.colour else 1)), np.uint8)
    with closing(SliceReader(str(path), opened, plan.slices)) as reader:
        parts = [(span, reader.part(*span)) for span in spans]
        random.Random(rows).shuffle(parts)
        for (top, bottom), part in parts:
            pixels[top:bottom] = part().reshape(bottom - top, -1)
    return pixels


def check(path, rows: int, method: str = "bt601") -> None:
    assert np.array_equal(in_slices(path, rows, method), whole(path, method))


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(1, 100),
    height=st.integers(1, 120),
    rows=st.sampled_from([8, 16, 40, 64]),
    quality=st.integers(1, 100),
    subsampling=st.sampled_from(["444", "422", "420", "440", "411"]),
    contrast=st.sampled_from([0, 5, 255]),
    method=st.sampled_from(["bt601", "luma"]),
)
def test_any_picture_in_any_slices(tmp_path, width, height, rows, quality, subsampling, contrast, method):
    pixels = picture(width, height, quality, contrast)
    path = tmp_path / "a.jpg"
    path.write_bytes(simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling=subsampling))
    check(path, rows, method)


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_codes_of_the_files_own(tmp_path, optimize, channels):
    pixels = picture(200, 150, 3, 100, channels)
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    image.save(tmp_path / "a.jpg", quality=88, optimize=optimize, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
    check(tmp_path / "a.jpg", 24)


def test_rows_may_be_passed_over(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(simplejpeg.encode_jpeg(picture(90, 200, 1, 50), quality=90))
    opened, plan = plan_of(path)
    with closing(SliceReader(str(path), opened, plan.slices)) as reader:
        assert np.array_equal(reader.part(120, 160)().reshape(40, -1), whole(path)[120:160])


def progressive(path):
    Image.fromarray(picture(90, 90, 1, 9)).save(path, progressive=True)


def restarting(path):
    Image.fromarray(picture(90, 90, 1, 9)).save(path, restart_marker_rows=1)


def of_several_scans(path):
    path.write_bytes(sampled(*ODD[0], Image.fromarray(picture(97, 131, 1, 9))))


def cmyk(path):
    Image.fromarray(picture(90, 90, 1, 9, 4), "CMYK").save(path)


@pytest.mark.parametrize("save", [progressive, restarting, of_several_scans, cmyk])
def test_what_is_coded_otherwise_is_not_cut(tmp_path, save):
    save(tmp_path / "a.jpg")
    assert plan_of(tmp_path / "a.jpg")[1].slices is None


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-700],  # the end is missing
        lambda data: data[:-2],
        lambda data: data[:-2] + b"\x12\x34\xff\xd9",  # bytes that belong to no MCU
        lambda data: data[:-300] + b"\xff\xd9" + data[-300:],
    ],
)
def test_what_ends_otherwise_is_refused(tmp_path, change):
    path = tmp_path / "a.jpg"
    path.write_bytes(change(simplejpeg.encode_jpeg(picture(200, 200, 1, 50), quality=90)))
    with pytest.raises(ImageError, match="its coded data makes no sense"):
        in_slices(path, 40)


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_picture_is_refused_or_decoded_alike(tmp_path, seed):
    path, chance = tmp_path / "a.jpg", random.Random(seed)
    data = bytearray(simplejpeg.encode_jpeg(picture(120, 160, seed, 80), quality=chance.choice([50, 95])))
    begin = data.index(b"\xff\xda") + 14
    for _ in range(chance.randint(1, 3)):
        data[chance.randrange(begin, len(data) - 2)] = chance.choice([0, 255, chance.randrange(256)])
    path.write_bytes(data)
    try:
        pixels = in_slices(path, chance.choice([8, 40]))
    except ImageError:
        return
    assert np.array_equal(pixels, whole(path))


@pytest.mark.parametrize("seed", range(20))
def test_damaged_headers_are_refused_or_decoded_alike(tmp_path, seed):
    path, chance = tmp_path / "a.jpg", random.Random(seed)
    data = bytearray(simplejpeg.encode_jpeg(picture(120, 160, seed, 80), quality=90))
    data[chance.randrange(160, data.index(b"\xff\xda") + 14)] = chance.randrange(256)
    path.write_bytes(data)
    try:
        if plan_of(path)[1].slices is None:
            return
        pixels = in_slices(path, 40)
    except ImageError:
        return
    assert np.array_equal(pixels, whole(path))
