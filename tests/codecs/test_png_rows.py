"""Rows can be had in any portions, and are those of the file."""

import numpy as np
import pytest
from files import RGB, saved
from PIL import Image

from batchgray.codecs import png_rows
from batchgray.codecs.inflating import Unsound
from batchgray.codecs.png_outline import PngOutline
from batchgray.codecs.png_rows import PngRows, can_read

DATA = saved(Image.fromarray(RGB), "PNG")
HEIGHT, WIDTH = RGB.shape[:2]


def rows_of(data: bytes) -> PngRows:
    outline = PngOutline.walk(data)
    assert can_read(outline, data)
    return PngRows(data, outline)


@pytest.mark.parametrize("portion", [1, 2, 7, 100, HEIGHT])
@pytest.mark.parametrize("band_bytes", [1, 3000, 1 << 18])
def test_rows_come_in_any_portions(portion, band_bytes, monkeypatch):
    monkeypatch.setattr(png_rows, "BAND_BYTES", band_bytes)
    rows, found = rows_of(DATA), np.zeros((HEIGHT, 3 * WIDTH), np.uint8)
    for top in range(0, HEIGHT, portion):
        rows.read(found[top : top + portion])
    assert found.tobytes() == RGB.tobytes()


def test_a_wrong_checksum_of_the_pixels_is_told_with_the_last_rows():
    data = bytearray(DATA)
    data[data.index(b"IEND") - 12] ^= 1  # behind it are a checksum, and a length
    rows = rows_of(bytes(data))
    rows.read(np.zeros((HEIGHT - 1, 3 * WIDTH), np.uint8))
    with pytest.raises(Unsound):
        rows.read(np.zeros((1, 3 * WIDTH), np.uint8))


def test_a_wrong_checksum_of_a_header_is_none_of_ours():
    data = bytearray(DATA)
    data[29] ^= 1
    assert not can_read(PngOutline.walk(bytes(data)), bytes(data))


def test_what_is_held_besides_the_rows_is_counted():
    rows = rows_of(DATA)
    assert 2 * HEIGHT * (3 * WIDTH + 1) < rows.scratch_bytes < 4 * HEIGHT * 3 * WIDTH + (1 << 19)
