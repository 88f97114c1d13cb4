"""The supervisor, a step at a time: a stub stands for the fork server, and the test plays the workers."""

import contextlib
import dataclasses
import errno
import os
import signal
from datetime import UTC, datetime, timedelta

import pytest
from stream import Clock
from stubs import StubServer

from batchgray import errors
from batchgray.checkpoints.folder import FolderCheckpoints
from batchgray.engine import pool, timelimit
from batchgray.engine.drain import SALVAGE_SECONDS
from batchgray.engine.lifecycle import State
from batchgray.engine.pool import Inheritance
from batchgray.engine.supervisor import READY_SECONDS, Outcome, Supervisor
from batchgray.notices.inbox import Inbox, InterruptionNotice
from batchgray.options import EngineOptions, PixelOptions
from batchgray.planes import slots
from batchgray.records import InputVersion, Task
from batchgray.storage.base import Full
from batchgray.storage.durable import Folder
from batchgray.workers import messages
from batchgray.workers.messages import Convert

SIGTERM = InterruptionNotice(source="signal", event_id="SIGTERM")
VERSION = InputVersion(1234, 5678)


class Reporter:
    """Writes down what it is told; what is for people alone is in `said`."""

    def __init__(self):
        self.disk_full, self.told, self.said = False, [], []

    def started(self, task, worker):
        self.said.append(("started", task.index, worker))

    def done(self, images):
        self.told += [("done", item.index) for item in images]

    def flushed(self, message):
        self.told.append(("flushed", message.index, message.tiles_done))

    def failed(self, index, reason):
        self.told.append(("failed", index, reason))

    def suspected(self, index, cause):
        self.said.append(("suspected", index, cause))

    def worker_ended(self, worker):
        self.said.append(("worker ended", worker))

    def warned(self, message):
        self.said.append(("warned", message))

    def noticed(self, notice, seconds, in_hand, again):
        self.said.append(("noticed", notice.event_id, seconds, in_hand, again))

    def drained(self, in_hand, seconds):
        self.told.append(("drained", in_hand, seconds))

    def sync(self):
        return float("inf")

    def commit(self, notice):
        self.told.append(("commit", notice))

    def sayings(self, kind):
        return [said for said in self.said if said[0] == kind]


class Tasks:
    """So many images of a size."""

    def __init__(self, count, size):
        self.indices, self._size = range(count), size

    def size(self, index):
        return self._size

    def task(self, index):
        version = InputVersion(self._size, 5678)
        return Task(index=index, source=f"/in/{index}.png", output=f"{index}.jpg", version=version)

    def share_out(self, backlog):
        pass


class World:
    """A supervisor of `count` small images, each in a chunk of its own."""

    def __init__(self, out, stack, count=3, size=2 << 20, stay=False, on_the_way_bytes=0, **engine):
        folder = stack.enter_context(Folder.at(out))
        flight = stack.enter_context(folder.inner(".batchgray", make=True))
        inheritance = Inheritance(
            out=folder.path,
            flight=flight.path,
            descriptors=(),
            pixels=PixelOptions(),
            max_pixels=10**9,
            checkpoint=5.0,
            on_the_way_bytes=on_the_way_bytes,
        )
        options = EngineOptions(**{"workers": 2, "memory": 1 << 30, "grace": 30.0, **engine})
        self.clock, self.server, self.reporter, self.inbox = Clock(), StubServer(), Reporter(), Inbox()
        self.ready_to_read = True
        checkpoints = FolderCheckpoints(flight, folder, PixelOptions())
        self.it = Supervisor(inheritance, checkpoints, options, self.server, self.inbox, self.clock)
        self.it._begin(Tasks(count, size), self.reporter, lambda: self.ready_to_read, stay)

    @property
    def workers(self):
        return self.it._pool.workers

    @property
    def waiting(self):
        return list(self.it._backlog._waiting)

    @property
    def suspects(self):
        return list(self.it._backlog._suspects)

    def begin(self):
        """The workers that there is work for, not forked yet."""
        self.it._spawn_workers()

    def forked(self, *pids):
        for pid in pids:
            self.server.tells(messages.Forked(pid=pid))
            self.it._pool.read_server()

    def ready(self, *numbers):
        for number in numbers:
            self.says(number, messages.Ready())
        self.it._hand_out_tasks()

    def idles(self, number):
        """Worker `number` has converted all that it was handed."""
        self.says(number, messages.Idle(chunks=self.workers[number].chunks))

    def says(self, number, message):
        """What worker `number` (from 0) reports."""
        worker = self.workers[number]
        self.server.workers[worker.number - 1].send(message)
        self.it._pool.read_worker(worker)

    def dies(self, number, status=-signal.SIGKILL):
        worker = self.workers[number]
        self.server.tells(messages.Exited(pid=worker.pid, status=status, peak_bytes=1))
        self.it._pool.read_server()
        self.it._pool.end_pipe(worker)
        self.it._reap_workers()

    def received(self, number):
        """The images that worker `number` was handed."""
        return [task.index for task in self.tasks_received(number)]

    def tasks_received(self, number):
        channel, found = self.server.workers[number], []
        while channel.waiting(0):
            message = channel.receive()
            if isinstance(message, Convert):
                found += message.tasks
        return found


