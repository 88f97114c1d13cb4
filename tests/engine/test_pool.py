"""Memory is shared out in the order in which it was asked for, and who waits for it loses no time."""

import contextlib
import os
from types import SimpleNamespace

import pytest
from stream import Clock

from batchgray.engine import pool, timelimit
from batchgray.planes import slots
from batchgray.records import SourceIdentity
from batchgray.workers.messages import GiveBack, Granted, NeedMemory, Refused

MB = 1 << 20
EMPTY = slots.EMPTY_SLOT_BYTES


class Pipe:
    """A worker's pipe: what was sent to it; a dead one takes nothing."""

    def __init__(self):
        self.sent, self.dead = [], False

    def send(self, message):
        if self.dead:
            raise BrokenPipeError
        self.sent.append(message)

    def close(self):
        pass


@pytest.fixture
def member():
    """Makes workers, and closes their slots at the end."""
    with contextlib.ExitStack() as stack:
        made = []

        def make(held=0, scratch=0, asked=None, at=0.0, idle=False):
            one = pool.Member(len(made) + 1, slots.make_memory(), Pipe(), pid=1000 + len(made), idle=idle)
            one.resize(EMPTY + held)
            one.scratch_bytes = scratch
            if asked is not None:
                one.asked, one.asked_at = NeedMemory(slot_bytes=EMPTY + asked, scratch_bytes=0), at
            made.append(one)
            stack.callback(one.close)
            return one

        yield make


def length(one):
    return os.fstat(one.slot_fd).st_size - EMPTY


def granted(one):
    return [message for message in one.channel.sent if isinstance(message, Granted)]


def test_who_asks_gets_memory_that_is_free(member):
    one, busy = member(asked=60 * MB), member(held=30 * MB)
    pool.grant_memory([one, busy], 100 * MB)
    assert one.channel.sent == [Granted(slot_bytes=EMPTY + 60 * MB, scratch_bytes=0)]
    assert (one.asked, length(one), busy.channel.sent) == (None, 60 * MB, [])


def test_the_codecs_memory_counts_as_the_slot_does(member):
    one, busy = member(), member(scratch=50 * MB)
    one.asked = NeedMemory(slot_bytes=EMPTY, scratch_bytes=51 * MB)
    pool.grant_memory([one, busy], 100 * MB)
    assert one.channel.sent == []
    busy.scratch_bytes = 49 * MB
    pool.grant_memory([one, busy], 100 * MB)
    assert one.channel.sent == [Granted(slot_bytes=EMPTY, scratch_bytes=51 * MB)]
    assert one.held_bytes == 51 * MB


def test_what_the_limit_can_never_give_is_refused_at_once_with_a_remedy(member):
    one = member(asked=101 * MB)
    pool.grant_memory([one], 100 * MB)
    assert isinstance(one.channel.sent[0], Refused)
    assert "--memory" in one.channel.sent[0].remedy
    assert one.asked is None


def test_who_waits_or_is_idle_gives_up_what_another_is_short_of(member):
    one = member(asked=80 * MB, at=1.0)
    waiting, idle, busy = member(held=40 * MB, asked=90 * MB, at=2.0), member(held=40 * MB, idle=True), member(10 * MB)
    pool.grant_memory([one, waiting, idle, busy], 100 * MB)
    assert [len(granted(worker)) for worker in (one, waiting, idle, busy)] == [1, 0, 0, 0]
    assert [length(worker) for worker in (one, waiting, idle, busy)] == [80 * MB, 0, 0, 10 * MB]
    assert waiting.channel.sent == idle.channel.sent == [GiveBack(slot_bytes=EMPTY)]


def test_nobody_gives_up_memory_that_nobody_is_short_of(member):
    one, idle = member(asked=50 * MB), member(held=50 * MB, idle=True)
    pool.grant_memory([one, idle], 100 * MB)
    assert (length(idle), idle.channel.sent) == (50 * MB, [])


def test_a_large_request_is_not_overtaken_by_small_ones_for_ever(member):
    """Else a sound large image would wait as long as small ones come."""
    busy, large, small = member(held=50 * MB), member(asked=80 * MB, at=1.0), member(asked=10 * MB, at=2.0)
    pool.grant_memory([busy, small, large], 100 * MB)
    assert small.channel.sent == large.channel.sent == []
    busy.resize(EMPTY)
    pool.grant_memory([busy, small, large], 100 * MB)
    assert (len(granted(large)), len(granted(small))) == (1, 1)


def test_one_that_is_refused_holds_up_nobody_behind_it(member):
    large, small = member(asked=200 * MB, at=1.0), member(asked=10 * MB, at=2.0)
    pool.grant_memory([large, small], 100 * MB)
    assert isinstance(large.channel.sent[0], Refused)
    assert len(granted(small)) == 1


def test_all_together_never_hold_more_than_the_limit(member):
    workers = [member(asked=40 * MB, at=float(number)) for number in range(4)]
    pool.grant_memory(workers, 100 * MB)
    assert [len(granted(worker)) for worker in workers] == [1, 1, 0, 0]
    assert sum(worker.held_bytes for worker in workers) == 80 * MB


def test_a_slot_that_the_system_can_not_make_longer_is_refused_and_costs_nobody_else(member, monkeypatch):
    one, other = member(asked=10 * MB, at=1.0), member(asked=20 * MB, at=2.0)
    real = slots.resize_memory

    def resize(fd, size):
        if fd == one.slot_fd:
            raise OSError(27, "File too large")
        real(fd, size)

    monkeypatch.setattr(slots, "resize_memory", resize)
    pool.grant_memory([one, other], 100 * MB)
    assert "ulimit -f" in one.channel.sent[0].remedy
    assert one.held_bytes == 0
    assert len(granted(other)) == 1


def test_a_dead_worker_that_asked_breaks_nothing(member):
    one, other = member(asked=10 * MB, at=1.0), member(asked=10 * MB, at=2.0)
    one.channel.dead = True
    pool.grant_memory([one, other], 100 * MB)
    assert len(granted(other)) == 1


def test_the_time_that_an_image_waits_for_memory_is_not_held_against_it(member, monkeypatch):
    """A sound image would fail for what others do."""
    clock = Clock()
    monkeypatch.setattr("batchgray.machine.processor_seconds", lambda pid: 0.0)
    one = member()
    one._watch = timelimit.Watch(one.slot_fd, clock)

    def exceeds_after(seconds: int) -> bool:
        """Asked every second, as the supervisor does."""
        for _ in range(seconds):
            clock.now += 1.0
            exceeds = one.exceeds_time()
        return exceeds

    slot = slots.Slot(one.slot_fd)
    slot.announce(0)
    identity = SourceIdentity(1, 1)
    record = {"width": 10, "height": 10, "tile_rows": 8, "colour": True, "exif_bytes": 0, "note": None}
    slot.describe(slots.SlotRecord(identity=identity, **record))
    assert not one.exceeds_time()
    one.asked = NeedMemory(slot_bytes=EMPTY, scratch_bytes=0)
    assert not exceeds_after(1000)
    one.asked = None
    assert not one.exceeds_time()
    assert not exceeds_after(59)
    assert exceeds_after(2)
    assert "stopped" in one.cause


def test_a_worker_that_can_not_be_told_its_task_leaves_nothing_open(monkeypatch):
    channel, made = Pipe(), []
    channel.dead = True
    memory = slots.make_memory
    monkeypatch.setattr(slots, "make_memory", lambda: made.append(memory()) or made[0])
    with pytest.raises(BrokenPipeError):
        pool.spawn(SimpleNamespace(fork=lambda *fds: channel), 1, None, [], EMPTY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(made[0])
