"""The worker process: one image after another, tile by tile.

A jitted or codec call holds off Python's signal handlers until it returns, so the edge between two tiles is where
SIGTERM is heard: an image whose tiles are all done is encoded and finished, any other is flushed (sidecar, then
partial JPEG), and the worker exits. A PNG whose writing takes long is flushed too, between two pieces of it.
"""

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from batchgray import tiles
from batchgray.checkpoints import preview
from batchgray.checkpoints.base import Checkpoints
from batchgray.checkpoints.folder import FolderCheckpoints
from batchgray.checkpoints.sidecar import SidecarHeader
from batchgray.codecs import band_plan, band_reader, encoding, opening
from batchgray.codecs.exif import orientation_alone
from batchgray.codecs.faults import joined
from batchgray.codecs.metadata import note_of
from batchgray.codecs.opened import OpenedImage, SecondOpinion
from batchgray.codecs.transparency import colour_of
from batchgray.errors import ImageError
from batchgray.kernels import methods
from batchgray.planes import slots
from batchgray.records import Task
from batchgray.storage.base import PlaceError, meaning
from batchgray.storage.durable import Folder
from batchgray.storage.intents import IntentLog
from batchgray.storage.publishing import FolderPublisher, Publisher
from batchgray.storage.scratch import Scratch, ScratchFile
from batchgray.workers import allocator, banded, committer
from batchgray.workers.interrupt import Interrupt, Interrupted
from batchgray.workers.messages import (
    Broken,
    Channel,
    Convert,
    Failed,
    Flushed,
    GiveBack,
    Granted,
    Idle,
    ImageDone,
    NeedMemory,
    Preload,
    Preview,
    Ready,
    Refused,
    Setup,
    ToWorker,
    flushed,
)

# Has an image's source as a file under the name that the task gives within the block. Raises ImageError, PlaceError.
Sources = Callable[[Task], contextlib.AbstractContextManager[Task]]

_NO_TIME = "the input's modification time could not be kept"
_LARGE_PIXELS = 32_000_000  # from here on bands are faster, and take less memory
_PROMPT_SECONDS = 0.005  # in which the supervisor hands out what there is