@contextlib.contextmanager
def making_world(out, **settings):
    with contextlib.ExitStack() as stack:
        world = World(out, stack, **settings)
        yield world
        world.it._pool.close()
        world.it._selector.close()
        world.inbox.close()


@pytest.fixture
def world(tmp_path):
    with making_world(tmp_path) as world:
        yield world


# the notice


def test_at_a_notice_every_worker_is_told_once_and_nothing_is_handed_out_any_more(world):
    world.begin()
    world.forked(11, 12)
    world.ready(0)
    world.it._handle_notice(SIGTERM)
    world.ready(1)
    world.it._handle_notice(InterruptionNotice(source="smq", event_id="E5"))
    assert world.server.signalled == [(11, signal.SIGTERM), (12, signal.SIGTERM)]
    assert [world.received(number) for number in (0, 1)] == [[0], []]
    assert world.reporter.sayings("noticed") == [("noticed", "SIGTERM", 30.0, 1, False)]


def test_a_worker_that_is_forked_after_the_notice_is_told_too(world):
    """Else it would wait for work until the grace is over, and the machine with it."""
    world.begin()
    world.forked(11)
    world.it._handle_notice(SIGTERM)
    world.forked(12)
    assert world.server.signalled == [(11, signal.SIGTERM), (12, signal.SIGTERM)]


def test_a_worker_that_has_ended_is_not_signalled(world):
    world.begin()
    world.forked(11, 12)
    world.server.tells(messages.Exited(pid=11, status=0, peak_bytes=1))
    world.it._pool.read_server()
    world.it._handle_notice(SIGTERM)
    assert world.server.signalled == [(12, signal.SIGTERM)]


def test_a_notice_before_the_fork_server_is_ready_waits_for_no_worker(world):
    world.server.booted = False
    world.begin()
    world.it._handle_notice(SIGTERM)
    world.it._reap_workers()
    assert world.workers == []


def test_when_the_grace_is_over_the_workers_are_killed_and_not_before(world):
    world.begin()
    world.forked(11, 12)
    world.it._handle_notice(SIGTERM)
    del world.server.signalled[:]
    world.clock.now += 29.9
    world.it._enforce_deadline()
    assert world.server.signalled == []
    world.clock.now += 0.1
    world.it._enforce_deadline()
    world.it._enforce_deadline()
    assert world.server.signalled == [(11, signal.SIGKILL), (12, signal.SIGKILL)]
    assert world.it._lifecycle.state is State.KILLING


