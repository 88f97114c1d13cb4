"""What the queue's source does in which order, against a stub of the queue: no thread, no clock, no server."""

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from harness import wait_until
from stream import Clock

from batchgray.notices import smq
from batchgray.notices.inbox import InterruptionNotice
from batchgray.notices.metadata import Credentials
from batchgray.notices.queue import PAGE, Message, QueueFault
from batchgray.notices.smq import SmqListener, SmqOptions
from batchgray.notices.spot_event import simulated

KEY = Credentials(key_id="local", secret="local", origin="the test")


class Queue:
    """Messages in their order, and `calls`: what was asked, with what became of it."""

    def __init__(self, calls):
        self.calls, self.messages, self.faults = calls, [], {}
        self._receipts = 0

    def put(self, name, instance_id, age=0.0):
        body = simulated(instance_id, "cn-hangzhou").decode()
        self.messages.append(Message(name, body, "", time.time() - age))

    def peek(self):
        self._answer("peek")
        return self.messages[:PAGE]

    def receive(self, most=PAGE):
        self._answer("receive")
        self._receipts += 1
        return [message._replace(handle=f"{message.message_id} {self._receipts}") for message in self.messages[:most]]

    def hide(self, handle, seconds):
        name = handle.split()[0]
        self._answer(f"hide {name} {seconds}")
        return f"{name} again"

    def delete(self, handle):
        name = handle.split()[0]
        self._answer(f"delete {name}")
        self.messages = [message for message in self.messages if message.message_id != name]
        self.faults[f"hide {name} {smq.HOLD_SECONDS}"] = QueueFault("MessageNotExist")

    def _answer(self, call):
        self.calls.append(call)
        if call in self.faults:
            raise self.faults[call]


class Inbox:
    """Writes down what it gets among the queue's calls."""

    def __init__(self, calls):
        self._calls, self.items = calls, []

    def put(self, item):
        self._calls.append(type(item).__name__)
        self.items.append(item)


@pytest.fixture
def calls():
    return []


@pytest.fixture
def queue(calls):
    return Queue(calls)


@pytest.fixture
def source(calls):
    source = SmqListener(SmqOptions(queue="q", endpoint="http://q", credentials=KEY, instance_id="i-mine"))
    source._inbox = Inbox(calls)
    return source


def test_others_events_are_given_back_before_the_notice_is_given(source, queue, calls):
    """The notice begins a flush that may take minutes; until they are given back nobody else can hear of theirs."""
    queue.put("theirs", "i-other")
    queue.put("ours", "i-mine")
    source._look(queue, False)
    given_back, held = f"hide theirs {smq.HIDE_FRESH_SECONDS}", f"hide ours {smq.HOLD_SECONDS}"
    assert calls == ["peek", "receive", given_back, held, "InterruptionNotice"]


@pytest.mark.parametrize("slow", ["receive", "hide"])
def test_a_service_that_is_slow_to_take_others_events_back_keeps_no_notice_waiting(source, queue, calls, slow):
    """It would be asked sixteen times, and each may take seconds that the flush needs."""
    queue.put("theirs", "i-other")
    queue.put("ours", "i-mine")
    real = getattr(queue, slow)

    def until_there_is_notice(*given):
        wait_until(lambda: "InterruptionNotice" in calls)
        return real(*given)

    setattr(queue, slow, until_there_is_notice)
    source._look(queue, False)
    assert calls.count("InterruptionNotice") == 1


@pytest.mark.parametrize(
    ("age", "seconds"), [(0, 2), (smq.OLD_SECONDS - 60, 2), (smq.OLD_SECONDS + 60, smq.HIDE_OLD_SECONDS)]
)
def test_a_fresh_event_of_anothers_is_hidden_for_a_moment_and_only_an_old_one_for_minutes(
    source, queue, calls, age, seconds
):
    """Its instance has five minutes at most, and would not hear of it in time."""
    queue.put("theirs", "i-other", age)
    queue.put("ours", "i-mine")
    source._look(queue, False)
    assert [call for call in calls if call.startswith("hide theirs")] == [f"hide theirs {seconds}"]


def test_a_deletion_that_fails_until_there_is_no_time_left_is_told_with_its_cause(source, queue, monkeypatch):
    clock = Clock()

    def sleep(seconds):
        clock.now += seconds

    monkeypatch.setattr(smq, "time", SimpleNamespace(monotonic=clock, time=time.time, sleep=sleep))
    queue.put("ours", "i-mine")
    source._look(queue, False)
    queue.faults["delete ours"] = QueueFault("AccessDenied")
    began = clock.now
    assert source._delete(queue, began + 60) == "AccessDenied"
    assert clock.now >= began + 60
    assert [message.message_id for message in queue.messages] == ["ours"]


