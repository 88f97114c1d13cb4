"""When this spot instance is taken away, as its metadata tells: asked in a thread of its own, again and again.

It is asked as often while it does not answer: one that answers again is heard within 10 s (the time limit, a wait, and
the answer).
"""

import random
import threading
from datetime import datetime

from batchgray.cloud.instance import POLL_SECONDS, MetadataService, Unknown, iso_utc
from batchgray.notices.inbox import OLD_SECONDS, Complaint, Inbox, InterruptionNotice


class MetadataListener:
    """Polls the termination time in a thread. There is nothing to acknowledge."""

    name = "instance metadata"

    def __init__(self, url: str, poll_seconds: float = POLL_SECONDS) -> None:
        self._service = MetadataService(url)
        self._poll_seconds = poll_seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._over: datetime | None = None  # the time that was told of as over

    def start(self, inbox: Inbox) -> None:
        self._thread = threading.Thread(target=self._poll, args=[inbox], name="metadata", daemon=True)
        self._thread.start()

    def acknowledge(self, notice: InterruptionNotice) -> None:
        return None

    def stop(self) -> None:
        """Returns at once: a thread that still waits for an answer puts nothing into the inbox any more."""
        self._stopping.set()

    def _poll(self, inbox: Inbox) -> None:
        complained = False
        while not self._stopping.is_set():
            try:
                if self._poll_once(inbox):
                    return
            except Exception as error:  # whatever it is: the next answer may be the notice
                if not complained:
                    why = str(error) if isinstance(error, Unknown) else type(error).__name__
                    inbox.put(Complaint(f"interruption notices from metadata are not known: {why}; asking on"))
                complained = True
            self._stopping.wait(self._poll_seconds * random.uniform(0.8, 1.2))

    def _poll_once(self, inbox: Inbox) -> bool:
        """Whether the notice has come. Raises Unknown."""
        until = self._service.termination_time()
        if until is None or self._stopping.is_set():
            return False
        if (self._service.now() - until).total_seconds() > OLD_SECONDS:  # the instance has outlived it
            if until != self._over:
                inbox.put(Complaint(_left_over(until)))
            self._over = until
            return False
        inbox.put(InterruptionNotice(source="metadata", event_id=None, deadline=iso_utc(until)))
        return True


def _left_over(until: datetime) -> str:
    return (
        f"instance metadata tells that this instance went at {iso_utc(until)}, and it is there: that is left alone. "
        f"Look at its state at the ECS console, or leave metadata out with `batchgray run ... --notices smq`"
    )
