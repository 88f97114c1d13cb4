"""SIGTERM, SIGINT and SIGHUP as notices. They always count."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from batchgray.notices.inbox import Inbox, InterruptionNotice

_Handler = Callable[[int, FrameType | None], Any] | int | None
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class SignalSource:
    """Installs handlers while it listens; only the main thread may start it. There is nothing to acknowledge.

    Afterwards what was there before is put back; or signals only call `afterwards`. That is for a program that has
    only to exit then: a second signal at its very end must not change its exit code.
    """

    name = "signals"

    def __init__(self, afterwards: Callable[[], object] | None = None) -> None:
        self._afterwards = afterwards
        self._earlier: dict[signal.Signals, _Handler] = {}

    def start(self, inbox: Inbox) -> None:
        def hear(signum: int, _frame: object) -> None:
            inbox.put(InterruptionNotice(source="signal", event_id=signal.Signals(signum).name))

        for signum in SIGNALS:
            if signum is signal.SIGHUP and signal.getsignal(signum) is signal.SIG_IGN:
                continue  # nohup asked for it
            self._earlier[signum] = signal.signal(signum, hear)

    def acknowledge(self, notice: InterruptionNotice) -> None:
        return None

    def stop(self) -> None:
        late = self._afterwards
        for signum, handler in self._earlier.items():
            signal.signal(signum, (lambda *_: late()) if late else handler or signal.SIG_DFL)
        self._earlier.clear()
