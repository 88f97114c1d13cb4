"""EXIF blocks: what is kept of them (Pillow reads and writes their entries)."""

from contextlib import suppress

EXIF_HEADER = b"Exif\0\0"  # of an EXIF block in a JPEG


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
