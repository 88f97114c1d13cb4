"""Where a worker has its images' sources from: folders as they are, places through `fetching`."""

import contextlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from batchgray.codecs.opening import Source
from batchgray.records import Task


class InHand(NamedTuple):
    """An image whose source is at hand. `task.source` is a path where `source` is one.

    `waited` is how many seconds the worker stood still for it.
    """

    task: Task
    source: Source
    waited: float = 0.0


class Inputs(Protocol):
    """Has sources at hand, in the order in which they are expected."""

    @property
    def room(self) -> int:
        """About how many bytes more could be expected now, while an image is converted."""

    @property
    def is_there(self) -> bool:
        """Whether the next one can be had without waiting."""

    def expect(self, tasks: Sequence[Task]) -> None:
        """These images are converted next, after those that are expected already."""

    def at_hand(self, task: Task) -> contextlib.AbstractContextManager[InHand]:
        """The next image that is expected, for the block. Raises ImageError, PlaceError, Interrupted."""


class Files:
    """See `Inputs`: files that are opened where they lie."""

    room = 0
    is_there = True

    def expect(self, tasks: Sequence[Task]) -> None:
        """There is nothing to do ahead."""

    def at_hand(self, task: Task) -> contextlib.AbstractContextManager[InHand]:
        """See `Inputs`."""
        return contextlib.nullcontext(InHand(task, task.source))
