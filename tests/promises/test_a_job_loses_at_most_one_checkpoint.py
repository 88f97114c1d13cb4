"""Whatever is killed, on a slow store: what was finished before the last checkpoint is not made again.

If this broke, an image of an hour would begin anew on each machine that is taken away.
"""

import jobs
import pytest
from harness import Running, named, tree
from recording import Recording, Rule, wait_for_stopped_worker

TILES = 20


@pytest.fixture
def stage(tall, tmp_path):
    with jobs.oss(tall, tmp_path) as stage:
        stage.server.latency = 0.04
        yield stage


@pytest.mark.parametrize("killed", ["everything", "the supervisor", "a worker"])
def test_killed_in_the_middle(stage, tall_converted, tmp_path, killed):
    recording = Recording(tmp_path / "record", Rule("tile", r"tall\.jpg", after=TILES))
    with Running(*stage.run("--checkpoint", 0.000001), env=stage.env(recording)) as run:
        worker = wait_for_stopped_worker(run)
        if killed == "everything":
            run.kill()
        elif killed == "the supervisor":
            run.process.kill()
            run.process.wait()
            worker.kill()
        else:
            worker.kill()
            run.finish(expect=0)
            done = named(run.events, "done")
    if killed != "a worker":
        with Running(*stage.run(), env=stage.env()) as again:
            done = named(again.finish(expect=0), "done")
    # Each tile before the one at which it was stopped had its checkpoint; what a worker finished is saved even later.
    assert done[0]["tiles_computed"] <= 100 - TILES
    assert stage.outputs() == tree(tall_converted)
    assert set(stage.kept()) == jobs.FINISHED
