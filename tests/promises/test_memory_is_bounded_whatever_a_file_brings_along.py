"""A file's length, and what it holds besides its picture, cost no memory that was not granted.

If this broke, one scan with its layers, or one picture padded by a broken tool, would take a small machine down.
"""

import io
import re
import struct
import subprocess
import sys

import numpy as np
import pytest
import tiffs
from boxed import codestream, heic, jp2, palette
from harness import batchgray, can, confined, manifest_of, tree
from PIL import Image, features

RGB = np.random.default_rng(5).integers(0, 256, (64, 80, 3), dtype=np.uint8)
GRAY = (RGB.astype(np.uint32) @ np.array([30, 59, 11], np.uint32) // 100).astype(np.uint8)
LONG = 400_000_000
# What each process may have of its own, with all libraries: enough to convert these, and not to read one of them.
OWN_BYTES = 700_000_000

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not can("prlimit", "--data=1000000000"), reason="no limit on a process's own memory"
)


def saved(format: str, **settings) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, format, **settings)
    return buffer.getvalue()


def segment(code: int, body: bytes) -> bytes:
    return bytes((0xFF, code)) + struct.pack(">H", len(body) + 2) + body


def write(path, *pieces: bytes | int) -> None:
    """Bytes, and numbers of zeros that take no space on disk."""
    with path.open("wb") as file:
        for piece in pieces:
            if isinstance(piece, bytes):
                file.write(piece)
            else:
                file.seek(piece, io.SEEK_CUR)
                file.truncate()


