"""Beside the work on a share: the next one's plan is read, and hints are put, so that no worker waits for either."""

import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from batchgray.planning.shares import Share
from batchgray.storage.base import PlaceError

_AT_ONCE = 2


class Beside:
    """`read` reads a share by its number, in a thread."""

    def __init__(self, read: Callable[[int], Share]) -> None:
        self._read = read
        self._threads = ThreadPoolExecutor(_AT_ONCE, "beside")
        self._expected: tuple[int, Future[Share]] | None = None
        self._hints: list[Future[None]] = []

    @property
    def expects(self) -> bool:
        """Whether a share was expected, and none was asked for since."""
        return self._expected is not None

    def expect(self, number: int) -> None:
        """This share seems to be the next."""
        self._expected = number, self._threads.submit(self._read, number)

    def share(self, number: int) -> Share:
        """Read by now, or read now. Raises as `read` does: what was met long ago, by the way, may be over."""
        expected, self._expected = self._expected, None
        if expected is not None and expected[0] == number and expected[1].exception() is None:
            return expected[1].result()
        return self._read(number)

    def put(self, hint: Callable[[], None]) -> None:
        """Have it put soon; whatever comes of it is nobody's loss."""
        self._hints.append(self._threads.submit(hint))

    def settle(self) -> None:
        """Wait until all hints are put, or could not be."""
        for hint in self._hints:
            with contextlib.suppress(PlaceError):
                hint.result()
        self._hints.clear()

    def close(self) -> None:
        self.settle()
        self._threads.shutdown(cancel_futures=True)
