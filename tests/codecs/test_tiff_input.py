"""TIFFs that are read here come out as Pillow and libtiff have them; what is damaged fails as with them."""

import io
import os
import zlib

import numpy as np
import pytest
import tiffs
from files import RGB, saved
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import lzw
from outcomes import outcome, outcome_with_pillow
from PIL import Image

from batchgray.codecs import opening, pillow_probes, tiff_rows

LZW = 5
PICTURE = Image.fromarray(RGB)
LAYOUTS = {
    "one strip": {},
    "strips": {"strip_rows": 7},
    "tiles": {"tile": 16},
    "bigtiff": {"big": True, "strip_rows": 3},
}


def made(photometric=tiffs.RGB, seed=1, size=(45, 37), **layout) -> bytes:
    samples = np.random.default_rng(seed).integers(0, 256 if seed % 2 else 3, (*size, 3 if photometric == 2 else 1))
    return tiffs.tiff(samples, bits=8, photometric=photometric, **layout)


@pytest.fixture(autouse=True)
def a_coder_for_lzw(monkeypatch):
    real = tiffs._stored

    def stored(piece, bits, order, compression, predictor):
        data = real(piece, bits, order, tiffs.NONE if compression == LZW else compression, predictor)
        return lzw(data) if compression == LZW else data

    monkeypatch.setattr(tiffs, "_stored", stored)


@pytest.fixture
def pillow_is_left_alone(monkeypatch):
    monkeypatch.delitem(pillow_probes.PROBES, "TIFF")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("photometric", [tiffs.WHITE_IS_ZERO, tiffs.BLACK_IS_ZERO, tiffs.RGB])
@pytest.mark.parametrize(("compression", "predictor"), [(1, False), (8, False), (8, True), (5, False), (5, True)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_has_the_pixels_that_pillow_finds(layout, photometric, compression, predictor, order, monkeypatch):
    if layout == "bigtiff" and order == ">":
        return
    for seed in (1, 2):
        kind = {"photometric": photometric, "compression": compression, "predictor": predictor, "order": order}
        data = made(**kind, seed=seed, **LAYOUTS[layout])
        expected = outcome_with_pillow(data)
        with monkeypatch.context() as patch:
            patch.delitem(pillow_probes.PROBES, "TIFF")
            assert outcome(data) == expected


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_what_others_write_is_read_without_pillow(compression, pillow_is_left_alone):
    pixels = outcome(saved(PICTURE, "TIFF", compression=compression))[1]
    assert pixels == RGB.tobytes()


@pytest.mark.parametrize("compression", ["jpeg", "packbits", "tiff_deflate"])
def test_what_is_coded_otherwise_is_as_pillow_has_it(compression):
    data = saved(PICTURE, "TIFF", compression=compression)
    assert outcome(data) == outcome_with_pillow(data)


def test_what_describes_the_picture_becomes_the_same_exif():
    file = io.BytesIO()
    PICTURE.save(file, "TIFF", tiffinfo={270: "a ship", 271: "Maker", 306: "2026:01:01 00:00:00", 305: "dropped"})
    found = outcome(file.getvalue())
    assert found == outcome_with_pillow(file.getvalue())
    assert b"a ship" in found[3]


@pytest.mark.parametrize(
    "more",
    [
        {274: (3, 6)},  # to be turned
        {266: (3, 2)},  # the lowest bit first
        {338: (3, 0)},  # one sample more than there are
        {317: (3, 3)},
        {339: (3, (1, 1, 1))},
        {339: (3, (4, 4, 4))},
        {258: (3, (8, 8))},
        {277: (3, 4)},
        {278: (4, 0)},
        {278: (4, 1000)},
        {278: (4, (1 << 31) + 5)},
        {278: (4, (1 << 32) - 1)},
        {323: (4, 16)},
        {279: (4, 0)},
        {273: (4, 0)},
        {256: (4, 0)},
        {256: (4, 38)},
        {257: (4, 44)},
        {257: (4, 46)},
        {262: (3, 6)},
        {259: (3, 32946)},
    ],
    ids=str,
)
@pytest.mark.parametrize("compression", [1, 8, 5])
def test_unusual_entries_are_judged_by_pillow(more, compression):
    data = made(compression=compression, more=more)
    assert outcome(data) == outcome_with_pillow(data)


@pytest.mark.parametrize("compression", [1, 8, 5])
@pytest.mark.parametrize("layout", ["strips", "tiles"])
def test_what_is_cut_off_fails_as_with_pillow(compression, layout):
    data = made(compression=compression, size=(20, 18), **LAYOUTS[layout])
    for kept in range(8, len(data), 23):
        assert outcome(data[:kept]) == outcome_with_pillow(data[:kept])


@settings(deadline=None, max_examples=400)
@given(
    compression=st.sampled_from([1, 8, 5]),
    layout=st.sampled_from(["strips", "tiles"]),
    predictor=st.booleans(),
    changes=st.lists(st.tuples(st.integers(4, 3000), st.integers(0, 255)), min_size=1, max_size=3),
    seed=st.integers(1, 4),
)
def test_what_is_damaged_is_what_pillow_makes_of_it(compression, layout, predictor, changes, seed):
    kind = {"compression": compression, "predictor": predictor and compression != 1}
    data = bytearray(made(**kind, seed=seed, size=(20, 18), **LAYOUTS[layout]))
    for place, value in changes:
        data[place % len(data)] = value
    assert outcome(bytes(data)) == outcome_with_pillow(bytes(data))


def test_a_bomb_unfolds_to_no_more_than_its_directory_says(monkeypatch):
    real = tiffs._stored
    monkeypatch.setattr(tiffs, "_stored", lambda *a: zlib.compress(bytes(50_000_000)) if a[3] == 8 else real(*a))
    read, asked = tiff_rows.Inflated._some, []
    monkeypatch.setattr(tiff_rows.Inflated, "_some", lambda self, most: asked.append(most) or read(self, most))
    data = made(compression=8)
    assert outcome(data) == outcome_with_pillow(data)
    assert max(asked) <= 45 * 37 * 3


def test_no_descriptor_stays_open(tmp_path):
    (tmp_path / "a.tif").write_bytes(made())
    (tmp_path / "b.tif").write_bytes(made(compression=8).replace(b"\x78\x9c", b"\x78\x9d"))
    before = len(os.listdir("/proc/self/fd"))
    for name in ("a.tif", "b.tif"):
        opening.open_image(str(tmp_path / name), "bt601", 10**6).close()
        outcome((tmp_path / name).read_bytes())
    assert len(os.listdir("/proc/self/fd")) == before
