"""The books of a run: what the supervisor reports becomes manifest, journal and events, in this order."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from batchgray import errors, events
from batchgray.errors import shown
from batchgray.manifest.records import Image, ImageChange, ImageState, Interruption, Manifest, utc_now
from batchgray.notices.inbox import InterruptionNotice
from batchgray.records import Task
from batchgray.storage.base import Busy, Full, PlaceError, Unreachable, is_full
from batchgray.workers.messages import Flushed, ImageDone

Listener = Callable[[events.Event], None]


class Planned(Protocol):
    """What the ledger has to know of a plan; it keeps the images of `manifest` up to date."""

    manifest: Manifest
    todo: list[int]
    already_done: int

    def states(self) -> Counter[ImageState]:
        """How many of its images are in each state."""

    @property
    def flight(self) -> Path:
        """The folder of what is in flight."""


class Books(Protocol):
    """Where the ledger writes: a manifest and its journal (`Store`), or the log of a share.

    With `commit_has_all`, to commit writes what was recorded: syncing just before would only cost time. What fails
    raises OSError or PlaceError.
    """

    commit_has_all: bool

    @property
    def path(self) -> Path | str:
        """How it is called, for people."""

    def commit(self, manifest: Manifest) -> None:
        """Make the end durable, and with it all that was recorded."""

    def record(self, changes: list[ImageChange]) -> None:
        """What is now true; durable after the next sync."""

    def record_interruption(self, interruption: Interruption) -> None: ...

    def sync(self) -> None:
        """May run in another thread than the rest."""

    @property
    def unsynced(self) -> bool: ...
    @property
    def hurries(self) -> bool:
        """Whether to sync pays before its time."""

    def close(self) -> None: ...


@dataclass
class Totals:
    """What this run did; the manifest has what all runs did. Sizes in bytes."""

    converted: int = 0
    failed: int = 0
    pixels: int = 0
    source_bytes: int = 0
    output_bytes: int = 0
    notes: dict[int, str] = field(default_factory=dict)  # by the image's index
    waited: float = 0.0  # seconds that workers stood still
    seconds: float = 0.0  # that it took, once its end is committed


class Ledger:
    """Keeps the books. It is the supervisor's Reporter.

    `disk_full` is set when the journal found no space; the next document has what it lacks. `durable` is set when the
    end is on the disk: all that was told, and the interruption. `states` then counts the images in each state.
    `unreachable` is why a place did not take the end of a run that was interrupted.
    """

    def __init__(
        self, plan: Planned, tidy_up: Callable[[], None], store: Books, checkpoint: float, emit: Listener, began: float
    ) -> None:
        """`tidy_up` is called when all is done, before that is written down. It raises OSError."""
        self.totals = Totals(failed=plan.states()["failed"])
        self.disk_full = self.durable = self._interrupted = False
        self.unreachable: str | None = None
        self.states: Counter[ImageState] = Counter()
        self._plan, self._remove_flight, self._store, self._emit = plan, tidy_up, store, emit
        self._images = plan.manifest.images
        self._began = began
        # What a power cut can cost is one checkpoint interval; syncing twice as often leaves time for the sync itself.
        self._interval = min(1.0, checkpoint / 2)
        self._sync_at = time.monotonic() + self._interval
        self._syncing: Future[None] | None = None
        self._syncer = ThreadPoolExecutor(1, "journal-sync")

    def started(self, task: Task, worker: int) -> None:
        """An image was handed to a worker."""
        image = self._images[task.index]
        self._emit(events.Started(source=image.source, source_bytes=image.size, output=image.output, worker=worker))

    def done(self, items: list[ImageDone]) -> None:
        """Outputs that are durable."""
        now_ms = time.time_ns() // 1_000_000
        self._record([_done_change(item, now_ms) for item in items])
        for item in items:
            image = self._images[item.index]
            self.totals.converted += 1
            self.totals.pixels += item.width * item.height
            self.totals.source_bytes += image.size
            self.totals.output_bytes += item.output_size
            self.totals.waited += item.waited
            if item.note:
                self.totals.notes[item.index] = item.note
            self._emit(_done_event(image, item))

    def flushed(self, item: Flushed) -> None:
        """Finished tiles of a begun image that are durable."""
        change = ImageChange(
            image=item.index,
            state="partial",
            size=item.version.size,
            mtime_ns=item.version.mtime_ns,
            width=item.width,
            height=item.height,
            tiles_done=item.tiles_done,
            tiles_total=item.tiles_total,
        )
        self._record([change])

    def failed(self, index: int, reason: str) -> None:
        """An image that can't be converted."""
        image, reason = self._images[index], shown(reason)  # it may quote the file
        self.totals.failed += 1
        self._record([ImageChange(image=index, state="failed", error=reason)])
        self._emit(events.Failed(source=image.source, output=image.output, error=reason, source_bytes=image.size))

    def suspected(self, index: int, cause: str) -> None:
        """A worker died on an image."""
        self.warned(f"a worker died on {shown(self._images[index].source)} ({cause}); it is tried once more, alone")

    def worker_ended(self, worker: int) -> None:
        self._emit(events.WorkerEnded(worker=worker))

    def warned(self, message: str) -> None:
        self._emit(events.Warned(message=message))

    def noticed(self, notice: InterruptionNotice, seconds: float, in_hand: int, again: bool) -> None:
        """A notice, and the seconds that are left for what is in hand."""
        self._emit(
            events.Notice(
                source=notice.source,
                event_id=notice.event_id,
                deadline=notice.deadline,
                seconds=seconds,
                in_hand=in_hand,
                again=again,
            )
        )

    def drained(self, in_hand: list[int], seconds: float) -> None:
        """What became of the images that were in hand at the notice."""
        counts = Counter(self._images[index].state for index in in_hand)
        self._emit(
            events.Flushed(
                in_hand=counts.total(),
                finished=counts["done"] + counts["failed"],
                kept=counts["partial"],
                put_back=counts["pending"],
                failed=counts["failed"],
                partial=self.states["partial"],
                pending=self.states["pending"],
                seconds=seconds,
            )
        )

    def sync(self) -> float:
        """Bring the journal to the disk when it is time, in a thread, so that a slow disk holds up nothing.

        Returns the moment of the next time. Raises ManifestUnwritable.
        """
        if self._syncing is not None and self._syncing.done():
            with self._noticing_a_full_disk(), _trying_again():
                self._syncing.result()
            if self._syncing.exception() is None:
                self._emit(
                    events.Checkpoint(done=self._plan.already_done + self.totals.converted, failed=self.totals.failed)
                )
            self._syncing = None
        now = time.monotonic()
        due, hurries = now >= self._sync_at, self._store.hurries
        if due:
            self._sync_at = now + self._interval
        if self._syncing is None and (hurries or (due and self._store.unsynced)):
            self._syncing = self._syncer.submit(self._store.sync)
        return self._sync_at

    def commit(self, notice: InterruptionNotice | None) -> None:
        """Make the end durable. Raises ManifestUnwritable.

        On a full disk the journal, which needs the least space, holds what it can, and the document stays as it was.
        """
        document = self._plan.manifest
        self.totals.seconds = time.monotonic() - self._began
        if self._plan.todo:  # else it is no run in the manifest
            document.runs[-1] = msgspec.structs.replace(document.runs[-1], seconds=self.totals.seconds)
        interruption = None if notice is None else _interruption(notice, len(document.runs) - 1)
        self._interrupted = notice is not None and notice.source != "disk"
        self.states = states = self._plan.states()
        journal_whole = self._complete_journal(interruption)
        if interruption:
            document.interruptions.append(interruption)
        finished = not states["pending"] and not states["partial"]
        if not finished:
            document.state = "interrupted"
        else:
            document.state = "complete_with_failures" if states["failed"] else "complete"
        if finished and journal_whole:  # else the intents are still needed: they know what the journal does not
            self._tidy_up()
        self.durable = self._replace_document() or journal_whole
        if finished and self.durable and not journal_whole:
            self._tidy_up()

    def _complete_journal(self, interruption: Interruption | None) -> bool:
        """Whether all that was told, and the interruption, is in the journal and on the disk."""
        self._syncer.shutdown()
        with self._noticing_a_full_disk():
            if self._syncing is not None:
                with _trying_again():
                    self._syncing.result()  # the system tells of a failed sync once; the next one would hide it
        with self._noticing_a_full_disk():
            if interruption:
                self._store.record_interruption(interruption)
        if self._store.commit_has_all:
            return False
        with self._noticing_a_full_disk():
            self._store.sync()
        return not self.disk_full and self.unreachable is None

    def _replace_document(self) -> bool:
        """Whether the document has everything now."""
        with self._noticing_a_full_disk():
            if self.unreachable is None:  # else it was waited for already, and in vain
                self._store.commit(self._plan.manifest)
                return True
        return False

    def _tidy_up(self) -> None:
        try:
            self._remove_flight()
        except OSError as error:  # every output is done all the same
            folder = shown(str(self._plan.flight))
            self.warned(f"can't remove {folder}: {error.strerror}; remove it by hand")

    def close(self) -> None:
        self._syncer.shutdown()
        self._store.close()

    def _record(self, changes: list[ImageChange]) -> None:
        for change in changes:
            change.apply(self._images)
        with self._noticing_a_full_disk():
            self._store.record(changes)

    @contextlib.contextmanager
    def _noticing_a_full_disk(self) -> Iterator[None]:
        """Raises ManifestUnwritable for whatever else is wrong with the disk."""
        try:
            yield
        except OSError as error:
            if not is_full(error):
                raise errors.ManifestUnwritable(self._store.path, error.strerror) from error
            self.disk_full = True
        except Full:
            self.disk_full = True
        except PlaceError as error:
            if not self._interrupted:
                raise errors.ManifestUnwritable(self._store.path, error.reason) from error
            self.unreachable = error.reason


