"""A real fork server and real workers: they start, they are signalled, and none outlives whoever it works for."""

import gc
import os
import signal
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager

import psutil
import pytest
from harness import DEADLINE, Running, save_gradient
from jobs import STAGES
from recording import Recording, Rule, wait_for_stopped_worker

from batchgray import errors
from batchgray.engine import runs
from batchgray.options import PixelOptions, RunOptions
from batchgray.planes import slots
from batchgray.workers.forkserver import ForkServer
from batchgray.workers.messages import Booted, Broken, Forked, Ready, Setup

SUPERVISOR = """
import sys
from batchgray.planes import slots
from batchgray.workers.forkserver import ForkServer
server = ForkServer()
channels = [server.fork(*(slots.make_memory() for _ in range(3))) for _ in range(2)]
booted, *forked = [server.channel.receive() for _ in range(3)]
print(*[message.pid for message in forked], flush=True)
sys.stdin.read()
"""


def next_message(channel):
    assert channel.waiting(DEADLINE), "nothing came"
    return channel.receive()


@contextmanager
def serving():
    server = ForkServer()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def booted():
    """A fork server that these tests share, booted."""
    with serving() as server:
        assert next_message(server.channel) == Booted()
        yield server


@pytest.fixture
def slot_fd():
    fd = slots.make_memory()
    yield fd
    os.close(fd)


def forked(server, slot_fd):
    """A new worker's channel and process."""
    channel = server.fork(slot_fd, slot_fd, slot_fd)  # it does nothing in folders
    message = next_message(server.channel)
    assert isinstance(message, Forked)
    return channel, psutil.Process(message.pid)


def check_exit(server, process, status):
    message = next_message(server.channel)
    assert (message.pid, message.status) == (process.pid, status)
    assert 10e6 < message.peak_bytes < 10e9  # a worker has numpy and LLVM in memory


def set_up(channel, folder):
    channel.send(
        Setup(worker=1, out=str(folder), flight=str(folder), pixels=PixelOptions(), max_pixels=10**6, checkpoint=5.0)
    )
    assert next_message(channel) == Ready()


