"""Priorities for systemd's journal: `<4>` before a line makes it a warning there, as sd-daemon(3) has it.

Only where a stream is the journal's own, as JOURNAL_STREAM tells; anywhere else the prefix would be read. Times are
the journal's: no line has one of its own.
"""

import os
from collections.abc import Callable
from typing import TextIO

from batchgray import events

ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6  # as syslog(3) numbers them


def is_journal(stream: TextIO | None, told: str) -> bool:
    """Whether the stream is what JOURNAL_STREAM, `told` as DEVICE:INODE, is about: it may lead elsewhere by now."""
    try:
        found = None if stream is None else os.fstat(stream.fileno())
    except (OSError, ValueError):  # it has no descriptor, or is closed
        return False
    return found is not None and told == f"{found.st_dev}:{found.st_ino}"


def prefixing(stream: TextIO | None, told: str) -> Callable[[events.Event], str]:
    """What goes before each line of an event."""
    return _prefix if is_journal(stream, told) else lambda event: ""


def with_priority(text: str, priority: int) -> str:
    """Each line with its prefix."""
    return "\n".join(f"<{priority}>{line}" for line in text.split("\n"))


def _prefix(event: events.Event) -> str:
    return f"<{_priority(event)}>"


def _priority(event: events.Event) -> int:
    """`journalctl -p warning` shows what a person has to see to."""
    match event:
        case events.Warned() | events.Failed():
            return WARNING
        case events.Notice() | events.Flushed():
            return NOTICE
        case events.Summary() if event.failed or event.space_needed is not None:
            return WARNING
        case events.Summary() if event.resume:
            return NOTICE
    return INFO
