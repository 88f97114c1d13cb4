"""Interruption notices from an SMQ queue: the thread that polls it, what it finds out at the start, and its faults.

What is done with the queue's messages, and in which order, is in `own_event`.

Costs a request every 3 s, 1200 an hour and instance; no less often while the service does not answer, so that one that
answers again is heard within 10 s.

The start of a run waits for the first requests, which tell whether listening can work, for CHECK_SECONDS at most; a
notice ends that at once. What is not known by then the thread finds out while the work goes on.
"""

import logging
import random
import threading
import time
from collections import OrderedDict
from datetime import UTC, datetime

import msgspec

from batchgray import errors
from batchgray.cloud.instance import Credentials, MetadataService, RoleCredentials, Unknown
from batchgray.notices.inbox import OLD_SECONDS, Complaint, Inbox, InterruptionNotice
from batchgray.notices.own_event import OwnEvent, left_over
from batchgray.notices.queue import (
    FINAL,
    NO_CREDENTIALS,
    NO_ENDPOINT,
    REFUSED_KEY,
    Message,
    QueueFault,
    SmqQueue,
    trials_of_taking,
    try_action,
    usage_error,
)
from batchgray.notices.spot_event import SpotEvent, Unreadable, parse

POLL_SECONDS = 3.0
RENEW_SECONDS = 20.0
ACKNOWLEDGE_SECONDS = 60.0
CHECK_SECONDS = 3.0
METADATA_SECONDS = 2.0
_UNASKED_METADATA_SECONDS = 0.3
_RETRY_SECONDS = 2.0  # within CHECK_SECONDS, and so early that the last attempt has time
_INBOX_SECONDS = 0.05
_LEAST_SECONDS = 5.0
_STOP_SECONDS = 2.0
_UNREACHABLE = frozenset({"Network", "InvalidEndpoint", "UnexpectedAnswer", "Credentials", "InternalFault"})
_REPORTS_KEPT = 10_000

_NO_INSTANCE = "the instance is not known (--instance-id, or --any-instance for a queue of one's own)"

_log = logging.getLogger(__name__)


class SmqOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which queue, with which credentials, for which instance.

    What is None comes from instance metadata, where there is a `metadata_url`.

    `required` says that it was asked for by name: what is missing is then an error, and else a complaint.
    """

    queue: str
    endpoint: str | None
    credentials: Credentials | None
    instance_id: str | None
    any_instance: bool = False
    metadata_url: str | None = None
    required: bool = False


class SmqListener:
    """Listens in a thread."""

    def __init__(self, options: SmqOptions) -> None:
        self.name = f"queue {options.queue}"
        self._options = options
        self._instance_id = options.instance_id
        self._role: RoleCredentials | None = None
        self._inbox: Inbox | None = None
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._checked = threading.Event()
        self._fault: QueueFault | Unknown | None = None  # of the last attempt at the start
        self._acknowledging_until: float | None = None
        self._outcome: str | None = None
        self._event = OwnEvent(self._own, self._put, lambda: self._stopping)
        self._reported: OrderedDict[str, None] = OrderedDict()
        self._left_over: dict[str, bool] = {}  # of the own messages
        self._complained: set[str] = set()

    def start(self, inbox: Inbox) -> None:
        """Raises UsageError where the queue is missing, denied, or refuses the key, and where a required thing is
        missing.
        """
        self._inbox = inbox
        options = self._options
        missing = self._missing()
        if missing and options.required:
            raise errors.IncompleteSmq(options.queue, missing)
        if missing:
            inbox.put(Complaint(f"no interruption notices from SMQ: {missing}"))
            return
        self._thread = threading.Thread(target=self._run, name="smq", daemon=True)
        self._thread.start()
        if not self._wait_for_check(inbox):
            return
        fault = self._fault
        refusal = fault and self._refusal(fault)
        if refusal is not None:
            self.stop()
            raise refusal
        if fault is not None and self._is_awaited:
            self._complain(fault)

    def _wait_for_check(self, inbox: Inbox) -> bool:
        """Whether there is a verdict: False where a notice came first."""
        until = time.monotonic() + CHECK_SECONDS
        while not self._checked.wait(_INBOX_SECONDS):
            if inbox.notice is not None:
                return False
            if time.monotonic() >= until:
                self._fault = self._fault or QueueFault("Network", f"no answer within {CHECK_SECONDS:g} s")
                break
        return True

    @property
    def _is_awaited(self) -> bool:
        """Whether the user configured it; if not, a metadata service that is silent delays nothing."""
        return self._options.required or self._options.credentials is not None

    def acknowledge(self, notice: InterruptionNotice) -> str | None:
        """Delete our event, if we have it. Tries until it is done, the time left is over, or a signal comes."""
        if self._thread is None or not self._event.in_hand:
            return None
        self._outcome = "there was no time left"
        left = notice.seconds_left(datetime.now(UTC))
        seconds = ACKNOWLEDGE_SECONDS if left is None else max(_LEAST_SECONDS, min(ACKNOWLEDGE_SECONDS, left))
        self._acknowledging_until = time.monotonic() + seconds
        self._wake.set()
        while self._thread.is_alive() and time.monotonic() < self._acknowledging_until:
            self._thread.join(0.05)
            heard = self._inbox.take() if self._inbox else []
            if any(isinstance(item, InterruptionNotice) and item.source == "signal" for item in heard):
                break
        return self._outcome

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._thread is not None and self._event.to_give_back:
            self._thread.join(_STOP_SECONDS)  # it gives back what it holds

    def _run(self) -> None:
        self._check()
        self._checked.set()
        self._listen()

    def _listen(self) -> None:
        wait = POLL_SECONDS
        queue: SmqQueue | None = None
        full_before = False
        while not self._stopping and self._acknowledging_until is None:
            try:
                self._find_identity()
                queue = queue or self._open()
                if self._event.in_hand:
                    self._event.hold(queue)
                    wait = 1.0 if self._event.wanted else RENEW_SECONDS
                else:
                    full_before = self._event.find(queue, full_before)
                    wait = POLL_SECONDS
                self._recovered()
            except Exception as error:  # whatever it is: the next poll may find our event
                self._complain(_as_fault(error))
                wait = POLL_SECONDS
            self._wake.wait(random.uniform(0, wait / 2) if full_before else wait * random.uniform(0.8, 1.2))
        if queue is not None:
            self._end(queue)
            queue.close()

    def _put(self, item: InterruptionNotice | Complaint) -> None:
        if self._inbox is not None:
            self._inbox.put(item)

    def _find_identity(self) -> None:
        """Raises Unknown."""
        if self._instance_id is None and not self._options.any_instance:
            try:
                self._instance_id = MetadataService(self._options.metadata_url or "").instance_id()
            except Unknown as error:
                raise Unknown(f"{_NO_INSTANCE}; {error}") from None

    def _open(self, metadata_seconds: float = METADATA_SECONDS) -> SmqQueue:
        """Raises QueueFault."""
        options = self._options
        credentials = options.credentials
        if credentials is not None:
            return SmqQueue(options.endpoint or "", options.queue, lambda: credentials)
        self._role = RoleCredentials(MetadataService(options.metadata_url or "", metadata_seconds))
        return SmqQueue(options.endpoint or "", options.queue, self._role.current)

    def _end(self, queue: SmqQueue) -> None:
        """Delete our event, or give it back where nothing was flushed for it."""
        if self._acknowledging_until is not None:
            self._outcome = self._delete(queue, self._acknowledging_until)
        else:
            self._event.give_back(queue)

    def _delete(self, queue: SmqQueue, until: float) -> str | None:
        """Returns None, or why our event could not be deleted."""
        reason, wait = "there was no time left", 0.25
        while time.monotonic() < until and not self._stopping:
            try:
                deleted = self._event.delete(queue)
                if deleted is None:
                    return None
                reason = "another reader of the queue holds it"
                if deleted:
                    continue  # one may have come back, or been there twice
            except Exception as error:
                fault = _as_fault(error)
                self._outcome = reason = str(fault)  # also for an acknowledgement that waits no longer
                self._renew_credentials(fault)
            time.sleep(max(0.0, min(wait, until - time.monotonic())))
            wait = min(2 * wait, POLL_SECONDS)
        return reason

    def _own(self, message: Message) -> SpotEvent | None:
        """The event in a message, if it is ours. What is not is reported once."""
        try:
            event = parse(message.body)
        except Unreadable as error:
            if self._first_time(message.message_id):
                text = f"message {message.message_id} in queue {self._options.queue} is left alone: {error}"
                self._put(Complaint(text))
            return None
        if event is not None and self._is_ours(event):
            return None if self._is_left_over(message) else event
        if self._first_time(message.message_id):
            whose = f"of instance {event.instance_id}" if event else "of another kind"
            _log.info("message %s %s is left alone", message.message_id, whose)
        return None

    def _is_ours(self, event: SpotEvent) -> bool:
        return self._options.any_instance or event.instance_id == self._instance_id

    def _is_left_over(self, message: Message) -> bool:
        """Whether the instance has outlived its event. Seen when it first comes: a flush may take its time."""
        if message.message_id not in self._left_over:
            self._left_over[message.message_id] = message.age > OLD_SECONDS
            if message.age > OLD_SECONDS:
                self._put(Complaint(left_over(message, self._options.queue)))
        return self._left_over[message.message_id]

    def _first_time(self, message_id: str) -> bool:
        if message_id in self._reported:
            return False
        self._reported[message_id] = None
        if len(self._reported) > _REPORTS_KEPT:
            self._reported.popitem(last=False)
        return True

    def _missing(self) -> str:
        """What can't be found out, in words; "" where nothing is missing."""
        options, missing = self._options, []
        if not options.endpoint:
            missing.append(NO_ENDPOINT)
        if options.credentials is None and not options.metadata_url:
            missing.append(NO_CREDENTIALS)
        if options.instance_id is None and not options.any_instance and not options.metadata_url:
            missing.append(_NO_INSTANCE)
        return "; ".join(missing)

    def _check(self) -> None:
        """Every action that is needed, once; `_fault` is why that failed. What may pass is waited for some seconds."""
        until = time.monotonic() + (_RETRY_SECONDS if self._is_awaited else 0.0)
        while True:
            try:
                self._use_each_action()
                self._fault = None
                return
            except Exception as error:
                self._fault = _as_fault(error)
            final = isinstance(self._fault, QueueFault) and self._fault.kind in FINAL
            if final or time.monotonic() >= until or self._wake.wait(1.0):
                return

    def _use_each_action(self) -> None:
        """Raises QueueFault, Unknown."""
        queue = self._open(METADATA_SECONDS if self._is_awaited else _UNASKED_METADATA_SECONDS)
        try:
            queue.peek()
            with self._event.giving_back():
                for trial in trials_of_taking(queue).values():
                    try_action(trial)
        finally:
            queue.close()
        if self._options.required:
            self._find_identity()

    def _refusal(self, fault: QueueFault | Unknown) -> errors.UsageError | None:
        """What keeps a run from beginning: what will not pass, and of what was asked for by name, what is not there."""
        name, endpoint = self._options.queue, self._options.endpoint or ""
        if isinstance(fault, Unknown):
            return errors.IncompleteSmq(name, str(fault)) if self._options.required else None
        if fault.kind in FINAL or (self._options.required and fault.kind in _UNREACHABLE):
            return usage_error(fault, name, endpoint)
        return None

    def _complain(self, fault: QueueFault | Unknown) -> None:
        """Once for each kind, until it works again."""
        kind = fault.kind if isinstance(fault, QueueFault) else "Metadata"
        self._renew_credentials(fault)
        if kind not in self._complained:
            text = f"queue {self._options.queue} at {self._options.endpoint} can't be heard ({fault}); trying on"
            self._put(Complaint(text))
        self._complained.add(kind)

    def _recovered(self) -> None:
        self._complained.clear()

    def _renew_credentials(self, fault: QueueFault | Unknown) -> None:
        if self._role is not None and isinstance(fault, QueueFault) and fault.kind in REFUSED_KEY:
            self._role.renew()


def _as_fault(error: Exception) -> QueueFault | Unknown:
    """Any failure as one that can be reported; of a strange one only the kind, since its text may quote an answer."""
    if isinstance(error, QueueFault | Unknown):
        return error
    return QueueFault("InternalFault", type(error).__name__)
