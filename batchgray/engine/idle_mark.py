"""A machine's mark that it is idle, on a share that another machine works on: it would take a part of it."""

import contextlib
import os
from collections.abc import Callable, Sequence

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

    def put(self, held: Sequence[str]) -> None:
        """On one of these shares. It stays there for some time, so that it can be seen, and then asks for another."""
        if self._share in held and self._clock() < self._move_at:
            return
        self.take_off()
        if held:
            nonce = os.urandom(8)
            self._share = held[int.from_bytes(nonce) % len(held)]
            self._key = f"{self._round.idle(self._share)}/{nonce.hex()}"
            self._move_at = self._clock() + pace.look_seconds()
            with contextlib.suppress(PlaceError):
                self._place.put(self._key, b"")

    def take_off(self) -> None:
        if self._share:
            with contextlib.suppress(PlaceError):
                self._place.delete(self._key)
            self._share = self._key = ""
