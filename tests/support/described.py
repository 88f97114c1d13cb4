"""XMP packets and IPTC's datasets, as programs write them."""

NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "crs": "http://ns.adobe.com/camera-raw-settings/1.0/",
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
    "Container": "http://ns.google.com/photos/1.0/container/",
    "GPano": "http://ns.google.com/photos/1.0/panorama/",
}
DECLARED = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())
KEYWORDS = "<dc:subject><rdf:Bag><rdf:li>Schnee</rdf:li><rdf:li>雪 &amp; &lt;ice&gt;</rdf:li></rdf:Bag></dc:subject>"


def packet(inside: str = "", attributes: str = "") -> bytes:
    description = f'<rdf:Description rdf:about="" {attributes}>{inside}</rdf:Description>'
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta x:xmptk="a tool" '
        f"{DECLARED}><rdf:RDF>{description}</rdf:RDF></x:xmpmeta>{' ' * 2000}<?xpacket end='w'?>"
    ).encode()


def dataset(record: int, number: int, value: bytes) -> bytes:
    return bytes((0x1C, record, number)) + len(value).to_bytes(2, "big") + value


def resource(kind: int, data: bytes, name: bytes = b"") -> bytes:
    named = bytes([len(name)]) + name
    return b"8BIM" + kind.to_bytes(2, "big") + named + bytes(len(named) % 2) + len(data).to_bytes(4, "big") + data


CHARACTERS = dataset(1, 90, b"\x1b%G")
WORDS = dataset(2, 0, b"\0\4") + dataset(2, 25, b"Schnee") + dataset(2, 120, "Größe\0".encode())


def in_gif(xmp: bytes) -> bytes:
    """The block of a GIF that has a packet, as Adobe's specification says (XMP part 3)."""
    return b"!\xff\x0bXMP DataXMP" + xmp + b"\x01" + bytes(range(255, -1, -1)) + b"\0"
