"""A share as the engine takes it: what its logs tell, and how it is split for machines that are idle."""

import pytest
from stream import Clock

from batchgray.engine.backlog import Backlog
from batchgray.engine.share import ShareBooks, ShareTasks, plan_of
from batchgray.manifest import share_log, tally
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.job_round import Round
from batchgray.manifest.records import ImageChange
from batchgray.manifest.share_log import DamagedLog, ShareLog
from batchgray.options import PixelOptions
from batchgray.planning.shares import PlannedImage, Share
from batchgray.storage.base import Unreachable
from batchgray.storage.lease import Lease
from batchgray.storage.memory import MemoryPlace

ROUND = Round(".batchgray/j", 1)
HEAD = JobHead(job="j", options=PixelOptions(), max_pixels=10**9, inputs=["/in"], include=[], exclude=[])
NAME = "00000001"


class World:
    """A share of ten images that a machine has taken."""

    def __init__(self, path, joined=True):
        images = [PlannedImage(f"{index}.png", f"{index}.jpg", 10 + index, 1) for index in range(10)]
        self.share = Share(number=1, input=0, ignored={}, images=images)
        self.place, self.clock = MemoryPlace(), Clock()
        self.log = self.log_of(NAME)
        assert self.log.take()
        self.plan = plan_of(HEAD, self.share, NAME, [[]])
        lease = Lease(path, make=True)
        self.books = ShareBooks("job", self.plan, self.place, ROUND, self.log, lease, joined, self.clock)
        self.backlog = Backlog(ShareTasks(self.plan, (), self.books))

    def log_of(self, name):
        return ShareLog(self.place, ROUND.log(name), "first", ROUND.finished, self.clock)

    def works(self, seconds, images):
        """So many images are done in this time; what is due is put."""
        for task in [self.backlog.take_chunk(9)[0] for _ in range(images)]:
            self.books.record([done(task.index)])
        self.clock.now += seconds
        self.books.sync()

    def is_asked_by(self, *machines):
        for machine in machines:
            self.place.put(f"{ROUND.idle(NAME)}/{machine}", b"")

    def splits(self):
        return [entry.split for entry in self.log_of(NAME).catch_up() if entry.split]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def done(index):
    return ImageChange(image=index, state="done", width=1, height=1, tiles_done=1, tiles_total=1, output_size=1)


def test_half_of_what_waits_is_given_to_a_machine_that_is_idle(world):
    world.works(20, 2)
    world.is_asked_by("idle")
    world.works(20, 2)
    world.backlog._tasks.share_out(world.backlog)
    world.books.sync()
    assert world.splits() == [[5, 7, 9]]
    assert len(world.backlog) == 3
    assert [each.share for each in tally.split(world.place, ROUND)] == [f"{NAME}-1"]
    assert not list(world.place.list(ROUND.idle(NAME)))


def test_what_would_be_done_in_a_moment_is_not_split(world):
    world.is_asked_by("idle")
    world.works(1, 6)
    world.clock.now += 1
    world.books.sync()
    world.backlog._tasks.share_out(world.backlog)
    world.books.sync()
    assert world.splits() == []


def test_a_machine_that_has_little_left_looks_for_idle_ones_sooner(world):
    world.works(8, 2)
    world.works(20, 0)  # it has looked now, and some 120 s are left
    world.is_asked_by("idle")
    for seconds, hurries in ((4.9, False), (0.2, True)):
        world.clock.now += seconds
        assert world.books.hurries == hurries
    world.works(0, 7)  # a third of the bytes took 33 s, so some 5 s are left of one image
    world.clock.now += 0.5
    assert not world.books.hurries
    world.clock.now += 0.2
    assert world.books.hurries


def test_the_log_tells_how_much_work_is_left(world):
    world.works(8, 0)
    world.works(12, 2)
    assert [entry.left for entry in world.log_of(NAME).catch_up()[1:]] == [round(20 * 124 / 21)]


def test_a_part_for_an_idle_machine_is_put_at_once_and_tried_again_in_its_time(world, monkeypatch):
    def silent(key, content):
        raise Unreachable(key, "no answer")

    world.works(20, 2)
    world.is_asked_by("idle")
    world.works(20, 2)
    assert not world.books.hurries
    world.backlog._tasks.share_out(world.backlog)
    assert world.books.hurries
    with monkeypatch.context() as patch:
        patch.setattr(world.place, "put_absent", silent)
        with pytest.raises(Unreachable):
            world.books.sync()
    assert world.books.unsynced
    assert not world.books.hurries
    world.books.sync()
    assert world.splits() == [[5, 7, 9]]


