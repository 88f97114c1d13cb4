"""The two locks that make one owner: of a manifest, and of the folder of what is in flight.

A lock goes by what it protects. The manifest's lies beside it, by its real path, so that a link to it has the same.
That of the folder of what is in flight lies there, so that a copy of the manifest has the same too; every worker holds
it as well, so that no other run comes in before the last one is gone.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from batchgray import errors
from batchgray.manifest.files import files_of
from batchgray.manifest.records import utc_now
from batchgray.storage import locking
from batchgray.storage.durable import Folder
from batchgray.storage.locking import FolderLock, Lock, Pause
from batchgray.storage.run_folder import LOCK_NAME


@contextlib.contextmanager
def owning(path: Path, locked: bool = True, pause: Pause = lambda: None) -> Iterator[None]:
    """Be the one owner of the manifest; with `locked` False also where its file system refuses locks.

    `pause` is called now and then while an owner is waited for that may be ending, and may raise.

    Raises ManifestLocked, naming the owner, UnwritableOutput or UnlockableManifest.
    """
    files = files_of(path)
    there = files.lock
    try:
        folder = Folder.at(there.parent)
    except OSError as error:
        raise errors.UnwritableOutput(there.parent, error.strerror) from None
    with folder:
        lock = FolderLock(folder, there.name)
        held = _acquire(lock, path, there, locked, pause)
        try:
            yield
        finally:
            if held and folder.stat(files.document.name) is None:  # ended before there was one
                with contextlib.suppress(OSError):
                    lock.discard()
            lock.release()


@contextlib.contextmanager
def owning_flight(flight: Folder, path: Path, locked: bool = True, pause: Pause = lambda: None) -> Iterator[Lock]:
    """Be the one owner of the folder of what is in flight, on behalf of the manifest at `path`.

    Raises as `owning` does.
    """
    lock = FolderLock(flight, LOCK_NAME)
    try:
        _acquire(lock, path, flight.path / LOCK_NAME, locked, pause)
    except errors.UnlockableManifest:
        lock.remove_unused()
        raise
    try:
        yield lock
    finally:
        lock.release()


def refuse_owned(path: Path, flight: Path, locked: bool = True) -> None:
    """What `owning` would refuse for the two locks, of which none is taken or made.

    Raises ManifestLocked, naming the owner, or UnlockableManifest.
    """
    for there in (files_of(path).lock, flight / LOCK_NAME):
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            Folder.at(there.parent) as folder,
            _refusing(path, there, locked),
        ):
            FolderLock(folder, there.name).check()


def is_running(path: Path, flight: Path | None = None) -> bool:
    """Whether some process owns the manifest; or the folder of what is in flight, by a copy of the manifest."""
    return _is_owned(files_of(path).lock) or (flight is not None and _is_owned(flight / LOCK_NAME))


def _is_owned(lock: Path) -> bool:
    with contextlib.suppress(OSError), Folder.at(lock.parent) as folder:
        return FolderLock(folder, lock.name).owner() is not None
    return False


def _acquire(lock: Lock, path: Path, there: Path, locked: bool, pause: Pause) -> bool:
    """Whether the lock is held now, for the manifest at `path`; it has to be where `locked`.

    `there` is where it lies, to be told.
    """
    with _refusing(path, there, locked):
        lock.acquire(locking.this_process(utc_now()), pause)
        return True
    return False


@contextlib.contextmanager
def _refusing(path: Path, there: Path, locked: bool) -> Iterator[None]:
    """Where locks are refused, and `locked` is False, what is in it is left out."""
    try:
        yield
    except locking.AlreadyHeld as error:
        raise errors.ManifestLocked(path, error.owner or "another process") from None
    except locking.CannotLock as error:
        if locked:
            raise errors.UnlockableManifest(there, error.reason) from None
    except OSError as error:
        raise errors.UnwritableOutput(there.parent, error.strerror) from None
