"""No orphan process, no shared-memory segment, no stray file, after any exit, kill -9 included.

If this broke, a machine would fill up with what earlier runs forgot.
"""

import os
import shutil
import signal

import pytest
from harness import Running, batchgray, is_alive, leftovers, shared_memory_unchanged, tree, wait_until
from recording import AT_THE_FIRST_CHUNK, Recording, Rule, interrupt, wait_for_stopped, wait_for_stopped_worker

SMALL_TILES = ("--tile-rows", 8, "--workers", 1)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_every_process_ends_with_the_supervisor(samples, tmp_path, signum):
    recording = Recording(tmp_path / "record", AT_THE_FIRST_CHUNK)
    arguments = ("run", samples, "--out", tmp_path / "out")
    with shared_memory_unchanged(), Running(*arguments, env=recording.environment) as run:
        supervisor = wait_for_stopped(run)
        family = run.descendants()
        assert len(family) >= 2
        run.signal(signum)
        supervisor.resume()
        run.finish(expect=-9 if signum == signal.SIGKILL else 75)
        wait_until(lambda: not any(map(is_alive, family)))


def test_a_worker_in_a_long_call_ends_with_a_killed_supervisor(samples, tmp_path):
    """A stopped process can't notice anything by itself, as one in a codec that hangs can't."""
    recording = Recording(tmp_path / "record", Rule("decode", r"large\.jpg"))
    arguments = ("run", samples, "--out", tmp_path / "out", "--workers", 1)
    with Running(*arguments, env=recording.environment) as run:
        wait_for_stopped_worker(run)
        family = run.descendants()
        run.signal(signal.SIGKILL)
        run.finish(expect=-9)
        wait_until(lambda: not any(map(is_alive, family)))


def test_a_killed_fork_server_takes_its_workers_along_and_the_run_goes_on(samples, converted, tmp_path):
    out, recording = tmp_path / "out", Recording(tmp_path / "record", AT_THE_FIRST_CHUNK)
    with Running("run", samples, "--out", out, "--tile-rows", 8, env=recording.environment) as run:
        supervisor = wait_for_stopped(run)
        server = run.descendants()[0].pid
        workers = run.workers()
        os.kill(server, signal.SIGKILL)
        supervisor.resume()
        run.finish(expect=0)
        assert not any(map(is_alive, workers))
    assert tree(out) == tree(converted)
    assert leftovers(out) == []


def test_what_a_kill_left_on_disk_the_next_resume_cleans(samples, tmp_path):
    out, recording = tmp_path / "out", Recording(tmp_path / "record", AT_THE_FIRST_CHUNK)
    arguments = ("run", samples, "--out", out, "--tile-rows", 8, "--checkpoint", 0.01)
    with Running(*arguments, env=recording.environment) as run:
        wait_for_stopped(run)
        run.kill()
    flight = out / ".batchgray" / "default"
    (flight / "0123456789abcdef.out").write_bytes(b"torn")
    (flight / "0123456789abcdef.tiles").write_bytes(b"of an image that is not in the list")
    (out / ".manifest.json.tmp").write_bytes((out / "manifest.json").read_bytes()[:99])
    batchgray("resume", out / "manifest.json", "--progress", "none")
    assert leftovers(out) == []
    assert sorted(path.name for path in out.glob("*manifest*")) == ["manifest.json", "manifest.json.lock"]


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
