"""Finished files to their final names, in groups, off the conversion's path.

A thread in each worker: fsync the files that are waiting, write down what is about to be put where, rename them, fsync
their folders once, and only then report them done. While one group is on its way to the disk the next one gathers, so
that the disk sets the size of the groups.
"""

import contextlib
import functools
import os
import resource
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from batchgray.checkpoints.base import Checkpoints
from batchgray.errors import ImageError
from batchgray.records import Task
from batchgray.storage import durable, integrity
from batchgray.storage.base import BadKey, Denied, Full, OtherFileSystem, PlaceError, meaning_of
from batchgray.storage.durable import Folder
from batchgray.storage.guards import LeadsOutside
from batchgray.storage.intents import Intent, IntentLog
from batchgray.workers.messages import Done, Failed, ImageDone, OutputFault

_WAITING_FILES = 64
_GROUP_FILES = 48  # enough for the syncs and the waking of this thread to be lost in the work
_GATHERING_SECONDS = 0.1
_FOLDERS_AT_ONCE = 8
_OTHER_FILES = 36  # that a worker has open besides, and those folders

# What an output's own name, folder or size can be to blame for. Anything else is wrong with the disk, or with the
# whole output folder, and the next image would meet it too.
_FAULTS_OF_ONE_OUTPUT = BadKey, Denied


class Written(NamedTuple):
    """An output in its temporary file, open as `fd` and not yet synced. `temporary` is its name in flight."""

    fd: int
    temporary: str
    task: Task
    done: ImageDone
    begun: bool = False  # there is a sidecar, and perhaps a partial JPEG, to take away


Report = Callable[[Done | Failed | OutputFault], None]


class Committer(threading.Thread):
    """`report` is called from this thread with Done, Failed and OutputFault; `broken` with what should never happen."""

    def __init__(
        self,
        out: Folder,
        flight: Folder,
        checkpoints: Checkpoints,
        intents: IntentLog,
        report: Report,
        broken: Callable[[BaseException], None],
    ) -> None:
        super().__init__(name="committer", daemon=True)
        self._out, self._flight, self._checkpoints, self._intents = out, flight, checkpoints, intents
        self._report, self._broken = report, broken
        self._most = _waiting_files()
        self._gathered: list[Written] = []
        self._finishing = self._hurried = False
        self._changed = threading.Condition()
        self._durable_folders: set[str] = set()

    def put(self, written: Written) -> None:
        """Take over a file; waits while too many are on their way to the disk."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._gathered) < self._most)
            self._gathered.append(written)
            self._hurried = False
            if len(self._gathered) in (1, min(_GROUP_FILES, self._most)):
                self._changed.notify_all()

    def hurry(self) -> None:
        """Nothing more comes for now: what is there need not wait for company."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def finish(self) -> None:
        """Return when everything taken over is durable and reported."""
        with self._changed:
            self._finishing = True
            self._changed.notify_all()
        self.join()

    def run(self) -> None:
        try:
            while group := self._next_group():
                self._commit(group)
        except BaseException as error:
            self._broken(error)

    def _next_group(self) -> list[Written]:
        """What came together within a moment, at least one; empty after `finish`."""
        with self._changed:
            self._changed.wait_for(lambda: self._gathered or self._finishing)
            enough = min(_GROUP_FILES, self._most)
            self._changed.wait_for(
                lambda: self._finishing or self._hurried or len(self._gathered) >= enough, _GATHERING_SECONDS
            )
            group, self._gathered = self._gathered, []
            self._changed.notify_all()
        return group

    def _commit(self, group: list[Written]) -> None:
        try:
            synced = self._all(group, lambda: self._sync(group))
        finally:
            for written in group:
                os.close(written.fd)
        if not synced:
            return
        with _Folders(self._out) as folders:
            placed = self._each(
                group, lambda written: self._place_and_clean(written, folders.folder_of(written.task.output))
            )
            names = {os.path.dirname(written.task.output) for written in placed}
            touched = {name: folders.held[name] for name in names}
            if not placed or not self._all(placed, lambda: self._sync_folders(touched)):
                return
        for written in placed:
            if written.begun:
                with contextlib.suppress(PlaceError):  # it is cleaned up when the run is complete
                    self._checkpoints.remove(written.task.output)
        self._report(Done(images=[written.done for written in placed]))

    def _sync(self, group: list[Written]) -> None:
        """The files, and what is intended with them."""
        self._intents.append(map(_intent, group))
        durable.sync_all([*(written.fd for written in group), self._intents.fileno()])

    def _sync_folders(self, folders: dict[str, Folder]) -> None:
        """The folders of new outputs, and those above them that this process has not synced yet.

        That one of them is there does not say that it is on the disk: another worker may just be making it.
        """
        above = {parent for name in folders for parent in self._unsynced_above(name)} - folders.keys()
        if len(above) <= _FOLDERS_AT_ONCE or not durable.sync_file_system(self._out.fileno()):
            for names in _pieces(sorted(above)):
                with contextlib.ExitStack() as stack:
                    durable.sync_all([stack.enter_context(self._out.below(name)).fileno() for name in names])
            durable.sync_all([folder.fileno() for folder in folders.values()])
        self._durable_folders |= above | folders.keys()

    def _unsynced_above(self, folder: str) -> Iterator[str]:
        while folder and folder not in self._durable_folders:
            folder = os.path.dirname(folder)
            yield folder

    def _each(self, group: list[Written], step: Callable[[Written], None]) -> list[Written]:
        """Take a step for each; those whose step failed are reported and left out."""
        return [written for written in group if self._all([written], functools.partial(step, written))]

    def _all(self, group: list[Written], step: Callable[[], None]) -> bool:
        """Take a step for all together; where it fails all are reported."""
        try:
            step()
        except Exception as error:  # whatever it is, it costs these images and no others
            for written in group:
                with contextlib.suppress(OSError):  # the next run cleans it up
                    self._flight.remove(written.temporary)
                self._report(failure(written.task, error, written.done.output_size))
            return False
        return True

    def _place_and_clean(self, written: Written, folder: Folder) -> None:
        self._place(written, folder)
        if written.begun and written.task.preview:
            self._checkpoints.discard_preview(written.task.output)

    def _place(self, written: Written, folder: Folder) -> None:
        """Rename to the final name; over an earlier output of ours, never over anybody else's file."""
        name = os.path.basename(written.task.output)
        if written.task.replaces != "*":
            try:
                self._flight.rename_new(written.temporary, folder, name)
                return
            except FileExistsError:
                # Ours from before a crash that came between the rename and the journal, or from an earlier version of
                # the input.
                there = integrity.checksum_of(name, folder.fileno())
                if there not in (written.done.checksum, written.task.replaces):
                    raise ImageError(
                        "batchgray did not make the file that is under the output's name; move it, or use --overwrite"
                    ) from None
        if _is_same_file(written.task.source, folder, name):
            raise ImageError("its output would replace the image itself; choose another --out")
        self._flight.replace(written.temporary, folder, name)


