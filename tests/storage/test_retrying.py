"""What may pass is tried again for a bounded time, with pauses that grow and are drawn."""

import pytest

from batchgray.storage import retrying
from batchgray.storage.base import Busy
from batchgray.storage.retrying import Again, persist


class Clock:
    """Time passes while it is slept, and not else."""

    def __init__(self):
        self.now, self.slept = 0.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(retrying, "time", clock)
    return clock


def failing(times, after=0.0):
    left = iter([True] * times)

    def attempt():
        if next(left, False):
            raise Again(Busy("a", "later"), after)
        return "done"

    return attempt


def test_pauses_are_drawn_below_a_bound_that_grows(clock, monkeypatch):
    bounds = []
    monkeypatch.setattr(retrying.random, "uniform", lambda least, most: bounds.append(most) or most / 2)
    assert persist(failing(8), 60) == "done"
    assert bounds == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0][: len(bounds)])
    assert clock.slept == [bound / 2 for bound in bounds]


def test_a_service_is_left_alone_as_long_as_it_wants_and_a_fleet_does_not_come_back_in_step(clock, monkeypatch):
    monkeypatch.setattr(retrying.random, "uniform", lambda least, most: most / 2)
    persist(failing(2, after=7.0), 60)
    assert clock.slept == [7.05, 7.1]


def test_what_is_tried_again_within_another_has_no_more_time_than_that(clock):
    def begins_late():
        clock.now = 50.0
        persist(failing(10**6), 60)

    with pytest.raises(Busy):
        persist(begins_late, 60)
    assert 50 < clock.now < 60
    clock.now = 0.0
    with pytest.raises(Busy):
        persist(failing(10**6), 30)
    assert 20 < clock.now < 30


def test_the_time_is_bounded(clock):
    with pytest.raises(Busy, match="later"):
        persist(failing(10**6), 30)
    assert clock.now < 30


def test_a_wait_that_would_be_too_long_is_not_begun(clock):
    with pytest.raises(Busy):
        persist(failing(1, after=61.0), 60)
    assert clock.slept == []


def test_other_errors_are_not_tried_again(clock):
    def attempt():
        raise Busy("a", "for good")

    with pytest.raises(Busy, match="for good"):
        persist(attempt, 60)
    assert clock.slept == []
