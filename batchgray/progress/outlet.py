"""The way of lines to standard output or standard error: a thread writes them, so that no reader holds up the work.

    put --> lines that wait, within a limit --> the thread --> the descriptor

A terminal after Ctrl-S, a pager, a pipe that is not read: a write there may block for ever. The thread may block, and
then the program ends without it. For that it writes to the descriptor itself: if it waited inside of Python's stream it
would hold its lock, and the interpreter could not end.
"""

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import TextIO

from batchgray.ownclock import OwnClock

STALLED_SECONDS = 5.0  # without a byte taken; then the stream counts as not read
LAST_SECONDS = 10.0  # for the last line alone
_PIECE_BYTES = 4096  # that a pipe takes at once or not at all; so each one that is taken shows that the stream is read
_LOOK_SECONDS = 0.1


class Outlet:
    """Writes what is put into it, in this order, to a stream that may be closed (None is), broken, or not read.

    While more than `limit` bytes wait, what comes is dropped; `gap` says so in its place, and gets how many lines it
    was.
    """

    def __init__(self, stream: TextIO | None, limit: int, gap: Callable[[int], bytes] = lambda lines: b"") -> None:
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self.closed = False  # True once nothing can be written any more
        self._limit, self._gap = limit, gap
        self._lines: deque[bytes] = deque()
        self._dropped = 0
        self._waiting = 0  # bytes, with those that are being written
        self._written = 0  # pieces
        self._closing = False
        self._clock = OwnClock(10 * _LOOK_SECONDS)
        self._seen, self._seen_at = 0, self._clock()
        self._changed = threading.Condition()
        fd = _own_descriptor(stream)
        if fd is None:
            self.closed = True
        else:
            threading.Thread(target=self._write_all, args=[fd], name="outlet", daemon=True).start()

    def put(self, line: bytes, last: bool = False) -> None:
        """Never waits. The `last` lines are not dropped: there must be few of them."""
        with self._changed:
            if self.closed:
                return
            if self._waiting > self._limit and not last:
                self._dropped += 1
                return
            self._append_gap()
            self._append(line)
            self._changed.notify_all()

    def put_text(self, line: str, last: bool = False) -> None:
        """With a line break, in the stream's encoding; of a character that this lacks, its code."""
        self.put(f"{line}\n".encode(self.encoding, "backslashreplace"), last)

    @property
    def waiting(self) -> int:
        """How many bytes are not written yet."""
        return self._waiting

    def is_read(self, within: int) -> bool:
        """False while more than `within` bytes wait, and may still be taken. To be asked every second while it is."""
        with self._changed:
            return self._waiting <= within or self._silent_seconds() >= STALLED_SECONDS

    def close(self, seconds: float | None, abandoned: Callable[[], bool] = lambda: False) -> None:
        """Wait for what waits, as long as it is read; for `seconds` at most, and then for the last line alone.

        And no longer than until it is `abandoned`.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            before = self._written
            if self._drain(seconds, abandoned) or self._written == before or abandoned():
                return
            *rest, last = self._lines or [b""]
            self._lines.clear()
            self._waiting -= sum(map(len, rest)) + len(last)
            self._dropped += len(rest)
            self._append_gap()
            self._append(last)
            self._drain(LAST_SECONDS, abandoned)

    def _drain(self, seconds: float | None, abandoned: Callable[[], bool]) -> bool:
        clock = OwnClock(10 * _LOOK_SECONDS)
        while self._waiting:
            if self._silent_seconds() >= STALLED_SECONDS or (seconds is not None and clock() >= seconds) or abandoned():
                return False
            self._changed.wait(_LOOK_SECONDS)
        return True

    def _silent_seconds(self) -> float:
        """For how long nothing has been taken of what waits."""
        now = self._clock()
        if not self._waiting or self._written != self._seen:
            self._seen, self._seen_at = self._written, now
        return now - self._seen_at

    def _append(self, line: bytes) -> None:
        self._lines.append(line)
        self._waiting += len(line)

    def _append_gap(self) -> None:
        if self._dropped:
            self._append(self._gap(self._dropped))
            self._dropped = 0

    # the thread

    def _write_all(self, fd: int) -> None:
        try:
            while data := self._next():
                for at in range(0, len(data), _PIECE_BYTES):
                    self._write(fd, data[at : at + _PIECE_BYTES])
        except OSError:
            pass  # it was hung up, or its disk is full: there is nothing to tell it to, and the work goes on
        finally:
            with self._changed:
                self.closed, self._waiting = True, 0
                self._lines.clear()
                self._changed.notify_all()
            os.close(fd)

    def _next(self) -> bytes:
        """Whole lines, as many as make a piece, or one; nothing at the end."""
        with self._changed:
            while not self._lines and not self._closing:
                self._changed.wait()
            lines: list[bytes] = []
            size = 0
            while self._lines and (not lines or size + len(self._lines[0]) <= _PIECE_BYTES):
                lines.append(self._lines.popleft())
                size += len(lines[-1])
        return b"".join(lines)

    def _write(self, fd: int, piece: bytes) -> None:
        rest = memoryview(piece)
        while rest:
            try:
                rest = rest[os.write(fd, rest) :]
            except BlockingIOError:  # a program that shares it has made it so
                _wait_for_room(fd)
        with self._changed:
            self._waiting -= len(piece)
            self._written += 1
            self._changed.notify_all()


def _wait_for_room(fd: int) -> None:
    room = select.poll()  # select knows no descriptor beyond 1023
    room.register(fd, select.POLLOUT)
    room.poll()


def _own_descriptor(stream: TextIO | None) -> int | None:
    """A copy, so that a thread that is stuck never writes to what else got the number; None where there is nothing."""
    try:
        return None if stream is None else os.dup(stream.fileno())
    except (OSError, ValueError):  # it has no descriptor, or is closed
        return None
