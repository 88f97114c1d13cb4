"""The listener to the queue: the real SDK over a real socket, against the local server; and what has no server."""

import base64
import contextlib
import json
import math
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from harness import DEADLINE
from stream import Clock

from batchgray import errors
from batchgray.cloud.instance import Credentials
from batchgray.notices import own_event, queue, smq
from batchgray.notices.inbox import Complaint, Inbox, InterruptionNotice
from batchgray.notices.own_event import OwnEvent
from batchgray.notices.queue import QueueFault
from batchgray.notices.smq import SmqListener, SmqOptions
from batchgray.notices.spot_event import simulated

QUEUE = "spot-interruption"
POLL_SECONDS = smq.POLL_SECONDS
KEY = Credentials(key_id="local", secret="local", origin="the test")
OTHER_KIND = json.dumps({"name": "Instance:StateChange", "content": {"instanceId": "i-mine"}})


@pytest.fixture
def server(smq_local):
    with smq_local.LocalSMQ() as server:
        server.create_queue(QUEUE, VisibilityTimeout=30)
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(smq, "POLL_SECONDS", 0.1)


@pytest.fixture
def listener():
    """One that has not started."""
    return SmqListener(SmqOptions(queue=QUEUE, endpoint="http://127.0.0.1:9", credentials=KEY, instance_id="i-mine"))


