"""Workers are spawned, signalled and reaped through the fork server, for which a stub stands."""

import os
import selectors
import signal
from types import SimpleNamespace

import pytest
from stream import Clock
from stubs import StubServer

from batchgray import errors
from batchgray.engine import pool
from batchgray.engine.pool import Inheritance, Pool
from batchgray.options import PixelOptions
from batchgray.planes import slots
from batchgray.workers import messages

EMPTY = slots.EMPTY_SLOT_BYTES


class World:
    """A pool over a stub; `heard` is what its workers said."""

    def __init__(self, folder):
        self.server, self.clock, self.heard = StubServer(), Clock(), []
        self.selector = selectors.DefaultSelector()
        inheritance = Inheritance(
            out=folder, flight=folder, descriptors=(), pixels=PixelOptions(), max_pixels=10**9, checkpoint=5.0
        )
        self.pool = Pool(
            self.server, inheritance, self.selector, lambda worker, said: self.heard.append((worker, said)), self.clock
        )

    def spawned(self, count):
        return [self.pool.spawn_worker() for _ in range(count)]

    def says(self, message):
        """The fork server."""
        self.server.tells(message)
        self.pool.read_server()


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.pool.close()
    world.selector.close()


def test_a_spawned_worker_is_told_its_setup_first(world, tmp_path):
    first, second = world.spawned(2)
    setups = [channel.receive() for channel in world.server.workers]
    assert [setup.worker for setup in setups] == [first.number, second.number] == [1, 2]
    assert setups[0].out == str(tmp_path)
    assert setups[0].checkpoint == 5.0


def test_workers_get_their_process_ids_in_the_order_in_which_they_were_asked_for(world):
    workers = world.spawned(2)
    for pid in (11, 12):
        world.says(messages.Forked(pid=pid))
    assert [worker.pid for worker in workers] == [11, 12]


def test_what_a_worker_says_is_handed_on_and_the_end_of_its_pipe_is_noted(world):
    (worker,) = world.spawned(1)
    world.server.workers[0].send(messages.Ready())
    world.pool.read_worker(worker)
    assert world.heard == [(worker, messages.Ready())]
    world.server.workers[0].close()
    world.pool.read_worker(worker)
    assert (worker.ended, len(world.heard)) == (True, 1)


def test_a_worker_whose_pipe_was_closed_in_the_same_round_is_not_read(world):
    (worker,) = world.spawned(1)
    world.pool.end_pipe(worker)
    world.pool.read_worker(worker)
    assert world.heard == []


def test_a_worker_is_to_be_reaped_when_its_pipe_and_its_process_have_ended(world):
    one, other = world.spawned(2)
    world.says(messages.Forked(pid=11))
    world.says(messages.Exited(pid=11, status=-9, peak_bytes=5))
    assert world.pool.gone_workers == []
    world.pool.end_pipe(one)
    assert world.pool.gone_workers == [one]
    assert (one.status, one.peak_bytes) == (-9, 5)
    world.pool.remove_worker(one)
    assert world.pool.workers == [other]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(one.slot_fd)


def test_only_workers_that_run_are_signalled(world):
    world.spawned(3)
    world.says(messages.Forked(pid=11))
    world.says(messages.Forked(pid=12))
    world.says(messages.Exited(pid=11, status=0, peak_bytes=1))
    world.pool.kill_workers()
    assert world.server.signalled == [(12, signal.SIGKILL)]


def test_a_worker_that_is_forked_after_all_were_terminated_is_told_too(world):
    """Else it would wait for work until the grace is over, and the machine with it."""
    world.spawned(2)
    world.says(messages.Forked(pid=11))
    world.pool.terminate_workers()
    world.says(messages.Forked(pid=12))
    assert world.server.signalled == [(11, signal.SIGTERM), (12, signal.SIGTERM)]


def test_workers_of_a_fork_server_that_has_not_booted_are_not_waited_for(world):
    world.server.booted = False
    workers = world.spawned(2)
    world.pool.terminate_workers()
    assert world.pool.gone_workers == workers
    assert [worker.status for worker in workers] == [0, 0]


def test_a_fork_server_that_dies_is_replaced_and_its_workers_are_blameless(world, monkeypatch):
    workers, new = world.spawned(2), StubServer()
    monkeypatch.setattr(pool, "ForkServer", lambda: new)
    world.server.dies()
    assert world.pool.spawn_worker() is None
    assert world.server.stopped
    assert [(worker.exited, worker.blameless) for worker in workers] == [(True, True)] * 2
    assert world.pool.spawn_worker().number == 4
    assert len(new.workers) == 1


def test_a_fork_server_that_dies_again_and_again_ends_the_run(world, monkeypatch):
    monkeypatch.setattr(pool, "ForkServer", StubServer)
    world.pool._replace_server()
    world.pool._replace_server()
    with pytest.raises(errors.WorkersCannotWork):
        world.pool._replace_server()


def test_a_fork_server_that_can_not_go_on_ends_the_run_in_its_own_words(world):
    with pytest.raises(errors.WorkersCannotWork, match="no numba"):
        world.says(messages.Broken(reason="no numba"))


def test_time_limits_are_looked_at_once_a_second_and_a_worker_over_one_is_killed_once(world, monkeypatch):
    checked = []
    monkeypatch.setattr(pool.timelimit.Watch, "exceeded", lambda self, pid: checked.append(pid) or "over 60 s")
    world.spawned(2)
    for pid in (11, 12):
        world.says(messages.Forked(pid=pid))
    for _ in range(3):
        world.pool.enforce_time_limits()
    world.clock.now += pool.timelimit.CHECK_SECONDS
    world.pool.enforce_time_limits()
    assert checked == [11, 12]
    assert world.server.signalled == [(11, signal.SIGKILL), (12, signal.SIGKILL)]


class DeadPipe:
    def send(self, message):
        raise BrokenPipeError

    def close(self):
        pass


def test_a_worker_that_can_not_be_told_its_setup_leaves_nothing_open(world, monkeypatch):
    made, memory = [], slots.make_memory
    monkeypatch.setattr(slots, "make_memory", lambda: made.append(memory()) or made[0])
    with pytest.raises(BrokenPipeError):
        pool._spawn(SimpleNamespace(fork=lambda *fds: DeadPipe()), 1, world.pool._inheritance, EMPTY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(made[0])


def test_a_limit_of_the_system_is_told_with_its_remedy(world, monkeypatch):
    def refuse():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(slots, "make_memory", refuse)
    with pytest.raises(errors.WorkersCannotWork, match="ulimit -n"):
        world.pool.spawn_worker()


def test_idle_cores_are_lent_to_the_workers_that_have_something_in_hand(world):
    workers = world.spawned(3)
    cores = lambda: [slots.Slot(worker.slot_fd).cores for worker in workers]  # noqa: E731
    for worker in workers:
        worker.tasks = {worker.number: None}
    world.pool.lend_cores(8)
    assert cores() == [3, 3, 2]
    workers[1].idle = True
    world.pool.lend_cores(8)
    assert [cores()[0], cores()[2]] == [4, 4]
    workers[1].idle = False
    world.pool.lend_cores(3)
    assert cores() == [1, 1, 1]
    world.pool.lend_cores(2)  # no worker has less than its own
    assert cores() == [1, 1, 1]
