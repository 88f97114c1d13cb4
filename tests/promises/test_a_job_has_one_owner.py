"""Two runs on one job: the second is refused; one that slept, and whose share was taken, writes nothing that counts.

If this broke, two machines would undo each other's books.
"""

import jobs
import pytest
from harness import Running, batchgray, tree, wait_until
from recording import AT_THE_FIRST_CHUNK, Recording, Rule, wait_for_stopped, wait_for_stopped_worker


@pytest.fixture(params=jobs.STAGES)
def stage(request, tall, tmp_path):
    with jobs.STAGES[request.param](tall, tmp_path) as stage:
        yield stage


def test_the_second_run_is_refused_while_the_first_gives_signs_of_life(stage, tall_converted, tmp_path):
    recording = Recording(tmp_path / "record", Rule("tile", r"tall\.jpg", after=30))
    with Running(*stage.run(), env=stage.env(recording)) as run:
        worker = wait_for_stopped_worker(run)
        second = batchgray(*stage.run(), env=stage.env(), expect=2)
        assert f"process {run.process.pid} " in second.stderr
        worker.resume()
        run.finish(expect=0)
    assert stage.outputs() == tree(tall_converted)
    assert {entry.epoch for entry in stage.log()} == {1}


def test_an_owner_that_slept_while_its_share_was_taken_writes_nothing_that_counts(stage, tall_converted, tmp_path):
    recording = Recording(tmp_path / "record", AT_THE_FIRST_CHUNK)
    with Running(*stage.run(), env=stage.env(recording)) as run:
        supervisor = wait_for_stopped(run)
        batchgray(*stage.run(), env=stage.env(), expect=0)
        before = stage.log()
        supervisor.resume()
        run.finish(expect=1)
        assert "Another machine has taken share" in run.error
    assert stage.log() == before
    assert [entry.epoch for entry in before] == sorted(entry.epoch for entry in before)
    wait_until(lambda: stage.outputs() == tree(tall_converted))
    assert set(stage.kept()) == {"plan", "log"}
