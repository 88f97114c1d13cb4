"""What a JPEG 2000's boxes and codestream tell, and what is refused since Pillow would read it wrongly."""

import struct
from contextlib import closing

import numpy as np
import pytest
from boxed import CMYK, GRAY, RGB, YCC, box, channels, codestream, colours, jp2, palette, shallower
from PIL import Image

from batchgray.codecs.jpeg2000_outline import Jpeg2000Outline
from batchgray.codecs.opening import open_image
from batchgray.errors import ImageError

RANDOM = np.random.default_rng(7)
FOUR = RANDOM.integers(0, 256, (31, 45, 4), np.uint8)
THREE, ONE = FOUR[..., :3], FOUR[..., 0]
ALPHA = channels((0, 0, 1), (1, 0, 2), (2, 0, 3), (3, 1, 0))
TABLE = RANDOM.integers(0, 256, (256, 3), np.uint8)
PROFILE = b"\2\0\0" + bytes(16) + b"RGB " + bytes(100)


def of_bits(bits: int) -> tuple[bytes, np.ndarray]:
    """A gray codestream of so many bits, and its samples."""
    wide = 16 if bits > 8 else 8
    samples = RANDOM.integers(0, 1 << bits, (31, 45))
    moved = samples - (1 << bits - 1) + (1 << wide - 1)
    return shallower(codestream(moved.astype(np.uint16 if wide == 16 else np.uint8)), bits), samples


def stretched(bits: int) -> tuple[bytes, np.ndarray]:
    """A gray codestream of so many bits, and what its pixels are to be."""
    stream, samples = of_bits(bits)
    if bits > 8:
        return stream, samples >> (bits - 8)
    gray = np.floor(samples * 255 / ((1 << bits) - 1) + 0.5)
    return stream, np.repeat(gray[..., None], 3, -1)


def few_colours() -> tuple[bytes, np.ndarray]:
    stream, samples = of_bits(4)
    return jp2(stream, colours(RGB), palette(TABLE[:11])), np.concatenate([TABLE[:11], np.zeros((5, 3))])[samples]


READ = {
    "gray": (codestream(ONE), ONE),
    "colours": (codestream(THREE), THREE),
    "four, of which nobody knows what the last is": (codestream(FOUR), THREE),
    "in a container": (jp2(codestream(THREE), colours(RGB)), THREE),
    "with a profile": (jp2(codestream(THREE), box(b"colr", PROFILE)), THREE),
    "with a colour space that is not known, and then another": (
        jp2(codestream(THREE), colours(99), colours(RGB)),
        THREE,
    ),
    "without a colour space": (jp2(codestream(ONE)), ONE),
    "YCC": (jp2(codestream(THREE), colours(YCC)), Image.fromarray(THREE, "YCbCr").convert("RGB")),
    "CMYK": (jp2(codestream(FOUR), colours(CMYK)), Image.fromarray(FOUR, "CMYK").convert("RGB")),
    "palette": (jp2(codestream(ONE), colours(RGB), palette(TABLE)), TABLE[ONE]),
    "palette of few": few_colours(),
    **{f"{bits} bits": stretched(bits) for bits in (1, 2, 4, 7, 9, 12, 16)},
}


@pytest.mark.parametrize("name", READ)
def test_the_pixels_are_the_files(name, tmp_path):
    data, expected = READ[name]
    (tmp_path / "image").write_bytes(data)
    with closing(open_image(str(tmp_path / "image"), "bt601", 10**9)) as opened:
        values, alpha = opened.read()
        assert np.array_equal(values, np.asarray(expected))
        assert opened.colour == (values.ndim == 3)
        assert alpha is None


@pytest.mark.parametrize(
    "data", [jp2(codestream(FOUR), colours(RGB), ALPHA), jp2(codestream(FOUR[..., :2]), channels((1, 1, 0), (0, 0, 1)))]
)
def test_the_last_is_alpha_where_the_file_says_so(data, tmp_path):
    (tmp_path / "image").write_bytes(data)
    with closing(open_image(str(tmp_path / "image"), "bt601", 10**9, (0, 0, 0))) as opened:
        assert np.array_equal(opened.read()[1], FOUR[..., 3 if opened.colour else 1])


