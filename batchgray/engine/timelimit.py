"""Time limits: a decoder can loop for ever, or wait for ever, and neither ends by itself.

What counts is the worker's processor time, so that a busy machine, a slow disk or a small share of a core fails no
image; the clock counts too, many times more generously, for what waits instead of working. Both grow with the pixels.
The clock stands still while the supervisor is stopped, since its workers then mostly are too.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from batchgray import machine
from batchgray.ownclock import OwnClock
from batchgray.planes import slots

CHECK_SECONDS = 1.0  # between two checks of a worker
_LONGEST_STEP = 2 * CHECK_SECONDS  # a supervisor that ran was not later than that

# The slowest sound images measured, WebP and AVIF of 260 megapixels, took 6 to 9 s of processor time: 0.03 s a
# megapixel.
_BUSY_SECONDS, _BUSY_SECONDS_PER_MEGAPIXEL = 10.0, 1.0
_SECONDS, _SECONDS_PER_MEGAPIXEL = 60.0, 5.0


class _Begun(NamedTuple):
    index: int  # type: ignore[assignment]  # tuple.index, which is not missed here
    at: float
    busy: float


class Watch:
    """How long a worker has had the image in its slot in hand."""

    def __init__(self, slot_fd: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._slot_fd = slot_fd
        self._clock = OwnClock(_LONGEST_STEP, clock)
        self._begun: _Begun | None = None

    def forget(self) -> None:
        """The worker waits for others; its time begins anew."""
        self._begun = None

    def exceeded(self, pid: int) -> str | None:
        """The limit that the image is over, in words, or None. To be asked every CHECK_SECONDS."""
        seen, busy, now = slots.peek(self._slot_fd), machine.processor_seconds(pid), self._clock()
        if seen is None or busy is None:
            self._begun = None
            return None
        if self._begun is None or self._begun.index != seen.index:
            self._begun = _Begun(seen.index, now, busy)
        if busy - self._begun.busy > (limit := _BUSY_SECONDS + seen.megapixels * _BUSY_SECONDS_PER_MEGAPIXEL):
            return f"over {limit:.0f} s of processor time"
        if now - self._begun.at > (limit := _SECONDS + seen.megapixels * _SECONDS_PER_MEGAPIXEL):
            return f"over {limit:.0f} s"
        return None