class _Folders(contextlib.ExitStack):
    """The folders of a group's outputs, by name: looked for anew with each group, held until all in them is done."""

    def __init__(self, out: Folder) -> None:
        super().__init__()
        self._out = out
        self.held: dict[str, Folder] = {}

    def folder_of(self, output: str) -> Folder:
        """It is made where it is missing, but in an output folder that is gone. Raises ImageError, OSError."""
        name = os.path.dirname(output)
        if name not in self.held:
            try:
                self.held[name] = self.enter_context(self._out.below(name, make=True))
            except LeadsOutside:
                raise ImageError(
                    "its folder is a link, or below one, that leads out of the output folder; "
                    "replace the link by a folder, or choose another --out"
                ) from None
        return self.held[name]


def _waiting_files() -> int:
    """As many as may be open: while one group is on its way, the next one gathers."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return _WAITING_FILES
    return max(1, min(_WAITING_FILES, (limit - _OTHER_FILES) // 2))


def failure(task: Task, error: Exception, needed: int) -> Failed | OutputFault:
    """What to report of an output that could not be written; `needed` bytes would have been its size."""
    if isinstance(error, OSError):
        error = meaning_of(error, task.output)
    if isinstance(error, ImageError):
        return Failed(index=task.index, reason=str(error))
    if not isinstance(error, PlaceError):
        return Failed(index=task.index, reason=f"can't write its output: {type(error).__name__}: {error}")
    reason = error.reason
    if isinstance(error, OtherFileSystem):
        reason = "its folder is on another file system than the output folder; convert it with an --out there"
    if isinstance(error, _FAULTS_OF_ONE_OUTPUT):
        return Failed(index=task.index, reason=f"can't write its output: {reason}")
    return OutputFault(index=task.index, needed=needed, full=isinstance(error, Full), reason=reason)


def _intent(written: Written) -> Intent:
    done = written.done
    return Intent(output=written.task.output, size=done.output_size, checksum=done.checksum)


def _is_same_file(source: str, folder: Folder, name: str) -> bool:
    try:
        return os.path.samestat(os.stat(source), os.stat(name, dir_fd=folder.fileno()))
    except OSError:
        return False  # there is no such target


def _pieces(names: list[str]) -> Iterator[list[str]]:
    """So many at a time as may well be open at once."""
    return (names[start : start + _FOLDERS_AT_ONCE] for start in range(0, len(names), _FOLDERS_AT_ONCE))
