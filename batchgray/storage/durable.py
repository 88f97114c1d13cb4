"""Every write that must outlive a power cut. The only module that syncs, renames, makes folders and removes.

The rules, as POSIX gives them:
- data is on disk after fsync of its file, and not before;
- a new name, a rename and an unlink are on disk after fsync of their folder;
- rename replaces atomically: a reader, or a crash, sees the old file or the new one.
So: write a temporary file in the same file system, fsync it, rename it, fsync the folder. Where many files wait, one
syncfs brings them all to the disk; measured with groups of 64 on ext4, that takes a sixth of the time of 64 fsyncs.
What this does not guarantee: anything on drives that lie about flushes.

All of it goes by held folders (`Folder`), and new files are made exclusively: a planted link, or a folder that is
swapped for one, leads nothing astray, whenever it comes.
"""

import contextlib
import ctypes
import errno
import functools
import itertools
import mmap
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

try:
    from fcntl import F_FULLFSYNC, fcntl  # type: ignore[attr-defined]  # macOS: its fsync stops at the drive's cache
except ImportError:
    F_FULLFSYNC = None

from batchgray.storage.guards import open_folder, open_regular

Buffer = bytes | bytearray | memoryview

_NOT_PERMITTED = {errno.EACCES, errno.EPERM, errno.EROFS}
_RENAME_NOREPLACE = 1
_WRITE_BYTES = 8 << 20
_MANY_FILES = 8  # from here on one syncfs, which may have to write others' data too, is worth it
_LOCAL_FILE_SYSTEMS = {"ext4", "xfs", "btrfs", "f2fs"}


