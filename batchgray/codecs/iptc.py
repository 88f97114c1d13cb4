"""IPTC's keywords, captions and their like (IIM 4.2): where they lie in a JPEG, and what of them an output may have."""

from collections.abc import Iterator

from batchgray.codecs.faults import UnreadableMetadata

PHOTOSHOP = b"Photoshop 3.0\0"  # before the resources in a JPEG's APP13
_SIGNATURES = {b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR"}
_IPTC = 0x0404
_MARKER, _EXTENDED = 0x1C, 0x8000
_ENVELOPE, _APPLICATION = 1, 2
_PREVIEW = {200, 201, 202}  # of the application record: a small picture in colour


def without_colour(datasets: bytes) -> bytes:
    """Of datasets those that an output may have; b"" where nothing is left.

    They are those of the envelope, which tells the character set, and of the application record, but for a preview.
    Other records tell of samples and colours (3), or hold a picture (7 to 9). Raises UnreadableMetadata for no IIM.
    """
    kept = [(record, data) for record, number, data in _datasets(datasets) if _is_kept(record, number)]
    return b"".join(data for _, data in kept) if any(record == _APPLICATION for record, _ in kept) else b""


def in_resources(resources: bytes) -> bytes:
    """The datasets among Photoshop's resources, b"" for none. Raises UnreadableMetadata where they are cut off."""
    at = 0
    while resources[at : at + 4] in _SIGNATURES:
        kind = int.from_bytes(resources[at + 4 : at + 6], "big")
        at += 6
        at += _even(1 + (resources[at] if at < len(resources) else 0))  # its name
        size, at = int.from_bytes(resources[at : at + 4], "big"), at + 4
        if kind == _IPTC:
            if at + size > len(resources):
                raise UnreadableMetadata("cut off")
            return resources[at : at + size]
        at += _even(size)
    return b""


def as_resources(datasets: bytes) -> bytes:
    """Datasets as Photoshop's only resource."""
    head = b"8BIM" + _IPTC.to_bytes(2, "big") + bytes(2) + len(datasets).to_bytes(4, "big")
    return head + datasets + bytes(len(datasets) % 2)


def _datasets(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Record, number, and all bytes of each. Raises UnreadableMetadata; zeros may follow the last one."""
    at = 0
    while at < len(data) and data[at] == _MARKER:
        if at + 5 > len(data):
            raise UnreadableMetadata("cut off")
        length = int.from_bytes(data[at + 3 : at + 5], "big")
        stop = at + 5 + length
        if length & _EXTENDED or stop > len(data):
            raise UnreadableMetadata("cut off, or of a length of its own")
        yield data[at + 1], data[at + 2], data[at:stop]
        at = stop
    if data[at:].strip(b"\0"):
        raise UnreadableMetadata("no IIM")


def _is_kept(record: int, number: int) -> bool:
    return record == _ENVELOPE or (record == _APPLICATION and number not in _PREVIEW)


def _even(size: int) -> int:
    return size + size % 2
