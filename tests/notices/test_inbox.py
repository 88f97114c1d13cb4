"""Notices reach the one inbox from handlers and threads; none is lost, and no writer waits."""

import contextlib
import select
import signal
import threading
from datetime import UTC, datetime

import pytest

from batchgray.notices.inbox import Complaint, Inbox, InterruptionNotice


def notice(name):
    return InterruptionNotice(source="signal", event_id=str(name))


def names(notices):
    return [notice.event_id for notice in notices]


def readable(inbox):
    return bool(select.select([inbox], [], [], 0)[0])


@pytest.fixture
def inbox():
    with contextlib.closing(Inbox()) as inbox:
        yield inbox


@pytest.fixture
def handlers():
    """The handler and the timer of this test's signal are what they were before."""
    earlier = signal.getsignal(signal.SIGPROF)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, earlier)


def test_notices_are_taken_in_the_order_they_came_and_once(inbox):
    for name in "abc":
        inbox.put(notice(name))
    assert names(inbox.take()) == ["a", "b", "c"]
    assert inbox.take() == []


def test_the_inbox_is_readable_exactly_while_there_are_notices(inbox):
    assert not readable(inbox)
    inbox.put(notice("a"))
    inbox.put(notice("b"))
    assert readable(inbox)
    inbox.take()
    assert not readable(inbox)


def test_the_oldest_notice_can_be_seen_before_it_is_taken_and_a_complaint_is_none(inbox):
    assert inbox.notice is None
    inbox.put(Complaint("the queue does not answer"))
    assert inbox.notice is None
    assert readable(inbox)
    inbox.put(notice("a"))
    inbox.put(notice("b"))
    assert inbox.notice == notice("a")
    assert inbox.take() == [Complaint("the queue does not answer"), notice("a"), notice("b")]
    assert inbox.notice is None


@pytest.mark.parametrize(
    ("deadline", "left"),
    [
        ("2026-11-22T18:05:00Z", 300.0),
        ("2026-11-22T20:00:01+02:00", 1.0),
        ("2026-11-22T17:59:00Z", -60.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("2026-11-22T18:05:00", None),
    ],
)
def test_the_seconds_to_a_deadline_are_known_only_where_it_is_a_time_with_a_zone(deadline, left):
    now = datetime(2026, 11, 22, 18, tzinfo=UTC)
    assert InterruptionNotice(source="smq", event_id="e", deadline=deadline).seconds_left(now) == left


def test_more_notices_than_a_pipe_holds_block_no_writer_and_none_is_lost(inbox):
    many = [notice(number) for number in range(100_000)]
    for each in many:
        inbox.put(each)
    assert inbox.take() == many
    assert not readable(inbox)


def test_a_notice_from_a_thread_wakes_the_reader(inbox):
    thread = threading.Thread(target=inbox.put, args=[notice("from a thread")])
    thread.start()
    assert select.select([inbox], [], [], 30)[0]
    thread.join()
    assert names(inbox.take()) == ["from a thread"]


def test_notices_of_several_threads_all_arrive_each_threads_in_order(inbox):
    def put(thread):
        for number in range(500):
            inbox.put(notice(f"{thread} {number}"))

    threads = [threading.Thread(target=put, args=[thread]) for thread in range(4)]
    for thread in threads:
        thread.start()
    taken = []
    while len(taken) < 2000:
        assert select.select([inbox], [], [], 30)[0]
        taken += names(inbox.take())
    for thread in threads:
        thread.join()
    for thread in range(4):
        assert [name for name in taken if name.startswith(f"{thread} ")] == [f"{thread} {n}" for n in range(500)]


def test_a_handler_may_put_while_the_main_thread_puts_and_takes(inbox, handlers):
    heard = 0

    def hear(*_):
        nonlocal heard
        heard += 1
        inbox.put(notice(f"heard {heard}"))

    signal.signal(signal.SIGPROF, hear)
    signal.setitimer(signal.ITIMER_PROF, 0.0005, 0.0005)
    taken, put = [], 0
    while heard < 30:
        inbox.put(notice(f"put {put}"))
        put += 1
        taken += names(inbox.take())
    signal.setitimer(signal.ITIMER_PROF, 0)
    taken += names(inbox.take())
    assert sorted(taken) == sorted([f"put {n}" for n in range(put)] + [f"heard {n}" for n in range(1, heard + 1)])
