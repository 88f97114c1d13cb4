"""Which of the formats an input is in: known by its first bytes, whatever its name."""

import re
from typing import Literal

from batchgray.errors import ImageError

Format = Literal["JPEG", "PNG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "AVIF"]  # as Pillow names them

HEAD_BYTES = 16

_SIGNATURES: dict[Format, re.Pattern[bytes]] = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]|II\0\*|MM\*\0"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "BMP": re.compile(rb"BM"),
    "DIB": re.compile(rb"[\x28\x34\x38\x40\x6c\x7c]\0\0\0"),  # a BMP without its file header
    "GIF": re.compile(rb"GIF8[79]a"),
    "AVIF": re.compile(rb"....ftyp(?:avif|avis|mif1|msf1)", re.DOTALL),
}

_HEIC = re.compile(rb"....ftyphe[iv][cxms]", re.DOTALL)


def format_of(head: bytes) -> Format:
    """Which of the formats a file that begins with `head` is in. Raises ImageError."""
    for name, signature in _SIGNATURES.items():
        if signature.match(head):
            return name
    if _HEIC.match(head):
        raise ImageError("HEIC is not read here; convert it to JPEG first, or have the phone export JPEG")
    raise ImageError("in none of the formats that are read here (JPEG, PNG, TIFF, WebP, BMP, GIF, AVIF)")
