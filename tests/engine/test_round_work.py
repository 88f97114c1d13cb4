"""When a machine looks at the logs: a driver, which has no workers and whose crew is the test's, and one that joins."""

import time
from pathlib import Path

import pytest
from harness import save_gradient

from batchgray.engine import job, pace, round_work
from batchgray.engine.board import Board
from batchgray.engine.crew import Progress
from batchgray.engine.supervisor import Outcome
from batchgray.manifest import job_head, tally
from batchgray.manifest.job_round import Round
from batchgray.manifest.records import ImageChange
from batchgray.manifest.tally import PlannedTally
from batchgray.notices.inbox import InterruptionNotice
from batchgray.options import EngineOptions, FleetOptions, JobOptions
from batchgray.storage.folder import FolderPlace
from batchgray.storage.urls import StoreOptions
from batchgray.workers.forkserver import forking

DONE, NOTHING = Progress(done=1), Progress()


class Crew:
    """Tells `news`, one each time; then the driver gets a notice. `looks` counts what it has looked before each."""

    name, workers = "rehearsal", 2

    def __init__(self, news, count):
        self.news, self.count, self.looks = list(news), count, []

    def start(self, inbox):
        self.inbox = inbox

    def tend(self, standing):
        self.looks.append(len(self.count))
        if self.news:
            news = self.news.pop(0)
            return news if isinstance(news, Progress) else (news(), NOTHING)[1]
        self.inbox.put(InterruptionNotice(source="smq", event_id="2256A988"))
        return NOTHING

    def drain(self, standing):
        pass

    def acknowledge(self, notice):
        pass

    def stop(self):
        pass


@pytest.fixture
def options(tmp_path):
    """Of a job of nine images."""
    for number in range(9):
        save_gradient(tmp_path / "in" / f"{number}.png", 64, 48, seed=number)
    return JobOptions(inputs=(str(tmp_path / "in"),), out=str(tmp_path / "out"), engine=EngineOptions(workers=1))


def means(**others):
    """Of a machine that joins."""
    given = {"stores": StoreOptions(), "emit": lambda event: None, "ready": lambda: True, "sources": ()}
    return job.Means(**given | others, fleet=FleetOptions(join=True))


@pytest.fixture
def driven(options, monkeypatch):
    """Has a driver hear this, which would look as often as it tends its crew; how often it had looked before each."""
    looks, look = [], Board.look
    monkeypatch.setattr(Board, "look", lambda board: (looks.append(board), look(board)))
    monkeypatch.setattr(pace, "look_seconds", lambda: 0.0)
    monkeypatch.setattr(round_work, "_TEND_SECONDS", 0.0)

    def drive(*news):
        crew = Crew(news, looks)
        assert job.run_job(options, means(sources=(crew,), server=None, crew=crew)) == 75
        return crew.looks

    return drive


def test_while_nodes_tell_of_images_a_driver_does_not_look_at_the_logs(driven):
    looks = driven(DONE, DONE, DONE, NOTHING, NOTHING)
    assert looks[0] == looks[1] == looks[2] == looks[3]
    assert looks[3] < looks[4] < looks[5]


def test_it_looks_all_the_same_once_a_log_may_have_stood_still_for_too_long(driven, monkeypatch):
    monkeypatch.setattr("batchgray.manifest.share_log.STALE_SECONDS", 0.0)
    looks = driven(DONE, DONE, DONE)
    assert looks[0] < looks[1] < looks[2] < looks[3]


def test_a_driver_tells_its_nodes_of_a_part_that_whoever_split_it_off_did_not(driven, options):
    """Else nobody would ever take it: nodes see parts by their tallies, and a driver has no workers."""
    told = []
    Path(options.out).mkdir()
    place = FolderPlace(Path(options.out))

    def round():
        return Round(job_head.read(place).prefix, 1)

    def split_off():
        board = Board(place, round(), "a node", alone=False)
        board.look()
        log = board.take().log
        log.record([ImageChange(image=index, state="failed", error="bad") for index in range(7)])
        log.sync(split=[7, 8])
        log.sync("done")

    def look():
        told.extend(tally.split(place, round()))

    driven(split_off, NOTHING, NOTHING, look)
    size = sum((Path(options.inputs[0]) / f"{number}.png").stat().st_size for number in (7, 8))
    assert told == [PlannedTally("00000001-1", 2, size)]


def test_a_machine_that_began_a_round_whose_share_another_took_looks_at_once(options, monkeypatch):
    """The share is as if it were another's until the machine has waited."""
    waits, wait, take = [], round_work.RoundWork._wait, Board.take

    def waiting(work):
        waits.append(work._look_at - time.monotonic())
        wait(work)

    monkeypatch.setattr(round_work.RoundWork, "_wait", waiting)
    monkeypatch.setattr(Board, "take", lambda board: take(board) if waits else None)
    monkeypatch.setattr(Board, "may_take", property(lambda board: False))
    with forking() as server:
        assert job.run_job(options, means(server=server)) == 0
    assert waits[0] <= pace.idle_seconds(0.0, 0.0)


@pytest.mark.parametrize(("is_over", "code"), [(True, 0), (False, 75)])
def test_what_failed_as_others_have_ended_the_round_is_no_interruption(options, monkeypatch, is_over, code):
    """A machine that slept through the end finds its folders gone; nothing is left to be done."""

    def sleep(work, plan, log):
        if is_over:
            place = FolderPlace(Path(options.out))
            place.put_absent(Round(job_head.read(place).prefix, 1).finished, b"")
        return Outcome(InterruptionNotice(source="disk", event_id="No such file or directory"))

    monkeypatch.setattr(round_work.ShareWork, "run", sleep)
    with forking() as server:
        assert job.run_job(options, means(server=server)) == code
