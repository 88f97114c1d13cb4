"""How fast the instance concerned hears its event on a queue that a fleet shares, and what that costs in requests.

    python benchmarks/fleet.py [--instances 50] [--foreign 40] [--runs 100] [--json FILE]

A real queue server (scripts/smq_local.py) on loopback, the real SDK, one thread an instance. Compared with what
suggests itself: everybody receives with a long poll, and gives back what is not theirs. A run is an event.
"""

import argparse
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import Measured, Row, load_script, main

from batchgray.cloud.instance import Credentials
from batchgray.notices.inbox import Inbox, InterruptionNotice
from batchgray.notices.queue import QueueFault, SmqQueue
from batchgray.notices.smq import SmqListener, SmqOptions
from batchgray.notices.spot_event import parse, simulated

QUEUE = "spot-interruption"
KEY = Credentials(key_id="local", secret="local", origin="the benchmark")
GIVE_UP_SECONDS = 60.0
LONG_POLL_SECONDS = 10


class LongPoller(threading.Thread):
    """The obvious way: receive, look, give back."""

    def __init__(self, endpoint: str, instance_id: str) -> None:
        super().__init__(daemon=True)
        self._queue = SmqQueue(endpoint, QUEUE, lambda: KEY)
        self._instance_id = instance_id
        self._heard, self._stopping = threading.Event(), False

    def listen(self) -> None:
        self.start()

    def run(self) -> None:
        receive = self._queue._queue.batch_receive_message
        while not self._stopping:
            try:
                for message in self._queue._messages(receive, 16, LONG_POLL_SECONDS):
                    if parse(message.body).instance_id == self._instance_id:
                        self._queue.delete(message.handle)
                        self._heard.set()
                    else:
                        self._queue.hide(message.handle, 1)
            except QueueFault:
                time.sleep(0.1)

    def wait(self) -> bool:
        return self._heard.wait(GIVE_UP_SECONDS)

    def end(self) -> None:
        self._stopping = True


class Peeker:
    """What batchgray does."""

    def __init__(self, endpoint: str, instance_id: str) -> None:
        self._inbox = Inbox()
        self._source = SmqListener(SmqOptions(queue=QUEUE, endpoint=endpoint, credentials=KEY, instance_id=instance_id))

    def listen(self) -> None:
        self._source.start(self._inbox)

    def wait(self) -> bool:
        until = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < until:
            if any(isinstance(item, InterruptionNotice) for item in self._inbox.take()):
                notice = InterruptionNotice(source="smq", event_id=None)
                return self._source.acknowledge(notice) is None
            time.sleep(0.01)
        return False

    def end(self) -> None:
        self._source.stop()


def delays_of(smq_local, way, given: argparse.Namespace, events: int) -> list[Row]:
    chance, delays, missed = random.Random(1), [], 0
    with smq_local.LocalSMQ() as server:
        server.create_queue(QUEUE, VisibilityTimeout=30)
        for number in range(given.foreign):
            server.send(QUEUE, simulated(f"i-gone{number}", "cn-hangzhou").decode(), base64=False)
            if number % 2:
                server.queues[QUEUE].messages[-1].enqueued -= 86400
        with ThreadPoolExecutor(given.instances) as pool:
            fleet = {f"i-{number}": way(server.endpoint, f"i-{number}") for number in range(given.instances)}
            list(pool.map(lambda member: member.listen(), fleet.values()))
            before, began = sum(server.requests.values()), time.monotonic()
            for _ in range(events):
                name = chance.choice(sorted(fleet))
                time.sleep(chance.uniform(0, 1))
                sent = time.monotonic()
                server.send(QUEUE, simulated(name, "cn-hangzhou").decode(), base64=False)
                missed += not fleet[name].wait()
                delays.append(time.monotonic() - sent)
                fleet[name].end()
                fleet[name] = way(server.endpoint, name)  # a new machine takes the place
                fleet[name].listen()
            hours = (time.monotonic() - began) / 3600
            requests = sum(server.requests.values()) - before
            list(pool.map(lambda member: member.end(), fleet.values()))
        lost = given.foreign - len(server.messages(QUEUE))
    figures = [
        ("sent to heard", "s", delays),
        ("not heard in 60 s", "events", [missed]),
        ("requests an hour and instance", "1", [requests / hours / given.instances]),
        ("foreign messages lost", "messages", [max(0, lost)]),
    ]
    return [Row(way.__name__, figure, unit, runs) for figure, unit, runs in figures]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--instances", type=int, default=50)
    parser.add_argument("--foreign", type=int, default=40)
    parser.add_argument("--long-poll-runs", type=int, default=10, help="fewer, since each may take a minute")


def measure(given: argparse.Namespace, work: Path) -> Measured:
    smq_local = load_script("smq_local")
    rows = delays_of(smq_local, Peeker, given, given.runs)
    rows += delays_of(smq_local, LongPoller, given, given.long_poll_runs)
    return Measured(rows, {"instances": given.instances, "foreign": given.foreign})


if __name__ == "__main__":
    main(__file__, __doc__, measure, runs=100, options=options)
