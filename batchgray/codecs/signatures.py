"""Which of the formats an input is in: known by its first bytes, whatever its name."""

import re
from typing import Literal

from batchgray.errors import ImageError

# As Pillow names them.
Format = Literal["JPEG", "PNG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "HEIF", "AVIF", "JPEG2000", "PPM"]

HEAD_BYTES = 64

_SIGNATURES: dict[Format, re.Pattern[bytes]] = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]|II\0\*|MM\*\0"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "BMP": re.compile(rb"BM"),
    "DIB": re.compile(rb"[\x28\x34\x38\x40\x6c\x7c]\0\0\0"),  # a BMP without its file header
    "GIF": re.compile(rb"GIF8[79]a"),
    # What is a HEIF of any kind, by its first brand, says further on which one it is.
    "HEIF": re.compile(rb"....ftyp(?:he[iv][cxms]|(?:mif1|msf1)(?!.*avi[fs]).*he[iv][cxms])", re.DOTALL),
    "AVIF": re.compile(rb"....ftyp(?:avif|avis|mif1|msf1)", re.DOTALL),
    "JPEG2000": re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", re.DOTALL),
    "PPM": re.compile(rb"P[1-6][ \t\n\v\f\r#]"),
}


def format_of(head: bytes) -> Format:
    """Which of the formats a file that begins with `head` is in. Raises ImageError."""
    for name, signature in _SIGNATURES.items():
        if signature.match(head):
            return name
    raise ImageError(
        "in none of the formats that are read here (JPEG, PNG, TIFF, WebP, BMP, GIF, AVIF, HEIF, JPEG 2000, PNM)"
    )
