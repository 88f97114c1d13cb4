"""The worker process: one image after another, handed out by the supervisor, until SIGTERM or until the pipe closes.

An image goes the way of `in_memory`, or of `banded` where it is larger than memory. While it is converted, the sources
of those that come next are fetched (`inputs`), and finished outputs are on their way (`committer`). At SIGTERM what is
whole is published, and what is begun is flushed.
"""

import contextlib
import importlib
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from batchgray.checkpoints.base import Checkpoints
from batchgray.checkpoints.folder import FolderCheckpoints
from batchgray.codecs import band_plan, band_reader, opening
from batchgray.codecs.faults import joined
from batchgray.codecs.opened import OpenedImage
from batchgray.errors import ImageError
from batchgray.planes import slots
from batchgray.records import Task
from batchgray.storage.base import PlaceError, meaning
from batchgray.storage.durable import Folder
from batchgray.storage.intents import IntentLog
from batchgray.storage.publishing import FolderPublisher
from batchgray.storage.scratch import HeldFile, Scratch, ScratchFile
from batchgray.workers import allocator, banded, committer, in_memory
from batchgray.workers.inputs import Files, InHand, Inputs
from batchgray.workers.interrupt import Interrupt, Interrupted
from batchgray.workers.messages import (
    Broken,
    Channel,
    Convert,
    Failed,
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
    WantsMore,
)

_PROMPT_SECONDS = 0.005  # in which the supervisor hands out what there is


