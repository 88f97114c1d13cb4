"""Several threads at one image: they begin its parts in turn, and what comes of each is taken in order.

    parts --next--> work --> take
    one at a time   all at   one at a time,
                    once     in order

All threads are alike, so that none of them waits for another as long as there is something to do. The calling thread
does nothing but wait, as signals are heard there: between two looks it may do what takes little, or waits for the disk.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Made = TypeVar("Made")

_LOOK_SECONDS = 0.02  # between two looks at whether something came
_AHEAD = 2  # parts for each thread, that may be begun before the oldest one is done


class SideBySide(Generic[Made]):
    """`parts` are functions that make something, each called once, by any thread; `take` gets what they made.

    `cores` is asked again and again for how many threads may be at work, at least one of `most`.
    """

    def __init__(
        self,
        parts: Iterator[Callable[[], Made]],
        take: Callable[[Made], None],
        cores: Callable[[], int],
        most: int,
    ) -> None:
        self._parts, self._take, self._cores, self._most = parts, take, cores, most
        self._reading, self._taking = threading.Lock(), threading.Lock()
        self._changed = threading.Condition()
        self._begun = self._taken = self._running = 0
        self._made: dict[int, Made] = {}
        self._ended = self._parts_are_over = False
        self._failure: BaseException | None = None

    def run(self, look: Callable[[], bool]) -> bool:
        """Work until nothing is left, and return True; or until `look`, called every so often, returns True.

        Then what is begun is finished and taken, and nothing more is begun: returns whether nothing was left. Raises
        what a part, or `take`, raised first.
        """
        threads = [threading.Thread(target=self._work, args=[number], daemon=True) for number in range(self._most)]
        self._running = len(threads)
        for thread in threads:
            thread.start()
        try:
            while not self._wait():
                if look():
                    break
        finally:
            self._end()
            for thread in threads:
                thread.join()
        if self._failure is not None:
            raise self._failure
        return self._parts_are_over

    def _wait(self) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, _LOOK_SECONDS)

    def _end(self, failure: BaseException | None = None) -> None:
        with self._changed:
            self._ended = True
            self._failure = self._failure or failure
            self._changed.notify_all()

    def _work(self, number: int) -> None:
        try:
            while (begun := self._next(number)) is not None:
                place, part = begun
                self._put(place, part())
        except BaseException as error:
            self._end(error)
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def _next(self, number: int) -> tuple[int, Callable[[], Made]] | None:
        """The next part and its place, when there is a core for it; None where nothing more is to be begun."""
        while not self._may_begin(number):
            with self._changed:
                if self._ended:
                    return None
                self._changed.wait(_LOOK_SECONDS)
        with self._reading:
            if self._ended:
                return None
            part = next(self._parts, None)
            if part is None:
                self._parts_are_over = True
                self._end()
                return None
            self._begun += 1
            return self._begun - 1, part

    def _may_begin(self, number: int) -> bool:
        return number < max(1, self._cores()) and self._begun - self._taken < _AHEAD * self._most

    def _put(self, place: int, made: Made) -> None:
        with self._taking:
            self._made[place] = made
            while self._taken in self._made and self._failure is None:
                self._take(self._made.pop(self._taken))
                self._taken += 1
        with self._changed:
            self._changed.notify_all()
