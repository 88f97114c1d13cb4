"""A run that is refused, or interrupted before its list of images is made, leaves nothing; and it replaces nothing.

If this broke, folders and lock files would be left where a misspelt command ran, and a second run that began beside the
first would replace its finished manifest.
"""

import os
import signal

import pytest
from harness import Running, batchgray, manifest_of, save_gradient, tree
from recording import Recording, Rule, wait_for_stopped

PLANNING = Rule("call", "batchgray.engine.runs:plan_run")


@pytest.fixture
def pictures(tmp_path):
    for number in range(3):
        save_gradient(tmp_path / "in" / f"{number}.png", 64, 64, seed=number)
    return tmp_path / "in"


def test_the_lock_comes_before_the_plan(pictures, tmp_path):
    """The first run stands still while it plans; what comes then is refused, and the first one's plan holds."""
    out = tmp_path / "out"
    recording = Recording(tmp_path / "record", PLANNING)
    with Running("run", pictures, "--out", out, env=recording.environment) as first:
        wait_for_stopped(first)
        second = batchgray("run", pictures, "--out", out, "--method", "luma", expect=2)
        assert f"process {first.process.pid} " in second.stderr
        first.signal(signal.SIGCONT)
        first.finish(expect=0)
    assert manifest_of(out)["options"]["method"] == "bt601"
    assert batchgray("run", pictures, "--out", out, "--method", "luma", expect=2).stderr.count("other options") == 1


@pytest.mark.parametrize("where", ["--out", "--manifest"])
def test_one_that_is_interrupted_while_it_plans(pictures, tmp_path, where):
    recording = Recording(tmp_path / "record", PLANNING)
    before = sorted(os.listdir(tmp_path))
    more = ("--manifest", tmp_path / "jobs" / "a" / "m.json") if where == "--manifest" else ()
    arguments = ("run", pictures, "--out", tmp_path / "deep" / "out", *more)
    with Running(*arguments, env=recording.environment) as run:
        wait_for_stopped(run)
        run.signal(signal.SIGTERM)
        run.signal(signal.SIGCONT)
        run.finish(expect=75)
    assert sorted(os.listdir(tmp_path)) == before


def test_one_that_is_refused(pictures, tmp_path):
    save_gradient(pictures / "0.jpg", 8, 8)
    save_gradient(pictures / "0.jpeg", 8, 8)
    before = tree(tmp_path)
    for arguments in (
        (pictures, "--out", tmp_path / "new" / "out"),  # two inputs come out under one name
        (tmp_path / "new", "--out", tmp_path / "new"),
        (tmp_path / "new", "--out", tmp_path / "new" / "out"),
        (pictures, "--out", pictures / "0.png"),
        (pictures, "--out", pictures / "0.png" / "out"),
    ):
        batchgray("run", *arguments, expect=2)
        assert tree(tmp_path) == before
        assert not (tmp_path / "new").exists()


def test_an_output_folder_of_the_users_stays(pictures, tmp_path):
    (tmp_path / "out").mkdir()
    save_gradient(pictures / "0.jpg", 8, 8)
    save_gradient(pictures / "0.jpeg", 8, 8)
    batchgray("run", pictures, "--out", tmp_path / "out", expect=2)
    assert os.listdir(tmp_path / "out") == []
