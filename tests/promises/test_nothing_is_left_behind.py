"""No orphan process, no shared-memory segment, no stray file, after any exit, kill -9 included.

If this broke, a machine would fill up with what earlier runs forgot.
"""

import os
import shutil
import signal

import psutil
import pytest
from harness import Running, batchgray, leftovers, shared_memory_unchanged, wait_until
from recording import Recording, Rule, interrupt, wait_for_stopped_worker

SMALL_TILES = ("--tile-rows", 8, "--workers", 1)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_every_process_ends_with_the_supervisor(samples, tmp_path, signum):
    with shared_memory_unchanged(), Running("run", samples, "--out", tmp_path) as run:
        run.wait_for("done")
        family = run.descendants()
        assert len(family) >= 2
        run.signal(signum)
        run.finish(expect=-9 if signum == signal.SIGKILL else 75)
        wait_until(lambda: not any(alive(process) for process in family), seconds=5)


def test_a_worker_in_a_long_call_ends_with_a_killed_supervisor(samples, tmp_path):
    """A stopped process can't notice anything by itself, as one in a codec that hangs can't."""
    with Running("run", samples, "--out", tmp_path, "--workers", 1) as run:
        run.wait_for("started")
        wait_until(lambda: bool(run.workers()))
        family = run.descendants()
        run.workers()[0].suspend()
        run.signal(signal.SIGKILL)
        run.finish(expect=-9)
        wait_until(lambda: not any(alive(process) for process in family), seconds=5)


def test_a_killed_fork_server_takes_its_workers_along_and_the_run_goes_on(samples, converted, tmp_path):
    with Running("run", samples, "--out", tmp_path, "--tile-rows", 8) as run:
        run.wait_for("done")
        server = run.descendants()[0].pid
        workers = run.workers()
        os.kill(server, signal.SIGKILL)
        run.finish(expect=0)
        assert not any(alive(process) for process in workers)
    assert leftovers(tmp_path) == []


def test_what_a_kill_left_on_disk_the_next_resume_cleans(samples, tmp_path):
    with Running("run", samples, "--out", tmp_path, "--tile-rows", 8, "--checkpoint", 0.01) as run:
        run.wait_for("done")
        run.signal(signal.SIGKILL)
        run.finish()
    flight = tmp_path / ".batchgray" / "default"
    (flight / "0123456789abcdef.out").write_bytes(b"torn")
    (flight / "0123456789abcdef.tiles").write_bytes(b"of an image that is not in the list")
    (tmp_path / ".manifest.json.tmp").write_bytes(b"torn")
    batchgray("resume", tmp_path / "manifest.json", "--progress", "none")
    assert leftovers(tmp_path) == []
    assert sorted(path.name for path in tmp_path.glob("*manifest*")) == ["manifest.json", "manifest.json.lock"]


@pytest.fixture
def begun(tall, tmp_path):
    """An interrupted run with its manifest elsewhere: there are a sidecar and a partial JPEG."""
    recording = Recording(tmp_path / "record", Rule("tile", r"tall\.jpg", after=30))
    arguments = ("run", tall, "--out", tmp_path / "out", "--manifest", tmp_path / "jobs" / "m.json", *SMALL_TILES)
    with Running(*arguments, env=recording.environment) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    assert (tmp_path / "out" / "tall.partial.jpg").exists()
    return tmp_path / "jobs" / "m.json"


@pytest.mark.parametrize("length", [0, 100, -1])
def test_what_a_ruined_manifest_had_in_flight_goes_when_it_is_overwritten(begun, tall, tmp_path, length):
    os.truncate(begun, length % begun.stat().st_size)
    other = tmp_path / "out" / ".batchgray" / "other"  # of another manifest, and none of ours
    other.mkdir()
    (other / "run.manifest").write_text("/jobs/other.json")
    batchgray("run", tall, "--out", tmp_path / "out", "--manifest", begun, "--overwrite", *SMALL_TILES)
    assert (other / "run.manifest").exists()
    shutil.rmtree(other)
    assert os.listdir(tmp_path / "out" / ".batchgray") == []
    assert list((tmp_path / "out").glob("*.partial.jpg")) == []


def test_what_an_overwritten_manifest_had_in_flight_elsewhere_goes_too(begun, tall, tmp_path):
    batchgray("run", tall, "--out", tmp_path / "new", "--manifest", begun, "--overwrite", *SMALL_TILES)
    assert leftovers(tmp_path / "out") == leftovers(tmp_path / "new") == []


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
