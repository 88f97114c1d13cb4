"""Who owns a manifest and what is in flight: one process at a time, by whatever name, until its last worker is gone."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from batchgray import errors, locks

HOLD_LOCK = """
import sys
from pathlib import Path
from batchgray import locks
with locks.owning(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def failing_with(code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.fixture
def path(tmp_path):
    return tmp_path / "manifest.json"


def test_a_second_owner_is_refused_and_told_who_the_first_is(path):
    refused = pytest.raises(errors.ManifestLocked, match=f"process {os.getpid()} on ")
    with locks.owning(path), refused, locks.owning(path):
        pass
    with locks.owning(path):
        pass


def test_another_process_owns_the_manifest_until_it_dies(path):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout.readline() == "held\n"
        assert locks.is_running(path)
        with pytest.raises(errors.ManifestLocked, match=f"process {child.pid} on "), locks.owning(path):
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert not locks.is_running(path)
        with locks.owning(path):
            assert f"process {os.getpid()} on " in locks.lock_path(path).read_text()


def test_a_shorter_owner_leaves_nothing_of_a_longer_one(path):
    locks.lock_path(path).write_text("process 99999999 on a host with a very long name indeed" * 5)
    with locks.owning(path):
        assert locks.lock_path(path).read_text().count("process") == 1


def test_asking_whether_it_runs_touches_nothing(path):
    assert not locks.is_running(path)
    assert os.listdir(path.parent) == []
    with locks.owning(path):
        assert locks.is_running(path)
    assert not locks.is_running(path)


def test_asking_leaves_no_descriptor_open(path):
    with locks.owning(path):
        free = lowest_free_descriptor()
        assert locks.is_running(path)
        assert lowest_free_descriptor() == free
    assert not locks.is_running(path)
    assert lowest_free_descriptor() <= free


def lowest_free_descriptor():
    descriptor = os.dup(0)
    os.close(descriptor)
    return descriptor


def test_two_that_ask_at_once_do_not_take_each_other_for_the_owner(path, monkeypatch):
    path.touch()
    with locks.owning(path):
        pass
    close, answers = os.close, []

    def close_late(fd):
        with monkeypatch.context() as patch:
            patch.setattr(os, "close", close)
            answers.append(locks.is_running(path))
        close(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close_late)
        answers.append(locks.is_running(path))
    assert answers == [False, False]


def test_who_was_refused_before_there_was_a_manifest_leaves_no_lock_behind(path):
    with locks.owning(path):
        assert locks.lock_path(path).exists()
    assert not locks.lock_path(path).exists()


def test_a_lock_that_its_last_owner_took_away_is_none(path, monkeypatch):
    """Somebody opened the file before it was taken away, and locked it after."""
    flock = fcntl.flock

    def too_late(fd, kind):
        monkeypatch.setattr(fcntl, "flock", flock)
        locks.lock_path(path).unlink()
        flock(fd, kind)

    monkeypatch.setattr(fcntl, "flock", too_late)
    with locks.owning(path), pytest.raises(errors.ManifestLocked), locks.owning(path):
        pass


def test_a_file_system_without_locks_is_refused(path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", failing_with(errno.ENOLCK))
    with pytest.raises(errors.UnlockableManifest, match=r"manifest\.json\.lock"), locks.owning(path):
        pass
    assert not locks.is_running(path)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_who_asks_to_goes_on_where_locks_are_refused(path, monkeypatch, code):
    monkeypatch.setattr(fcntl, "flock", failing_with(code))
    with locks.owning(path, locked=False), locks.owning(path, locked=False):
        assert not locks.is_running(path)
    with pytest.raises(ZeroDivisionError), locks.owning(path, locked=False):
        raise ZeroDivisionError


def test_who_would_go_on_without_a_lock_takes_the_one_that_is_to_be_had(path):
    with locks.owning(path, locked=False):
        assert locks.is_running(path)
        with pytest.raises(errors.ManifestLocked), locks.owning(path, locked=False):
            pass
