"""HEICs: pixels, orientation, alpha, depth, several pictures; and what is said without the extra."""

import io
import struct
import subprocess
import sys
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
from boxed import codestream, heic, patched
from described import KEYWORDS, packet
from PIL import Image, ImageOps

from batchgray.codecs.metadata import Besides
from batchgray.codecs.opening import open_image
from batchgray.codecs.xmp import without_colour
from batchgray.errors import ImageError

RANDOM = np.random.default_rng(11)
FOUR = RANDOM.integers(0, 256, (64, 80, 4), np.uint8)
THREE, ONE = FOUR[..., :3], FOUR[..., 0]
DEEP = RANDOM.integers(0, 1024, (64, 80, 3), np.uint16) << 6
DATA = heic(THREE)
PLANES = SimpleNamespace(rgb=bytearray(THREE.size))


@pytest.fixture
def opened(tmp_path):
    """Opens a file of these bytes; what is opened is closed at the end."""
    held = []

    def open_one(data: bytes, **settings):
        (tmp_path / "image").write_bytes(data)
        held.append(closing(open_image(str(tmp_path / "image"), "bt601", 10**9, **settings)))
        return held[-1].__enter__()

    yield open_one
    for each in held:
        each.__exit__()


def exif_of(opened) -> dict:
    found = Image.Exif()
    found.load(opened.exif)
    return dict(found)


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    return exif.tobytes()


@pytest.mark.parametrize("samples", [ONE, THREE, FOUR, THREE[:63, :77], np.tile(THREE, (5, 5, 1))])
@pytest.mark.parametrize("tile_size", [0, 128])
def test_the_pixels_are_the_files(opened, samples, tile_size):
    image = opened(heic(samples, tile_size=tile_size))
    values, alpha = image.read()
    assert np.array_equal(values, samples[..., :3] if samples.ndim == 3 else samples)
    assert (alpha is not None) == (samples.shape[2:] == (4,))
    if alpha is not None:
        assert np.array_equal(alpha, samples[..., 3])
    assert (image.width, image.height) == samples.shape[1::-1]
    assert image.colour == (samples.ndim == 3)
    assert image.note is None


@pytest.mark.parametrize("samples", [DEEP, DEEP[..., 0]])
def test_of_ten_bits_the_upper_eight_are_taken(opened, samples):
    image = opened(heic(samples))
    assert np.array_equal(image.read()[0], samples >> 8)
    assert image.note == "the upper 8 of 10 bits were taken"


def test_alpha_of_ten_bits_is_taken_as_well(opened):
    deep = RANDOM.integers(0, 1024, (64, 80, 4), np.uint16) << 6
    values, alpha = opened(heic(deep)).read()
    assert np.array_equal(values, deep[..., :3] >> 8)
    assert np.array_equal(alpha, deep[..., 3] >> 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_is_turned_once_and_its_exif_says_upright(opened, orientation):
    image = opened(heic(THREE, exif=turned(orientation)))
    drawn = Image.fromarray(THREE)
    drawn.getexif()[0x0112] = orientation
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG", exif=drawn.getexif())
    upright = np.asarray(ImageOps.exif_transpose(Image.open(buffer)))
    assert np.array_equal(image.read()[0], upright)
    assert (image.width, image.height) == upright.shape[1::-1]
    assert exif_of(image) == {0x0112: 1, 0x010F: "Maker"}


def test_an_orientation_that_only_exif_tells_is_left_alone_as_viewers_do(opened):
    data = heic(THREE, exif=turned(1))
    order = ">" if b"MM\0*" in data else "<"
    image = opened(patched(data, struct.pack(f"{order}HHI", 0x0112, 3, 1), 8, struct.pack(f"{order}H", 6)))
    assert np.array_equal(image.read()[0], THREE)
    assert exif_of(image)[0x0112] == 1


def test_the_primary_picture_is_taken_and_the_note_says_of_how_many(opened):
    image = opened(heic(THREE, 255 - THREE[:32], primary_index=1))
    assert np.array_equal(image.read()[0], 255 - THREE[:32])
    assert image.note == "the primary one of 2 pictures in the file"


@pytest.mark.parametrize(
    ("xmp", "besides"),
    [
        (packet(KEYWORDS), Besides({"XMP": without_colour(packet(KEYWORDS))})),
        (b"no XML", Besides({}, {"XMP"})),
        (None, Besides()),
    ],
)
def test_xmp_is_kept_or_told(opened, xmp, besides):
    assert opened(heic(THREE, xmp=xmp)).besides == besides


def test_a_thumbnail_is_no_picture_of_its_own(opened):
    image = opened(heic(np.tile(THREE, (4, 4, 1)), thumbnails=[100]))
    assert (image.width, image.note) == (320, None)


def test_a_file_of_the_common_brand_is_known_by_the_brands_behind_it(opened):
    data = heic(THREE)
    assert np.array_equal(opened(data[:8] + b"mif1" + data[12:]).read()[0], THREE)


def test_memory_is_asked_for_before_it_is_opened(opened):
    data, asked = heic(THREE), []
    image = opened(data, reserve=asked.append)
    assert asked == [2 * len(data)]
    assert image.scratch_bytes == 14 * 64 * 80 + 2 * len(data)


def test_what_is_cut_to_size_is_decoded_before_and_counts_as_that(opened, tmp_path):
    """An encoder fills the last rows and columns up; the file says which are to be seen."""
    data = heic(THREE[:63, :77])
    image = opened(data)
    assert (image.width, image.height) == (77, 63)
    assert image.scratch_bytes == 14 * 64 * 78 + 2 * len(data)
    with pytest.raises(ImageError, match="78 x 64 is 4,992 pixels, over the limit of 4,991"):
        open_image(str(tmp_path / "image"), "bt601", 4991)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_one_that_is_cut_off_is_damaged(opened, share):
    data = heic(THREE)
    with pytest.raises(ImageError, match="damaged: "):
        opened(data[: int(len(data) * share)]).decode(PLANES)


def test_one_whose_decoder_is_not_there_is_told_so(opened):
    with pytest.raises(ImageError, match=r"not read here: .*AV1.*; convert the file first"):
        opened(DATA.replace(b"hvc1", b"av01").replace(b"hvcC", b"av1C")).decode(PLANES)


def test_one_without_a_picture_is_told_so(opened):
    with pytest.raises(ImageError, match="a HEIF without a picture of a kind that is read here; convert"):
        opened(DATA.replace(b"hvc1", b"jpeg"))


def test_the_library_is_imported_when_its_first_picture_is_opened(tmp_path):
    (tmp_path / "a.heic").write_bytes(DATA)
    (tmp_path / "b.jp2").write_bytes(codestream(THREE))
    probe = """
import sys
from batchgray.codecs.opening import open_image
open_image(sys.argv[2], "bt601", 10**9).close()
assert "pillow_heif" not in sys.modules
open_image(sys.argv[1], "bt601", 10**9).close()
assert "pillow_heif" in sys.modules
"""
    subprocess.run([sys.executable, "-c", probe, tmp_path / "a.heic", tmp_path / "b.jp2"], check=True)


def test_without_the_extra_it_is_said_how_to_have_it(opened, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"HEIC and HEIF are read with batchgray\[heif\]: install it, or convert"):
        opened(DATA)
