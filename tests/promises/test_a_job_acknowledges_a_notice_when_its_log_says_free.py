"""A message is deleted from the queue when the share's log in the store gives it back, with the checkpoints there.

If this broke, a machine would be taken away with work that no other could go on with.
"""

import json

import jobs
import pytest
from harness import Running, batchgray, named, tree
from recording import Recording, Rule, resume_when_told, wait_for_stopped, wait_for_stopped_worker

from batchgray.notices.spot_event import simulated

QUEUE = "spot-interruption"


@pytest.fixture
def queue(smq_local):
    with smq_local.LocalSMQ(instance_id="i-mine") as server:
        server.create_queue(QUEUE, VisibilityTimeout=30)
        yield server


@pytest.fixture
def stage(tall, tmp_path, queue):
    with jobs.oss(tall, tmp_path) as stage:
        stage.server.latency = 0.04
        stage.options = ("--notices", "smq", "--smq-endpoint", queue.endpoint, "--instance-id", "i-mine")
        yield stage


def give_notice(queue, run) -> None:
    queue.send(QUEUE, simulated("i-mine", "cn-hangzhou").decode(), base64=False)
    run.wait_for("notice")


def test_before_it_is_deleted_another_machine_can_go_on(stage, tall_converted, tmp_path, queue):
    in_the_middle = Rule("tile", r"tall\.jpg", after=30)
    before_the_thanks = Rule("call", "batchgray.engine.session:acknowledge")
    recording = Recording(tmp_path / "record", in_the_middle, before_the_thanks)
    with Running(*stage.run(*stage.options), env=stage.env(recording)) as run:
        worker = wait_for_stopped_worker(run)
        give_notice(queue, run)
        resume_when_told(worker)
        supervisor = wait_for_stopped(run)
        assert len(queue.messages(QUEUE)) == 1
        assert stage.log()[-1].kind == "free"
        assert stage.log()[-1].interruption.source == "smq"
        assert stage.kept().count("begun") == 1
        supervisor.resume()
        run.finish(expect=75)
    assert queue.messages(QUEUE) == []
    with Running(*stage.run(), env=stage.env()) as again:
        (done,) = named(again.finish(expect=0), "done")
    assert done["tiles_computed"] == 100 - 31
    assert stage.outputs() == tree(tall_converted)


def test_where_the_store_is_full_it_is_not_deleted(stage, tall_converted, tmp_path, queue, oss_local):
    recording = Recording(tmp_path / "record", Rule("tile", r"tall\.jpg", after=30))
    with Running(*stage.run(*stage.options, "--grace", 1), env=stage.env(recording)) as run:
        worker = wait_for_stopped_worker(run)
        give_notice(queue, run)
        stage.server.faults.append(oss_local.Fault("PutObject", "error", code="QuotaExceeded", times=10**6))
        resume_when_told(worker)
        run.finish(expect=75)
    assert "could not be acknowledged" in json.dumps(named(run.events, "warned"))
    assert len(queue.messages(QUEUE)) == 1
    stage.server.clear_faults()
    batchgray(*stage.run(), env=stage.env())
    assert stage.outputs() == tree(tall_converted)
