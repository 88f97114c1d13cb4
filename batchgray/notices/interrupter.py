"""A notice that the calling program gives itself."""

from collections import deque

from batchgray.notices.inbox import Inbox, InterruptionNotice


class Interrupter:
    """Interrupts the run whose `notices` it is among, as SIGTERM interrupts the command.

    The run flushes and returns with exit code 75; a second call while it flushes moves its deadline to now. A call that
    comes while no run listens is for the next one, which then converts nothing.
    """

    name = "the program"

    def __init__(self) -> None:
        self._calls: deque[None] = deque()  # one is taken for each notice, in whatever order threads come
        self._inbox: Inbox | None = None

    def interrupt(self) -> None:
        """Returns at once. Any thread may call it, and a signal handler."""
        self._calls.append(None)
        self._deliver()

    def start(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._deliver()

    def acknowledge(self, notice: InterruptionNotice) -> None:
        return None

    def stop(self) -> None:
        self._inbox = None

    def _deliver(self) -> None:
        inbox = self._inbox
        while inbox is not None:
            try:
                self._calls.popleft()
            except IndexError:
                return
            inbox.put(InterruptionNotice(source="signal", event_id="interrupt()"))
