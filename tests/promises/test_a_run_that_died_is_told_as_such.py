"""What `status` says of a run that was killed is that it died, and not the words of an interruption before it.

If this broke, whoever looks for the reason would blame the notice of last week.
"""

import json
import signal
import sys

import pytest
from harness import Running, batchgray, manifest_of, save_gradient
from recording import Recording, Rule, interrupt, wait_for_stopped, wait_for_stopped_worker


def status_of(out):
    return json.loads(batchgray("status", out, "--json").stdout), batchgray("status", out).stdout.splitlines()


@pytest.fixture
def world(tmp_path):
    """An output folder, and a way to begin a run there whose only worker stops in an image of this number."""
    for number in range(6):
        save_gradient(tmp_path / "in" / f"{number}.png", 64, 64, number)
    recording = Recording(tmp_path / "record")

    def begin(number):
        recording.set_rules(Rule("tile", rf"{number}\.jpg"))
        arguments = ("run", tmp_path / "in", "--out", tmp_path / "out", "--workers", 1)
        return Running(*arguments, env=recording.environment)

    return tmp_path / "out", begin


def kill(run):
    wait_for_stopped_worker(run)
    run.kill()


def test_a_first_run_that_was_killed(world):
    out, begin = world
    with begin(2) as run:
        kill(run)
    found, lines = status_of(out)
    assert (found["state"], found["last_run"], found["interruptions"]) == ("interrupted", "died", [])
    [died] = found["died"]
    assert died["run"] == 0
    assert died["began"] <= died["last_known"]
    assert lines[0].startswith("died: ")
    assert f"died after {died['last_known']} without a word: a crash, a kill or a power cut" in lines
    assert lines[-1].startswith(f"To go on: {sys.executable} -m batchgray resume ")


def test_a_run_that_was_killed_after_an_interruption_and_one_that_was_interrupted_after_a_kill(world):
    out, begin = world
    with begin(1) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    found, lines = status_of(out)
    assert (found["state"], found["last_run"], found["died"]) == ("interrupted", "interrupted", [])
    assert lines[0].startswith("interrupted: ")
    with begin(3) as run:
        kill(run)
    found, lines = status_of(out)
    assert (found["last_run"], [died["run"] for died in found["died"]]) == ("died", [1])
    assert lines[0].startswith("died: ")
    told = [line.split()[0] for line in lines[1:] if line.startswith(("interrupted ", "died "))]
    assert told == ["interrupted", "died"]
    with begin(4) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    found, lines = status_of(out)
    assert (found["last_run"], [died["run"] for died in found["died"]]) == ("interrupted", [1])
    told = [line.split()[0] for line in lines[1:] if line.startswith(("interrupted ", "died "))]
    assert told == ["interrupted", "died", "interrupted"]


def test_a_run_with_nothing_to_do_that_was_killed_is_not_taken_for_the_one_before(world, tmp_path):
    out, _ = world
    batchgray("run", tmp_path / "in", "--out", out)
    recording = Recording(tmp_path / "again", Rule("return", "batchgray.engine.runs:_commit_start"))
    with Running("run", tmp_path / "in", "--out", out, env=recording.environment) as run:
        wait_for_stopped(run)
        run.kill()
    found, lines = status_of(out)
    assert (found["state"], found["last_run"], found["died"]) == ("complete", "finished", [])
    assert lines[0].startswith("complete: 6 of 6")
    batchgray("resume", out)
    assert status_of(out) == (found, lines)


def test_a_run_that_is_at_work_and_one_that_finished_did_not_die(world):
    out, begin = world
    with begin(2) as run:
        worker = wait_for_stopped_worker(run)
        found, _ = status_of(out)
        assert (found["state"], found["last_run"], found["died"]) == ("running", "running", [])
        worker.send_signal(signal.SIGCONT)
        run.finish(expect=0)
    found, lines = status_of(out)
    assert (found["state"], found["last_run"], found["died"]) == ("complete", "finished", [])
    assert len(manifest_of(out)["runs"]) == 1
    assert lines[0].startswith("complete: 6 of 6")
