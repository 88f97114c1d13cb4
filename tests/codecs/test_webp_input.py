"""WebPs that are read here come out as Pillow has them; what is damaged fails as with Pillow."""

import io

import numpy as np
import pytest
from files import RGB, saved
from hypothesis import given, settings
from hypothesis import strategies as st
from outcomes import outcome, outcome_with_pillow
from PIL import Image

from batchgray.codecs import pillow_probes, webp_input

PICTURE = Image.fromarray(RGB).resize((61, 47))
ALPHA = Image.fromarray(np.dstack([np.asarray(PICTURE), np.asarray(PICTURE)[..., 0]]))
OPAQUE = Image.fromarray(np.dstack([np.asarray(PICTURE), np.full((47, 61), 255, np.uint8)]))
FILES = {
    "lossy": saved(PICTURE, "WEBP", quality=60),
    "lossless": saved(PICTURE, "WEBP", lossless=True),
    "lossy, alpha": saved(ALPHA, "WEBP", quality=60),
    "lossless, alpha": saved(ALPHA, "WEBP", lossless=True, exact=True),
    "lossy, opaque alpha": saved(OPAQUE, "WEBP", quality=60),
    "profile": saved(PICTURE, "WEBP", icc_profile=b"profile", exif=b"Exif\0\0" + bytes(20), xmp=b"xmp"),
}
ANIMATED = saved(PICTURE, "WEBP", save_all=True, append_images=[PICTURE.rotate(180)])


@pytest.mark.parametrize("background", [None, (255, 255, 255), (10, 200, 90)])
@pytest.mark.parametrize("name", FILES)
def test_each_kind_has_the_pixels_that_pillow_finds_and_takes_no_pillow(name, background, monkeypatch):
    expected = outcome_with_pillow(FILES[name], background)
    monkeypatch.delitem(pillow_probes.PROBES, "WEBP")
    assert outcome(FILES[name], background) == expected


def test_what_is_animated_is_as_pillow_has_it():
    assert outcome(ANIMATED) == outcome_with_pillow(ANIMATED)


@pytest.mark.parametrize("name", FILES)
def test_without_libwebps_own_calls_everything_is_pillows(name, monkeypatch):
    expected = outcome(FILES[name])
    monkeypatch.setattr(webp_input, "_libwebp", lambda: None)
    assert outcome(FILES[name]) == expected


@pytest.mark.parametrize("name", FILES)
def test_what_is_cut_off_fails_as_with_pillow(name):
    for kept in range(12, len(FILES[name]), 29):
        data = FILES[name][:kept]
        assert outcome(data) == outcome_with_pillow(data)
        fitting = data[:4] + (kept - 8).to_bytes(4, "little") + data[8:]
        assert outcome(fitting) == outcome_with_pillow(fitting)


@settings(deadline=None, max_examples=400)
@given(
    name=st.sampled_from(sorted(FILES)),
    changes=st.lists(st.tuples(st.integers(4, 60) | st.integers(4, 5000), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_what_is_damaged_is_what_pillow_makes_of_it(name, changes):
    data = bytearray(FILES[name])
    for place, value in changes:
        data[place % len(data)] = value
    assert outcome(bytes(data)) == outcome_with_pillow(bytes(data))


def test_exif_is_kept():
    file = io.BytesIO()
    exif = Image.Exif()
    exif[271] = "Maker"
    PICTURE.save(file, "WEBP", exif=exif)
    assert b"Maker" in outcome(file.getvalue())[3]
    assert outcome(file.getvalue()) == outcome_with_pillow(file.getvalue())
