"""One owner an epoch, whatever is paused, lost or late: two machines and more over one log."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchgray.manifest import share_log
from batchgray.manifest.records import ImageChange
from batchgray.manifest.share_log import DamagedLog, ShareLog, ShareLost
from batchgray.storage.base import Unreachable
from batchgray.storage.memory import MemoryPlace

PREFIX = "job/1/log/00000001"
MARK = "job/1/finished"


class Unsteady(MemoryPlace):
    """A place whose next put may be done without an answer, not at all, or later."""

    def __init__(self) -> None:
        super().__init__()
        self.next, self.late = "well", []

    def put_absent(self, key, content):
        how, self.next = self.next, "well"
        if how == "late":
            self.late.append((key, bytes(content)))
        if how in ("lost", "well"):
            result = super().put_absent(key, content)
        if how != "well":
            raise Unreachable(key, "no answer")
        return result


class Clock(SimpleNamespace):
    """Seconds that pass when the test says so."""

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def place():
    return Unsteady()


@pytest.fixture
def clock():
    return Clock(now=1000.0)


@pytest.fixture
def machines(place, clock):
    return [ShareLog(place, PREFIX, name, MARK, clock) for name in ("first", "second")]


def done(index: int) -> ImageChange:
    return ImageChange(image=index, state="done")


def told(place) -> list[int]:
    """The images that the log tells of, in its order."""
    return [change.image for entry in ShareLog(place, PREFIX, "reader", MARK).catch_up() for change in entry.changes]


def test_a_free_share_is_taken_by_the_first(machines):
    first, second = machines
    assert first.take()
    assert not second.take()  # it had looked before, and found nothing
    assert (second.state, second.owner, second.epoch) == ("open", "first", 1)
    assert not second.take()


def test_what_is_recorded_is_told_with_the_next_entry(machines, place):
    first, _ = machines
    first.take()
    first.record([done(3)])
    assert told(place) == []
    assert first.unsynced
    first.sync()
    assert told(place) == [3]
    assert not first.unsynced


def test_a_share_that_is_given_back_is_taken_at_once(machines, place):
    first, second = machines
    first.take()
    first.record([done(1)])
    first.sync("free")
    assert [change.image for entry in second.catch_up() for change in entry.changes] == [1]
    assert second.take()
    assert second.epoch == 2


def test_a_share_that_is_done_is_never_taken(machines, clock):
    first, second = machines
    first.take()
    first.sync("done")
    second.catch_up()
    clock.now += 1000
    assert not second.can_be_taken()
    assert not second.take()
    assert not first.take()


def test_a_silent_owner_loses_its_share_after_the_lease_and_writes_nothing_more(machines, place, clock):
    first, second = machines
    first.take()
    first.record([done(1)])
    second.catch_up()
    clock.now += share_log.STALE_SECONDS - 0.1
    assert not second.take()
    clock.now += 0.1
    assert second.take()
    before = list(place.list())
    for _ in range(2):
        with pytest.raises(ShareLost, match="second"):
            first.sync()
    first.catch_up()
    with pytest.raises(ShareLost):
        first.sync("done")
    assert list(place.list()) == before
    assert told(place) == []


def test_a_sign_of_life_keeps_a_share(machines, clock):
    first, second = machines
    first.take()
    for _ in range(5):
        clock.now += share_log.RENEW_SECONDS
        assert first.unsynced
        first.sync()
        second.catch_up()
        assert not second.take()


def test_an_owner_that_can_not_renew_is_in_doubt_before_another_can_take_over(machines, place, clock):
    first, second = machines
    first.take()
    second.catch_up()
    clock.now += share_log.DOUBT_SECONDS
    place.next = "not"
    with pytest.raises(Unreachable):
        first.sync()
    assert first.in_doubt
    assert not second.can_be_taken()
    first.sync()
    assert not first.in_doubt


@pytest.mark.parametrize("how", ["lost", "not", "late"])
def test_a_put_without_an_answer_is_tried_again_and_told_once(machines, place, how):
    first, _ = machines
    first.take()
    first.record([done(1)])
    place.next = how
    with pytest.raises(Unreachable):
        first.sync()
    first.record([done(2)])
    first.sync()
    for key, data in place.late:
        place.put_absent(key, data)
    assert told(place) == [1, 2]


@pytest.mark.parametrize("kind", ["free", "done"])
def test_a_share_that_was_given_back_without_an_answer_is_not_owned_any_more(machines, place, kind):
    first, second = machines
    first.take()
    first.record([done(1)])
    place.next = "lost"
    with pytest.raises(Unreachable):
        first.sync(kind)
    assert not first.is_ours
    first.sync(kind)
    assert told(place) == [1]
    second.catch_up()
    assert second.state == kind


def test_a_share_may_have_been_taken_without_an_answer(machines, place):
    first, second = machines
    place.next = "lost"
    with pytest.raises(Unreachable):
        first.take()
    assert not second.take()
    assert first.take()
    assert first.epoch == 1


def test_a_take_over_that_was_not_answered_and_came_too_late_is_none(machines, place):
    first, second = machines
    place.next = "not"
    with pytest.raises(Unreachable):
        first.take()
    assert second.take()
    assert not first.take()
    assert (first.owner, first.epoch, first.is_ours) == ("second", 1, False)


def test_a_lease_counts_from_when_its_entry_was_first_sent(machines, place, clock):
    """It may have arrived then, and others have counted since."""
    first, second = machines
    place.next = "lost"
    with pytest.raises(Unreachable):
        first.take()
    second.catch_up()
    clock.now += share_log.STALE_SECONDS
    assert first.take()
    assert first.in_doubt
    assert second.take()


def test_what_was_read_before_an_answer_failed_is_told_by_the_next_look(machines, place, monkeypatch):
    first, second = machines
    first.take()
    first.record([done(1)])
    first.sync()
    get = place.get

    def fail_once(key, *given):
        monkeypatch.setattr(place, "get", get)
        raise Unreachable(key, "no answer")

    monkeypatch.setattr(place, "get", lambda key, *given: (fail_once if key.endswith("2") else get)(key, *given))
    with pytest.raises(Unreachable):
        second.catch_up()
    assert [entry.kind for entry in second.catch_up()] == ["open", "renew"]
    assert second.catch_up() == []


@pytest.mark.parametrize("damage", [b"", b"not compressed", b"half"])
def test_an_entry_that_is_not_as_it_was_written_is_refused_by_name(machines, place, damage):
    first, second = machines
    first.take()
    key = f"{PREFIX}/00000001"
    place.put(key, place.get(key)[:-4] if damage == b"half" else damage)
    with pytest.raises(DamagedLog, match=key):
        second.catch_up()


def test_a_log_is_read_with_several_requests_at_once(machines, place):
    first, second = machines
    first.take()
    for number in range(20):
        first.record([ImageChange(image=number, state="done")])
        first.sync()
    with ThreadPoolExecutor(4) as threads:
        found = share_log.read_log(place, PREFIX, threads)
    assert found == second.catch_up()
    assert [change.image for entry in found for change in entry.changes] == list(range(20))


def test_a_log_with_a_gap_is_refused(machines, place):
    first, second = machines
    first.take()
    first.sync()
    place.delete(f"{PREFIX}/00000001")
    with ThreadPoolExecutor(4) as threads, pytest.raises(DamagedLog, match="entry 1 is not there"):
        share_log.read_log(place, PREFIX, threads)
    with pytest.raises(DamagedLog, match="entry 1 is not there"):
        second.catch_up()


def finish(place) -> None:
    """The round is over: the mark is put, then the logs go."""
    place.put(MARK, b"")
    for entry in list(place.list(f"{PREFIX}/")):
        place.delete(entry.key)


@pytest.mark.parametrize("how", ["well", "lost", "not"])
def test_an_owner_that_wakes_up_after_the_end_leaves_nothing(machines, place, how):
    """The log is gone, and its next number free again; without the mark it would have the share for ever."""
    first, _ = machines
    first.take()
    first.record([done(1)])
    finish(place)
    place.next = how
    for _ in range(2):
        with pytest.raises((ShareLost, Unreachable)):
            first.sync()
    with pytest.raises(ShareLost):
        first.sync("done")
    assert not first.is_ours
    assert [entry.key for entry in place.list()] == [MARK]


@pytest.mark.parametrize("how", ["well", "lost"])
def test_nobody_takes_a_share_after_the_end(machines, place, how):
    _, second = machines
    finish(place)
    place.next = how
    if how == "lost":
        with pytest.raises(Unreachable):
            second.take()
    assert not second.take()
    assert [entry.key for entry in place.list()] == [MARK]


def test_a_late_put_of_who_is_gone_is_of_a_log_that_nobody_reads(machines, place):
    first, _ = machines
    first.take()
    place.next = "late"
    with pytest.raises(Unreachable):
        first.sync()
    finish(place)
    for key, data in place.late:
        place.put_absent(key, data)
    with pytest.raises(ShareLost):
        first.sync()
    assert [entry.key for entry in place.list()] == [MARK]


def test_what_is_split_off_is_told_by_an_entry_and_once(machines, place):
    first, second = machines
    first.take()
    place.next = "lost"
    with pytest.raises(Unreachable):
        first.sync(split=[3, 4])
    first.sync(split=[3, 4])
    first.sync()
    assert [entry.split for entry in second.catch_up()] == [[], [3, 4], []]


def test_a_log_that_another_saw_standing_still_is_stale_from_then_on(machines, place, clock):
    first, second = machines
    first.take()
    seen_at = clock.now
    clock.now += share_log.STALE_SECONDS
    second.catch_up()
    assert not second.can_be_taken()
    second.stood_since(1, seen_at)
    assert second.can_be_taken()


class Fleet(RuleBasedStateMachine):
    """Machines that take, renew, pause and lose answers in any order."""

    MACHINES = 3

    @initialize()
    def begin(self):
        self.place, self.clock = Unsteady(), Clock(now=0.0)
        self.logs = [ShareLog(self.place, PREFIX, str(number), MARK, self.clock) for number in range(self.MACHINES)]
        self.images = iter(range(10**6))
        self.recorded: dict[int, str] = {}

    @rule(seconds=st.sampled_from([1.0, 9.0, 11.0, 31.0]))
    def time_passes(self, seconds):
        self.clock.now += seconds

    @rule(how=st.sampled_from(["lost", "not", "late"]))
    def the_next_put_is_not_answered(self, how):
        self.place.next = how

    @precondition(lambda self: self.place.late)
    @rule()
    def a_late_put_arrives(self):
        key, data = self.place.late.pop(0)
        how, self.place.next = self.place.next, "well"
        self.place.put_absent(key, data)
        self.place.next = how

    @rule(number=st.integers(0, MACHINES - 1))
    def looks(self, number):
        self.logs[number].catch_up()

    @rule(number=st.integers(0, MACHINES - 1))
    def takes(self, number):
        log = self.logs[number]
        if not log.is_ours:
            try:
                log.take()
            except Unreachable:
                pass

    @rule(number=st.integers(0, MACHINES - 1), kind=st.sampled_from(["renew", "renew", "renew", "free"]))
    def tells(self, number, kind):
        log = self.logs[number]
        if log.is_ours:
            index = next(self.images)
            log.record([done(index)])
            self.recorded[index] = str(number)
            try:
                log.sync(kind)
            except (Unreachable, ShareLost):
                pass

    @invariant()
    def one_owner_an_epoch_and_nothing_told_twice(self):
        entries = ShareLog(self.place, PREFIX, "reader", MARK).catch_up()
        epochs = [entry.epoch for entry in entries]
        assert epochs == sorted(epochs)
        owners: dict[int, str] = {}
        for before, entry in zip([None, *entries], entries, strict=False):
            if entry.kind == "open":
                assert entry.epoch == (before.epoch if before else 0) + 1
            else:
                assert before.kind in ("open", "renew")
            assert owners.setdefault(entry.epoch, entry.owner) == entry.owner
        images = Counter(change.image for entry in entries for change in entry.changes)
        assert set(images.values()) <= {1}
        assert all(self.recorded[change.image] == entry.owner for entry in entries for change in entry.changes)

    @invariant()
    def no_two_are_sure_of_owning_it(self):
        sure = [log for log in self.logs if log.is_ours and not log.in_doubt]
        assert len(sure) <= 1


Fleet.TestCase.settings = settings(deadline=None, max_examples=150, stateful_step_count=40)
TestFleet = Fleet.TestCase
