"""Usual PNGs and TIFFs in bands, beside what `test_band_reader` has: what threads do, and a file that changed."""

from contextlib import closing

import numpy as np
import pytest
from band_kinds import KINDS
from PIL import Image

from batchgray.codecs.band_plan import plan_bands
from batchgray.codecs.bands import open_bands
from batchgray.codecs.opening import open_image
from batchgray.codecs.png_input import OpenedPng
from batchgray.errors import ImageError


def reader_of(path):
    opened = open_image(str(path), "bt601", 10**9)
    opened.close()
    return open_bands(str(path), opened, plan_bands(str(path), opened, "bt601"))


def test_that_transparency_was_ignored_is_told_whatever_comes_in_between(tmp_path, monkeypatch):
    """An opaque part that began before a transparent one, and ends after it."""
    pixels = np.full((32, 24, 4), 255, np.uint8)
    pixels[16:, :, 3] = 7
    Image.fromarray(pixels).save(tmp_path / "a.png")
    put, inner = OpenedPng.put, []

    def meet(image, band, target):
        if inner:
            inner.pop()()
        return put(image, band, target)

    monkeypatch.setattr(OpenedPng, "put", meet)
    with closing(reader_of(tmp_path / "a.png")) as reader:
        opaque = reader.part(0, 16)
        inner.append(reader.part(16, 32))
        opaque()
        assert reader.ignored


def test_a_file_that_changed_since_it_was_opened_is_refused(tmp_path):
    path = tmp_path / "png RGB.png"
    KINDS[path.name](path)
    opened = open_image(str(path), "bt601", 10**9)
    opened.close()
    plan = plan_bands(str(path), opened, "bt601")
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ImageError, match="changed while it was being read"):
        open_bands(str(path), opened, plan)
