"""A lock in a folder: one owner at a time, until its last process is gone; planted files and copies are no locks."""

import contextlib
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys

import pytest

from batchgray.storage import locking
from batchgray.storage.durable import Folder
from batchgray.storage.locking import AlreadyHeld, CannotLock, FolderLock, lives_here, process_on

SINCE = "2026-11-22T18:00:00Z"
ME = locking.this_process(SINCE)
HOLD_WITH_A_CHILD = """
import subprocess
import sys
from pathlib import Path
from batchgray.storage import locking
from batchgray.storage.durable import Folder
with Folder.at(Path(sys.argv[1])) as folder:
    lock = locking.FolderLock(folder, "a.lock")
    lock.acquire(locking.this_process("2026-11-22T18:00:00Z"))
    worker = subprocess.Popen(["sleep", "1000"], pass_fds=lock.for_children, stdout=subprocess.DEVNULL)
    print(worker.pid)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "there").mkdir()
    with Folder.at(tmp_path / "there") as folder:
        yield folder


@pytest.fixture
def path(folder):
    return folder.path / "a.lock"


@pytest.fixture
def lock(folder, path):
    return FolderLock(folder, path.name)


@pytest.fixture
def another(folder, path):
    return FolderLock(folder, path.name)


@contextlib.contextmanager
def held(lock, pause=lambda: None):
    lock.acquire(ME, pause)
    try:
        yield
    finally:
        lock.release()


def test_one_at_a_time_holds_it_and_is_named(lock, another, path):
    assert another.owner() is None
    assert not path.exists(), "asking touches nothing"
    with held(lock):
        assert another.owner() == ME
        with pytest.raises(AlreadyHeld) as refused:
            another.acquire("process 1 on elsewhere")
        assert refused.value.owner == ME
    assert another.owner() is None
    with held(another):
        pass
    assert path.read_text() == f"{ME}\n"


def test_what_children_hold_is_there_as_long_as_the_lock_is_held(lock):
    assert lock.for_children == []
    with held(lock):
        (handle,) = lock.for_children
        os.fstat(handle)
    assert lock.for_children == []
    lock.release()


def test_a_lock_that_is_discarded_leaves_nothing(lock, another, folder):
    for each in (lock, another):  # held, and not
        lock.acquire(ME)
        each.discard()
        lock.release()
        assert folder.names() == []


def test_a_shorter_owner_leaves_nothing_of_a_longer_one(lock, path):
    path.write_text(f"process 99999999 on {'a long name ' * 9}, since {SINCE}\n")
    with held(lock):
        assert path.read_text() == f"{ME}\n"


def test_asking_leaves_no_descriptor_open(lock, another):
    with held(lock):
        free = lowest_free_descriptor()
        assert another.owner()
        assert lowest_free_descriptor() == free
    assert another.owner() is None
    assert lowest_free_descriptor() <= free


def lowest_free_descriptor():
    descriptor = os.dup(0)
    os.close(descriptor)
    return descriptor


def test_two_that_ask_at_once_do_not_take_each_other_for_the_owner(lock, another, monkeypatch):
    with held(lock):
        pass
    close, answers = os.close, []

    def close_late(fd):
        with monkeypatch.context() as patch:
            patch.setattr(os, "close", close)
            answers.append(another.owner())
        close(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close_late)
        answers.append(lock.owner())
    assert answers == [None, None]


def test_a_lock_that_its_last_owner_took_away_is_none(lock, another, path, monkeypatch):
    """Another process opened the file before it was removed, and locked it after."""
    flock = fcntl.flock

    def too_late(fd, kind):
        monkeypatch.setattr(fcntl, "flock", flock)
        path.unlink()
        flock(fd, kind)

    monkeypatch.setattr(fcntl, "flock", too_late)
    with held(lock), pytest.raises(AlreadyHeld), held(another):
        pass


def test_a_lock_that_another_one_took_the_place_of_is_none(lock, path, monkeypatch):
    """It came between the opening and the lock; there would be two owners."""
    flock = fcntl.flock
    path.touch()
    others = []

    def once(fd, kind):
        if not others:
            path.rename(path.with_suffix(".old"))
            others.append(os.open(path, os.O_RDWR | os.O_CREAT))
            flock(others[0], fcntl.LOCK_EX)
        flock(fd, kind)

    monkeypatch.setattr(fcntl, "flock", once)
    with pytest.raises(AlreadyHeld), held(lock):
        pass
    os.close(others[0])


def test_a_child_that_is_still_there_keeps_others_out(lock, path, monkeypatch):
    """The owner is gone; the process that comes next waits for its child, and is refused only after a while."""
    waited = []
    owner = subprocess.run(
        [sys.executable, "-c", HOLD_WITH_A_CHILD, path.parent], stdout=subprocess.PIPE, text=True, check=True
    )
    worker = int(owner.stdout)

    def sleep(_):
        waited.append(True)
        if len(waited) > 30:  # longer than an owner that is alive is waited for
            os.kill(worker, signal.SIGKILL)

    monkeypatch.setattr(locking.time, "monotonic", lambda: len(waited) * locking._ASKING_SECONDS / 10)
    monkeypatch.setattr(locking.time, "sleep", sleep)
    monkeypatch.setattr(locking, "_ENDING_SECONDS", 10**9)
    with held(lock):
        pass
    monkeypatch.undo()
    assert waited


def test_a_pause_while_an_owner_is_waited_for_may_raise(lock, another, monkeypatch):
    class Interrupted(Exception):
        pass

    def pause():
        raise Interrupted

    monkeypatch.setattr(locking, "_has_ended", lambda owner: True)
    with held(lock), pytest.raises(Interrupted), held(another, pause):
        pass


@pytest.mark.parametrize("text", ["", "process", "process 1 on elsewhere, since", "process x on y, since", "rubbish"])
def test_an_owner_is_only_thought_dead_where_that_can_be_told(text):
    assert not locking._has_ended(text)


def test_an_owner_on_this_machine_is_looked_for():
    with subprocess.Popen(["true"]) as process:
        pass
    here = f" on {socket.gethostname()}, since {SINCE}"
    assert locking._has_ended(f"process {process.pid}{here}")
    assert not locking._has_ended(ME)
    assert not locking._has_ended(f"process {10**30}{here}")


@pytest.mark.parametrize("put", [os.symlink, os.link])
def test_a_lock_under_a_planted_name_is_refused_and_its_target_stays(lock, path, tmp_path, put):
    target = tmp_path / "precious"
    target.write_bytes(b"")  # as a lock that a power cut left
    put(target, path)
    with pytest.raises(CannotLock):
        lock.acquire(ME)
    assert target.read_bytes() == b""
    assert lock.for_children == []


def test_a_lock_in_a_copy_by_hard_links_is_another_places(lock, folder, path, tmp_path):
    """As `cp -al` makes them. What is locked here is not locked there, and nothing is written there."""
    with held(lock):
        pass
    copy = FolderLock(folder, "copy.lock")
    os.link(path, folder.path / "copy.lock")
    assert copy.owner() is None
    with held(lock), held(copy):
        assert FolderLock(folder, path.name).owner() == ME
    assert path.stat().st_nlink == 1
    os.link(path, tmp_path / "backup")
    before = (tmp_path / "backup").read_bytes()
    lock.acquire(locking.this_process("2026-11-23T06:00:00Z"))
    lock.release()
    assert (tmp_path / "backup").read_bytes() == before


def test_where_locks_are_refused_nothing_is_held_and_nothing_need_be_left(lock, folder, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(CannotLock) as refused:
        lock.acquire(ME)
    assert refused.value.reason == os.strerror(errno.ENOLCK)
    assert lock.for_children == []
    assert lock.owner() is None
    lock.remove_unused()
    assert folder.names() == []


def test_a_process_of_this_machine_is_there_or_not_and_one_of_another_is_not_known():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        text = f"{process_on(child.pid, socket.gethostname())}, since 2026-11-26T20:00:00Z"
        assert lives_here(text) is True
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert lives_here(text) is False, "it is dead, though nobody has been told"
    assert lives_here(text) is False
    assert lives_here(text.replace(socket.gethostname(), "elsewhere")) is None
    assert lives_here("machine 1") is None
