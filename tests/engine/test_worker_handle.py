"""What is known of one worker: what it holds, how long its image takes, and how it ended."""

import os
import signal
from types import SimpleNamespace

import pytest
from stream import Clock

from batchgray.engine import timelimit
from batchgray.engine.worker_handle import WorkerHandle
from batchgray.planes import slots
from batchgray.records import InputVersion
from batchgray.workers.messages import NeedMemory

EMPTY = slots.EMPTY_SLOT_BYTES


@pytest.fixture
def worker():
    one = WorkerHandle(1, slots.make_memory(), SimpleNamespace(close=lambda: None), pid=1000)
    yield one
    one.close()


def test_the_time_that_an_image_waits_for_memory_is_not_held_against_it(worker, monkeypatch):
    """A sound image would fail for what others do."""
    clock = Clock()
    monkeypatch.setattr("batchgray.machine.processor_seconds", lambda pid: 0.0)
    worker._watch = timelimit.Watch(worker.slot_fd, clock)

    def exceeds_after(seconds: int) -> bool:
        """Asked every second, as the supervisor does."""
        for _ in range(seconds):
            clock.now += 1.0
            exceeds = worker.exceeds_time()
        return exceeds

    slot = slots.Slot(worker.slot_fd)
    slot.announce(0)
    version = InputVersion(1, 1)
    record = {"width": 10, "height": 10, "tile_rows": 8, "colour": True, "exif_bytes": 0, "note": None}
    slot.describe(slots.SlotRecord(version=version, **record))
    assert not worker.exceeds_time()
    worker.asked = NeedMemory(slot_bytes=EMPTY, scratch_bytes=0)
    assert not exceeds_after(1000)
    worker.asked = None
    assert not worker.exceeds_time()
    assert not exceeds_after(59)
    assert exceeds_after(2)
    assert "stopped" in worker.cause


def test_what_it_holds_beyond_an_empty_slot_is_counted_with_its_codecs_memory(worker):
    worker.resize(EMPTY + 5000)
    worker.scratch_bytes = 300
    assert worker.held_bytes == 5300
    assert os.fstat(worker.slot_fd).st_size == EMPTY + 5000


@pytest.mark.parametrize(
    ("status", "cause", "words"),
    [
        (-signal.SIGSEGV, None, "SIGSEGV; 12 MB in use, 34 MB available"),
        (-signal.SIGKILL, None, "SIGKILL, as when memory runs out; 12 MB in use, 34 MB available"),
        (1, None, "exit status 1"),
        (-signal.SIGKILL, "it took over 60 s, and was stopped", "it took over 60 s, and was stopped"),
    ],
)
def test_why_it_ended_is_said_in_words(worker, monkeypatch, status, cause, words):
    monkeypatch.setattr("batchgray.machine.available_memory", lambda: 34_000_000)
    worker.record_exit(status, peak_bytes=12_000_000)
    worker.cause = cause
    assert worker.cause_of_death == words


def test_it_is_gone_when_its_pipe_has_ended_and_its_exit_is_known(worker):
    assert not worker.gone
    worker.record_exit(0)
    assert not worker.gone
    worker.ended = True
    assert worker.gone
