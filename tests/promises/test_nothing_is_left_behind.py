"""No orphan process, no shared-memory segment, no stray file, after any exit, kill -9 included.

If this broke, a machine would fill up with what earlier runs forgot.
"""

import os
import signal

import psutil
import pytest
from harness import Running, batchgray, leftovers, shared_memory_unchanged, wait_until


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_every_process_ends_with_the_supervisor(samples, tmp_path, signum):
    with shared_memory_unchanged(), Running("run", samples, "--out", tmp_path) as run:
        run.wait_for("done")
        family = run.descendants()
        assert len(family) >= 2
        run.signal(signum)
        run.finish(expect=-9 if signum == signal.SIGKILL else 75)
        wait_until(lambda: not any(alive(process) for process in family))


def test_a_worker_in_a_long_call_ends_with_a_killed_supervisor(samples, tmp_path):
    """A stopped process can't notice anything by itself, as one in a codec that hangs can't."""
    with Running("run", samples, "--out", tmp_path, "--workers", 1) as run:
        run.wait_for("started")
        wait_until(lambda: bool(run.workers()))
        family = run.descendants()
        run.workers()[0].suspend()
        run.signal(signal.SIGKILL)
        run.finish(expect=-9)
        wait_until(lambda: not any(alive(process) for process in family))


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


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
