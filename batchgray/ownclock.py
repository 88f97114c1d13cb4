"""A clock that stands still while this process does: batch systems and people stop whole groups (SIGSTOP, Ctrl-Z)."""

import time
from collections.abc import Callable


class OwnClock:
    """Seconds in which this process ran, from any beginning.

    No clock of the system leaves out the time in which a process was stopped. So this one is to be read every `step`
    seconds or more often, and of a longer time between two readings it counts `step`.
    """

    def __init__(self, step: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._step, self._clock = step, clock
        self._read_at = clock()
        self._seconds = 0.0

    def __call__(self) -> float:
        now = self._clock()
        self._seconds += min(now - self._read_at, self._step)
        self._read_at = now
        return self._seconds


def machine_clock() -> float:
    """Seconds that also count while the machine is suspended, where the system has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
