"""Fifty instances on one queue with a backlog: the one concerned hears its event within ten seconds, nobody's is lost.

If this broke, instances would starve each other, and be taken away with their work unsaved.
"""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import DEADLINE

from batchgray.notices import Inbox, InterruptionNotice
from batchgray.notices.event import simulated
from batchgray.notices.metadata import Credentials
from batchgray.notices.smq import SmqOptions, SmqSource

QUEUE = "spot-interruption"
FLEET = 50
CONCERNED = 6
KEY = Credentials(key_id="local", secret="local", origin="the test")


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
        fleet = {f"i-{number}": (Inbox(), source_of(server, f"i-{number}")) for number in range(FLEET)}
        try:
            for inbox, source in fleet.values():
                source.start(inbox)
            delays = [delay_of(server, fleet, name) for name in chance.sample(sorted(fleet), CONCERNED)]
        finally:
            with ThreadPoolExecutor(FLEET) as pool:
                list(pool.map(lambda pair: pair[1].stop(), fleet.values()))
            for inbox, _ in fleet.values():
                inbox.close()
        assert max(delays) < 10.0, delays
        assert {message.message_id for message in server.messages(QUEUE)} == foreign


def source_of(server, instance_id) -> SmqSource:
    return SmqSource(
        SmqOptions(queue=QUEUE, endpoint=server.endpoint, credentials=KEY, instance_id=instance_id, required=True)
    )


def delay_of(server, fleet, name) -> float:
    """Seconds from the event in the queue to the notice; the event is acknowledged then, and the instance leaves."""
    inbox, source = fleet[name]
    began = time.monotonic()
    send(server, name)
    while time.monotonic() - began < DEADLINE:
        if any(isinstance(item, InterruptionNotice) for item in inbox.take()):
            delay = time.monotonic() - began
            notice = InterruptionNotice(source="smq", event_id=None)
            assert source.acknowledge(notice) is None
            return delay
        time.sleep(0.01)
    raise AssertionError(f"{name} did not hear of it")
