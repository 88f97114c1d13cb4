"""What a HEIF's boxes tell of its primary picture."""

import struct

import numpy as np
import pytest
from boxed import box, heic, patched

from batchgray.codecs import heif_outline
from batchgray.codecs.heif_outline import HeifOutline
from batchgray.errors import ImageError

RANDOM = np.random.default_rng(9)
LARGE, SMALL = RANDOM.integers(0, 256, (64, 80, 3), np.uint8), RANDOM.integers(0, 256, (66, 68, 3), np.uint8)
PLAIN = heic(LARGE)


@pytest.mark.parametrize(("primary", "sides"), [(0, (80, 64)), (1, (68, 66))])
def test_the_sides_are_those_of_the_primary_picture(primary, sides):
    outline = HeifOutline.walk(heic(LARGE, SMALL, primary_index=primary))
    assert (outline.width, outline.height) == sides
    assert not outline.sequence


def test_of_tiles_the_whole_counts():
    outline = HeifOutline.walk(heic(np.zeros((300, 500, 3), np.uint8), tile_size=128))
    assert (outline.width, outline.height) == (500, 300)


def test_numbers_may_be_of_either_length():
    """Version 1 of the associations has items of 32 bits, flag 1 properties of 16; of the primary item alike."""
    primary = box(b"pitm", struct.pack(">IH", 0, 1))
    long_primary = box(b"pitm", struct.pack(">II", 1 << 24, 70000))
    for item, version, number in ((primary, 0, 1), (long_primary, 1, 70000)):
        for wide in (0, 1):
            before = struct.pack(">IB" if version else ">HB", 3, 0)
            one = struct.pack(">IB" if version else ">HB", number, 2) + struct.pack(">HH" if wide else ">BB", 1, 2)
            table = box(b"ipma", struct.pack(">II", version << 24 | wide, 2) + before + one)
            sides = box(b"ispe", struct.pack(">III", 0, 12, 34))
            properties = box(b"iprp", box(b"ipco", box(b"pixi", b"") + sides) + table)
            outline = HeifOutline.walk(box(b"ftyp", b"heic") + box(b"meta", bytes(4) + item + properties))
            assert (outline.width, outline.height) == (12, 34)


def test_a_sequence_is_read_where_it_has_a_still_picture():
    assert HeifOutline.walk(PLAIN + box(b"moov", b"")).sequence
    with pytest.raises(ImageError, match="a HEIF sequence without a still picture is not read here"):
        HeifOutline.walk(PLAIN.replace(b"meta", b"free") + box(b"moov", b""))


def hostile() -> dict[str, tuple[bytes, str]]:
    entries = PLAIN.index(b"ipma") + 8
    return {
        "no head": (PLAIN.replace(b"meta", b"free"), "damaged: a HEIF without its head"),
        "no primary": (PLAIN.replace(b"pitm", b"free"), "damaged: a HEIF without a primary picture"),
        "no properties": (PLAIN.replace(b"ipco", b"free"), "does not give the sides of its primary picture"),
        "another": (patched(PLAIN, b"pitm", 8, b"\0\7"), "does not give the sides of its primary picture"),
        "endless": (patched(PLAIN, b"ipma", 8, b"\xff\xff\xff\xff\0\7\0"), "damaged: a HEIF whose head ends too early"),
        "promise": (
            patched(PLAIN, b"ispe", 8, struct.pack(">II", 3000, 64)),
            "promises 3000 x 64 pixels, and its picture has 80 x 64",
        ),
        "cut off": (PLAIN[:entries], "damaged: a HEIF"),
    }


@pytest.mark.parametrize("name", hostile())
def test_what_makes_no_sense_is_refused(name):
    data, reason = hostile()[name]
    with pytest.raises(ImageError, match=reason):
        HeifOutline.walk(data)


@pytest.mark.parametrize("kind", ["ispe", "hvcC"])
def test_a_part_that_is_far_larger_than_the_picture_is_refused(kind, monkeypatch):
    two = heic(LARGE, np.zeros((128, 160, 3), np.uint8), primary_index=0)
    if kind == "hvcC":  # only the decoder is told of it
        two = two.replace(struct.pack(">II", 160, 128), struct.pack(">II", 16, 16))
    assert HeifOutline.walk(two).width == 80
    monkeypatch.setattr(heif_outline, "_HARMLESS_PIXELS", 1000)
    with pytest.raises(ImageError, match="damaged: a part of 160 x 128 in an image of 80 x 64"):
        HeifOutline.walk(two)
    assert HeifOutline.walk(heic(LARGE, SMALL, primary_index=0)).width == 80


def test_a_head_that_is_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(heif_outline, "_MOST_HEAD_BYTES", 100)
    with pytest.raises(ImageError, match=r"damaged: a HEIF with a head of \d+ bytes"):
        HeifOutline.walk(PLAIN)
