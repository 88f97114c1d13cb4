"""Interruption notices: sources put them into one inbox, and never decide anything."""

import contextlib
import os
import queue
from typing import Protocol

import msgspec

from batchgray.manifest import NoticeSource


class InterruptionNotice(msgspec.Struct, frozen=True, kw_only=True):
    """This machine, or this run, is about to be stopped.

    `event_id` makes the same notice one, however often it comes; `deadline` is when the machine goes, UTC in ISO
    8601, where the source knows; `receipt` is whatever the source needs to acknowledge it; `space_needed` are the
    bytes that a full disk lacks.
    """

    source: NoticeSource
    event_id: str | None
    deadline: str | None = None
    receipt: str | None = None
    space_needed: int | None = None


class Source(Protocol):
    """Where notices come from."""

    def start(self, inbox: "Inbox") -> None:
        """Begin to listen. Raises UsageError where that can't work."""

    def acknowledge(self, notice: InterruptionNotice) -> None:
        """The flush that `notice` led to is durable. Called once, for the source's own notices only."""

    def stop(self) -> None:
        """Stop listening; returns when nothing more will come."""


class Inbox:
    """The one place where notices arrive, from signal handlers and threads.

    Its descriptor is readable while there are some.
    """

    def __init__(self) -> None:
        self._notices: queue.SimpleQueue[InterruptionNotice] = queue.SimpleQueue()  # reentrant: handlers may put
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def put(self, notice: InterruptionNotice) -> None:
        self._notices.put(notice)
        with contextlib.suppress(BlockingIOError):  # full: it is readable already
            os.write(self._writer, b"\0")

    def take(self) -> list[InterruptionNotice]:
        """All that have come, oldest first."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 4096):
                pass
        taken = []
        while not self._notices.empty():
            taken.append(self._notices.get())
        return taken

    @property
    def empty(self) -> bool:
        return self._notices.empty()

    def fileno(self) -> int:
        return self._reader

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)
