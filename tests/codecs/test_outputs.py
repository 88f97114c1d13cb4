"""Outputs that are whole decode, and others don't, in little memory."""

import io
import subprocess
import sys
import zlib

import numpy as np
import pytest
from harness import gradient

from batchgray.codecs import encoding, outputs, png
from batchgray.errors import ImageError

WIDTH, HEIGHT = 120, 80


def made(format: str) -> bytes:
    pixels = np.ascontiguousarray(gradient(WIDTH, HEIGHT)[..., 0])
    pieces = png.encode(pixels.data, WIDTH, HEIGHT, 1)
    return b"".join(encoding.encode_jpeg(pixels.data, WIDTH, HEIGHT, 75) if format == "jpeg" else pieces)


def check(data: bytes) -> None:
    outputs.check_decodes(io.BytesIO(data))


@pytest.fixture(params=["jpeg", "long jpeg", "png"])
def output(request, monkeypatch):
    if request.param == "long jpeg":
        monkeypatch.setattr(outputs, "LONGEST_WHOLE", 100)
    return made(request.param.removeprefix("long "))


def test_one_that_is_whole(output):
    check(output)


def test_one_that_is_cut_off(output):
    with pytest.raises(ImageError, match="does not decode: "):
        check(output[: len(output) // 2])


def test_what_is_no_picture():
    for data in (b"", b"nothing of the kind", made("png")[:8]):
        with pytest.raises(ImageError, match="does not decode: "):
            check(data)


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def png_of(rows: bytes, header: bytes = bytes((0, 0, 0, 2, 0, 0, 0, 2, 8, 0, 0, 0, 0)), cut: int = 0) -> bytes:
    packed = zlib.compress(rows)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", packed[: len(packed) - cut])
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png_of(b"\0ab\0cd", bytes((0, 0, 0, 2, 0, 0, 0, 2, 8, 2, 0, 0, 0))), "no PNG of 8 bits of gray"),
        (png_of(b"\0ab"), "another number of pixels"),
        (png_of(b"\0ab\0cd\0ef"), "another number of pixels"),
        (png_of(b"\0ab\5cd"), "a filter that there is not"),
        (png_of(b"\0ab\0cd", cut=6), "cut off"),
        (png_of(b"\0ab\0cd")[:-1], "checksum is another"),
    ],
    ids=["colours", "short", "long", "filter", "deflate", "check"],
)
def test_a_png_that_is_not_what_it_says(data, words):
    check(png_of(b"\0ab\4cd"))
    with pytest.raises(ImageError, match=words):
        check(data)


def test_a_large_output_takes_little_memory(tmp_path):
    """400 megapixels, twice: decoded as a whole they would take 400 MB each."""
    side = 20_000
    for name, data in (("large.jpg", large_jpeg(side)), ("large.png", large_png(side))):
        (tmp_path / name).write_bytes(data)
        assert peak_of(tmp_path / name) < 60 << 20, name


def large_jpeg(side: int) -> bytes:
    return b"".join(encoding.encode_jpeg(memoryview(bytes(side * side)), side, side, 75))


def large_png(side: int) -> bytes:
    packer, row = zlib.compressobj(1), bytes(side + 1)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return png_of(b"", side.to_bytes(4) * 2 + bytes((8, 0, 0, 0, 0))).replace(
        chunk(b"IDAT", zlib.compress(b"")), chunk(b"IDAT", packed)
    )


def peak_of(path) -> int:
    """Bytes that a process needs to check an output, over what it needs for its imports."""
    code = """import resource, sys; from batchgray.codecs import outputs, pillow
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
with open(sys.argv[1], "rb") as file: outputs.check_decodes(file)
print(1024 * (peak() - before))"""
    return int(subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True).stdout)
