"""The supervisor's states as a table. Pure: no I/O, no clock; what is not in the table is a bug and raises.

    PLANNING --> RUNNING ------------------------------> COMMITTING --> FINISHED
                    |  notice                               ^
                    v                                       |
                 DRAINING --deadline--> KILLING --gone------+
                    |                                       |
                    +-----------------gone------------------+

An interruption is a path, not a state: a run that was DRAINING once ends interrupted, whatever finished meanwhile.
"""

import enum

from batchgray.errors import BatchgrayError


class State(enum.Enum):
    PLANNING = "planning"
    RUNNING = "running"
    DRAINING = "draining"  # nothing is handed out; workers flush what they have in hand
    KILLING = "killing"  # the deadline passed; workers are killed and salvaged from their slots
    COMMITTING = "committing"  # no worker is left; the manifest is being made durable
    FINISHED = "finished"  # the manifest is durable; only now may a notice be acknowledged


class Event(enum.Enum):
    PLANNED = "planned"
    NOTICE = "notice"
    DEADLINE = "deadline"
    DRAINED = "drained"  # the last worker is gone
    COMMITTED = "committed"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.PLANNING, Event.PLANNED): State.RUNNING,
    (State.RUNNING, Event.NOTICE): State.DRAINING,
    (State.RUNNING, Event.DRAINED): State.COMMITTING,
    (State.DRAINING, Event.NOTICE): State.DRAINING,
    (State.DRAINING, Event.DEADLINE): State.KILLING,
    (State.DRAINING, Event.DRAINED): State.COMMITTING,
    (State.KILLING, Event.NOTICE): State.KILLING,
    (State.KILLING, Event.DRAINED): State.COMMITTING,
    (State.COMMITTING, Event.NOTICE): State.COMMITTING,
    (State.COMMITTING, Event.COMMITTED): State.FINISHED,
}


class IllegalTransition(BatchgrayError):
    """internal error: {1} can't happen while {0}. Please report it; what was done is kept."""


class Lifecycle:
    """Where the run is, and whether it was interrupted."""

    def __init__(self) -> None:
        self.state = State.PLANNING
        self.interrupted = False

    def happened(self, event: Event) -> None:
        """Take the transition for `event`. Raises IllegalTransition."""
        try:
            self.state = TRANSITIONS[self.state, event]
        except KeyError:
            raise IllegalTransition(self.state.value, event.value) from None
        self.interrupted |= self.state is State.DRAINING


def drain_deadline(now: float, grace: float, current: float | None, again: bool) -> float:
    """When workers are killed: `grace` seconds after the first notice (at `now`), at once when a signal comes again."""
    if current is None:
        return now + grace
    return now if again else current
