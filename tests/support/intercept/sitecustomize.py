"""Stands between batchgray and the disk, in every process of a run: records, fails or stops its durable operations.

Python imports this module by its name at the start of every process that has this folder on PYTHONPATH; `recording.py`
puts it there. It replaces `batchgray.storage.durable`'s view of the system by one that, an operation at a time over all
processes and threads, so that the order of the record is the order of what happened:

- looks for a rule that this operation meets (its kind, its path, the how-manieth of them it is) and lets it fail;
- does it, and appends what was done, with the data, to the log;
- stops the process (SIGSTOP) or holds up the thread after it, where a rule says so.

`points.py` lets rules meet moments of the work that are no durable operations: a finished tile, a call.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import pickle
import re
import signal
import stat
import threading
import time
from pathlib import Path

# What batchgray.storage.durable may use of `os` beside the operations below. Anything else would be missing in the
# record, and is refused by name.
_HARMLESS = re.compile(r"O_[A-Z]+|path|fsencode|strerror|close|fstat|uname|major|minor|listdir|scandir|stat|pread")

_libc = ctypes.CDLL(None)


class Gate:
    """One operation at a time; the log and the rules are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._counts = os.open(folder / "counts", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._held = os.open(folder / "held", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._rules = folder / "rules"
        self._threads = threading.Lock()

    @contextlib.contextmanager
    def _alone(self):
        """No other process is between the system and its line in the log."""
        fcntl.lockf(self._log, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._log, fcntl.LOCK_UN)

    def mark(self, record: tuple) -> None:
        """Append to the log what a test wants to find there."""
        with self._threads, self._alone():
            self._append(record)

    def pass_through(self, kind: str, path: str, work, record, spoil=lambda: None):
        """Do `work()` and log `record(result)`, unless a rule lets it fail: then do `spoil()`.

        Raises OSError.
        """
        with self._threads:
            with self._alone():
                rule = self._rule(kind, path)
                if rule is not None and rule["error"]:
                    spoil()
                    raise OSError(rule["error"], os.strerror(rule["error"]), path)
                result = work()
                done = record(result)
                if done is not None:
                    self._append(done)
            if rule is not None and not rule["until"] and not rule["hold"]:
                # No thread of this process has the log: other processes go on.
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        if rule is not None and rule["hold"]:
            self._hold()
        while rule is not None and self._met(rule["next"]) < rule["until"]:
            time.sleep(0.01)
        return result

    def reach(self, kind: str, path: str) -> None:
        """A point of the work that leaves no trace on the disk."""
        self.pass_through(kind, path, lambda: None, lambda _: None)

    def targets(self) -> set[str]:
        """What the rules name as called by whom: `MODULE:NAME`."""
        return {rule["path"] for rule in json.loads(self._rules.read_text()) if rule["kind"] in ("call", "return")}

    def _hold(self) -> None:
        """Wait in a call that no signal ends, as a codec's: the test has the file until it lets go."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # another thread takes it
        _libc.flock(self._held, fcntl.LOCK_SH)
        _libc.flock(self._held, fcntl.LOCK_UN)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _append(self, record: tuple) -> None:
        os.write(self._log, pickle.dumps(record))

    def _rule(self, kind: str, path: str) -> dict | None:
        """The first rule whose turn it is. Every rule that is met counts."""
        chosen = None
        for index, rule in enumerate(json.loads(self._rules.read_text())):
            if kind == rule["kind"] and re.search(rule["path"], path):
                met = self._met(index)
                os.pwrite(self._counts, (met + 1).to_bytes(8, "little"), 8 * index)
                turn = met >= rule["after"] and (rule["times"] is None or met < rule["after"] + rule["times"])
                chosen = chosen or ({**rule, "next": index + 1} if turn else None)
        return chosen

    def _met(self, index: int) -> int:
        return int.from_bytes(os.pread(self._counts, 8, 8 * index), "little")


class System:
    """`os`, as `batchgray.storage.durable` sees it.

    Files are known by a handle, folders by where they are at that moment.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._open: dict[int, tuple[str, str]] = {}  # descriptor of a file -> handle and path
        self._opened = 0

    def __getattr__(self, name: str):
        if not _HARMLESS.fullmatch(name):
            raise AttributeError(
                f"batchgray.storage.durable uses os.{name}, which the tests of durability do not record"
            )
        return getattr(os, name)

    def open(self, path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_DIRECTORY:
            return os.open(path, flags, mode, dir_fd=dir_fd)
        name = _absolute(path, dir_fd)
        self._opened += 1
        handle = f"{os.getpid()}:{self._opened}"
        there = os.path.lexists(name)
        fd = self._gate.pass_through(
            "open",
            name,
            lambda: os.open(path, flags, mode, dir_fd=dir_fd),
            lambda fd: ("open", name, handle, not there, bool(flags & os.O_TRUNC)),
        )
        self._open[fd] = handle, name
        return fd

    def write(self, fd: int, data) -> int:
        handle, name = self._open[fd]

        def half() -> None:
            os.write(fd, data[: len(data) // 2])

        return self._gate.pass_through(
            "write", name, lambda: os.write(fd, data), lambda count: ("write", handle, bytes(data[:count])), half
        )

    def pwrite(self, fd: int, data, at: int) -> int:
        handle, name = self._open[fd]
        return self._gate.pass_through(
            "write", name, lambda: os.pwrite(fd, data, at), lambda count: ("write at", handle, at, bytes(data[:count]))
        )

    def ftruncate(self, fd: int, size: int) -> None:
        handle, name = self._open[fd]
        self._gate.pass_through("truncate", name, lambda: os.ftruncate(fd, size), lambda _: ("truncate", handle, size))

    def fsync(self, fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            name = _path_of(fd)
            self._gate.pass_through("sync folder", name, lambda: os.fsync(fd), lambda _: ("sync folder", name))
        else:
            handle, name = self._open[fd]
            self._gate.pass_through("sync", name, lambda: os.fsync(fd), lambda _: ("sync", handle))

    def syncfs(self, real):
        """The C function's stand-in: a result and ctypes' errno instead of an exception."""

        def syncfs(fd: int) -> int:
            try:
                return self._gate.pass_through(
                    "sync all", _path_of(fd), lambda: real(fd), lambda result: ("sync all",) if result == 0 else None
                )
            except OSError as error:
                ctypes.set_errno(error.errno)
                return -1

        return syncfs

    def replace(self, source, target, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        self._rename(os.replace, source, target, src_dir_fd, dst_dir_fd)

    def rename(self, source, target, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        self._rename(os.rename, source, target, src_dir_fd, dst_dir_fd)

    def _rename(self, real, source, target, old_folder: int | None, new_folder: int | None) -> None:
        old, new = _absolute(source, old_folder), _absolute(target, new_folder)
        self._gate.pass_through(
            "rename",
            new,
            lambda: real(source, target, src_dir_fd=old_folder, dst_dir_fd=new_folder),
            lambda _: ("rename", old, new),
        )

    def renameat2(self, real):
        """The C function's stand-in."""

        def renameat2(old_folder, source, new_folder, target, flags) -> int:
            old, new = _absolute(source, old_folder), _absolute(target, new_folder)
            try:
                return self._gate.pass_through(
                    "rename",
                    new,
                    lambda: real(old_folder, source, new_folder, target, flags),
                    lambda result: ("rename", old, new) if result == 0 else None,
                )
            except OSError as error:
                ctypes.set_errno(error.errno)
                return -1

        return renameat2

    def unlink(self, path, *, dir_fd: int | None = None) -> None:
        name = _absolute(path, dir_fd)
        self._gate.pass_through("unlink", name, lambda: os.unlink(path, dir_fd=dir_fd), lambda _: ("unlink", name))

    def mkdir(self, path, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        name = _absolute(path, dir_fd)
        self._gate.pass_through("mkdir", name, lambda: os.mkdir(path, mode, dir_fd=dir_fd), lambda _: ("mkdir", name))

    def rmdir(self, path, *, dir_fd: int | None = None) -> None:
        name = _absolute(path, dir_fd)
        self._gate.pass_through("rmdir", name, lambda: os.rmdir(path, dir_fd=dir_fd), lambda _: ("unlink", name))


def _absolute(path, folder: int | None = None) -> str:
    """The whole path of a name that is relative to an open folder."""
    return os.path.abspath(os.path.join(_path_of(folder) if folder is not None else "", os.fsdecode(path)))


def _path_of(fd: int) -> str:
    """Where an open file or folder is now; where it was, if it is gone."""
    return os.readlink(f"/proc/self/fd/{fd}").removesuffix(" (deleted)")


def _stand_between(folder: Path) -> Gate:
    import points

    from batchgray.storage import durable

    gate = Gate(folder)
    points.watch(gate)
    system = System(gate)
    durable.os = system
    if durable._renameat2 is not None:
        durable._renameat2 = system.renameat2(durable._renameat2)
    if durable._syncfs is not None:
        durable._syncfs = system.syncfs(durable._syncfs)
    return gate


gate = _stand_between(Path(os.environ["DURABLE_RECORD"])) if "DURABLE_RECORD" in os.environ else None
if "SHARE_LEASE" in os.environ:
    import points

    points.shorten_the_lease(float(os.environ["SHARE_LEASE"]))
if "LARGE_PIXELS" in os.environ:
    import points

    points.call_large(int(os.environ["LARGE_PIXELS"]))
if "STORE_AWAY" in os.environ:
    import points

    points.give_up_after(float(os.environ["STORE_AWAY"]))
if "STORE_PATIENCE" in os.environ:
    import points

    points.shorten_the_patience(float(os.environ["STORE_PATIENCE"]))
if "SHARE_IMAGES" in os.environ:
    import points

    points.cut_shares(int(os.environ["SHARE_IMAGES"]))
if "SPLIT_SECONDS" in os.environ:
    import points

    points.shorten_the_parts(float(os.environ["SPLIT_SECONDS"]))