def test_a_second_signal_moves_the_deadline_to_now(world):
    world.begin()
    world.forked(11, 12)
    world.it._handle_notice(SIGTERM)
    world.clock.now += 1.0
    world.it._handle_notice(SIGTERM)
    world.it._enforce_deadline()
    assert (11, signal.SIGKILL) in world.server.signalled
    assert [again for *_, again in world.reporter.sayings("noticed")] == [False, True]


def test_a_notice_of_another_source_only_brings_the_deadline_nearer(world):
    world.begin()
    world.it._handle_notice(SIGTERM)
    before = world.it._drain.deadline
    world.clock.now += 10.0
    world.it._handle_notice(InterruptionNotice(source="smq", event_id="E5"))
    assert world.it._drain.deadline == before
    assert world.it._drain.notice == SIGTERM


def test_the_wait_ends_at_the_deadline(world):
    world.begin()
    world.it._handle_notice(SIGTERM)
    world.clock.now += 25.0
    assert world.it._seconds_to_wait() == 5.0
    world.clock.now += 25.0
    assert world.it._seconds_to_wait() == 0.0


def test_what_was_in_hand_at_the_notice_is_told_when_all_is_committed(world):
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    world.it._handle_notice(SIGTERM)
    world.says(0, messages.Done(images=[image_done(0)]))
    world.clock.now += 0.5
    outcome = world.it._finish()
    assert world.reporter.told == [("done", 0), ("commit", SIGTERM), ("drained", [0, 1], 0.5)]
    assert outcome == Outcome(SIGTERM)


def test_without_a_notice_nothing_was_drained(world):
    assert world.it._finish() == Outcome(None)
    assert world.reporter.told == [("commit", None)]


# deaths


def announce(world, number, index):
    slots.Slot(world.workers[number].slot_fd).announce(index)


def test_an_image_that_a_worker_died_on_is_tried_once_more_alone_and_then_fails(world):
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    announce(world, 0, 0)
    world.dies(0)
    assert world.suspects == [0]
    world.it._hand_out_tasks()
    world.forked(13)
    world.ready(1)
    assert world.received(2) == [2], "what no worker died on comes first"
    for number in (0, 1):
        worker = world.workers[number]
        for index in list(worker.tasks):
            world.says(number, messages.Failed(index=index, reason="bad"))
        world.idles(number)
    world.it._hand_out_tasks()
    alone = next(number for number, worker in enumerate(world.workers) if worker.tasks)
    assert list(world.workers[alone].tasks) == [0]
    announce(world, alone, 0)
    world.dies(alone)
    assert world.reporter.told[-1][:2] == ("failed", 0)
    assert "2 workers died on it" in world.reporter.told[-1][2]


def test_what_a_dead_worker_had_in_hand_beside_its_image_is_put_back(world):
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    world.dies(1)
    assert world.waiting == [1, 2]
    assert world.reporter.told == []


def test_workers_that_die_without_an_image_end_the_run_at_the_third(world):
    world.begin()
    world.forked(11, 12)
    world.dies(0)
    world.dies(0)
    world.it._spawn_workers()
    world.forked(13)
    with pytest.raises(errors.WorkersCannotWork):
        world.dies(0)


def test_a_death_while_draining_is_held_against_no_image(world):
    world.begin()
    world.forked(11, 12)
    world.ready(0)
    announce(world, 0, 0)
    world.it._handle_notice(SIGTERM)
    world.dies(0)
    assert (world.reporter.told, world.suspects) == ([], [])
    assert 0 in world.waiting


def test_the_finished_tiles_of_a_worker_that_died_are_saved_and_told(world):
    world.begin()
    world.forked(11, 12)
    world.ready(0)
    fd = world.workers[0].slot_fd
    record = slots.SlotRecord(
        version=InputVersion(2 << 20, 5678),
        width=8,
        height=24,
        tile_rows=PixelOptions().rows_for(8),
        colour=True,
        exif_bytes=0,
        note=None,
    )
    slots.resize_memory(fd, record.slot_bytes)
    slot = slots.Slot(fd)
    slot.announce(0)
    slot.begin(record, b"").flags[0] = 1
    world.dies(0)
    assert world.reporter.told == [("flushed", 0, 1)]
    world.it._hand_out_tasks()
    world.forked(13)
    world.it._backlog._waiting.clear()
    world.it._backlog.put_back([0])
    assert world.it._backlog.take_chunk(1)[0].resumable


