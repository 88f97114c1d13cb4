"""PNGs that are read here come out as Pillow has them, whatever is in them; what is damaged fails as with Pillow."""

import io
import struct
import zlib

import numpy as np
import pytest
from files import RGB, png, saved
from hypothesis import given, settings
from hypothesis import strategies as st
from outcomes import outcome, outcome_with_pillow
from PIL import Image

from batchgray.codecs import pillow_probes, png_rows

WHITE, TINT = (255, 255, 255), (10, 200, 90)
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
GRAY_ALPHA_16 = (4, 16)
KINDS = [(kind, depth) for kind, depths in png_rows._DEPTHS.items() for depth in depths]
SMALL = Image.fromarray(RGB).resize((61, 47))


def made(kind: int, depth: int, width: int, height: int, seed: int, transparent: bytes = b"", colours: int = 256):
    """A PNG of noise in all its rows' filters; of a palette with so many colours."""
    random = np.random.default_rng(seed)
    row_bytes = -(-width * depth * CHANNELS[kind] // 8)
    rows = random.integers(0, 256 if seed % 2 else 2, (height, row_bytes + 1), np.uint8)
    rows[:, 0] = random.integers(0, 5, height)
    if kind == 3:
        rows[:, 0] = 0
        rows[:, 1:] &= 255 if depth < 8 else colours - 1
    data = png(struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0), rows.tobytes(), transparent)
    if kind != 3:
        return data
    palette = random.integers(0, 256, 3 * min(colours, 1 << depth), np.uint8).tobytes()
    chunk = struct.pack(">I", len(palette)) + b"PLTE" + palette + struct.pack(">I", zlib.crc32(b"PLTE" + palette))
    return data[:33] + chunk + data[33:]


@pytest.fixture
def pillow_is_left_alone(monkeypatch):
    monkeypatch.delitem(pillow_probes.PROBES, "PNG")


@pytest.mark.parametrize("background", [None, WHITE, TINT])
@pytest.mark.parametrize(("kind", "depth"), [*KINDS, GRAY_ALPHA_16])
def test_each_kind_has_the_pixels_that_pillow_finds(kind, depth, background):
    for width, height, seed in ((1, 1, 1), (3, 5, 2), (8, 1, 3), (67, 33, 4), (67, 33, 5)):
        data = made(kind, depth, width, height, seed)
        assert outcome(data, background) == outcome_with_pillow(data, background)


@pytest.mark.parametrize(("kind", "depth"), KINDS)
def test_each_kind_is_read_without_pillow(kind, depth, pillow_is_left_alone):
    assert isinstance(outcome(made(kind, depth, 19, 7, 1)), tuple)


@pytest.mark.parametrize("background", [None, WHITE, TINT])
@pytest.mark.parametrize(
    ("kind", "depth", "transparent"),
    [
        (0, 1, b"\0\1"),
        (0, 4, b"\0\7"),
        (0, 8, b"\0\1"),
        (0, 8, b"\1\1"),
        (0, 16, b"\1\1"),
        (2, 8, b"\0\0\0\1\0\1"),
        (2, 16, b"\0\0\0\1\0\1"),
        (3, 8, b"\0\x80"),
        (3, 4, b"\xff\xff"),
    ],
)
def test_what_is_transparent_is_what_pillow_takes_for_it(kind, depth, transparent, background):
    for seed in (1, 2):
        data = made(kind, depth, 40, 21, seed)
        at = data.index(b"IDAT") - 4
        chunk = struct.pack(">I", len(transparent)) + b"tRNS" + transparent
        data = data[:at] + chunk + struct.pack(">I", zlib.crc32(chunk[4:])) + data[at:]
        assert outcome(data, background) == outcome_with_pillow(data, background)


def test_a_colour_that_is_not_in_the_palette_is_what_pillow_makes_of_it():
    data = made(3, 4, 31, 9, 1, colours=5)
    assert outcome(data) == outcome_with_pillow(data)


def test_exif_and_what_is_dropped_stay_what_they_were():
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Maker"
    file = io.BytesIO()
    SMALL.save(file, "PNG", exif=exif, icc_profile=b"profile", dpi=(300, 300))
    found = outcome(file.getvalue())
    assert found == outcome_with_pillow(file.getvalue())
    assert b"Maker" in found[3]


def test_chunks_of_pixels_may_be_many_and_empty_or_have_others_between_them():
    data = saved(SMALL, "PNG")
    at = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[at - 4 : at])
    pixels = data[at + 4 : at + 4 + length]

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    for size in (1, 2, 7, 1000):
        parts = [chunk(b"IDAT", pixels[start : start + size]) for start in range(0, length, size)]
        for between in (b"", chunk(b"IDAT", b""), chunk(b"tEXt", b"a\0b"), chunk(b"PLTE", bytes(3))):
            several = data[: at - 4] + between.join(parts) + chunk(b"IEND", b"")
            assert outcome(several) == outcome_with_pillow(several)
    assert outcome(several)[1] == outcome(data)[1]


@pytest.mark.parametrize("extra", [0, 1, 1000])
def test_more_or_fewer_pixels_than_there_should_be_are_judged_by_pillow(extra):
    header = struct.pack(">IIBBBBB", 20, 10, 8, 2, 0, 0, 0)
    for rows in (bytes(61 * 10 + extra), bytes(61 * 10 - 1 - extra % 61)):
        data = png(header, rows)
        assert outcome(data) == outcome_with_pillow(data)


@pytest.mark.parametrize(
    "header", [(8, 2, 1, 0, 0), (8, 2, 0, 1, 0), (8, 2, 0, 0, 1), (8, 7, 0, 0, 0), (3, 0, 0, 0, 0)]
)
def test_unusual_headers_are_judged_by_pillow(header):
    data = png(struct.pack(">IIBBBBB", 8, 8, *header), bytes(25 * 8 * 8))
    assert outcome(data) == outcome_with_pillow(data)


@pytest.mark.parametrize("kept", range(20, 300, 7))
def test_what_is_cut_off_fails_as_with_pillow(kept):
    data = made(2, 8, 9, 9, 1)[:kept]
    assert outcome(data) == outcome_with_pillow(data)


@settings(deadline=None, max_examples=400)
@given(
    kind=st.sampled_from(KINDS),
    changes=st.lists(st.tuples(st.integers(8, 500), st.integers(0, 255)), min_size=1, max_size=3),
    seed=st.integers(1, 4),
)
def test_what_is_damaged_is_what_pillow_makes_of_it(kind, changes, seed):
    data = bytearray(made(*kind, 13, 9, seed))
    for place, value in changes:
        data[place % len(data)] = value
    assert outcome(bytes(data)) == outcome_with_pillow(bytes(data))


def test_a_bomb_unfolds_to_no_more_than_its_header_says(monkeypatch):
    header = struct.pack(">IIBBBBB", 100, 100, 8, 2, 0, 0, 0)
    data = png(header, bytes(50_000_000))
    read, asked = png_rows.Inflated._some, []
    monkeypatch.setattr(png_rows.Inflated, "_some", lambda self, most: asked.append(most) or read(self, most))
    assert isinstance(outcome(data), tuple)
    assert max(asked) <= 301 * 100
