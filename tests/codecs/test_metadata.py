"""XMP and IPTC are found in files as Pillow, exiftool and ImageMagick write them; what is not kept, a note names."""

import io
import zlib

import pytest
from described import CHARACTERS, KEYWORDS, WORDS, dataset, packet, resource
from files import saved
from PIL import Image, PngImagePlugin, TiffImagePlugin

from batchgray.codecs import metadata, opening, xmp
from batchgray.codecs.boxes import made as made_box
from batchgray.codecs.jpeg_markers import made
from batchgray.codecs.metadata import Besides, kept, note_of
from batchgray.planes.slots import LONGEST_IPTC, LONGEST_XMP, Metadata

PICTURE = Image.new("RGB", (16, 16), "red")
PACKET = packet(KEYWORDS, 'photoshop:ColorMode="3"')
CLEAN = xmp.without_colour(PACKET)
LONG = packet(f"<dc:title>{'a' * LONGEST_XMP}</dc:title>")
NO_XMP = b"<x:xmpmeta"
IPTC = CHARACTERS + WORDS
PHOTOSHOP = b"Photoshop 3.0\0"
JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"


def jpeg(*segments: bytes) -> bytes:
    plain = saved(PICTURE, "JPEG")
    return plain[:2] + b"".join(segments) + plain[2:]


def png(keyword: str, text: str, compressed: bool = False) -> bytes:
    info = PngImagePlugin.PngInfo()
    if keyword.startswith("XML"):
        info.add_itxt(keyword, text, zip=compressed)
    else:
        info.add_text(keyword, text, zip=compressed)
    return saved(PICTURE, "PNG", pnginfo=info)


def chunked(text: bytes) -> bytes:
    """A PNG with an iTXt chunk from its keyword on."""
    plain, body = saved(PICTURE, "PNG"), b"iTXt" + b"XML:com.adobe.xmp\0" + text
    return plain[:33] + (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big") + plain[33:]


def tiff(tag: int, value: bytes, kind: int = 7) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[tag], tags.tagtype[tag] = value, kind
    return saved(PICTURE, "TIFF", tiffinfo=tags)


def found(tmp_path, data: bytes) -> Besides:
    (tmp_path / "a").write_bytes(data)
    opened = opening.open_image(str(tmp_path / "a"), "bt601", 10**6, None, lambda scratch_bytes: None)
    try:
        return opened.besides
    finally:
        opened.close()


@pytest.mark.parametrize(
    "data",
    [
        saved(PICTURE, "JPEG", xmp=PACKET),
        jpeg(made(0xE1, JPEG_XMP + PACKET), made(0xE1, JPEG_XMP + packet("<dc:title>2</dc:title>"))),
        png("XML:com.adobe.xmp", PACKET.decode()),
        png("XML:com.adobe.xmp", PACKET.decode(), compressed=True),
        chunked(b"\0\0de\0XML:Adobe\0" + PACKET),
        saved(PICTURE, "WEBP", xmp=PACKET),
        saved(PICTURE, "AVIF", xmp=PACKET),
        saved(PICTURE, "JPEG2000") + made_box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + PACKET),
        tiff(700, PACKET),
        tiff(700, PACKET, kind=1),
        tiff(700, PACKET + bytes(3)),
    ],
)
def test_xmp_is_kept_without_what_speaks_of_colours(tmp_path, data):
    assert found(tmp_path, data) == Besides({"XMP": CLEAN})


@pytest.mark.parametrize(
    "data",
    [
        jpeg(made(0xED, PHOTOSHOP + resource(0x03ED, bytes(16)) + resource(0x0404, IPTC))),
        tiff(33723, IPTC),
        tiff(33723, IPTC + bytes(-len(IPTC) % 4)),
    ],
)
def test_iptc_is_kept(tmp_path, data):
    assert found(tmp_path, data) == Besides({"IPTC": IPTC})


