"""`status` of a job tells a machine that is at work from one that was killed, without comparing two clocks.

If this broke, a fleet that died in the night would be waited for in the morning.
"""

import json

import jobs
import pytest
from harness import Running, batchgray
from recording import Recording, Rule, wait_for_stopped_worker


@pytest.fixture(params=jobs.STAGES)
def stage(request, tall, tmp_path):
    with jobs.STAGES[request.param](tall, tmp_path) as stage:
        yield stage


LEASE = {"SHARE_LEASE": "12"}  # a machine gives a sign of life every 4 seconds, and is looked at for 8


def test_a_machine_at_work_and_the_same_when_it_was_killed(stage, tmp_path):
    recording = Recording(tmp_path / "record", Rule("tile", r"tall\.jpg", after=30))
    with Running(*stage.run(), env=stage.env(recording) | LEASE) as run:
        wait_for_stopped_worker(run)
        found = json.loads(batchgray("status", stage.out, "--json", env=stage.env() | LEASE).stdout)
        assert (found["state"], found["last_run"], found["resume"]) == ("running", "running", None)
        [machine] = found["job"]["machines"]
        assert machine["alive"] is True
        assert f"process {run.process.pid} " in machine["owner"]
        run.kill()
    lines = batchgray("status", stage.out, env=stage.env() | LEASE).stdout.splitlines()
    assert lines[0].startswith("died: 0 of 1 image done")
    dead = f"process {run.process.pid} "
    assert any(dead in line and "died after" in line and "without a word" in line for line in lines)
    assert lines[-1].startswith("To go on: ")
