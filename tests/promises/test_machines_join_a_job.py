"""The same command on several machines: together they end in the tree of one, whichever of them die, sleep or go.

If this broke, whoever runs twenty cheap machines would get images twice, not at all, or other ones.
"""

import signal

import jobs
import numpy as np
import pytest
from harness import Running, batchgray, named, save_gradient, tree, wait_until
from PIL import Image
from recording import Recording, Rule, wait_for_stopped, wait_for_stopped_worker

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
            assert len(stage.taken()) >= 3, "others need not try what the second has"
            supervisor.resume()
            second.finish(expect=0)
        first.signal(signal.SIGCONT)
        events = first.finish(expect=0)
    assert stage.outputs() == converted
    assert set(stage.kept()) == jobs.FINISHED
    assert named(events, "summary")[0]["done"] == 12


def test_a_machine_that_finds_another_beginning_the_job_looks_at_once(stage, converted, tmp_path):
    """It saw no job, and is stopped until another has begun it. To wait for its time to look would take ten minutes."""
    late = Recording(tmp_path / "late", Rule("call", "batchgray.engine.plan_keeper:PlanKeeper.take"))
    early = Recording(tmp_path / "early", AT_A_CHUNK)
    stage.environment["SHARE_LEASE"] = "6000"
    with Running(*stage.run("--join"), env=stage.env(late)) as second:
        supervisor = wait_for_stopped(second)
        with Running(*stage.run("--join"), env=stage.env(early)) as first:
            other = wait_for_stopped(first)
            supervisor.resume()
            second.wait_for("done")
            other.resume()
            first.finish(expect=0)
        second.finish(expect=0)
    assert stage.outputs() == converted
    assert set(stage.kept()) == jobs.FINISHED


def test_a_machine_that_is_given_notice_gives_its_share_to_the_others_at_once(stage, converted, tmp_path):
    recording = Recording(tmp_path / "first", AT_A_CHUNK)
    stage.environment["SHARE_LEASE"] = "600"  # nothing here waits for it
    with Running(*stage.run("--join"), env=stage.env(recording)) as first:
        supervisor = wait_for_stopped(first)
        first.signal(signal.SIGTERM)
        supervisor.resume()
        first.finish(expect=75)
    assert all(entries[-1].kind in ("free", "done") for entries in map(stage.log, names(4)) if entries)
    batchgray(*stage.run("--join"), env=stage.env(), expect=0)
    assert stage.outputs() == converted
    assert set(stage.kept()) == jobs.FINISHED


def test_a_machine_that_dies_loses_its_share_and_the_plan_after_the_lease(stage, converted, tmp_path):
    """It is the one that lists, and dies before it is through."""
    recording = Recording(tmp_path / "first", Rule("call", "batchgray.planning.shares:Planner._cut_ranges"))
    with Running(*stage.run("--join"), env=stage.env(recording)) as first:
        wait_for_stopped(first)
        with Running(*stage.run("--join"), env=stage.env()) as second:
            second.wait_for("planned")
            first.kill()
            second.finish(expect=0)
    assert stage.outputs() == converted
    assert set(stage.kept()) == jobs.FINISHED


def test_an_owner_that_wakes_up_after_the_end_leaves_nothing(stage, converted, tmp_path):
    """Its supervisor and its worker sleep until the logs are gone, and with them what would stop a late entry."""
    recording = Recording(tmp_path / "first", AT_A_CHUNK)
    with Running(*stage.run("--join", "--checkpoint", 0.001), env=stage.env(recording)) as first:
        supervisor = wait_for_stopped(first)
        family = [supervisor, *first.workers()]
        for each in family:
            each.suspend()
        batchgray(*stage.run("--join"), env=stage.env(), expect=0)
        assert set(stage.kept()) == jobs.FINISHED
        for each in family[::-1]:
            each.resume()
        first.finish(expect=0)
    assert stage.outputs() == converted
    assert set(stage.kept()) == jobs.FINISHED


def test_shards_take_their_own_shares_and_the_last_one_ends_the_job(stage, converted):
    batchgray(*stage.run("--shard", "1/2"), env=stage.env(), expect=0)
    begun = [name for name in names(4) if stage.log(name)]
    assert begun == ["00000001", "00000003"]
    assert 0 < len(stage.outputs()) < len(converted)
    batchgray(*stage.run("--shard", "2/2"), env=stage.env(), expect=0)
    assert stage.outputs() == converted
    assert set(stage.kept()) == jobs.FINISHED


@pytest.mark.parametrize("place", jobs.STAGES)
def test_the_shard_that_ends_a_job_with_failures_begins_no_round_whose_shares_are_others(place, tmp_path):
    """The failed image would be the only one of a share that is shard 1's, and shard 1 has ended."""
    images = tmp_path / "in"
    for number in range(6):
        save_gradient(images / f"{number:02}.png", 64, 48, seed=number)
    (images / "05.png").write_bytes(b"no image")
    with jobs.STAGES[place](images, tmp_path) as stage:
        stage.environment["SHARE_IMAGES"] = str(SHARE_IMAGES)
        batchgray(*stage.run("--shard", "1/2"), env=stage.env(), expect=0)
        batchgray(*stage.run("--shard", "2/2"), env=stage.env(), expect=3)
        assert set(stage.kept()) == jobs.FINISHED


def test_an_idle_machine_gets_a_part_of_the_last_share(tmp_path):
    """The only worker of the owner of the only share is stopped in the middle of it; most is still to be handed out."""
    images = tmp_path / "in"
    images.mkdir()
    for number in range(24):
        pixels = np.random.default_rng(number).integers(0, 256, (180, 230, 3), np.uint8)
        Image.fromarray(pixels).save(images / f"{number:02}.png")
    batchgray("run", images, "--out", tmp_path / "gray", "-q")
    held = Recording(tmp_path / "first", Rule("encode", r"09\.jpg"))
    taken = Recording(tmp_path / "second", Rule("call", "batchgray.engine.share_work:ShareWork.run"))
    with jobs.folders(images, tmp_path) as stage:
        stage.environment |= {"SPLIT_SECONDS": "0.0001", "SHARE_LEASE": "20"}
        with Running(*stage.run("--join", "--memory", "4M"), env=stage.env(held)) as first:
            worker = wait_for_stopped_worker(first)
            with Running(*stage.run("--join"), env=stage.env(taken)) as second:
                supervisor = wait_for_stopped(second)
                part = next(entry.split for entry in stage.log() if entry.split)
                assert [entry.kind for entry in stage.log("00000001-1")] == ["open"]
                supervisor.resume()
                wait_until(lambda: len(stage.outputs()) >= len(part) + 9)
                worker.resume()
                first.finish(expect=0)
                assert len(named(second.finish(expect=0), "done")) >= len(part) > 1
        assert stage.outputs() == tree(tmp_path / "gray")
        assert set(stage.kept()) == jobs.FINISHED


def names(count: int) -> list[str]:
    return [f"{number:08d}" for number in range(1, count + 1)]


def test_what_a_machine_leaves_that_dies_at_the_very_end_is_removed_by_the_next(stage, converted, tmp_path):
    """It has put the mark that the round is over, and nothing of the rest is removed."""
    recording = Recording(tmp_path / "end", Rule("call", "batchgray.engine.finishing:tidy_up"))
    with Running(*stage.run("--join"), env=stage.env(recording)) as run:
        wait_for_stopped(run).kill()
    assert set(stage.kept()) > jobs.FINISHED
    batchgray(*stage.run("--join"), env=stage.env())
    assert set(stage.kept()) == jobs.FINISHED
    assert stage.outputs() == converted
