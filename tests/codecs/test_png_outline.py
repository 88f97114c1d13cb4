"""What a PNG's chunks tell: a walk that ends, and the picture's own chunks."""

import mmap
import os
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from batchgray.codecs import png_outline
from batchgray.errors import ImageError


def test_no_more_chunks_are_walked_than_a_picture_has(monkeypatch):
    monkeypatch.setattr(png_outline, "_MOST_CHUNKS", 100)
    header = struct.pack(">I", 13) + b"IHDR" + struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0) + bytes(4)
    with pytest.raises(ImageError, match="more than 100 chunks"):
        png_outline.PngOutline.walk(b"\x89PNG\r\n\x1a\n" + header + (bytes(4) + b"IDAT" + bytes(4)) * 101)


def test_the_file_without_its_metadata_is_read_and_not_copied(tmp_path):
    path, pixels = tmp_path / "a.png", np.random.default_rng(3).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)
    info = PngInfo()
    info.add_text("a", "b" * 10_000)
    Image.fromarray(pixels).save(path, compress_level=0, pnginfo=info)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        tracemalloc.start()
        outline = png_outline.PngOutline.walk(data)
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
