"""To whom the supervisor reports. On one machine that is the ledger."""

from typing import Protocol

from batchgray.notices.inbox import InterruptionNotice
from batchgray.records import Task
from batchgray.workers.messages import Flushed, ImageDone


class Reporter(Protocol):
    """Hears of all that happens, in this order, in the supervisor's thread, and should not take long."""

    @property
    def disk_full(self) -> bool:
        """Whether it found no space for what it was told."""
        ...

    def started(self, task: Task, worker: int) -> None:
        """An image was handed to the worker of that number."""

    def done(self, items: list[ImageDone]) -> None:
        """Outputs that are durable."""

    def flushed(self, item: Flushed) -> None:
        """Finished tiles of a begun image that are durable."""

    def failed(self, index: int, reason: str) -> None:
        """An image that can't be converted."""

    def suspected(self, index: int, cause: str) -> None:
        """A worker died on an image, which is tried once more, alone."""

    def worker_ended(self, worker: int) -> None:
        """The worker of that number is gone, and what it had in hand is put back."""

    def warned(self, message: str) -> None:
        """Something is not as it should be, while the work goes on."""

    def noticed(self, notice: InterruptionNotice, seconds: float, in_hand: int, again: bool) -> None:
        """The run is interrupted, with so many seconds to flush what is in hand; `again` by a second signal."""

    def drained(self, in_hand: list[int], seconds: float) -> None:
        """All is committed, so many seconds after the notice that found these images in hand."""

    def sync(self) -> float:
        """Bring to the disk what is due. Returns the moment of the next time, by the monotonic clock."""
        ...

    def commit(self, notice: InterruptionNotice | None) -> None:
        """No worker is left: make the end durable, and which notice interrupted the run, if one did."""
