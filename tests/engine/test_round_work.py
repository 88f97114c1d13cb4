"""A driver, which has no workers: how it looks on. The crew is the test's."""

import pytest
from harness import save_gradient

from batchgray.engine import job, pace, round_work
from batchgray.engine.board import Board
from batchgray.engine.crew import Progress
from batchgray.notices.inbox import InterruptionNotice
from batchgray.options import EngineOptions, FleetOptions, JobOptions
from batchgray.storage.urls import StoreOptions

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
            return self.news.pop(0)
        self.inbox.put(InterruptionNotice(source="smq", event_id="2256A988"))
        return NOTHING

    def drain(self, standing):
        pass

    def acknowledge(self, notice):
        pass

    def stop(self):
        pass


@pytest.fixture
def driven(tmp_path, monkeypatch):
    """Has a driver hear this, which would look as often as it tends its crew; how often it had looked before each."""
    looks, look = [], Board.look
    monkeypatch.setattr(Board, "look", lambda board: (looks.append(board), look(board)))
    monkeypatch.setattr(pace, "look_seconds", lambda: 0.0)
    monkeypatch.setattr(round_work, "_TEND_SECONDS", 0.0)
    for number in range(9):
        save_gradient(tmp_path / "in" / f"{number}.png", 64, 48, seed=number)

    def drive(*news):
        crew = Crew(news, looks)
        options = JobOptions(inputs=(str(tmp_path / "in"),), out=str(tmp_path / "out"), engine=EngineOptions(workers=1))
        given = job.Means(
            stores=StoreOptions(),
            emit=lambda event: None,
            sources=(crew,),
            server=None,
            ready=lambda: True,
            fleet=FleetOptions(join=True),
            crew=crew,
        )
        assert job.run_job(options, given) == 75
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