def tiff(path, tag: int, kind: int, compression: int) -> None:
    """A TIFF with a tag that has LONG bytes, behind everything else."""
    data = tiffs.tiff(RGB, bits=8, photometric=tiffs.RGB, compression=compression, more={tag: (kind, b"12345")})
    entry = struct.pack("<HHI", tag, kind, 5)
    at = data.index(entry)
    longer = struct.pack("<HHII", tag, kind, LONG, len(data))
    write(path, data[:at] + longer + data[at + len(longer) :], LONG)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name, tag, kind in (("description", 270, 2), ("software", 305, 2), ("profile", 34675, 7), ("layers", 37724, 7)):
        for compression in (tiffs.NONE, tiffs.DEFLATE):
            tiff(folder / f"{name}-{compression}.tif", tag, kind, compression)
    webp = saved("WEBP", lossless=True)
    write(folder / "behind.webp", webp, LONG)
    head = b"RIFF" + struct.pack("<I", len(webp) + LONG) + webp[8:] + b"JUNK" + struct.pack("<I", LONG)
    write(folder / "inside.webp", head, LONG)
    jpeg = saved("JPEG", quality=100, subsampling=0)
    profile = segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60000))
    write(folder / "profiles.jpg", jpeg[:2], profile * (LONG // len(profile)), jpeg[2:])
    png = saved("PNG")
    for name, kind in (("transparency", b"tRNS"), ("palette", b"PLTE")):
        write(folder / f"{name}.png", png[:33], struct.pack(">I", LONG) + kind, LONG + 4, png[33:])
    bmp = saved("BMP")
    write(folder / "header.bmp", bmp[:14], struct.pack("<I", LONG), bmp[18:], LONG)
    gif = saved("GIF")
    at = 13 + 3 * (2 << (gif[10] & 7))
    write(folder / "comment.gif", gif[:at], b"!\xfe" + (b"\xff" + bytes(255)) * 900_000 + b"\0", gif[at:])
    ppm = b"P6 80 64 255\n" + RGB.tobytes()
    write(folder / "behind.ppm", ppm, LONG)
    write(folder / "plain.ppm", b"P3 80 64 255\n" + b" ".join(b"%d" % value for value in RGB.reshape(-1)) + b"#", LONG)
    stream = codestream(RGB)
    write(folder / "inside.jp2", jp2(stream)[:32], struct.pack(">I", LONG + 8) + b"xml ", LONG, jp2(stream)[32:])
    write(folder / "free.heic", heic(RGB), struct.pack(">I", LONG + 8) + b"free", LONG)
    if features.check("avif"):
        write(folder / "free.avif", saved("AVIF"), struct.pack(">I", LONG + 8) + b"free", LONG)
    return folder


def test_what_is_not_the_picture_is_not_read(pictures, tmp_path):
    arguments = ("run", pictures, "--out", tmp_path, "--format", "png", "--progress", "none", "--memory", "20M")
    confined(["prlimit", f"--data={OWN_BYTES}"], *arguments, "--workers", 1, expect=3)
    images = {image["source"]: image for image in manifest_of(tmp_path)["images"]}
    assert images.pop("header.bmp")["error"] == "damaged: a BMP with a header of 400,000,000 bytes"
    for name in {"free.avif", "free.heic"} & images.keys():
        reason = images.pop(name)["error"]
        assert reason == "needs 800 MB while it is converted, over the limit of 21 MB; raise --memory"
    for name, image in images.items():
        assert image["state"] == "done", image["error"]
        with Image.open(tmp_path / image["output"]) as result:
            assert result.size == (80, 64)
            if name.endswith(("tif", "webp", "png", "ppm", "jp2")):
                assert np.array_equal(np.asarray(result), GRAY)


def test_a_tile_that_is_larger_than_its_picture_is_granted_first(tmp_path):
    """libtiff decodes a whole one: here 200 MB, out of a file of 200 kB, for 100 x 100 pixels."""
    corner, side = np.zeros((100, 100, 4), np.uint16), 5000
    data = tiffs.tiff(corner, bits=16, photometric=tiffs.RGB, extras=(2,), compression=tiffs.DEFLATE, tile=side)
    (tmp_path / "a.tif").write_bytes(data)
    arguments = ("run", tmp_path / "a.tif", "--workers", 1, "--format", "png", "--progress", "none")
    batchgray(*arguments, "--out", tmp_path / "tight", "--memory", "100M", expect=3)
    (image,) = manifest_of(tmp_path / "tight")["images"]
    assert re.match(r"needs 2\d\d MB while it is converted, over the limit of 105 MB", image["error"])
    batchgray(*arguments, "--out", tmp_path / "wide", "--memory", "500M")


def test_a_second_opinion_is_asked_for_when_there_is_memory_for_it(tmp_path):
    """A JPEG with a fault at its end is decoded again, by a library that takes three times as much."""
    noise = np.random.default_rng(2).integers(0, 256, (2403, 2405, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=60)
    data = buffer.getvalue()
    (tmp_path / "a.jpg").write_bytes(data[:-2] + bytes(600) + data[-2:])
    arguments = ("run", tmp_path / "a.jpg", "--workers", 1, "--format", "png", "--progress", "none")
    batchgray(*arguments, "--out", tmp_path / "wide", "--memory", "200M")
    (image,) = manifest_of(tmp_path / "wide")["images"]
    assert "fault in the file" in image["note"]
    batchgray(*arguments, "--out", tmp_path / "tight", "--memory", "60M")
    (image,) = manifest_of(tmp_path / "tight")["images"]
    assert image["note"] is None  # it was read in bands instead
    assert tree(tmp_path / "tight") == tree(tmp_path / "wide")


MEASURED = """
import re, sys
from types import SimpleNamespace
from batchgray.codecs.opening import open_image

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

def opened(path):
    asked = []
    image = open_image(path, "bt601", 10**9, reserve=asked.append)
    pixels = image.width * image.height
    planes = SimpleNamespace(rgb=bytearray(b"x") * (3 * pixels), gray=bytearray(b"x") * pixels)
    return image, planes, sum(asked)

image, planes, _ = opened(sys.argv[1])  # which loads the libraries
image.decode(planes)
image.close()
image, planes, asked = opened(sys.argv[2])
open("/proc/self/clear_refs", "w").write("5")
before = peak()
image.decode(planes)
print(peak() - before, image.scratch_bytes + asked, image.width * image.height)
"""
SIDES = 1200, 1600
GRADIENT = ((np.arange(SIDES[1]) * 3 + np.arange(SIDES[0])[:, None] * 5) & 255).astype(np.uint8)


def repeated(channels: int, kind=np.uint8) -> np.ndarray:
    return np.stack([GRADIENT] * channels, -1).astype(kind) << (8 if kind is np.uint16 else 0)


LOSSY = {"quality": 60, "matrix_coefficients": 1}
LARGE = {
    "photo.heic": lambda: heic(repeated(3), **LOSSY, chroma=420),
    "tiles.heic": lambda: heic(repeated(3), **LOSSY, tile_size=512),
    "alpha.heic": lambda: heic(repeated(4), **LOSSY, chroma=444),
    "deep.heic": lambda: heic(repeated(4, np.uint16), **LOSSY, chroma=444),
    "colour.jp2": lambda: codestream(repeated(3)),
    "alpha.jp2": lambda: codestream(repeated(4)),
    "gray.jp2": lambda: codestream(GRADIENT),
    "deep.jp2": lambda: codestream(GRADIENT.astype(np.uint16) << 8),
    "palette.jp2": lambda: jp2(codestream(GRADIENT), palette(np.arange(768, dtype=np.uint8).reshape(256, 3))),
    "colour.ppm": lambda: b"P6 1600 1200 65535\n" + repeated(3, np.uint16).astype(">u2").tobytes(),
    "text.pgm": lambda: b"P2 1600 1200 255\n" + b" ".join(b"%d" % value for value in GRADIENT.reshape(-1)),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_decoder_holds_no_more_than_was_asked_for(name, tmp_path):
    small = {"heic": heic(RGB), "jp2": codestream(RGB)}.get(name.split(".")[1], b"P6 80 64 255\n" + RGB.tobytes())
    (tmp_path / "small").write_bytes(small)
    (tmp_path / "large").write_bytes(LARGE[name]())
    command = [sys.executable, "-c", MEASURED, tmp_path / "small", tmp_path / "large"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    held, asked, pixels = map(int, told.split())
    assert pixels == 1600 * 1200
    mapped = (tmp_path / "large").stat().st_size  # pages that are the system's to take back
    assert held <= asked + mapped, f"{held / pixels:.1f} bytes a pixel, and {asked / pixels:.1f} were asked for"
