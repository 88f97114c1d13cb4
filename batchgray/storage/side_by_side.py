"""Several listings read at once by a few threads, ahead of whoever takes what they find, by a bounded number of names.

A listing waits for one answer after another: a store gives a thousand names for each. So a hundred million are an hour
in one stream, and minutes in several.
"""

import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from batchgray.storage.base import Entry

THREADS = 8
_BATCH = 500  # entries
_AHEAD = 2 * THREADS  # batches, of all listings together
_PAUSE_SECONDS = 1.0

Listing = Callable[[], Iterator[Entry]]


class Batch(NamedTuple):
    """What one of the listings found: some entries, in its order, or that it is through."""

    listing: int
    entries: list[Entry]
    is_end: bool


class SideBySide:
    """The batches of several listings, each in its order. To be closed: threads end with the answer they wait for."""

    def __init__(self, listings: Sequence[Listing], threads: int = THREADS) -> None:
        self._listings, self._waiting = listings, iter(range(len(listings)))
        self._next = threading.Lock()
        self._found: queue.Queue[Batch | Exception] = queue.Queue(_AHEAD)
        self._closed = threading.Event()
        for _ in range(min(threads, len(listings))):
            threading.Thread(target=self._list, name="listing", daemon=True).start()

    def batches(self, pause: Callable[[], None]) -> Iterator[Batch]:
        """Until all are through. `pause` is called at least each second, and may raise. Raises what a listing does."""
        ends = 0
        while ends < len(self._listings):
            pause()
            with contextlib.suppress(queue.Empty):
                found = self._found.get(timeout=_PAUSE_SECONDS)
                if isinstance(found, Exception):
                    raise found
                ends += found.is_end
                yield found

    def close(self) -> None:
        """Let the threads end; nothing more is taken from them."""
        self._closed.set()
        with contextlib.suppress(queue.Empty):
            while True:  # each that waits for room puts once more, and there is room for all
                self._found.get_nowait()

    def _list(self) -> None:
        try:
            while not self._closed.is_set() and (number := self._take()) is not None:
                entries = self._listings[number]()
                while (batch := list(itertools.islice(entries, _BATCH))) and not self._closed.is_set():
                    self._found.put(Batch(number, batch, is_end=False))
                self._found.put(Batch(number, [], is_end=True))
        except Exception as error:
            self._found.put(error)

    def _take(self) -> int | None:
        with self._next:
            return next(self._waiting, None)
