"""Who lists, and who goes on where that machine dies: threads that are waited for, over one place."""

import threading

import pytest

from batchgray import errors
from batchgray.engine.plan_keeper import PlanKeeper
from batchgray.manifest import share_log
from batchgray.manifest.job_round import Round
from batchgray.manifest.share_log import ShareLog
from batchgray.storage.base import Busy, Denied, Full, NoPlace, PlaceError, Unreachable
from batchgray.storage.memory import MemoryPlace

ROUND = Round(".batchgray/j", 1)
DEADLINE = 60


class Listing:
    """What is listed, a share at a time, when it is let go on."""

    def __init__(self, count=3):
        self.count, self.go_on, self.ended = count, threading.Semaphore(0), threading.Event()

    def __call__(self, check):
        try:
            for number in range(self.count):
                while not self.go_on.acquire(timeout=0.01):
                    check()
                check()
                yield number
        finally:
            self.ended.set()


class World:
    """A keeper, and the log that it keeps."""

    def __init__(self, place, listing, clock=None):
        self.woken = threading.Event()
        given = () if clock is None else (clock,)
        self.log = ShareLog(place, ROUND.plan_log, "first", ROUND.finished, *given)
        self.keeper = PlanKeeper(self.log, listing, self.woken.set)

    def wait(self, condition):
        while not condition():
            assert self.woken.wait(DEADLINE)
            self.woken.clear()


@pytest.fixture
def place():
    return MemoryPlace()


@pytest.fixture(autouse=True)
def short_lease(monkeypatch):
    monkeypatch.setattr(share_log, "STALE_SECONDS", 1.0)
    monkeypatch.setattr(share_log, "DOUBT_SECONDS", 0.7)
    monkeypatch.setattr(share_log, "RENEW_SECONDS", 0.3)


def kinds(place):
    return [entry.kind for entry in ShareLog(place, ROUND.plan_log, "reader", ROUND.finished).catch_up()]


def test_each_share_is_told_as_it_is_written_and_the_end_too(place):
    listing = Listing()
    world = World(place, listing)
    assert world.keeper.take()
    world.keeper.start(through=False)
    listing.go_on.release()
    world.wait(lambda: world.keeper.news)
    assert (list(world.keeper.news), world.keeper.through) == ([0], False)
    listing.go_on.release(2)
    world.wait(lambda: world.keeper.through)
    assert list(world.keeper.news) == [0, 1, 2]
    world.keeper.stop()
    assert kinds(place)[-1] == "free"


def test_a_listing_is_ended_where_it_is(place):
    """It may take an hour, and a notice comes in the middle of it."""
    listing = Listing()
    world = World(place, listing)
    world.keeper.take()
    world.keeper.start(through=False)
    world.keeper.stop()
    assert listing.ended.is_set()
    assert not world.keeper.through
    assert kinds(place)[-1] == "free"


def test_what_is_listed_is_not_listed_again(place):
    world = World(place, None)
    world.keeper.take()
    world.keeper.start(through=True)
    world.keeper.stop()
    assert world.keeper.through


def test_another_goes_on_where_the_owner_gives_no_sign_of_life(place):
    ShareLog(place, ROUND.plan_log, "dead", ROUND.finished).take()
    listing = Listing(1)
    listing.go_on.release()
    world = World(place, listing)
    world.keeper.look()
    assert not world.keeper.take()
    world.keeper.start(through=False)
    world.wait(lambda: world.keeper.through)
    assert world.keeper.is_ours
    world.keeper.stop()


def test_who_has_lost_the_plan_lists_no_more(place):
    listing = Listing()
    world = World(place, listing)
    world.keeper.take()
    other = ShareLog(place, ROUND.plan_log, "other", ROUND.finished)
    other.catch_up()
    other.stood_since(1, -1e9)
    assert other.take()
    world.keeper.start(through=False)
    assert listing.ended.wait(DEADLINE)
    assert not world.keeper.is_ours
    world.keeper.stop()
    assert kinds(place)[-1] != "free"


def test_what_is_wrong_with_the_list_is_raised_to_whoever_asks(place):
    def failing(check):
        raise errors.Collisions.of(["a and b"])
        yield

    world = World(place, failing)
    world.keeper.take()
    world.keeper.start(through=False)
    world.wait(lambda: world.keeper.failure)
    with pytest.raises(errors.Collisions):
        world.keeper.check()
    world.keeper.stop()


class Refusing(MemoryPlace):
    """Puts nothing any more while `refusal` is set; counts how often it was asked."""

    refusal: PlaceError | None = None

    def __init__(self):
        super().__init__()
        self.refused = threading.Semaphore(0)

    def put_absent(self, key, content):
        if self.refusal is not None:
            self.refused.release()
            raise self.refusal
        return super().put_absent(key, content)


@pytest.mark.parametrize("refusal", [Denied("a", "put is denied"), NoPlace("", "no bucket")])
def test_a_place_that_takes_no_sign_of_life_any_more_is_told(refusal):
    """As it is where the log of a share can't be put."""
    place = Refusing()
    world = World(place, None)
    world.keeper.take()
    world.keeper.start(through=True)
    place.refusal = refusal
    world.wait(lambda: world.keeper.failure)
    with pytest.raises(type(refusal)):
        world.keeper.check()
    place.refusal = None
    world.keeper.stop()


@pytest.mark.parametrize("refusal", [Busy("a", "503"), Unreachable("a", "500"), Full("a", "no room")])
def test_a_place_that_may_work_later_is_asked_again(refusal):
    place = Refusing()
    world = World(place, None)
    world.keeper.take()
    world.keeper.start(through=True)
    place.refusal = refusal
    assert all(place.refused.acquire(timeout=DEADLINE) for _ in range(2))
    world.keeper.check()
    place.refusal = None
    world.keeper.stop()


def test_when_the_round_is_over_there_is_nothing_to_give_back(place):
    world = World(place, None)
    world.keeper.take()
    world.keeper.start(through=True)
    world.keeper.forget()
    world.keeper.stop()
    assert kinds(place)[-1] != "free"


def test_who_is_stopped_begins_no_further_listing(place, monkeypatch):
    """The keeper may be within a request just then, and find the plan its own when that is answered."""
    listing, asked, answer = Listing(), threading.Event(), threading.Event()
    world = World(place, listing)
    sync = world.log.sync

    def slow(*given):
        asked.set()
        assert answer.wait(DEADLINE)
        sync(*given)

    assert world.keeper.take()
    world.keeper.start(False)
    monkeypatch.setattr(world.log, "sync", slow)
    assert asked.wait(DEADLINE)
    stopping = threading.Thread(target=world.keeper.stop)
    stopping.start()
    assert listing.ended.wait(DEADLINE)
    listing.ended.clear()
    answer.set()
    stopping.join(DEADLINE)
    assert not stopping.is_alive()
    assert not any(thread.name == "lister" and thread.is_alive() for thread in threading.enumerate())
    assert kinds(place)[-1] == "free"
