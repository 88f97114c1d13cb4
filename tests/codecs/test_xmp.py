"""XMP loses what it says of colours and of the file's coding, and nothing else; what is hostile is refused."""

import re
from xml.etree import ElementTree

import pytest
from described import KEYWORDS, NAMESPACES, packet
from hypothesis import given
from hypothesis import strategies as st

from batchgray.codecs import xmp
from batchgray.codecs.faults import UnreadableMetadata


def root_of(data: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(data.decode())


def names(data: bytes) -> set[str]:
    """Of elements and attributes, with the prefixes above."""
    prefixes = {uri: prefix for prefix, uri in NAMESPACES.items()}
    found = [name for element in root_of(data).iter() for name in (element.tag, *element.attrib)]
    parts = [re.fullmatch(r"\{(.*)\}(.*)", name).groups() for name in found]
    return {f"{prefixes[uri]}:{local}" for uri, local in parts} - {"x:xmpmeta", "x:xmptk", "rdf:RDF"}


def test_what_people_wrote_stays_as_it_is():
    kept = xmp.without_colour(packet(KEYWORDS, 'xmp:Rating="4" photoshop:City="Zürich &quot;Altstadt&quot;"'))
    assert kept.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta '.encode())
    assert kept.endswith(b'</x:xmpmeta>\n<?xpacket end="w"?>')
    (description,) = root_of(kept)[0]
    assert description.attrib[f"{{{NAMESPACES['photoshop']}}}City"] == 'Zürich "Altstadt"'
    assert [item.text for item in description.iter(f"{{{NAMESPACES['rdf']}}}li")] == ["Schnee", "雪 & <ice>"]
    assert KEYWORDS.encode() in kept


@pytest.mark.parametrize(
    "name",
    [
        *("photoshop:ColorMode", "photoshop:ICCProfile", "exif:ColorSpace", "tiff:PhotometricInterpretation"),
        *("tiff:SamplesPerPixel", "tiff:YCbCrSubSampling", "tiff:Orientation", "xmp:Thumbnails", "dc:format"),
        *("crs:WhiteBalance", "crs:AlreadyApplied", "hdrgm:Version", "Container:Directory", "xmpNote:HasExtendedXMP"),
    ],
)
@pytest.mark.parametrize("as_element", [False, True])
def test_what_speaks_of_colours_goes_however_it_is_written(name, as_element):
    deep = f"<{name}><rdf:Seq><rdf:li xml:lang='x'>8 <dc:title/></rdf:li></rdf:Seq></{name}>"
    data = packet(KEYWORDS + deep) if as_element else packet(KEYWORDS, f'{name}="3" xmp:Rating="2"')
    kept = names(xmp.without_colour(data))
    assert kept - {"xmp:Rating"} == {"rdf:Description", "rdf:about", "dc:subject", "rdf:Bag", "rdf:li"}
    assert ("xmp:Rating" in kept) != as_element


@pytest.mark.parametrize("name", ["photoshop:Headline", "exif:GPSLatitude", "tiff:Make", "GPano:PoseHeadingDegrees"])
def test_other_properties_of_the_same_schemas_stay(name):
    assert name in names(xmp.without_colour(packet(attributes=f'{name}="1"')))


def test_where_nothing_is_left_there_is_nothing():
    assert xmp.without_colour(packet()) == xmp.without_colour(packet(attributes='photoshop:ColorMode="3"')) == b""


@pytest.mark.parametrize("prefix", ["dc", "ns0", "photoshop"])
def test_a_schema_is_known_by_its_uri_whatever_its_prefix(prefix):
    declared = f'xmlns:{prefix}="http://ns.adobe.com/exif/1.0/"'
    data = f'<a {declared} {prefix}:ColorSpace="1" {prefix}:Flash="0"><{prefix}:Gain>1</{prefix}:Gain></a>'
    kept = xmp.without_colour(data.encode())
    assert b"ColorSpace" not in kept
    assert f'<a {declared} {prefix}:Flash="0"><{prefix}:Gain>1</{prefix}:Gain></a>'.encode() in kept


def test_a_schema_without_a_prefix_keeps_its_declaration():
    kept = xmp.without_colour(b'<title xmlns="http://purl.org/dc/elements/1.1/"><format>image/png</format>A</title>')
    assert b'<title xmlns="http://purl.org/dc/elements/1.1/">A</title>' in kept


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff")))
def test_any_text_comes_through(text):
    quoted = text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    data = packet(f"<dc:title>{quoted}</dc:title>", f'xmp:Label="{quoted}"')
    description = root_of(xmp.without_colour(data))[0][0]
    assert (description[0].text or "") == description.attrib[f"{{{NAMESPACES['xmp']}}}Label"] == text


def test_blanks_of_attributes_come_through():
    kept = xmp.without_colour(packet(attributes='xmp:Label="a&#10;b&#9;c&#13;d"'))
    assert root_of(kept)[0][0].attrib[f"{{{NAMESPACES['xmp']}}}Label"] == "a\nb\tc\rd"


def test_what_was_kept_is_kept_again_byte_for_byte():
    kept = xmp.without_colour(packet(KEYWORDS, 'xmp:Rating="4" photoshop:ColorMode="3"'))
    assert xmp.without_colour(kept) == kept == xmp.without_colour(kept + bytes(100))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"no XML",
        packet()[:-2100],
        packet() + b"<more/>",
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>',  # a prefix that stands for nothing
        b'<?xml version="1.0" encoding="nowhere"?><a/>',
        b'<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><a>&c;</a>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b"<a>&b;</a>",
        b"\xff\xfe\xff",
        "<a>\ud800</a>".encode("utf-8", "surrogatepass"),
    ],
)
def test_what_is_no_xmp_is_refused(data):
    with pytest.raises(UnreadableMetadata):
        xmp.without_colour(data)


def test_no_depth_is_too_deep():
    levels = 20_000
    data = b'<d xmlns="http://purl.org/dc/elements/1.1/">' * levels + b"</d>" * levels
    assert xmp.without_colour(data).count(b"<d ") == levels


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(data):
    try:
        kept = xmp.without_colour(b"<a>" + data + b"</a>")
    except UnreadableMetadata:
        return
    if kept:
        root_of(kept)
