"""Finished bands of a plane as objects in a place, for a machine whose disk may be gone: a checkpoint puts new ones.

    PREFIX/HASH.bands-000012-000019   bands 12 to 19: one line of sealed JSON (Header), then their gray

What a name tells of is the same bytes for whoever makes them of the same image, so one that is put twice, or late, does
no harm; what belongs to another version of the image, or to other options, is not believed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from batchgray.checkpoints.band_plane import HEADERS, BandPlane, band_rows, fits
from batchgray.options import PixelOptions
from batchgray.planes import slots
from batchgray.storage import integrity
from batchgray.storage.base import BadKey, Missing, Place
from batchgray.storage.durable import Folder
from batchgray.storage.sealing import UnreadableRecord

Item = TypeVar("Item")

_AT_ONCE = 8  # requests
_ON_THE_WAY = 8 << 20  # bytes of pieces
_PIECE_BYTES = 2 << 20


class _Run(NamedTuple):
    """Bands that follow one another, `last` included."""

    first: int
    last: int

    @property
    def bands(self) -> range:
        return range(self.first, self.last + 1)


class PlacePlane(BandPlane):
    """A plane on this machine's disk whose finished bands are in a place as well, below `prefix`."""

    def __init__(
        self, folder: Folder, output: str, record: slots.SlotRecord, options: PixelOptions, place: Place, prefix: str
    ) -> None:
        """Takes up what is here, and what is there. Raises OSError, PlaceError."""
        super().__init__(folder, output, record, options)
        self._place, self._pieces = place, prefix_of(prefix, output)
        self._put: set[int] = set()  # bands that are in the place
        try:
            self._fetch()
        except BaseException:
            self.close()
            raise

    def _keep(self, sums: list[str]) -> None:
        super()._keep(sums)
        new = [index for index, each in enumerate(sums) if each and index not in self._put]
        self._side_by_side(lambda run: self._put_piece(run, sums), _runs(new, self._bands_together))

    def _put_piece(self, run: _Run, sums: Sequence[str]) -> None:
        self._place.put(self._key(run), self._packed(run, sums))
        self._put.update(run.bands)

    def _packed(self, run: _Run, sums: Sequence[str]) -> bytearray:
        packed = bytearray(HEADERS.line(self._header(list(sums[run.first : run.last + 1]))))
        for index in run.bands:
            packed += self.read(index)
        return packed

    def _fetch(self) -> None:
        """What the place has, of bands that are not finished here."""
        runs = list(self._listed())
        missing = [run for run in runs if not all(map(self.finished, run.bands))]
        self._side_by_side(self._take, missing)
        self._put.update(index for run in runs for index in run.bands if self.finished(index))

    def _side_by_side(self, do: Callable[[_Run], None], runs: Sequence[_Run]) -> None:
        together = max(1, _ON_THE_WAY // (self._bands_together * self._band_bytes))
        _side_by_side(do, runs, min(_AT_ONCE, together))

    @property
    def _bands_together(self) -> int:
        """In a piece, at most."""
        return max(1, _PIECE_BYTES // self._band_bytes)

    def _listed(self) -> Iterator[_Run]:
        """What is no such name, whoever made it, or is too short for its bands, is passed over."""
        for entry in self._place.list(self._pieces):
            first, _, last = entry.key.removeprefix(self._pieces).partition("-")
            if first.isdecimal() and last.isdecimal() and int(first) <= int(last) < self.count:
                run = _Run(int(first), int(last))
                if entry.size > self._gray_bytes(run):
                    yield run

    def _gray_bytes(self, run: _Run) -> int:
        whole = self.record.width * self.record.height
        return min((run.last + 1) * self._band_bytes, whole) - run.first * self._band_bytes

    def _take(self, run: _Run) -> None:
        try:
            data = self._place.get(self._key(run))
        except (Missing, BadKey):
            return
        line, _, gray = data.partition(b"\n")
        try:
            header = HEADERS.decode_line(line)
        except UnreadableRecord:
            return
        if len(header.sums) != len(run.bands) or not fits(header, self._output, self.record, self._options):
            return
        for index, expected in zip(run.bands, header.sums, strict=True):
            rows = memoryview(gray)[(index - run.first) * self._band_bytes :][: self._band_bytes]
            if not self.finished(index) and integrity.checksum([rows]) == expected:
                self.write(index, rows)
        self.ignored |= header.ignored

    def _key(self, run: _Run) -> str:
        return f"{self._pieces}{run.first:06d}-{run.last:06d}"


def prefix_of(prefix: str, output: str) -> str:
    """What the keys of an output's pieces begin with."""
    return f"{prefix}/{integrity.short_name(output)}.bands-"


def remove(place: Place, prefix: str, output: str) -> None:
    """Remove an output's pieces, if there are any. Raises PlaceError."""
    _side_by_side(place.delete, [entry.key for entry in place.list(prefix_of(prefix, output))], _AT_ONCE)


def held_bytes(width: int) -> int:
    """About what a checkpoint, or taking one up, holds of an image so wide: each piece twice."""
    return 2 * max(_ON_THE_WAY, band_rows(width) * width)


def _runs(bands: Iterable[int], longest: int) -> list[_Run]:
    """Bands as runs of up to so many; each begins at a multiple of that, where it can."""
    runs: list[_Run] = []
    for index in bands:
        if runs and index == runs[-1].last + 1 and index % longest:
            runs[-1] = _Run(runs[-1].first, index)
        else:
            runs.append(_Run(index, index))
    return runs


def _side_by_side(do: Callable[[Item], None], items: Sequence[Item], at_once: int) -> None:
    """Raises what the first that failed raised, when all have ended."""
    if items:
        with ThreadPoolExecutor(min(at_once, len(items)), "pieces") as threads:
            list(threads.map(do, items))
