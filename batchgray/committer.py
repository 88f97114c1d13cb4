"""Finished files to their final names, in groups, off the conversion's path.

A thread in each worker: fsync the files that are waiting, rename them, fsync their folders once, and only then report
them done. While one group is on its way to the disk the next one gathers, so that the disk sets the size of the
groups.
"""

import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from batchgray import durable, integrity, partial
from batchgray.errors import ImageError
from batchgray.messages import DiskFull, Done, Failed, ImageDone, Task

_WAITING_FILES = 64
_READ_BYTES = 8 << 20


class Written(NamedTuple):
    """An output in its temporary file, open as `fd` and not yet synced."""

    fd: int
    temporary: Path
    task: Task
    done: ImageDone
    begun: bool = False  # there is a sidecar, and perhaps a partial JPEG, to take away


class Committer(threading.Thread):
    """`report` is called from this thread with Done, Failed and DiskFull; `broken` with what should never happen."""

    def __init__(self, out: Path, flight: Path, report: Callable, broken: Callable[[BaseException], None]) -> None:
        super().__init__(name="committer", daemon=True)
        self._out, self._flight = out, flight
        self._report, self._broken = report, broken
        self._waiting: queue.Queue[Written | None] = queue.Queue(_WAITING_FILES)
        self._folders: set[Path] = set()

    def put(self, written: Written) -> None:
        """Hand over a file; waits while too many are on their way to the disk."""
        self._waiting.put(written)

    def finish(self) -> None:
        """Return when everything handed over is durable and reported."""
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
        item = self._waiting.get()
        while item is not None:
            group.append(item)
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                return group
        if group:
            self._waiting.put(None)
        return group

    def _commit(self, group: list[Written]) -> None:
        placed = [written for written in group if self._attempt(written, self._sync_and_place)]
        for folder in {(self._out / written.task.output).parent for written in placed}:
            durable.sync_folder(folder)
        for written in placed:
            if written.begun:
                durable.remove(partial.sidecar_path(self._flight, written.task.output))
        if placed:
            self._report(Done(images=[written.done for written in placed]))

    def _attempt(self, written: Written, step: Callable[[Written], None]) -> bool:
        try:
            step(written)
        except (ImageError, OSError) as error:
            durable.remove(written.temporary)
            self._report(failure(written.task, error, written.done.output_size))
            return False
        return True

    def _sync_and_place(self, written: Written) -> None:
        try:
            durable.sync(written.fd)
        finally:
            os.close(written.fd)
        target = self._out / written.task.output
        self._make_folder(target.parent)
        self._place(written, target)
        if written.begun:
            partial.discard_preview(self._flight, self._out, written.task.output)

    def _make_folder(self, folder: Path) -> None:
        if folder not in self._folders:
            durable.make_folders(folder)
            self._folders.add(folder)

    def _place(self, written: Written, target: Path) -> None:
        """Rename to the final name; over an earlier output of ours, never over anybody else's file."""
        if _is_same_file(written.task.source, target):
            raise ImageError("its output would replace the image itself; choose another --out")
        if written.task.replaces != "*":
            try:
                durable.rename_new(written.temporary, target)
                return
            except FileExistsError:
                # Ours from before a crash that came between the rename and the journal, or from an earlier version of
                # the input.
                if _checksum_of(target) not in (written.done.checksum, written.task.replaces):
                    raise ImageError(
                        "batchgray did not make the file that is under the output's name; move it, or use --overwrite"
                    ) from None
        durable.replace(written.temporary, target)


def failure(task: Task, error: ImageError | OSError, needed: int) -> Failed | DiskFull:
    """What to report of an output that could not be written; `needed` bytes would have been its size."""
    if isinstance(error, OSError):
        if error.errno in durable.FULL_DISK:
            return DiskFull(index=task.index, needed=needed)
        return Failed(index=task.index, reason=f"can't write its output: {error.strerror or error}")
    return Failed(index=task.index, reason=str(error))


def _is_same_file(source: str, target: Path) -> bool:
    try:
        return os.path.samefile(source, target)
    except OSError:
        return False  # there is no such target


def _checksum_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return integrity.checksum(iter(lambda: file.read(_READ_BYTES), b""))
    except OSError:
        return "unreadable"