class TooLarge(ImageError):
    """An image needs more memory than can be had."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason, self.remedy = reason, remedy


class SoonerInBands(TooLarge):
    """An image is so large that it is converted in bands, whatever memory there is."""


class SupervisorGone(Exception):
    """Its end of the pipe is closed. An EOFError can come from whatever reads a file."""


def main(pipe_fd: int, slot_fd: int, out_fd: int, flight_fd: int, *_lock: int) -> None:
    """The life of a worker. Returns when it is told to stop.

    When the supervisor is gone, or all is lost, it never returns. As long as it lives it holds the lock of what is in
    flight.
    """
    channel = Channel(Connection(pipe_fd), ToWorker)

    def broken(error: BaseException) -> None:
        with contextlib.suppress(OSError):
            channel.send(Broken(reason=f"{type(error).__name__}: {error}"))
        os._exit(1)

    try:
        allocator.keep()
        interrupt = Interrupt()
        setup = _receive(channel.receive)
        out, flight = Folder(Path(setup.out), out_fd), Folder(Path(setup.flight), flight_fd)
        publisher, checkpoints, sources = _places_of(setup, out, flight, interrupt)
        scratch = Scratch(flight, setup.worker)
        slot = slots.Slot(slot_fd)
        worker = Worker(channel, setup, scratch, publisher, checkpoints, slot, interrupt, broken, sources)
        channel.send(Ready())
        worker.work()
    except (SupervisorGone, BrokenPipeError, ConnectionResetError):
        os._exit(0)  # no worker outlives the supervisor
    except BaseException as error:
        broken(error)


def _places_of(
    setup: Setup, out: Folder, flight: Folder, interrupt: Interrupt
) -> tuple[Publisher, Checkpoints, Sources]:
    if setup.job:
        from batchgray.workers import job_places  # with what object stores need

        return job_places.places_of(setup, flight, interrupt)
    publisher = FolderPublisher(out, flight, IntentLog(flight, setup.worker))
    return publisher, FolderCheckpoints(flight, out, setup.pixels), contextlib.nullcontext


def preload(what: Preload) -> None:
    """Import what images need that are no JPEGs (see `opening`), or are to become PNGs."""
    with contextlib.suppress(Exception):  # a worker that needs it will tell what is wrong
        if what.pillow:
            from batchgray.codecs import pillow_probes  # noqa: F401
        if what.png:
            from batchgray.codecs import png  # noqa: F401


class Worker:
    """Converts what it is handed. One image is in the slot at a time; finished files go to the committer."""

    def __init__(
        self,
        channel: Channel,
        setup: Setup,
        scratch: Scratch,
        publisher: Publisher,
        checkpoints: Checkpoints,
        slot: slots.Slot,
        interrupt: Interrupt,
        broken: Callable[[BaseException], None],
        sources: Sources = contextlib.nullcontext,
    ) -> None:
        self._channel = channel
        self._setup = setup
        self._pixels = setup.pixels
        self._slot = slot
        self._scratch_bytes = 0
        self._checkpointed = False
        self._interrupt = interrupt
        self._scratch, self._checkpoints, self._sources = scratch, checkpoints, sources
        self._kernel = methods.BY_METHOD[setup.pixels.method]
        self._committer = committer.Committer(publisher, checkpoints, channel.send, broken)
        self._committer.start()
        threading.Thread(target=interrupt.end_while_decoding, args=[self._committer.finish], daemon=True).start()

    def work(self) -> None:
        """Convert until SIGTERM, or until the supervisor closes the pipe; then see everything durable."""
        with contextlib.suppress(Interrupted):
            while True:
                message = self._next_message()
                self._take_memory(message)
                if isinstance(message, GiveBack):
                    continue
                if isinstance(message, Preview):
                    self._draw_preview(message.task)
                    break
                for task in message.tasks:
                    self._convert(task)
                    self._interrupt.check()
                self._channel.send(Idle())
                if not self._channel.waiting(_PROMPT_SECONDS):
                    self._committer.commit_now()
        self._committer.finish()

    def _convert(self, task: Task) -> None:
        written = None
        try:
            with meaning(task.output), self._sources(task) as at_hand:
                self._slot.announce(task.index)  # what comes before waits for a store, and is not held against it
                written = self._make_output(at_hand)
        except (ImageError, PlaceError) as error:
            self._channel.send(committer.failure(task, error, task.version.size))
        except MemoryError:
            self._channel.send(Failed(index=task.index, reason="out of memory while it was converted"))
        self._slot.clear()  # what follows waits for the disk, and is not held against the image
        if written is not None:
            self._committer.put(written)

    def _make_output(self, task: Task) -> committer.Written:
        started = time.monotonic()
        try:
            return self._make_in_memory(task, started, below=_LARGE_PIXELS)
        except SoonerInBands as error:
            with contextlib.suppress(ImageError):
                return self._make_in_bands(task, started, error)
        except TooLarge as error:
            return self._make_in_bands(task, started, error)
        try:  # it can't be read in bands, or has a fault there that another decoder may know a way round
            return self._make_in_memory(task, started)
        except TooLarge as error:
            return self._make_in_bands(task, started, error)

    def _make_in_memory(self, task: Task, started: float, below: float = math.inf) -> committer.Written:
        """Raises SoonerInBands for an image of so many pixels, unless nothing but its encoding is left."""
        self._checkpointed = False
        header = self._usable_sidecar(task)
        image, computed = self._restore_finished(task, header), 0
        decoded = image is None
        if image is None:
            image, computed = self._compute(task, header, started, below)
        record = image.record
        try:
            pieces = self._encode(image)
        except Interrupted:
            self._flush(task, image)
            raise
        file = self._scratch.write_file(pieces)
        record = self._set_time(file, record)
        done = _done(task, record, file, computed, decoded, started)
        return committer.Written(file, task, done, begun=task.resumable or self._checkpointed)

    def _make_in_bands(self, task: Task, started: float, too_large: TooLarge) -> committer.Written:
        """The way of what is large (see `banded`). Raises ImageError, Interrupted, PlaceError."""
        source = self._open(task)
        source.close()
        record, exif = self._describe(source)
        self._slot.describe(record)
        plan, team = self._plan_bands(task, source, too_large)
        with self._interrupt.ending_at_once():  # what is there already is looked through
            told = self._channel.send if self._checkpoints.keeps_planes else _untold
            conversion = banded.Conversion(task, record, exif, self._pixels, self._checkpoints, self._scratch, told)
        with contextlib.closing(conversion), allocator.returned(team.kept_bytes):
            computed = conversion.tiles_missing
            try:
                file = conversion.convert(source, plan, self._setup.checkpoint, self._interrupt, team)
            except ImageError:
                if self._is_there(task):
                    conversion.discard()
                raise
        record = msgspec.structs.replace(self._set_time(file, record), note=joined(record.note, conversion.note))
        done = _done(task, record, file, computed, computed > 0, started)
        return committer.Written(file, task, done, begun=True)

    def _set_time(self, file: ScratchFile, record: slots.SlotRecord) -> slots.SlotRecord:
        """Give an output its input's time, where that is asked for. Returns the record, with a note if it failed."""
        if not self._setup.times or file.set_time(record.version.mtime_ns):
            return record
        return msgspec.structs.replace(record, note=joined(record.note, _NO_TIME))

    def _is_there(self, task: Task) -> bool:
        """Whether the source is as it was planned; one that is away for a while is no reason to give up its bands."""
        try:
            return opening.version_of(task.source).is_same(task.version)
        except ImageError:
            return False

    def _plan_bands(
        self, task: Task, source: OpenedImage, too_large: TooLarge
    ) -> tuple[band_plan.BandPlan, banded.Team]:
        """How the source can be read in bands, and who converts them, with the memory for it. Raises ImageError."""
        try:
            band_reader.check_installed()
            plan = band_plan.plan_bands(task.source, source, self._pixels.method)
        except band_reader.PyvipsMissing:
            raise ImageError(
                f"{too_large.reason}; install batchgray[large] to convert it in bands, or {too_large.remedy}"
            ) from None
        except ImageError as error:
            raise ImageError(f"{too_large.reason}; {error}; {too_large.remedy}") from None
        for team in banded.teams(plan, source.width, self._setup.cores):
            needed = banded.needed_bytes(plan, source.width, source.height, self._pixels, team)
            with contextlib.suppress(TooLarge):
                self._reserve(slots.EMPTY_SLOT_BYTES, needed)
                return plan, team._replace(cores=lambda: self._slot.cores)
        raise ImageError(f"{too_large.reason}, and {needed / 1e6:,.0f} MB in bands; {too_large.remedy}")

    def _usable_sidecar(self, task: Task) -> SidecarHeader | None:
        """The header of an earlier run's finished tiles, if they are of the source as it is now."""
        header = self._checkpoints.find(task) if task.resumable else None
        return header if header and opening.version_of(task.source).is_same(header.record.version) else None

    def _restore_finished(self, task: Task, header: SidecarHeader | None) -> slots.SlotImage | None:
        """An image of which only the encoding is missing, without opening its source."""
        if header is None or header.tiles_done < header.record.tiles_total:
            return None
        record = header.record
        if record.width * record.height > self._setup.max_pixels:
            return None  # its source will say whether it is really so large
        try:
            if self._pixels.format == "jpeg":
                encoding.check_jpeg_sides(record.width, record.height)
            self._reserve(record.slot_bytes, 0)
        except ImageError:
            return None
        return self._checkpoints.restore(task.output, self._slot)

    def _compute(
        self, task: Task, header: SidecarHeader | None, started: float, below: float = math.inf
    ) -> tuple[slots.SlotImage, int]:
        """Decode, and run the kernel over the tiles that are not there yet.

        Returns the image and how many tiles had to be computed.
        """
        source = self._open(task)
        try:
            if source.width * source.height >= below:
                raise SoonerInBands("large", "")
            image, computed = self._decode(task, source, header)
        except SecondOpinion as wanted:
            with contextlib.closing(wanted.opened):
                image, computed = self._decode(task, wanted.opened, header)
        finally:
            source.close()
        opening.check_unchanged(task.source, image.record.version)
        if image.record.colour:
            self._run_kernel(task, image)
        else:
            image.flags[:] = b"\1" * len(image.flags)
        if time.monotonic() - started >= self._setup.checkpoint:
            self._checkpoint(task, image)  # so that a power cut while it is encoded doesn't cost the decoding
        return image, computed

    def _open(self, task: Task) -> OpenedImage:
        """The source, with the memory that opening it takes. Raises ImageError."""
        return opening.open_image(
            task.source,
            self._pixels.method,
            self._setup.max_pixels,
            colour_of(self._pixels.background),
            lambda scratch_bytes: self._reserve(slots.EMPTY_SLOT_BYTES, scratch_bytes),
        )

    def _decode(self, task: Task, source: OpenedImage, header: SidecarHeader | None) -> tuple[slots.SlotImage, int]:
        """The source in the slot, with all notes; and how many tiles are missing. Raises ImageError, SecondOpinion."""
        image = self._lay_out(task, source, header)
        missing = image.record.tiles_total - image.tiles_done
        with self._interrupt.ending_at_once():
            note = source.decode(image)
        return self._slot.annotate(image, joined(self._note_of(source), note)), missing

    def _lay_out(self, task: Task, source: OpenedImage, header: SidecarHeader | None) -> slots.SlotImage:
        """The slot, long enough and laid out for the source, with the tiles that are finished in place."""
        record, exif = self._describe(source)
        self._reserve(record.slot_bytes, source.scratch_bytes)
        restored = header and header.record.is_of(record) and self._checkpoints.restore(task.output, self._slot)
        return restored or self._slot.begin(record, exif)

    def _describe(self, source: OpenedImage) -> tuple[slots.SlotRecord, bytes]:
        """The record and the EXIF of an output to be. Raises ImageError where there can be none."""
        if self._pixels.format == "jpeg":
            encoding.check_jpeg_sides(source.width, source.height)
        exif = source.exif if self._pixels.metadata == "keep" else orientation_alone(source.exif)
        record = slots.SlotRecord(
            version=source.version,
            width=source.width,
            height=source.height,
            tile_rows=self._pixels.rows_for(source.width),
            colour=source.colour,
            exif_bytes=len(exif),
            note=self._note_of(source),
        )
        return record, exif

    def _note_of(self, source: OpenedImage) -> str | None:
        return joined(source.note, note_of(source.dropped) if self._pixels.metadata == "keep" else None)

    def _run_kernel(self, task: Task, image: slots.SlotImage) -> None:
        """Tile by tile; a flag goes up after its tile is written.

        Raises Interrupted, with the finished tiles flushed.
        """
        width = image.record.width
        rgb, gray = np.frombuffer(image.rgb, np.uint8), np.frombuffer(image.gray, np.uint8)
        checkpoint_at = time.monotonic() + self._setup.checkpoint
        for tile in tiles.unfinished(bytes(image.flags), image.record.height, image.record.tile_rows):
            if self._interrupt.heard:
                self._flush(task, image)
                raise Interrupted
            first, last = tile.top * width, tile.bottom * width
            self._kernel(rgb[3 * first : 3 * last], gray[first:last])
            image.flags[tile.index] = 1
            if time.monotonic() >= checkpoint_at:
                self._checkpoint(task, image)
                checkpoint_at = time.monotonic() + self._setup.checkpoint

    def _checkpoint(self, task: Task, image: slots.SlotImage) -> SidecarHeader:
        """Make the finished tiles durable and say so."""
        header = self._checkpoints.save(task, image)
        self._channel.send(flushed(task, header.record, header.tiles_done))
        self._checkpointed = True
        return header

    def _flush(self, task: Task, image: slots.SlotImage) -> None:
        """Finished tiles to the sidecar, then to the partial JPEG; an image without one stays as it was."""
        if image.tiles_done:
            self._save_preview(self._checkpoint(task, image), image)

    def _save_preview(self, header: SidecarHeader, image: slots.SlotImage) -> None:
        if not header.owns_preview:
            return
        preview.blacken_unfinished(image)
        record = image.record
        try:
            exif = bytes(image.exif)
            jpeg = encoding.encode_jpeg(image.gray, record.width, record.height, self._pixels.quality, exif)
            self._checkpoints.draw(header, jpeg)
        except (ImageError, PlaceError):
            pass  # it is for people to look at; what resume needs is in the sidecar

    def _draw_preview(self, task: Task) -> None:
        header = self._checkpoints.find(task)
        if header and not header.tiles:
            with contextlib.closing(self._checkpoints.open_plane(task.output, header.record)) as plane:
                banded.draw(header, plane, self._checkpoints.exif(task.output), self._checkpoints)
            return
        image = self._checkpoints.restore(task.output, self._slot) if header else None
        if header and image:
            self._save_preview(header, image)

    def _encode(self, image: slots.SlotImage) -> list[bytes]:
        if self._pixels.format == "png":
            return list(self._png(image))
        record, exif = image.record, bytes(image.exif)
        return encoding.encode_jpeg(image.gray, record.width, record.height, self._pixels.quality, exif)

    def _png(self, image: slots.SlotImage) -> Iterator[bytes]:
        """In pieces; given up at SIGTERM if it takes long. Raises Interrupted."""
        from batchgray.codecs import png  # compiled when it is first needed

        record, effort = image.record, self._pixels.compression
        for piece in png.encode(image.gray, record.width, record.height, effort, bytes(image.exif)):
            if self._interrupt.heard and png.takes_long(effort):
                raise Interrupted
            yield piece

    def _reserve(self, slot_bytes: int, scratch_bytes: int) -> None:
        """See that the slot is long enough and the codec's memory is ours; waits while others have it.

        Raises TooLarge.
        """
        if slot_bytes <= self._slot.size and scratch_bytes <= self._scratch_bytes:
            return
        self._channel.send(NeedMemory(slot_bytes=slot_bytes, scratch_bytes=scratch_bytes))
        while isinstance(answer := self._next_message(), GiveBack):
            self._take_memory(answer)
        if isinstance(answer, Refused):
            raise TooLarge(answer.reason, answer.remedy)
        if not isinstance(answer, Granted):
            raise TypeError(f"expected memory, got {answer}")
        self._take_memory(answer)

    def _next_message(self) -> Any:
        """Raises Interrupted, SupervisorGone."""
        return _receive(lambda: self._interrupt.receive(self._channel))

    def _take_memory(self, message: Convert | GiveBack | Granted | Preview) -> None:
        if message.scratch_bytes < self._scratch_bytes:
            allocator.give_back()
        self._scratch_bytes = message.scratch_bytes
        if message.slot_bytes != self._slot.size:
            self._slot.refresh()


def _untold(_flushed: Flushed) -> None:
    """What stays on this machine is nothing that another run could count on."""


def _receive(receive: Callable[[], Any]) -> Any:
    """What `receive` returns, in which an EOFError means the pipe. Raises SupervisorGone."""
    try:
        return receive()
    except EOFError:
        raise SupervisorGone from None


def _done(
    task: Task,
    record: slots.SlotRecord,
    file: ScratchFile,
    computed: int,
    decoded: bool,
    started: float,
) -> ImageDone:
    return ImageDone(
        index=task.index,
        version=record.version,
        width=record.width,
        height=record.height,
        tiles_total=record.tiles_total,
        tiles_computed=computed,
        decoded=decoded,
        output_size=file.size,
        checksum=file.checksum,
        note=record.note,
        seconds=time.monotonic() - started,
    )