class Listening:
    """A listener at work, and what it said."""

    def __init__(self, server, **options):
        settings = {"queue": QUEUE, "endpoint": server.endpoint, "credentials": KEY, "instance_id": "i-mine"}
        self.inbox = Inbox()
        self.listener = SmqListener(SmqOptions(**(settings | options)))
        self.said = []

    def __enter__(self):
        self.listener.start(self.inbox)
        return self

    def __exit__(self, *_):
        self.listener.stop()
        self.inbox.close()

    def notice(self, seconds=DEADLINE) -> InterruptionNotice | None:
        return self._first(InterruptionNotice, seconds)

    def complaint(self, seconds=DEADLINE) -> Complaint | None:
        return self._first(Complaint, seconds)

    def _first(self, kind, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.said += self.inbox.take()
            for item in self.said:
                if isinstance(item, kind):
                    self.said.remove(item)
                    return item
            time.sleep(0.01)
        return None


@contextlib.contextmanager
def silent(scheme):
    """An endpoint that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"


def send(server, instance_id) -> str:
    return server.send(QUEUE, simulated(instance_id, "cn-hangzhou").decode(), base64=False)


def states(server) -> dict[str, str]:
    return {message.message_id: message.state(server.now()) for message in server.messages(QUEUE)}


def soon_visible(server, message_id) -> bool:
    (found,) = (message for message in server.messages(QUEUE) if message.message_id == message_id)
    return found.visible_at <= server.now() + own_event.HIDE_FRESH_SECONDS


def test_our_event_is_heard_held_and_deleted_only_when_it_is_acknowledged(server):
    with Listening(server) as listening:
        message_id = send(server, "i-mine")
        notice = listening.notice()
        assert (notice.source, notice.event_id) == ("smq", message_id)
        assert 290 < notice.seconds_left(datetime.now(UTC)) <= 300
        server.wait_until(lambda: states(server) == {message_id: "hidden"})
        assert listening.listener.acknowledge(notice) is None
        assert states(server) == {}


def test_without_an_acknowledgement_it_is_given_back(server):
    with Listening(server) as listening:
        message_id = send(server, "i-mine")
        assert listening.notice()
    server.advance(2)
    assert states(server) == {message_id: "visible"}


def test_a_held_event_stays_hidden_however_long_the_flush_takes(server, monkeypatch):
    monkeypatch.setattr(smq, "RENEW_SECONDS", 0.1)
    with Listening(server) as listening:
        message_id = send(server, "i-mine")
        notice = listening.notice()
        for _ in range(4):
            renewed = server.requests["ChangeMessageVisibility"]
            server.advance(40)
            server.wait_until(lambda renewed=renewed: server.requests["ChangeMessageVisibility"] > renewed + 1)
            assert states(server) == {message_id: "hidden"}
        assert listening.listener.acknowledge(notice) is None
    assert states(server) == {}


def test_what_is_not_ours_is_left_alone_and_told_once(server):
    foreign = [send(server, "i-other"), server.send(QUEUE, OTHER_KIND), server.send(QUEUE, "garbage", base64=False)]
    with Listening(server) as listening:
        assert "left alone" in listening.complaint().message
        server.wait_until(lambda: server.requests["BatchPeekMessage"] > 8)
        assert listening.complaint(0.2) is None
        assert listening.notice(0.1) is None
        server.wait_until(lambda: states(server) == dict.fromkeys(foreign, "visible"))


def test_others_that_came_in_the_same_batch_are_given_back_before_the_notice(server, smq_local):
    """They come when it listens already: at the start it looks, by receiving one, whether it may."""
    with Listening(server) as listening:
        not_yet = smq_local.Fault("BatchPeekMessage", "status", status=500, times=math.inf)
        server.faults.append(not_yet)
        other, own = send(server, "i-other"), send(server, "i-mine")
        server.faults.remove(not_yet)
        assert listening.notice()
        server.wait_until(lambda: soon_visible(server, other))
        found = {message.message_id: message for message in server.messages(QUEUE)}
        assert found[other].dequeue_count == 1, "it was in the same batch"
        assert found[own].state(server.now()) == "hidden"


def test_a_deletion_that_a_signal_cuts_short_is_told_with_its_cause(server, smq_local):
    with Listening(server) as listening:
        send(server, "i-mine")
        notice = listening.notice()
        server.faults.append(smq_local.Fault("DeleteMessage", "status", times=math.inf))
        tried = server.requests["DeleteMessage"] + 1
        with ThreadPoolExecutor(1) as pool:
            outcome = pool.submit(listening.listener.acknowledge, notice)
            server.wait_until(lambda: server.requests["DeleteMessage"] > tried)
            listening.inbox.put(InterruptionNotice(source="signal", event_id="SIGINT"))
            assert outcome.result() == "InternalError"


@pytest.mark.parametrize("body", ["", "  ", "a\x01\x0b\x1f", "\ufffe"])
def test_a_message_that_is_no_xml_or_has_no_body_hides_no_other(server, body):
    server.send(QUEUE, body, base64=False)
    with Listening(server) as listening:
        assert "is left alone: " in listening.complaint().message
        send(server, "i-mine")
        notice = listening.notice()
        assert listening.listener.acknowledge(notice) is None
    assert [message.body for message in server.messages(QUEUE)] == [body]


def test_the_same_event_twice_is_one_and_both_messages_go(server):
    body = json.dumps(
        {
            "id": "E5",
            "name": "Instance:PreemptibleInstanceInterruption",
            "content": {"instanceId": "i-mine"},
        }
    )
    with Listening(server) as listening:
        server.send(QUEUE, body)
        server.send(QUEUE, body, base64=False)
        notice = listening.notice()
        assert notice.event_id == "E5"
        assert listening.notice(0.5) is None
        assert listening.listener.acknowledge(notice) is None
    assert states(server) == {}


def test_behind_a_backlog_of_old_events_it_is_heard_all_the_same(server):
    old = [send(server, f"i-gone{number}") for number in range(40)]
    server.advance(3600)
    # The listener compares with its own clock; the messages are an hour old for it too.
    for message in server.queues[QUEUE].messages:
        message.enqueued -= 3600
    with Listening(server) as listening:
        own = send(server, "i-mine")
        assert listening.notice().event_id == own
        assert set(states(server)) == {*old, own}


def put_in(server, seconds, instance_id="i-mine"):
    """An event that came so many seconds ago. The client's clock does not jump with the server's."""
    message_id = send(server, instance_id)
    for message in server.queues[QUEUE].messages:
        message.enqueued -= seconds if message.message_id == message_id else 0
    return message_id


def test_an_event_that_the_instance_has_outlived_is_one_warning_with_its_remedy_and_no_notice(server):
    over = put_in(server, 3600)
    with Listening(server) as listening:
        text = listening.complaint().message
        assert "has been in queue spot-interruption for 1 h" in text
        assert f"Delete message {over} at the SMQ console" in text
        server.wait_until(lambda: server.requests["BatchPeekMessage"] > 8)
        assert listening.complaint(0.2) is None
        fresh = send(server, "i-mine")
        notice = listening.notice()
        assert notice.event_id == fresh
        assert listening.listener.acknowledge(notice) is None
    assert list(states(server)) == [over]


@pytest.mark.parametrize("off", [-700, 700])
def test_a_clock_that_is_off_makes_no_fresh_event_an_old_one(server, monkeypatch, off):
    monkeypatch.setattr(queue, "time", SimpleNamespace(time=lambda: time.time() + off))
    with Listening(server) as listening:
        send(server, "i-mine")
        assert listening.notice()


def test_an_event_grows_not_old_while_its_flush_takes_long(server, monkeypatch):
    monkeypatch.setattr(smq, "RENEW_SECONDS", 0.1)
    with Listening(server) as listening:
        message_id = send(server, "i-mine")
        notice = listening.notice()
        (message,) = server.queues[QUEUE].messages
        message.enqueued -= 3600
        server.advance(600)  # its handle dies: it is received again, an hour old
        server.wait_until(lambda: states(server) == {message_id: "hidden"})
        assert listening.listener.acknowledge(notice) is None
    assert states(server) == {}


def test_any_instance(server):
    with Listening(server, instance_id=None, any_instance=True) as listening:
        send(server, "i-other")
        assert listening.notice()


@pytest.mark.parametrize(
    ("operation", "kind", "settings"),
    [
        ("BatchPeekMessage", "status", {"status": 500, "times": 3}),
        ("BatchPeekMessage", "html", {"status": 502, "times": 3}),
        ("BatchPeekMessage", "html", {"status": 200, "times": 3}),
        ("BatchPeekMessage", "drop", {"times": 6}),
        ("BatchPeekMessage", "throttle", {"times": 3}),
        ("BatchPeekMessage", "clock", {"times": 3, "seconds": 1200}),
    ],
)
def test_faults_are_told_once_and_outlived(server, smq_local, operation, kind, settings):
    with Listening(server) as listening:
        server.faults.append(smq_local.Fault(operation, kind, **settings))
        assert "trying on" in listening.complaint().message
        send(server, "i-mine")
        assert listening.notice()
        assert not any(isinstance(item, Complaint) for item in listening.said)


def test_an_answer_that_drips_is_outlived(server, smq_local, monkeypatch):
    monkeypatch.setattr(queue, "_TIMEOUT_SECONDS", 0.5)
    with Listening(server) as listening:
        server.faults.append(smq_local.Fault("BatchPeekMessage", "drip", seconds=0.1))
        assert "can't be heard (Network: " in listening.complaint().message
        send(server, "i-mine")
        assert listening.notice()


def test_an_event_of_a_time_that_no_clock_can_tell_is_heard(server):
    event = json.loads(base64.b64decode(simulated("i-mine", "cn-hangzhou")))
    with Listening(server) as listening:
        server.send(QUEUE, json.dumps(event | {"id": "E1", "eventTime": "99991231T235959.000+0000"}))
        notice = listening.notice()
        assert notice.event_id == "E1"
        assert 290 < notice.seconds_left(datetime.now(UTC)) <= 300


def fail_oddly(*_):
    raise OverflowError("odd")


@pytest.mark.parametrize(("owner", "broken"), [(OwnEvent, "find"), (SmqListener, "_find_identity"), (smq, "parse")])
def test_whatever_goes_wrong_with_a_poll_is_told_once_and_outlived(server, monkeypatch, owner, broken):
    send(server, "i-other")
    with Listening(server) as listening:
        with monkeypatch.context() as patch:
            patch.setattr(owner, broken, fail_oddly)
            assert "InternalFault: OverflowError" in listening.complaint().message
            send(server, "i-mine")
        assert listening.notice()
        assert not any(isinstance(item, Complaint) for item in listening.said)


def test_a_notice_is_given_whatever_goes_wrong_with_its_message(server, monkeypatch):
    with Listening(server) as listening:
        with monkeypatch.context() as patch:
            patch.setattr(OwnEvent, "_receive_page", fail_oddly)
            send(server, "i-mine")
            notice = listening.notice()
        assert notice
        assert listening.listener.acknowledge(notice) is None
    assert states(server) == {}


class Waits:
    """In place of a listener's event: the waits between its polls, which take no time. The tenth is the last."""

    def __init__(self, listener):
        self.listener, self.seconds = listener, []

    def set(self):
        pass

    def wait(self, seconds):
        self.seconds.append(seconds)
        self.listener._stopping = len(self.seconds) >= 10


def test_a_service_that_answers_again_is_heard_within_ten_seconds(listener, monkeypatch):
    """A poll that fails just before, the wait after it, and the poll that is answered."""
    monkeypatch.setattr(smq, "POLL_SECONDS", POLL_SECONDS)
    monkeypatch.setattr(smq.random, "uniform", lambda least, most: most)
    listener._wake = waits = Waits(listener)
    listener._listen()
    assert max(waits.seconds) + queue._TIMEOUT_SECONDS + 1 <= 10


def test_a_deletion_that_fails_until_there_is_no_time_left_is_told_with_its_cause(listener, monkeypatch):
    clock = Clock()

    def sleep(seconds):
        clock.now += seconds

    def refuse(_queue):
        raise QueueFault("AccessDenied")

    monkeypatch.setattr(smq, "time", SimpleNamespace(monotonic=clock, sleep=sleep))
    listener._event = SimpleNamespace(delete=refuse)
    began = clock.now
    assert listener._delete(None, began + 60) == "AccessDenied"
    assert clock.now >= began + 60


def test_a_deletion_is_done_when_the_queue_has_none_of_the_event_any_more(listener):
    attempts = [2, 1, None]
    listener._event = SimpleNamespace(delete=lambda _queue: attempts.pop(0))
    assert listener._delete(None, math.inf) is None
    assert attempts == []


@pytest.mark.parametrize(
    ("left", "least", "most"), [(None, 60, 60), (3600, 60, 60), (20, 18, 20), (1, 5, 5), (-3600, 5, 5)]
)
def test_the_deletion_has_what_is_left_of_the_notice_but_some_seconds_at_least(listener, left, least, most):
    """A clock that is wrong, or a flush that took all the time, must not keep it from being tried."""
    listener._thread = SimpleNamespace(is_alive=lambda: False)
    listener._event = SimpleNamespace(in_hand=True)
    before = time.monotonic()
    deadline = None if left is None else (datetime.now(UTC) + timedelta(seconds=left)).isoformat()
    assert listener.acknowledge(InterruptionNotice(source="smq", event_id="ours", deadline=deadline))
    after = time.monotonic()
    assert before + least <= listener._acknowledging_until <= after + most


def test_a_listener_that_holds_no_event_has_nothing_to_acknowledge(listener):
    listener._thread = SimpleNamespace(is_alive=lambda: False)
    assert listener.acknowledge(InterruptionNotice(source="signal", event_id="SIGTERM")) is None
    assert listener._acknowledging_until is None


def test_an_event_is_renewed_long_before_it_would_be_seen_by_others():
    assert smq.RENEW_SECONDS * 1.2 < own_event.HOLD_SECONDS / 2
    assert own_event.HIDE_FRESH_SECONDS < POLL_SECONDS


def test_a_notice_is_given_where_no_thread_can_be_started(server, monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", refuse)
    with Listening(server) as listening:
        send(server, "i-mine")
        assert listening.notice()


def test_a_deletion_that_fails_is_tried_again(server, smq_local):
    with Listening(server) as listening:
        send(server, "i-mine")
        notice = listening.notice()
        server.faults.append(smq_local.Fault("DeleteMessage", "status", times=2, status=500))
        server.faults.append(smq_local.Fault("DeleteMessage", "html", times=1, status=200))
        assert listening.listener.acknowledge(notice) is None
    assert states(server) == {}


def test_a_signal_ends_the_waiting_for_an_acknowledgement(server, monkeypatch):
    monkeypatch.setattr(smq, "ACKNOWLEDGE_SECONDS", 10 * DEADLINE)
    with Listening(server) as listening:
        send(server, "i-mine")
        assert listening.notice()
        notice = InterruptionNotice(source="smq", event_id=None)  # of a machine that goes at no known time
        server.denied.add("DeleteMessage")
        threading.Timer(
            0.3, lambda: listening.inbox.put(InterruptionNotice(source="signal", event_id="SIGINT"))
        ).start()
        began = time.monotonic()
        assert listening.listener.acknowledge(notice) is not None
        assert time.monotonic() - began < DEADLINE


class TestAtTheStart:
    def refused(self, server, kind, **options) -> str:
        with pytest.raises(kind) as caught, Listening(server, **options):
            pass
        assert caught.value.exit_code == 2
        return str(caught.value)

    def test_a_missing_queue(self, server):
        text = self.refused(server, errors.QueueMissing, queue="nowhere")
        assert "nowhere" in text
        assert server.endpoint in text

    def test_a_wrong_secret(self, server):
        wrong = Credentials(key_id="local", secret="very-secret-and-wrong", origin="the test")
        text = self.refused(server, errors.KeyRefused, credentials=wrong)
        assert "SignatureDoesNotMatch" in text
        assert "very-secret" not in text

    @pytest.mark.parametrize(
        "action", ["BatchPeekMessage", "BatchReceiveMessage", "ChangeMessageVisibility", "DeleteMessage"]
    )
    def test_a_denied_action(self, server, action):
        server.denied.add(action)
        self.refused(server, errors.QueueDenied)

    @pytest.mark.parametrize(
        ("missing", "word"),
        [("endpoint", "MNS_ENDPOINT"), ("credentials", "ACCESS_KEY"), ("instance_id", "--instance-id")],
    )
    def test_what_is_missing_where_it_was_asked_for_by_name(self, server, missing, word):
        text = self.refused(server, errors.IncompleteSmq, required=True, **{missing: None})
        assert word in text

    def test_what_is_missing_is_only_told_where_it_was_not(self, server):
        with Listening(server, credentials=None) as listening:
            assert "no interruption notices from SMQ" in listening.complaint().message

    def test_which_instance_this_is_where_metadata_does_not_tell(self, server):
        options = {"instance_id": None, "metadata_url": "http://127.0.0.1:9"}
        assert "--instance-id" in self.refused(server, errors.IncompleteSmq, required=True, **options)

    def test_credentials_where_metadata_does_not_tell(self, server):
        options = {"credentials": None, "metadata_url": "http://127.0.0.1:9"}
        assert "ALIBABA_CLOUD_ACCESS_KEY_ID" in self.refused(server, errors.IncompleteSmq, required=True, **options)

    def test_an_endpoint_that_does_not_answer(self, server):
        text = self.refused(server, errors.QueueUnreachable, endpoint="http://127.0.0.1:9", required=True)
        assert "127.0.0.1:9" in text

    def test_a_denied_action_of_the_instances_role(self, smq_local):
        with smq_local.LocalSMQ(instance_id="i-mine", role="reader", denied={"DeleteMessage"}) as server:
            server.create_queue(QUEUE)
            options = {"credentials": None, "instance_id": None, "metadata_url": server.metadata_url}
            assert "DeleteMessage" in self.refused(server, errors.QueueDenied, **options)

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_an_endpoint_that_says_nothing(self, server, monkeypatch, scheme):
        monkeypatch.setattr(smq, "CHECK_SECONDS", 0.3)
        with silent(scheme) as endpoint:
            text = self.refused(server, errors.QueueUnreachable, endpoint=endpoint, required=True)
        assert "no answer within 0.3 s" in text

    @pytest.mark.parametrize("operation", ["BatchPeekMessage", "BatchReceiveMessage", "ChangeMessageVisibility"])
    def test_an_endpoint_that_drips(self, server, smq_local, monkeypatch, operation):
        monkeypatch.setattr(smq, "CHECK_SECONDS", 0.3)
        server.faults.append(smq_local.Fault(operation, "drip", seconds=1))
        self.refused(server, errors.QueueUnreachable, required=True)

    def test_one_that_was_not_asked_for_by_name_is_told_of_and_heard_later(self, server, smq_local, monkeypatch):
        monkeypatch.setattr(smq, "CHECK_SECONDS", 0.3)
        monkeypatch.setattr(queue, "_TIMEOUT_SECONDS", 1.0)
        server.faults.append(smq_local.Fault("BatchPeekMessage", "drip", seconds=1))
        with Listening(server) as listening:
            assert "can't be heard (Network: " in listening.complaint().message
            send(server, "i-mine")
            assert listening.notice()

    def test_a_notice_ends_the_checks_at_once(self, server, monkeypatch):
        monkeypatch.setattr(smq, "CHECK_SECONDS", 1e6)
        with silent("http") as endpoint:
            listening = Listening(server, endpoint=endpoint, required=True)
            signal = InterruptionNotice(source="signal", event_id="SIGINT")
            listening.inbox.put(signal)
            with listening:
                assert listening.notice() == signal

    def test_a_silent_metadata_service_delays_nothing(self, server, smq_local, monkeypatch):
        monkeypatch.setattr(smq, "METADATA_SECONDS", 10 * DEADLINE)
        monkeypatch.setattr(smq, "CHECK_SECONDS", 10 * DEADLINE)
        server.faults.append(smq_local.Fault("*", "hang", times=100, seconds=20 * DEADLINE))
        began = time.monotonic()
        with Listening(server, credentials=None, instance_id=None, metadata_url=server.metadata_url):
            assert time.monotonic() - began < DEADLINE


def test_the_instances_role_and_identity_from_metadata_and_their_renewal(smq_local):
    with smq_local.LocalSMQ(instance_id="i-mine", role="reader", hardened=True) as server:
        server.create_queue(QUEUE, VisibilityTimeout=30)
        options = {"credentials": None, "instance_id": None, "metadata_url": server.metadata_url, "required": True}
        with Listening(server, **options) as listening:
            server.wait_until(lambda: server.requests["BatchPeekMessage"] > 3)
            server.rotate_credentials()
            send(server, "i-mine")
            assert listening.notice()
            assert "InvalidAccessKeyId" in listening.complaint().message
