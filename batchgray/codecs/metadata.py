"""Metadata besides EXIF: outputs don't hold it, and a note says so.

It is known by its first bytes alone, and never read: XMP, as Adobe's and every camera's software writes it (ISO 16684),
and IPTC's keywords and captions (IIM).
"""

from collections.abc import Collection

XMP, IPTC = "XMP", "IPTC"
JPEG_XMP = b"http://ns.adobe.com/x"  # xap/1.0/, and xmp/extension/ of what is longer than a segment
JPEG_IPTC = b"8BIM\x04\x04"  # among Photoshop's resources
PNG_XMP = b"XML:com.adobe.xmp\0"
PNG_PROFILES = {b"Raw profile type xmp\0": XMP, b"Raw profile type iptc\0": IPTC}  # as ImageMagick writes them
TIFF_TAGS = {700: XMP, 33723: IPTC}


def note_of(dropped: Collection[str]) -> str | None:
    """What to tell of an image whose metadata of these kinds is not in its output."""
    return f"{' and '.join(sorted(dropped))} metadata was dropped: EXIF alone is kept" if dropped else None
