"""Finished files to their final names, in groups, off the conversion's path.

A thread in each worker: fsync the files that are waiting, write down what is about to be put where, rename them, fsync
their folders once, and only then report them done. While one group is on its way to the disk the next one gathers, so
that the disk sets the size of the groups.
"""

import contextlib
import errno
import os
import queue
import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from batchgray import durable, integrity, partial
from batchgray.errors import ImageError
from batchgray.guards import leads_outside
from batchgray.intents import Intent, IntentLog
from batchgray.messages import Done, Failed, ImageDone, OutputFault, Task

_WAITING_FILES = 64
_HANDOVERS = 4  # in which they come at least
_LARGE_BYTES = 64 << 10  # of an output that is handed over at once
_OTHER_FILES = 24  # that a worker has open besides

# What an output's own name, folder or size can be to blame for. Anything else is wrong with the disk, or with the
# whole output folder, and the next image would meet it too.
_FAULTS_OF_ONE_OUTPUT = frozenset(
    {
        errno.EACCES,
        errno.EEXIST,
        errno.EFBIG,
        errno.EILSEQ,
        errno.EINVAL,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
        errno.ENOTEMPTY,
        errno.EPERM,
        errno.EXDEV,
    }
)


class Written(NamedTuple):
    """An output in its temporary file, open as `fd` and not yet synced."""

    fd: int
    temporary: str
    task: Task
    done: ImageDone
    begun: bool = False  # there is a sidecar, and perhaps a partial JPEG, to take away


