"""Interruption notices from an SMQ queue that a whole fleet may share.

Peeking sees without hiding; receiving hides a message from the one it was meant for. So this only peeks, until its
own event is among the sixteen oldest visible messages. Then it receives, gives back at once what belongs to others,
keeps its own hidden while the flush runs, and deletes it when the flush is durable. The notice waits for what is given
back, which is another machine's, but not longer than a moment.

    look: peek 16 --ours--> take: receive, give others back --> notice --> hold: renew --acknowledge--> delete
            |
            +--16, none ours--> look again after a random moment --still 16--> make room

Make room: what lies in the way is received and hidden, old events (their instances are gone) for minutes, fresh ones
for a moment, in which everybody sees what is behind them. The random moment lets one of the fleet do it for all: the
others then find the way free. Nothing that is not this instance's interruption is ever deleted.

Costs a request every 3 s, 1200 an hour and instance; no less often while the service does not answer, so that one that
answers again is heard within 10 s.

The start of a run waits for the first requests, which tell whether listening can work, for CHECK_SECONDS at most; a
notice ends that at once. What is not known by then the thread finds out while the work goes on.
"""

import contextlib
import logging
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from batchgray import errors
from batchgray.notices.inbox import Complaint, Inbox, InterruptionNotice
from batchgray.notices.metadata import Credentials, MetadataService, RoleCredentials, Unknown, iso_utc
from batchgray.notices.queue import (
    FINAL,
    GONE,
    NO_CREDENTIALS,
    PAGE,
    REFUSED_KEY,
    Message,
    QueueFault,
    SmqQueue,
    check_taking,
    usage_error,
)
from batchgray.notices.spot_event import SpotEvent, Unreadable, parse

LOOK_SECONDS = 3.0
OLD_SECONDS = 600.0  # twice the notice that an instance gets
HIDE_OLD_SECONDS = 300
HIDE_FRESH_SECONDS = 2
HOLD_SECONDS = 60
RENEW_SECONDS = 20.0
ACKNOWLEDGE_SECONDS = 60.0
CHECK_SECONDS = 3.0
METADATA_SECONDS = 2.0
_GLANCE_SECONDS = 0.3
_TRY_SECONDS = 2.0  # within CHECK_SECONDS, and so early that the last attempt has time
_HEED_SECONDS = 0.05
_LEAST_SECONDS = 5.0
_COURTESY_SECONDS = 1.0
_STOP_SECONDS = 2.0
_UNREACHABLE = frozenset({"Network", "InvalidEndpoint", "UnexpectedAnswer", "Credentials", "InternalFault"})
_REMEMBERED = 10_000

_NO_INSTANCE = "the instance is not known (--instance-id, or --any-instance for a queue of one's own)"

_log = logging.getLogger(__name__)


class SmqOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which queue, as whom, for which instance. What is None comes from instance metadata, where there is a
    `metadata_url`.

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
        self._receiving = False  # what is not ours may be hidden from those it is for
        self._acknowledging_until: float | None = None
        self._outcome: str | None = None
        self._held: dict[str, str] = {}  # our event's messages and their handles
        self._wanted: set[str] = set()  # our event's messages that are still to be received
        self._noticed: set[str] = set()
        self._giving_notice = threading.Lock()
        self._told: OrderedDict[str, None] = OrderedDict()
        self._complained: set[str] = set()

    # what the run calls

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
        while not self._checked.wait(_HEED_SECONDS):
            if inbox.notice is not None:
                return False
            if time.monotonic() >= until:
                self._fault = self._fault or QueueFault("Network", f"no answer within {CHECK_SECONDS:g} s")
                break
        return True

    @property
    def _is_awaited(self) -> bool:
        """Whether somebody wants it who configured it; else a metadata service that is silent delays nothing."""
        return self._options.required or self._options.credentials is not None

    def acknowledge(self, notice: InterruptionNotice) -> str | None:
        """Delete our event, if we have it. Tries until it is done, the time left is over, or a signal comes."""
        if self._thread is None or not (self._held or self._wanted):
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
        if self._thread is not None and (self._receiving or self._held or self._wanted):
            self._thread.join(_STOP_SECONDS)  # it gives back what it has

    # the thread

    def _run(self) -> None:
        self._check()
        self._checked.set()
        self._listen()

    def _listen(self) -> None:
        wait = LOOK_SECONDS
        queue: SmqQueue | None = None
        full_before = False
        while not self._stopping and self._acknowledging_until is None:
            try:
                self._find_identity()
                queue = queue or self._open()
                if self._held or self._wanted:
                    self._hold(queue)
                    wait = RENEW_SECONDS if not self._wanted else 1.0
                else:
                    full_before = self._look(queue, full_before)
                    wait = LOOK_SECONDS
                self._recovered()
            except Exception as error:  # whatever it is: the next look may find our event
                self._complain(_as_fault(error))
                wait = LOOK_SECONDS
            self._wake.wait(random.uniform(0, wait / 2) if full_before else wait * random.uniform(0.8, 1.2))
        if queue is not None:
            self._end(queue)
            queue.close()

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

    def _look(self, queue: SmqQueue, full_before: bool) -> bool:
        """Returns whether a full page lay in the way, and may lie there still."""
        page = queue.peek()
        own = [(message, event) for message in page if (event := self._own(message))]
        if own:
            self._take(queue, own)
            return False
        if len(page) < PAGE:
            return False
        if not full_before:
            return True
        self._make_room(queue)
        return False

    def _take(self, queue: SmqQueue, own: list[tuple[Message, SpotEvent]]) -> None:
        """Receive our event and give the others back, then give notice; what can't be received now is tried again."""
        self._wanted = {message.message_id for message, _ in own}
        with self._noticing(own):
            self._sift(queue)

    @contextlib.contextmanager
    def _noticing(self, own: list[tuple[Message, SpotEvent]]) -> Iterator[None]:
        """Give notice after the block; before its end where that takes long, as with a slow service it may."""
        late = threading.Timer(_COURTESY_SECONDS, self._give_notices, [own])
        late.daemon = True
        try:
            late.start()
            yield
        finally:
            late.cancel()
            self._give_notices(own)

    def _give_notices(self, own: list[tuple[Message, SpotEvent]]) -> None:
        """Once for each event, however often and in however many messages it comes."""
        for message, event in own:
            event_id = event.event_id or message.message_id
            with self._giving_notice:
                if event_id not in self._noticed and self._inbox is not None:
                    self._noticed.add(event_id)
                    deadline = iso_utc(event.deadline(datetime.now(UTC)))
                    self._inbox.put(InterruptionNotice(source="smq", event_id=event_id, deadline=deadline))

    def _hold(self, queue: SmqQueue) -> None:
        """Keep our event hidden while the flush runs, and receive what we have not got yet."""
        if self._wanted:
            self._sift(queue)
        for message_id, handle in list(self._held.items()):
            try:
                self._held[message_id] = queue.hide(handle, HOLD_SECONDS)
            except QueueFault as fault:
                if fault.kind not in GONE:
                    raise
                del self._held[message_id]  # the handle died before we came: get it again
                self._wanted.add(message_id)

    def _make_room(self, queue: SmqQueue) -> None:
        """Hide what lies in the way, page by page, until what is behind it is seen."""
        while self._sift(queue) and not self._stopping:
            page = queue.peek()
            own = [(message, event) for message in page if (event := self._own(message))]
            if own:
                self._take(queue, own)
            if own or len(page) < PAGE:
                return

    def _sift(self, queue: SmqQueue) -> int:
        """Receive a page: keep what is ours, give back what is not. Returns how many messages there were."""
        with self._giving_back():
            return self._sift_page(queue)

    def _sift_page(self, queue: SmqQueue) -> int:
        page = queue.receive()
        ours = [(message, event) for message in page if (event := self._own(message))]
        for message, _ in ours:
            self._held[message.message_id] = message.handle
            self._wanted.discard(message.message_id)
        with self._noticing(ours):
            for message in page:
                if message.message_id not in self._held:
                    old = time.time() - message.enqueued > OLD_SECONDS
                    queue.hide(message.handle, HIDE_OLD_SECONDS if old else HIDE_FRESH_SECONDS)
            for message, _ in ours:
                self._held[message.message_id] = queue.hide(message.handle, HOLD_SECONDS)
        return len(page)

    @contextlib.contextmanager
    def _giving_back(self) -> Iterator[None]:
        """While the block runs, others' messages may be in hand."""
        self._receiving = True
        try:
            yield
        finally:
            self._receiving = False

    def _end(self, queue: SmqQueue) -> None:
        """Delete our event, or give it back where nothing was flushed for it."""
        if self._acknowledging_until is not None:
            self._outcome = self._delete(queue, self._acknowledging_until)
            return
        for handle in self._held.values():
            with contextlib.suppress(Exception):  # it comes back by itself
                queue.hide(handle, 1)

    def _delete(self, queue: SmqQueue, until: float) -> str | None:
        """Returns None, or why our event could not be deleted."""
        reason, wait = "there was no time left", 0.25
        while time.monotonic() < until and not self._stopping:
            try:
                self._wanted.update(message.message_id for message in queue.peek() if self._own(message))
                if not self._held and not self._wanted:
                    return None
                if self._wanted:
                    self._sift(queue)
                reason = "somebody else has it in hand"
                in_hand = list(self._held.items())
                for message_id, handle in in_hand:
                    self._delete_one(queue, message_id, handle)
                if in_hand:
                    continue  # look whether one came back, or was there twice
            except Exception as error:
                fault = _as_fault(error)
                self._outcome = reason = str(fault)  # also for who waits no longer
                self._renew_credentials(fault)
            time.sleep(max(0.0, min(wait, until - time.monotonic())))
            wait = min(2 * wait, LOOK_SECONDS)
        return reason

    def _delete_one(self, queue: SmqQueue, message_id: str, handle: str) -> None:
        """Delete, and see that it is gone: a proxy's page counts as success with the SDK."""
        try:
            queue.delete(handle)
            self._held[message_id] = queue.hide(handle, HOLD_SECONDS)
        except QueueFault as fault:
            if fault.kind not in GONE:
                raise
            del self._held[message_id]
        else:
            raise QueueFault("UnexpectedAnswer", "the deletion was answered, but not done")

    # whose and what

    def _own(self, message: Message) -> SpotEvent | None:
        """The event in a message, if it is ours. What is not is told once."""
        try:
            event = parse(message.body)
        except Unreadable as error:
            if self._first_time(message.message_id) and self._inbox is not None:
                text = f"message {message.message_id} in queue {self._options.queue} is left alone: {error}"
                self._inbox.put(Complaint(text))
            return None
        if event is not None and (self._options.any_instance or event.instance_id == self._instance_id):
            return event
        if self._first_time(message.message_id):
            whose = f"of instance {event.instance_id}" if event else "of another kind"
            _log.info("message %s %s is left alone", message.message_id, whose)
        return None

    def _first_time(self, message_id: str) -> bool:
        if message_id in self._told:
            return False
        self._told[message_id] = None
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        return True

    # faults

    def _missing(self) -> str:
        """What can't be found out, in words; "" where nothing is missing."""
        options, missing = self._options, []
        if not options.endpoint:
            missing.append("the endpoint is missing (--smq-endpoint, MNS_ENDPOINT)")
        if options.credentials is None and not options.metadata_url:
            missing.append(NO_CREDENTIALS)
        if options.instance_id is None and not options.any_instance and not options.metadata_url:
            missing.append(_NO_INSTANCE)
        return "; ".join(missing)

    def _check(self) -> None:
        """Every action that is needed, once; `_fault` is why that failed. What may pass is waited for some seconds."""
        until = time.monotonic() + (_TRY_SECONDS if self._is_awaited else 0.0)
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
        queue = self._open(METADATA_SECONDS if self._is_awaited else _GLANCE_SECONDS)
        try:
            queue.peek()
            with self._giving_back():
                check_taking(queue)
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
        if kind not in self._complained and self._inbox is not None:
            text = f"queue {self._options.queue} at {self._options.endpoint} can't be heard ({fault}); trying on"
            self._inbox.put(Complaint(text))
        self._complained.add(kind)

    def _recovered(self) -> None:
        self._complained.clear()

    def _renew_credentials(self, fault: QueueFault | Unknown) -> None:
        if self._role is not None and isinstance(fault, QueueFault) and fault.kind in REFUSED_KEY:
            self._role.renew()


def _as_fault(error: Exception) -> QueueFault | Unknown:
    """Any failure as one that can be told; of a strange one only the kind, since its text may quote an answer."""
    if isinstance(error, QueueFault | Unknown):
        return error
    return QueueFault("InternalFault", type(error).__name__)
