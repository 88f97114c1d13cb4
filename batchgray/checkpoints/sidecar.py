"""The sidecar that a begun image resumes from: the exact gray bytes of its finished tiles, and what they belong to.

It is one line of sealed JSON (SidecarHeader), then the source's EXIF, then the finished tiles, top to bottom. It claims
the name of the image's partial JPEG as well (see `preview`).
"""

import itertools
import os
from collections.abc import Iterable, Iterator
from io import BufferedReader
from typing import BinaryIO

import msgspec

from batchgray import spelling
from batchgray.options import PixelOptions
from batchgray.planes import slots
from batchgray.storage import integrity
from batchgray.storage.durable import Folder
from batchgray.storage.names import is_plain
from batchgray.storage.sealing import SealedRecords, UnreadableRecord

_VERSION = 1
_COPY_BYTES = 8 << 20
_LONGEST_SIDE = 2**31 - 1

SUFFIX = ".tiles"


class SidecarHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What the tiles belong to. They are worth nothing for another version of the source or other pixel options."""

    version: int = _VERSION
    output: str
    output_base64: spelling.Bytes = msgspec.UNSET
    owns_preview: bool
    record: slots.SlotRecord
    options: PixelOptions
    tiles: list[tuple[int, int]]
    payload: str

    @property
    def tiles_done(self) -> int:
        return sum(last - first for first, last in self.tiles)

    @property
    def pixels(self) -> int:
        """How many pixels its tiles have."""
        rows, height = self.record.tile_rows, self.record.height
        return self.record.width * sum(min(last * rows, height) - first * rows for first, last in self.tiles)


_HEADERS = SealedRecords(SidecarHeader, longest=1 << 20, version=_VERSION)


def name_of(output: str) -> str:
    """Under which name the sidecar of an output lies in the run's folder."""
    return f"{integrity.short_name(output)}{SUFFIX}"


def write(folder: Folder, header: SidecarHeader, payload: Iterable[bytes | memoryview]) -> None:
    """Make a sidecar durable. Raises OSError; an earlier one then stays as it was."""
    with folder.saving(name_of(header.output), f"{integrity.short_name(header.output)}.tmp") as file:
        file.append(_HEADERS.line(header))
        for chunk in payload:
            file.append(chunk)


def read_header(folder: Folder, name: str) -> SidecarHeader | None:
    """The header of the sidecar of that name; None where there is none, or anything about it is doubtful."""
    try:
        with folder.open(name) as file:
            return _read_header(file)
    except OSError:
        return None


def header_of(folder: Folder, output: str) -> SidecarHeader | None:
    """The header of an output's sidecar; None where there is none, or anything about it is doubtful."""
    header = read_header(folder, name_of(output))
    return header if header and header.output == output else None


def header_under_its_name(folder: Folder, name: str) -> SidecarHeader | None:
    """The header of a sound sidecar of that name, if it is not of another image than its name says."""
    header = read_header(folder, name) if name.endswith(SUFFIX) else None
    return header if header and name_of(header.output) == name else None


def restore(folder: Folder, output: str, slot: slots.Slot) -> slots.SlotImage | None:
    """Lay out a sidecar's image in `slot`, with its finished tiles in place and flagged; None where it is damaged.

    The slot must be long enough: the `slot_bytes` of the header's record.
    """
    try:
        with folder.open(name_of(output)) as file:
            header = _read_header(file)
            if header is None or header.record.slot_bytes > slot.size:
                return None
            metadata = header.record.metadata_in(file.read(header.record.metadata_bytes))
            image = slot.begin(header.record, metadata)
            filled: list[bytes | memoryview] = [*metadata]
            for first, last in header.tiles:
                rows = image.rows(first, last)
                if _read_into(file, rows) < len(rows):
                    return None
                filled.append(rows)
    except OSError:
        return None
    if integrity.checksum(filled) != header.payload:
        return None
    for first, last in header.tiles:
        image.flags[first:last] = b"\1" * (last - first)
    return image


def stored_metadata(folder: Folder, output: str) -> slots.Metadata:
    """The metadata of a sidecar's image; of a damaged sidecar none. Raises OSError."""
    with folder.open(name_of(output)) as file:
        header = _read_header(file)
        return header.record.metadata_in(file.read(header.record.metadata_bytes)) if header else slots.NO_METADATA


def stored_rows(folder: Folder, output: str) -> Iterator[tuple[int, bytes]]:
    """The rows of a sidecar's tiles in pieces, each with its first byte's place in the plane; of a damaged one none.

    Raises OSError.
    """
    with folder.open(name_of(output)) as file:
        header = _read_header(file)
        begin = file.tell()
        if header is None or integrity.checksum(iter(lambda: file.read(_COPY_BYTES), b"")) != header.payload:
            return
        file.seek(begin + header.record.metadata_bytes)
        for first, last in header.tiles:
            top = first * header.record.tile_rows
            bottom = min(last * header.record.tile_rows, header.record.height)
            at, end = top * header.record.width, bottom * header.record.width
            while at < end:
                piece = file.read(min(_COPY_BYTES, end - at))
                yield at, piece
                at += len(piece)


def _read_header(file: BinaryIO) -> SidecarHeader | None:
    """The first line of an open sidecar, if what follows is as long as it says."""
    try:
        header = _HEADERS.read_line(file)
    except UnreadableRecord:
        return None
    if not _is_sound(header):
        return None
    rest = os.fstat(file.fileno()).st_size - file.tell()
    return header if rest == header.record.metadata_bytes + header.pixels else None


def _is_sound(header: SidecarHeader) -> bool:
    """Whether batchgray would write such a header: its seal is no signature, anybody can make one."""
    record = header.record
    if not (1 <= record.width <= _LONGEST_SIDE and 1 <= record.height <= _LONGEST_SIDE):
        return False
    if record.tile_rows != header.options.rows_for(record.width) or not _fits(record):
        return False
    if len(msgspec.json.encode(record)) > slots.RECORD_BYTES or not is_plain(header.output):
        return False
    edges = [edge for span in header.tiles for edge in span]
    return all(a < b for a, b in itertools.pairwise([-1, *edges, record.tiles_total + 1]))


def _fits(record: slots.SlotRecord) -> bool:
    """Whether there may be so much metadata."""
    sizes = record.exif_bytes, record.xmp_bytes, record.iptc_bytes
    longest = slots.LONGEST_EXIF, slots.LONGEST_XMP, slots.LONGEST_IPTC
    return all(0 <= size <= most for size, most in zip(sizes, longest, strict=True))


def _read_into(file: BufferedReader, target: memoryview) -> int:
    filled = 0
    while filled < len(target):
        count = file.readinto(target[filled : filled + _COPY_BYTES])
        if not count:
            break
        filled += count
    return filled