# space, and time


def test_a_full_disk_drains_once_with_the_most_that_was_needed(world):
    world.begin()
    world.forked(11, 12)
    for needed in (500, 900, 700):
        world.says(0, messages.OutputFault(index=0, needed=needed, full=True, reason="full"))
    assert len(world.reporter.sayings("noticed")) == 1
    outcome = world.it._finish()
    assert (outcome.notice.source, outcome.fault, outcome.space_needed) == ("disk", None, 900)


def test_a_broken_disk_drains_and_says_why(world):
    world.begin()
    world.forked(11, 12)
    world.says(0, messages.OutputFault(index=0, needed=1, full=False, reason="Input/output error"))
    outcome = world.it._finish()
    assert (outcome.notice.source, outcome.fault) == ("disk", "Input/output error")


def test_a_journal_without_space_drains(world):
    world.begin()
    world.reporter.disk_full = True
    world.it._reap_workers()
    assert world.it._drain.notice.source == "disk"


def test_an_image_over_its_time_has_its_worker_killed_but_not_while_draining(world, monkeypatch):
    world.begin()
    world.forked(11, 12)
    monkeypatch.setattr(timelimit.Watch, "exceeded", lambda self, pid: "over 60 s")
    world.it._enforce_time_limits()
    world.clock.now += 10
    world.it._enforce_time_limits()
    assert world.server.signalled == [(11, signal.SIGKILL), (12, signal.SIGKILL)]
    world.workers[0].cause = None
    world.it._handle_notice(SIGTERM)
    del world.server.signalled[:]
    world.clock.now += 10
    world.it._enforce_time_limits()
    assert world.server.signalled == []


# what is handed out


def image_done(index):
    return messages.ImageDone(
        index=index,
        version=VERSION,
        width=8,
        height=8,
        tiles_total=1,
        tiles_computed=1,
        decoded=True,
        output_size=9,
        checksum="x:y",
        note=None,
        seconds=0.1,
    )


def test_an_image_with_finished_tiles_on_the_disk_is_resumed_when_it_comes_again(world):
    world.begin()
    world.forked(11, 12)
    world.ready(0)
    flushed = {"version": VERSION, "width": 8, "height": 8, "tiles_done": 1, "tiles_total": 2}
    world.says(0, messages.Flushed(index=0, **flushed))
    world.dies(0)
    world.ready(0)
    assert [(task.index, task.resumable) for task in world.tasks_received(1)] == [(0, True)]


def test_what_is_handed_out_is_told_with_the_workers_number(world):
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    assert world.reporter.sayings("started") == [("started", 0, 1), ("started", 1, 2)]


def test_nothing_is_handed_out_while_the_events_are_not_read(world):
    """And the question comes again soon."""
    world.begin()
    world.forked(11, 12)
    world.ready_to_read = False
    world.ready(0)
    assert world.received(0) == []
    assert world.it._seconds_to_wait() == pytest.approx(READY_SECONDS)
    world.ready_to_read = True
    world.it._hand_out_tasks()
    assert world.received(0) == [0]
    assert world.it._seconds_to_wait() == float("inf")


def test_an_idle_worker_that_is_not_needed_is_let_go(world):
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    world.idles(0)
    world.it._hand_out_tasks()
    assert world.received(0) == [0, 2]
    world.idles(1)
    world.it._hand_out_tasks()
    assert [worker.ended for worker in world.workers] == [False, False], "their files are not durable yet"
    for number, indices in ((0, (0, 2)), (1, (1,))):
        world.says(number, messages.Done(images=[image_done(index) for index in indices]))
    world.idles(0)
    world.it._hand_out_tasks()
    assert [worker.ended for worker in world.workers] == [True, True]


