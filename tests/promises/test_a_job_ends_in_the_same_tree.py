"""A job in shares, in folders and in stores, ends in the tree of a plain run, however it was interrupted or killed.

If this broke, whoever goes on elsewhere would get other pictures, or litter in a bucket that is paid for.
"""

import json
import math
import signal

import jobs
import pytest
from harness import Running, batchgray, is_alive, named, tree, wait_until
from recording import Recording, Rule, interrupt, wait_for_stopped, wait_for_stopped_worker

IN_THE_MIDDLE = Rule("tile", r"tall\.jpg", after=30)
BEFORE_THE_LOG_TELLS = Rule("call", "batchgray.engine.share:ShareBooks.record")


@pytest.fixture(params=jobs.STAGES)
def stage(request, samples, tmp_path):
    with jobs.STAGES[request.param](samples, tmp_path) as stage:
        yield stage


@pytest.fixture(params=jobs.STAGES)
def tall_stage(request, tall, tmp_path):
    with jobs.STAGES[request.param](tall, tmp_path) as stage:
        yield stage


def go_on(stage, converted, *arguments, exit_code=0) -> None:
    batchgray(*arguments, env=stage.env(), expect=exit_code)
    assert stage.outputs() == tree(converted)
    assert set(stage.kept()) == jobs.FINISHED


def test_uninterrupted(stage, converted):
    plain = json.loads(batchgray("status", converted, "--json").stdout)
    exit_code = 3 if plain["counts"]["failed"] else 0
    go_on(stage, converted, *stage.run(), exit_code=exit_code)
    counts = json.loads(batchgray("status", stage.out, "--json", env=stage.env()).stdout)["counts"]
    assert counts == plain["counts"]
    go_on(stage, converted, *stage.run(), exit_code=exit_code)


@pytest.mark.parametrize("command", ["run", "resume"])
def test_after_sigterm(tall_stage, tall_converted, tmp_path, command):
    stage, recording = tall_stage, Recording(tmp_path / "record", IN_THE_MIDDLE)
    with Running(*stage.run(), env=stage.env(recording)) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    assert stage.log()[-1].kind == "free"
    assert stage.log()[-1].interruption.event_id == "SIGTERM"
    assert list(stage.outputs()) == ["tall.partial.jpg"]
    assert stage.kept().count("begun") == 1
    status = json.loads(batchgray("status", stage.out, "--json", env=stage.env()).stdout)
    assert (status["state"], status["counts"]["partial"]) == ("interrupted", 1)
    arguments = stage.run("--progress", "json") if command == "run" else ["resume", stage.out, "--progress", "json"]
    with Running(*arguments[:-2], env=stage.env()) as again:
        events = again.finish(expect=0)
    assert named(events, "done")[0]["tiles_computed"] == 100 - 31
    assert stage.outputs() == tree(tall_converted)
    assert set(stage.kept()) == jobs.FINISHED


def test_after_a_kill_of_everything(tall_stage, tall_converted, tmp_path):
    stage, recording = tall_stage, Recording(tmp_path / "record", IN_THE_MIDDLE)
    with Running(*stage.run(), env=stage.env(recording)) as run:
        wait_for_stopped_worker(run)
        run.kill()
    stage.place.put(f"{jobs.first_round(stage).idle('00000001')}/dead", b"")  # of a machine that waited for work
    go_on(stage, tall_converted, *stage.run())


def test_a_kill_between_an_output_and_the_log(tall_stage, tall_converted, tmp_path):
    """The log never leads: what it does not tell of may be there, never the other way round."""
    stage, recording = tall_stage, Recording(tmp_path / "record", BEFORE_THE_LOG_TELLS)
    with Running(*stage.run(), env=stage.env(recording)) as run:
        supervisor = wait_for_stopped(run)
        assert "tall.jpg" in stage.outputs()
        assert not [change for entry in stage.log() for change in entry.changes]
        supervisor.send_signal(signal.SIGKILL)
        run.kill()
    go_on(stage, tall_converted, *stage.run())


def test_of_an_image_that_was_begun_and_then_fails_nothing_is_left(tall, tmp_path):
    with jobs.oss(tall, tmp_path) as stage:
        recording = Recording(tmp_path / "record", IN_THE_MIDDLE)
        with Running(*stage.run(), env=stage.env(recording)) as run:
            interrupt(run, wait_for_stopped_worker(run))
            run.finish(expect=75)
        assert "begun" in stage.kept()
        stage.server.put("photos", "2026/tall.jpg", b"no image any more")
        batchgray(*stage.run(), env=stage.env(), expect=3)
        assert stage.outputs() == {}
        assert set(stage.kept()) - {"2/finished"} == jobs.FINISHED


def test_on_a_store_that_loses_answers_and_is_slow(samples, converted, tmp_path, oss_local):
    with jobs.oss(samples, tmp_path) as stage:
        stage.server.latency = 0.04
        for kind, share in (("lose", 0.05), ("error", 0.05)):
            stage.server.faults.append(oss_local.Fault("*", kind, times=math.inf, share=share))
        batchgray(*stage.run("--workers", 2), env=stage.env(), expect=None)
        stage.server.clear_faults()
        assert stage.outputs() == tree(converted)
        assert set(stage.kept()) == jobs.FINISHED


def test_nothing_stays_on_a_machine_that_goes_on_after_a_kill(tall, tall_converted, tmp_path):
    machine = tmp_path / "machine"
    machine.mkdir()
    with jobs.folders(tall, tmp_path) as stage:
        stage.environment["TMPDIR"] = str(machine)
        recording = Recording(tmp_path / "record", IN_THE_MIDDLE)
        with Running(*stage.run(), env=stage.env(recording)) as run:
            family = run.descendants()
            wait_for_stopped_worker(run)
            run.kill()
        wait_until(lambda: not any(map(is_alive, family)))
        assert list(machine.glob("batchgray-run-*"))
        go_on(stage, tall_converted, *stage.run())
        assert not list(machine.iterdir())
