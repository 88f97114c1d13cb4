"""Parts that threads make at once are taken in order, by as many threads as there are cores, and none is lost."""

import threading

import pytest

from batchgray.workers.side_by_side import SideBySide

PATIENCE = 60  # seconds; longer than anything here takes


class Work:
    """`count` parts; `steps` has what some of them do besides."""

    def __init__(self, count, steps=None, fails=()):
        self.steps, self.fails = steps or {}, fails
        self.begun, self.taken, self.at_once, self._running = [], [], 0, 0
        self._count, self._lock = count, threading.Lock()

    def parts(self):
        for number in range(self._count):
            self.begun.append(number)
            yield lambda number=number: self._make(number)

    def _make(self, number):
        with self._lock:
            self._running += 1
            self.at_once = max(self.at_once, self._running)
        self.steps.get(number, lambda: None)()
        with self._lock:
            self._running -= 1
        if number in self.fails:
            raise ValueError(number)
        return number

    def run(self, most, cores=None, look=lambda: False):
        return SideBySide(self.parts(), self.taken.append, lambda: cores or most, most).run(look)


def waiting_for(event):
    def wait():
        assert event.wait(PATIENCE)

    return wait


@pytest.mark.parametrize("most", [1, 2, 5])
def test_all_are_taken_in_order(most):
    work = Work(50)
    assert work.run(most)
    assert work.taken == list(range(50))


def test_one_that_is_made_sooner_waits_for_those_before_it():
    second_is_made = threading.Event()
    work = Work(2, {0: waiting_for(second_is_made), 1: second_is_made.set})
    assert work.run(most=2)
    assert work.taken == [0, 1]


def test_as_many_threads_as_there_are_cores():
    both = threading.Barrier(2, timeout=PATIENCE)
    work = Work(2, dict.fromkeys(range(2), both.wait))
    assert work.run(most=2)
    assert work.at_once == 2


def test_threads_without_a_core_wait():
    work = Work(30)
    assert work.run(most=4, cores=1)
    assert work.at_once == 1


def test_a_core_that_is_lent_meanwhile_is_used():
    cores, both = [1], threading.Barrier(2, timeout=PATIENCE)
    work = Work(3, {0: lambda: cores.__setitem__(0, 2), 1: both.wait, 2: both.wait})
    assert SideBySide(work.parts(), work.taken.append, lambda: cores[0], 2).run(lambda: False)
    assert work.taken == [0, 1, 2]


def test_not_too_many_are_begun_before_the_oldest_one_is_done():
    fourth = threading.Event()
    work = Work(20, {0: waiting_for(fourth), 3: fourth.set})
    seen = []
    work.steps[0] = lambda: (fourth.wait(PATIENCE), seen.append(len(work.begun)))
    assert work.run(most=2)
    assert seen == [4]
    assert work.taken == list(range(20))


def test_what_is_begun_is_finished_when_a_look_ends_it():
    looked = threading.Event()
    work = Work(100, {1: waiting_for(looked)})

    def look():
        if len(work.begun) < 2:
            return False
        looked.set()
        return True

    assert not work.run(most=1, look=look)
    assert work.taken[:2] == [0, 1]
    assert work.taken == work.begun


@pytest.mark.parametrize("most", [1, 3])
def test_the_first_failure_ends_it(most):
    work = Work(100, fails={5})
    with pytest.raises(ValueError, match="5"):
        work.run(most)
    assert work.taken == list(range(len(work.taken)))
    assert len(work.taken) <= 5


def test_a_failure_to_take_or_to_look_ends_it():
    def failing(*_):
        raise OSError("full")

    for take, look in ((failing, lambda: False), (lambda _: None, failing)):
        endless = iter(lambda: lambda: 1, None)
        with pytest.raises(OSError, match="full"):
            SideBySide(endless, take, lambda: 2, 2).run(look)