@contextlib.contextmanager
def _trying_again() -> Iterator[None]:
    """A place that does not answer is asked again; one that is full, or lost, is not. Raises PlaceError."""
    with contextlib.suppress(Busy, Unreachable):
        yield


def _interruption(notice: InterruptionNotice, run: int) -> Interruption:
    return Interruption(at=utc_now(), source=notice.source, event_id=notice.event_id, deadline=notice.deadline, run=run)


# Each field by its name: to hand over a dict of them takes ten times as long, and it is done for every image.


def _done_change(item: ImageDone, now_ms: int) -> ImageChange:
    return ImageChange(
        image=item.index,
        state="done",
        size=item.version.size,
        mtime_ns=item.version.mtime_ns,
        width=item.width,
        height=item.height,
        tiles_done=item.tiles_total,
        tiles_total=item.tiles_total,
        output_size=item.output_size,
        checksum=item.checksum,
        done_at_ms=now_ms,
        note=item.note,
        mend=False,
    )


def _done_event(image: Image, item: ImageDone) -> events.Done:
    return events.Done(
        source=image.source,
        output=image.output,
        source_bytes=image.size,
        output_bytes=item.output_size,
        width=item.width,
        height=item.height,
        tiles_total=item.tiles_total,
        tiles_computed=item.tiles_computed,
        decoded=item.decoded,
        seconds=item.seconds,
        waited=item.waited,
        note=item.note,
    )
