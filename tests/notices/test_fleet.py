"""One poller for many nodes: the real SDK over a real socket, against the local server."""

import time

import pytest
from harness import DEADLINE

from batchgray import errors
from batchgray.cloud.instance import Credentials
from batchgray.notices import smq
from batchgray.notices.fleet import FleetListener
from batchgray.notices.inbox import Inbox
from batchgray.notices.smq import SmqOptions
from batchgray.notices.spot_event import simulated

QUEUE = "spot-interruption"
KEY = Credentials(key_id="local", secret="local", origin="the test")
NODES = {"i-1", "i-2"}


@pytest.fixture
def server(smq_local):
    with smq_local.LocalSMQ() as server:
        server.create_queue(QUEUE, VisibilityTimeout=30)
        yield server


@pytest.fixture
def fleet(server, monkeypatch):
    monkeypatch.setattr(smq, "POLL_SECONDS", 0.1)
    inbox = Inbox()
    fleet = FleetListener(options(server), NODES.__contains__)
    fleet.start(inbox)
    yield fleet
    fleet.stop()
    inbox.close()


def options(server, **changed) -> SmqOptions:
    settings = {"queue": QUEUE, "endpoint": server.endpoint, "credentials": KEY, "instance_id": None}
    return SmqOptions(**(settings | changed))


def send(server, instance_id) -> str:
    return server.send(QUEUE, simulated(instance_id, "cn-hangzhou").decode(), base64=False)


def states(server) -> dict[str, str]:
    return {message.message_id: message.state(server.now()) for message in server.messages(QUEUE)}


def heard(fleet, count):
    until, found = time.monotonic() + DEADLINE, []
    while len(found) < count and time.monotonic() < until:
        found += fleet.heard()
        time.sleep(0.01)
    return dict(found)


def test_events_of_several_nodes_are_heard_and_each_is_deleted_when_its_node_has_flushed(server, fleet):
    first, second = send(server, "i-1"), send(server, "i-2")
    notices = heard(fleet, 2)
    assert {name: notice.event_id for name, notice in notices.items()} == {"i-1": first, "i-2": second}
    assert fleet.acknowledge("i-2") is None
    assert states(server) == {first: "hidden"}
    assert fleet.acknowledge("i-1") is None
    assert states(server) == {}


def test_a_node_is_told_of_once_while_its_event_is_held(server, fleet):
    send(server, "i-1")
    heard(fleet, 1)
    polled = server.requests["BatchPeekMessage"]
    server.wait_until(lambda: server.requests["BatchPeekMessage"] > polled + 2)
    assert fleet.heard() == []


def test_events_of_other_instances_are_left_alone(server, fleet):
    other = send(server, "i-other")
    send(server, "i-1")
    assert set(heard(fleet, 1)) == {"i-1"}
    assert fleet.acknowledge("i-1") is None
    server.advance(3)
    assert states(server) == {other: "visible"}


def test_an_event_behind_a_full_page_of_others_is_found(server, fleet):
    for number in range(20):
        send(server, f"i-other-{number}")
    mine = send(server, "i-1")
    assert heard(fleet, 1)["i-1"].event_id == mine


@pytest.mark.parametrize("end", [lambda fleet: fleet.drop("i-1"), lambda fleet: fleet.stop()], ids=["drop", "stop"])
def test_what_is_not_flushed_goes_back_to_the_queue(server, fleet, end):
    message = send(server, "i-1")
    heard(fleet, 1)
    end(fleet)
    server.advance(2)
    assert states(server) == {message: "visible"}


def test_a_queue_that_is_missing_is_told_at_the_start(server):
    inbox = Inbox()
    with pytest.raises(errors.QueueMissing):
        FleetListener(options(server, queue="none"), NODES.__contains__).start(inbox)
    inbox.close()
