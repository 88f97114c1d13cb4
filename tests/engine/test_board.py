"""The board: which shares there are and which may be taken, by several machines over one place with one clock."""

from typing import NamedTuple

import pytest
from stream import Clock

from batchgray.engine.board import Board, Shard
from batchgray.manifest import job_round, share_log, tally
from batchgray.manifest.job_round import Round
from batchgray.manifest.share_log import LogEntry
from batchgray.manifest.tally import DoneTally, PlannedTally
from batchgray.storage.base import Unreachable
from batchgray.storage.memory import MemoryPlace

ROUND = Round(".batchgray/j", 1)


class Counted(MemoryPlace):
    """Counts what is asked of it; the next put may be done and not be answered."""

    def __init__(self):
        super().__init__()
        self.lists, self.gets, self.lose = 0, 0, False

    def list(self, prefix="", after=""):
        self.lists += 1
        return super().list(prefix, after)

    def get(self, key, version=None, start=0, end=None):
        self.gets += 1
        return super().get(key, version, start, end)

    def put_absent(self, key, content):
        result = super().put_absent(key, content)
        if self.lose:
            self.lose = False
            raise Unreachable(key, "no answer")
        return result


class Fleet:
    """A round of so many shares, and machines that look at it."""

    def __init__(self, shares):
        self.place, self.clock = Counted(), Clock()
        for number in range(1, shares + 1):
            self.place.put(f"{ROUND.plan}/{job_round.name_of(number)}", b"")
        self.place.put(f"{ROUND.plan}/end", b"")

    def board(self, owner="first", **settings):
        board = Board(self.place, ROUND, owner, self.clock, **settings)
        board.look()
        return board

    def pass_by(self, seconds):
        self.clock.now += seconds


@pytest.fixture
def fleet():
    return Fleet(3)


def names(count):
    return [job_round.name_of(number) for number in range(1, count + 1)]


def test_the_next_share_is_the_one_that_would_be_taken(fleet):
    board = fleet.board()
    for _ in range(3):
        name = board.next_name
        assert board.take().name == name
    assert board.next_name is None


def test_shares_are_taken_once_each_and_in_their_order_where_a_machine_is_alone(fleet):
    first, second = fleet.board(), fleet.board("second")
    assert [first.take().name, first.take().name] == names(2)
    assert second.take().name == names(3)[2]
    assert first.take() is None
    assert second.take() is None


def test_machines_that_join_begin_at_different_ends():
    fleet = Fleet(100)
    taken = {fleet.board(f"machine {number}", alone=False).take().name for number in range(10)}
    assert len(taken) == 10
    assert taken != set(names(10))


def test_who_finds_several_shares_taken_looks_before_it_tries_them_all():
    fleet = Fleet(100)
    late, busy = fleet.board("late", alone=False), fleet.board("busy")
    taken = {busy.take().name for _ in range(99)}
    fleet.place.gets = 0
    assert late.take() is None
    assert late.may_take
    assert fleet.place.gets < 20
    late.look()
    assert late.take().name not in taken


def test_a_share_that_was_given_back_is_taken_first_with_what_its_log_told(fleet):
    first, second = fleet.board(), fleet.board("second")
    first.take()
    taken = first.take()
    taken.log.sync("free")
    second.look()
    again = second.take()
    assert (again.name, [entry.kind for entry in again.entries]) == (taken.name, ["open", "free"])
    assert again.log.epoch == 2


def test_a_silent_share_is_taken_after_the_lease_by_the_own_clock_and_not_before(fleet):
    first = fleet.board()
    for _ in range(3):
        first.take()
    second = fleet.board("second")
    assert sorted(share.name for share in second.held) == names(3)
    fleet.pass_by(share_log.STALE_SECONDS - 0.1)
    second.look()
    assert second.take() is None
    fleet.pass_by(0.1)
    assert second.take() is None  # it may have moved since
    second.look()
    assert second.take().log.epoch == 2


def test_who_gives_signs_of_life_keeps_its_share(fleet):
    first, second = fleet.board(), fleet.board("second")
    logs = [first.take().log for _ in range(3)]
    for _ in range(10):
        second.look()
        assert second.take() is None
        fleet.pass_by(share_log.RENEW_SECONDS)
        for log in logs:
            log.sync()


def test_a_share_whose_taking_was_not_answered_is_found_to_be_ours(fleet):
    first = fleet.board()
    fleet.place.lose = True
    with pytest.raises(Unreachable):
        first.take()
    taken = first.take()
    assert (taken.name, taken.log.epoch) == (names(1)[0], 1)


