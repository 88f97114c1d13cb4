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
    ],
)
def test_a_format_is_known_by_its_first_bytes(head, format):
    assert format_of(head) == format


@pytest.mark.parametrize(
    "head", [b"", b"\xff\xd8", b"%!PS-Adobe", b"8BPS", b"P6 1 1", b"RIFF....AVI LIST", b"\0\0\0\x0cjP  "]
)
def test_any_other_is_refused(head):
    with pytest.raises(ImageError, match="in none of the formats that are read here"):
        format_of(head)


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"hevc", b"heim"])
def test_a_phones_heic_is_told_what_to_do(brand):
    with pytest.raises(ImageError, match="HEIC is not read here; convert it"):
        format_of(b"\0\0\0\x18ftyp" + brand)
