"""The two locks that make one owner: of a manifest, and of the folder of what is in flight.

A lock goes by what it protects. The manifest's lies beside it, by its real path, so that a link to it has the same.
That of the folder of what is in flight lies there, so that a copy of the manifest has the same too; every worker holds
it as well, so that nobody else comes in before the last one is gone. Both are `flock` on a file: such a lock is the
open file's, and ends when the last process has closed it, however that ends.
"""

import contextlib
import errno
import fcntl
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from batchgray import errors
from batchgray.manifest.document import utc_now
from batchgray.storage.durable import Folder
from batchgray.storage.guards import open_descriptor

FLIGHT_LOCK = "run.lock"

Pause = Callable[[], None]

_SUFFIX = ".lock"
_LOOKING_SECONDS = 0.2
_ENDING_SECONDS = 20.0  # generous: a worker that was killed may be waiting for a slow disk
_OWNER = re.compile(r"process (\d+) on (.*), since [-0-9:TZ]+", re.DOTALL)  # the text of a lock file
_TORN_OWNER = re.compile(r"process( (\d+( (o|on( .*)?)?)?)?)?", re.DOTALL)
_OWNER_BYTES = 500
_NO_FILE = {errno.ELOOP, errno.EMLINK, errno.EINVAL, errno.EISDIR}


def lock_path(path: Path) -> Path:
    """Where the lock of the manifest at `path` lies."""
    real = Path(os.path.realpath(path))
    return real.with_name(real.name + _SUFFIX)


@contextlib.contextmanager
def owning(path: Path, locked: bool = True, pause: Pause = lambda: None) -> Iterator[None]:
    """Be the one owner of the manifest; with `locked` False also where its file system refuses locks.

    `pause` is called now and then while an owner is waited for that may be ending, and may raise.

    Raises ManifestLocked, naming the owner, UnwritableOutput or UnlockableManifest.
    """
    lock = lock_path(path)
    try:
        folder = Folder.at(lock.parent)
    except OSError as error:
        raise errors.UnwritableOutput(lock.parent, error.strerror) from None
    with folder:
        fd = _lock_patiently(path, folder, lock.name, locked, pause)
        try:
            yield
        finally:
            if fd is not None:
                if folder.stat(lock.name.removesuffix(_SUFFIX)) is None:  # refused, or interrupted, before it was made
                    with contextlib.suppress(OSError):
                        folder.remove(lock.name)
                os.close(fd)


class FlightLock:
    """The lock of what is in flight. `descriptors` is what holds it, for the workers to hold as well.

    There is none where the file system refuses locks.
    """

    def __init__(self, fd: int | None) -> None:
        self.descriptors = [] if fd is None else [fd]

    def release(self) -> None:
        """May be called again."""
        while self.descriptors:
            os.close(self.descriptors.pop())


@contextlib.contextmanager
def owning_flight(flight: Folder, path: Path, locked: bool = True, pause: Pause = lambda: None) -> Iterator[FlightLock]:
    """Be the one owner of the folder of what is in flight, on behalf of the manifest at `path`.

    Raises as `owning` does.
    """
    try:
        fd = _lock_patiently(path, flight, FLIGHT_LOCK, locked, pause)
    except errors.UnlockableManifest:
        found = flight.stat(FLIGHT_LOCK)
        if found is not None and found.st_size == 0:  # just made, in vain
            flight.remove(FLIGHT_LOCK)
        raise
    lock = FlightLock(fd)
    try:
        yield lock
    finally:
        lock.release()


def is_running(path: Path, flight: Path | None = None) -> bool:
    """Whether some process owns the manifest; or the folder of what is in flight, by a copy of the manifest."""
    return _is_owned(path, lock_path(path)) or (flight is not None and _is_owned(path, flight / FLIGHT_LOCK))


