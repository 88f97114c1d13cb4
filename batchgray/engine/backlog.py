"""The backlog: what is to be done, in which order, and what the deaths of workers mean for it.

Pure: no I/O, no clock, no processes. An image is in one place at a time:

    waiting --take_chunk--> in a worker's hands --done or failed--> (the reporter's)
       ^                       |           |
       +------put_back---------+           | blame: a worker died on it, for the first time
       |                                   v
       +--release_suspect, when nothing is in hand-- suspects
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from batchgray.records import Task

CHUNK_BYTES = 1 << 20  # some 20 ms of work, in which the round trip to the supervisor is lost
CHUNK_IMAGES = 64
DEATHS_PER_IMAGE = 2
DEATHS_IN_VAIN = 3


class Tasks(Protocol):
    """What there is to be done. A task is made when it is handed out: a million of them would weigh more than the plan.

    `indices` are those of the images to work on, in the plan's order.
    """

    @property
    def indices(self) -> Sequence[int]: ...
    def size(self, index: int) -> int:
        """Bytes of the image's source."""
        ...

    def task(self, index: int) -> Task: ...
    def share_out(self, backlog: "Backlog") -> None:
        """Take from what waits, from time to time, what others are to do."""
        ...


class Backlog:
    """What no worker has in hand. Its length counts what waits, without the suspects."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._waiting = deque(largest_first(tasks.indices, tasks.size))
        self._suspects: deque[int] = deque()  # a worker died on each; they are tried once more, alone, at the end
        self._deaths: Counter[int] = Counter()
        self._deaths_in_vain = 0
        self._begun: set[int] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def bytes(self) -> int:
        """Of the sources of what waits, without the suspects."""
        return sum(map(self._tasks.size, self._waiting))

    @property
    def has_work(self) -> bool:
        """Whether anything waits, suspects included."""
        return bool(self._waiting or self._suspects)

    def can_spare(self, workers: int) -> bool:
        """Whether one of so many workers may get more than it has in hand, with enough left for the others."""
        return len(self._waiting) > workers

    def take_chunk(self, workers: int, chunk_bytes: int = CHUNK_BYTES) -> list[Task]:
        """What one of so many workers gets next: a large image, or some small ones. Fewer towards the end.

        So the round trips cost nothing, and all workers end together.
        """
        chunk: list[Task] = []
        size = 0
        most = min(CHUNK_IMAGES, max(1, len(self._waiting) // (2 * workers)))
        while self._waiting and size < chunk_bytes and len(chunk) < most:
            task = self._task(self._waiting.popleft())
            chunk.append(task)
            size += task.version.size
        return chunk

    def give_away(self, parts: int) -> list[list[int]]:
        """So many parts of what waits, each as much as is kept. They are somebody else's now."""
        waiting = list(self._waiting)
        self._waiting = deque(waiting[:: parts + 1])
        return [waiting[number :: parts + 1] for number in range(1, parts + 1)]

    def put_back(self, indices: Iterable[int]) -> None:
        """What a worker had in hand when it ended; it comes next."""
        self._waiting.extendleft(sorted(indices, reverse=True))

    def mark_begun(self, index: int) -> None:
        """Finished tiles of the image are durable: whoever is handed it next resumes from them."""
        self._begun.add(index)

    def release_suspect(self) -> None:
        """Let one be tried, if nothing else waits. To be called when no worker has anything in hand."""
        if self._suspects and not self._waiting:
            self._waiting.append(self._suspects.popleft())

    def blame(self, index: int) -> bool:
        """A worker died on this image. Returns whether it is tried once more; else it has failed."""
        self._deaths[index] += 1
        once_more = self._deaths[index] < DEATHS_PER_IMAGE
        if once_more:
            self._suspects.append(index)
        return once_more

    def count_death_in_vain(self) -> bool:
        """A worker died with no image in hand. Returns whether work can go on: not after several in a row."""
        self._deaths_in_vain += 1
        return self._deaths_in_vain < DEATHS_IN_VAIN

    def forget_deaths_in_vain(self) -> None:
        """An image was done, or failed by itself: workers do work."""
        self._deaths_in_vain = 0

    def _task(self, index: int) -> Task:
        task = self._tasks.task(index)
        return msgspec.structs.replace(task, resumable=True) if index in self._begun else task


def largest_first(indices: Iterable[int], size: Callable[[int], int]) -> list[int]:
    """The large files by their sizes, the others in the order in which they come.

    So no worker is left alone with a large one at the end, and each gets nearly all the memory it will need at once.
    """
    return sorted(indices, key=lambda index: -max(size(index), CHUNK_BYTES))
