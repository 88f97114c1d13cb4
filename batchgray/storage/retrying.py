"""Trying again what fails for a time: for a while, with pauses that grow.

They are drawn, so that a fleet does not come back in step: a pause is anything from nothing to a bound that doubles
("full jitter"), and no shorter than the service asked for.
"""

import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from batchgray.storage.base import PlaceError

T = TypeVar("T")

_FIRST_SECONDS = 0.1
_MOST_SECONDS = 5.0


class Again(Exception):
    """It failed, and may work later: `error` is why, and `after` how long the service wants to be left alone."""

    def __init__(self, error: PlaceError, after: float = 0.0) -> None:
        super().__init__(error)
        self.error, self.after = error, after


def persist(attempt: Callable[[], T], patience: float) -> T:
    """What `attempt` returns, once it does not raise Again any more.

    Raises its PlaceError where it still does after `patience` seconds, or would not be tried again before.
    """
    until = time.monotonic() + patience
    for bound in _bounds():
        try:
            return attempt()
        except Again as again:
            pause = max(again.after, random.uniform(0, bound))
            if time.monotonic() + pause >= until:
                raise again.error from again
        time.sleep(pause)
    raise AssertionError("there is always another pause")


def _bounds() -> Iterator[float]:
    bound = _FIRST_SECONDS
    while True:
        yield bound
        bound = min(2 * bound, _MOST_SECONDS)