def test_there_are_no_more_workers_than_work(tmp_path):
    with making_world(tmp_path, count=1, workers=4) as world:
        world.begin()
        assert len(world.workers) == 1


# more deaths


def test_workers_that_die_in_vain_are_forgotten_as_soon_as_one_image_is_done(world):
    """Else a long run would end at its third such death, days apart."""
    world.begin()
    world.forked(11, 12)
    world.dies(0)
    world.dies(0)
    world.it._spawn_workers()
    world.forked(13, 14)
    world.ready(0)
    world.says(0, messages.Done(images=[image_done(0)]))
    world.dies(1)
    assert world.it._backlog._deaths_in_vain == 1


def test_the_death_of_the_fork_server_is_held_against_no_image(world, monkeypatch):
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    announce(world, 0, 0)
    lost, new = world.server, StubServer()
    monkeypatch.setattr(pool, "ForkServer", lambda: new)
    lost.dies()
    world.it._pool.read_server()
    for worker in world.workers:
        world.it._pool.end_pipe(worker)
    world.it._reap_workers()
    assert lost.stopped
    assert (world.reporter.told, world.suspects) == ([], [])
    assert sorted(world.waiting) == [0, 1, 2]


@pytest.mark.parametrize(("second_signal", "drawn"), [(False, 1), (True, 0)])
def test_partial_jpegs_of_killed_workers_are_drawn_unless_a_second_signal_came(
    world, monkeypatch, second_signal, drawn
):
    """They are for people to look at, and come when all is durable."""
    drawing = []
    monkeypatch.setattr(world.it._salvage, "draw_previews", lambda *_: drawing.append(world.reporter.told[-1][0]))
    world.begin()
    world.it._handle_notice(SIGTERM)
    if second_signal:
        world.it._handle_notice(SIGTERM)
    world.clock.now += 60
    world.it._enforce_deadline()
    world.it._finish()
    assert drawing == ["commit"] * drawn


def test_partial_jpegs_that_no_worker_can_draw_cost_nothing_else(world, monkeypatch):
    def refuse(*_):
        raise errors.WorkersCannotWork("no process can be started")

    monkeypatch.setattr(world.it._salvage, "draw_previews", refuse)
    world.begin()
    world.it._handle_notice(SIGTERM)
    world.clock.now += 31.0
    world.it._enforce_deadline()
    assert world.it._finish().notice == SIGTERM
    assert world.reporter.told[-1][0] == "drained"


def test_a_suspect_is_tried_only_when_no_other_worker_has_anything_in_hand(world):
    """If it takes the machine's memory, it takes no other worker's with it."""
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    announce(world, 0, 0)
    world.dies(0)
    world.it._backlog._waiting.clear()  # nothing else waits; the other worker has image 1 in hand
    world.it._spawn_workers()
    assert world.suspects == [0]
    assert [list(worker.tasks) for worker in world.workers] == [[1]]
    world.says(0, messages.Done(images=[image_done(1)]))
    world.idles(0)
    world.it._hand_out_tasks()
    assert [list(worker.tasks) for worker in world.workers] == [[0]]


def test_the_machines_end_comes_before_the_grace_is_over_and_leaves_time_to_save(world):
    """The workers are killed early enough for their tiles and the manifest to come to the disk."""
    end = (datetime.now(UTC) + timedelta(seconds=12)).isoformat()
    world.begin()
    world.it._handle_notice(InterruptionNotice(source="smq", event_id="E5", deadline=end))
    assert 0 < world.it._drain.deadline - world.clock.now <= 12 - SALVAGE_SECONDS


def test_tiles_that_can_not_be_saved_are_told_of_and_cost_nothing_else(world, monkeypatch):
    def full(*_):
        raise Full("0.jpg", os.strerror(errno.ENOSPC))

    monkeypatch.setattr(world.it._salvage, "save_tiles", full)
    world.it._save_tiles(world.it._backlog.take_chunk(1)[0], None)
    ((_, warned),) = world.reporter.sayings("warned")
    assert "0.jpg" in warned
    assert (world.reporter.told, world.it._backlog._begun) == ([], set())


