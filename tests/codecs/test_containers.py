"""What a file's structure tells: formats by their first bytes, and walks that end."""

import io
import mmap
import os
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from batchgray.codecs import containers
from batchgray.errors import ImageError


@pytest.mark.parametrize(
    ("head", "format"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"II+\0", "TIFF"),
        (b"MM\0+", "TIFF"),
        (b"RIFF\n\0\r\0WEBPVP8 ", "WEBP"),
        (b"BM", "BMP"),
        (b"\x28\0\0\0", "DIB"),
        (b"GIF89a", "GIF"),
        (b"\0\0\0\x1cftypavif", "AVIF"),
    ],
)
def test_a_format_is_known_by_its_first_bytes(head, format):
    assert containers.format_of(head) == format


@pytest.mark.parametrize(
    "head", [b"", b"\xff\xd8", b"%!PS-Adobe", b"8BPS", b"P6 1 1", b"RIFF....AVI LIST", b"\0\0\0\x0cjP  "]
)
def test_any_other_is_refused(head):
    with pytest.raises(ImageError, match="in none of the formats that are read here"):
        containers.format_of(head)


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"hevc", b"heim"])
def test_a_phones_heic_is_told_what_to_do(brand):
    with pytest.raises(ImageError, match="HEIC is not read here; convert it"):
        containers.format_of(b"\0\0\0\x18ftyp" + brand)


def test_no_more_chunks_are_walked_than_a_picture_has(monkeypatch):
    monkeypatch.setattr(containers, "_PNG_MOST_CHUNKS", 100)
    header = struct.pack(">I", 13) + b"IHDR" + struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0) + bytes(4)
    with pytest.raises(ImageError, match="more than 100 chunks"):
        containers.PngOutline.walk(b"\x89PNG\r\n\x1a\n" + header + (bytes(4) + b"IDAT" + bytes(4)) * 101)


@pytest.mark.parametrize("size", [(4000, 3999), (4001, 4000)])
def test_only_what_would_cost_something_must_be_plausible(size):
    harmless = size[0] * size[1] <= 16_000_000
    try:
        containers.check_plausible(*size, least_bytes=100, file_bytes=99)
    except ImageError:
        assert not harmless
    else:
        assert harmless
    containers.check_plausible(*size, least_bytes=100, file_bytes=100)


def test_the_file_without_its_metadata_is_read_and_not_copied(tmp_path):
    path, pixels = tmp_path / "a.png", np.random.default_rng(3).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)
    info = PngInfo()
    info.add_text("a", "b" * 10_000)
    Image.fromarray(pixels).save(path, compress_level=0, pnginfo=info)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        tracemalloc.start()
        outline = containers.PngOutline.walk(data)
        excerpt = outline.without_metadata(data)
        with Image.open(excerpt) as image:
            assert image.size == (2000, 1500)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < len(data) // 8
        expected = data[:8] + b"".join(data[part] for part in outline.kept)
        excerpt.seek(0)
        assert b"".join(iter(lambda: excerpt.read(70_001), b"")) == expected
        assert len(expected) < len(data) - 10_000
        excerpt.seek(-5, os.SEEK_END)
        assert excerpt.read() == expected[-5:]
        with Image.open(outline.without_metadata(data)) as image:
            assert np.array_equal(np.asarray(image), pixels)


def saved(image: Image.Image, format: str, **settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **settings)
    return buffer.getvalue()


PICTURE = Image.fromarray(np.random.default_rng(8).integers(0, 256, (31, 45, 3), dtype=np.uint8))
VEILED = PICTURE.copy()
VEILED.putalpha(77)
JUNK = b"JUNK" + struct.pack("<I", 1_000_000) + bytes(1_000_000)
WEBPS = {
    "lossy": saved(PICTURE, "WEBP"),
    "lossless": saved(PICTURE, "WEBP", lossless=True),
    "alpha": saved(VEILED, "WEBP", quality=90),
    "exif": saved(VEILED, "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0", icc_profile=bytes(200)),
    "moving": saved(PICTURE, "WEBP", save_all=True, append_images=[VEILED.convert("RGB").rotate(180)]),
}


def webp(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("name", WEBPS)
@pytest.mark.parametrize("padding", ["", "inside", "behind"])
def test_of_a_webp_its_first_frame_is_read_and_nothing_else(name, padding):
    data = sound = WEBPS[name]
    if padding:
        data = sound + bytes(1_000_000) if padding == "behind" else webp(sound[12:], JUNK)
    outline = containers.WebpOutline.walk(data)
    assert (outline.width, outline.height) == PICTURE.size
    assert outline.frames == (2 if name == "moving" else 1)
    assert bool(outline.exif) == (name == "exif")
    assert outline.kept_bytes <= len(sound) - 12
    excerpt = outline.without_metadata(data)
    assert len(excerpt.read()) == 12 + outline.kept_bytes
    with Image.open(io.BytesIO(sound)) as whole, Image.open(outline.without_metadata(data)) as image:
        assert image.mode == whole.mode
        assert np.array_equal(np.asarray(image), np.asarray(whole))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (webp(JUNK), "a WebP without a picture"),
        (webp(b"VP8X\x0a\0\0\0" + bytes(4) + b"\xff" * 6), "a canvas of 16777216 x 16777216"),
        (webp(b"VP8X\x0a\0\0\0")[:20], "a WebP without a picture"),
        (webp(b"JUNK\0\0\0\0" * 1_000_001), "more than 1,000,000 chunks"),
    ],
)
def test_a_webp_without_a_picture_is_refused(data, reason):
    with pytest.raises(ImageError, match=reason):
        containers.WebpOutline.walk(data)


def test_of_a_gif_its_first_frame_is_read_and_nothing_else():
    palette = PICTURE.quantize(60)
    sound = saved(palette, "GIF", transparency=5, save_all=True, append_images=[palette.rotate(180)])
    at = 13 + 3 * (2 << (sound[10] & 7))
    comment = b"!\xfe" + (b"\xff" + b"c" * 255) * 5000 + b"\0"
    data = sound[:at] + comment + sound[at:]
    outline = containers.GifOutline.walk(data)
    assert outline.frames == 2
    assert len(outline.without_metadata(data).read()) < len(sound)
    with Image.open(io.BytesIO(sound)) as whole, Image.open(outline.without_metadata(data)) as image:
        assert image.info["transparency"] == whole.info["transparency"]
        assert np.array_equal(np.asarray(image.convert("RGBA")), np.asarray(whole.convert("RGBA")))


def test_a_gif_that_is_cut_off_is_read_as_far_as_it_goes():
    sound = saved(PICTURE.quantize(60), "GIF")
    outline = containers.GifOutline.walk(sound[:-200])
    assert outline.frames == 1
    assert sound[:-200].endswith(outline.without_metadata(sound[:-200]).read()[-100:-1])
