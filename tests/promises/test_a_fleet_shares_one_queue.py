"""Fifty instances on one queue with a backlog: the one concerned hears its event within ten seconds, nobody's is lost.

If this broke, instances would starve each other, and be taken away with their work unsaved. The seconds are those that
an instance waits between its looks at the queue; what this machine takes for the looks of fifty is not counted.
"""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import wait_until

from batchgray.cloud.instance import Credentials
from batchgray.notices.inbox import Complaint, Inbox, InterruptionNotice
from batchgray.notices.smq import SmqListener, SmqOptions
from batchgray.notices.spot_event import simulated

QUEUE = "spot-interruption"
FLEET = 50
CONCERNED = 6
KEY = Credentials(key_id="local", secret="local", origin="the test")


class Wake(threading.Event):
    """What a source waits with between two looks; `waits` has for how many seconds each time."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = [0.0]

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return super().wait(timeout)


class Instance(Inbox):
    """One of the fleet, and what it hears."""

    def __init__(self, server, name: str) -> None:
        super().__init__()
        options = SmqOptions(queue=QUEUE, endpoint=server.endpoint, credentials=KEY, instance_id=name, required=True)
        self.name, self.source = name, SmqListener(options)
        self.source._wake = self.wake = Wake()
        self.waits_before_notice: int | None = None

    def put(self, item: InterruptionNotice | Complaint) -> None:
        if isinstance(item, InterruptionNotice):
            self.waits_before_notice = len(self.wake.waits)
        super().put(item)

    def delay(self, server) -> float:
        """Seconds from its event in the queue to the notice, which it acknowledges then, and leaves."""
        waits_before_event = len(self.wake.waits) - 1  # the one that it is in counts as a whole
        send(server, self.name)
        wait_until(lambda: self.waits_before_notice is not None)
        assert self.source.acknowledge(InterruptionNotice(source="smq", event_id=None)) is None
        return sum(self.wake.waits[waits_before_event : self.waits_before_notice])


def send(server, instance_id) -> str:
    return server.send(QUEUE, simulated(instance_id, "cn-hangzhou").decode(), base64=False)


@pytest.mark.parametrize(("old", "fresh"), [(40, 0), (20, 20)])
def test_each_event_is_heard_in_time_and_foreign_ones_stay(smq_local, old, fresh):
    chance = random.Random(7)
    with smq_local.LocalSMQ() as server:
        server.create_queue(QUEUE, VisibilityTimeout=30)
        foreign = {send(server, f"i-gone{number}") for number in range(old)}
        for message in server.queues[QUEUE].messages:
            message.enqueued -= 86400  # of instances long gone
        foreign |= {send(server, f"i-elsewhere{number}") for number in range(fresh)}
        fleet = [Instance(server, f"i-{number}") for number in range(FLEET)]
        try:
            for instance in fleet:
                instance.source.start(instance)
            delays = [instance.delay(server) for instance in chance.sample(fleet, CONCERNED)]
        finally:
            with ThreadPoolExecutor(FLEET) as pool:
                list(pool.map(lambda instance: instance.source.stop(), fleet))
            for instance in fleet:
                instance.close()
        assert max(delays) < 10.0, delays
        assert {message.message_id for message in server.messages(QUEUE)} == foreign
