"""The drain: which notice interrupted the run, when its workers are killed, and what they had in hand.

Pure but for the clock that it is given: no I/O, no processes.

    first notice  ------------>  deadline = now + grace, or what the machine has left but for the salvage, if less
    notice of another source ->  at most an earlier deadline
    second signal  ----------->  deadline = now
"""

from collections.abc import Callable
from dataclasses import dataclass

from batchgray.notices.inbox import InterruptionNotice

SALVAGE_SECONDS = 5.0


@dataclass(frozen=True)
class Heard:
    """What a notice changed. `seconds` are left until the deadline."""

    first: bool
    second_signal: bool
    seconds: float


class Drain:
    """Begins with the first notice. `in_hand` are the images, by their indices, that the workers then had.

    `second_signal` tells that the user, or the system, does not want to wait for the flush.
    """

    def __init__(self, grace: float, clock: Callable[[], float]) -> None:
        self.notice: InterruptionNotice | None = None
        self.in_hand: list[int] = []
        self.second_signal = False
        self.deadline: float | None = None
        self._grace, self._clock, self._began = grace, clock, 0.0

    @property
    def begun(self) -> bool:
        return self.notice is not None

    @property
    def overdue(self) -> bool:
        """Whether the workers are to be killed."""
        return self.deadline is not None and self._clock() >= self.deadline

    @property
    def seconds(self) -> float:
        """Since the first notice."""
        return self._clock() - self._began

    def hear(self, notice: InterruptionNotice, machine_seconds: float | None, in_hand: list[int]) -> Heard:
        """Take a notice, and move the deadline. `machine_seconds` are left until the machine goes, if that is known."""
        now = self._clock()
        first = self.notice is None
        second_signal = not first and notice.source == "signal"
        self.second_signal |= second_signal
        self.deadline = drain_deadline(now, self._grace, machine_seconds, self.deadline, second_signal)
        if first:
            self.notice, self.in_hand, self._began = notice, in_hand, now
        return Heard(first, second_signal, max(0.0, self.deadline - now))


def drain_deadline(
    now: float, grace: float, machine_seconds: float | None, current: float | None, second_signal: bool
) -> float:
    """When workers are killed: `grace` seconds after the first notice (at `now`), at once at a second signal.

    `machine_seconds` are left until the machine goes, where that is known: salvage and the manifest need the last of
    them. Another notice never moves the `current` deadline away.
    """
    if second_signal:
        return now
    wanted = now + (grace if machine_seconds is None else min(grace, max(0.0, machine_seconds - SALVAGE_SECONDS)))
    return wanted if current is None else min(current, wanted)