@pytest.mark.parametrize(
    ("data", "dropped"),
    [
        (jpeg(made(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(40))), {"extended XMP"}),
        (jpeg(made(0xE1, JPEG_XMP + NO_XMP)), {"XMP"}),
        (jpeg(made(0xED, PHOTOSHOP + resource(0x0404, IPTC)[:-9])), {"IPTC"}),
        (jpeg(made(0xED, PHOTOSHOP + resource(0x0404, b"no IIM"))), {"IPTC"}),
        (png("XML:com.adobe.xmp", LONG.decode()), {"XMP"}),
        (png("XML:com.adobe.xmp", "a" * (1 << 24), compressed=True), {"XMP"}),
        (chunked(b"\0\0\0\0" + bytes(1 << 20)), {"XMP"}),
        (chunked(b"\1\0\0\0no deflate"), {"XMP"}),
        (chunked(b""), {"XMP"}),
        (png("Raw profile type iptc", "\niptc\n 10\n1c02", compressed=True), {"IPTC"}),
        (png("Raw profile type xmp", "\nxmp\n 10\n1c02"), {"XMP"}),
        (saved(PICTURE, "WEBP", xmp=LONG), {"XMP"}),
        (saved(PICTURE, "WEBP", xmp=bytes(1 << 20)), {"XMP"}),
        (tiff(700, LONG), {"XMP"}),
        (tiff(700, bytes(1 << 20)), {"XMP"}),
        (tiff(33723, b"no IIM"), {"IPTC"}),
    ],
)
def test_what_is_too_long_or_damaged_is_told_and_costs_nothing(tmp_path, data, dropped):
    assert found(tmp_path, data) == Besides({}, dropped)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
def test_without_any_there_is_none(tmp_path, kind):
    assert found(tmp_path, saved(PICTURE, kind)) == Besides()


@pytest.mark.parametrize(
    "data", [jpeg(made(0xED, PHOTOSHOP + resource(0x03ED, bytes(16)))), png("Comment", "Raw"), jpeg(made(0xE1, b""))]
)
def test_other_segments_and_texts_are_none(tmp_path, data):
    assert found(tmp_path, data) == Besides()


def test_a_tiff_that_points_out_of_the_file_has_no_xmp(tmp_path):
    data = bytearray(tiff(700, PACKET))
    at = data.index((700).to_bytes(2, "little") + (7).to_bytes(2, "little") + len(PACKET).to_bytes(4, "little"))
    data[at + 8 : at + 12] = (1 << 31).to_bytes(4, "little")
    assert found(tmp_path, bytes(data)).kept == {}


def test_what_is_as_long_as_an_output_holds_is_kept():
    sizes = 30_000, 30_000, LONGEST_IPTC - len(CHARACTERS) - 60_000 - 3 * 5
    words = b"".join(dataset(2, 120, bytes(size)) for size in sizes)
    for more, fits in ((b"", True), (dataset(2, 120, b""), False)):
        besides = Besides()
        besides.take("IPTC", CHARACTERS + words + more, slice(0, LONGEST_IPTC + len(more)))
        assert besides == (Besides({"IPTC": CHARACTERS + words}) if fits else Besides({}, {"IPTC"}))


def test_an_output_has_what_its_format_has_a_place_for():
    besides = Besides({"XMP": b"x", "IPTC": b"i"})
    assert kept(b"e", besides, "jpeg") == Metadata(b"e", b"x", b"i")
    assert kept(b"e", besides, "png") == Metadata(b"e", b"x")
    assert kept(b"e", Besides(), "jpeg") == Metadata(b"e")


def test_the_note_names_the_kinds_and_why():
    assert note_of(Besides(), "jpeg") is note_of(Besides({"IPTC": b"i", "XMP": b"x"}), "jpeg") is None
    why = "too long, damaged, or in a form that is not read"
    assert note_of(Besides({}, {"XMP"}), "jpeg") == f"XMP metadata was dropped: {why}"
    assert note_of(Besides({}, {"XMP", "IPTC"}), "png") == f"IPTC and XMP metadata was dropped: {why}"
    assert note_of(Besides({"IPTC": b"i"}), "png") == "IPTC metadata was dropped: a PNG has no place for it"


def test_the_standard_header_is_ours():
    """What Pillow reads of a JPEG's XMP begins where it should."""
    with Image.open(io.BytesIO(jpeg(made(0xE1, metadata.JPEG_XMP + CLEAN)))) as image:
        assert image.info["xmp"] == CLEAN
