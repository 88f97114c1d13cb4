"""Interruption notices for many nodes from one queue: one poller for all, and a listener for each node that is going.

    FleetListener: peek every 3 s --a node's event--> SmqListener of that node: receive, hold --> heard()
                                                          acknowledge: delete     drop: give back

Peeking costs 1,200 requests an hour, whether it is for one node or for a thousand. What belongs to instances that are
no nodes is left alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from batchgray.notices.inbox import Inbox, InterruptionNotice
from batchgray.notices.smq import SmqListener, SmqOptions
from batchgray.notices.spot_event import SpotEvent

_OF_NO_INSTANCE = "-"  # no instance is called so: the poller takes nothing for itself


class _Poller(SmqListener):
    """Sees whose events lie in the queue, and takes none."""

    def __init__(self, options: SmqOptions, saw: Callable[[str], None]) -> None:
        super().__init__(msgspec.structs.replace(options, instance_id=_OF_NO_INSTANCE, any_instance=False))
        self._saw = saw

    def _is_ours(self, event: SpotEvent) -> bool:
        self._saw(event.instance_id)
        return False


class _Going(NamedTuple):
    """A node's listener, and what it heard."""

    listener: SmqListener
    inbox: Inbox


class FleetListener:
    """Hears for all nodes. `is_node` tells of an instance id, from the poller's thread, whether it is one."""

    def __init__(self, options: SmqOptions, is_node: Callable[[str], bool]) -> None:
        self.name = f"queue {options.queue}"
        self._options, self._is_node = options, is_node
        self._poller = _Poller(options, self._saw)
        self._seen: dict[str, None] = {}  # nodes whose event was seen; written by the poller's thread
        self._going: dict[str, _Going] = {}
        self._notices: dict[str, InterruptionNotice] = {}

    def start(self, inbox: Inbox) -> None:
        """Complaints go to `inbox`. Raises UsageError, as `SmqListener.start` does."""
        self._poller.start(inbox)

    def heard(self) -> list[tuple[str, InterruptionNotice]]:
        """The nodes that are going, each told of once, with its notice. Returns at once but for a node's first time."""
        while self._seen:
            self._listen_for(self._seen.popitem()[0])
        return [(instance_id, notice) for instance_id in list(self._going) for notice in self._heard_of(instance_id)]

    def acknowledge(self, instance_id: str) -> str | None:
        """The node has flushed: delete its event. Returns None, or in words why that failed."""
        going, notice = self._going.pop(instance_id, None), self._notices.pop(instance_id, None)
        if going is None or notice is None:
            return None
        failure = going.listener.acknowledge(notice)
        self._end(going)
        return failure

    def drop(self, instance_id: str) -> None:
        """Nothing was flushed for the node's event: give it back to the queue."""
        self._notices.pop(instance_id, None)
        if (going := self._going.pop(instance_id, None)) is not None:
            self._end(going)

    def stop(self) -> None:
        """Give back what is not acknowledged."""
        self._poller.stop()
        for instance_id in list(self._going):
            self.drop(instance_id)

    def _saw(self, instance_id: str) -> None:
        if self._is_node(instance_id) and instance_id not in self._going:
            self._seen[instance_id] = None

    def _listen_for(self, instance_id: str) -> None:
        options = msgspec.structs.replace(self._options, instance_id=instance_id, any_instance=False, required=False)
        going = _Going(SmqListener(options), Inbox())
        self._going[instance_id] = going
        going.listener.start(going.inbox)

    def _heard_of(self, instance_id: str) -> list[InterruptionNotice]:
        for item in self._going[instance_id].inbox.take():
            if isinstance(item, InterruptionNotice) and instance_id not in self._notices:
                self._notices[instance_id] = item
                return [item]
        return []

    def _end(self, going: _Going) -> None:
        going.listener.stop()
        going.inbox.close()
