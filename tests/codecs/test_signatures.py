"""Formats are known by their first bytes."""

import pytest

from batchgray.codecs.signatures import format_of
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
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0heicavifmiaf", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "HEIF"),
        (b"\0\0\0\x1cftypmsf1\0\0\0\0msf1hevcmif1heic", "HEIF"),
        *((b"\0\0\0\x18ftyp" + brand, "HEIF") for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
        (b"\xff\x4f\xff\x51\0\x2f", "JPEG2000"),
        *((b"P%d\n1" % kind, "PPM") for kind in range(1, 7)),
        (b"P5#1", "PPM"),
    ],
)
def test_a_format_is_known_by_its_first_bytes(head, format):
    assert format_of(head) == format


@pytest.mark.parametrize(
    "head", [b"", b"\xff\xd8", b"%!PS-Adobe", b"8BPS", b"P7\n", b"Pf\n", b"P6x", b"RIFF....AVI LIST", b"\0\0\0\x0cjP  "]
)
def test_any_other_is_refused(head):
    with pytest.raises(ImageError, match="in none of the formats that are read here"):
        format_of(head)
