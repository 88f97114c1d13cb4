"""The same command on several machines: together they end in the tree of one, whichever of them die, sleep or go.

If this broke, whoever runs twenty cheap machines would get images twice, not at all, or other ones.
"""

import signal

import jobs
import pytest
from harness import Running, batchgray, named, save_gradient, tree
from recording import Recording, Rule, wait_for_stopped

ALL_DONE = Rule("call", "batchgray.engine.finishing:Finisher.finish")
AT_A_CHUNK = Rule("return", "batchgray.engine.supervisor:Supervisor._send_chunk", after=2)
SHARE_IMAGES = 3


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("joined") / "in"
    for number in range(12):
        save_gradient(folder / f"{number % 4}" / f"{number:02}.png", 64, 48, seed=number)
    return folder


@pytest.fixture(scope="module")
def converted(images):
    batchgray("run", images, "--out", images.parent / "gray", "-q")
    return tree(images.parent / "gray")


@pytest.fixture(params=jobs.STAGES)
def stage(request, images, tmp_path):
    with jobs.STAGES[request.param](images, tmp_path) as stage:
        stage.environment["SHARE_IMAGES"] = str(SHARE_IMAGES)
        yield stage


def logs_are_sound(stage) -> None:
    """One owner an epoch, each image told done once."""
    done = []
    for share in range(1, 5):
        log = stage.log(f"{share:08d}")
        assert [entry.epoch for entry in log] == sorted(entry.epoch for entry in log)
        for epoch in {entry.epoch for entry in log}:
            assert len({entry.owner for entry in log if entry.epoch == epoch}) == 1
        done += [(share, change.image) for entry in log for change in entry.changes if change.state == "done"]
    assert sorted(done) == sorted(set(done))
    assert len(done) == 12


def test_two_machines_share_the_work_and_one_tree_comes_of_it(stage, converted, tmp_path):
    """One is stopped in the middle of a share, so that the other does what is left; then it goes on with its own."""
    first_stop = Recording(tmp_path / "first", AT_A_CHUNK)
    end = Recording(tmp_path / "end", ALL_DONE)
    with Running(*stage.run("--join"), env=stage.env(first_stop)) as first:
        wait_for_stopped(first)
        with Running(*stage.run("--join"), env=stage.env(end)) as second:
            supervisor = wait_for_stopped(second)
            logs_are_sound(stage)
            supervisor.resume()
            second.finish(expect=0)
        first.signal(signal.SIGCONT)
        events = first.finish(expect=0)
    assert stage.outputs() == converted
    assert set(stage.kept()) == jobs.FINISHED
    assert named(events, "summary")[0]["done"] == 12
