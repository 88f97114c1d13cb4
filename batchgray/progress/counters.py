"""What has come so far, and how long the rest will take.

Planning knows the bytes of what there is to do, and nothing of its pixels: no file is opened before its turn. What
takes time is pixels, and how many a byte holds differs tenfold between a JPEG and a PNG. So each kind of file (its
suffix) teaches its own pixels a byte, and its own worker seconds a pixel; all kinds together stand in for one of
which no image is done yet. How many workers' seconds go into a second is measured too: waiting for the disk is in it.
"""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from batchgray import events, quantities
from batchgray.storage.names import kind_of


class InHand(NamedTuple):
    """An image that a worker is at: for how many seconds by now."""

    worker: int
    source: str
    seconds: float


class _Kind:
    """What is known of one kind of file: bytes to come, and what was seen of the finished ones."""

    __slots__ = ("bytes", "bytes_left", "pixels", "seconds")

    def __init__(self) -> None:
        self.bytes_left = self.bytes = self.pixels = 0
        self.seconds = 0.0


class _Worker:
    """What was handed to a worker and has not come back, in its order: source and size by output."""

    __slots__ = ("since", "tasks")

    def __init__(self) -> None:
        self.tasks: dict[str, tuple[str, int]] = {}
        self.since = 0.0


class Counters:
    """Counts events. Cheap for each of them (some microseconds); what is shown is computed when it is asked for."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = self.done = self.failed = 0
        self.converted = 0  # by this run
        self._earlier = _Kind()  # what earlier runs have done
        self._pixels = 0
        self.begun = False
        self._complete, self._gone, self._before = True, 0, 0
        self._listed: dict[str, int] = {}
        self._clock = clock
        self._kinds: dict[str, _Kind] = {}
        self._workers: dict[int, _Worker] = {}
        self._worker_of: dict[str, _Worker] = {}
        self._most_workers = 1
        self._planned = self._began = self._counted = clock()

    def count(self, event: events.Event) -> None:
        match event:
            case events.Started():
                self._start(event)
            case events.Done():
                self.done += 1
                self.converted += 1
                self._pixels += event.width * event.height
                kind = self._end(event.source, event.output, event.source_bytes)
                kind.bytes += event.source_bytes
                kind.pixels += event.width * event.height
                kind.seconds += event.seconds
            case events.Failed():
                self.failed += 1
                self._end(event.source, event.output, event.source_bytes)
            case events.WorkerEnded():
                gone = self._workers.pop(event.worker, None)
                for output in gone.tasks if gone else ():
                    self._worker_of.pop(output, None)
            case events.Planned():
                self._plan(event)
            case events.Listed():
                self._list(event)

    def _plan(self, event: events.Planned) -> None:
        self.total, self.done, self._most_workers = event.total - event.gone, event.done, event.workers
        self._earlier.bytes, self._earlier.pixels = event.done_bytes, event.done_pixels
        self._complete, self._gone = event.complete, event.gone
        self._listed, self._before = event.todo_bytes_by_kind, event.done
        for suffix, size in event.todo_bytes_by_kind.items():
            self._kinds.setdefault(suffix, _Kind()).bytes_left += size
        self._planned = self._began = self._counted = self._clock()

    def _list(self, event: events.Listed) -> None:
        """What is known of the list now, instead of what was."""
        self.total, self._complete = event.total - self._gone, event.complete
        self.done += event.done - self._before
        for suffix in event.todo_bytes_by_kind.keys() | self._listed.keys():
            kind = self._kinds.setdefault(suffix, _Kind())
            more = event.todo_bytes_by_kind.get(suffix, 0) - self._listed.get(suffix, 0)
            kind.bytes_left = max(0, kind.bytes_left + more)
        self._listed, self._before = event.todo_bytes_by_kind, event.done

    def _start(self, event: events.Started) -> None:
        now = self._clock()
        if not self.begun:
            self.begun, self._began = True, now  # the workers' own start teaches nothing of the images
        worker = self._workers.get(event.worker) or self._workers.setdefault(event.worker, _Worker())
        if not worker.tasks:
            worker.since = now
        worker.tasks[event.output] = (event.source, event.source_bytes)
        self._worker_of[event.output] = worker

    def _end(self, source: str, output: str, size: int) -> _Kind:
        self._counted = now = self._clock()
        worker = self._worker_of.pop(output, None)
        if worker is not None:
            worker.tasks.pop(output, None)
            worker.since = now
        suffix = kind_of(source)
        kind = self._kinds.get(suffix) or self._kinds.setdefault(suffix, _Kind())
        kind.bytes_left = max(0, kind.bytes_left - size)
        return kind

    @property
    def total_words(self) -> str:
        """How many images there are, as far as that is known."""
        return f"{self.total:,}" if self._complete else f"at least {self.total:,}"

    @property
    def seconds(self) -> float:
        """Since the plan was made."""
        return self._clock() - self._planned

    @property
    def pixels(self) -> int:
        """Of all images that are done, whichever run did them."""
        return self._earlier.pixels + self._pixels

    @property
    def rate(self) -> str:
        """How fast this run is, in words, since its first image was handed out and as far as images were counted."""
        return quantities.rate(self._pixels, self.converted, self._counted - self._began) if self.converted else ""

    @property
    def pixels_left(self) -> float | None:
        """None while nothing is known."""
        if not self.pixels:
            return None
        return sum(kind.bytes_left * self._pixels_a_byte(kind) for kind in self._kinds.values())

    @property
    def share(self) -> float:
        """How much of the work is done, from 0 to 1, by pixels: of all runs together, as `done` and `total` are."""
        left = self.pixels_left
        return 0.0 if left is None else self.pixels / (self.pixels + left)

    @property
    def seconds_left(self) -> float | None:
        """None while nothing is known."""
        elapsed = self._clock() - self._began
        if not self._pixels or elapsed <= 0:
            return None
        work = sum(
            kind.bytes_left * self._pixels_a_byte(kind) * self._seconds_a_pixel(kind) for kind in self._kinds.values()
        )
        # Without the time that the images in hand have had already, a large one would stop the clock, and one that
        # no other follows would turn it back.
        spent = [(seconds, self._expected(source, size)) for _, source, size, seconds in self._hands()]
        work -= sum(min(pair) for pair in spent)
        at_once = (sum(kind.seconds for kind in self._kinds.values()) + sum(had for had, _ in spent)) / elapsed
        return max(0.0, work) / min(max(at_once, 0.01), self._most_workers)

    def in_hand(self) -> list[InHand]:
        """What each worker is at, in their order."""
        return sorted(InHand(worker, source, seconds) for worker, source, _, seconds in self._hands())

    def _hands(self) -> Iterator[tuple[int, str, int, float]]:
        """Worker, source, size and seconds so far. A worker takes what it was handed in its order."""
        now = self._clock()
        for number, worker in self._workers.items():
            if worker.tasks:
                source, size = next(iter(worker.tasks.values()))
                yield number, source, size, now - worker.since

    def _expected(self, source: str, size: int) -> float:
        kind = self._kinds.get(kind_of(source)) or _Kind()
        return size * self._pixels_a_byte(kind) * self._seconds_a_pixel(kind)

    def _pixels_a_byte(self, kind: _Kind) -> float:
        seen = [kind] if kind.pixels else list(self._kinds.values()) if self._pixels else [self._earlier]
        return sum(each.pixels for each in seen) / max(1, sum(each.bytes for each in seen))

    def _seconds_a_pixel(self, kind: _Kind) -> float:
        seen = [kind] if kind.pixels else self._kinds.values()
        return sum(each.seconds for each in seen) / max(1, sum(each.pixels for each in seen))