class Committer(threading.Thread):
    """`report` is called from this thread with Done, Failed and OutputFault; `broken` with what should never happen."""

    def __init__(
        self, out: Path, flight: Path, intents: IntentLog, report: Callable, broken: Callable[[BaseException], None]
    ) -> None:
        super().__init__(name="committer", daemon=True)
        self._out, self._flight, self._intents = out, flight, intents
        self._report, self._broken = report, broken
        most = _waiting_files()
        self._at_once = max(1, most // _HANDOVERS)
        self._gathered: list[Written] = []
        self._waiting: queue.Queue[list[Written] | None] = queue.Queue(most // self._at_once)
        self._inside: set[str] = set()
        self._durable_folders: set[str] = set()

    def put(self, written: Written) -> None:
        """Take over a file; small ones go on together, as each waking of the thread costs more than their rename.

        Waits while too many are on their way to the disk.
        """
        self._gathered.append(written)
        if len(self._gathered) >= self._at_once or written.done.output_size >= _LARGE_BYTES:
            self.hand_over()

    def hand_over(self) -> None:
        """Begin with what was gathered."""
        if self._gathered:
            group, self._gathered = self._gathered, []
            self._waiting.put(group)

    def finish(self) -> None:
        """Return when everything taken over is durable and reported."""
        self.hand_over()
        self._waiting.put(None)
        self.join()

    def run(self) -> None:
        try:
            while group := self._next_group():
                self._commit(group)
        except BaseException as error:
            self._broken(error)

    def _next_group(self) -> list[Written]:
        """All that is waiting, at least one; empty after `finish`."""
        group: list[Written] = []
        some = self._waiting.get()
        while some is not None:
            group += some
            try:
                some = self._waiting.get_nowait()
            except queue.Empty:
                return group
        if group:
            self._waiting.put(None)
        return group

    def _commit(self, group: list[Written]) -> None:
        try:
            synced = self._all(group, lambda: self._sync(group))
        finally:
            for written in group:
                os.close(written.fd)
        placed = self._each(group, self._place_and_clean) if synced else []
        folders = {folder for written in placed for folder in self._unsynced(os.path.dirname(written.task.output))}
        if not placed or not self._all(placed, lambda: durable.sync_folders([self._out / name for name in folders])):
            return
        self._durable_folders |= folders
        for written in placed:
            if written.begun:
                with contextlib.suppress(OSError):  # it is cleaned up when the run is complete
                    partial.remove(self._flight, written.task.output)
        self._report(Done(images=[written.done for written in placed]))

    def _sync(self, group: list[Written]) -> None:
        """The files, and what is intended with them."""
        self._intents.append(map(_intent, group))
        durable.sync_all([*(written.fd for written in group), self._intents.fileno()])

    def _unsynced(self, folder: str) -> Iterator[str]:
        """The folder of a new output, and those above it that this process has not synced yet.

        That one of them is there does not say that it is on the disk: another worker may just be making it.
        """
        yield folder
        while folder and folder not in self._durable_folders:
            folder = os.path.dirname(folder)
            yield folder

    def _each(self, group: list[Written], step: Callable[[Written], None]) -> list[Written]:
        """Take a step for each; those whose step failed are reported and left out."""
        return [written for written in group if self._all([written], lambda written=written: step(written))]

    def _all(self, group: list[Written], step: Callable[[], None]) -> bool:
        """Take a step for all together; where it fails all are reported."""
        try:
            step()
        except (ImageError, OSError) as error:
            for written in group:
                with contextlib.suppress(OSError):  # the next run cleans it up
                    durable.remove(written.temporary)
                self._report(failure(written.task, error, written.done.output_size))
            return False
        return True

    def _place_and_clean(self, written: Written) -> None:
        folder = os.path.dirname(written.task.output)
        self._check_inside(folder)
        try:
            self._place(written)
        except FileNotFoundError:
            if not self._flight.is_dir():  # all of the output is gone, and is not made anew behind its owner's back
                raise
            durable.make_folders(self._out / folder)
            self._place(written)
        if written.begun and written.task.preview:
            partial.discard_preview(self._flight, self._out, written.task.output)

    def _check_inside(self, folder: str) -> None:
        if folder not in self._inside:
            if leads_outside(self._out, self._out / folder):
                raise ImageError(
                    "its folder is a link, or below one, that leads out of the output folder; "
                    "replace the link by a folder, or choose another --out"
                )
            self._inside.add(folder)

    def _place(self, written: Written) -> None:
        """Rename to the final name; over an earlier output of ours, never over anybody else's file."""
        target = os.path.join(self._out, written.task.output)
        if written.task.replaces != "*":
            try:
                durable.rename_new(written.temporary, target)
                return
            except FileExistsError:
                # Ours from before a crash that came between the rename and the journal, or from an earlier version of
                # the input.
                if integrity.checksum_of(Path(target)) not in (written.done.checksum, written.task.replaces):
                    raise ImageError(
                        "batchgray did not make the file that is under the output's name; move it, or use --overwrite"
                    ) from None
        if _is_same_file(written.task.source, target):
            raise ImageError("its output would replace the image itself; choose another --out")
        durable.replace(written.temporary, target)


def _waiting_files() -> int:
    """As many as may be open: while one group is on its way, the next one gathers."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return _WAITING_FILES
    return max(1, min(_WAITING_FILES, (limit - _OTHER_FILES) // 2))


def failure(task: Task, error: ImageError | OSError, needed: int) -> Failed | OutputFault:
    """What to report of an output that could not be written; `needed` bytes would have been its size."""
    if isinstance(error, ImageError):
        return Failed(index=task.index, reason=str(error))
    reason = error.strerror or str(error)
    if error.errno == errno.EXDEV:
        reason = "its folder is on another file system than the output folder; convert it with an --out there"
    if error.errno in _FAULTS_OF_ONE_OUTPUT:
        return Failed(index=task.index, reason=f"can't write its output: {reason}")
    return OutputFault(index=task.index, needed=needed, full=error.errno in durable.FULL_DISK, reason=reason)


def _intent(written: Written) -> Intent:
    done = written.done
    return Intent(output=written.task.output, size=done.output_size, checksum=done.checksum)


def _is_same_file(source: str, target: str) -> bool:
    try:
        return os.path.samefile(source, target)
    except OSError:
        return False  # there is no such target
