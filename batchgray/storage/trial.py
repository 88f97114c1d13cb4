"""What a run needs of the place where its outputs are to go, tried there. What is put is taken away again.

A store is asked for what the service is to keep: that a name is given once. A store that ignores the condition, or a
bucket whose versioning voids it, would let two machines take the same share. An answer may be lost on the way: one's
own object is then found where it was to be put, which is no fault.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Protocol, TypeVar, runtime_checkable

from batchgray import quantities
from batchgray.cloud.clock import compare_clock
from batchgray.errors import shown
from batchgray.findings import Finding
from batchgray.storage import durable
from batchgray.storage.base import (
    Busy,
    Denied,
    Full,
    LockedOut,
    Missing,
    NoPlace,
    Place,
    PlaceError,
    Put,
    Unfit,
    Unreachable,
    meaning,
)
from batchgray.storage.durable import Folder
from batchgray.storage.locking import AlreadyHeld, CannotLock, FolderLock, this_process

_LEAST_SPACE = 1_000_000_000
_PREFIX = ".batchgray/trial-"
_CONTENT = b"batchgray tries what a run needs here"

T = TypeVar("T")


@runtime_checkable
class _Versioned(Protocol):
    """A store whose service has a clock to ask for, and buckets that may have versioning."""

    endpoint: str

    def versioning(self) -> str:
        """`Enabled`, `Suspended` or ""."""


def try_store(place: Place) -> Iterator[Finding]:
    """Ends where no more can be found out: nothing answers, or the credentials are not accepted."""
    if isinstance(place, _Versioned):
        yield compare_clock(place.endpoint, "clock of the store")
    trial = _StoreTrial(place)
    for what, fine, step in trial.steps():
        yield _finding(what, step) or Finding(what=what, verdict="fine", detail=fine)
        if trial.is_over:
            return
    yield Finding(what="round trip", verdict="fine", detail=f"{1000 * median(trial.seconds):.0f} ms a request")


class _StoreTrial:
    """A step returns what is wrong, "" where nothing is, or raises PlaceError.

    `is_over` is whether no other step would tell more, `seconds` has what each request took.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._key = f"{_PREFIX}{secrets.token_hex(8)}"
        self.seconds: list[float] = []
        self.is_over = False

    def steps(self) -> Iterator[tuple[str, str, Callable[[], str]]]:
        """What is tried, how it is where nothing is wrong, and the step."""
        yield "listing", "granted", self._list
        yield "conditional puts", "granted, and a name that is taken stays as it is", self._put_twice
        yield "reading", "granted, whole and in part", self._read
        yield "deleting", "granted", self._delete
        if isinstance(self._place, _Versioned):
            yield "versioning", "off, as conditional puts need it", self._look_for_versions

    def _list(self) -> str:
        self._timed(lambda: next(iter(self._place.list(self._key)), None))
        return ""

    def _put_twice(self) -> str:
        first = self._timed(lambda: self._place.put_absent(self._key, _CONTENT))
        second = self._timed(lambda: self._place.put_absent(self._key, _CONTENT[1:]))
        if first is not Put.OTHER and second is Put.OTHER:
            return ""
        raise Unfit("", "the store ignores the condition, so that two machines would take one name")

    def _read(self) -> str:
        try:
            version = self._timed(lambda: self._place.stat(self._key)).version
            whole = self._timed(lambda: self._place.get(self._key, version))
            part = self._timed(lambda: self._place.get(self._key, version, 2, 5))
        except Missing:  # it could not be put; rights are looked at first
            return ""
        return "" if part == whole[2:5] else "what is read in part is not what is there"

    def _delete(self) -> str:
        try:
            self._timed(lambda: self._place.delete(self._key))
        except PlaceError as error:
            raise type(error)(error.key, f"{error.reason}; {self._place.name}/{self._key} may be left") from None
        return ""

    def _look_for_versions(self) -> str:
        assert isinstance(self._place, _Versioned)
        state = self._timed(self._place.versioning)
        return f"versioning is {state}, under which OSS replaces what it is told to keep" if state else ""

    def _timed(self, call: Callable[[], T]) -> T:
        began = time.perf_counter()
        try:
            return call()
        except PlaceError as error:
            self.is_over = isinstance(error, LockedOut | NoPlace | Unreachable | Busy)
            raise
        finally:
            self.seconds.append(time.perf_counter() - began)


