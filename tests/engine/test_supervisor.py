"""The supervisor, a step at a time: a stub stands for the fork server, and the test plays the workers."""

import contextlib
import errno
import os
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from multiprocessing import Pipe
from types import SimpleNamespace

import pytest
from stream import Clock

from batchgray import errors, events
from batchgray.checkpoints.folder import FolderCheckpoints
from batchgray.engine import recovery, supervisor
from batchgray.engine.ledger import Totals
from batchgray.engine.lifecycle import SALVAGE_SECONDS, Event, State
from batchgray.engine.supervisor import Supervisor
from batchgray.manifest.records import Image, Manifest
from batchgray.notices.inbox import Inbox, InterruptionNotice
from batchgray.options import EngineOptions, PixelOptions
from batchgray.planes import slots
from batchgray.planning.plan import Plan
from batchgray.records import SourceIdentity
from batchgray.storage.base import Full
from batchgray.workers import messages
from batchgray.workers.messages import Channel, Convert, FromServer, FromWorker, ToWorker

SIGTERM = InterruptionNotice(source="signal", event_id="SIGTERM")
IDENTITY = SourceIdentity(1234, 5678)


class Server:
    """A fork server that forks nothing. `workers` are the other ends of the pipes; `signalled` is what it was asked."""

    def __init__(self):
        ours, self._theirs = Pipe()
        self.channel = Channel(ours, FromServer)
        self.booted, self.stopped = True, False
        self.workers, self.signalled = [], []

    def fork(self, *_):
        ours, theirs = Pipe()
        self.workers.append(Channel(theirs, ToWorker))
        return Channel(ours, FromWorker)

    def tells(self, message):
        Channel(self._theirs, FromServer).send(message)

    def signal(self, pid, signum):
        self.signalled.append((pid, signum))

    def stop(self):
        self.stopped = True


class Ledger:
    """Writes down what it is told."""

    def __init__(self):
        self.totals, self.disk_full, self.told = Totals(), False, []

    def done(self, items):
        self.totals.converted += len(items)
        self.told += [("done", item.index) for item in items]

    def flushed(self, item):
        self.told.append(("flushed", item.index, item.tiles_done))

    def failed(self, index, reason):
        self.told.append(("failed", index, reason))

    def sync(self):
        return float("inf")

    def commit(self, notice):
        self.told.append(("commit", notice))
        return Counter()


class World:
    """A supervisor of a run of `count` small images, each in a chunk of its own."""

    def __init__(self, out, stack, clock, count=3, **engine):
        images = [
            Image(root=0, source=f"{n}.png", output=f"{n}.jpg", size=2 << 20, mtime_ns=5678) for n in range(count)
        ]
        document = Manifest(
            run_id="default",
            options=PixelOptions(),
            max_pixels=10**9,
            output_root=".",
            input_roots=["/in"],
            images=images,
        )
        plan = Plan(out / "manifest.json", out, document, resumed=False, todo=list(range(count)))
        held = stack.enter_context(recovery.holding(plan, locked=True))
        self.clock, self.server, self.ledger, self.inbox, self.said = clock, Server(), Ledger(), Inbox(), []
        options = EngineOptions(**{"workers": 2, "memory": 1 << 30, "grace": 30.0, **engine})
        self.it = Supervisor(
            plan, held, set(), options, self.ledger, self.server, self.inbox, self.said.append, lambda: True
        )
        self.it._lifecycle.happened(Event.PLANNED)
        self.it._selector.register(self.server.channel, 1, self.it._hear_server)

    def begin(self):
        """The workers that there is work for, not forked yet."""
        self.it._fill_up()

    def forked(self, *pids):
        for pid in pids:
            self.server.tells(messages.Forked(pid=pid))
            self.it._hear_server()

    def ready(self, *numbers):
        for number in numbers:
            self.says(number, messages.Ready())
        self.it._hand_out()

    def says(self, number, message):
        """What worker `number` (from 0) reports."""
        member = self.it._members[number]
        self.server.workers[member.number - 1].send(message)
        self.it._hear_worker(member)

    def dies(self, number, status=-signal.SIGKILL):
        member = self.it._members[number]
        self.server.tells(messages.Exited(pid=member.pid, status=status, peak_bytes=1))
        self.it._hear_server()
        self.it._end_pipe(member)
        self.it._bury_the_gone()

    def received(self, number):
        """The images that worker `number` was handed."""
        channel, found = self.server.workers[number], []
        while channel.waiting(0):
            message = channel.receive()
            if isinstance(message, Convert):
                found += [task.index for task in message.tasks]
        return found

    def sayings(self, kind):
        return [event for event in self.said if isinstance(event, kind)]


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(supervisor, "time", SimpleNamespace(monotonic=clock))
    return clock