def test_a_tally_tells_of_a_done_share_without_a_look_at_its_log(fleet):
    taken = fleet.board().take()
    taken.log.sync("done")
    tally.put_done(fleet.place, ROUND, DoneTally(taken.name, 5, 0, 1, 1, 1, 0))
    fleet.place.gets = 0
    board = fleet.board("second")
    assert fleet.place.gets == 0
    assert [share.is_done for share in board.shares] == [True, False, False]


def test_a_done_share_without_a_tally_is_found_by_its_last_entry(fleet):
    fleet.board().take().log.sync("done")
    board = fleet.board("second")
    assert board.take().name == names(2)[1]


def test_of_many_logs_only_those_that_stand_still_are_read():
    fleet = Fleet(40)
    first = fleet.board()
    logs = [first.take().log for _ in range(40)]
    fleet.place.gets = 0
    second = fleet.board("second")
    assert fleet.place.gets == 0
    for log in logs[1:]:
        log.sync()
    logs[0].sync("free")
    second.look()
    second.look()
    assert fleet.place.gets <= 2 * 40
    assert second.take().name == names(1)[0]


def test_one_list_tells_of_many_logs_whatever_is_done_between():
    fleet = Fleet(200)
    for name in names(200)[:150]:
        tally.put_done(fleet.place, ROUND, DoneTally(name, 1, 0, 1, 1, 1, 0))
    board = fleet.board()
    fleet.place.lists = 0
    board.look()
    assert fleet.place.lists <= 4


def test_what_was_done_as_far_as_known_and_moves_is_held():
    fleet = Fleet(30)
    second, board = fleet.board("second"), fleet.board()
    logs = [second.take().log for _ in range(20)]
    for name in names(30)[1:20]:
        board.set_done(name)
    for log in logs:
        log.sync()
    board.look()
    assert [share.name for share in board.shares if share.is_done] == []
    assert sorted(share.name for share in board.held) == names(20)


def test_all_is_done_where_every_last_entry_says_so_without_tallies(fleet):
    first = fleet.board()
    for _ in range(3):
        first.take().log.sync("done")
    assert fleet.board("second").all_done


def test_who_would_take_a_share_that_was_closed_since_knows_that_it_is_done(fleet):
    first = fleet.board()
    for _ in range(2):
        first.take().log.sync("done")
    first.take().log.sync("free")
    late, third = fleet.board("late"), fleet.board("third")
    third.take().log.sync("done")
    assert not late.all_done
    assert late.take() is None
    assert late.all_done


def test_a_share_that_is_given_back_after_all_may_be_taken(fleet):
    board = fleet.board()
    for name in names(3):
        board.set_done(name)
    board.set_free(names(3)[1], 1)
    assert board.next_name == names(3)[1]


def test_the_last_of_a_shares_tallies_counts_whenever_each_came(fleet):
    board = fleet.board()
    for done in (5, 4, 6):
        tally.put_done(fleet.place, ROUND, DoneTally(names(1)[0], done, 0, 1, 1, 1, 0))
        board.look()
    assert board.shares[0].figures.done == 6
    tally.put_done(fleet.place, ROUND, DoneTally(names(1)[0], 3, 0, 1, 1, 1, 0))
    board.look()
    assert board.shares[0].figures.done == 6


def test_what_is_left_of_a_held_share_is_known_by_the_last_entry_that_was_read(fleet):
    log, board = fleet.board("second").take().log, fleet.board()
    assert [share.left for share in board.held] == [None]
    for left in (40, 30):
        log.sync(left=left)
        board.look()
        assert [share.left for share in board.held] == [left]


def test_a_part_that_was_split_off_is_a_share(fleet):
    fleet.board().take()
    tally.put_planned(fleet.place, ROUND, PlannedTally("00000001-1", 2, 20))
    board = fleet.board("second")
    assert "00000001-1" in {share.name for share in board.shares}
    taken = {board.take().name for _ in range(3)}
    assert taken == {"00000001-1", *names(3)[1:]}


def test_all_is_done_only_when_all_is_listed_and_every_part_is_done(fleet):
    fleet.place.delete(f"{ROUND.plan}/end")
    board = fleet.board()
    for name in names(3):
        board.set_done(name)
    assert not board.all_done
    fleet.place.put(f"{ROUND.plan}/00000004", b"")
    fleet.place.put(f"{ROUND.plan}/end", b"")
    board.look()
    assert not board.all_done
    board.set_done(names(4)[3])
    assert board.all_done


def test_a_shard_takes_every_nth_share_and_no_other():
    fleet = Fleet(7)
    board = fleet.board(shard=Shard(2, 3))
    assert [board.take().name, board.take().name] == ["00000002", "00000005"]
    assert board.take() is None
    assert not board.ours_done
    for name in ("00000002", "00000005"):
        board.set_done(name)
    assert board.ours_done
    assert not board.all_done


