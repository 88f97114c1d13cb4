"""Beside a share the next plan is read once, and hints are put whatever comes of them."""

import contextlib
import threading

import pytest
from harness import DEADLINE

from batchgray.engine.beside import Beside
from batchgray.planning.shares import DamagedPlan
from batchgray.storage.base import Unreachable


class Reading:
    """Shares are their own numbers here."""

    def __init__(self):
        self.asked, self.threads = [], []

    def __call__(self, number):
        self.asked.append(number)
        self.threads.append(threading.current_thread())
        if number == 13:
            raise DamagedPlan("plan/13", "it ends before it does")
        return number


@pytest.fixture
def reading():
    return Reading()


@pytest.fixture
def beside(reading):
    beside = Beside(reading)
    yield beside
    beside.close()


def test_what_was_expected_is_read_once_and_in_a_thread(beside, reading):
    beside.expect(2)
    assert beside.expects
    assert beside.share(2) == 2
    assert not beside.expects
    assert reading.asked == [2]
    assert reading.threads != [threading.current_thread()]


def test_another_share_than_was_expected_is_read_now(beside, reading):
    beside.expect(2)
    assert beside.share(3) == 3
    assert not beside.expects
    assert beside.share(2) == 2
    assert sorted(reading.asked) == [2, 2, 3]


def test_what_is_damaged_is_told_to_who_asks_for_it(beside, reading):
    beside.expect(13)
    with pytest.raises(DamagedPlan):
        beside.share(13)
    assert reading.asked == [13, 13]  # what was met the first time may have been over


def test_what_failed_when_it_was_expected_is_read_again(reading):
    gone = [True]

    def read(number):
        if gone and gone.pop():
            raise Unreachable("plan/2", "no answer")
        return reading(number)

    with contextlib.closing(Beside(read)) as beside:
        beside.expect(2)
        assert beside.share(2) == 2


def test_a_hint_is_put_when_all_is_settled(beside):
    released, put = threading.Event(), []

    def hint():
        assert released.wait(DEADLINE)
        put.append("hint")

    beside.put(hint)
    assert put == []
    released.set()
    beside.settle()
    assert put == ["hint"]


def test_a_hint_that_could_not_be_put_is_nobodys_loss(beside):
    def hint():
        raise Unreachable("tally", "no answer")

    beside.put(hint)
    beside.settle()
