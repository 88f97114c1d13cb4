"""An image that takes too much of the processor, or of the clock, is told; one that is only slow is not."""

import os

import pytest

from batchgray import machine, planes, timelimit
from batchgray.messages import SourceIdentity


@pytest.fixture
def slot():
    fd = planes.make_memory()
    yield planes.Slot(fd)
    os.close(fd)


@pytest.fixture
def clocks(monkeypatch):
    """What the clock and the worker's processor time say, in seconds."""
    now = {"wall": 1000.0, "busy": 50.0}
    monkeypatch.setattr(machine, "processor_seconds", lambda pid: now["busy"])
    monkeypatch.setattr(timelimit.time, "monotonic", lambda: now["wall"])
    return now


def lay_out(slot, megapixels):
    record = planes.SlotRecord(
        identity=SourceIdentity(1, 1),
        width=1000,
        height=megapixels * 1000,
        tile_rows=8,
        colour=True,
        exif_bytes=0,
        note=None,
    )
    planes.resize_memory(slot._fd, record.slot_bytes)
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
def test_limits_grow_with_the_pixels(slot, clocks, megapixels, wall, busy, words):
    watch = timelimit.Watch(slot._fd)
    slot.announce(7)
    if megapixels:
        lay_out(slot, megapixels)
    assert watch.exceeded(1) is None
    clocks["wall"] += wall
    clocks["busy"] += busy
    told = watch.exceeded(1)
    assert (words is None and told is None) or (told is not None and words in told)


def test_the_time_begins_anew_with_another_image_and_after_waiting_for_others(slot, clocks):
    watch = timelimit.Watch(slot._fd)
    for index in range(4):
        slot.announce(index)
        assert watch.exceeded(1) is None
        clocks["busy"] += 8
        assert watch.exceeded(1) is None
    watch.forget()
    assert watch.exceeded(1) is None
    clocks["busy"] += 8
    assert watch.exceeded(1) is None
    clocks["busy"] += 8
    assert watch.exceeded(1) is not None


def test_no_image_and_no_process_have_no_time(slot, clocks, monkeypatch):
    watch = timelimit.Watch(slot._fd)
    slot.announce(0)
    watch.exceeded(1)
    clocks["busy"] += 100
    slot.clear()
    assert watch.exceeded(1) is None
    slot.announce(0)
    monkeypatch.setattr(machine, "processor_seconds", lambda pid: None)
    assert watch.exceeded(1) is None


def test_processor_time_is_that_of_the_process():
    before = machine.processor_seconds(os.getpid())
    end = before + 0.05
    while machine.processor_seconds(os.getpid()) < end:
        pass
    assert machine.processor_seconds(2**22 + 1) is None
