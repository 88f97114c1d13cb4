"""The books of a run: what is written down before what, and what counts as durable on a disk that is full."""

import contextlib
import errno
import os
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import msgspec
import pytest
from stream import Clock

from batchgray import errors, events
from batchgray.engine import recovery
from batchgray.engine.ledger import Ledger
from batchgray.manifest.records import Image, Manifest, Run
from batchgray.manifest.store import Store, load_manifest
from batchgray.notices.inbox import InterruptionNotice
from batchgray.options import PixelOptions
from batchgray.planning.plan import Plan
from batchgray.records import InputVersion, Task
from batchgray.storage import durable
from batchgray.storage.base import Full, Unreachable
from batchgray.workers import messages
from batchgray.workers.messages import ImageDone

NOTICE = InterruptionNotice(source="smq", event_id="E5")
VERSION = InputVersion(1234, 5678)


def done(index, **changes):
    known = {"width": 640, "height": 480, "tiles_total": 8, "tiles_computed": 8, "decoded": True, "seconds": 0.5}
    known |= {"version": VERSION, "output_size": 999, "checksum": "x:y", "note": None}
    return ImageDone(index=index, **{**known, **changes})


def flushed(index):
    return messages.Flushed(index=index, version=VERSION, width=640, height=480, tiles_done=3, tiles_total=8)


class Books:
    """A ledger of three images, its manifest on a real disk, and what it says."""

    def __init__(self, out, stack):
        self.stack = stack
        images = [Image(root=0, source=f"{name}.png", output=f"{name}.jpg", size=1234, mtime_ns=5678) for name in "abc"]
        document = Manifest(
            run_id="default",
            options=PixelOptions(),
            max_pixels=10**9,
            output_root=".",
            input_roots=[str(out)],
            images=images,
            state="running",
            runs=[Run(at=datetime(2026, 11, 22, tzinfo=UTC), workers=1, found=None)],
        )
        self.plan = Plan(out / "manifest.json", out, document, resumed=False, todo=[0, 1, 2])
        self.held = self.stack.enter_context(recovery.holding(self.plan, locked=True))
        self.store = Store(self.plan.path)
        self.store.commit(document)
        self.said = []
        self.ledger = Ledger(self.plan, self.tidy_up, self.store, checkpoint=5.0, emit=self.said.append, began=0.0)

    def tidy_up(self):
        recovery.remove(self.plan, self.held)

    def loaded(self):
        return load_manifest(self.plan.path)


@pytest.fixture
def books(tmp_path):
    with contextlib.ExitStack() as stack:
        books = Books(tmp_path, stack)
        yield books
        books.ledger.close()


