"""The conversion of a large image: in bands, by as many threads as there are cores for, in memory for some bands.

    BandReader --rows--> kernel --gray--> JPEG coder --> BandPlane (checkpoints), JPEG splicer or PNG --> N-M.out
    from the top         several parts at once           in order

A part is some bands that are read together, or one of an earlier run, whose gray is there. JPEG and PNG can only be
read from the top: a resumed conversion passes over what is finished, and has the rest to compute.
"""

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batchgray import tiles
from batchgray.checkpoints.band_plane import BandPlane, band_rows
from batchgray.checkpoints.base import Checkpoints
from batchgray.checkpoints.sidecar import SidecarHeader
from batchgray.codecs import opening, transparency
from batchgray.codecs.band_plan import BandPlan
from batchgray.codecs.band_reader import Part
from batchgray.codecs.bands import open_bands
from batchgray.codecs.opened import OpenedImage
from batchgray.errors import ImageError
from batchgray.kernels import methods
from batchgray.options import PixelOptions
from batchgray.planes import slots
from batchgray.records import Task
from batchgray.storage.base import PlaceError
from batchgray.storage.scratch import Scratch, ScratchFile
from batchgray.workers import allocator
from batchgray.workers.interrupt import Interrupt, Interrupted
from batchgray.workers.messages import Flushed, flushed
from batchgray.workers.side_by_side import SideBySide

if TYPE_CHECKING:
    from batchgray.codecs import band_writer
    from batchgray.codecs.bands import AnyReader

# A checkpoint takes its time too, and the interval bounds both.
_SHARE_OF_INTERVAL = 0.5
# Some milliseconds of work, in which what a part costs besides its pixels is lost.
_PART_PIXELS = 1 << 20
# A part may be so much larger where pieces of a TIFF would be read twice otherwise.
_MOST_PART_PIXELS = 1 << 23

Bands = Sequence[tiles.Tile]


class Team(NamedTuple):
    """How many threads work at an image, on parts of about so many rows.

    `cores` is asked again and again for how many of them may work now; blocks of up to `kept_bytes` are not given back
    between two parts (see `allocator`).
    """

    most: int
    rows: int
    kept_bytes: int
    cores: Callable[[], int] = lambda: 1


class _Made(NamedTuple):
    """What came of a part: its bands, their gray one after another, and what the writer made of that."""

    bands: Bands
    gray: memoryview
    is_new: bool
    prepared: "band_writer.Prepared"