@contextlib.contextmanager
def making_world(out, clock, **settings):
    with contextlib.ExitStack() as stack:
        world = World(out, stack, clock, **settings)
        yield world
        for member in world.it._members:
            member.close()
        world.inbox.close()


@pytest.fixture
def world(tmp_path, clock):
    with making_world(tmp_path, clock) as world:
        yield world


# the notice


def test_at_a_notice_every_worker_is_told_once_and_nothing_is_handed_out_any_more(world):
    world.begin()
    world.forked(11, 12)
    world.ready(0)
    world.it._take_notice(SIGTERM)
    world.ready(1)
    world.it._take_notice(InterruptionNotice(source="smq", event_id="E5"))
    assert world.server.signalled == [(11, signal.SIGTERM), (12, signal.SIGTERM)]
    assert [world.received(number) for number in (0, 1)] == [[0], []]
    (told,) = world.sayings(events.Notice)
    assert (told.event_id, told.seconds, told.in_hand) == ("SIGTERM", 30.0, 1)


def test_a_worker_that_is_forked_after_the_notice_is_told_too(world):
    """Else it would wait for work until the grace is over, and the machine with it."""
    world.begin()
    world.forked(11)
    world.it._take_notice(SIGTERM)
    world.forked(12)
    assert world.server.signalled == [(11, signal.SIGTERM), (12, signal.SIGTERM)]


def test_a_worker_that_has_ended_is_not_signalled(world):
    world.begin()
    world.forked(11, 12)
    world.server.tells(messages.Exited(pid=11, status=0, peak_bytes=1))
    world.it._hear_server()
    world.it._take_notice(SIGTERM)
    assert world.server.signalled == [(12, signal.SIGTERM)]


def test_a_notice_before_the_fork_server_is_ready_waits_for_nobody(world):
    world.server.booted = False
    world.begin()
    world.it._take_notice(SIGTERM)
    world.it._bury_the_gone()
    assert world.it._members == []


def test_when_the_grace_is_over_the_workers_are_killed_and_not_before(world):
    world.begin()
    world.forked(11, 12)
    world.it._take_notice(SIGTERM)
    del world.server.signalled[:]
    world.clock.now += 29.9
    world.it._heed_deadline()
    assert world.server.signalled == []
    world.clock.now += 0.1
    world.it._heed_deadline()
    world.it._heed_deadline()
    assert world.server.signalled == [(11, signal.SIGKILL), (12, signal.SIGKILL)]
    assert world.it._lifecycle.state is State.KILLING


def test_a_second_signal_moves_the_deadline_to_now(world):
    world.begin()
    world.forked(11, 12)
    world.it._take_notice(SIGTERM)
    world.clock.now += 1.0
    world.it._take_notice(SIGTERM)
    world.it._heed_deadline()
    assert (11, signal.SIGKILL) in world.server.signalled
    assert [event.again for event in world.sayings(events.Notice)] == [False, True]


def test_a_notice_of_another_source_only_brings_the_deadline_nearer(world):
    world.begin()
    world.it._take_notice(SIGTERM)
    before = world.it._deadline
    world.clock.now += 10.0
    world.it._take_notice(InterruptionNotice(source="smq", event_id="E5"))
    assert world.it._deadline == before
    assert world.it.notice == SIGTERM


