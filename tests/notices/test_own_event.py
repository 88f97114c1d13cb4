"""What is done with the queue's messages, in which order, against a stub of the queue: no thread, no server."""

import threading

import pytest
from harness import wait_until

from batchgray.notices import own_event
from batchgray.notices.own_event import OwnEvent
from batchgray.notices.queue import PAGE, Message, QueueFault
from batchgray.notices.spot_event import SpotEvent


class Queue:
    """Messages in their order, and `calls`: what was asked, with what became of it."""

    def __init__(self, calls):
        self.calls, self.messages, self.faults = calls, [], {}
        self._receipts = 0

    def put(self, name, instance_id, age=0.0):
        self.messages.append(Message(name, instance_id, "", age))

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
        self.faults[f"hide {name} {own_event.HOLD_SECONDS}"] = QueueFault("MessageNotExist")

    def _answer(self, call):
        self.calls.append(call)
        if call in self.faults:
            raise self.faults[call]


@pytest.fixture
def calls():
    return []


@pytest.fixture
def queue(calls):
    return Queue(calls)


def own(message):
    mine = SpotEvent(instance_id="i-mine", event_id=None, event_time=None)
    return mine if message.body == mine.instance_id else None


@pytest.fixture
def event(calls):
    """It writes its notices down among the queue's calls. Making room ends at once: this queue hides nothing."""
    return OwnEvent(own, lambda notice: calls.append(type(notice).__name__), lambda: True)


def test_others_events_are_given_back_before_the_notice_is_given(event, queue, calls):
    """The notice begins a flush that may take minutes; until then no other instance can hear of its own."""
    queue.put("theirs", "i-other")
    queue.put("ours", "i-mine")
    event.find(queue, False)
    given_back, held = f"hide theirs {own_event.HIDE_FRESH_SECONDS}", f"hide ours {own_event.HOLD_SECONDS}"
    assert calls == ["peek", "receive", given_back, held, "InterruptionNotice"]


@pytest.mark.parametrize("slow", ["receive", "hide"])
def test_a_service_that_is_slow_to_take_others_events_back_keeps_no_notice_waiting(event, queue, calls, slow):
    """It would be asked sixteen times, and each may take seconds that the flush needs."""
    queue.put("theirs", "i-other")
    queue.put("ours", "i-mine")
    real = getattr(queue, slow)

    def until_there_is_notice(*given):
        wait_until(lambda: "InterruptionNotice" in calls)
        return real(*given)

    setattr(queue, slow, until_there_is_notice)
    event.find(queue, False)
    assert calls.count("InterruptionNotice") == 1


@pytest.mark.parametrize(
    ("age", "seconds"),
    [(0, 2), (own_event.OLD_SECONDS - 60, 2), (own_event.OLD_SECONDS + 60, own_event.HIDE_OLD_SECONDS)],
)
def test_a_fresh_event_of_anothers_is_hidden_for_a_moment_and_only_an_old_one_for_minutes(
    event, queue, calls, age, seconds
):
    """Its instance has five minutes at most, and would not hear of it in time."""
    queue.put("theirs", "i-other", age)
    queue.put("ours", "i-mine")
    event.find(queue, False)
    assert [call for call in calls if call.startswith("hide theirs")] == [f"hide theirs {seconds}"]


def test_nothing_of_anothers_is_ever_deleted(event, queue, calls):
    queue.put("theirs", "i-other")
    queue.put("ours", "i-mine")
    queue.put("ours-too", "i-mine")
    event.find(queue, False)
    assert [event.delete(queue), event.delete(queue)] == [2, None]
    assert [message.message_id for message in queue.messages] == ["theirs"]
    assert "delete theirs" not in calls


def test_a_peek_hides_nothing(event, queue, calls):
    queue.put("theirs", "i-other")
    assert event.find(queue, False) is False
    assert calls == ["peek"]