class Conversion:
    """One image on its way. `flushed` is called with what became durable; `note` tells what reading left out."""

    def __init__(
        self,
        task: Task,
        record: slots.SlotRecord,
        metadata: slots.Metadata,
        pixels: PixelOptions,
        checkpoints: Checkpoints,
        scratch: Scratch,
        flushed: Callable[[Flushed], None],
    ) -> None:
        """Takes up the finished bands of an earlier run. Raises PlaceError."""
        self._task, self._record, self._metadata, self._pixels = task, record, metadata, pixels
        self._checkpoints, self._scratch, self._flushed = checkpoints, scratch, flushed
        header = checkpoints.find(task)
        self._claim = header if header and header.record.is_of(record) else None
        self.plane = checkpoints.open_plane(task.output, record)
        if self._claim and self._claim.tiles:
            self.plane.take_up(checkpoints.rows(task.output))
            self.plane.ignored |= transparency.IGNORED in (self._claim.record.note or "")
        self.tiles_missing = record.tiles_total - self.plane.tiles_done

    def convert(
        self,
        source: OpenedImage,
        plan: BandPlan,
        seconds: float,
        interrupt: Interrupt,
        team: "Team",
    ) -> ScratchFile:
        """Read and convert what is missing, and write it all, with a checkpoint about every so many seconds.

        At SIGTERM all that is begun is finished and flushed,
        unless nothing but the writing of a JPEG is left: its partial JPEG would take as long. Raises ImageError,
        PlaceError, and what `interrupt.check` raises.
        """
        from batchgray.codecs import band_writer  # what it needs is compiled when it is first needed

        with self._scratch.new_file() as file:
            writer = band_writer.writer_of(self._record, self._pixels, self._metadata, self.plane.map)
            with contextlib.closing(self._open(source, plan, team.rows)) as reader:
                taken = self._run(reader, writer, file, seconds, interrupt, team)
            if taken < self._record.height:
                self.flush()
                raise Interrupted
            opening.check_unchanged(self._task.source, self._record.version)
            file.write(writer.finish())
        return file

    def _run(
        self,
        reader: "_Reader",
        writer: "band_writer.Writer",
        file: ScratchFile,
        seconds: float,
        interrupt: Interrupt,
        team: "Team",
    ) -> int:
        """Returns the rows that were written."""
        taken, unsaved = 0, False
        checkpoint_at = time.monotonic() + seconds * _SHARE_OF_INTERVAL

        def take(made: _Made) -> None:
            nonlocal taken, unsaved
            if made.is_new:
                self.plane.ignored |= reader.ignored
                self._keep(made)
                unsaved = True
            for piece in writer.add(made.prepared, made.bands[-1].bottom):
                file.write(piece)
            taken = made.bands[-1].bottom

        def look() -> bool:
            nonlocal checkpoint_at, unsaved
            if interrupt.heard and not (self.plane.complete and writer.is_prompt):
                return True
            if unsaved and time.monotonic() >= checkpoint_at:
                unsaved = False  # what is taken meanwhile may be in it or not
                self.checkpoint()
                checkpoint_at = time.monotonic() + seconds * _SHARE_OF_INTERVAL
            return False

        with interrupt.ending_at_once():  # there may be much to pass over, or all of a progressive file to decode
            reader.begin()
        parts = self._parts(list(self._spans(team.rows)), reader, writer)
        SideBySide(parts, take, team.cores, team.most).run(look)
        return taken

    def _open(self, source: OpenedImage, plan: BandPlan, rows: int) -> "_Reader":
        missing = next((bands for bands in self._spans(rows) if not self._finished(bands)), None)
        background = transparency.colour_of(self._pixels.background)
        return _Reader(missing, lambda: open_bands(self._task.source, source, plan, background))

    def _spans(self, rows: int) -> Iterator[Bands]:
        """All bands from top to bottom, about `rows` rows together, all of them finished or none."""
        bands: list[tiles.Tile] = []
        for band in self.plane.bands():
            alike = bands and self._finished(bands) == self.plane.finished(band.index)
            if bands and not (alike and band.bottom - bands[0].top <= rows):
                yield bands
                bands = []
            bands.append(band)
        yield bands

    def _finished(self, bands: Bands) -> bool:
        return self.plane.finished(bands[0].index)

    def _parts(
        self, spans: list[Bands], reader: "_Reader", writer: "band_writer.Writer"
    ) -> Iterator[Callable[[], _Made]]:
        kernel = methods.BY_METHOD[self._pixels.method] if self._record.colour else None
        for bands in spans:
            if self._finished(bands):
                yield functools.partial(self._restored, bands, writer)
            else:
                yield functools.partial(_computed, bands, reader.part(bands), kernel, writer)

    def _restored(self, bands: Bands, writer: "band_writer.Writer") -> _Made:
        gray = memoryview(b"".join([self.plane.read(band.index) for band in bands]))
        return _Made(bands, gray, False, writer.prepare(gray))

    def _keep(self, made: _Made) -> None:
        width, top = self._record.width, made.bands[0].top
        for band in made.bands:
            self.plane.write(band.index, made.gray[(band.top - top) * width : (band.bottom - top) * width])

    @property
    def note(self) -> str | None:
        return transparency.IGNORED if self.plane.ignored else None

    def checkpoint(self) -> None:
        """Make the finished bands durable and say so. Raises PlaceError."""
        if self._claim is None:
            self._claim = self._checkpoints.claim(self._task, self._record, self._metadata)
        self._flushed(flushed(self._task, self._record, self.plane.checkpoint()))

    def flush(self) -> None:
        """Checkpoint, then the partial JPEG."""
        self.checkpoint()
        if self._claim is not None:
            draw(self._claim, self.plane, self._metadata, self._checkpoints)

    def discard(self) -> None:
        """The image can't be converted: nothing of it is worth its space. Raises PlaceError."""
        if self._task.preview:
            self._checkpoints.discard(self._task.output)
        else:
            self._checkpoints.remove(self._task.output)

    def close(self) -> None:
        self.plane.close()


