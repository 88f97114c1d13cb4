"""EXIF blocks: what fits a JPEG is kept to the byte, of what is stripped the orientation stays."""

import io

import pytest
from files import png, saved
from PIL import ExifTags, Image

from batchgray.codecs import encoding
from batchgray.codecs.exif import EXIF_HEADER, fitting, orientation_alone
from batchgray.codecs.png_outline import PngOutline
from batchgray.codecs.webp_outline import WebpOutline
from batchgray.planes.slots import LONGEST_EXIF, Metadata

LONGEST = b"MM" + bytes(LONGEST_EXIF - 2)


@pytest.mark.parametrize("header", [b"", EXIF_HEADER])
def test_the_longest_block_of_a_jpegs_segment_fits_and_no_longer_one(header):
    assert fitting(header + LONGEST) == LONGEST
    assert fitting(header + LONGEST + b"\0") == b""
    assert fitting(header) == b""


def test_the_longest_block_goes_into_a_jpeg_and_comes_out_whole():
    data = b"".join(encoding.encode_jpeg(memoryview(bytes(64)), 8, 8, 75, Metadata(LONGEST)))
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["exif"] == EXIF_HEADER + LONGEST


@pytest.mark.parametrize("header", [b"", EXIF_HEADER])
def test_every_container_hands_on_as_long_a_block(header):
    block = header + LONGEST
    chunk = len(block).to_bytes(4) + b"eXIf" + block + bytes(4)
    data = png((1).to_bytes(4) * 2 + bytes((8, 0, 0, 0, 0)), b"\0\0")
    assert fitting(PngOutline.walk(data[:33] + chunk + data[33:]).exif) == LONGEST
    webp = saved(Image.new("RGB", (8, 8)), "WEBP", exif=block)
    assert fitting(WebpOutline.walk(webp).exif) == LONGEST


def block_of(entries: dict[int, object]) -> bytes:
    exif = Image.Exif()
    exif.update(entries)
    return exif.tobytes().removeprefix(EXIF_HEADER)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_of_a_turned_picture_nothing_but_that_is_left(orientation):
    block = block_of({ExifTags.Base.Orientation: orientation, ExifTags.Base.Make: "a camera"})
    assert orientation_alone(block) == block_of({ExifTags.Base.Orientation: orientation})


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"MM",
        b"not a TIFF at all",
        block_of({ExifTags.Base.Orientation: 1}),
        block_of({ExifTags.Base.Orientation: 9}),
        block_of({ExifTags.Base.Make: "a camera"}),
    ],
)
def test_of_an_upright_or_unreadable_one_nothing_is(block):
    assert orientation_alone(block) == b""
