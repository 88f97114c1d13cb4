"""A machine's mark that it is idle, on a share that another machine works on: it would take a part of it."""

import contextlib
import itertools
import os
from collections.abc import Callable, Mapping

from batchgray.engine import pace
from batchgray.manifest.job_round import Round
from batchgray.ownclock import machine_clock
from batchgray.storage.base import Place, PlaceError


class IdleMark:
    """One at a time. A mark that is left does no harm: each counts once."""

    def __init__(self, place: Place, round: Round, clock: Callable[[], float] = machine_clock) -> None:
        self._place, self._round, self._clock = place, round, clock
        self._share = self._key = ""
        self._move_at = 0.0

    def put(self, held: Mapping[str, int | None]) -> None:
        """On one of these shares, each with the seconds of work that are left, where that is known.

        It stays there for some time, so that it can be seen, and then asks for another. Where more is left it comes
        more often, in proportion: many machines that are idle ask where there is most to be had, and not all the same.
        """
        if self._share in held and self._clock() < self._move_at:
            return
        self.take_off()
        if held:
            nonce = os.urandom(8)
            self._share = _drawn(held, int.from_bytes(nonce) / 2**64)
            self._key = f"{self._round.idle(self._share)}/{nonce.hex()}"
            self._move_at = self._clock() + pace.look_seconds()
            with contextlib.suppress(PlaceError):
                self._place.put(self._key, b"")

    def take_off(self) -> None:
        if self._share:
            with contextlib.suppress(PlaceError):
                self._place.delete(self._key)
            self._share = self._key = ""


def _drawn(held: Mapping[str, int | None], chance: float) -> str:
    """By a number from 0 up to 1. What is left of a share is not known where its last entry was not read."""
    known = {share: left for share, left in held.items() if left}
    weights = known or dict.fromkeys(held, 1)
    sums = itertools.accumulate(weights.values())
    drawn = chance * sum(weights.values())
    return next(share for share, sum_ in zip(weights, sums, strict=True) if drawn < sum_)