class Folder:
    """A folder that is held: what is done in it is done there, whatever comes to stand under its path.

    `path` is how it is called. Names are of one part, and where they are links the link itself is meant. All methods
    raise OSError, with the whole path as its `filename`.
    """

    def __init__(self, path: Path, fd: int) -> None:
        """Takes over the descriptor."""
        self.path, self._fd = path, fd

    @classmethod
    def at(cls, path: Path) -> "Folder":
        """The folder at a path that the user named; it may lead through links."""
        return cls(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def below(self, name: str, make: bool = False) -> "Folder":
        """The folder of that name, of any number of parts; with `make` it and its parents are made, each durably.

        Links are followed as long as they stay in this folder. Raises LeadsOutside.
        """
        with self._naming(name):
            return Folder(self.path / name, open_folder(self._fd, self.path, name, _make_folder if make else None))

    def inner(self, name: str, make: bool = False) -> "Folder":
        """The folder of that name, which is no link."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._naming(name):
            if make:
                _make_folder(name, self._fd)
            return Folder(self.path / name, os.open(name, flags, dir_fd=self._fd))

    def names(self) -> list[str]:
        """Read through a descriptor of its own: where two share one, each gets a part of the names."""
        with self._naming(""):
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._fd)
            try:
                return os.listdir(fd)
            finally:
                os.close(fd)

    def marked_names(self) -> list[str]:
        """As `names`, those of folders with a slash at the end. Links are no folders."""
        with self._naming(""):
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._fd)
            try:
                with os.scandir(fd) as found:
                    return [f"{each.name}/" if each.is_dir(follow_symlinks=False) else each.name for each in found]
            finally:
                os.close(fd)

    def stat(self, name: str, follow_links: bool = False) -> os.stat_result | None:
        """Of what stands under that name; None where nothing does."""
        with contextlib.suppress(FileNotFoundError), self._naming(name):
            return os.stat(name, dir_fd=self._fd, follow_symlinks=follow_links)
        return None

    def open(self, name: str, follow_links: bool = False) -> BufferedReader:
        """A regular file, to be read."""
        with self._naming(name):
            return open_regular(name, follow_links=follow_links, folder=self._fd)

    def create(self, name: str, flags: int = os.O_WRONLY) -> int:
        """The descriptor of a new file. Raises FileExistsError."""
        with self._naming(name):
            return os.open(name, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=self._fd)

    def open_again(self, name: str) -> int:
        """A file of an earlier run, to be read and written. One that has a second name may be anybody's."""
        with self._naming(name):
            fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._fd)
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                os.close(fd)
                raise OSError(errno.EINVAL, "it is not a file of its own", name)
        return fd

    def replace(self, name: str, folder: "Folder", target: str) -> None:
        """Rename over whatever `target` in `folder` is. Durable after `sync`."""
        with self._naming(name):
            os.replace(name, target, src_dir_fd=self._fd, dst_dir_fd=folder._fd)

    def rename_new(self, name: str, folder: "Folder", target: str) -> bool:
        """Rename to a name in `folder` that must be free: raises FileExistsError, and never replaces.

        Durable after `sync`. False where that is not the kernel's word: see below.
        """
        if _renameat2 is not None:
            old, new = os.fsencode(name), os.fsencode(target)
            if _renameat2(self._fd, old, folder._fd, new, _RENAME_NOREPLACE) == 0:
                return True
            code = ctypes.get_errno()
            if code not in (errno.EINVAL, errno.ENOSYS):
                raise OSError(code, os.strerror(code), str(self.path / name), None, str(folder.path / target))
        # The kernel or this file system can't: check, then rename. Only a program that writes that very name in between
        # is missed.
        if folder.stat(target) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder.path / target))
        with self._naming(name):
            os.rename(name, target, src_dir_fd=self._fd, dst_dir_fd=folder._fd)
        return False

    def remove(self, name: str) -> None:
        """Unlink a file that may be gone already."""
        with contextlib.suppress(FileNotFoundError), self._naming(name):
            os.unlink(name, dir_fd=self._fd)

    def remove_folder(self, name: str) -> bool:
        """Remove an empty folder; False where it is not empty, or not there."""
        try:
            os.rmdir(name, dir_fd=self._fd)
        except OSError:
            return False
        return True

    def temporary(self, name: str) -> "_Temporary":
        """A new file's descriptor for the block, to be written with `write_all`; it stays open.

        If the block fails, nothing is left.
        """
        return _Temporary(self, name)

    @contextlib.contextmanager
    def saving(self, name: str, temporary: str, temporary_in: "Folder | None" = None) -> Iterator["AppendFile"]:
        """Replace `name` atomically and durably by what the block writes to `temporary`, in the same file system.

        If the block fails, the old file stays as it was. A `temporary` that an earlier kill left is removed first.
        """
        folder = temporary_in or self
        folder.remove(temporary)
        try:
            with contextlib.closing(AppendFile(folder, temporary)) as file:
                yield file
                file.sync()
            folder.replace(temporary, self, name)
        except BaseException:
            folder.remove(temporary)
            raise
        self.sync()

    def sync(self) -> None:
        """Bring the names in this folder to the disk."""
        sync(self._fd)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        """It may be closed again: its number may be another file's by then."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> "Folder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _naming(self, name: str) -> "_Naming":
        return _Naming(self.path, name)


class _Naming:
    """An OSError in the block is about this name in this folder.

    A `contextmanager` takes three times as long, and this is passed several times an image.
    """

    __slots__ = ("_folder", "_name")

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            error.filename = str(self._folder / self._name)


class _Temporary:
    """See `Folder.temporary`. A `contextmanager` takes three times as long, once an image."""

    __slots__ = ("_fd", "_folder", "_name")

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder, self._name = folder, name

    def __enter__(self) -> int:
        self._fd = self._folder.create(self._name)
        return self._fd

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            os.close(self._fd)
            self._folder.remove(self._name)


def _make_folder(name: str, folder: int) -> None:
    """In an open folder, durably; it may be there already."""
    try:
        os.mkdir(name, dir_fd=folder)
    except FileExistsError:
        return
    sync(folder)


def sync(fd: int) -> None:
    """Bring a file's data to the disk."""
    if F_FULLFSYNC is None:
        os.fsync(fd)
    else:
        fcntl(fd, F_FULLFSYNC)


def sync_all(fds: Sequence[int]) -> None:
    """Bring the data of several files in one file system to the disk. Raises OSError, of whichever file."""
    devices = {os.fstat(fd).st_dev for fd in fds} if len(fds) >= _MANY_FILES else set()
    if len(devices) != 1 or not sync_file_system(fds[0]):
        for fd in fds:
            sync(fd)


