"""The program's own notices: each call is one notice, of the run that listens or of the next one."""

import contextlib
import threading

import pytest

from batchgray.notices.inbox import Inbox, InterruptionNotice
from batchgray.notices.interrupter import Interrupter

NOTICE = InterruptionNotice(source="signal", event_id="interrupt()")


@pytest.fixture
def inbox():
    with contextlib.closing(Inbox()) as inbox:
        yield inbox


def test_each_call_is_a_notice_of_the_run_that_listens(inbox):
    interrupter = Interrupter()
    interrupter.start(inbox)
    interrupter.interrupt()
    assert inbox.take() == [NOTICE]
    interrupter.interrupt()
    assert inbox.take() == [NOTICE]


def test_a_call_while_no_run_listens_is_for_the_next_one_and_for_it_alone(inbox):
    interrupter = Interrupter()
    interrupter.interrupt()
    interrupter.start(inbox)
    assert inbox.take() == [NOTICE]
    interrupter.stop()
    interrupter.interrupt()
    assert inbox.take() == []
    interrupter.start(inbox)
    assert inbox.take() == [NOTICE]


def test_calls_of_several_threads_are_all_notices(inbox):
    interrupter = Interrupter()
    interrupter.start(inbox)
    threads = [threading.Thread(target=interrupter.interrupt) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inbox.take() == [NOTICE] * 20
