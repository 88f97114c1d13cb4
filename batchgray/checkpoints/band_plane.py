"""The gray plane of an image in bands: a file in the run's folder, and its checksums.

    HASH.gray   the plane, height x width uint8; bands that are not finished are holes, or worth nothing
    HASH.bands  one line of sealed JSON (Header): what the plane belongs to, and the checksum of each finished band

A checkpoint syncs the plane and then replaces the header, so that it costs what is new and not the whole plane. What
a finished band holds is believed only if its checksum says so. Beside them lies the image's sidecar, without tiles: it
claims the partial JPEG, and says whose they are (see `sidecar`).
"""

import mmap
from collections.abc import Iterable, Iterator

import msgspec

from batchgray import spelling, tiles
from batchgray.options import PixelOptions
from batchgray.planes import slots
from batchgray.storage import integrity
from batchgray.storage.base import Changed, meaning
from batchgray.storage.durable import Folder, SparseFile
from batchgray.storage.sealing import SealedRecords, UnreadableRecord

# A millisecond of work, and little memory; where there is more, several are converted at once.
_BAND_PIXELS = 1 << 18
_VERSION = 1

SUFFIXES = (".gray", ".bands")


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What bands belong to: those of a plane, or some that follow one another."""

    version: int = _VERSION
    output: str
    output_base64: spelling.Bytes = msgspec.UNSET
    record: slots.SlotRecord
    options: PixelOptions
    band_rows: int
    sums: list[str]  # "" for a band that is not finished
    ignored: bool = False


HEADERS = SealedRecords(Header, longest=1 << 26, version=_VERSION)


def band_rows(width: int) -> int:
    """Rows in a band: a multiple of 8, whatever the tiles."""
    return max(tiles.BLOCK_ROWS, _BAND_PIXELS // width // tiles.BLOCK_ROWS * tiles.BLOCK_ROWS)


class BandPlane:
    """The plane of an image that is being converted. `finished` says which bands are whole and checked.

    `ignored` says whether transparency was, in any of these.
    """

    def __init__(self, folder: Folder, output: str, record: slots.SlotRecord, options: PixelOptions) -> None:
        """Takes up what an earlier run left, where it is the same image to the same options. Raises OSError."""
        plane, self._header_name = names(output)
        self._folder, self._output, self.record, self._options = folder, output, record, options
        self.band_rows = band_rows(record.width)
        header = _read_header(folder, output, record, options)
        self.ignored = header is not None and header.ignored
        self._file = SparseFile(folder, plane, record.width * record.height, again=header is not None)
        self._sums = [""] * tiles.tile_count(record.height, self.band_rows)
        for index, expected in enumerate(header.sums if header else ()):
            if expected and integrity.checksum([self.read(index)]) == expected:
                self._sums[index] = expected

    @property
    def count(self) -> int:
        """How many bands there are."""
        return len(self._sums)

    def bands(self) -> Iterator[tiles.Tile]:
        """All bands, top to bottom."""
        return tiles.unfinished(bytes(len(self._sums)), self.record.height, self.band_rows)

    def finished(self, index: int) -> bool:
        return bool(self._sums[index])

    @property
    def complete(self) -> bool:
        """Whether all bands are finished."""
        return all(self._sums)

    @property
    def tiles_done(self) -> int:
        """How many tiles lie in finished bands altogether."""
        return _tiles_in(self._sums, self.record).count(1)

    def write(self, index: int, gray: bytes | memoryview) -> None:
        """A band is finished. Raises PlaceError."""
        with meaning(self._output):
            self._file.write(index * self._band_bytes, gray)
        self._sums[index] = integrity.checksum([gray])

    def read(self, index: int) -> bytes:
        """The bytes of a band. Raises PlaceError."""
        at = index * self._band_bytes
        try:
            with meaning(self._output):
                return self._file.read(at, min(self._band_bytes, self.record.width * self.record.height - at))
        except EOFError:
            raise Changed(self._output, "the plane of its finished bands was cut off meanwhile") from None

    def map(self) -> mmap.mmap:
        """The whole plane, to be read only; not to be read where it is not finished. Raises PlaceError."""
        with meaning(self._output):
            return self._file.map()

    def take_up(self, pieces: Iterable[tuple[int, bytes]]) -> None:
        """Rows that are known to be right, each with the place of its first byte in the plane, in order.

        Raises PlaceError.
        """
        end = begin = 0
        for at, rows in pieces:
            if at != end:
                self._finish_between(begin, end)
                begin = at
            with meaning(self._output):
                self._file.write(at, rows)
            end = at + len(rows)
        self._finish_between(begin, end)

    def _finish_between(self, begin: int, end: int) -> None:
        last = end == self.record.width * self.record.height
        for index in range(-(-begin // self._band_bytes), len(self._sums) if last else end // self._band_bytes):
            self._sums[index] = integrity.checksum([self.read(index)])

    def checkpoint(self) -> int:
        """Make the finished bands durable. Returns how many tiles lie in them altogether.

        Others may be written meanwhile; they count in the next one. Raises PlaceError; the earlier checkpoint then
        stays.
        """
        sums = list(self._sums)
        self._keep(sums)
        return _tiles_in(sums, self.record).count(1)

    def _keep(self, sums: list[str]) -> None:
        """Make the bands that have sums durable, and these. Raises PlaceError."""
        temporary = f"{integrity.short_name(self._output)}.tmp"
        with meaning(self._output):
            self._file.sync()
            with self._folder.saving(self._header_name, temporary) as file:
                file.append(HEADERS.line(self._header(sums)))

    def _header(self, sums: list[str]) -> Header:
        return Header(
            output=self._output,
            record=self.record,
            options=self._options,
            band_rows=self.band_rows,
            sums=sums,
            ignored=self.ignored,
        )

    def close(self) -> None:
        self._file.close()

    @property
    def _band_bytes(self) -> int:
        return self.band_rows * self.record.width


def names(output: str) -> tuple[str, str]:
    """Of the plane and the header of an output."""
    name = integrity.short_name(output)
    plane, header = (f"{name}{suffix}" for suffix in SUFFIXES)
    return plane, header


def discard(folder: Folder, output: str) -> None:
    """Remove an output's plane and header. Raises OSError."""
    for name in names(output):
        folder.remove(name)