def test_a_look_for_idle_machines_puts_no_entry(world):
    world.works(20, 2)
    number = world.log.number
    world.clock.now += share_log.RENEW_SECONDS / 2
    assert world.books.hurries
    world.books.sync()
    assert world.log.number == number


def test_a_mark_counts_once_whoever_left_it(world):
    """A machine that died, and left its mark, costs a split that the owner takes up itself in the end."""
    world.is_asked_by("dead")
    world.works(20, 2)
    for _ in range(5):
        world.works(20, 0)
        world.backlog._tasks.share_out(world.backlog)
        world.books.sync()
    assert len(world.splits()) == 1


def test_a_machine_alone_asks_for_no_marks(tmp_path):
    world = World(tmp_path, joined=False)
    world.is_asked_by("idle")
    world.works(20, 2)
    world.works(20, 2)
    world.backlog._tasks.share_out(world.backlog)
    world.books.sync()
    assert world.splits() == []


def test_a_share_is_done_when_what_it_kept_is_done_and_its_part_has_the_rest(world):
    world.works(20, 2)
    world.is_asked_by("idle")
    world.works(20, 2)
    world.backlog._tasks.share_out(world.backlog)
    world.works(1, 3)
    for image in world.plan.images:
        image.state = "done"
    world.plan.manifest.state = "complete"
    world.books.commit(world.plan.manifest)
    entries = world.log_of(NAME).catch_up()
    assert entries[-1].kind == "done"
    part = plan_of(HEAD, world.share, f"{NAME}-1", [entries, []])
    whole = plan_of(HEAD, world.share, NAME, [entries])
    assert (part.members, part.todo) == ([5, 7, 9], [5, 7, 9])
    assert sorted(part.members + whole.members) == list(range(10))
    assert (whole.todo, whole.already_done, whole.splits) == ([], 7, 1)
    assert (world.plan.tally.done, world.plan.tally.splits) == (7, 1)


def test_a_share_was_begun_where_any_log_tells_so(world):
    assert not plan_of(HEAD, world.share, NAME, [[]]).was_begun
    assert plan_of(HEAD, world.share, NAME, [[entry()]]).was_begun


def test_the_last_entry_has_what_is_left_but_for_parts_that_were_given_away(world):
    world.works(20, 2)
    world.is_asked_by("idle")
    world.works(20, 2)
    world.backlog._tasks.share_out(world.backlog)
    before = world.log.number
    world.books.record([done(4)])
    world.plan.manifest.state = "interrupted"
    world.books.commit(world.plan.manifest)
    split, last = world.log_of(NAME).catch_up()[before:]
    assert (split.split, last.kind) == ([5, 7, 9], "free")
    assert [change.image for change in [*split.changes, *last.changes]] == [4]


def test_a_split_that_was_not_answered_is_told_once(world, monkeypatch):
    world.works(20, 2)
    world.is_asked_by("idle")
    world.works(20, 2)
    world.backlog._tasks.share_out(world.backlog)
    put_absent = world.place.put_absent

    def unanswered(key, content):
        monkeypatch.undo()
        put_absent(key, content)
        raise Unreachable(key, "no answer")

    monkeypatch.setattr(world.place, "put_absent", unanswered)
    with pytest.raises(Unreachable):
        world.books.sync()
    assert world.books.unsynced
    world.books.sync()
    assert len(world.splits()) == 1


def test_a_part_is_split_again(world):
    entries = [entry(split=[1, 2, 3, 4]), entry()]
    plan = plan_of(HEAD, world.share, f"{NAME}-1-1", [entries, [entry(split=[2, 4])], []])
    assert plan.members == [2, 4]


def test_a_part_that_no_log_tells_of_is_refused(world):
    with pytest.raises(DamagedLog, match="no log tells"):
        plan_of(HEAD, world.share, f"{NAME}-2", [[entry(split=[1])], []])


def entry(**given):
    return share_log.LogEntry(kind="renew", epoch=1, nonce="", owner="", at="", **given)