class TooLarge(ImageError):
    """An image needs more memory than can be had."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason, self.remedy = reason, remedy


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
        places = _places_of(setup, out, flight, interrupt, channel.send, broken)
        worker = Worker(channel, setup, Scratch(flight, setup.worker), places, slots.Slot(slot_fd), interrupt)
        channel.send(Ready())
        worker.work()
    except (SupervisorGone, BrokenPipeError, ConnectionResetError):
        os._exit(0)  # no worker outlives the supervisor
    except BaseException as error:
        broken(error)


class Places(NamedTuple):
    """Where a worker has its inputs from, keeps checkpoints, and brings its outputs."""

    inputs: Inputs
    checkpoints: Checkpoints
    outbox: committer.Outbox


def _places_of(
    setup: Setup,
    out: Folder,
    flight: Folder,
    interrupt: Interrupt,
    report: committer.Report,
    broken: Callable[[BaseException], None],
) -> Places:
    if setup.job:
        from batchgray.workers import opened_places  # with what object stores need

        return Places(*opened_places.opened(setup, flight, interrupt, report, broken))
    checkpoints = FolderCheckpoints(flight, out, setup.pixels)
    publisher = FolderPublisher(out, flight, IntentLog(flight, setup.worker))
    return Places(Files(), checkpoints, committer.Committer(publisher, checkpoints, report, broken))


def preload(what: Preload) -> None:
    """Import what images need that are no JPEGs (see `opening`), or are to become PNGs; and the client of a store."""
    for name in what.modules:
        with contextlib.suppress(Exception):  # a worker that needs it will tell what is wrong
            importlib.import_module(f"batchgray.{name}")


class Worker:
    """Converts what it is handed. One image is in the slot at a time; finished outputs go to the outbox."""

    def __init__(
        self,
        channel: Channel,
        setup: Setup,
        scratch: Scratch,
        places: Places,
        slot: slots.Slot,
        interrupt: Interrupt,
    ) -> None:
        self._channel, self._setup, self._pixels = channel, setup, setup.pixels
        self._slot, self._interrupt = slot, interrupt
        self._scratch, self._checkpoints = scratch, places.checkpoints
        self._inputs, self._outbox = places.inputs, places.outbox
        self._converter = in_memory.Converter(setup, slot, places.checkpoints, interrupt, self._reserve, channel.send)
        self._tasks: deque[Task] = deque()  # in the order in which the inputs are expected
        self._chunks = self._scratch_bytes = 0
        self._wanted_more = False
        self._waited = 0.0
        self._read_here = False  # whether libvips had no hand in the bands of the image in hand
        self._outbox.start()
        threading.Thread(target=interrupt.end_while_decoding, args=[self._outbox.finish], daemon=True).start()

    def work(self) -> None:
        """Convert until SIGTERM, or until the supervisor closes the pipe; then see everything durable."""
        with contextlib.suppress(Interrupted):
            while True:
                with self._waiting():
                    message = self._next_message()
                if isinstance(message, Preview):
                    self._take_memory(message)
                    if not banded.draw_preview(message.task, self._checkpoints):
                        self._converter.draw_preview(message.task)
                    break
                self._take_in(message)
                if self._tasks:
                    self._work_off()
        self._outbox.finish()

    def _work_off(self) -> None:
        while self._tasks:
            self._ask_for_more()
            self._convert(self._tasks.popleft())
            self._interrupt.check()
        self._channel.send(Idle(chunks=self._chunks))
        if not self._channel.waiting(_PROMPT_SECONDS):
            self._outbox.commit_now()

    def _ask_for_more(self) -> None:
        """Have the supervisor hand out what can be fetched ahead; what has come meanwhile is taken in."""
        if not self._wanted_more:
            room = self._inputs.room
            if not room:
                return
            self._wanted_more = True
            self._channel.send(WantsMore(size=room))
        with self._waiting():  # for the next input, where it is not there yet
            while self._wanted_more and self._channel.waiting(0 if self._inputs.is_there else _PROMPT_SECONDS):
                self._take_in(self._next_message())

    def _take_in(self, message: Convert | GiveBack) -> None:
        self._take_memory(message)
        if isinstance(message, Convert):
            self._chunks += 1
            self._wanted_more = False
            self._tasks.extend(message.tasks)
            self._inputs.expect(message.tasks)

    def _convert(self, task: Task) -> None:
        written = None
        try:
            with meaning(task.output), self._inputs.at_hand(task) as in_hand:
                self._slot.announce(task.index)  # what comes before waits for a store, and is not held against it
                self._waited += in_hand.waited
                written = self._make_output(in_hand)
        except (ImageError, PlaceError) as error:
            self._channel.send(committer.failure(task, error, task.version.size))
        except MemoryError:
            self._channel.send(Failed(index=task.index, reason="out of memory while it was converted"))
        self._slot.clear()  # what follows waits for the disk, and is not held against the image
        if written is not None:
            began = time.monotonic()
            self._outbox.put(written)
            self._waited += time.monotonic() - began

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._waited += time.monotonic() - began

    def _make_output(self, in_hand: InHand) -> committer.Written:
        started = time.monotonic()
        try:
            return self._make_in_memory(in_hand, started, in_memory.LARGE_PIXELS)
        except in_memory.SoonerInBands:
            with contextlib.suppress(ImageError):
                return self._take_bands(in_hand, started, TooLarge("it is large", "raise --memory"))
        except TooLarge as error:
            return self._take_bands_either_way(in_hand, started, error)
        try:  # it can't be read in bands, or has a fault there that another decoder may know a way round
            return self._make_in_memory(in_hand, started)
        except TooLarge as error:
            return self._take_bands_either_way(in_hand, started, error)

    def _make_in_memory(self, in_hand: InHand, started: float, below: float = math.inf) -> committer.Written:
        made = self._converter.make(in_hand.task, in_hand.source, started, below)
        size = sum(map(len, made.pieces))
        file = HeldFile(made.pieces) if size <= self._outbox.held_bytes else self._scratch.write_file(made.pieces)
        record = self._set_time(file, made.record)
        done = self._done(in_hand.task, record, file, made.computed, made.decoded, started)
        return committer.Written(file, in_hand.task, done, begun=made.begun)

    @contextlib.contextmanager
    def _in_a_file(self, in_hand: InHand) -> Iterator[Task]:
        """The task whose source is the path of a file. Raises PlaceError."""
        if isinstance(in_hand.source, str):
            yield in_hand.task
            return
        with self._scratch.file_of(in_hand.source.data, in_hand.task.version.mtime_ns) as path:
            yield msgspec.structs.replace(in_hand.task, source=path)

    def _take_bands_either_way(self, in_hand: InHand, started: float, too_large: TooLarge) -> committer.Written:
        """With a fault in it, an image that memory is too short for is read in bands by another decoder.

        Raises ImageError, Interrupted, PlaceError.
        """
        self._read_here = False
        try:
            return self._take_bands(in_hand, started, too_large)
        except ImageError as fault:
            if not self._read_here:
                raise
            try:
                return self._take_bands(in_hand, started, too_large, by_libvips=True)
            except ImageError:
                raise fault from None

    def _take_bands(
        self, in_hand: InHand, started: float, too_large: TooLarge, by_libvips: bool = False
    ) -> committer.Written:
        """The way of what is large (see `banded`). Raises ImageError, Interrupted, PlaceError."""
        with self._in_a_file(in_hand) as task:
            return self._make_in_bands(task, started, too_large, by_libvips)

    def _make_in_bands(self, task: Task, started: float, too_large: TooLarge, by_libvips: bool) -> committer.Written:
        source = self._converter.open(task.source)
        source.close()
        record, metadata = self._converter.describe(source)
        self._slot.describe(record)
        plan, team = self._plan_bands(task, source, too_large, by_libvips)
        self._read_here = not plan.needs_libvips
        with self._interrupt.ending_at_once():  # what is there already is looked through
            conversion = banded.Conversion(
                task, record, metadata, self._pixels, self._checkpoints, self._scratch, self._channel.send
            )
        with contextlib.closing(conversion), allocator.returned(team.kept_bytes):
            computed = conversion.tiles_missing
            try:
                file = conversion.convert(source, plan, self._setup.checkpoint, self._interrupt, team)
            except ImageError:
                if self._is_there(task):
                    conversion.discard()
                raise
        record = msgspec.structs.replace(self._set_time(file, record), note=joined(record.note, conversion.note))
        done = self._done(task, record, file, computed, computed > 0, started)
        return committer.Written(file, task, done, begun=True)

    def _set_time(self, file: ScratchFile | HeldFile, record: slots.SlotRecord) -> slots.SlotRecord:
        """Give a file its input's time, where that is asked for. Returns the record, with a note if it failed."""
        if not self._setup.times or isinstance(file, HeldFile) or file.set_time(record.version.mtime_ns):
            return record
        return msgspec.structs.replace(record, note=joined(record.note, committer.NO_TIME))

    def _is_there(self, task: Task) -> bool:
        """Whether the source is as it was planned; one that is away for a while is no reason to give up its bands."""
        try:
            return opening.version_of(task.source).is_same(task.version)
        except ImageError:
            return False

    def _plan_bands(
        self, task: Task, source: OpenedImage, too_large: TooLarge, by_libvips: bool
    ) -> tuple[band_plan.BandPlan, banded.Team]:
        """How the source can be read in bands, and who converts them, with the memory for it. Raises ImageError."""
        try:
            plan = band_plan.plan_bands(task.source, source, self._pixels.method, by_libvips)
            if plan.needs_libvips:
                band_reader.check_installed()
        except band_reader.PyvipsMissing:
            raise ImageError(
                f"{too_large.reason}; install batchgray[large] to convert it in bands, or {too_large.remedy}"
            ) from None
        except ImageError as error:
            raise ImageError(f"{too_large.reason}; {error}; {too_large.remedy}") from None
        for team in banded.teams(plan, source.width, self._setup.cores):
            needed = banded.needed_bytes(plan, source.width, source.height, self._pixels, team)
            needed += self._checkpoints.held_bytes(source.width)
            with contextlib.suppress(TooLarge):
                self._reserve(slots.EMPTY_SLOT_BYTES, needed)
                return plan, team._replace(cores=lambda: self._slot.cores)
        raise ImageError(f"{too_large.reason}, and {needed / 1e6:,.0f} MB in bands; {too_large.remedy}")

    def _done(
        self,
        task: Task,
        record: slots.SlotRecord,
        file: ScratchFile | HeldFile,
        computed: int,
        decoded: bool,
        started: float,
    ) -> ImageDone:
        waited, self._waited = self._waited, 0.0
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
            waited=waited,
        )

    def _reserve(self, slot_bytes: int, scratch_bytes: int) -> None:
        """See that the slot is long enough and the codec's memory is ours; waits while others have it.

        Raises TooLarge.
        """
        if slot_bytes <= self._slot.size and scratch_bytes <= self._scratch_bytes:
            return
        self._channel.send(NeedMemory(slot_bytes=slot_bytes, scratch_bytes=scratch_bytes))
        while isinstance(answer := self._next_message(), Convert | GiveBack):
            self._take_in(answer)
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


def _receive(receive: Callable[[], Any]) -> Any:
    """What `receive` returns, in which an EOFError means the pipe. Raises SupervisorGone."""
    try:
        return receive()
    except EOFError:
        raise SupervisorGone from None