def test_small_images_are_handed_out_in_chunks_that_get_smaller_towards_the_end(tmp_path):
    with making_world(tmp_path, count=8, size=10) as world:
        world.begin()
        world.forked(11, 12)
        world.ready(0, 1)
        assert [world.received(number) for number in (0, 1)] == [[0, 1], [2]]


# handing out ahead


@pytest.fixture
def long_world(tmp_path):
    with contextlib.ExitStack() as stack:
        yield World(tmp_path, stack, count=20)


def test_a_worker_that_wants_more_gets_as_much_while_it_converts(long_world):
    world = long_world
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    assert world.received(0) == [0]
    world.says(0, messages.WantsMore(size=3 << 20))
    world.it._hand_out_tasks()
    assert world.received(0) == [2, 3], "two megabytes each"
    world.it._hand_out_tasks()
    assert world.received(0) == [], "it asked once"
    assert list(world.workers[0].tasks) == [0, 2, 3]


def test_the_last_images_are_kept_for_workers_that_have_none(world):
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    world.says(0, messages.WantsMore(size=1))
    world.it._hand_out_tasks()
    assert world.received(0) == [0]
    assert world.waiting == [2]
    world.idles(1)
    world.it._hand_out_tasks()
    assert world.received(1) == [1, 2]


def test_a_worker_with_more_on_its_way_is_not_idle(long_world):
    """Else its memory would be taken away while it converts."""
    world = long_world
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    world.says(0, messages.WantsMore(size=1))
    world.it._hand_out_tasks()
    world.says(0, messages.Idle(chunks=1))
    assert not world.workers[0].idle
    world.says(0, messages.Idle(chunks=2))
    assert world.workers[0].idle


def test_a_death_blames_the_image_in_hand_and_none_that_was_handed_out_ahead(long_world):
    world = long_world
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    world.says(0, messages.WantsMore(size=1))
    world.it._hand_out_tasks()
    announce(world, 0, 0)
    world.dies(0)
    assert world.suspects == [0]
    assert world.waiting[0] == 2
    assert [said[1] for said in world.reporter.sayings("suspected")] == [0]


def test_nothing_is_handed_out_ahead_while_the_events_are_not_read(long_world):
    world = long_world
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    world.ready_to_read = False
    world.says(0, messages.WantsMore(size=1))
    world.it._hand_out_tasks()
    assert world.received(0) == [0]


def test_what_is_on_the_way_is_no_memory_for_images(tmp_path):
    """--memory is for both."""
    with contextlib.ExitStack() as stack:
        world = World(tmp_path, stack, memory=10_000_000, on_the_way_bytes=1_000_000)
        world.begin()
        world.forked(11, 12)
        world.ready(0, 1)
        for needed, kind in ((8_000_001, messages.Refused), (8_000_000, messages.Granted)):
            world.says(0, messages.NeedMemory(slot_bytes=slots.EMPTY_SLOT_BYTES, scratch_bytes=needed))
            world.it._hand_out_tasks()
            channel = world.server.workers[0]
            answers = []
            while channel.waiting(0):
                answers.append(channel.receive())
            assert isinstance(answers[-1], kind)


# workers that live on


def finish_all(world, *numbers):
    """Each worker has done what it was handed."""
    for number in numbers:
        images = [image_done(index) for index in world.received(number)]
        world.says(number, messages.Done(images=images))
        world.says(number, messages.Idle(chunks=world.workers[number].chunks))


