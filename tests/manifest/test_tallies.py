"""Tallies: names that carry figures."""

from batchgray.manifest import tallies
from batchgray.manifest.tallies import DoneShare, PlannedShare
from batchgray.storage.memory import MemoryPlace

ROUND = ".batchgray/abc/1"


def test_what_was_put_is_listed_in_the_order_of_the_shares_and_weighs_nothing():
    place = MemoryPlace()
    shares = [PlannedShare("00000002", 7, 10**12), PlannedShare("00000001", 5000, 0)]
    ends = [DoneShare("00000001-1", 3, 0, 4, 5, 6, 7), DoneShare("00000001", 4990, 10, 60 * 10**6, 15, 4, 61)]
    for planned in shares:
        tallies.put_planned(place, ROUND, planned)
    for done in ends:
        tallies.put_done(place, ROUND, done)
    assert list(tallies.planned(place, ROUND)) == shares[::-1]
    assert sorted(tallies.done(place, ROUND)) == sorted(ends)
    assert {entry.size for entry in place.list()} == {0}


def test_what_is_no_tally_is_passed_over_and_a_share_counts_once():
    place = MemoryPlace()
    tallies.put_planned(place, ROUND, PlannedShare("00000001", 5, 6))
    for name in ("00000001.5.7", "00000002.5", "00000003.x.1", "00000004.-1.2", "00000005.1.2.3"):
        place.put(f"{ROUND}/tally/planned/{name}", b"")
    assert list(tallies.planned(place, ROUND)) == [PlannedShare("00000001", 5, 6)]
