"""SIGTERM, SIGINT and SIGHUP as notices. They always count."""

import signal

from batchgray.notices import Inbox, InterruptionNotice

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class SignalSource:
    """Installs handlers while it listens; only the main thread may start it. There is nothing to acknowledge."""

    name = "signals"

    def __init__(self) -> None:
        self._earlier: dict[signal.Signals, object] = {}

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
        for signum, handler in self._earlier.items():
            signal.signal(signum, handler)
        self._earlier.clear()
