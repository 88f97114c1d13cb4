"""A worker that can't be told its setup costs nothing."""

import os
from types import SimpleNamespace

import pytest

from batchgray.engine import pool
from batchgray.planes import slots


class DeadPipe:
    def send(self, message):
        raise BrokenPipeError

    def close(self):
        pass


def test_a_worker_that_can_not_be_told_its_setup_leaves_nothing_open(monkeypatch):
    made, memory = [], slots.make_memory
    monkeypatch.setattr(slots, "make_memory", lambda: made.append(memory()) or made[0])
    with pytest.raises(BrokenPipeError):
        pool.spawn_worker(SimpleNamespace(fork=lambda *fds: DeadPipe()), 1, None, [], slots.EMPTY_SLOT_BYTES)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(made[0])