def test_a_round_that_is_over_is_seen_as_such_and_nothing_of_it_can_be_taken(fleet):
    late = fleet.board("late")
    fleet.place.put(ROUND.finished, b"")
    assert late.take() is None
    late.look()
    assert late.over
    assert not list(fleet.place.list(ROUND.logs))


# of many shares


MANY = 2000
RENEWED = share_log._ENTRIES.packed(LogEntry(kind="renew", epoch=1, nonce="n", owner="busy", at=""))


def put_log(fleet, number, entries=30):
    """The log of a machine that works on a share."""
    prefix = ROUND.log(job_round.name_of(number))
    for entry in range(1, entries + 1):
        fleet.place.put(f"{prefix}/{entry:08d}", RENEWED)


@pytest.fixture(scope="module")
def busy_fleet():
    """All shares of it are being worked on: 60,000 entries, which 60 LIST tell of."""
    fleet = Fleet(MANY)
    for number in range(1, MANY + 1):
        put_log(fleet, number)
    return fleet


class Paged(Counted):
    """A LIST tells of a thousand keys."""

    def list(self, prefix="", after=""):
        for index, entry in enumerate(super().list(prefix, after)):
            self.lists += index > 0 and index % 1000 == 0
            yield entry


def test_a_look_of_one_of_many_machines_is_bounded_and_the_next_goes_on_where_it_ended(busy_fleet, monkeypatch):
    monkeypatch.setattr(busy_fleet, "place", paged(busy_fleet.place))
    board = Board(busy_fleet.place, ROUND, "one of many", busy_fleet.clock, alone=False)
    known, lists = [], []
    for _ in range(10):
        busy_fleet.place.lists = 0
        board.look()
        known.append(sum(share.number > 0 for share in board.shares))
        lists.append(busy_fleet.place.lists)
    assert max(lists[1:]) <= 30
    assert known[0] < known[1] < known[3] < MANY, "every other look goes on where the last but one ended"
    assert known[-1] == MANY


@pytest.mark.parametrize("owner", ["first", "second", "third", "fourth", "fifth"])
def test_every_other_look_is_at_the_same_logs_so_that_a_silent_one_is_soon_found(busy_fleet, monkeypatch, owner):
    """To come round to all of them takes longer than the lease where logs are long and machines many."""
    monkeypatch.setattr(busy_fleet, "place", paged(busy_fleet.place))
    board = Board(busy_fleet.place, ROUND, owner, busy_fleet.clock, alone=False)
    for _ in range(3):
        board.look()
    assert not any(share.is_stale for share in board.shares)
    busy_fleet.pass_by(share_log.STALE_SECONDS)
    board.look()
    assert not any(share.is_stale for share in board.shares), "this look went on elsewhere"
    for number in (1, MANY - 1, MANY):
        board.set_done(job_round.name_of(number))
    board.look()
    assert sum(share.is_stale for share in board.shares) > 300


def test_where_logs_are_long_those_of_done_shares_are_not_listed_on_the_way():
    fleet = Fleet(40)
    for number in range(1, 41):
        put_log(fleet, number, entries=400)
    fleet.place = paged(fleet.place)
    board = fleet.board(alone=False)
    for number in set(range(1, 41)) - {1, 11, 21, 31}:
        board.set_done(job_round.name_of(number))
    board.look()
    fleet.place.lists = 0
    board.look()
    assert fleet.place.lists <= 4 + 4, "one for each log, and what each look asks besides"


def test_of_many_logs_that_stand_still_a_look_reads_some_and_what_was_given_back_is_found():
    """As with large images: for most looks of a machine that has nothing to do, owners have told nothing new."""
    fleet = Fleet(300)
    busy = fleet.board("busy", alone=False)
    logs = [busy.take().log for _ in range(300)]
    idle = fleet.board("idle", alone=False)
    for log in logs[1:]:
        log.sync()
    logs[0].sync("free")
    for _ in range(5):
        fleet.pass_by(share_log.RENEW_SECONDS / 3)
        fleet.place.gets = 0
        idle.look()
        assert fleet.place.gets <= 100
    for log in logs[1:]:
        log.sync()
    idle.look()
    assert idle.may_take


