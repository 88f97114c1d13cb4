"""Advisory locks: one holder at a time, which leaves its text for those that come meanwhile.

`Lock` is what the users of a lock see. `FolderLock` is the form it has in a folder: `flock` on a file there. Such a
lock is the open file's, and ends when the last process has closed it, however that ends.
"""

import contextlib
import errno
import fcntl
import os
import re
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NewType, Protocol

from batchgray.storage.durable import Folder
from batchgray.storage.guards import open_descriptor

Pause = Callable[[], None]
Handle = NewType("Handle", int)  # for a child process to hold, and for nothing else

_ASKING_SECONDS = 0.2
_ENDING_SECONDS = 20.0  # generous: a worker that was killed may be waiting for a slow disk
_OWNER = re.compile(r"process (\d+) on (.*), since [-0-9:TZ]+", re.DOTALL)
_TORN_OWNER = re.compile(r"process( (\d+( (o|on( .*)?)?)?)?)?", re.DOTALL)
_OWNER_BYTES = 500
_NO_FILE = {errno.ELOOP, errno.EMLINK, errno.EINVAL, errno.EISDIR}


class AlreadyHeld(Exception):
    """Another process holds the lock; `owner` is its text, "" where it has left none."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner


class CannotLock(Exception):
    """There is no lock to be had in this place; `reason` says why."""

    def __init__(self, reason: str | None) -> None:
        super().__init__(reason)
        self.reason = reason


def _no_pause() -> None:
    pass


class Lock(Protocol):
    """The right to work on something, which has one owner at a time: this process, with the children that it tells."""

    def acquire(self, owner: str, pause: Pause = _no_pause) -> None:
        """Become the owner, and leave the text `owner` (see `this_process`).

        An owner that may be ending is waited for; `pause` is called now and then meanwhile, and may raise.

        Raises AlreadyHeld, CannotLock, and OSError where nothing can be made in this place.
        """

    def check(self) -> None:
        """Raises AlreadyHeld or CannotLock where `acquire` would after its waiting, and changes nothing."""

    def owner(self) -> str | None:
        """The text of the present owner, "" where it has left none; None where there is no owner, or are no locks."""

    @property
    def for_children(self) -> Sequence[Handle]:
        """What a child process has to hold, so that the lock lasts until it is gone too; nothing where none is held."""

    def release(self) -> None:
        """May be called again. Children that hold it go on doing so."""

    def discard(self) -> None:
        """Release it, and leave nothing in this place. Raises OSError."""


def this_process(since: str) -> str:
    """This process as a lock's owner, since a time in ISO 8601 (UTC)."""
    return f"{process_on(os.getpid(), socket.gethostname())}, since {since}"


def process_on(number: int, host: str) -> str:
    """What the owner's text of a process begins with."""
    return f"process {number} on {host}"


def lives_here(owner: str) -> bool | None:
    """Whether the process that an owner's text names is there; None where it is another machine's.

    A process that took its number since then is taken for it.
    """
    match = re.match(r"process (\d+) on (.+?), since ", owner)
    if match is None or match[2] != socket.gethostname():
        return None
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return not _is_zombie(match[1])


def _is_zombie(number: str) -> bool:
    """Whether a process is dead, and only its parent has not heard of it. Of no other system than Linux is it known."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text("ascii", "replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] in (["Z"], ["X"])


class FolderLock:
    """`flock` on a file in a held folder, which holds its owner's text.

    The file stays when the lock is released, so that processes that wait for it and those that come lock the same one.
    A file there that is no lock of batchgray's stays as it is.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder, self._name = folder, name
        self._fd: int | None = None

    def acquire(self, owner: str, pause: Pause = _no_pause) -> None:
        """See `Lock`. A process that only asks for the owner holds the lock for a moment, and is waited for too."""
        fd = self._lock_patiently(pause)
        with contextlib.suppress(OSError):  # a full disk: the lock holds, only its owner's text is missing
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{owner}\n".encode(), 0)
        self._fd = fd

    def check(self) -> None:
        try:
            self._peek()
        except AlreadyHeld as error:
            if not _has_ended(error.owner):
                raise

    def owner(self) -> str | None:
        try:
            self._peek()
        except AlreadyHeld as error:
            return error.owner
        except (OSError, CannotLock):
            pass
        return None

    def _peek(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # no lock file yet
            os.close(self._lock(os.O_RDONLY, fcntl.LOCK_SH))

    @property
    def for_children(self) -> list[Handle]:
        return [] if self._fd is None else [Handle(self._fd)]

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def discard(self) -> None:
        """See `Lock`. The name goes first: of an open file NFS keeps another name, and so its folder."""
        self._folder.remove(self._name)
        self.release()

    def remove_unused(self) -> None:
        """Remove the file that was made by an `acquire` in vain. Raises OSError."""
        found = self._folder.stat(self._name)
        if found is not None and found.st_size == 0:
            self._folder.remove(self._name)

    def _lock_patiently(self, pause: Pause) -> int:
        began = time.monotonic()
        while True:
            try:
                return self._lock(os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)
            except AlreadyHeld as error:
                patience = _ENDING_SECONDS if _has_ended(error.owner) else _ASKING_SECONDS
                if time.monotonic() - began >= patience:
                    raise
            pause()
            time.sleep(_ASKING_SECONDS / 10)

    def _lock(self, flags: int, kind: int) -> int:
        """A descriptor that holds the lock until it is closed. Raises as `acquire` does."""
        while True:
            fd = self._open(flags)
            try:
                found = _flock(fd, kind)
                there = self._folder.stat(self._name)
                is_there = there is not None and os.path.samestat(there, found)  # else it was removed meanwhile
                is_shared = found.st_nlink > 1 and kind == fcntl.LOCK_EX  # by hard links, with a copy of the folder
                if is_there and not is_shared:
                    return fd
                if is_there:
                    self._folder.remove(self._name)
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _open(self, flags: int) -> int:
        """Never through a link: its target would be overwritten."""
        try:
            return open_descriptor(self._name, flags | os.O_NOFOLLOW, self._folder.fileno())
        except OSError as error:
            if error.errno in _NO_FILE:
                raise CannotLock(error.strerror) from None
            raise


def _flock(fd: int, kind: int) -> os.stat_result:
    """Lock an open file. Raises AlreadyHeld, CannotLock."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
        found = os.fstat(fd)
        is_lock = _is_lock(fd, found)
    except BlockingIOError:
        raise AlreadyHeld(os.pread(fd, _OWNER_BYTES, 0).decode("utf-8", "replace").strip()) from None
    except OSError as error:
        raise CannotLock(error.strerror) from None
    if not is_lock:
        raise CannotLock("it is not a lock of batchgray's")
    return found


def _has_ended(owner: str) -> bool:
    """Whether the process that a lock names is gone from this machine; its children may still hold what it held."""
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


def _is_lock(fd: int, found: os.stat_result) -> bool:
    """Whether a file is a lock. A power cut can tear it, or make it zeros; with a second name it may be any file."""
    text = os.pread(fd, _OWNER_BYTES, 0).rstrip(b"\0").decode("latin-1").removesuffix("\n")
    is_whole = _OWNER.fullmatch(text) is not None
    is_torn = "process".startswith(text) or _TORN_OWNER.fullmatch(text) is not None
    return found.st_size < _OWNER_BYTES and (is_whole or (is_torn and found.st_nlink <= 1))
