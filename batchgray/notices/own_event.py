"""This instance's event in a queue that a whole fleet may share: found, received, held, and deleted or given back.

Peeking sees without hiding; receiving hides a message from the instance it is meant for. So the queue is only peeked
at, until the own event is among the sixteen oldest visible messages. Then it is received, what belongs to others is
given back at once, the own one is kept hidden while the flush runs, and deleted when the flush is durable. The notice
waits for what is given back, which is another machine's, but not longer than a moment.

    find: peek 16 --ours--> take: receive, give others back --> notice --> hold: renew --acknowledge--> delete
            |
            +--16, none ours--> peek again after a random moment --still 16--> make room

Make room: what lies in the way is received and hidden, old events (their instances are gone) for minutes, fresh ones
for a moment, in which every receiver sees what is behind them. The random moment lets one of the fleet do it for all:
the others then find the way free. An own event that is old is over, since the instance is still there: it is told of,
and else like any other's. Nothing that is not this instance's interruption is ever deleted.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from batchgray.cloud.instance import iso_utc
from batchgray.notices.inbox import OLD_SECONDS, InterruptionNotice
from batchgray.notices.queue import GONE, PAGE, Message, QueueFault, SmqQueue
from batchgray.notices.spot_event import SpotEvent
from batchgray.quantities import duration

HIDE_OLD_SECONDS = 300
HIDE_FRESH_SECONDS = 2
HOLD_SECONDS = 60
_NOTICE_WAITS_SECONDS = 1.0


class OwnEvent:
    """What is in hand of this instance's event: messages that are held, and messages that are still to be received.

    `own` returns the event in a message, if it is this instance's. `give` takes the notice of it, once for each event;
    it may be called from another thread. `stopped` ends making room. Methods raise QueueFault.
    """

    def __init__(
        self,
        own: Callable[[Message], SpotEvent | None],
        give: Callable[[InterruptionNotice], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._own, self._give, self._stopped = own, give, stopped
        self._held: dict[str, str] = {}  # the event's messages and their handles
        self._wanted: set[str] = set()  # the event's messages that are still to be received
        self._noticed: set[str] = set()
        self._giving_notice = threading.Lock()
        self._receiving = False

    @property
    def in_hand(self) -> bool:
        """Whether the event was seen, and is not deleted yet."""
        return bool(self._held or self._wanted)

    @property
    def wanted(self) -> bool:
        """Whether a message of it is still to be received."""
        return bool(self._wanted)

    @property
    def to_give_back(self) -> bool:
        """Whether messages may be hidden from the instances that they are meant for."""
        return self._receiving or self.in_hand

    def find(self, queue: SmqQueue, full_before: bool) -> bool:
        """Peek for the event, and take it.

        `full_before` says that a full page lay in the way the last time. Returns whether one does, and may do so still.
        """
        page, own = self._peek(queue)
        if own:
            self._take(queue, own)
            return False
        if len(page) < PAGE:
            return False
        if not full_before:
            return True
        self._make_room(queue)
        return False

    def hold(self, queue: SmqQueue) -> None:
        """Keep the event hidden while the flush runs, and receive what was not received yet."""
        if self._wanted:
            self._receive_page(queue)
        for message_id, handle in list(self._held.items()):
            try:
                self._held[message_id] = queue.hide(handle, HOLD_SECONDS)
            except QueueFault as fault:
                if fault.kind not in GONE:
                    raise
                del self._held[message_id]  # the handle died before it was renewed: receive the message again
                self._wanted.add(message_id)

    def delete(self, queue: SmqQueue) -> int | None:
        """One attempt. Returns how many messages it deleted; None where the queue has none of the event any more."""
        _, own = self._peek(queue)
        self._wanted.update(message.message_id for message, _ in own)
        if not self.in_hand:
            return None
        if self._wanted:
            self._receive_page(queue)
        held = list(self._held.items())
        for message_id, handle in held:
            self._delete_one(queue, message_id, handle)
        return len(held)

    def give_back(self, queue: SmqQueue) -> None:
        """Let another reader of the queue have the event, as nothing was flushed for it."""
        for handle in self._held.values():
            with contextlib.suppress(Exception):  # it becomes visible by itself
                queue.hide(handle, 1)

    @contextlib.contextmanager
    def giving_back(self) -> Iterator[None]:
        """While the block runs, messages for other instances may be hidden from them."""
        self._receiving = True
        try:
            yield
        finally:
            self._receiving = False

    def _peek(self, queue: SmqQueue) -> tuple[list[Message], list[tuple[Message, SpotEvent]]]:
        page = queue.peek()
        return page, self._own_of(page)

    def _own_of(self, page: list[Message]) -> list[tuple[Message, SpotEvent]]:
        return [(message, event) for message in page if (event := self._own(message))]

    def _take(self, queue: SmqQueue, own: list[tuple[Message, SpotEvent]]) -> None:
        """Receive the event and give the others back, then give notice; what can't be received now is tried again."""
        self._wanted = {message.message_id for message, _ in own}
        with self._noticing(own):
            self._receive_page(queue)

    def _make_room(self, queue: SmqQueue) -> None:
        """Hide what lies in the way, page by page, until what is behind it is seen."""
        while self._receive_page(queue) and not self._stopped():
            page, own = self._peek(queue)
            if own:
                self._take(queue, own)
            if own or len(page) < PAGE:
                return

    def _receive_page(self, queue: SmqQueue) -> int:
        """Receive a page: keep what is ours, give back what is not. Returns how many messages there were."""
        with self.giving_back():
            page = queue.receive()
            own = self._own_of(page)
            for message, _ in own:
                self._held[message.message_id] = message.handle
                self._wanted.discard(message.message_id)
            with self._noticing(own):
                for message in page:
                    if message.message_id not in self._held:
                        _give_back(queue, message)
                for message, _ in own:
                    self._held[message.message_id] = queue.hide(message.handle, HOLD_SECONDS)
            return len(page)

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

    @contextlib.contextmanager
    def _noticing(self, own: list[tuple[Message, SpotEvent]]) -> Iterator[None]:
        """Give notice after the block; before its end where that takes long, as with a slow service it may."""
        late = threading.Timer(_NOTICE_WAITS_SECONDS, self._give_notices, [own])
        late.daemon = True
        try:
            if own:
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
                if event_id not in self._noticed:
                    self._noticed.add(event_id)
                    deadline = iso_utc(event.deadline(datetime.now(UTC)))
                    self._give(InterruptionNotice(source="smq", event_id=event_id, deadline=deadline))


def left_over(message: Message, queue: str) -> str:
    """In words, of an event that this instance has outlived, as one of a rehearsal."""
    return (
        f"an interruption of this instance has been in queue {queue} for {duration(message.age)}, and is over: it is "
        f"left alone. Delete message {message.message_id} at the SMQ console, or let the queue's retention end it"
    )


def _give_back(queue: SmqQueue, message: Message) -> None:
    queue.hide(message.handle, HIDE_OLD_SECONDS if message.age > OLD_SECONDS else HIDE_FRESH_SECONDS)
