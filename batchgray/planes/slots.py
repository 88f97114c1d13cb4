"""A worker's slot: shared memory with the image in hand.

It is the supervisor's too, so that a worker's death loses no finished tile.

    0        announcement: the index of the image in hand + 1, or 0; then the length of the record, or 0,
             whether it is in the second place, and whether the planes are elsewhere (see `band_plane`)
    16       record: SlotRecord as JSON
    2056     second place for a record, so that one can follow the other in one write of its length
    4096     metadata of the source: EXIF, XMP, IPTC, one behind another
    200696   how many cores the worker may use for an image in bands; the supervisor's to change at any time
    200704   tile flags, one byte a tile, raised after the tile's pixels are written
    ...      gray plane, height x width uint8
    ...      RGB plane, height x width x 3 uint8, only for sources in colour

The worker announces an image before it opens it (so that a crash has a name), and writes the length of the record
last (so that a record that is there is whole). The memory has no name: it needs no /dev/shm, leaks nothing, and dies
with its last holder.
"""

import errno
import mmap
import os
import struct
import tempfile
from typing import NamedTuple

import msgspec

from batchgray import tiles
from batchgray.records import InputVersion

_ANNOUNCEMENT = struct.Struct("<QQ")
_METADATA_AT = 4096
RECORD_BYTES = (_METADATA_AT - _ANNOUNCEMENT.size) // 2
_RECORDS_AT = _ANNOUNCEMENT.size, _ANNOUNCEMENT.size + RECORD_BYTES
_PAGE = 4096
# Bytes: what one segment of a JPEG holds, behind its length and what tells its kind.
LONGEST_EXIF = 65527
LONGEST_XMP = 65502  # the standard's bound, two bytes below what would fit
LONGEST_IPTC = 65506
_FLAGS_AT = _METADATA_AT + -(-(LONGEST_EXIF + LONGEST_XMP + LONGEST_IPTC) // _PAGE) * _PAGE
_SECOND_PLACE = 1 << 62
_ELSEWHERE = 1 << 63  # beside the record's length: the planes are not in the slot

_CORES = struct.Struct("<Q")
_CORES_AT = _FLAGS_AT - _CORES.size  # behind the longest EXIF

EMPTY_SLOT_BYTES = _FLAGS_AT


class Metadata(NamedTuple):
    """What an output has of its input's metadata, without what its format puts before each; b"" is none."""

    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""


NO_METADATA = Metadata()


class SlotRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The image in hand: everything that finishing its output needs besides the planes.

    `note` is what is to know of it: until it is decoded, what its headers told.
    """

    version: InputVersion = msgspec.field(name="identity")  # so it is called in sidecars
    width: int
    height: int
    tile_rows: int
    colour: bool
    exif_bytes: int
    note: str | None
    xmp_bytes: int = 0  # sidecars of earlier versions have none
    iptc_bytes: int = 0

    @property
    def tiles_total(self) -> int:
        return tiles.tile_count(self.height, self.tile_rows)

    @property
    def metadata_bytes(self) -> int:
        return self.exif_bytes + self.xmp_bytes + self.iptc_bytes

    def metadata_in(self, data: bytes) -> Metadata:
        """The parts of what has them one behind another."""
        exif, xmp, end = self.exif_bytes, self.exif_bytes + self.xmp_bytes, self.metadata_bytes
        return Metadata(data[:exif], data[exif:xmp], data[xmp:end])

    def is_of(self, other: "SlotRecord") -> bool:
        """Whether it is the same image, cut in the same way, whatever is noted of it."""
        same = msgspec.structs.replace(self, note=other.note, version=other.version) == other
        return same and self.version.is_same(other.version)

    @property
    def slot_bytes(self) -> int:
        """How long the slot must be."""
        pixels = self.width * self.height
        return _gray_at(self.tiles_total) + _padded(pixels) + (_padded(3 * pixels) if self.colour else 0)


def make_memory() -> int:
    """A descriptor of nameless shared memory, empty."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("batchgray-slot", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, EMPTY_SLOT_BYTES)
    return fd


class Slot:
    """A process's view of a slot. The memory's length is the supervisor's to change, with `resize_memory`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.refresh()

    def refresh(self) -> None:
        """Map the memory anew after its length changed. Views of the old mapping stay valid within the new length.

        Raises MemoryError where the process's address space (RLIMIT_AS) is too small for it.
        """
        try:
            self._map = mmap.mmap(self._fd, os.fstat(self._fd).st_size)
        except OSError as error:
            if error.errno == errno.ENOMEM:
                raise MemoryError from None
            raise

    @property
    def size(self) -> int:
        return len(self._map)

    def announce(self, index: int) -> None:
        """The image with this index is in hand, nothing known of it yet."""
        _ANNOUNCEMENT.pack_into(self._map, 0, index + 1, 0)

    def begin(self, record: SlotRecord, metadata: Metadata) -> "SlotImage":
        """Lay out the planes, lower all flags, then publish the record."""
        self._map[_METADATA_AT : _METADATA_AT + record.metadata_bytes] = b"".join(metadata)
        image = SlotImage(self._map, record)
        image.flags[:] = bytes(len(image.flags))
        self._publish(record)
        return image

    def annotate(self, image: "SlotImage", note: str | None) -> "SlotImage":
        """The image in the slot with another note, also for the process that finishes it after this one."""
        if note == image.record.note:
            return image
        record = msgspec.structs.replace(image.record, note=note)
        self._publish(record)
        return SlotImage(self._map, record)

    def describe(self, record: SlotRecord) -> None:
        """The image in hand, whose planes are not here: by its size is said how long it may take."""
        self._publish(record, _ELSEWHERE)

    def _publish(self, record: SlotRecord, marks: int = 0) -> None:
        """A record that can be read is whole, and stays readable until the next one can be."""
        data = msgspec.json.encode(record)
        word = memoryview(self._map)[8:16].cast("Q")  # written at once
        second = bool(word[0]) and not word[0] & _SECOND_PLACE
        at = _RECORDS_AT[second]
        self._map[at : at + len(data)] = data
        word[0] = len(data) | marks | (_SECOND_PLACE if second else 0)

    def clear(self) -> None:
        """No image is in hand any more."""
        _ANNOUNCEMENT.pack_into(self._map, 0, 0, 0)

    @property
    def cores(self) -> int:
        """How many cores the worker may use now."""
        return max(1, int(_CORES.unpack_from(self._map, _CORES_AT)[0]))

    @property
    def announced(self) -> int | None:
        """The index of the image in hand."""
        return _ANNOUNCEMENT.unpack_from(self._map, 0)[0] - 1 if self._map[:8] != bytes(8) else None

    @property
    def is_elsewhere(self) -> bool:
        """Whether the image in hand is described, and its planes are not here."""
        return bool(_ANNOUNCEMENT.unpack_from(self._map, 0)[1] & _ELSEWHERE)

    def image(self) -> "SlotImage | None":
        """The image in hand, if its planes are laid out."""
        length = _ANNOUNCEMENT.unpack_from(self._map, 0)[1]
        if not length or length & _ELSEWHERE:
            return None
        return SlotImage(self._map, _record_in(self._map, length))


def _record_in(head: mmap.mmap | bytes, word: int) -> SlotRecord:
    """The record that the announcement's second word tells of. Raises msgspec.DecodeError."""
    at = _RECORDS_AT[bool(word & _SECOND_PLACE)]
    return msgspec.json.decode(head[at : at + (word & ~(_ELSEWHERE | _SECOND_PLACE))], type=SlotRecord)


class InHand(NamedTuple):
    """What a slot says of the image in hand, without mapping it: `megapixels` are 0 until its record is there."""

    index: int  # type: ignore[assignment]  # tuple.index, which is not needed
    megapixels: float


def peek(fd: int) -> InHand | None:
    """What another process has in hand, which may be writing to its slot; None where that is no image."""
    head = os.pread(fd, _METADATA_AT, 0)
    number, length = _ANNOUNCEMENT.unpack_from(head)
    if not number:
        return None
    try:
        record = _record_in(head, length)
    except msgspec.DecodeError:  # none yet, or it is being written
        return InHand(number - 1, 0.0)
    return InHand(number - 1, record.width * record.height / 1e6)


def lend_cores(fd: int, cores: int) -> None:
    """Let the worker of a slot use so many cores from now on."""
    os.pwrite(fd, _CORES.pack(cores), _CORES_AT)


def resize_memory(fd: int, size: int) -> None:
    """Change the length of a slot's memory; pages beyond it go back to the machine.

    The worker must not be using them.
    """
    os.ftruncate(fd, size)


class SlotImage:
    """The parts of a slot as writable memoryviews of uint8: `flags`, `gray`, and `rgb` (empty for gray sources)."""

    def __init__(self, memory: mmap.mmap, record: SlotRecord) -> None:
        view = memoryview(memory)
        pixels = record.width * record.height
        gray_at = _gray_at(record.tiles_total)
        rgb_at = gray_at + _padded(pixels)
        self.record = record
        self.metadata = record.metadata_in(bytes(view[_METADATA_AT : _METADATA_AT + record.metadata_bytes]))
        self.flags = view[_FLAGS_AT : _FLAGS_AT + record.tiles_total]
        self.gray = view[gray_at : gray_at + pixels]
        self.rgb = view[rgb_at : rgb_at + (3 * pixels if record.colour else 0)]

    @property
    def tiles_done(self) -> int:
        return bytes(self.flags).count(1)

    def rows(self, first_tile: int, last_tile: int) -> memoryview:
        """The gray bytes of tiles `first_tile` to `last_tile` (exclusive)."""
        row_bytes = self.record.tile_rows * self.record.width
        return self.gray[first_tile * row_bytes : last_tile * row_bytes]


def _padded(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


def _gray_at(tiles_total: int) -> int:
    return _FLAGS_AT + _padded(tiles_total)