def ended(process):
    """Whether it ends in time; a zombie that nobody reaps has ended."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        try:
            process.wait(0.05)
            return True
        except psutil.TimeoutExpired:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
    return False


def test_a_worker_is_forked_and_gets_ready(booted, slot_fd, tmp_path):
    channel, process = forked(booted, slot_fd)
    set_up(channel, tmp_path)
    assert process.parent() in psutil.Process().children()
    channel.close()
    check_exit(booted, process, 0)


def has_pillow(process):
    return any("_imaging." in found.path for found in process.memory_maps())


def test_what_is_preloaded_is_in_memory_once_for_all_workers_to_come(slot_fd, tmp_path):
    with serving() as server:
        assert next_message(server.channel) == Booted()
        early, early_process = forked(server, slot_fd)
        server.preload("codecs.pillow_probes")
        late, late_process = forked(server, slot_fd)
        set_up(early, tmp_path)
        set_up(late, tmp_path)
        assert [has_pillow(process) for process in (early_process, late_process)] == [False, True]
        early.close()
        late.close()


@pytest.mark.parametrize(
    ("suffix", "options", "expected"),
    [
        ("jpg", (), False),
        ("png", (), False),
        ("bmp", (), True),
        ("tiff", (), False),
        ("webp", (), False),
        ("jpg", ("--format", "png"), False),
        ("jpg", ("--metadata", "strip"), True),
    ],
)
def test_a_run_preloads_what_its_images_need(tmp_path, suffix, options, expected):
    (tmp_path / "in").mkdir()
    save_gradient(tmp_path / "in" / f"a.{suffix}", 64, 48)
    recording = Recording(tmp_path / "record", Rule("tile", r"^a\."))
    command = ("run", tmp_path / "in", "--out", tmp_path / "out", "--workers", 1, "--tile-rows", 8, *options)
    with Running(*command, env=recording.environment) as run:
        worker = wait_for_stopped_worker(run)
        found = [has_pillow(process) for process in (worker.parent(), worker)]
        worker.resume()
        run.finish(expect=0)
    assert found == [expected, expected]


def has_client_of_oss(process):
    return any("/Crypto/" in found.path for found in process.memory_maps())


@pytest.mark.parametrize(("kind", "expected"), [("folders", False), ("oss", True)])
def test_a_job_preloads_the_client_of_its_store(tmp_path, kind, expected):
    save_gradient(tmp_path / "in" / "a.jpg", 64, 48)
    recording = Recording(tmp_path / "record", Rule("tile", r"^a\."))
    with STAGES[kind](tmp_path / "in", tmp_path) as stage, Running(*stage.run(), env=stage.env(recording)) as run:
        worker = wait_for_stopped_worker(run)
        found = [has_client_of_oss(process) for process in (worker.parent(), worker)]
        worker.resume()
        run.finish(expect=0)
    assert found == [expected, expected]


def test_a_worker_whose_pipe_closes_before_its_first_message_exits(booted, slot_fd):
    channel, process = forked(booted, slot_fd)
    channel.close()
    check_exit(booted, process, 0)


def test_a_killed_worker_is_reported_with_its_signal_and_the_next_one_starts(booted, slot_fd, tmp_path):
    channel, process = forked(booted, slot_fd)
    set_up(channel, tmp_path)
    booted.signal(process.pid, signal.SIGKILL)
    check_exit(booted, process, -9)
    with pytest.raises(EOFError):
        next_message(channel)
    channel.close()
    channel, process = forked(booted, slot_fd)
    set_up(channel, tmp_path)
    channel.close()
    check_exit(booted, process, 0)


def test_a_terminated_worker_with_nothing_in_hand_exits_well(booted, slot_fd, tmp_path):
    channel, process = forked(booted, slot_fd)
    set_up(channel, tmp_path)
    booted.signal(process.pid, signal.SIGTERM)
    check_exit(booted, process, 0)
    channel.close()


def test_workers_have_their_own_pipes(booted, slot_fd, tmp_path):
    first, first_process = forked(booted, slot_fd)
    second, second_process = forked(booted, slot_fd)
    set_up(second, tmp_path)
    first.close()
    check_exit(booted, first_process, 0)
    assert second_process.is_running()
    second.close()
    check_exit(booted, second_process, 0)


def test_only_its_own_workers_are_signalled(booted, slot_fd):
    booted.signal(os.getpid(), signal.SIGKILL)
    channel, process = forked(booted, slot_fd)
    channel.close()
    check_exit(booted, process, 0)


def test_signals_to_the_whole_group_leave_the_fork_server_and_an_interrupt_leaves_workers(booted, slot_fd, tmp_path):
    channel, process = forked(booted, slot_fd)
    set_up(channel, tmp_path)
    process.send_signal(signal.SIGINT)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.parent().send_signal(signum)
    other, other_process = forked(booted, slot_fd)
    other.close()
    check_exit(booted, other_process, 0)
    assert process.is_running()
    channel.close()
    check_exit(booted, process, 0)


def test_stopping_ends_the_fork_server_and_every_worker(slot_fd, tmp_path):
    with serving() as server:
        assert next_message(server.channel) == Booted()
        channel, process = forked(server, slot_fd)
        set_up(channel, tmp_path)
        parent = process.parent()
        server.stop()
        assert parent not in psutil.Process().children(recursive=True)
        assert not parent.is_running()
        assert ended(process)
        server.stop()
        channel.close()


def test_when_the_fork_server_is_killed_its_workers_die_with_it(slot_fd, tmp_path):
    with serving() as server:
        assert next_message(server.channel) == Booted()
        channel, process = forked(server, slot_fd)
        set_up(channel, tmp_path)
        process.parent().kill()
        with pytest.raises(EOFError):
            next_message(server.channel)
        assert ended(process)
        channel.close()


def test_nobody_outlives_a_killed_supervisor():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", SUPERVISOR], **pipes) as supervisor:
        workers = [psutil.Process(int(pid)) for pid in supervisor.stdout.readline().split()]
        left = [*workers, *psutil.Process(supervisor.pid).children()]
        assert len(left) == 3
        supervisor.kill()
    assert all(map(ended, left))


def test_a_dead_fork_server_is_told_by_an_os_error_and_signals_to_it_go_nowhere(slot_fd):
    with serving() as server, warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        process = psutil.Process(server._process.pid)
        process.kill()
        process.wait(DEADLINE)
        server.signal(1, signal.SIGTERM)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            server.fork(slot_fd, slot_fd, slot_fd)  # it does nothing in folders
        gc.collect()


def test_a_fork_that_fails_leaves_no_socket_open(slot_fd):
    with serving() as server, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        server.kill()
        try:
            server.fork(slot_fd, slot_fd, slot_fd)  # it does nothing in folders
        except OSError:
            pass
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


def test_a_fork_server_that_cannot_import_says_why(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise RuntimeError('no numpy today')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with serving() as server:
        assert next_message(server.channel) == Broken(reason="RuntimeError: no numpy today")


def test_a_run_whose_fork_server_is_dead_before_the_plan_is_made_says_why(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise RuntimeError('no numpy today')\n")
    (tmp_path / "a.png").write_bytes(b"")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    plan_run, others = runs.plan_run, psutil.Process().children()

    def plan_late(*given):
        (server,) = [child for child in psutil.Process().children() if child not in others]
        assert ended(server)
        return plan_run(*given)

    monkeypatch.setattr(runs, "plan_run", plan_late)
    asked = RunOptions(inputs=(tmp_path / "a.png",), out=tmp_path / "out")
    told = "it ended well"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            runs.run(asked, lambda event: None)
        except (OSError, errors.BatchgrayError) as error:
            told = f"{type(error).__name__}: {error}"
        gc.collect()
    assert told.startswith("WorkersCannotWork: ")
    assert "no numpy today" in told


def test_modules_in_the_working_folder_are_not_imported(tmp_path, monkeypatch):
    for name in ("numpy", "numba", "signal"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')\n")
    monkeypatch.chdir(tmp_path)
    with serving() as server:
        assert next_message(server.channel) == Booted()
