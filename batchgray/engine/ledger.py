"""The books of a run: what workers report becomes manifest, journal and events, in this order."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from batchgray import errors, events
from batchgray.engine import recovery
from batchgray.errors import shown
from batchgray.manifest.records import ImageChange, Interruption, utc_now
from batchgray.manifest.store import Store
from batchgray.notices.inbox import InterruptionNotice
from batchgray.planning.plan import Plan
from batchgray.storage.base import is_full
from batchgray.storage.run_folder import RunFolder
from batchgray.workers import messages

Listener = Callable[[events.Event], None]


@dataclass
class Totals:
    """What this run did; the manifest has what all runs did. Sizes in bytes."""

    converted: int = 0
    failed: int = 0
    pixels: int = 0
    source_bytes: int = 0
    output_bytes: int = 0
    notes: dict[int, str] = field(default_factory=dict)  # by the image's index
    space_needed: int | None = None


class Ledger:
    """Keeps the books.

    `disk_full` is set when the journal found no space; the next document has what it lacks. `durable` is set when the
    end is on the disk: all that was told, and the interruption.
    """

    def __init__(self, plan: Plan, held: RunFolder, store: Store, checkpoint: float, emit: Listener) -> None:
        self.totals = Totals(failed=sum(image.state == "failed" for image in plan.manifest.images))
        self.disk_full = self.durable = False
        self._plan, self._held, self._store, self._emit = plan, held, store, emit
        self._images = plan.manifest.images
        # What a power cut can cost is one checkpoint interval; syncing twice as often leaves time for the sync itself.
        self._interval = min(1.0, checkpoint / 2)
        self._sync_at = time.monotonic() + self._interval
        self._syncing: Future[None] | None = None
        self._syncer = ThreadPoolExecutor(1, "journal-sync")

    def done(self, items: list[messages.ImageDone]) -> None:
        """Outputs that are durable."""
        now_ms = time.time_ns() // 1_000_000
        self._record([_done_change(item, now_ms) for item in items])
        for item in items:
            image = self._images[item.index]
            self.totals.converted += 1
            self.totals.pixels += item.width * item.height
            self.totals.source_bytes += image.size
            self.totals.output_bytes += item.output_size
            if item.note:
                self.totals.notes[item.index] = item.note
            self._emit(
                events.Done(
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
                    note=item.note,
                )
            )

    def flushed(self, item: messages.Flushed) -> None:
        """Finished tiles of a begun image that are durable."""
        change = ImageChange(
            image=item.index,
            state="partial",
            size=item.identity.size,
            mtime_ns=item.identity.mtime_ns,
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

    def sync(self) -> float:
        """Bring the journal to the disk when it is time, in a thread, so that a slow disk keeps nobody waiting.

        Returns the moment of the next time. Raises ManifestUnwritable.
        """
        if self._syncing is not None and self._syncing.done():
            with self._noticing_a_full_disk():
                self._syncing.result()
            if self._syncing.exception() is None:
                self._emit(
                    events.Checkpoint(done=self._plan.already_done + self.totals.converted, failed=self.totals.failed)
                )
            self._syncing = None
        now = time.monotonic()
        if now >= self._sync_at:
            self._sync_at = now + self._interval
            if self._syncing is None and self._store.unsynced:
                self._syncing = self._syncer.submit(self._store.sync)
        return self._sync_at

    def commit(self, notice: InterruptionNotice | None) -> Counter[str]:
        """Make the end durable and return how many images are in each state. Raises ManifestUnwritable.

        On a full disk the journal, which needs the least space, holds what it can, and the document stays as it was.
        """
        document = self._plan.manifest
        interruption = None if notice is None else _interruption(notice, len(document.runs) - 1)
        states: Counter[str] = Counter(image.state for image in self._images)
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
        return states

    def _complete_journal(self, interruption: Interruption | None) -> bool:
        """Whether all that was told, and the interruption, is in the journal and on the disk."""
        self._syncer.shutdown()
        with self._noticing_a_full_disk():
            if self._syncing is not None:
                self._syncing.result()  # the system tells of a failed sync once; the next one would hide it
        with self._noticing_a_full_disk():
            if interruption:
                self._store.record_interruption(interruption)
        with self._noticing_a_full_disk():
            self._store.sync()
        return not self.disk_full

    def _replace_document(self) -> bool:
        """Whether the document has everything now."""
        with self._noticing_a_full_disk():
            self._store.commit(self._plan.manifest)
            return True
        return False

    def _tidy_up(self) -> None:
        try:
            recovery.remove(self._plan, self._held)
        except OSError as error:  # every output is done all the same
            folder = shown(str(self._plan.flight))
            self._emit(events.Warned(message=f"can't remove {folder}: {error.strerror}; remove it by hand"))

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


def _interruption(notice: InterruptionNotice, run: int) -> Interruption:
    return Interruption(at=utc_now(), source=notice.source, event_id=notice.event_id, deadline=notice.deadline, run=run)


def _done_change(item: messages.ImageDone, now_ms: int) -> ImageChange:
    return ImageChange(
        image=item.index,
        state="done",
        size=item.identity.size,
        mtime_ns=item.identity.mtime_ns,
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
