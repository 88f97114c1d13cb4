"""Memory is shared out in the order in which it was asked for, within the limit."""

import contextlib
import os

import pytest

from batchgray.engine.memory import grant_memory, on_the_way_bytes
from batchgray.engine.worker_handle import WorkerHandle
from batchgray.planes import slots
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
def worker():
    """Makes workers, and closes their slots at the end."""
    with contextlib.ExitStack() as stack:
        made = []

        def make(held=0, scratch=0, asked=None, at=0.0, idle=False):
            one = WorkerHandle(len(made) + 1, slots.make_memory(), Pipe(), pid=1000 + len(made), idle=idle)
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


def test_a_worker_that_asks_gets_memory_that_is_free(worker):
    one, busy = worker(asked=60 * MB), worker(held=30 * MB)
    grant_memory([one, busy], 100 * MB)
    assert one.channel.sent == [Granted(slot_bytes=EMPTY + 60 * MB, scratch_bytes=0)]
    assert (one.asked, length(one), busy.channel.sent) == (None, 60 * MB, [])


def test_the_codecs_memory_counts_as_the_slot_does(worker):
    one, busy = worker(), worker(scratch=50 * MB)
    one.asked = NeedMemory(slot_bytes=EMPTY, scratch_bytes=51 * MB)
    grant_memory([one, busy], 100 * MB)
    assert one.channel.sent == []
    busy.scratch_bytes = 49 * MB
    grant_memory([one, busy], 100 * MB)
    assert one.channel.sent == [Granted(slot_bytes=EMPTY, scratch_bytes=51 * MB)]
    assert one.held_bytes == 51 * MB


def test_what_the_limit_can_never_give_is_refused_at_once_with_a_remedy(worker):
    one = worker(asked=101 * MB)
    grant_memory([one], 100 * MB)
    assert isinstance(one.channel.sent[0], Refused)
    assert "--memory" in one.channel.sent[0].remedy
    assert one.asked is None


def test_a_waiting_or_idle_worker_gives_up_what_another_is_short_of(worker):
    one = worker(asked=80 * MB, at=1.0)
    waiting, idle, busy = worker(held=40 * MB, asked=90 * MB, at=2.0), worker(held=40 * MB, idle=True), worker(10 * MB)
    grant_memory([one, waiting, idle, busy], 100 * MB)
    assert [len(granted(each)) for each in (one, waiting, idle, busy)] == [1, 0, 0, 0]
    assert [length(each) for each in (one, waiting, idle, busy)] == [80 * MB, 0, 0, 10 * MB]
    assert waiting.channel.sent == idle.channel.sent == [GiveBack(slot_bytes=EMPTY)]


def test_no_worker_gives_up_memory_that_no_other_is_short_of(worker):
    one, idle = worker(asked=50 * MB), worker(held=50 * MB, idle=True)
    grant_memory([one, idle], 100 * MB)
    assert (length(idle), idle.channel.sent) == (50 * MB, [])


def test_a_large_request_is_not_overtaken_by_small_ones_for_ever(worker):
    """Else a sound large image would wait as long as small ones come."""
    busy, large, small = worker(held=50 * MB), worker(asked=80 * MB, at=1.0), worker(asked=10 * MB, at=2.0)
    grant_memory([busy, small, large], 100 * MB)
    assert small.channel.sent == large.channel.sent == []
    busy.resize(EMPTY)
    grant_memory([busy, small, large], 100 * MB)
    assert (len(granted(large)), len(granted(small))) == (1, 1)


def test_one_that_is_refused_does_not_hold_up_those_behind_it(worker):
    large, small = worker(asked=200 * MB, at=1.0), worker(asked=10 * MB, at=2.0)
    grant_memory([large, small], 100 * MB)
    assert isinstance(large.channel.sent[0], Refused)
    assert len(granted(small)) == 1


def test_all_together_never_hold_more_than_the_limit(worker):
    workers = [worker(asked=40 * MB, at=float(number)) for number in range(4)]
    grant_memory(workers, 100 * MB)
    assert [len(granted(each)) for each in workers] == [1, 1, 0, 0]
    assert sum(each.held_bytes for each in workers) == 80 * MB


def test_a_slot_that_the_system_can_not_make_longer_is_refused_and_costs_no_other_worker(worker, monkeypatch):
    one, other = worker(asked=10 * MB, at=1.0), worker(asked=20 * MB, at=2.0)
    real = slots.resize_memory

    def resize(fd, size):
        if fd == one.slot_fd:
            raise OSError(27, "File too large")
        real(fd, size)

    monkeypatch.setattr(slots, "resize_memory", resize)
    grant_memory([one, other], 100 * MB)
    assert "ulimit -f" in one.channel.sent[0].remedy
    assert one.held_bytes == 0
    assert len(granted(other)) == 1


def test_a_dead_worker_that_asked_breaks_nothing(worker):
    one, other = worker(asked=10 * MB, at=1.0), worker(asked=10 * MB, at=2.0)
    one.channel.dead = True
    grant_memory([one, other], 100 * MB)
    assert len(granted(other)) == 1


@pytest.mark.parametrize(
    ("limit", "workers", "expected"), [(16 << 30, 2, 64 << 20), (160 << 20, 2, 10 << 20), (80, 10, 1)]
)
def test_what_is_on_the_way_is_an_eighth_of_the_memory_at_most(limit, workers, expected):
    assert on_the_way_bytes(limit, workers) == expected
