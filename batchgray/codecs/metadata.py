"""Metadata besides EXIF: XMP, as Adobe's and every camera's software writes it, and IPTC's keywords and captions.

What does not speak of colours goes into the outputs (see `xmp` and `iptc`); of what is dropped, a note says so. Files
may hold any amount of it: nothing is read that is much longer than an output can hold.
"""

import zlib
from dataclasses import dataclass, field

from batchgray.codecs import iptc
from batchgray.codecs.excerpt import Contents
from batchgray.codecs.faults import UnreadableMetadata, joined
from batchgray.options import Format
from batchgray.planes.slots import LONGEST_IPTC, LONGEST_XMP, Metadata

XMP, EXTENDED_XMP, IPTC = "XMP", "extended XMP", "IPTC"
JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"  # what is longer than a segment
PNG_XMP = b"XML:com.adobe.xmp\0"
PNG_PROFILES = {b"Raw profile type xmp\0": XMP, b"Raw profile type iptc\0": IPTC}  # as ImageMagick writes them
TIFF_TAGS = {700: XMP, 33723: IPTC}

_LONGEST_READ = 256 << 10  # bytes; padding and what speaks of colours may make it much shorter


@dataclass
class Besides:
    """What a file has besides EXIF: by its kind what an output may have of it, and the kinds that are dropped."""

    kept: dict[str, bytes] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)

    def take(self, kind: str, data: Contents, part: slice) -> None:
        """An XMP packet, or IPTC's datasets; of several the first counts."""
        if kind in self.kept:
            return
        try:
            self.kept[kind] = _without_colour(kind, data, part)
        except UnreadableMetadata:
            self.dropped.add(kind)

    def take_resources(self, resources: bytes) -> None:
        """Photoshop's, from a JPEG's APP13."""
        try:
            datasets = iptc.in_resources(resources)
        except UnreadableMetadata:
            self.dropped.add(IPTC)
        else:
            if datasets:
                self.take(IPTC, datasets, slice(0, len(datasets)))

    def take_text(self, data: Contents, part: slice) -> None:
        """A text of a PNG, from its keyword on."""
        text = data[part.start : min(part.stop, part.start + _LONGEST_READ)]
        if text.startswith(PNG_XMP):
            self._take_international(text.removeprefix(PNG_XMP), part.stop - part.start > len(text))
        self.dropped |= {kind for keyword, kind in PNG_PROFILES.items() if text.startswith(keyword)}

    def _take_international(self, text: bytes, is_cut: bool) -> None:
        """Whether it is compressed, how, two names of languages, and the text (PNG 3rd edition, 11.3.3.4)."""
        packet = text[2:].split(b"\0", 2)[-1]
        if text[:1] == b"\1":
            packet = _inflated(packet)
        if is_cut:
            self.dropped.add(XMP)
        else:
            self.take(XMP, packet, slice(0, len(packet)))


def of_packet(packet: bytes | None) -> Besides:
    """Of an XMP packet that a library may have found."""
    found = Besides()
    if packet:
        found.take(XMP, packet, slice(0, len(packet)))
    return found


def kept(exif: bytes, besides: Besides, format: Format) -> Metadata:
    """What an output of this format has of an input's metadata."""
    has_iptc = format == "jpeg"
    return Metadata(exif, besides.kept.get(XMP, b""), besides.kept.get(IPTC, b"") if has_iptc else b"")


def note_of(besides: Besides, format: Format) -> str | None:
    """What to tell of what is not in an output of this format."""
    if not besides.kept and not besides.dropped:
        return None
    kinds = " and ".join(sorted(besides.dropped))
    note = f"{kinds} metadata was dropped: too long, damaged, or in a form that is not read" if kinds else None
    homeless = format == "png" and besides.kept.get(IPTC)
    return joined(note, "IPTC metadata was dropped: a PNG has no place for it" if homeless else None)


def _without_colour(kind: str, data: Contents, part: slice) -> bytes:
    """Raises UnreadableMetadata for what is too long, or damaged."""
    if part.stop - part.start > _LONGEST_READ:
        raise UnreadableMetadata("too long")
    if kind == XMP:
        from batchgray.codecs import xmp  # expat is loaded when it is first needed

        made, longest = xmp.without_colour(data[part]), LONGEST_XMP
    else:
        made, longest = iptc.without_colour(data[part]), LONGEST_IPTC
    if len(made) > longest:
        raise UnreadableMetadata("too long")
    return made


def _inflated(packet: bytes) -> bytes:
    """At most one byte more than is read; b"" where it is damaged, which is no XMP."""
    try:
        return zlib.decompressobj().decompress(packet, _LONGEST_READ + 1)
    except zlib.error:
        return b""
