"""A queue through the SDK, against the local server: whole answers only, and each fault by its name."""

import contextlib

import pytest

from batchgray import errors
from batchgray.cloud.instance import Credentials, Unknown
from batchgray.notices import queue
from batchgray.notices.queue import QueueFault, SmqQueue, trials_of_taking, try_action, usage_error

QUEUE = "spot-interruption"
KEY = Credentials(key_id="local", secret="local", origin="the test")
SDKS_OWN = "ignore:.*_messages.*:DeprecationWarning"  # of a queue's counts of messages
ENDPOINT = "http://mns.example.com"


@pytest.fixture
def server(smq_local):
    with smq_local.LocalSMQ() as server:
        server.create_queue(QUEUE, VisibilityTimeout=30)
        yield server


@pytest.fixture
def opened(server):
    with contextlib.closing(SmqQueue(server.endpoint, QUEUE, lambda: KEY)) as opened:
        yield opened


def test_an_answer_of_any_length_takes_no_more_memory_than_the_longest_page(server, opened):
    server.send(QUEUE, "x" * (2 * queue._ANSWER_BYTES), base64=False)
    with pytest.raises(QueueFault, match="longer than"):
        opened.peek()


def test_a_message_is_sent_peeked_at_received_hidden_and_deleted(opened):
    assert opened.receive() == opened.peek() == []
    message_id = opened.send("hello")
    (peeked,) = opened.peek()
    assert (peeked.message_id, peeked.body, peeked.handle) == (message_id, "hello", "")
    (received,) = opened.receive()
    assert opened.peek() == []
    handle = opened.hide(received.handle, 60)
    assert handle != received.handle
    opened.delete(handle)
    with pytest.raises(QueueFault) as caught:
        opened.hide(handle, 60)
    assert caught.value.kind in queue.GONE


@pytest.mark.filterwarnings(SDKS_OWN)
def test_a_queue_is_created_once(server):
    with contextlib.closing(SmqQueue(server.endpoint, "another", lambda: KEY)) as another:
        assert [another.create(), another.create()] == [True, False]


def test_credentials_that_are_not_known_are_a_fault(server):
    def unknown():
        raise Unknown("the instance has no RAM role")

    with (
        contextlib.closing(SmqQueue(server.endpoint, QUEUE, unknown)) as opened,
        pytest.raises(QueueFault, match="no RAM role") as caught,
    ):
        opened.peek()
    assert caught.value.kind == "Credentials"


@pytest.mark.parametrize("bodies", [[], ["another's"]], ids=["empty", "with a message"])
@pytest.mark.parametrize("action", [None, "BatchReceiveMessage", "ChangeMessageVisibility", "DeleteMessage"])
def test_each_action_is_tried_and_the_denied_one_is_named(server, opened, action, bodies):
    """A message that is there is given back, and nothing is deleted."""
    for body in bodies:
        opened.send(body)
    server.denied |= {action} - {None}
    denied = set()
    for trial in trials_of_taking(opened).values():
        try:
            try_action(trial)
        except QueueFault as fault:
            denied.add((fault.kind, fault.action))
    assert denied == ({("AccessDenied", action)} if action else set())
    server.advance(2 if action != "ChangeMessageVisibility" else 60)
    assert [message.body for message in opened.peek()] == bodies


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("QueueNotExist", errors.QueueMissing),
        ("AccessDenied", errors.QueueDenied),
        ("SignatureDoesNotMatch", errors.KeyRefused),
        ("Credentials", errors.IncompleteSmq),
        ("Network", errors.QueueUnreachable),
    ],
)
def test_a_fault_has_a_usage_error_of_its_own(kind, error):
    told = usage_error(QueueFault(kind, "why", "PeekMessage"), QUEUE, ENDPOINT)
    assert (type(told), told.exit_code) == (error, 2)
    assert QUEUE in str(told)