class _Reader:
    """The reader of what is missing, opened where something is; its first part is read before any other is begun."""

    def __init__(self, missing: Bands | None, opened: Callable[[], "AnyReader"]) -> None:
        self._missing, self._opened = missing, opened
        self._reader: AnyReader | None = None
        self._first: Part | None = None

    def begin(self) -> None:
        """Raises ImageError."""
        if self._missing:
            self._reader = self._opened()
            self._first = self._reader.part(self._missing[0].top, self._missing[-1].bottom)

    def part(self, bands: Bands) -> Part:
        """To be asked for from top to bottom. Raises ImageError."""
        assert self._reader is not None
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return self._reader.part(bands[0].top, bands[-1].bottom)

    @property
    def ignored(self) -> bool:
        return self._reader is not None and self._reader.ignored

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()


def draw_preview(task: Task, checkpoints: Checkpoints) -> bool:
    """The partial JPEG of an image that was begun in bands. False where this one was not. Raises PlaceError."""
    claim = checkpoints.find(task)
    if claim is None or claim.tiles:
        return False
    with contextlib.closing(checkpoints.open_plane(task.output, claim.record)) as plane:
        plane.checkpoint()  # a place may lack what only this machine has
        draw(claim, plane, checkpoints.metadata(task.output), checkpoints)
    return True


def draw(claim: SidecarHeader, plane: BandPlane, metadata: slots.Metadata, checkpoints: Checkpoints) -> None:
    """The partial JPEG of what is finished, the rest black, if the sidecar claims one.

    It is for people to look at: where it can't be drawn nothing is said.
    """
    from batchgray.codecs import band_writer

    if claim.owns_preview:
        with contextlib.suppress(ImageError, PlaceError):
            checkpoints.draw(claim, band_writer.partial_jpeg(claim.record, claim.options, metadata, _finished(plane)))


def _finished(plane: BandPlane) -> Iterator[bytes | int]:
    """The bands from top to bottom: their gray, or their rows where they are not finished."""
    return (plane.read(band.index) if plane.finished(band.index) else band.bottom - band.top for band in plane.bands())


def teams(plan: BandPlan, width: int, cores: int) -> list[Team]:
    """How the work may be done, from the fastest to the one that takes the least memory."""
    smallest = max(band_rows(width), plan.rows_together)
    roomy = max(smallest, _PART_PIXELS // width // tiles.BLOCK_ROWS * tiles.BLOCK_ROWS)
    if plan.pieces:
        in_step = math.lcm(band_rows(width), plan.pieces.rows)  # rows after which a band and a piece end together
        if in_step * width <= _MOST_PART_PIXELS:
            roomy = -(-roomy // in_step) * in_step
    return [Team(cores, roomy, allocator.MUCH), Team(1, smallest, allocator.LITTLE)]


def needed_bytes(plan: BandPlan, width: int, height: int, pixels: PixelOptions, team: Team) -> int:
    """About what the conversion holds at a time.

    That is what reading holds; for each thread a part in colour and in gray, and its JPEG; and what writing holds.
    """
    from batchgray.codecs import band_writer

    reading = plan.scratch_bytes(height, team.rows, team.most)
    return reading + 8 * width * team.rows * team.most + 2 * team.kept_bytes + band_writer.scratch_bytes(width, pixels)


def _computed(bands: Bands, part: Part, kernel: methods.Kernel | None, writer: "band_writer.Writer") -> _Made:
    rows = part()
    if kernel is None:
        gray = rows
    else:
        gray = np.empty(rows.size // 3, np.uint8)
        kernel(rows, gray)
    return _Made(bands, gray.data, True, writer.prepare(gray.data))