def test_a_full_page_of_others_is_peeked_at_again_before_room_is_made(event, queue, calls):
    """One of the fleet does it for all, after a random moment."""
    for number in range(PAGE):
        queue.put(f"theirs-{number}", "i-other")
    assert event.find(queue, False) is True
    assert "receive" not in calls
    queue.messages.pop()
    assert event.find(queue, True) is False
    assert "receive" not in calls


def test_an_event_that_can_not_be_received_now_is_noticed_all_the_same_and_wanted(event, queue, calls):
    queue.put("ours", "i-mine")
    queue.faults["receive"] = QueueFault("Network")
    with pytest.raises(QueueFault):
        event.find(queue, False)
    assert calls.count("InterruptionNotice") == 1
    assert (event._wanted, event._held) == ({"ours"}, {})
    del queue.faults["receive"]
    event.hold(queue)
    assert (event._wanted, set(event._held)) == (set(), {"ours"})
    assert calls.count("InterruptionNotice") == 1


def test_a_held_event_whose_handle_died_is_received_again(event, queue):
    queue.put("ours", "i-mine")
    event.find(queue, False)
    queue.faults[f"hide ours {own_event.HOLD_SECONDS}"] = QueueFault("MessageNotExist")
    event.hold(queue)
    assert (event._wanted, event._held) == ({"ours"}, {})


def test_an_event_is_given_back_where_nothing_was_flushed_for_it(event, queue, calls):
    queue.put("ours", "i-mine")
    event.find(queue, False)
    event.give_back(queue)
    assert calls[-1] == "hide ours 1"
    assert not any(call.startswith("delete") for call in calls)


def test_a_deletion_that_was_answered_and_not_done_is_no_deletion(event, queue):
    """A proxy's page counts as success with the SDK."""
    queue.put("ours", "i-mine")
    event.find(queue, False)
    queue.delete = lambda handle: None
    with pytest.raises(QueueFault, match="not done"):
        event.delete(queue)
    assert set(event._held) == {"ours"}


def test_the_same_event_is_noticed_once_in_however_many_messages_it_comes(event, queue, calls):
    queue.put("ours", "i-mine")
    for _ in range(3):
        event.find(queue, False)
        event.hold(queue)
    assert calls.count("InterruptionNotice") == 1


def test_room_is_made_page_by_page_until_the_event_is_seen(queue, calls):
    event = OwnEvent(own, lambda notice: calls.append(type(notice).__name__), lambda: False)
    names = [f"theirs-{number}" for number in range(3 * PAGE)]
    for name in names:
        queue.put(name, "i-other")
    queue.put("ours", "i-mine")
    hide = queue.hide

    def really_hide(handle, seconds):
        queue.messages = [message for message in queue.messages if message.message_id != handle.split()[0]]
        return hide(handle, seconds)

    queue.hide = really_hide
    assert event.find(queue, True) is False
    assert calls.count("InterruptionNotice") == 1
    assert [call for call in calls if call.startswith("hide theirs")] == [
        f"hide {name} {own_event.HIDE_FRESH_SECONDS}" for name in names
    ]


def test_a_page_without_the_event_starts_no_thread(event, queue, monkeypatch):
    """A thread is for a notice that can't wait until others' events are given back."""
    queue.put("theirs", "i-other")
    monkeypatch.setattr(threading.Timer, "start", lambda timer: pytest.fail("a thread"))
    event._receive_page(queue)


@pytest.mark.parametrize("how", ["receiving", "wanted", "held"])
def test_what_is_in_hand_is_to_be_given_back(event, queue, how):
    assert not event.to_give_back
    if how == "receiving":
        with event.giving_back():
            assert event.to_give_back
        assert not event.to_give_back
        return
    queue.put("ours", "i-mine")
    if how == "wanted":
        queue.faults["receive"] = QueueFault("Network")
        with pytest.raises(QueueFault):
            event.find(queue, False)
    else:
        event.find(queue, False)
    assert (event.in_hand, event.wanted, event.to_give_back) == (True, how == "wanted", True)
