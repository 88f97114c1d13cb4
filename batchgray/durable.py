"""Every write that must outlive a power cut. The only module that syncs, renames, makes folders and removes.

The rules, as POSIX gives them:
- data is on disk after fsync of its file, and not before;
- a new name, a rename and an unlink are on disk after fsync of their folder;
- rename replaces atomically: a reader, or a crash, sees the old file or the new one.
So: write a temporary file in the same file system, fsync it, rename it, fsync the folder.
What this does not guarantee: anything on drives that lie about flushes.
"""

import contextlib
import ctypes
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

try:
    from fcntl import F_FULLFSYNC, fcntl  # macOS: its fsync stops at the drive's cache
except ImportError:
    F_FULLFSYNC = None

Buffer = bytes | bytearray | memoryview

_RENAME_NOREPLACE = 1
_AT_FDCWD = -100
_WRITE_BYTES = 8 << 20

FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})


def write_temporary(path: Path | str, chunks: Iterable[Buffer]) -> int:
    """Write a file and return its descriptor, not yet synced. On an error nothing is left. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        for chunk in chunks:
            _write_all(fd, chunk)
    except BaseException:
        os.close(fd)
        os.unlink(path)
        raise
    return fd


def sync(fd: int) -> None:
    """Bring a file's data to the disk."""
    if F_FULLFSYNC is None:
        os.fsync(fd)
    else:
        fcntl(fd, F_FULLFSYNC)


def sync_folder(path: Path | str) -> None:
    """Bring the names in a folder to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(fd)
    finally:
        os.close(fd)


def replace(source: Path | str, target: Path | str) -> None:
    """Rename over whatever `target` is. Durable after `sync_folder`."""
    os.replace(source, target)


def rename_new(source: Path | str, target: Path | str) -> None:
    """Rename to a name that must be free: raises FileExistsError, and never replaces. Durable after `sync_folder`."""
    if _renameat2 is not None:
        if _renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(code, os.strerror(code), str(source), None, str(target))
    # The kernel or this file system can't: look, then rename. Only a stranger writing that very name in between is
    # missed.
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    os.rename(source, target)


def _find_renameat2():
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


_renameat2 = _find_renameat2()


def remove(path: Path | str) -> None:
    """Unlink a file that may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def make_folders(path: Path | str) -> None:
    """Make a folder and its missing parents, each durable in its own parent."""
    path = Path(path)
    if path.is_dir():
        return
    make_folders(path.parent)
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
    sync_folder(path.parent)


def remove_folder(path: Path | str) -> bool:
    """Remove an empty folder; False where it is not empty, or not there."""
    try:
        os.rmdir(path)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def saving(path: Path, temporary: Path) -> Iterator["AppendFile"]:
    """Replace `path` atomically and durably by what the block writes to `temporary`, in the same file system.

    If the block fails, the old file stays as it was. A `temporary` that an earlier kill left is taken away first.
    """
    remove(temporary)
    try:
        with contextlib.closing(AppendFile(temporary)) as file:
            yield file
            file.sync()
        replace(temporary, path)
    except BaseException:
        remove(temporary)
        raise
    sync_folder(path.parent)


class AppendFile:
    """A new file that only grows. What was appended is durable after `sync`.

    An append that fails leaves nothing of it.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)
        self._size = 0

    def append(self, data: Buffer) -> None:
        try:
            _write_all(self._fd, data)
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)

    def sync(self) -> None:
        sync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


def _write_all(fd: int, data: Buffer) -> None:
    view = memoryview(data).cast("B")
    for start in range(0, len(view), _WRITE_BYTES):
        piece = view[start : start + _WRITE_BYTES]
        while piece:
            piece = piece[os.write(fd, piece) :]