def test_workers_that_stay_are_idle_when_all_is_done_and_are_handed_what_comes_next(tmp_path):
    with making_world(tmp_path, count=2, stay=True) as world:
        world.begin()
        world.forked(11, 12)
        world.ready(0, 1)
        assert world.it._is_working()
        finish_all(world, 0, 1)
        world.it._hand_out_tasks()
        assert not world.it._is_working()
        assert [worker.ended for worker in world.workers] == [False, False]
        world.it._begin(Tasks(2, 2 << 20), world.reporter, lambda: True, stay=True)
        world.it._hand_out_tasks()
        assert [world.received(number) for number in (0, 1)] == [[0], [1]]
        assert len(world.server.workers) == 2


def test_workers_that_do_not_stay_end_when_all_is_done(world):
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    finish_all(world, 0)
    world.it._hand_out_tasks()
    finish_all(world, 0, 1)
    world.it._hand_out_tasks()
    assert [worker.ended for worker in world.workers] == [True, True]


def test_at_a_notice_workers_that_stay_end_too(tmp_path):
    with making_world(tmp_path, count=2, stay=True) as world:
        world.begin()
        world.forked(11, 12)
        world.it._handle_notice(SIGTERM)
        assert world.it._is_working()
        for _ in range(2):
            world.dies(0, status=0)
        assert not world.it._is_working()
        assert world.it.notice == SIGTERM


def test_workers_that_were_given_something_else_end_and_others_follow(tmp_path):
    with making_world(tmp_path, count=2, stay=True) as world:
        world.begin()
        world.forked(11, 12)
        world.ready(0, 1)
        finish_all(world, 0, 1)
        inheritance = world.it._pool._inheritance
        world.it.inherit(inheritance)
        assert [worker.ended for worker in world.workers] == [False, False]
        world.it.inherit(dataclasses.replace(inheritance, job=b"another input"))
        assert [worker.ended for worker in world.workers] == [True, True]
        world.it._begin(Tasks(1, 2 << 20), world.reporter, lambda: True, stay=True)
        for pid in (11, 12):
            world.server.tells(messages.Exited(pid=pid, status=0, peak_bytes=1))
            world.it._pool.read_server()
        world.it._reap_workers()
        world.it._hand_out_tasks()
        assert [worker.number for worker in world.workers] == [3]


def test_what_is_not_ours_any_more_is_killed_and_not_listened_to(tmp_path):
    with making_world(tmp_path, count=4, stay=True) as world:
        world.begin()
        world.forked(11)
        world.ready(0)
        told = list(world.reporter.told)
        world.server.workers[0].send(messages.Done(images=[image_done(0)]))
        world.server.tells(messages.Exited(pid=11, status=-signal.SIGKILL, peak_bytes=1))
        world.server.tells(messages.Forked(pid=12))
        world.server.tells(messages.Exited(pid=12, status=0, peak_bytes=1))
        world.it.abandon()
        assert world.workers == []
        assert (11, signal.SIGKILL) in world.server.signalled
        assert world.reporter.told == told


def test_what_waits_is_shared_out_before_it_is_handed_out(tmp_path):
    with making_world(tmp_path, count=4) as world:
        given = []
        world.it._tasks.share_out = lambda backlog: given.extend(backlog.give_away(1))
        world.begin()
        world.forked(11, 12)
        world.ready(0, 1)
        assert given[0] == [1, 3]
        assert [world.received(number) for number in (0, 1)] == [[0], [2]]


def test_workers_that_stayed_get_what_comes_next_before_anything_is_waited_for(tmp_path, monkeypatch):
    """They are idle already, and say nothing that would end the wait: each share would begin a second late."""

    class Waits(Exception):
        pass

    def wait(_):
        raise Waits

    with making_world(tmp_path, count=0, stay=True) as world:
        for _ in range(2):
            world.it._pool.spawn_worker()
        world.forked(11, 12)
        world.ready(0, 1)
        monkeypatch.setattr(Supervisor, "_dispatch_messages", wait)
        with pytest.raises(Waits):
            world.it.run(Tasks(2, 2 << 20), world.reporter, lambda: True, stay=True)
        assert [world.received(0), world.received(1)] == [[0], [1]]