def test_where_tallies_say_that_all_is_taken_none_is_tried_in_vain(busy_fleet, monkeypatch):
    """A look sees but some logs: of the others nothing but the tallies tells that machines are at work on them."""
    monkeypatch.setattr(busy_fleet, "place", paged(busy_fleet.place))
    board = Board(busy_fleet.place, ROUND, "one of many", busy_fleet.clock, alone=False)
    board.look()
    assert board.may_take, "without the tallies it would try a thousand"
    for number in range(1, MANY + 1):
        tally.put_taken(busy_fleet.place, ROUND, job_round.name_of(number))
    board.look()
    assert sum(share.number == 0 for share in board.shares) > 500
    assert not board.may_take


def test_a_share_that_was_taken_by_a_tally_alone_is_tried_when_its_log_was_looked_at(fleet):
    """However that may have come: a tally is a hint, and a job must not wait for ever for what nobody has."""
    for name in names(3):
        tally.put_taken(fleet.place, ROUND, name)
    board = fleet.board(alone=False)
    assert not board.may_take
    fleet.pass_by(1)
    board.look()
    assert board.take() is not None


def test_a_share_that_was_given_back_is_found_though_a_tally_says_that_it_was_taken(fleet):
    other = fleet.board("second", alone=False)
    logs = {taken.name: taken.log for taken in (other.take() for _ in range(3))}
    for name in logs:
        tally.put_taken(fleet.place, ROUND, name)
    board = fleet.board(alone=False)
    assert board.take() is None
    name, log = logs.popitem()
    log.sync("free")
    fleet.pass_by(3)
    board.look()
    board.look()
    assert board.take().name == name


def paged(place):
    """The same objects, a thousand to a LIST."""
    found = Paged()
    found._objects = dict(place._objects)
    return found


class Named(MemoryPlace):
    """Counts the keys of what is listed that are read."""

    def __init__(self):
        super().__init__()
        self.read = 0

    def list(self, prefix="", after=""):
        for entry in super().list(prefix, after):
            yield Listed(self, entry.key)


class Listed(NamedTuple):
    place: Named
    named: str

    @property
    def key(self):
        self.place.read += 1
        return self.named


def test_of_logs_that_are_known_only_what_is_new_is_read():
    fleet = Fleet(0)
    fleet.place = Named()
    for number in range(1, 41):
        fleet.place.put(f"{ROUND.plan}/{job_round.name_of(number)}", b"")
        put_log(fleet, number)
    fleet.place.put(f"{ROUND.plan}/end", b"")
    board = fleet.board()
    fleet.place.read = 0
    put_log(fleet, 7, entries=33)
    board.look()
    assert fleet.place.read == 40 * 2 + 3
    assert {share.number for share in board.shares} == {30, 33}


def test_machines_begin_their_looks_at_different_places(busy_fleet):
    seen = []
    for owner in ("first", "second"):
        board = busy_fleet.board(owner, alone=False)
        seen.append({share.name for share in board.shares if share.number})
    assert seen[0] - seen[1]
    assert seen[1] - seen[0]


def test_a_machine_that_is_alone_sees_all_with_each_look(busy_fleet):
    assert len(busy_fleet.board().held) == MANY


def test_what_was_not_looked_at_since_is_not_taken_for_silent(busy_fleet):
    board = busy_fleet.board("one of many", alone=False)
    busy_fleet.pass_by(share_log.STALE_SECONDS)
    assert not any(share.is_stale for share in board.shares)


def test_tallies_tell_of_all_that_is_done_with_one_look():
    fleet = Fleet(MANY)
    for name in names(MANY)[1:]:
        tally.put_done(fleet.place, ROUND, DoneTally(name, 1, 0, 1, 1, 1, 0))
    for number in range(1, MANY + 1):
        put_log(fleet, number)
    fleet.place = paged(fleet.place)
    board = fleet.board("one of many", alone=False)
    assert [share.name for share in board.shares if not share.is_done] == names(1)
    assert fleet.place.lists <= 12


def test_where_all_is_done_only_what_may_still_come_is_asked_for(fleet):
    board = fleet.board("one of many", alone=False)
    for name in names(3):
        board.set_done(name)
    fleet.place.lists = 0
    board.look()
    assert fleet.place.lists == 1  # parts that were split off


def test_who_is_late_reads_the_last_entry_of_the_plans_log_alone(fleet):
    log = fleet.board().plan_log()
    log.take()
    for _ in range(50):
        log.sync()
    late = fleet.board("late").plan_log()
    fleet.place.gets = 0
    late.catch_up()
    assert fleet.place.gets == 1
    assert (late.number, late.owner, late.can_be_taken()) == (51, "first", False)


def test_who_finds_a_share_taken_reads_the_entry_in_its_place_and_no_more(fleet):
    late = fleet.board("late")
    log = fleet.board().take().log
    for _ in range(50):
        log.sync()
    fleet.place.gets = 0
    assert late.take().name == names(2)[1]
    assert fleet.place.gets == 1
