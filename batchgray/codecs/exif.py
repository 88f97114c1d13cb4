"""EXIF blocks: how long one may be to be kept, and what stays of one that is stripped (through Pillow)."""

from contextlib import suppress

from batchgray.planes.slots import LONGEST_EXIF

EXIF_HEADER = b"Exif\0\0"  # before an EXIF block in a JPEG; other formats have it there too, now and then
LONGEST_BLOCK = len(EXIF_HEADER) + LONGEST_EXIF


def fitting(block: bytes) -> bytes:
    """An EXIF block without its header, or b"" where it is too long for a JPEG."""
    block = block.removeprefix(EXIF_HEADER)
    return block if len(block) <= LONGEST_EXIF else b""


def orientation_alone(exif: bytes) -> bytes:
    """An EXIF block with the orientation of another one, and nothing else; b"" where that is upright or unreadable."""
    if not exif:
        return b""
    from PIL import ExifTags, Image

    found, kept = Image.Exif(), Image.Exif()
    with suppress(Exception):  # a block that makes no sense
        found.load(exif)
        if found.get(ExifTags.Base.Orientation) in range(2, 9):
            kept[ExifTags.Base.Orientation] = found[ExifTags.Base.Orientation]
    return kept.tobytes().removeprefix(EXIF_HEADER) if kept else b""
