"""While one image is converted, those that come next are fetched, and outputs are on their way; and no promise suffers.

If this broke, machines would be paid for waiting, or an image would be blamed, lost or told of for another's sake.
"""

import math

import jobs
import pytest
from harness import Running, batchgray, named, save_gradient, tree
from recording import Recording, Rule, interrupt_held

COUNT = 20
SEVERAL = 5  # of the first ones, which are handed out together


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(COUNT):
        save_gradient(folder / f"{number:02}.png", 200, 200, seed=number, exact=True)
    return folder


@pytest.fixture(scope="module")
def converted(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    batchgray("run", pictures, "--out", out, "--tile-rows", 8, "-q")
    return out


@pytest.fixture
def stage(pictures, tmp_path):
    with jobs.oss(pictures, tmp_path) as stage:
        yield stage


def wait_until_fetched(stage):
    wanted = {f"2026/{number:02}.png" for number in range(SEVERAL)}
    stage.server.wait_until(lambda: wanted <= {asked.key for asked in stage.server.log})


def held_in(output, tmp_path):
    """The thread that converts it, when some tiles are finished."""
    return Recording(tmp_path / "record", Rule("tile", output, after=10, hold=True))


def test_the_next_are_fetched_while_one_is_converted(stage, converted, tmp_path):
    recording = held_in(r"00\.jpg", tmp_path)
    with Running(*stage.run(), env=stage.env(recording)) as run:
        recording.wait_until_held()
        wait_until_fetched(stage)
        recording.let_go()
        run.finish(expect=0)
    assert stage.outputs() == tree(converted)


def test_a_death_blames_the_image_in_hand_and_none_that_was_fetched(stage, converted, tmp_path):
    recording = held_in(r"00\.jpg", tmp_path)
    with Running(*stage.run("-v"), env=stage.env(recording)) as run:
        recording.wait_until_held()
        wait_until_fetched(stage)
        (worker,) = run.workers()
        worker.kill()
        events = run.finish(expect=0)
    assert len(named(events, "done")) == COUNT
    suspected = [event["message"] for event in named(events, "warned") if ".png" in event["message"]]
    assert len(suspected) == 1
    assert "00.png" in suspected[0]
    assert stage.outputs() == tree(converted)


def test_an_output_is_told_of_only_when_its_put_was_answered(stage, converted, oss_local):
    held = oss_local.Fault("PutObject", "hold", key="2026/00.jpg")
    stage.server.faults.append(held)
    with Running(*stage.run(), env=stage.env()) as run:
        others = [run.wait_for("done")["output"] for _ in range(1, COUNT)]
        assert sorted(others) == [f"{number:02}.jpg" for number in range(1, COUNT)]
        stage.server.wait_until(lambda: stage.server.held == 1)
        stage.server.release(held)
        assert run.wait_for("done")["output"] == "00.jpg"
        run.finish(expect=0)
    assert stage.outputs() == tree(converted)


def test_a_flush_publishes_what_is_whole_keeps_what_is_begun_and_drops_what_was_only_fetched(
    stage, converted, tmp_path, oss_local
):
    held = oss_local.Fault("PutObject", "hold", key="2026/00.jpg")
    stage.server.faults.append(held)
    recording = held_in(r"01\.jpg", tmp_path)
    with Running(*stage.run("--grace", 3600), env=stage.env(recording)) as run:
        stage.server.wait_until(lambda: stage.server.held == 1)
        wait_until_fetched(stage)
        interrupt_held(run, recording)
        stage.server.release(held)
        events = run.finish(expect=75)
    flushed = named(events, "flushed")[0]
    assert (flushed["finished"], flushed["kept"]) == (1, 1)
    assert flushed["in_hand"] == flushed["finished"] + flushed["kept"] + flushed["put_back"]
    assert (flushed["partial"], flushed["pending"]) == (1, COUNT - 2)
    assert set(stage.outputs()) == {"00.jpg", "01.partial.jpg"}
    batchgray(*stage.run(), env=stage.env(), expect=0)
    assert stage.outputs() == tree(converted)


def test_one_that_can_not_be_had_costs_one_though_it_was_to_be_fetched_ahead(stage, converted, oss_local):
    stage.server.faults.append(
        oss_local.Fault("GetObject", "error", times=math.inf, code="NoSuchKey", key="2026/03.png")
    )
    with Running(*stage.run(), env=stage.env()) as run:
        events = run.finish(expect=3)
    assert [event["source"] for event in named(events, "failed")] == ["03.png"]
    assert stage.outputs() == {name: data for name, data in tree(converted).items() if name != "03.jpg"}


def test_how_long_workers_stood_still_is_told(stage):
    stage.server.latency = 0.05
    with Running(*stage.run(), env=stage.env()) as run:
        events = run.finish(expect=0)
    waits = [event["waited"] for event in named(events, "done")]
    assert max(waits) >= 0.04, "the first of all has nothing to be fetched beside"
    assert named(events, "summary")[0]["waited"] == pytest.approx(sum(waits))
