"""What a file's structure tells: formats by their first bytes, and walks that end."""

import mmap
import os
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from batchgray import containers
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
