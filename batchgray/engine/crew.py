"""Supervisors elsewhere that work on a round, for a machine that has no workers: it plans, looks on, and tends them."""

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

# What the logs say of an owner: it has a share, it gave one back last, or neither.
Standing = Literal["holds", "free", "nothing"]


class Progress(msgspec.Struct, frozen=True):
    """What supervisors elsewhere have told since the last time: images that are done, and what of."""

    done: int = 0
    pixels: int = 0
    source_bytes: int = 0
    output_bytes: int = 0

    def __add__(self, other: "Progress") -> "Progress":
        return Progress(*map(sum, zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)))


class Crew(Protocol):
    """Supervisors that join the job."""

    @property
    def workers(self) -> int:
        """How many workers they have, as far as it is known when the work begins."""

    def tend(self, standing: Callable[[str], Standing]) -> Progress:
        """Called some times a second: see that all is as it should be, and wait for nothing.

        `standing` looks at the logs for an owner whose name begins so. Raises BatchgrayError.
        """

    def drain(self, standing: Callable[[str], Standing]) -> None:
        """Have all flush and give back what they have. Returns when they have, or their time is over."""
