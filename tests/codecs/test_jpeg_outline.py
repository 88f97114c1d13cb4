"""What a JPEG's segments tell, and which of them its picture needs."""

import struct

import pytest
from files import RGB, saved
from PIL import Image

from batchgray.codecs import jpeg_markers as markers
from batchgray.codecs.jpeg_markers import made
from batchgray.codecs.jpeg_outline import JpegOutline
from batchgray.errors import ImageError

PICTURE = Image.fromarray(RGB)
JPEG = saved(PICTURE, "JPEG", quality=90)
SOI, EOI = b"\xff\xd8", b"\xff\xd9"


def behind_soi(*segments: bytes, data: bytes = JPEG) -> bytes:
    return SOI + b"".join(segments) + data[2:]


def frame(code: int, width: int = 8, height: int = 8, depth: int = 8) -> bytes:
    return made(code, struct.pack(">BHHB", depth, height, width, 1) + b"\1\x11\0")


SCAN = made(markers.SOS, b"\1\1\0\0\0\0") + b"\x12\xff\0\xff\xd3\x34"


def test_a_video_behind_the_picture_counts_no_scans():
    jpeg = SOI + frame(0xC2) + SCAN * 3 + EOI
    assert len(JpegOutline.walk(jpeg + SCAN * 1000).scans) == 3
    with pytest.raises(ImageError, match="more than 500 scans"):
        JpegOutline.walk(SOI + frame(0xC2) + SCAN * 501 + EOI)


@pytest.mark.parametrize("progressive", [False, True])
def test_the_frame_says_what_the_picture_is(progressive):
    outline = JpegOutline.walk(saved(PICTURE, "JPEG", progressive=progressive, subsampling=2))
    assert (outline.width, outline.height, outline.components) == (*PICTURE.size, 3)
    assert outline.samples == 1.5
    assert outline.progressive == progressive
    assert bool(outline.eoi) == progressive  # else it is not looked for


def test_the_first_exif_counts_and_nothing_else_of_that_code():
    xmp = made(markers.APP1, b"http://ns.adobe.com/xap/1.0/\0<x/>")
    first, second = (made(markers.APP1, b"Exif\0\0MM\0*" + which) for which in (b"one", b"two"))
    assert JpegOutline.walk(behind_soi(xmp, first, second)).exif == b"MM\0*one"
    assert JpegOutline.walk(behind_soi(xmp)).exif == b""


def test_further_pictures_are_told():
    assert JpegOutline.walk(behind_soi(made(markers.APP2, b"MPF\0"))).multi_picture
    assert not JpegOutline.walk(behind_soi(made(markers.APP2, b"ICC_PROFILE\0"))).multi_picture


def test_the_picture_needs_no_metadata():
    adobe = made(markers.APP14, b"Adobe\0\x64\0\0\0\0\1")
    data = behind_soi(made(markers.COM, b"why"), adobe, made(markers.APP1, b"Exif\0\0"), made(0xED, b"Photoshop"))
    outline = JpegOutline.walk(data)
    assert outline.without_metadata(data).read() == SOI + adobe + JPEG[2:]
    assert outline.kept_bytes == len(adobe) + len(JPEG) - 2
    assert outline.headers(data).startswith(SOI + adobe + JPEG[2:20])
    assert adobe not in b"".join(
        part if isinstance(part, bytes) else data[part] for part in outline.parts(data, left_out=[markers.APP14])
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (SOI + frame(0xC0, depth=12) + SCAN, "a JPEG of 12-bit samples; convert the file"),
        (SOI + frame(0xC0), "before its picture begins"),
        (SOI + SCAN + EOI, "before its picture begins"),
        (SOI + frame(0xC0, width=0) + SCAN, "before its picture begins"),
        (SOI + frame(0xC0, width=65535, height=65535) + SCAN, "its header promises 65535 x 65535"),
        (SOI + made(markers.DHT, bytes(65533)) * 257 + frame(0xC0) + SCAN, "a JPEG with 16,.* bytes of headers"),
    ],
)
def test_what_can_be_no_picture_is_refused(data, reason):
    with pytest.raises(ImageError, match=reason):
        JpegOutline.walk(data)


def test_arithmetic_coding_has_no_least_length():
    assert JpegOutline.walk(SOI + frame(0xC9, width=65535, height=65535) + SCAN).width == 65535
