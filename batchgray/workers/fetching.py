"""Inputs from a place, fetched ahead: while an image is converted, threads fetch those that come next.

    expect --> waiting --(as soon as they fit)--> on their way or fetched --at_hand--> converted, and let go of

Small ones are in memory and go to the decoder as they are; others are files on this machine, fetched piece by piece.
What is in memory stays within a budget. There an input counts twice until it is whole, for what the store's library
holds of it. An image that is only fetched is nothing that anybody could be told of: it is dropped at SIGTERM, and
what its fetching met is told when its turn comes.
"""

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import msgspec

from batchgray.codecs.opening import FetchedInput, Source
from batchgray.errors import INPUT_CHANGED, ImageError, shown
from batchgray.records import Task
from batchgray.storage import durable
from batchgray.storage.base import BadKey, Changed, Denied, LockedOut, Missing, Place, PlaceError, meaning
from batchgray.storage.durable import Folder
from batchgray.storage.names import kind_of
from batchgray.workers.inputs import InHand
from batchgray.workers.interrupt import Interrupt

_AT_ONCE = 32  # fetches
_FEW, _MANY = 2, 64  # images ahead: however large they are, and at most
_FILES = 2  # of inputs that are no small ones: the one in hand and the next
_SHARE_OF_BUDGET = 4  # a small input is at most such a part of it: one in hand and one on its way fit together
_LEAST_PIECE, _LARGEST_PIECE = 1 << 20, 8 << 20  # bytes of an input that becomes a file: a request each
_FAULTS_OF_ONE_INPUT = Missing, Changed, Denied, BadKey
_WHY_NOT: dict[type[PlaceError], str] = {
    Missing: "it is not there any more",
    Changed: INPUT_CHANGED,
}


@dataclass(eq=False)
class _Fetch:
    """An input that was begun: `held` bytes of memory are counted for it, until it is let go of."""

    task: Task
    in_memory: bool
    held: int
    source: "Future[Source]"


class Fetching:
    """See `inputs.Inputs`: the planned versions of inputs in `place`, within `budget` bytes of memory.

    Files are in `scratch`, by the worker's number. `until_certain` waits while the share is in doubt: no image is begun
    meanwhile, though it was handed out before.
    """

    def __init__(
        self,
        place: Place,
        scratch: Folder,
        worker: int,
        interrupt: Interrupt,
        budget: int,
        until_certain: Callable[[], None],
    ) -> None:
        self._place, self._scratch, self._worker, self._interrupt = place, scratch, worker, interrupt
        self._until_certain = until_certain
        self._budget, self._small = budget, budget // _SHARE_OF_BUDGET
        self._piece = min(max(_LEAST_PIECE, self._small), _LARGEST_PIECE)
        self._threads = ThreadPoolExecutor(_AT_ONCE, "fetch")
        self._lock = threading.Lock()  # for all that follows
        self._waiting: deque[Task] = deque()
        self._ahead: deque[_Fetch] = deque()
        self._bytes_ahead = self._held = self._files = 0

    @property
    def room(self) -> int:
        """See `Inputs`."""
        with self._lock:
            images = len(self._waiting) + len(self._ahead)
            left = self._budget // 2 - self._bytes_ahead
            return max(left, 1 if images < _FEW else 0) if images < _MANY else 0

    @property
    def is_there(self) -> bool:
        """See `Inputs`."""
        with self._lock:
            return bool(self._ahead) and self._ahead[0].source.done()

    def expect(self, tasks: Sequence[Task]) -> None:
        """See `Inputs`."""
        with self._lock:
            self._waiting.extend(tasks)
            self._bytes_ahead += sum(task.version.size for task in tasks)
            self._begin_what_fits()

    @contextlib.contextmanager
    def at_hand(self, task: Task) -> Iterator[InHand]:
        """See `Inputs`. With nothing else at hand the next one always fits, and is on its way."""
        began = time.monotonic()
        with self._lock:
            fetch = self._ahead.popleft()
            self._bytes_ahead -= task.version.size
        try:
            with self._interrupt.ending_at_once():  # nothing would be lost with it
                source = fetch.source.result()
                self._until_certain()
            waited = time.monotonic() - began
            name = source if isinstance(source, str) else task.source
            copied = msgspec.structs.replace(
                task, source=name, version=task.version.of_copy(), output_time=task.version.mtime_ns
            )
            yield InHand(copied, source, waited)
        finally:
            self._let_go(fetch)

    def _begin_what_fits(self) -> None:
        while self._waiting and self._fits(self._waiting[0]):
            task = self._waiting.popleft()
            in_memory = self._is_small(task)
            fetch = _Fetch(task, in_memory, self._cost(task), Future())
            self._held += fetch.held
            self._files += not in_memory
            self._ahead.append(fetch)
            self._threads.submit(self._fetch, fetch)

    def _fits(self, task: Task) -> bool:
        if not self._is_small(task) and self._files >= _FILES:
            return False
        return not self._held or self._held + self._cost(task) <= self._budget

    def _is_small(self, task: Task) -> bool:
        return task.version.size <= self._small

    def _cost(self, task: Task) -> int:
        return 2 * min(task.version.size, self._piece)

    def _let_go(self, fetch: _Fetch) -> None:
        if not fetch.in_memory:
            self._scratch.remove(self._name(fetch.task))
        with self._lock:
            self._files -= not fetch.in_memory
            self._count(fetch, 0)

    def _count(self, fetch: _Fetch, held: int) -> None:
        """So much is held of an input from now on, and others may fit."""
        self._held += held - fetch.held
        fetch.held = held
        self._begin_what_fits()

    def _fetch(self, fetch: _Fetch) -> None:
        """In a thread."""
        try:
            source = self._in_memory(fetch.task) if fetch.in_memory else self._as_file(fetch.task)
        except BaseException as error:
            fetch.source.set_exception(error)
        else:
            with self._lock:
                self._count(fetch, fetch.task.version.size if fetch.in_memory else 0)
            fetch.source.set_result(source)

    def _in_memory(self, task: Task) -> FetchedInput:
        """Raises ImageError where it is the image's fault, PlaceError."""
        size = task.version.size
        return FetchedInput(self._read(task, 0, size) if size else b"", task.version.of_copy())

    def _as_file(self, task: Task) -> str:
        """Raises ImageError where it is the image's fault, PlaceError."""
        name = self._name(task)
        with meaning(name):
            with self._scratch.temporary(name) as fd:
                for start in range(0, task.version.size, self._piece):
                    durable.write_all(fd, self._read(task, start, min(start + self._piece, task.version.size)))
                moment = task.version.of_copy().mtime_ns
                os.utime(fd, ns=(moment, moment))
            os.close(fd)
        return str(self._scratch.path / name)

    def _name(self, task: Task) -> str:
        return f"in-{self._worker}-{task.index}{kind_of(task.source)}"

    def _read(self, task: Task, start: int, end: int) -> bytes:
        try:
            return self._place.get(task.source, task.version, start, end)
        except PlaceError as error:
            if isinstance(error, _FAULTS_OF_ONE_INPUT) and not isinstance(error, LockedOut):
                raise ImageError(_WHY_NOT.get(type(error), error.reason)) from None
            reason = f"can't read {shown(f'{self._place.name}/{task.source}')}: {error.reason}"
            raise type(error)(task.source, reason) from None