def test_nothing_of_anothers_is_ever_deleted(source, queue, calls):
    queue.put("theirs", "i-other")
    queue.put("ours", "i-mine")
    queue.put("ours-too", "i-mine")
    source._look(queue, False)
    assert source._delete(queue, time.monotonic() + 60) is None
    assert [message.message_id for message in queue.messages] == ["theirs"]
    assert "delete theirs" not in calls


def test_one_look_hides_nothing_from_anybody(source, queue, calls):
    queue.put("theirs", "i-other")
    assert source._look(queue, False) is False
    assert calls == ["peek"]


def test_a_full_page_of_others_is_looked_at_again_before_room_is_made(source, queue, calls):
    """One of the fleet does it for all, after a random moment."""
    source._stopping = True  # else making room would never end: this queue hides nothing
    for number in range(PAGE):
        queue.put(f"theirs-{number}", "i-other")
    assert source._look(queue, False) is True
    assert "receive" not in calls
    queue.messages.pop()
    assert source._look(queue, True) is False
    assert "receive" not in calls


def test_an_event_that_can_not_be_received_now_is_noticed_all_the_same_and_wanted(source, queue, calls):
    queue.put("ours", "i-mine")
    queue.faults["receive"] = QueueFault("Network")
    with pytest.raises(QueueFault):
        source._look(queue, False)
    assert [type(item).__name__ for item in source._inbox.items] == ["InterruptionNotice"]
    assert (source._wanted, source._held) == ({"ours"}, {})
    del queue.faults["receive"]
    source._hold(queue)
    assert (source._wanted, set(source._held)) == (set(), {"ours"})
    assert calls.count("InterruptionNotice") == 1


def test_a_held_event_whose_handle_died_is_received_again(source, queue):
    queue.put("ours", "i-mine")
    source._look(queue, False)
    queue.faults[f"hide ours {smq.HOLD_SECONDS}"] = QueueFault("MessageNotExist")
    source._hold(queue)
    assert (source._wanted, source._held) == ({"ours"}, {})


def test_an_event_is_given_back_where_nothing_was_flushed_for_it(source, queue, calls):
    queue.put("ours", "i-mine")
    source._look(queue, False)
    source._end(queue)
    assert calls[-1] == "hide ours 1"
    assert not any(call.startswith("delete") for call in calls)


def test_a_deletion_that_was_answered_and_not_done_is_no_deletion(source, queue):
    """A proxy's page counts as success with the SDK."""
    queue.put("ours", "i-mine")
    source._look(queue, False)
    queue.delete = lambda handle: None
    assert "not done" in source._delete(queue, time.monotonic() + 0.01)
    assert set(source._held) == {"ours"}


@pytest.mark.parametrize(
    ("left", "least", "most"), [(None, 60, 60), (3600, 60, 60), (20, 18, 20), (1, 5, 5), (-3600, 5, 5)]
)
def test_the_deletion_has_what_is_left_of_the_notice_but_some_seconds_at_least(source, left, least, most):
    """A clock that is wrong, or a flush that took all the time, must not keep it from being tried."""
    source._thread = SimpleNamespace(is_alive=lambda: False)
    source._held = {"ours": "handle"}
    before = time.monotonic()
    deadline = None if left is None else (datetime.now(UTC) + timedelta(seconds=left)).isoformat()
    assert source.acknowledge(InterruptionNotice(source="smq", event_id="ours", deadline=deadline))
    after = time.monotonic()
    assert before + least <= source._acknowledging_until <= after + most


def test_who_holds_no_event_has_nothing_to_acknowledge(source):
    source._thread = SimpleNamespace(is_alive=lambda: False)
    assert source.acknowledge(InterruptionNotice(source="signal", event_id="SIGTERM")) is None
    assert source._acknowledging_until is None


def test_the_same_event_is_noticed_once_in_however_many_messages_it_comes(source, queue, calls):
    queue.put("ours", "i-mine")
    for _ in range(3):
        source._look(queue, False)
        source._sift(queue)
    assert calls.count("InterruptionNotice") == 1


def test_an_event_is_renewed_long_before_it_would_be_seen_by_others():
    assert smq.RENEW_SECONDS * 1.2 < smq.HOLD_SECONDS / 2
    assert smq.HIDE_FRESH_SECONDS < smq.LOOK_SECONDS
