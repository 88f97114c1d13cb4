"""The supervisor's states as a table. Pure: no I/O, no clock; what is not in the table is a bug and raises.

PLANNING --> RUNNING ------------------------------> COMMITTING --> FINISHED
                |  notice                               ^
                v                                       |
             DRAINING --deadline--> KILLING --gone------+
                |                                       |
                +-----------------gone------------------+
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


class Trigger(enum.Enum):
    PLANNED = "planned"
    NOTICE = "notice"
    DEADLINE = "deadline"
    DRAINED = "drained"  # the last worker is gone
    COMMITTED = "committed"


TRANSITIONS: dict[tuple[State, Trigger], State] = {
    (State.PLANNING, Trigger.PLANNED): State.RUNNING,
    (State.RUNNING, Trigger.NOTICE): State.DRAINING,
    (State.RUNNING, Trigger.DRAINED): State.COMMITTING,
    (State.DRAINING, Trigger.NOTICE): State.DRAINING,
    (State.DRAINING, Trigger.DEADLINE): State.KILLING,
    (State.DRAINING, Trigger.DRAINED): State.COMMITTING,
    (State.KILLING, Trigger.NOTICE): State.KILLING,
    (State.KILLING, Trigger.DRAINED): State.COMMITTING,
    (State.COMMITTING, Trigger.NOTICE): State.COMMITTING,
    (State.COMMITTING, Trigger.COMMITTED): State.FINISHED,
}


class IllegalTransition(BatchgrayError):
    """internal error: {1} can't happen while {0}. Please report it; what was done is kept."""


class Lifecycle:
    """Where the run is."""

    def __init__(self) -> None:
        self.state = State.PLANNING

    def happened(self, trigger: Trigger) -> None:
        """Take the transition for `trigger`. Raises IllegalTransition."""
        try:
            self.state = TRANSITIONS[self.state, trigger]
        except KeyError:
            raise IllegalTransition(self.state.value, trigger.value) from None