def refuse_owned(path: Path, flight: Path, locked: bool = True) -> None:
    """What `owning` would refuse for the two locks, of which none is taken or made.

    Raises ManifestLocked, naming the owner, or UnlockableManifest.
    """
    for lock in (lock_path(path), flight / FLIGHT_LOCK):
        try:
            with Folder.at(lock.parent) as folder:
                os.close(_lock(path, folder, lock.name, os.O_RDONLY, fcntl.LOCK_SH))
        except errors.ManifestLocked as error:
            if not _has_ended(error.args[1]):
                raise
        except errors.UnlockableManifest:
            if locked:
                raise
        except OSError:
            pass  # there is none yet


def _is_owned(path: Path, lock: Path) -> bool:
    try:
        with Folder.at(lock.parent) as folder:
            os.close(_lock(path, folder, lock.name, os.O_RDONLY, fcntl.LOCK_SH))
    except errors.ManifestLocked:
        return True
    except (OSError, errors.UnlockableManifest):
        pass  # no lock file, or no locks here
    return False


def _lock_patiently(path: Path, folder: Folder, name: str, locked: bool, pause: Pause) -> int | None:
    """The owner's lock, with the owner's name in it. None where there are no locks, and none has to be.

    Somebody who only looks whether there is an owner holds it for a moment, and so do the workers of a killed run.
    """
    began = time.monotonic()
    try:
        while True:
            try:
                fd = _lock(path, folder, name, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)
                break
            except errors.ManifestLocked as error:
                patience = _ENDING_SECONDS if _has_ended(error.args[1]) else _LOOKING_SECONDS
                if time.monotonic() - began >= patience:
                    raise
                pause()
                time.sleep(_LOOKING_SECONDS / 10)
    except errors.UnlockableManifest:
        if locked:
            raise
        return None
    except OSError as error:
        raise errors.UnwritableOutput(folder.path, error.strerror) from None
    with contextlib.suppress(OSError):  # a full disk: the lock holds, only its owner's name is not told
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"process {os.getpid()} on {socket.gethostname()}, since {utc_now()}\n".encode(), 0)
    return fd


def _has_ended(owner: str) -> bool:
    """Whether the process that a lock names is gone from this machine; others may still hold what it held."""
    found = _OWNER.fullmatch(owner)
    if found is None or found[2] != socket.gethostname():
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    return False


def _lock(path: Path, folder: Folder, name: str, flags: int, kind: int) -> int:
    """A descriptor that holds the lock of that name, for the manifest at `path`, until it is closed.

    Raises ManifestLocked, UnlockableManifest, and OSError where there is no file to lock.
    """
    lock = folder.path / name
    try:  # through a link, its target would be overwritten
        fd = open_descriptor(name, flags | os.O_NOFOLLOW, folder.fileno())
    except OSError as error:
        if error.errno in _NO_FILE:
            raise errors.UnlockableManifest(lock, error.strerror) from None
        raise
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
        found = os.fstat(fd)
        if not _is_ours(fd, found):
            raise FileExistsError(errno.EEXIST, "it is somebody else's file")
    except BlockingIOError:
        owner = os.pread(fd, _OWNER_BYTES, 0).decode("utf-8", "replace").strip()
        os.close(fd)
        raise errors.ManifestLocked(path, owner or "another process") from None
    except OSError as error:
        os.close(fd)
        raise errors.UnlockableManifest(lock, error.strerror) from None
    there = folder.stat(name)
    if there is None or not os.path.samestat(there, found):  # it was taken away while it was waited for
        os.close(fd)
        return _lock(path, folder, name, flags, kind)
    if found.st_nlink > 1 and kind == fcntl.LOCK_EX:  # in a copy by hard links, which is another place
        folder.remove(name)
        os.close(fd)
        return _lock(path, folder, name, flags, kind)
    return fd


def _is_ours(fd: int, found: os.stat_result) -> bool:
    """Whether a file is a lock. A power cut can tear it, or make it zeros; with a second name that may be anybody's."""
    text = os.pread(fd, _OWNER_BYTES, 0).rstrip(b"\0").decode("latin-1").removesuffix("\n")
    is_whole = _OWNER.fullmatch(text) is not None
    is_torn = "process".startswith(text) or _TORN_OWNER.fullmatch(text) is not None
    return found.st_size < _OWNER_BYTES and (is_whole or (is_torn and found.st_nlink <= 1))
