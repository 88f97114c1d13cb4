"""An image that takes too much of the processor, or of the clock, is told; one that is only slow is not."""

import os

import pytest

from batchgray import machine
from batchgray.engine import timelimit
from batchgray.planes import slots
from batchgray.records import InputVersion


@pytest.fixture
def slot():
    fd = slots.make_memory()
    yield slots.Slot(fd)
    os.close(fd)


class Watched:
    """A worker's watch, with a clock and a processor time of the test's own: `wall` and `busy`, in seconds."""

    def __init__(self, slot):
        self.wall, self.busy = 1000.0, 50.0
        self._watch = timelimit.Watch(slot._fd, lambda: self.wall)

    def exceeded(self):
        return self._watch.exceeded(1)

    def forget(self):
        self._watch.forget()

    def let_pass(self, wall):
        """The supervisor runs, and checks every second. Returns what the last check says."""
        end, told = self.wall + wall, None
        while self.wall < end:
            self.wall = min(end, self.wall + timelimit.CHECK_SECONDS)
            told = self.exceeded()
        return told

    def be_stopped(self, wall):
        """The supervisor does not run, and so does not check."""
        self.wall += wall


@pytest.fixture
def watched(slot, monkeypatch):
    watched = Watched(slot)
    monkeypatch.setattr(machine, "processor_seconds", lambda pid: watched.busy)
    return watched


def lay_out(slot, megapixels):
    record = slots.SlotRecord(
        version=InputVersion(1, 1),
        width=1000,
        height=megapixels * 1000,
        tile_rows=8,
        colour=True,
        exif_bytes=0,
        note=None,
    )
    slots.resize_memory(slot._fd, record.slot_bytes)
    slot.refresh()
    slot.begin(record, b"")


@pytest.mark.parametrize(
    ("megapixels", "wall", "busy", "words"),
    [
        (0, 59, 9, None),
        (0, 11, 11, "10 s of processor time"),
        (0, 61, 1, "60 s"),
        (40, 100, 49, None),
        (40, 100, 51, "50 s of processor time"),
        (40, 259, 1, None),
        (40, 261, 1, "260 s"),
    ],
)
def test_limits_grow_with_the_pixels(slot, watched, megapixels, wall, busy, words):
    slot.announce(7)
    if megapixels:
        lay_out(slot, megapixels)
    assert watched.exceeded() is None
    watched.busy += busy
    told = watched.let_pass(wall)
    assert (words is None and told is None) or (told is not None and words in told)


@pytest.mark.parametrize(("after", "told"), [(59, None), (61, "over 60 s")])
def test_time_in_which_the_supervisor_was_stopped_does_not_count(slot, watched, after, told):
    slot.announce(7)
    assert watched.exceeded() is None
    assert watched.let_pass(20) is None
    watched.be_stopped(120)
    assert watched.let_pass(20 - timelimit.CHECK_SECONDS) is None
    watched.be_stopped(120)
    assert watched.let_pass(after - 40 - timelimit.CHECK_SECONDS) == told


def test_the_time_begins_anew_with_another_image_and_after_waiting_for_others(slot, watched):
    for index in range(4):
        slot.announce(index)
        assert watched.exceeded() is None
        watched.busy += 8
        assert watched.exceeded() is None
    watched.forget()
    assert watched.exceeded() is None
    watched.busy += 8
    assert watched.exceeded() is None
    watched.busy += 8
    assert watched.exceeded() is not None


def test_no_image_and_no_process_have_no_time(slot, watched, monkeypatch):
    slot.announce(0)
    watched.exceeded()
    watched.busy += 100
    slot.clear()
    assert watched.exceeded() is None
    slot.announce(0)
    monkeypatch.setattr(machine, "processor_seconds", lambda pid: None)
    assert watched.exceeded() is None


def test_processor_time_is_that_of_the_process():
    before = machine.processor_seconds(os.getpid())
    end = before + 0.05
    while machine.processor_seconds(os.getpid()) < end:
        pass
    assert machine.processor_seconds(2**22 + 1) is None