def sync_file_system(fd: int) -> bool:
    """Bring all of a file's file system to the disk; False where that can't be relied upon. Raises OSError."""
    if _syncfs is None or not _has_honest_syncfs(os.fstat(fd).st_dev):
        return False
    if _syncfs(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return True


@functools.lru_cache
def _has_honest_syncfs(device: int) -> bool:
    """Whether syncfs on this device waits until all is on the disk, and tells of errors.

    In the kernel it does since Linux 5.8; in user space (FUSE) and over the network that is not promised.
    """
    if tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < (5, 8):
        return False
    kinds = file_systems(device)
    return bool(kinds) and kinds <= _LOCAL_FILE_SYSTEMS


def file_systems(device: int) -> set[str]:
    """What is mounted from it, such as ext4 or nfs4; nothing where the system does not say."""
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return set()
    return {line.split(" - ")[1].split()[0] for line in lines if line.split()[2] == number}


def _system_call(name: str) -> Any:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), name, None)


_renameat2 = _system_call("renameat2")
_syncfs = _system_call("syncfs")


def make_folders(path: Path, mode: int = 0o777) -> list[Path]:
    """Make a folder that the user named and its missing parents, each durable in its own parent.

    The umask counts as well as `mode`. Returns those that were made, the innermost first. On an error none is left.
    """
    missing = [path]
    while not missing[-1].is_dir() and missing[-1] != missing[-1].parent:
        missing.append(missing[-1].parent)
    made: list[Path] = []
    try:
        for parent, folder in itertools.pairwise(reversed(missing)):
            try:
                os.mkdir(folder, mode)
                made.insert(0, folder)
            except FileExistsError:
                if not folder.is_dir():
                    raise
            with Folder.at(parent) as holding:
                holding.sync()
    except BaseException:
        remove_empty(made)
        raise
    return made


def check_writable(folder: Path) -> None:
    """Try to make a file in a folder, without a name, so that it leaves no trace; where that works at all.

    Raises OSError where it is not permitted.
    """
    if not hasattr(os, "O_TMPFILE"):
        return
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in _NOT_PERMITTED:
            raise


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove the first of these folders, then the next, as long as they are empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            os.rmdir(folder)


class AppendFile:
    """A new file that only grows. What was appended is durable after `sync`.

    An append that fails leaves nothing of it.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self._fd = folder.create(name, os.O_WRONLY | os.O_APPEND)
        self._size = 0

    def append(self, data: Buffer) -> None:
        try:
            write_all(self._fd, data)
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)

    def sync(self) -> None:
        sync(self._fd)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)


class SparseFile:
    """A file of a given length, read and written anywhere; what was never written is zeros and takes no space.

    What was written is durable after `sync`, and its name after its folder's. With `again` it is the one that an
    earlier run left, where there is one.
    """

    def __init__(self, folder: Folder, name: str, size: int, again: bool = False) -> None:
        found = None
        if again:
            with contextlib.suppress(OSError):
                found = folder.open_again(name)
        if found is None:
            folder.remove(name)
            found = folder.create(name, os.O_RDWR)
        self._fd = found
        try:
            os.ftruncate(self._fd, size)
        except OSError:  # longer than a file may be here, for one
            self.close()
            raise

    def write(self, at: int, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        while view:
            count = os.pwrite(self._fd, view[:_WRITE_BYTES], at)
            view, at = view[count:], at + count

    def read(self, at: int, size: int) -> bytes:
        """Raises EOFError where the file is shorter."""
        data = os.pread(self._fd, size, at)
        while len(data) < size:
            more = os.pread(self._fd, size - len(data), at + len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def map(self) -> mmap.mmap:
        """The whole file, to be read only."""
        return mmap.mmap(self._fd, 0, prot=mmap.PROT_READ)

    def sync(self) -> None:
        sync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


def write_all(fd: int, data: Buffer) -> None:
    """Append to an open file, in pieces that the kernel takes. Raises OSError."""
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(fd, view[:_WRITE_BYTES]) :]
