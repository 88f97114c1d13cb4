"""Finished files to their final names, in groups, off the conversion's path.

A thread in each worker, which publishes what is waiting (see `publishing`), and only then reports it done. While one
group is on its way to the disk the next one gathers, so that the disk sets the size of the groups.
"""

import contextlib
import resource
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from batchgray.checkpoints.base import Checkpoints
from batchgray.errors import ImageError
from batchgray.records import Task
from batchgray.storage.base import BadKey, Changed, Denied, Full, LockedOut, OtherFileSystem, PlaceError
from batchgray.storage.publishing import (
    FOLDERS_AT_ONCE,
    IsInput,
    Output,
    OutsidePlace,
    Publisher,
    Taken,
    TakenInPlace,
)
from batchgray.storage.scratch import HeldFile, ScratchFile
from batchgray.workers.messages import Done, Failed, ImageDone, OutputFault

_WAITING_FILES = 64
_WAITING_SMALL_FILES = 256  # made in less time than a busy disk may take for a group
_SMALL_PIXELS = 32_000_000  # of them together: a fraction of a second's work, which is what a power cut could cost
_GROUP_FILES = 48  # enough for the syncs and the waking of this thread to be lost in the work
_GATHERING_SECONDS = 0.1
_OTHER_FILES = 28 + FOLDERS_AT_ONCE  # that a worker has open besides

# What an output's own name, folder or size can be to blame for, or what another did to its files. Anything else is
# wrong with the disk, or with the whole output folder, and the next image would meet it too.
_FAULTS_OF_ONE_OUTPUT = BadKey, Denied, Changed
_REFUSED: dict[type[PlaceError], str] = {
    Taken: "batchgray did not make the file that is under the output's name; "
    "move it, or replace it: `batchgray run ... --overwrite`",
    TakenInPlace: "other bytes are under the output's name: another's, or an earlier version's of batchgray that was "
    "cut off before its job knew of them; look at them, remove them, and resume",
    IsInput: "its output would replace the image itself; choose another place: `batchgray run ... --out DIR`",
    OutsidePlace: "its folder is a link, or below one, that leads out of the output folder; "
    "replace the link by a folder, or choose another place: `batchgray run ... --out DIR`",
}
NO_TIME = "the input's modification time could not be kept"


class Written(NamedTuple):
    """An output that is whole, in its temporary file or in memory."""

    file: ScratchFile | HeldFile
    task: Task
    done: ImageDone
    begun: bool = False  # there is a sidecar, and perhaps a partial JPEG, to remove


Report = Callable[[Done | Failed | OutputFault], None]


class Outbox(Protocol):
    """Brings finished outputs to their final names, beside the conversion, and then reports each of them.

    `held_bytes` is how large an output may be that is kept in memory until then, and needs no file.
    """

    held_bytes: int

    def start(self) -> None:
        """To be called once."""

    def put(self, written: Written) -> None:
        """Take over an output; waits while too many are on their way."""

    def commit_now(self) -> None:
        """Nothing more comes for now."""

    def finish(self) -> None:
        """Returns when everything taken over is durable and reported."""


class Committer(threading.Thread):
    """See `Outbox`: outputs in files, into a folder.

    `report` is called from this thread with Done, Failed and OutputFault; `broken` with what should never happen.
    """

    held_bytes = 0

    def __init__(
        self,
        publisher: Publisher,
        checkpoints: Checkpoints,
        report: Report,
        broken: Callable[[BaseException], None],
    ) -> None:
        super().__init__(name="committer", daemon=True)
        self._publisher, self._checkpoints = publisher, checkpoints
        self._report, self._broken = report, broken
        self._most, self._most_small = map(_of_open_files, (_WAITING_FILES, _WAITING_SMALL_FILES))
        self._gathered: list[Written] = []
        self._gathered_pixels = 0
        self._finishing = self._nothing_more_comes = False
        self._changed = threading.Condition()

    def put(self, written: Written) -> None:
        """Take over a file; waits while too many are on their way to the disk."""
        with self._changed:
            self._changed.wait_for(self._has_room)
            self._gathered.append(written)
            self._gathered_pixels += written.done.width * written.done.height
            self._nothing_more_comes = False
            if len(self._gathered) in (1, min(_GROUP_FILES, self._most)):
                self._changed.notify_all()

    def _has_room(self) -> bool:
        waiting = len(self._gathered)
        return waiting < self._most or (waiting < self._most_small and self._gathered_pixels < _SMALL_PIXELS)

    def commit_now(self) -> None:
        """Nothing more comes for now: what is there need not wait for company."""
        with self._changed:
            self._nothing_more_comes = True
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
                lambda: self._finishing or self._nothing_more_comes or len(self._gathered) >= enough,
                _GATHERING_SECONDS,
            )
            group, self._gathered, self._gathered_pixels = self._gathered, [], 0
            self._changed.notify_all()
        return group

    def _commit(self, group: Sequence[Written]) -> None:
        begun = {written.task.output for written in group if written.begun and written.task.preview}

        def placed(output: Output) -> None:
            if output.key in begun:
                self._checkpoints.discard_preview(output.key)

        outputs = [
            Output(each.file, each.task.output, each.task.replaces, each.task.source)
            for each in group
            if isinstance(each.file, ScratchFile)  # it keeps none in memory
        ]
        done = []
        for written, fault in zip(group, self._publisher.publish(outputs, placed), strict=True):
            if fault is None:
                self._forget_checkpoints(written)
                done.append(written.done)
            else:
                self._report(failure(written.task, fault, written.done.output_size))
        if done:
            self._report(Done(images=done))

    def _forget_checkpoints(self, written: Written) -> None:
        if written.begun:
            with contextlib.suppress(PlaceError):  # it is cleaned up when the run is complete
                self._checkpoints.remove(written.task.output)


def _of_open_files(wanted: int) -> int:
    """So many, or as many as may be open: while one group is on its way, the next one gathers."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, (limit - _OTHER_FILES) // 2))


def failure(task: Task, error: Exception, needed: int) -> Failed | OutputFault:
    """What to report of an output that could not be written; `needed` bytes would have been its size."""
    if isinstance(error, ImageError):
        return Failed(index=task.index, reason=str(error))
    if isinstance(error, Taken | TakenInPlace | IsInput | OutsidePlace):
        return Failed(index=task.index, reason=_REFUSED[type(error)])
    if not isinstance(error, PlaceError):
        return Failed(index=task.index, reason=f"can't write its output: {type(error).__name__}: {error}")
    reason = error.reason
    if isinstance(error, OtherFileSystem):
        reason = (
            "its folder is on another file system than the output folder; "
            "convert it there: `batchgray run ... --out DIR`"
        )
    if isinstance(error, _FAULTS_OF_ONE_OUTPUT) and not isinstance(error, LockedOut):
        return Failed(index=task.index, reason=f"can't write its output: {reason}")
    return OutputFault(index=task.index, needed=needed, full=isinstance(error, Full), reason=reason)
