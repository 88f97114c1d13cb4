"""Two runs on one job: the second is refused; one that slept, and whose share was taken, writes nothing that counts.

If this broke, two machines would undo each other's books.
"""

import math
from fnmatch import fnmatchcase

import jobs
import psutil
import pytest
from harness import Running, batchgray, tree, wait_until
from recording import (
    AT_THE_FIRST_CHUNK,
    Recording,
    Rule,
    interrupt,
    is_stopped,
    wait_for_stopped,
    wait_for_stopped_worker,
)

SAVE = "batchgray.checkpoints.place:PlaceCheckpoints.save"
LOOK_AT_THE_LEASE = Rule("call", "batchgray.storage.lease:ownclock.machine_clock", times=0)


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


def test_an_owner_that_slept_while_its_share_was_taken_writes_nothing_that_counts(stage, tall_converted, tmp_path):
    recording = Recording(tmp_path / "record", AT_THE_FIRST_CHUNK)
    with Running(*stage.run(), env=stage.env(recording)) as run:
        supervisor = wait_for_stopped(run)
        batchgray(*stage.run(), env=stage.env(), expect=0)
        before = stage.log()
        supervisor.resume()
        run.finish(expect=1)
        assert "Another machine has taken share" in run.error
    assert stage.log() == before == []
    wait_until(lambda: stage.outputs() == tree(tall_converted))
    assert set(stage.kept()) == jobs.FINISHED


def test_an_owner_that_wakes_up_while_another_is_at_its_share_leaves_it_alone(stage, tall_converted, tmp_path):
    first_record = Recording(tmp_path / "first", AT_THE_FIRST_CHUNK)
    in_the_middle = Recording(tmp_path / "second", Rule("tile", r"tall\.jpg", after=30))
    with Running(*stage.run(), env=stage.env(first_record)) as first:
        supervisor = wait_for_stopped(first)
        with Running(*stage.run(), env=stage.env(in_the_middle)) as second:
            worker = wait_for_stopped_worker(second)
            supervisor.resume()
            first.finish(expect=1)
            assert "Another machine has taken share" in first.error
            owners = [(entry.epoch, f" {second.process.pid} " in entry.owner) for entry in stage.log()]
            assert {(1, False), (2, True)} == set(owners)
            worker.resume()
            second.finish(expect=0)
    assert stage.outputs() == tree(tall_converted)
    assert set(stage.kept()) == jobs.FINISHED


def test_a_machine_that_slept_leaves_nothing_either(stage, tall_converted, tmp_path):
    """Its worker wakes up first, and would put a checkpoint of an image that another machine has finished."""
    saved = Rule("return", SAVE, times=0)
    recording = Recording(tmp_path / "record", Rule("call", SAVE), LOOK_AT_THE_LEASE, saved)
    with Running(*stage.run("--checkpoint", 0.001), env=stage.env(recording)) as run:
        worker, supervisor = wait_for_stopped_worker(run), psutil.Process(run.process.pid)
        with recording.holding():  # else it may be stopped with the log in hand, which the worker needs
            supervisor.suspend()
            wait_until(lambda: is_stopped(supervisor))
        batchgray(*stage.run(), env=stage.env(), expect=0)
        before, looks = stage.log(), recording.met(1)
        worker.resume()
        wait_until(lambda: recording.met(1) > looks + 1 or recording.met(2))
        assert not recording.met(2), "it has put its checkpoint"
        supervisor.resume()
        run.finish(expect=1)
    assert stage.log() == before
    assert stage.outputs() == tree(tall_converted)
    assert set(stage.kept()) == jobs.FINISHED


@pytest.mark.parametrize("late", ["*.tiles", "*.partial.jpg"])
def test_what_a_machine_that_slept_had_on_its_way_leaves_nothing_either(
    tall, tall_converted, tmp_path, oss_local, late
):
    """The store has the whole put, and does it only when another machine has finished the image."""
    held = oss_local.Fault("PutObject", "hold", key=late)
    recording = Recording(tmp_path / "record", Rule("tile", r"tall\.jpg", after=30))
    with jobs.oss(tall, tmp_path) as stage, Running(*stage.run(), env=stage.env(recording)) as run:
        worker, supervisor = wait_for_stopped_worker(run), psutil.Process(run.process.pid)
        stage.server.faults.append(held)
        interrupt(run, worker)
        stage.server.wait_until(lambda: stage.server.held)
        supervisor.suspend()
        worker.suspend()
        batchgray(*stage.run(), env=stage.env(), expect=0)
        stage.server.release(held)
        stage.server.wait_until(lambda: any(fnmatchcase(key, late) for key in stage.server.objects("gray")))
        before = stage.log()
        worker.resume()
        supervisor.resume()
        run.finish(expect=1)
        assert stage.log() == before
        assert stage.outputs() == tree(tall_converted)
        assert set(stage.kept()) == jobs.FINISHED


def test_while_the_store_does_not_answer_nothing_is_begun_and_then_the_work_goes_on(
    tall, tall_converted, tmp_path, oss_local
):
    recording = Recording(tmp_path / "record", Rule("tile", r"tall\.jpg", after=30))
    with (
        jobs.oss(tall, tmp_path) as stage,
        Running(*stage.run(), env=stage.env(recording)) as run,
    ):
        worker = wait_for_stopped_worker(run)
        stage.server.faults.append(oss_local.Fault("PutObject", "error", times=math.inf, code="SlowDown"))
        assert "does not answer" in run.wait_for("warned")["message"]
        worker.resume()
        stage.server.clear_faults()
        run.finish(expect=0)
        assert stage.outputs() == tree(tall_converted)
