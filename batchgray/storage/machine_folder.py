"""A folder of one run on this machine's own disk, for what is worth nothing to another machine.

It is locked by its descriptor, which the run and its workers have. The folders of runs that died are thus known, and
the next run removes them.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from batchgray.storage.base import meaning
from batchgray.storage.durable import Folder

_PREFIX = "batchgray-run-"


class MachineFolder(NamedTuple):
    """The folder, and the descriptor that keeps it as long as any process has it."""

    folder: Folder
    lock: int


@contextlib.contextmanager
def machine_folder() -> Iterator[MachineFolder]:
    """A new one, where the machine keeps temporary files; it goes with the block. Raises PlaceError."""
    above = Path(tempfile.gettempdir())
    with meaning(str(above)):
        _remove_abandoned(above)
        path, lock = _make()
    try:
        with Folder.at(path) as folder:
            yield MachineFolder(folder, lock)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _make() -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        with contextlib.suppress(FileNotFoundError):  # another run took it for abandoned, as it was not locked yet
            lock = _lock(path)
            if lock is not None and path.is_dir():
                return path, lock
            if lock is not None:
                os.close(lock)


def _remove_abandoned(above: Path) -> None:
    for path in above.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if path.lstat().st_uid == os.geteuid() and (lock := _lock(path)) is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)


def _lock(path: Path) -> int | None:
    """A descriptor that holds the folder; None where another process does. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