def test_the_wait_ends_at_the_deadline(world):
    world.begin()
    world.it._take_notice(SIGTERM)
    world.clock.now += 25.0
    assert world.it._seconds_to_wait() == 5.0
    world.clock.now += 25.0
    assert world.it._seconds_to_wait() == 0.0


def test_what_finished_after_the_notice_is_told_when_all_is_flushed(world):
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    world.it._take_notice(SIGTERM)
    for index, state in enumerate(["done", "failed"]):
        world.it._images[index].state = state
    world.clock.now += 0.5
    world.it._finish()
    assert world.ledger.told == [("commit", SIGTERM)]
    (flushed,) = world.sayings(events.Flushed)
    assert (flushed.in_hand, flushed.finished, flushed.failed, flushed.seconds) == (2, 2, 1, 0.5)


# deaths


def announce(world, number, index):
    slots.Slot(world.it._members[number].slot_fd).announce(index)


def test_an_image_that_a_worker_died_on_is_tried_once_more_alone_and_then_fails(world):
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    announce(world, 0, 0)
    world.dies(0)
    assert list(world.it._suspects) == [0]
    world.it._hand_out()
    world.forked(13)
    world.ready(1)
    assert world.received(2) == [2], "what nobody died on comes first"
    for number in (0, 1):
        member = world.it._members[number]
        for index in list(member.tasks):
            world.says(number, messages.Failed(index=index, reason="bad"))
        world.says(number, messages.Idle())
    world.it._hand_out()
    alone = next(number for number, member in enumerate(world.it._members) if member.tasks)
    assert list(world.it._members[alone].tasks) == [0]
    announce(world, alone, 0)
    world.dies(alone)
    assert world.ledger.told[-1][:2] == ("failed", 0)
    assert "2 workers died on it" in world.ledger.told[-1][2]


def test_what_a_dead_worker_had_in_hand_beside_its_image_is_put_back(world):
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    world.dies(1)
    assert list(world.it._queue) == [1, 2]
    assert world.ledger.told == []


def test_workers_that_die_without_an_image_end_the_run_at_the_third(world):
    world.begin()
    world.forked(11, 12)
    world.dies(0)
    world.dies(0)
    world.it._fill_up()
    world.forked(13)
    with pytest.raises(supervisor.errors.WorkersCannotWork):
        world.dies(0)


def test_a_death_while_draining_is_held_against_no_image(world):
    world.begin()
    world.forked(11, 12)
    world.ready(0)
    announce(world, 0, 0)
    world.it._take_notice(SIGTERM)
    world.dies(0)
    assert (world.ledger.told, list(world.it._suspects)) == ([], [])
    assert 0 in world.it._queue


