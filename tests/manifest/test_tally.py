"""Tallies: names that carry figures, and who has read them before."""

from batchgray.manifest import tally
from batchgray.manifest.job_round import Round
from batchgray.manifest.tally import DoneTally, PlannedTally
from batchgray.storage.memory import MemoryPlace

ROUND = Round(".batchgray/j", 1)


def test_what_is_known_is_not_told_again():
    place, known = MemoryPlace(), set()
    first, second = DoneTally("00000001", 5, 0, 1, 1, 1, 0), DoneTally("00000001-1", 4, 1, 1, 1, 1, 0)
    tally.put_done(place, ROUND, first)
    assert list(tally.done(place, ROUND, known)) == [first]
    tally.put_done(place, ROUND, second)
    assert list(tally.done(place, ROUND, known)) == [second]
    assert list(tally.done(place, ROUND, known)) == []
    assert list(tally.done(place, ROUND)) == [second, first]  # in the order of their names


def test_parts_and_shares_of_the_plan_are_told_of_apart():
    place = MemoryPlace()
    share, part = PlannedTally("00000001", 5, 50), PlannedTally("00000001-1", 2, 20)
    for each in (share, part):
        tally.put_planned(place, ROUND, each)
    assert list(tally.planned(place, ROUND)) == [share]
    assert list(tally.split(place, ROUND)) == [part]


def test_which_shares_were_taken_is_told_once():
    place, known = MemoryPlace(), set()
    for share in ("00000002", "00000001-1", "00000002"):
        tally.put_taken(place, ROUND, share)
    assert [each.share for each in tally.taken(place, ROUND, known)] == ["00000001-1", "00000002"]
    assert list(tally.taken(place, ROUND, known)) == []


def test_a_name_that_is_no_tally_is_passed_over():
    place = MemoryPlace()
    for name in ("README", "00000001.5", "00000001.5.0.1.1.1.x", "half.5.0.1.1.1.0", "00000001.5.0.1.1.1.0.0"):
        place.put(f"{ROUND.tally}/done/{name}", b"")
    assert list(tally.done(place, ROUND)) == []
