"""What is checked of each format before Pillow opens it, and that Pillow gets no more than the picture needs."""

import io
from contextlib import closing
from typing import get_args

import pytest
from boxed import heic
from files import RGB, saved
from PIL import Image, features

from batchgray.codecs import limits, opening, pillow
from batchgray.codecs.opening import open_image
from batchgray.codecs.pillow_probes import PROBES
from batchgray.codecs.signatures import HEAD_BYTES, Format, format_of
from batchgray.errors import ImageError

PICTURE = Image.fromarray(RGB)
WIDTH, HEIGHT = PICTURE.size
PIXELS = WIDTH * HEIGHT
AVIF = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
FILES = {
    "PNG": saved(PICTURE, "PNG"),
    "TIFF": saved(PICTURE, "TIFF"),
    "WEBP": saved(PICTURE, "WEBP"),
    "GIF": saved(PICTURE.quantize(40), "GIF"),
    "BMP": saved(PICTURE, "BMP"),
    "DIB": saved(PICTURE, "DIB"),
    "JPEG2000": saved(PICTURE, "JPEG2000"),
    **({"AVIF": saved(PICTURE, "AVIF")} if features.check("avif") else {}),
}
OF_OTHERS = {"PPM": saved(PICTURE, "PPM"), "HEIF": heic(RGB)}


@pytest.fixture
def probed(tmp_path):
    """Opens a file of these bytes and closes it again."""

    def probe(data: bytes, **settings):
        (tmp_path / "image").write_bytes(data)
        opened = open_image(str(tmp_path / "image"), "bt601", 10**9, **settings)
        opened.close()
        return opened

    return probe


def test_every_format_but_jpeg_has_a_probe():
    assert PROBES.keys() == set(get_args(Format)) - {"JPEG"}


@pytest.mark.parametrize("kind", FILES | OF_OTHERS)
def test_each_is_opened_as_what_it_is(kind, probed):
    data = (FILES | OF_OTHERS)[kind]
    assert format_of(data[:HEAD_BYTES]) == kind
    opened = probed(data)
    assert (opened.width, opened.height, opened.colour, opened.note) == (WIDTH, HEIGHT, True, None)


@pytest.mark.parametrize("kind", FILES)
def test_of_pillows_parsers_only_its_own_is_asked(kind, probed, monkeypatch):
    asked, real = [], Image.open

    def watched(file, formats):
        asked.append(formats)
        return real(file, formats=formats)

    monkeypatch.setattr(pillow.Image, "open", watched)
    monkeypatch.setattr(opening, "_READERS", {})
    probed(FILES[kind])
    assert asked == [(kind,)]


@pytest.mark.parametrize("kind", [*FILES, "PPM"])
def test_no_probe_goes_past_the_limit_of_pixels(kind, tmp_path):
    (tmp_path / "image").write_bytes((FILES | OF_OTHERS)[kind])
    with pytest.raises(ImageError, match=f"is {PIXELS:,} pixels, over the limit of {PIXELS - 1:,}"):
        open_image(str(tmp_path / "image"), "bt601", PIXELS - 1)
    with closing(open_image(str(tmp_path / "image"), "bt601", PIXELS)) as opened:
        assert opened.width == WIDTH


@pytest.mark.parametrize("kind", [pytest.param("AVIF", marks=AVIF), "WEBP", "PNG", "TIFF", "GIF", "BMP", "JPEG2000"])
def test_what_reads_a_whole_file_asks_for_the_memory_before(kind, probed, monkeypatch):
    monkeypatch.setattr(opening, "_READERS", {})
    reserved = []
    opened = probed(FILES[kind], reserve=reserved.append)
    size = len(FILES[kind])
    if kind == "AVIF":
        assert reserved == [2 * size]
        assert opened.scratch_bytes == 19 * PIXELS + 2 * size
    elif kind == "WEBP":
        assert reserved == [2 * (size - 12) + 8 * PIXELS]
        assert opened.scratch_bytes == 19 * PIXELS + 2 * (size - 12)
    else:
        assert reserved == []


@AVIF
def test_an_avif_that_is_too_long_is_refused_before_it_is_read(probed, monkeypatch):
    monkeypatch.setattr(limits, "_WHOLE_BYTES", 100)
    with pytest.raises(ImageError, match="over the 100 that a file of its format can have here"):
        probed(FILES["AVIF"])


def test_a_bmps_header_is_no_longer_than_any(probed):
    data = bytearray(FILES["BMP"])
    data[14:18] = (125).to_bytes(4, "little")
    with pytest.raises(ImageError, match="damaged: a BMP with a header of 125 bytes"):
        probed(bytes(data))


def test_the_note_says_how_many_frames_and_how_many_bits_there_were(probed):
    gray = Image.new("I;16", (8, 8), 300)
    assert probed(saved(gray, "PNG")).note == "the upper 8 of 16 bits were taken"
    two = saved(gray, "TIFF", save_all=True, append_images=[gray])
    assert probed(two).note == "the first of 2 frames or pages; the upper 8 of 16 bits were taken"
    frames = [Image.new("L", (8, 8), value) for value in range(3)]
    gif = io.BytesIO()
    frames[0].save(gif, "GIF", save_all=True, append_images=frames[1:])
    assert probed(gif.getvalue()).note == "the first of 3 frames or pages"