_REMEDIES: list[tuple[type[PlaceError], str]] = [
    (LockedOut, "mend that first: no request is accepted before"),
    (Denied, "grant what the policy below has"),
    (Unfit, "use a store that keeps conditional puts; on OSS, a bucket that never had versioning"),
    (Full, "make room, or raise the quota"),
    (Busy, "try again later"),
]


def _finding(what: str, step: Callable[[], str]) -> Finding | None:
    """What is wrong; None where nothing is."""
    try:
        wrong = step()
    except PlaceError as error:
        remedy = next((words for kind, words in _REMEDIES if isinstance(error, kind)), "")
        return Finding(what=what, verdict="wrong", detail=shown(error.reason), remedy=remedy)
    if not wrong:
        return None
    return Finding(what=what, verdict="wrong", detail=wrong, remedy=_REMEDIES[1][1])


def try_folder(path: Path) -> Iterator[Finding]:
    """Of a folder that is not there yet, the next one above it that is; a run makes it."""
    nearest = next((folder for folder in (path, *path.absolute().parents) if folder.exists()), Path("/"))
    try:
        with meaning():
            folder = Folder.at(nearest)
    except PlaceError as error:
        remedy = "choose another --out"
        yield Finding(what="output folder", verdict="wrong", detail=shown(f"{nearest}: {error.reason}"), remedy=remedy)
        return
    with folder:
        device = os.fstat(folder.fileno()).st_dev
        yield _kind(nearest, device)
        yield _space(folder)
        yield from _writing(folder)
        yield _locks(folder)


def _kind(path: Path, device: int) -> Finding:
    kinds = ", ".join(sorted(durable.file_systems(device))) or "unknown"
    detail = shown(f"{path} is on a file system of type {kinds}")
    return Finding(what="output folder", verdict="fine", detail=detail)


def _space(folder: Folder) -> Finding:
    found = os.fstatvfs(folder.fileno())
    free = found.f_bavail * found.f_frsize
    detail = f"{quantities.size(free)} free"
    if found.f_files and not found.f_favail:
        return Finding(what="free space", verdict="wrong", detail="no more files can be made", remedy="remove some")
    if free < _LEAST_SPACE:
        remedy = "see whether the outputs fit: they are about a quarter to a half of what photographs take"
        return Finding(what="free space", verdict="note", detail=detail, remedy=remedy)
    return Finding(what="free space", verdict="fine", detail=detail)


def _writing(folder: Folder) -> Iterator[Finding]:
    name, other = (f".batchgray-trial-{secrets.token_hex(8)}" for _ in range(2))
    began = time.perf_counter()
    try:
        with meaning():
            with folder.temporary(name) as fd:
                durable.write_all(fd, _CONTENT)
                durable.sync(fd)
            os.close(fd)
            folder.sync()
            seconds = time.perf_counter() - began
            native = folder.rename_new(name, folder, other)
    except PlaceError as error:
        remedy = "change its permissions, make room, or choose another --out"
        yield Finding(what="writing", verdict="wrong", detail=shown(error.reason), remedy=remedy)
        return
    finally:
        for each in (name, other):
            with contextlib.suppress(OSError):
                folder.remove(each)
    yield Finding(what="writing", verdict="fine", detail=f"a file is on the disk within {1000 * seconds:.0f} ms")
    if native:
        yield Finding(what="renames", verdict="fine", detail="never replace what is there")
        return
    detail = "this file system can't rename without replacing: batchgray looks first, and then renames"
    remedy = "let nothing else write there while a run works"
    yield Finding(what="renames", verdict="note", detail=detail, remedy=remedy)


def _locks(folder: Folder) -> Finding:
    remedy = "keep the manifest where locks work (--manifest PATH), or use --no-lock"
    lock = FolderLock(folder, f".batchgray-trial-{secrets.token_hex(8)}")
    try:
        lock.acquire(this_process("a trial"))
        lock.discard()
    except (OSError, CannotLock, AlreadyHeld) as error:
        detail = shown(getattr(error, "reason", None) or getattr(error, "strerror", None) or "another process holds it")
        return Finding(what="locks", verdict="wrong", detail=detail, remedy=remedy)
    return Finding(what="locks", verdict="fine", detail="work")
