"""XMP and IPTC are known in files as Pillow, exiftool and ImageMagick write them, and a note says what went."""

import io

import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from batchgray.codecs import opening
from batchgray.codecs.metadata import note_of

XMP_PACKET = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>'
CAPTION = b"\x1c\x02\x78\x00\x05hello"
PHOTOSHOP = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + len(CAPTION).to_bytes(4, "big") + CAPTION
OTHER_RESOURCE = b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\x10" + bytes(16)


def segment(code: int, body: bytes) -> bytes:
    return bytes((0xFF, code)) + (2 + len(body)).to_bytes(2, "big") + body


def saved(kind: str, **settings) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(file, kind, **settings)
    return file.getvalue()


def jpeg(*segments: bytes) -> bytes:
    plain = saved("JPEG")
    return plain[:2] + b"".join(segments) + plain[2:]


def png(keyword: str, compressed: bool = False) -> bytes:
    info = PngImagePlugin.PngInfo()
    if keyword.startswith("XML"):
        info.add_itxt(keyword, XMP_PACKET.decode())
    else:
        info.add_text(keyword, "\niptc\n 10\n1c02", zip=compressed)
    return saved("PNG", pnginfo=info)


def tiff(tag: int, value: bytes) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[tag], tags.tagtype[tag] = value, 7
    return saved("TIFF", tiffinfo=tags)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (saved("JPEG"), set()),
        (saved("JPEG", xmp=XMP_PACKET), {"XMP"}),
        (jpeg(segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(40))), {"XMP"}),
        (jpeg(segment(0xED, PHOTOSHOP)), {"IPTC"}),
        (jpeg(segment(0xED, OTHER_RESOURCE)), set()),
        (
            jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP_PACKET), segment(0xED, PHOTOSHOP)),
            {"XMP", "IPTC"},
        ),
        (saved("PNG"), set()),
        (png("XML:com.adobe.xmp"), {"XMP"}),
        (png("Raw profile type iptc", compressed=True), {"IPTC"}),
        (png("Raw profile type xmp"), {"XMP"}),
        (png("Comment"), set()),
        (saved("WEBP"), set()),
        (saved("WEBP", xmp=XMP_PACKET), {"XMP"}),
        (saved("AVIF", xmp=XMP_PACKET), {"XMP"}),
        (saved("TIFF"), set()),
        (tiff(700, XMP_PACKET), {"XMP"}),
        (tiff(33723, CAPTION), {"IPTC"}),
        (saved("GIF"), set()),
        (saved("BMP"), set()),
    ],
)
def test_what_a_file_has_besides_exif_is_known(tmp_path, data, expected):
    (tmp_path / "a").write_bytes(data)
    opened = opening.open_image(str(tmp_path / "a"), "bt601", 10**6, None, lambda scratch_bytes: None)
    try:
        assert opened.dropped == expected
    finally:
        opened.close()


def test_the_note_names_the_kinds():
    assert note_of(set()) is None
    assert note_of({"XMP"}) == "XMP metadata was dropped: EXIF alone is kept"
    assert note_of({"XMP", "IPTC"}) == "IPTC and XMP metadata was dropped: EXIF alone is kept"
