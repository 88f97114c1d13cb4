"""Trying again what fails for a time: for a while, with pauses that grow.

They are drawn, so that a fleet does not come back in step: a pause is what the service asked for, and from nothing to
a bound that doubles ("full jitter") on top. What tries again as a part of what is tried again has no more time than
that has left.
"""

import contextlib
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from batchgray.storage.base import PlaceError

T = TypeVar("T")

_FIRST_SECONDS = 0.1
_MOST_SECONDS = 5.0

_outer = threading.local()  # `until`: when this thread's patience ends


class Again(Exception):
    """It failed, and may work later: `error` is why, and `after` how long the service wants to be left alone."""

    def __init__(self, error: PlaceError, after: float = 0.0) -> None:
        super().__init__(error)
        self.error, self.after = error, after


def persist(attempt: Callable[[], T], patience: float) -> T:
    """What `attempt` returns, once it does not raise Again any more.

    Raises its PlaceError where it still does after `patience` seconds, or would not be tried again before.
    """
    with _until(time.monotonic() + patience) as until:
        return _persist(attempt, until)


def _persist(attempt: Callable[[], T], until: float) -> T:
    for bound in _bounds():
        try:
            return attempt()
        except Again as again:
            pause = again.after + random.uniform(0, bound)
            if time.monotonic() + pause >= until:
                raise again.error from again
        time.sleep(pause)
    raise AssertionError("there is always another pause")


@contextlib.contextmanager
def _until(wanted: float) -> Iterator[float]:
    before = getattr(_outer, "until", math.inf)
    _outer.until = min(before, wanted)
    try:
        yield _outer.until
    finally:
        _outer.until = before


def _bounds() -> Iterator[float]:
    bound = _FIRST_SECONDS
    while True:
        yield bound
        bound = min(2 * bound, _MOST_SECONDS)
