"""A manifest and what is in flight have one owner at a time, by whatever name, until its last worker is gone."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from batchgray import errors
from batchgray.manifest import lock
from batchgray.manifest.files import files_of
from batchgray.storage import locking
from batchgray.storage.durable import Folder
from batchgray.storage.run_folder import LOCK_NAME

HOLD_LOCK = """
import sys
from pathlib import Path
from batchgray.manifest import lock
with lock.owning(Path(sys.argv[1])):
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


def test_a_second_owner_is_refused_and_told_which_the_first_is(path):
    refused = pytest.raises(errors.ManifestLocked, match=f"process {os.getpid()} on ")
    with lock.owning(path), refused, lock.owning(path):
        pass
    with lock.owning(path):
        pass


def test_another_process_owns_the_manifest_until_it_dies(path):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout.readline() == "held\n"
        assert lock.is_running(path)
        with pytest.raises(errors.ManifestLocked, match=f"process {child.pid} on "), lock.owning(path):
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert not lock.is_running(path)
        with lock.owning(path):
            assert f"process {os.getpid()} on " in files_of(path).lock.read_text()


def test_asking_whether_it_runs_touches_nothing(path):
    assert not lock.is_running(path)
    assert os.listdir(path.parent) == []
    with lock.owning(path):
        assert lock.is_running(path)
    assert not lock.is_running(path)


def test_a_run_that_was_refused_before_there_was_a_manifest_leaves_no_lock_behind(path):
    with lock.owning(path):
        assert files_of(path).lock.exists()
    assert not files_of(path).lock.exists()


def test_a_file_system_without_locks_is_refused(path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", failing_with(errno.ENOLCK))
    with pytest.raises(errors.UnlockableManifest, match=r"manifest\.json\.lock"), lock.owning(path):
        pass
    assert not lock.is_running(path)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_run_that_asks_to_goes_on_where_locks_are_refused(path, monkeypatch, code):
    monkeypatch.setattr(fcntl, "flock", failing_with(code))
    with lock.owning(path, locked=False), lock.owning(path, locked=False):
        assert not lock.is_running(path)
    with pytest.raises(ZeroDivisionError), lock.owning(path, locked=False):
        raise ZeroDivisionError


def test_a_run_that_would_go_on_without_a_lock_takes_the_one_that_is_to_be_had(path):
    with lock.owning(path, locked=False):
        assert lock.is_running(path)
        with pytest.raises(errors.ManifestLocked), lock.owning(path, locked=False):
            pass


# what is in flight


@pytest.fixture
def flight(tmp_path):
    (tmp_path / "flight").mkdir()
    with Folder.at(tmp_path / "flight") as flight:
        yield flight


def test_a_copy_of_the_manifest_meets_the_first_owner_in_the_folder_of_what_is_in_flight(flight, path):
    refused = pytest.raises(errors.ManifestLocked, match=f"copy.json is in use by process {os.getpid()} on ")
    with lock.owning_flight(flight, path), refused, lock.owning_flight(flight, path.with_name("copy.json")):
        pass
    with lock.owning_flight(flight, path):
        pass


def test_a_run_that_waits_for_a_worker_hears_an_interruption(flight, path, monkeypatch):
    class Interrupted(Exception):
        pass

    def pause():
        raise Interrupted

    monkeypatch.setattr(locking, "_has_ended", lambda owner: True)
    with lock.owning_flight(flight, path), pytest.raises(Interrupted), lock.owning_flight(flight, path, pause=pause):
        pass


@pytest.mark.parametrize("put", [os.symlink, os.link])
def test_a_lock_under_a_planted_name_is_refused_and_its_target_stays(flight, path, tmp_path, put):
    target = tmp_path / "precious"
    target.write_bytes(b"")  # as a lock that a power cut left
    for file, owning in [
        (files_of(path).lock, lambda: lock.owning(path)),
        (flight.path / LOCK_NAME, lambda: lock.owning_flight(flight, path)),
    ]:
        put(target, file)
        with pytest.raises(errors.UnlockableManifest), owning():
            pass
        assert target.read_bytes() == b""
        file.unlink(missing_ok=True)


def test_where_locks_are_refused_nothing_is_held_and_nothing_left(flight, path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", failing_with(errno.ENOLCK))
    with pytest.raises(errors.UnlockableManifest), lock.owning_flight(flight, path):
        pass
    assert flight.names() == []
    with lock.owning_flight(flight, path, locked=False) as held:
        assert held.for_children == []


def test_a_link_to_the_manifest_has_its_lock(path, tmp_path):
    path.touch()
    (tmp_path / "other").mkdir()
    link = tmp_path / "other" / "link"
    link.symlink_to(path)
    with lock.owning(path):
        assert lock.is_running(link)
        with pytest.raises(errors.ManifestLocked), lock.owning(link):
            pass
    assert os.listdir(link.parent) == ["link"]


def test_a_lock_is_taken_away_where_it_was_made(path, tmp_path):
    """Its folder may have been swapped for a link meanwhile, to a folder with a file of that name."""
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (elsewhere / "manifest.json.lock").write_text("precious")
    with lock.owning(folder / "manifest.json"):
        folder.rename(tmp_path / "kept")
        folder.symlink_to(elsewhere)
    assert os.listdir(elsewhere) == ["manifest.json.lock"]
    assert os.listdir(tmp_path / "kept") == []
