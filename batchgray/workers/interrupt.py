"""SIGTERM in a worker: heard between two tiles, and at once where nothing would be lost."""

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from batchgray.workers.messages import Channel

_DECISION_SECONDS = 0.01


class Interrupted(Exception):
    """SIGTERM was heard."""


class Interrupt:
    """Whether SIGTERM came; and the end of the process, at once, where it comes while an image is being decoded.

    A decoder can't be stopped, and what it has is worth nothing without the rest: there is nothing to wait for. The
    signal's C handler writes to the wake-up descriptor even then, and a thread hears it.
    """

    def __init__(self) -> None:
        self.heard = False
        self._reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._hear)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # the fork server held it back until now
        self._decoding = False
        self._deciding = threading.Lock()

    def _hear(self, *_: object) -> None:
        self.heard = True

    def check(self) -> None:
        """Raise Interrupted if SIGTERM came."""
        if self.heard:
            raise Interrupted

    def receive(self, channel: Channel) -> Any:
        """The next message, unless SIGTERM comes first. Raises Interrupted, EOFError."""
        either: list[Channel | int] = [channel, self._reader]
        select.select(either, [], [])
        self.check()
        return channel.receive()

    def ending_at_once(self) -> "_EndingAtOnce":
        """While the block runs, SIGTERM ends the process."""
        return _EndingAtOnce(self)

    def end_while_decoding(self, finish: Callable[[], None]) -> None:
        """The thread: ends the process, after `finish`, once SIGTERM came and while nothing would be lost."""
        select.select([self._reader], [], [])
        while True:
            with self._deciding:
                if self._decoding:
                    finish()
                    os._exit(0)
            time.sleep(_DECISION_SECONDS)

    def _begin_decoding(self) -> None:
        self._decoding = True
        if self.heard:
            self._end_decoding()
            raise Interrupted

    def _end_decoding(self) -> None:
        with self._deciding:
            self._decoding = False


class _EndingAtOnce:
    """A `contextmanager` takes three times as long, once an image."""

    __slots__ = ("_interrupt",)

    def __init__(self, interrupt: Interrupt) -> None:
        self._interrupt = interrupt

    def __enter__(self) -> None:
        self._interrupt._begin_decoding()

    def __exit__(self, *_: object) -> None:
        self._interrupt._end_decoding()