def fill(image: slots.SlotImage, folder: Folder, output: str, options: PixelOptions) -> None:
    """Put the finished bands into an image that is laid out in memory now, and raise the flags of their tiles."""
    record = image.record
    header = _read_header(folder, output, record, options)
    sums = header.sums if header else []
    rows = band_rows(record.width) * record.width
    try:
        with folder.open(names(output)[0]) as file:
            for index, expected in enumerate(sums):
                if not expected:
                    continue
                file.seek(index * rows)
                target = image.gray[index * rows : (index + 1) * rows]
                if file.readinto(target) != len(target) or integrity.checksum([target]) != expected:
                    sums[index] = ""
    except OSError:
        return
    for index, flag in enumerate(_tiles_in(sums, record)):
        image.flags[index] |= flag


def _read_header(folder: Folder, output: str, record: slots.SlotRecord, options: PixelOptions) -> Header | None:
    """The header, where there is one that fits and is whole."""
    try:
        with folder.open(names(output)[1]) as file:
            header = HEADERS.read_line(file)
    except (OSError, UnreadableRecord):
        return None
    whole = len(header.sums) == tiles.tile_count(record.height, band_rows(record.width))
    return header if whole and fits(header, output, record, options) else None


def fits(header: Header, output: str, record: slots.SlotRecord, options: PixelOptions) -> bool:
    """Whether the bands are of this image, to these options."""
    is_ours = (header.output, header.options) == (output, options) and header.record.is_of(record)
    return is_ours and header.band_rows == band_rows(record.width)


def _tiles_in(sums: list[str], record: slots.SlotRecord) -> bytes:
    """A flag for each tile, raised where all its rows are in finished bands."""
    rows = band_rows(record.width)
    flags = bytearray(record.tiles_total)
    for index in range(record.tiles_total if any(sums) else 0):
        tile = tiles.tile_at(index, record.height, record.tile_rows)
        flags[index] = all(sums[tile.top // rows : (tile.bottom - 1) // rows + 1])
    return bytes(flags)