def component(number: int, value: bytes) -> bytes:
    stream = codestream(THREE)
    at = 42 + 3 * number
    return stream[:at] + value + stream[at + len(value) :]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (component(0, b"\x87"), "signed samples, whose black is not known"),
        (component(0, b"\x0f\1\1\x0f\1\1\x0f"), "a JPEG 2000 of 3 x 16 bits is not read here; convert"),
        (component(1, b"\3"), "a JPEG 2000 of 3 x 4 and 8 bits is not read here; convert"),
        (shallower(codestream(ONE), 20), "a JPEG 2000 of 1 x 20 bits is not read here; convert"),
        (component(1, b"\7\2\2"), "fewer samples than pixels is not read here"),
        (component(1, b"\7\0\2"), "damaged: a JPEG 2000 without the head of its picture"),
        (jp2(codestream(THREE), colours(14)), "in a colour space other than gray, RGB, YCC and CMYK is not read"),
        (jp2(codestream(THREE), colours(GRAY)), "a JPEG 2000 of gray in 3 components is not read here"),
        (jp2(codestream(ONE), colours(RGB)), "a JPEG 2000 of RGB in 1 components is not read here"),
        (jp2(codestream(ONE), colours(YCC), palette(TABLE)), "with a palette of YCC is not read here"),
        (jp2(codestream(ONE), palette(TABLE[:, :2])), "a palette of other than R, G and B of 8 bits is not read"),
        (jp2(codestream(ONE), box(b"pclr", b"\0")), "a palette of other than R, G and B of 8 bits is not read"),
        (jp2(codestream(THREE), channels((0, 0, 3), (1, 0, 2), (2, 0, 1))), "with its channels in another order"),
        (jp2(codestream(FOUR), channels((0, 1, 0), (1, 0, 1), (2, 0, 2), (3, 0, 3))), "with its channels in another"),
        (jp2(codestream(FOUR), channels((0, 0, 1), (1, 0, 2), (2, 0, 3), (3, 2, 0))), "with alpha multiplied in is"),
        (jp2(codestream(ONE), sides=(31, 45)), "damaged: a JPEG 2000 with two sizes"),
        (jp2(codestream(ONE)).replace(b"jp2c", b"free"), "damaged: a JPEG 2000 without its picture"),
        (codestream(ONE)[:40], "damaged: a JPEG 2000 without the head of its picture"),
        (codestream(ONE)[:40] + b"\0\5" + codestream(ONE)[42:], "a JPEG 2000 of 5 components is not read here"),
        (codestream(ONE)[:24] + bytes(8) + codestream(ONE)[32:], "damaged: a JPEG 2000 whose tiles have no pixels"),
        (
            codestream(ONE)[:8]
            + struct.pack(">II", 2000, 2000)
            + bytes(8)
            + struct.pack(">II", 1, 1)
            + codestream(ONE)[32:],
            "damaged: a JPEG 2000 of 4,000,000 tiles; it has 65,535 at most",
        ),
    ],
)
def test_what_would_be_read_wrongly_is_refused(data, reason):
    with pytest.raises(ImageError, match=reason):
        Jpeg2000Outline.walk(data)


def test_the_library_gets_nothing_but_the_first_picture():
    stream = codestream(THREE)
    text = box(b"xml ", b"<a/>" * 1000)
    data = jp2(stream, colours(RGB), box(b"res ", b"x" * 500), behind=text + box(b"jp2c", stream) + text)
    outline = Jpeg2000Outline.walk(data)
    assert outline.frames == 2
    file = outline.for_pillow(data).read()
    assert file.endswith(stream)
    assert len(file) < len(stream) + 100


def test_an_exif_block_is_where_exiftool_puts_it():
    block = b"II*\0\x08\0\0\0\0\0\0\0\0\0"
    data = jp2(codestream(ONE), behind=box(b"uuid", b"JpgTiffExif->JP2" + block))
    assert Jpeg2000Outline.walk(data).exif == block
    assert Jpeg2000Outline.walk(jp2(codestream(ONE), behind=box(b"uuid", bytes(16) + block))).exif == b""
