"""The one inbox, what comes into it, and what a listener to notices is: it puts them there, and decides nothing."""

import contextlib
import os
from collections import deque
from datetime import datetime
from typing import Protocol

import msgspec

from batchgray.events import NoticeSource

OLD_SECONDS = 600.0  # twice the notice that an instance gets: an event as old is of one that is gone, or that was left


class InterruptionNotice(msgspec.Struct, frozen=True, kw_only=True):
    """This machine, or this run, is about to be stopped.

    `event_id` makes the same notice one, however often it comes; `deadline` is when the machine goes, UTC in ISO 8601,
    where that is known. What it takes to acknowledge it, its listener keeps.
    """

    source: NoticeSource
    event_id: str | None
    deadline: str | None = None

    def seconds_left(self, now: datetime) -> float | None:
        """From `now` (UTC) to the deadline; None where there is none, or it is no time."""
        try:
            return (datetime.fromisoformat(self.deadline) - now).total_seconds() if self.deadline else None
        except (ValueError, TypeError):
            return None


class NoticeListener(Protocol):
    """Hears notices of one kind; `name` tells people where they come from."""

    name: str

    def start(self, inbox: "Inbox") -> None:
        """Begin to listen. Raises UsageError where that can't work."""

    def acknowledge(self, notice: InterruptionNotice) -> str | None:
        """The flush that `notice` led to is durable; the notice may be another listener's.

        Returns None, or in words why the acknowledgement failed for good.
        """

    def stop(self) -> None:
        """Stop listening; returns when nothing more will come."""


class Complaint(msgspec.Struct, frozen=True):
    """Something a listener finds wrong while the work goes on, in words."""

    message: str


class Inbox:
    """The one place where notices (and complaints) arrive, from signal handlers and threads.

    Its descriptor is readable while there are some.
    """

    def __init__(self) -> None:
        self._items: deque[InterruptionNotice | Complaint] = deque()  # its append may be interrupted by a handler's
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._closed = False

    def put(self, item: InterruptionNotice | Complaint) -> None:
        if self._closed:
            return  # from a listener that was too slow to stop: the descriptor's number may be in use for another file
        self._items.append(item)
        with contextlib.suppress(BlockingIOError):  # full: it is readable already
            os.write(self._writer, b"\0")

    def take(self) -> list[InterruptionNotice | Complaint]:
        """All that have come, oldest first."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 4096):
                pass
        taken = []
        while self._items:
            taken.append(self._items.popleft())
        return taken

    @property
    def notice(self) -> InterruptionNotice | None:
        """The oldest notice that has come and was not taken."""
        return next((item for item in tuple(self._items) if isinstance(item, InterruptionNotice)), None)

    def fileno(self) -> int:
        return self._reader

    def close(self) -> None:
        self._closed = True
        os.close(self._reader)
        os.close(self._writer)
