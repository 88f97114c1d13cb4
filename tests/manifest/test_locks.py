"""Who owns a manifest and what is in flight: one process at a time, by whatever name, until its last worker is gone."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys

import pytest

from batchgray import errors
from batchgray.manifest import locks
from batchgray.storage.durable import Folder

HOLD_LOCK = """
import sys
from pathlib import Path
from batchgray.manifest import locks
with locks.owning(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
HOLD_FLIGHT = """
import os
import signal
import subprocess
import sys
from pathlib import Path
from batchgray.manifest import locks
from batchgray.storage.durable import Folder
path = Path(sys.argv[1])
with Folder.at(path / "flight") as flight, locks.owning_flight(flight, path / "manifest.json") as held:
    worker = subprocess.Popen(["sleep", "1000"], pass_fds=held.descriptors, stdout=subprocess.DEVNULL)
    print(worker.pid)
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
    locks.lock_path(path).write_text(f"process 99999999 on {'a long name ' * 9}, since 2026-11-22T18:00:00Z\n")
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
    assert len(answers) > 1
    assert not any(answers)


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


# what is in flight


@pytest.fixture
def flight(tmp_path):
    (tmp_path / "flight").mkdir()
    with Folder.at(tmp_path / "flight") as flight:
        yield flight


def test_a_copy_of_the_manifest_meets_the_first_owner_in_the_folder_of_what_is_in_flight(flight, path):
    refused = pytest.raises(errors.ManifestLocked, match=f"copy.json is in use by process {os.getpid()} on ")
    with locks.owning_flight(flight, path), refused, locks.owning_flight(flight, path.with_name("copy.json")):
        pass
    with locks.owning_flight(flight, path):
        pass


def test_a_worker_that_is_still_there_keeps_others_out(flight, path, monkeypatch):
    """Its supervisor is gone; the run that comes next waits for the worker, and is refused only after a while."""
    waited = []
    owner = subprocess.run(
        [sys.executable, "-c", HOLD_FLIGHT, path.parent], stdout=subprocess.PIPE, text=True, check=True
    )
    worker = int(owner.stdout)

    def sleep(_):
        waited.append(True)
        if len(waited) > 30:  # more than those wait who meet an owner
            os.kill(worker, signal.SIGKILL)

    monkeypatch.setattr(locks.time, "monotonic", lambda: len(waited) * locks._LOOKING_SECONDS / 10)
    monkeypatch.setattr(locks.time, "sleep", sleep)
    monkeypatch.setattr(locks, "_ENDING_SECONDS", 10**9)
    with locks.owning_flight(flight, path):
        pass
    monkeypatch.undo()
    assert waited


def test_who_waits_for_a_worker_hears_an_interruption(flight, path, monkeypatch):
    class Interrupted(Exception):
        pass

    def pause():
        raise Interrupted

    monkeypatch.setattr(locks, "_has_ended", lambda owner: True)
    with locks.owning_flight(flight, path), pytest.raises(Interrupted), locks.owning_flight(flight, path, pause=pause):
        pass


@pytest.mark.parametrize("text", ["", "process", "process 1 on elsewhere, since", "process x on y, since", "rubbish"])
def test_an_owner_is_only_thought_dead_where_that_can_be_told(text):
    assert not locks._has_ended(text)


def test_an_owner_on_this_machine_is_looked_for():
    with subprocess.Popen(["true"]) as process:
        pass
    here = f" on {socket.gethostname()}, since 2026-11-22T18:00:00Z"
    assert locks._has_ended(f"process {process.pid}{here}")
    assert not locks._has_ended(f"process {os.getpid()}{here}")
    assert not locks._has_ended(f"process {10**30}{here}")


@pytest.mark.parametrize("put", [os.symlink, os.link])
def test_a_lock_under_a_planted_name_is_refused_and_its_target_stays(flight, path, tmp_path, put):
    target = tmp_path / "precious"
    target.write_bytes(b"")  # as a lock that a power cut left
    for lock, owning in [
        (locks.lock_path(path), lambda: locks.owning(path)),
        (flight.path / locks.FLIGHT_LOCK, lambda: locks.owning_flight(flight, path)),
    ]:
        put(target, lock)
        with pytest.raises(errors.UnlockableManifest), owning():
            pass
        assert target.read_bytes() == b""
        lock.unlink(missing_ok=True)


def test_a_lock_in_a_copy_by_hard_links_is_another_places(path, tmp_path):
    """As `cp -al` makes them. What is locked here is not locked there, and nothing is written there."""
    with locks.owning(path):
        path.touch()
    lock, copy = locks.lock_path(path), tmp_path / "copy.lock"
    os.link(lock, copy)
    assert not locks.is_running(path)
    with locks.owning(path), locks.owning(tmp_path / "copy"):
        assert locks.is_running(path)
    assert lock.stat().st_nlink == 1
    os.link(lock, tmp_path / "backup")
    before = (tmp_path / "backup").read_bytes()
    with locks.owning(path):
        assert (tmp_path / "backup").read_bytes() == before


def test_a_lock_that_another_one_took_the_place_of_is_none(path, monkeypatch):
    """It came between the opening and the lock; two would own the manifest."""
    lock, flock = locks.lock_path(path), fcntl.flock
    lock.touch()
    others = []

    def once(fd, kind):
        if not others:
            lock.rename(lock.with_suffix(".old"))
            others.append(os.open(lock, os.O_RDWR | os.O_CREAT))
            flock(others[0], fcntl.LOCK_EX)
        flock(fd, kind)

    monkeypatch.setattr(fcntl, "flock", once)
    with pytest.raises(errors.ManifestLocked), locks.owning(path):
        pass
    os.close(others[0])


def test_where_locks_are_refused_nothing_is_held_and_nothing_left(flight, path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", failing_with(errno.ENOLCK))
    with pytest.raises(errors.UnlockableManifest), locks.owning_flight(flight, path):
        pass
    assert flight.names() == []
    with locks.owning_flight(flight, path, locked=False) as held:
        assert held.descriptors == []


def test_a_link_to_the_manifest_has_its_lock(path, tmp_path):
    path.touch()
    (tmp_path / "other").mkdir()
    link = tmp_path / "other" / "link"
    link.symlink_to(path)
    with locks.owning(path):
        assert locks.is_running(link)
        with pytest.raises(errors.ManifestLocked), locks.owning(link):
            pass
    assert os.listdir(link.parent) == ["link"]


def test_a_lock_is_taken_away_where_it_was_made(path, tmp_path):
    """Its folder may have been swapped for a link meanwhile, to a folder with a file of that name."""
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (elsewhere / "manifest.json.lock").write_text("precious")
    with locks.owning(folder / "manifest.json"):
        folder.rename(tmp_path / "kept")
        folder.symlink_to(elsewhere)
    assert os.listdir(elsewhere) == ["manifest.json.lock"]
    assert os.listdir(tmp_path / "kept") == []
