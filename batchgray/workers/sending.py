"""Finished outputs into a place, beside the conversion: several puts at once, each told when it was answered.

A put waits for the store's answer, and while it does others go, and the next image is converted. What waits to be sent
is in memory within a budget; what is too large for that is in a file. A put is durable when it is answered, so there
is nothing to sync; what is told goes in groups, as a message costs the supervisor more than what is in it.
"""

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from batchgray.checkpoints.base import Checkpoints
from batchgray.codecs.faults import joined
from batchgray.storage.base import PlaceError, meaning
from batchgray.storage.folder import FolderPlace
from batchgray.storage.place_publishing import PlacePublisher
from batchgray.storage.scratch import HeldFile
from batchgray.workers.committer import NO_TIME, Report, Written, failure
from batchgray.workers.messages import Done, Failed, ImageDone, OutputFault

_AT_ONCE = 32  # puts
_ON_THE_WAY = 64  # outputs, those that wait for a thread included
_GROUP = 48
_GATHERING_SECONDS = 0.02

_Answer = ImageDone | Failed | OutputFault


class Sender(threading.Thread):
    """See `committer.Outbox`. `held_bytes` is how large an output may be that is kept in memory.

    In `timed`, the folder that the outputs are put into, they get the modification times of their inputs.
    """

    def __init__(
        self,
        publisher: PlacePublisher,
        checkpoints: Checkpoints,
        report: Report,
        broken: Callable[[BaseException], None],
        budget: int,
        timed: FolderPlace | None = None,
    ) -> None:
        super().__init__(name="sender", daemon=True)
        self._timed = timed
        self._publisher, self._checkpoints = publisher, checkpoints
        self._report, self._broken, self._budget = report, broken, budget
        self.held_bytes = budget // 2
        self._threads = ThreadPoolExecutor(_AT_ONCE, "put")
        self._changed = threading.Condition()  # for all that follows
        self._answers: list[_Answer] = []
        self._on_the_way = self._bytes = 0
        self._finishing = False

    def put(self, written: Written) -> None:
        """See `Outbox`."""
        size = written.file.size if isinstance(written.file, HeldFile) else 0
        with self._changed:
            self._changed.wait_for(lambda: self._has_room(size))
            self._on_the_way += 1
            self._bytes += size
        self._threads.submit(self._send, written, size)

    def commit_now(self) -> None:
        """See `Outbox`. Nothing was waited for."""

    def finish(self) -> None:
        """See `Outbox`."""
        with self._changed:
            self._finishing = True
            self._changed.notify_all()
        self.join()

    def run(self) -> None:
        try:
            while answers := self._next_answers():
                if done := [answer for answer in answers if isinstance(answer, ImageDone)]:
                    self._report(Done(images=done))
                for answer in answers:
                    if not isinstance(answer, ImageDone):
                        self._report(answer)
        except BaseException as error:
            self._broken(error)

    def _has_room(self, size: int) -> bool:
        return not self._on_the_way or (self._on_the_way < _ON_THE_WAY and self._bytes + size <= self._budget)

    def _next_answers(self) -> list[_Answer]:
        """What came together within a moment, at least one; empty after `finish`, when nothing is on the way."""
        with self._changed:
            self._changed.wait_for(lambda: self._answers or (self._finishing and not self._on_the_way))
            self._changed.wait_for(lambda: not self._on_the_way or len(self._answers) >= _GROUP, _GATHERING_SECONDS)
            answers, self._answers = self._answers, []
        return answers

    def _send(self, written: Written, size: int) -> None:
        """In a thread."""
        answer = self._publish(written)
        with self._changed:
            self._answers.append(answer)
            self._on_the_way -= 1
            self._bytes -= size
            self._changed.notify_all()

    def _publish(self, written: Written) -> _Answer:
        output, done = written.task.output, written.done
        try:
            with meaning(output):
                self._publisher.put(output, written.file, written.task.replaces)
                if self._timed is not None and not self._timed.set_time(output, written.task.output_time):
                    done = msgspec.structs.replace(done, note=joined(done.note, NO_TIME))
                if written.begun and written.task.preview:
                    self._checkpoints.discard_preview(output)
        except Exception as error:  # whatever it is, it costs this output and no other
            return failure(written.task, error, written.done.output_size)
        if written.begun:
            with contextlib.suppress(PlaceError):  # it is cleaned up when the job is finished
                self._checkpoints.remove(output)
        return done
