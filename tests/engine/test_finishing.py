"""The end of a round for machines that have not ended it: they take back what was their own, and ask no more."""

import made_jobs
import pytest

from batchgray.engine import finishing
from batchgray.engine.board import Board
from batchgray.manifest.job_round import Round
from batchgray.planning.shares import Input, Planner
from batchgray.storage.memory import MemoryPlace
from batchgray.storage.noting import NotingPlace

ROUND = Round(".batchgray/j", 1)
LATE = f"{ROUND.tally}/done/00000001.1.0.1.1.1.0"


class Counted(MemoryPlace):
    """Counts what is asked of it."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def list(self, prefix="", after=""):
        self.asked.append(("list", prefix))
        return super().list(prefix, after)

    def delete(self, key):
        self.asked.append(("delete", key))
        super().delete(key)


def test_who_finds_the_mark_removes_what_it_put_since_and_asks_for_nothing_else():
    place = Counted()
    for number in range(1000):
        place.put(f"{ROUND.log('00000001')}/{number:08d}", b"")
    mine = NotingPlace(place, ROUND.prefix)
    mine.put(f"{ROUND.idle('00000001')}/1", b"")
    mine.forget(len(mine.noted))  # a look found the round going on
    mine.put_absent(LATE, b"")
    mine.put("a/b.jpg", b"an output")
    place.put(ROUND.finished, b"")
    finishing.remove_late(place, ROUND, mine.noted)
    assert place.asked == [("delete", LATE)]
    assert place.stat("a/b.jpg")


def test_the_mark_itself_stays_whoever_put_it():
    place = Counted()
    mine = NotingPlace(place, ROUND.prefix)
    mine.put_absent(ROUND.finished, b"")
    finishing.remove_late(place, ROUND, mine.noted)
    assert ROUND.is_finished(place)


def test_shares_and_their_logs_are_read_ahead_of_the_results_that_are_written():
    """The logs, and the plan, of the shares that follow wait for nothing that is done with those of the first."""
    job = made_jobs.MadeJob(16, 2)
    for share in range(1, 9):
        job.finish(share)
    reader = Planner(job.place, job.round.prefix, [Input(MemoryPlace(), "")], "jpeg", lambda _: None)
    board = Board(job.place, job.round, "it")
    board.look()
    finisher = finishing.Finisher(job.place, job.head, job.round, board, reader, None)
    with finishing.ThreadPoolExecutor(16) as threads, finishing.ThreadPoolExecutor(4) as ahead:
        results = finisher._results(threads, ahead, lambda: None)
        job.place.got.clear()
        first = next(results)
    assert first.source == "0000.png"
    logs = {key.split("/")[-2] for key in job.place.got if "/log/" in key}
    assert logs == {made_jobs.name(share) for share in range(1, 6)}
    shares = {key.split("/")[-1] for key in job.place.got if "/plan/" in key and "/log/" not in key}
    assert logs <= shares


class Aged(Counted):
    """Its objects have been there for `seconds`."""

    seconds = 0.0

    def age(self, key):
        return self.seconds


@pytest.mark.parametrize(
    ("entries", "seconds", "stay"),
    [(900, 60.0, False), (1100, 60.0, True), (1100, 7200.0, False)],
    ids=["few", "many, and young", "many, and old"],
)
def test_who_begins_while_another_tidies_up_leaves_it_to_that_one(entries, seconds, stay):
    place = Aged()
    place.seconds = seconds
    for number in range(1, entries + 1):
        place.put(f"{ROUND.log('00000001')}/{number:08d}", b"")
    place.put(ROUND.finished, b"")
    finishing.tidy_up_later(place, ROUND)
    assert bool(list(place.list(f"{ROUND.logs}/"))) == stay
    assert ROUND.is_finished(place)
