"""`run --overwrite` begins a new job where another was, with other options or INPUTs, and replaces outputs alone.

If this broke, somebody who wants other grays would have to empty a bucket by hand, or find two jobs' books in it.
"""

import json

import jobs
import pytest
from harness import Running, batchgray, save_gradient, tree
from recording import AT_THE_FIRST_CHUNK, Recording, Rule, interrupt, wait_for_stopped, wait_for_stopped_worker

OTHERS = "--quality", 50


@pytest.fixture
def stage(request, tmp_path):
    for name in ("a.png", "sub/b.png", "tall.png"):
        save_gradient(tmp_path / "in" / name, 64, 320, seed=len(name))
    with jobs.STAGES[request.param](tmp_path / "in", tmp_path) as stage:
        yield stage


@pytest.fixture
def expected(stage, tmp_path):
    """The tree of a plain run with the other options."""
    batchgray("run", stage.images, "--out", tmp_path / "plain", *OTHERS, "--tile-rows", 8, "-q")
    return {name: data for name, data in tree(tmp_path / "plain").items() if name.endswith(".jpg")}


pytestmark = pytest.mark.parametrize("stage", jobs.STAGES, indirect=True)
IN_THE_MIDDLE = Rule("tile", r"tall\.jpg", after=20)


def assert_afresh(stage, expected):
    """Nothing of the job that was there is left but the marks of its rounds, and all is in order."""
    assert stage.outputs() == expected
    assert {each for each in stage.kept() if not each.endswith("/finished")} == {"results"}
    batchgray("verify", stage.out, env=stage.env())
    batchgray(*stage.run(*OTHERS), env=stage.env())
    counts = json.loads(batchgray("status", stage.out, "--json", env=stage.env()).stdout)["counts"]
    assert (counts["done"], counts["total"]) == (3, 3)


def test_one_that_is_over(stage, expected):
    batchgray(*stage.run("-q"), env=stage.env())
    stage.place.put("a.jpg", b"whoever made it")
    stage.place.put("mine.jpg", b"mine")
    dry = batchgray(*stage.run(*OTHERS, "--overwrite", "--dry-run"), env=stage.env()).stdout
    assert "3 images to convert, 0 done already" in dry
    assert "of a job with other options" in batchgray(*stage.run(*OTHERS), env=stage.env(), expect=2).stderr
    batchgray(*stage.run(*OTHERS, "--overwrite", "-q"), env=stage.env())
    assert_afresh(stage, {**expected, "mine.jpg": b"mine"})


def test_what_is_there_without_a_job(stage, expected):
    stage.place.put("sub/b.jpg", b"whoever made it")
    batchgray(*stage.run(*OTHERS, "--overwrite", "-q"), env=stage.env())
    assert_afresh(stage, expected)


def test_one_that_was_interrupted(stage, expected, tmp_path):
    recording = Recording(tmp_path / "record", IN_THE_MIDDLE)
    with Running(*stage.run(), env=stage.env(recording)) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    assert "begun" in stage.kept()
    batchgray(*stage.run(*OTHERS, "--overwrite", "-q"), env=stage.env())
    assert_afresh(stage, expected)


def test_one_that_is_interrupted_itself_goes_on(stage, expected, tmp_path):
    batchgray(*stage.run("-q"), env=stage.env())
    recording = Recording(tmp_path / "record", IN_THE_MIDDLE)
    with Running(*stage.run(*OTHERS, "--overwrite"), env=stage.env(recording)) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    batchgray("resume", stage.out, "-q", env=stage.env())
    assert_afresh(stage, expected)


def test_one_that_somebody_works_on_is_refused(stage, tmp_path):
    recording = Recording(tmp_path / "record", IN_THE_MIDDLE)
    with Running(*stage.run(), env=stage.env(recording)) as run:
        worker = wait_for_stopped_worker(run)
        said = batchgray(*stage.run(*OTHERS, "--overwrite"), env=stage.env(), expect=2).stderr
        assert f"process {run.process.pid} " in said
        worker.resume()
        run.finish(expect=0)
    assert set(stage.kept()) == jobs.FINISHED
    batchgray("verify", stage.out, env=stage.env())


def test_whoever_slept_meanwhile_writes_nothing_that_counts(stage, expected, tmp_path):
    recording = Recording(tmp_path / "record", AT_THE_FIRST_CHUNK)
    with Running(*stage.run(), env=stage.env(recording)) as run:
        supervisor = wait_for_stopped(run)
        batchgray(*stage.run(*OTHERS, "--overwrite", "-q"), env=stage.env())
        supervisor.resume()
        run.finish(expect=1)
    assert_afresh(stage, expected)


def test_an_input_is_never_replaced(stage, tmp_path):
    save_gradient(tmp_path / "a.png", 16, 16)
    said = batchgray("run", tmp_path / "a.png", "--out", tmp_path, "--job", "--overwrite", expect=2).stderr
    assert "an INPUT within the output place" in said
