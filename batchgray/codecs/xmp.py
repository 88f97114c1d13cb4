"""XMP packets (ISO 16684-1) without what they say of the colours, and of the coding, of the file that they come from.

Packets are XML from anywhere. They are read by expat, which keeps no tree, fetches nothing and needs no stack; what has
a DOCTYPE, and so could define entities, is refused. What stays is written anew, without comments and padding, in the
order and with the prefixes that it had.
"""

from xml.parsers import expat

from batchgray.codecs.faults import UnreadableMetadata

_RDF, _META = "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "adobe:ns:meta/"
_XML = "http://www.w3.org/XML/1998/namespace"
_HEAD, _TAIL = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n', '\n<?xpacket end="w"?>'

_LEFT_OUT_NAMESPACES = {
    "http://ns.adobe.com/camera-raw-settings/1.0/",  # white balance, tints: a raw converter would apply them again
    "http://ns.adobe.com/hdr-gain-map/1.0/",  # of a second picture, which is not there
    "http://ns.apple.com/HDRGainMap/1.0/",
    "http://ns.apple.com/HDRToneMap/1.0/",
    "http://ns.google.com/photos/1.0/camera/",  # a film behind the picture
    "http://ns.google.com/photos/1.0/container/",
    "http://ns.google.com/photos/1.0/depthmap/",
    "http://ns.google.com/photos/1.0/image/",
}
_LEFT_OUT = {
    "http://ns.adobe.com/photoshop/1.0/": {"ColorMode", "ICCProfile"},
    "http://ns.adobe.com/exif/1.0/": {
        *("CFAPattern", "ColorSpace", "ComponentsConfiguration", "CompressedBitsPerPixel"),
        *("NativeDigest", "PixelXDimension", "PixelYDimension"),
    },
    "http://cipa.jp/exif/1.0/": {"Gamma"},
    "http://ns.adobe.com/tiff/1.0/": {
        *("BitsPerSample", "Compression", "PhotometricInterpretation", "PlanarConfiguration", "SamplesPerPixel"),
        *("PrimaryChromaticities", "ReferenceBlackWhite", "TransferFunction", "WhitePoint"),
        *("YCbCrCoefficients", "YCbCrPositioning", "YCbCrSubSampling"),
        *("ImageLength", "ImageWidth", "NativeDigest"),
        "Orientation",  # EXIF tells it, and some decoders have turned the picture already
    },
    "http://ns.adobe.com/xap/1.0/": {"Thumbnails"},  # in colour
    "http://ns.adobe.com/xap/1.0/t/pg/": {"PlateNames", "SwatchGroups"},
    "http://ns.adobe.com/xmp/note/": {"HasExtendedXMP"},  # which is dropped
    "http://purl.org/dc/elements/1.1/": {"format"},
}
_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_VALUE = _TEXT | str.maketrans({'"': "&quot;", "\n": "&#10;", "\t": "&#9;"})


def without_colour(packet: bytes) -> bytes:
    """A packet that an output may have, in UTF-8; b"" where nothing is left.

    Raises UnreadableMetadata for what is no XMP.
    """
    copy = _Copy()
    try:
        copy.parser.Parse(packet.rstrip(b"\0"), True)
    except (expat.ExpatError, LookupError) as error:  # LookupError: of its encoding
        raise UnreadableMetadata(str(error)) from None
    return copy.written()


class _Copy:
    """What is read of a packet is written at once, but for what is left out."""

    def __init__(self) -> None:
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.namespace_prefixes = True
        self.parser.ordered_attributes = self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartNamespaceDeclHandler = self._declare
        self.parser.StartElementHandler, self.parser.EndElementHandler = self._start, self._end
        self.parser.CharacterDataHandler = self._text
        self._out: list[str] = []
        self._declared: list[str] = []  # by the element that comes next
        self._depth_left_out = 0
        self._properties = 0

    def written(self) -> bytes:
        return (_HEAD + "".join(self._out) + _TAIL).encode() if self._properties else b""

    def _refuse(self, *_: object) -> None:
        raise UnreadableMetadata("a DOCTYPE")

    def _declare(self, prefix: str | None, uri: str | None) -> None:
        if not self._depth_left_out:
            name = f"xmlns:{prefix}" if prefix else "xmlns"
            self._declared.append(f' {name}="{(uri or "").translate(_VALUE)}"')

    def _start(self, name: str, attributes: list[str]) -> None:
        declared, self._declared = self._declared, []
        if self._depth_left_out or _is_left_out(name):
            self._depth_left_out += 1
            return
        pairs = [pair for pair in zip(attributes[::2], attributes[1::2], strict=True) if not _is_left_out(pair[0])]
        self._properties += _is_property(name) + sum(_is_property(each) for each, _ in pairs)
        values = (f' {_tag(each)}="{value.translate(_VALUE)}"' for each, value in pairs)
        self._out += ["<", _tag(name), *declared, *values, ">"]

    def _end(self, name: str) -> None:
        if self._depth_left_out:
            self._depth_left_out -= 1
        else:
            self._out += ["</", _tag(name), ">"]

    def _text(self, text: str) -> None:
        if not self._depth_left_out:
            self._out.append(text.translate(_TEXT))


def _parts(name: str) -> tuple[str, str, str]:
    """URI, local name and prefix of what expat calls "URI NAME PREFIX", "URI NAME" or "NAME"."""
    uri, local, prefix = ([*name.split(" "), ""] if " " in name else ["", name, ""])[:3]
    return uri, local, prefix


def _tag(name: str) -> str:
    _, local, prefix = _parts(name)
    return f"{prefix}:{local}" if prefix else local


def _is_left_out(name: str) -> bool:
    uri, local, _ = _parts(name)
    return uri in _LEFT_OUT_NAMESPACES or local in _LEFT_OUT.get(uri, ())


def _is_property(name: str) -> bool:
    return _parts(name)[0] not in ("", _RDF, _META, _XML)