def test_the_finished_tiles_of_a_worker_that_died_are_saved_and_told(world):
    world.begin()
    world.forked(11, 12)
    world.ready(0)
    fd = world.it._members[0].slot_fd
    record = slots.SlotRecord(
        identity=SourceIdentity(2 << 20, 5678),
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
    assert world.ledger.told == [("flushed", 0, 1)]
    assert world.it._resumable == {0}


# space, and time


def test_a_full_disk_drains_once_with_the_most_that_was_needed(world):
    world.begin()
    world.forked(11, 12)
    for needed in (500, 900, 700):
        world.says(0, messages.OutputFault(index=0, needed=needed, full=True, reason="full"))
    assert world.it.notice.source == "disk"
    assert world.it.fault is None
    assert world.ledger.totals.space_needed == 900
    assert len(world.sayings(events.Notice)) == 1


def test_a_broken_disk_drains_and_says_why(world):
    world.begin()
    world.forked(11, 12)
    world.says(0, messages.OutputFault(index=0, needed=1, full=False, reason="Input/output error"))
    assert world.it.notice.source == "disk"
    assert "Input/output error" in str(world.it.fault)


def test_a_journal_without_space_drains(world):
    world.begin()
    world.ledger.disk_full = True
    world.it._bury_the_gone()
    assert world.it.notice.source == "disk"


def test_an_image_over_its_time_has_its_worker_killed_but_not_while_draining(world, monkeypatch):
    world.begin()
    world.forked(11, 12)
    monkeypatch.setattr(supervisor.pool.timelimit.Watch, "exceeded", lambda self, pid: "over 60 s")
    world.it._heed_time_limits()
    world.clock.now += 10
    world.it._heed_time_limits()
    assert world.server.signalled == [(11, signal.SIGKILL), (12, signal.SIGKILL)]
    world.it._members[0].cause = None
    world.it._take_notice(SIGTERM)
    del world.server.signalled[:]
    world.clock.now += 10
    world.it._heed_time_limits()
    assert world.server.signalled == []


# what is handed out


def image_done(index):
    return messages.ImageDone(
        index=index,
        identity=IDENTITY,
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


def test_a_task_says_what_may_be_replaced(world):
    """Nothing of an output that was never made, an earlier output of batchgray's own, or anything that is to mend."""
    _, second, third = world.it._images
    second.checksum = third.checksum = "x:y"
    third.mend = True
    assert [world.it._task(index).replaces for index in range(3)] == ["", "x:y", "*"]


def test_a_task_says_what_there_is_to_go_on_from(world):
    world.it._resumable.add(1)
    assert [world.it._task(index).resumable for index in range(3)] == [False, True, False]
    world.begin()
    world.forked(11, 12)
    flushed = {"identity": IDENTITY, "width": 8, "height": 8, "tiles_done": 1, "tiles_total": 2}
    world.says(0, messages.Flushed(index=2, **flushed))
    assert world.it._task(2).resumable


def test_no_partial_jpeg_is_drawn_under_the_name_of_another_images_output(world):
    world.it._images[0].output = "a.jpg"
    world.it._outputs = {"a.jpg", "a.partial.jpg", "2.jpg"}
    assert [world.it._task(index).preview for index in (0, 2)] == [False, True]


def test_no_partial_jpeg_is_drawn_where_its_name_would_be_too_long(world):
    world.it._images[0].output = f"{'a' * 246}.jpg"
    assert not world.it._task(0).preview


def test_an_idle_worker_that_is_not_needed_is_let_go(world):
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    world.says(0, messages.Idle())
    world.it._hand_out()
    assert world.received(0) == [0, 2]
    world.says(1, messages.Idle())
    world.it._hand_out()
    assert [member.ended for member in world.it._members] == [False, False], "their files are not durable yet"
    for number, indices in ((0, (0, 2)), (1, (1,))):
        world.says(number, messages.Done(images=[image_done(index) for index in indices]))
    world.says(0, messages.Idle())
    world.it._hand_out()
    assert [member.ended for member in world.it._members] == [True, True]


def test_there_are_no_more_workers_than_work(tmp_path, clock):
    with making_world(tmp_path, clock, count=1, workers=4) as world:
        world.begin()
        assert len(world.it._members) == 1


# more deaths


def test_workers_that_die_in_vain_are_forgotten_as_soon_as_one_image_is_done(world):
    """Else a long run would end at its third such death, days apart."""
    world.begin()
    world.forked(11, 12)
    world.dies(0)
    world.dies(0)
    world.it._fill_up()
    world.forked(13, 14)
    world.ready(0)
    world.says(0, messages.Done(images=[image_done(0)]))
    world.dies(1)
    assert world.it._deaths_in_vain == 1


def test_the_death_of_the_fork_server_is_held_against_no_image(world, monkeypatch):
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    announce(world, 0, 0)
    lost, new = world.server, Server()
    monkeypatch.setattr(supervisor, "ForkServer", lambda: new)
    world.it._replace_server()
    for member in world.it._members:
        world.it._end_pipe(member)
    world.it._bury_the_gone()
    assert lost.stopped
    assert (world.ledger.told, list(world.it._suspects)) == ([], [])
    assert sorted(world.it._queue) == [0, 1, 2]


def test_a_fork_server_that_dies_again_and_again_ends_the_run(world, monkeypatch):
    monkeypatch.setattr(supervisor, "ForkServer", Server)
    world.it._replace_server()
    world.it._replace_server()
    with pytest.raises(supervisor.errors.WorkersCannotWork):
        world.it._replace_server()


@pytest.mark.parametrize(("hurried", "drawn"), [(False, 1), (True, 0)])
def test_partial_jpegs_of_killed_workers_are_drawn_unless_somebody_is_in_a_hurry(world, monkeypatch, hurried, drawn):
    """They are for people to look at, and come when all is durable."""
    drawing = []
    monkeypatch.setattr(world.it, "_draw_previews", lambda: drawing.append(world.ledger.told[-1][0]))
    world.begin()
    world.it._take_notice(SIGTERM)
    if hurried:
        world.it._take_notice(SIGTERM)
    world.clock.now += 60
    world.it._heed_deadline()
    world.it._finish()
    assert drawing == ["commit"] * drawn


def test_partial_jpegs_that_no_worker_can_draw_cost_nothing_else(world, monkeypatch):
    def refuse():
        raise errors.WorkersCannotWork("no process can be started")

    monkeypatch.setattr(world.it, "_draw_previews", refuse)
    world.begin()
    world.it._take_notice(SIGTERM)
    world.clock.now += 31.0
    world.it._heed_deadline()
    world.it._finish()
    assert len(world.sayings(events.Flushed)) == 1


def test_a_suspect_is_tried_only_when_no_other_worker_has_anything_in_hand(world):
    """If it takes the machine's memory, it takes nobody else's work with it."""
    world.begin()
    world.forked(11, 12)
    world.ready(0, 1)
    announce(world, 0, 0)
    world.dies(0)
    world.it._queue.clear()  # nothing else waits; the other worker has image 1 in hand
    world.it._fill_up()
    assert list(world.it._suspects) == [0]
    assert [list(member.tasks) for member in world.it._members] == [[1]]
    world.says(0, messages.Done(images=[image_done(1)]))
    world.says(0, messages.Idle())
    world.it._hand_out()
    assert [list(member.tasks) for member in world.it._members] == [[0]]


def test_the_machines_end_comes_before_the_grace_is_over_and_leaves_time_to_save(world):
    """The workers are killed early enough for their tiles and the manifest to come to the disk."""
    end = (datetime.now(UTC) + timedelta(seconds=12)).isoformat()
    world.begin()
    world.it._take_notice(InterruptionNotice(source="smq", event_id="E5", deadline=end))
    assert 0 < world.it._deadline - world.clock.now <= 12 - SALVAGE_SECONDS


def test_tiles_that_can_not_be_saved_are_told_of_and_cost_nothing_else(world, monkeypatch):
    def full(*_):
        raise Full("0.jpg", os.strerror(errno.ENOSPC))

    monkeypatch.setattr(FolderCheckpoints, "save", full)
    world.it._save_tiles(world.it._task(0), None)
    (warned,) = world.sayings(events.Warned)
    assert "0.jpg" in warned.message
    assert (world.ledger.told, world.it._resumable) == ([], set())


def test_large_images_come_first_and_the_others_in_the_plans_order(tmp_path, clock):
    """No worker is left alone with a large one at the end."""
    with making_world(tmp_path, clock, count=5) as world:
        for image, size in zip(world.it._images, [10, 5 << 20, 20, 9 << 20, 5], strict=True):
            image.size = size
        assert supervisor._largest_first(world.it._plan) == [3, 1, 0, 2, 4]


def test_chunks_get_smaller_towards_the_end_so_that_all_workers_end_together(tmp_path, clock):
    with making_world(tmp_path, clock, count=8) as world:
        for image in world.it._images:
            image.size = 10
        world.begin()
        world.forked(11, 12)
        world.ready(0, 1)
        assert [world.received(number) for number in (0, 1)] == [[0, 1], [2]]