def fails(code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    return fail


def patched_clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("batchgray.engine.ledger.time", SimpleNamespace(monotonic=clock, time_ns=time.time_ns))
    return clock


def document_fails(books, monkeypatch, code=errno.ENOSPC):
    monkeypatch.setattr(books.store, "_write_document", fails(code))


# what is told


def test_what_is_done_is_in_the_journal_before_anybody_hears_of_it(books, monkeypatch):
    order = []
    record = books.store.record
    monkeypatch.setattr(books.store, "record", lambda changes: (order.append("journal"), record(changes)))
    ledger = Ledger(books.plan, books.tidy_up, books.store, 5.0, lambda event: order.append(type(event).__name__), 0.0)
    ledger.done([done(0), done(1)])
    ledger.failed(2, "truncated")
    ledger.close()
    assert order == ["journal", "Done", "Done", "journal", "Failed"]


def test_the_totals_are_those_of_this_run(books):
    books.ledger.done([done(0, note="the first of 2 frames"), done(2)])
    books.ledger.failed(1, "truncated")
    totals = books.ledger.totals
    assert (totals.converted, totals.failed, totals.pixels) == (2, 1, 2 * 640 * 480)
    assert (totals.source_bytes, totals.output_bytes) == (2 * 1234, 2 * 999)
    assert totals.notes == {0: "the first of 2 frames"}
    assert [type(event) for event in books.said] == [events.Done, events.Done, events.Failed]


def reported(fields):
    """One report, and all that the shapes before and after it call differently."""
    return {"size": 1234, "mtime_ns": 5678, **{name: value for name, value in fields.items() if name != "version"}}


def test_each_field_of_what_is_done_comes_into_the_journal_or_to_the_listeners(books, monkeypatch):
    """A field that is forgotten in one of the shapes would be lost without a word."""
    lines = []
    monkeypatch.setattr(books.store, "record", lines.extend)
    item = done(1, tiles_computed=5, note="the first of 2 frames")
    books.ledger.done([item])
    change, event = msgspec.structs.asdict(lines[0]), msgspec.structs.asdict(books.said[0])
    expected = reported(msgspec.structs.asdict(item)) | {"image": 1, "output_bytes": 999}
    arrived = {**change, **event}
    assert {name: arrived.get(name, "lost") for name in expected if name != "index"} == {
        name: value for name, value in expected.items() if name != "index"
    }
    assert change["note"] == event["note"]
    untold = [name for name, value in change.items() if value is msgspec.UNSET]
    assert untold == []
    assert (change["state"], change["tiles_done"], change["mend"], change["error"]) == ("done", 8, False, None)


def test_each_field_of_what_is_flushed_comes_into_the_journal(books, monkeypatch):
    lines = []
    monkeypatch.setattr(books.store, "record", lines.extend)
    item = flushed(2)
    books.ledger.flushed(item)
    told = {name: value for name, value in msgspec.structs.asdict(lines[0]).items() if value is not msgspec.UNSET}
    expected = reported(msgspec.structs.asdict(item)) | {"image": 2, "state": "partial", "error": None}
    expected.pop("index")
    assert told == expected


def test_what_is_handed_out_is_told_with_the_images_names_and_size(books):
    books.ledger.started(Task(index=1, source="/in/b.png", output="b.jpg", version=VERSION), 4)
    assert books.said == [events.Started(source="b.png", source_bytes=1234, output="b.jpg", worker=4)]


def test_an_image_that_a_worker_died_on_is_told_by_its_name(books):
    books.ledger.suspected(1, "SIGSEGV")
    (warned,) = books.said
    assert warned.message == "a worker died on b.png (SIGSEGV); it is tried once more, alone"


def test_what_an_interruption_had_in_hand_is_told_by_what_became_of_it(books):
    books.ledger.noticed(NOTICE, 30.0, 3, again=False)
    books.ledger.done([done(0)])
    books.ledger.flushed(flushed(1))
    books.ledger.commit(NOTICE)
    books.ledger.drained([0, 1, 2], 0.5)
    noticed, _, told = books.said
    assert (noticed.source, noticed.event_id, noticed.seconds, noticed.in_hand) == ("smq", "E5", 30.0, 3)
    assert (told.in_hand, told.finished, told.failed, told.kept, told.put_back) == (3, 1, 0, 1, 1)
    assert (told.partial, told.pending, told.seconds) == (1, 1, 0.5)


def test_what_was_told_survives_a_crash(books):
    books.ledger.done([done(0)])
    books.ledger.flushed(flushed(1))
    books.ledger.failed(2, "truncated")
    found = books.loaded()
    assert [image.state for image in found.images] == ["done", "partial", "failed"]
    assert (found.images[1].tiles_done, found.images[1].tiles_total) == (3, 8)
    assert (found.images[0].checksum, found.images[2].error) == ("x:y", "truncated")


@pytest.mark.parametrize(("checkpoint", "seconds"), [(0.5, 0.25), (5.0, 1.0), (600.0, 1.0)])
def test_the_journal_is_synced_at_least_twice_in_a_checkpoint_interval(books, monkeypatch, checkpoint, seconds):
    """A sync that comes less often would lose more than an interval of work in a power cut."""
    clock = patched_clock(monkeypatch)
    ledger = Ledger(books.plan, books.tidy_up, books.store, checkpoint, books.said.append, 0.0)
    ledger.done([done(0)])
    assert ledger.sync() == 1000.0 + seconds
    assert ledger._syncing is None
    clock.now += seconds
    assert ledger.sync() == clock.now + seconds
    ledger._syncing.result()
    ledger.sync()
    assert not books.store.unsynced
    assert isinstance(books.said[-1], events.Checkpoint)
    clock.now += seconds
    ledger.sync()
    assert ledger._syncing is None, "there was nothing to sync"
    ledger.close()


def test_what_hurries_is_synced_before_its_time_and_once_at_a_time(books, monkeypatch):
    clock = patched_clock(monkeypatch)
    monkeypatch.setattr(books.store, "hurries", True)
    books.ledger.done([done(0)])
    until = books.ledger.sync()
    first = books.ledger._syncing
    assert until > clock.now
    first.result()
    assert not books.store.unsynced
    monkeypatch.setattr(books.store, "hurries", False)
    assert books.ledger.sync() == until
    assert books.ledger._syncing is None


# the end


def test_an_interruption_is_in_the_synced_journal_before_the_document_is_replaced(books, monkeypatch):
    """Else a full disk, which has no room for the document, would forget what was done and why it ended."""
    order = []
    for name in ("record_interruption", "sync", "commit"):
        real = getattr(books.store, name)
        monkeypatch.setattr(
            books.store, name, lambda *given, real=real, name=name: (order.append(name), real(*given))[1]
        )
    books.ledger.done([done(0)])
    books.ledger.commit(NOTICE)
    assert order == ["record_interruption", "sync", "commit"]
    assert books.ledger.states == {"done": 1, "pending": 2}
    assert books.ledger.durable
    found = books.loaded()
    assert (found.state, [(item.event_id, item.run) for item in found.interruptions]) == ("interrupted", [("E5", 0)])


def test_where_the_end_has_all_that_was_recorded_nothing_is_synced_before_it(books, monkeypatch):
    """The log of a share: each entry costs it two requests, one after the other."""
    monkeypatch.setattr(books.store, "commit_has_all", True)
    monkeypatch.setattr(books.store, "sync", fails(errno.EIO))
    books.ledger.done([done(0)])
    books.ledger.commit(NOTICE)
    assert books.ledger.durable
    assert books.loaded().images[0].state == "done"


def test_where_the_end_that_has_all_finds_no_space_nothing_counts_as_durable(books, monkeypatch):
    monkeypatch.setattr(books.store, "commit_has_all", True)
    document_fails(books, monkeypatch)
    books.ledger.done([done(0)])
    books.ledger.commit(NOTICE)
    assert (books.ledger.disk_full, books.ledger.durable) == (True, False)


def test_on_a_full_disk_the_journal_has_the_work_and_the_interruption_and_that_counts_as_durable(books, monkeypatch):
    document_fails(books, monkeypatch)
    books.ledger.done([done(0)])
    books.ledger.commit(NOTICE)
    assert (books.ledger.disk_full, books.ledger.durable) == (True, True)
    found = books.loaded()
    assert (found.images[0].state, found.state) == ("done", "interrupted")
    assert [item.event_id for item in found.interruptions] == ["E5"]


@pytest.mark.parametrize("step", ["record", "record_interruption", "sync"])
def test_what_neither_the_journal_nor_the_document_has_does_not_count_as_durable(books, monkeypatch, step):
    """A notice that was acknowledged for it would be gone, and the work with it."""
    document_fails(books, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(books.store, step, fails(errno.ENOSPC))
        books.ledger.done([done(0)])
        if step != "record":
            books.ledger.commit(NOTICE)
    if step == "record":
        books.ledger.commit(NOTICE)
    assert (books.ledger.disk_full, books.ledger.durable) == (True, False)


def test_a_journal_that_has_no_room_for_the_interruption_is_synced_all_the_same(books, monkeypatch):
    document_fails(books, monkeypatch)
    monkeypatch.setattr(books.store, "record_interruption", fails(errno.ENOSPC))
    books.ledger.done([done(0)])
    books.ledger.commit(NOTICE)
    assert not books.store.unsynced
    assert books.loaded().images[0].state == "done"


def test_a_sync_that_failed_beside_the_work_is_not_forgotten_by_the_next_one_that_succeeds(books, monkeypatch):
    """The system tells of it once, and may have dropped what it could not write."""
    document_fails(books, monkeypatch)
    books.ledger.done([done(0)])
    patched_clock(monkeypatch).now += 1e9
    with monkeypatch.context() as patch:
        patch.setattr(books.store, "sync", fails(errno.ENOSPC))
        books.ledger.sync()
        books.ledger._syncing.exception()
    books.ledger.commit(NOTICE)
    assert not books.ledger.durable


def test_a_document_that_has_all_is_durable_whatever_the_journal_lacks(books, monkeypatch):
    monkeypatch.setattr(books.store, "record", fails(errno.ENOSPC))
    books.ledger.done([done(0)])
    books.ledger.commit(NOTICE)
    assert (books.ledger.disk_full, books.ledger.durable) == (True, True)
    assert books.loaded().images[0].state == "done"


@pytest.mark.parametrize("step", ["record_interruption", "sync", "_write_document"])
def test_a_disk_that_is_broken_is_no_full_disk(books, monkeypatch, step):
    monkeypatch.setattr(books.store, step, fails(errno.EIO))
    with pytest.raises(errors.ManifestUnwritable):
        books.ledger.commit(NOTICE)
    assert not books.ledger.durable


def test_what_is_in_flight_goes_only_when_the_journal_or_the_document_knows_all_that_it_knows(books, monkeypatch):
    """The intents say whose the outputs are that no journal line tells of."""
    seen = []
    commit = books.store.commit

    def look_and_commit(document):
        seen.append(books.plan.flight.exists())
        commit(document)

    monkeypatch.setattr(books.store, "commit", look_and_commit)
    with monkeypatch.context() as patch:
        patch.setattr(books.store, "record", fails(errno.ENOSPC))
        books.ledger.done([done(0), done(1), done(2)])
    books.ledger.commit(None)
    assert seen == [True]
    assert (books.ledger.durable, books.loaded().state) == (True, "complete")
    assert not books.plan.flight.exists()


def test_what_is_in_flight_is_gone_before_the_document_says_complete(books, monkeypatch):
    """Else a crash between the two would leave it behind for ever."""
    seen = []
    replace = durable.Folder.replace
    monkeypatch.setattr(
        durable.Folder, "replace", lambda *names: (seen.append(books.plan.flight.exists()), replace(*names))[1]
    )
    books.ledger.done([done(0), done(1), done(2)])
    books.ledger.commit(None)
    assert books.ledger.states == {"done": 3}
    assert seen == [False]
    assert books.loaded().state == "complete"


def test_a_sync_that_a_place_did_not_answer_is_tried_again_and_is_no_checkpoint(books, monkeypatch):
    clock = patched_clock(monkeypatch)
    answers = [Unreachable("log", "no answer"), None]

    def sync():
        if answer := answers.pop(0):
            raise answer
        real()

    real = books.store.sync
    monkeypatch.setattr(books.store, "sync", sync)
    ledger = Ledger(books.plan, books.tidy_up, books.store, 5.0, books.said.append, 0.0)
    ledger.done([done(0)])
    checkpoints = []
    for _ in range(3):
        clock.now += 1.0
        ledger.sync()
        if ledger._syncing is not None:
            ledger._syncing.exception()
        checkpoints.append(sum(isinstance(event, events.Checkpoint) for event in books.said))
    ledger.sync()
    checkpoints.append(sum(isinstance(event, events.Checkpoint) for event in books.said))
    assert (answers, checkpoints[0], checkpoints[-1]) == ([], 0, 1)
    ledger.close()


def test_an_end_that_a_place_did_not_answer_is_no_end(books, monkeypatch):
    def commit(manifest):
        raise Unreachable("log", "no answer")

    monkeypatch.setattr(books.store, "commit", commit)
    with pytest.raises(errors.ManifestUnwritable, match="no answer"):
        books.ledger.commit(None)
    assert not books.ledger.durable


def answers_with(books, monkeypatch, error):
    def answer(*_):
        raise error("log", "why")

    monkeypatch.setattr(books.store, "sync", answer)
    monkeypatch.setattr(books.store, "commit", answer)


def test_a_place_that_is_full_is_as_a_full_disk(books, monkeypatch):
    answers_with(books, monkeypatch, Full)
    books.ledger.done([done(0)])
    books.ledger.commit(None)
    assert books.ledger.disk_full
    assert not books.ledger.durable


def test_a_place_that_is_full_is_told_by_the_sync_beside_the_work(books, monkeypatch):
    clock = patched_clock(monkeypatch)
    answers_with(books, monkeypatch, Full)
    ledger = Ledger(books.plan, books.tidy_up, books.store, 5.0, books.said.append, 0.0)
    ledger.done([done(0)])
    clock.now += 10
    ledger.sync()
    ledger._syncing.exception()
    ledger.sync()
    assert ledger.disk_full
    ledger.close()


def test_an_interruption_that_a_place_did_not_hear_of_is_one_all_the_same(books, monkeypatch):
    answers_with(books, monkeypatch, Unreachable)
    books.ledger.done([done(0)])
    books.ledger.commit(NOTICE)
    assert books.ledger.unreachable == "why"
    assert not books.ledger.durable
    assert not books.ledger.disk_full
