"""A PNG of ours is one that everybody reads, to the same pixels, whatever the effort."""

import io
import itertools
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from batchgray.codecs import png
from batchgray.planes.slots import NO_METADATA, Metadata

EFFORTS = range(10)
GOLDEN = [492636133, 3106962748, 4259640602, 1913924529]  # seen on processors with SSE 4, AVX2 and AVX-512
SIZES = [(1, 1), (1, 9), (9, 1), (2, 3), (31, 7), (33, 64), (257, 300), (200_001, 3)]


def made(gray: np.ndarray, compression: int, metadata: Metadata = NO_METADATA) -> bytes:
    height, width = gray.shape
    return b"".join(png.encode(gray.tobytes(), width, height, compression, metadata))


def noise(width: int, height: int, levels: int = 256, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, levels, (height, width), np.uint8)


def scene(width: int, height: int) -> np.ndarray:
    """Something like a photograph: smooth, with grain."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    waves = 120 + 60 * np.sin(x / 90) + 50 * np.cos(y / 70 + x / 200)
    return np.clip(waves + np.random.default_rng(1).normal(0, 3, waves.shape), 0, 255).astype(np.uint8)


def page(width: int, height: int) -> np.ndarray:
    """Something like a page of text."""
    image = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(image)
    for number, top in enumerate(range(4, height, 14)):
        draw.text((8, top), f"{number * 7919:06} the quick brown fox jumps over the lazy dog " * 3, 0)
    return np.asarray(image)


def chunks_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """As pngcheck looks at them: lengths and checksums are right, and nothing comes after the end."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at = 8
    while at < len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + length]
        assert data[at + 8 + length : at + 12 + length] == zlib.crc32(kind + body).to_bytes(4, "big")
        yield kind, body
        at += 12 + length
    assert kind == b"IEND"


def check(data: bytes, gray: np.ndarray, metadata: Metadata = NO_METADATA) -> None:
    """The specification's rules, and Pillow's reading."""
    height, width = gray.shape
    kinds, bodies = zip(*chunks_of(data), strict=True)
    assert kinds == (
        b"IHDR",
        *[b"eXIf"] * bool(metadata.exif),
        *[b"iTXt"] * bool(metadata.xmp),
        *[b"IDAT"] * kinds.count(b"IDAT"),
        b"IEND",
    )
    assert bodies[0] == width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\0\0\0\0"
    stream = b"".join(body for kind, body in zip(kinds, bodies, strict=True) if kind == b"IDAT")
    inflater = zlib.decompressobj()
    rows = np.frombuffer(inflater.decompress(stream), np.uint8).reshape(height, width + 1)
    assert (inflater.eof, inflater.unused_data) == (True, b"")
    assert rows[:, 0].max() <= 4
    with Image.open(io.BytesIO(data)) as image:
        assert (image.mode, image.size) == ("L", (width, height))
        assert np.array_equal(np.asarray(image), gray)
        assert image.info.get("exif", b"").removeprefix(b"Exif\0\0") == metadata.exif
        assert image.info.get("XML:com.adobe.xmp", "") == metadata.xmp.decode()


@pytest.mark.parametrize("compression", EFFORTS)
@pytest.mark.parametrize("levels", [1, 3, 256])
def test_every_effort_and_size_is_a_sound_png(compression, levels):
    for width, height in SIZES:
        gray = noise(width, height, levels)
        check(made(gray, compression), gray)


@settings(deadline=None, max_examples=100)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    levels=st.integers(1, 256),
    compression=st.sampled_from(EFFORTS),
    exif=st.binary(max_size=40),
    xmp=st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=40),
    seed=st.integers(0, 99),
)
def test_any_image(width, height, levels, compression, exif, xmp, seed):
    gray = noise(width, height, levels, seed)
    metadata = Metadata(exif and b"MM\0*" + exif, xmp.encode(), b"has no place")
    check(made(gray, compression, metadata), gray, metadata)


@pytest.mark.parametrize("compression", EFFORTS)
@pytest.mark.parametrize("of", [scene, page])
def test_images_of_several_pieces(compression, of):
    gray = of(1000, 1300)
    data = made(gray, compression)
    assert sum(kind == b"IDAT" for kind, _ in chunks_of(data)) > 2
    check(data, gray)


@pytest.mark.parametrize("compression", EFFORTS)
def test_opencv_reads_the_same(compression):
    for gray in (scene(700, 500), page(700, 500), noise(31, 7)):
        read = cv2.imdecode(np.frombuffer(made(gray, compression), np.uint8), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(read, gray)


@pytest.mark.parametrize("compression", EFFORTS)
def test_libvips_reads_the_same(compression):
    for gray in (scene(700, 500), page(700, 500), noise(31, 7)):
        read = pyvips.Image.new_from_buffer(made(gray, compression), "", fail_on="warning")
        assert np.array_equal(read.numpy().reshape(gray.shape), gray)


@pytest.mark.parametrize("of", [scene, page, noise])
def test_more_effort_is_never_much_larger(of):
    sizes = [len(made(of(900, 700), compression)) for compression in EFFORTS]
    for less, more in itertools.pairwise(sizes):
        assert more <= 1.01 * less
    assert sizes[9] <= 1.001 * min(sizes)  # noise that is stored has no heads


@pytest.mark.parametrize("of", [scene, page, noise])
def test_at_6_it_is_no_larger_than_pillows_at_6(of):
    gray, pillows = of(900, 700), io.BytesIO()
    Image.fromarray(gray).save(pillows, "PNG", compress_level=6)
    assert len(made(gray, 6)) <= pillows.tell()


@pytest.mark.parametrize("compression", [0, 2, 6])
def test_it_is_made_piece_by_piece(compression):
    """No piece asks for more than its own rows and the one above, and none is large."""
    gray = bytearray(scene(1000, 1300).tobytes())
    pieces = png.encode(gray, 1000, 1300, compression)
    first = [next(pieces), next(pieces)]
    gray[800_000:] = bytes(len(gray) - 800_000)
    data = b"".join(first + list(pieces))
    assert max(map(len, first)) < 600_000
    with Image.open(io.BytesIO(data)) as image:
        assert image.tobytes() == bytes(gray)


def test_the_bytes_are_those_of_any_other_machine():
    """Whatever the processor: zlib alone may differ, from 3 on."""
    x, y = np.meshgrid(np.arange(700), np.arange(500))
    smooth = ((x * x // 50 + y * y // 70 + x * y // 90 + (x * 7919 + y * 104_729) % 5) // 9).astype(np.uint8)
    flat = (smooth // 64 * 64).astype(np.uint8)
    assert [zlib.crc32(made(gray, effort)) for gray in (smooth, flat) for effort in (1, 2)] == GOLDEN
