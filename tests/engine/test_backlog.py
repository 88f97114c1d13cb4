"""What is handed out next, and what a death means for it. No process is started."""

import dataclasses

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchgray.engine import backlog
from batchgray.engine.backlog import CHUNK_BYTES, CHUNK_IMAGES, DEATHS_PER_IMAGE, Backlog, largest_first
from batchgray.records import InputVersion, Task


@dataclasses.dataclass
class Tasks:
    """So many images, in the plan's order, of these sizes."""

    sizes: list[int]

    @property
    def indices(self):
        return range(len(self.sizes))

    def size(self, index):
        return self.sizes[index]

    def task(self, index):
        return Task(index=index, source=f"/in/{index}.png", output=f"{index}.jpg", version=version(self.sizes[index]))


def version(size):
    return InputVersion(size, 5678)


def backlog_of(*sizes):
    return Backlog(Tasks(list(sizes)))


def indices(tasks):
    return [task.index for task in tasks]


# the order, and the chunks


def test_large_images_come_first_and_the_others_in_the_plans_order():
    """No worker is left alone with a large one at the end."""
    sizes = [10, 5 << 20, 20, 9 << 20, 5]
    assert largest_first(range(5), sizes.__getitem__) == [3, 1, 0, 2, 4]


def test_a_large_image_is_a_chunk_of_its_own():
    large = backlog_of(*[CHUNK_BYTES] * 100)
    assert indices(large.take_chunk(1)) == [0]


def test_small_images_come_in_chunks_of_so_many_bytes_or_images():
    by_bytes, by_images = backlog_of(*[CHUNK_BYTES // 4] * 1000), backlog_of(*[1] * 1000)
    assert indices(by_bytes.take_chunk(1)) == [0, 1, 2, 3]
    assert indices(by_images.take_chunk(1)) == list(range(CHUNK_IMAGES))


def test_chunks_get_smaller_towards_the_end_so_that_all_workers_end_together():
    small = backlog_of(*[10] * 8)
    assert [indices(small.take_chunk(2)) for _ in range(3)] == [[0, 1], [2], [3]]


def test_what_is_put_back_comes_next_in_its_order():
    some = backlog_of(*[CHUNK_BYTES] * 4)
    for _ in range(3):
        some.take_chunk(1)
    some.put_back([2, 0])
    assert [indices(some.take_chunk(1)) for _ in range(3)] == [[0], [2], [3]]


def test_a_begun_image_is_handed_out_as_one_to_resume():
    some = backlog_of(10, 10, 10, 10)
    some.mark_begun(1)
    assert [task.resumable for task in some.take_chunk(1)] == [False, True]


# deaths


def test_a_suspect_waits_until_nothing_else_does():
    some = backlog_of(CHUNK_BYTES, CHUNK_BYTES)
    some.take_chunk(1)
    assert some.blame(0)
    some.release_suspect()
    assert (len(some), indices(some.take_chunk(1))) == (1, [1])
    some.release_suspect()
    assert (len(some), indices(some.take_chunk(1))) == (1, [0])


def test_suspects_are_tried_one_at_a_time():
    some = backlog_of(CHUNK_BYTES, CHUNK_BYTES)
    for index in (0, 1):
        some.take_chunk(1)
        some.blame(index)
    some.release_suspect()
    some.release_suspect()
    assert indices(some.take_chunk(1)) == [0]
    assert len(some) == 0


def test_an_image_has_failed_with_the_second_death():
    some = backlog_of(10)
    for once_more in [True] * (DEATHS_PER_IMAGE - 1) + [False]:
        assert indices(some.take_chunk(1)) == [0]
        assert some.blame(0) == once_more
        some.release_suspect()
    assert some.take_chunk(1) == []


def test_the_third_death_in_vain_is_too_many_and_an_image_in_between_makes_it_the_first():
    some = backlog_of(10)
    assert [some.count_death_in_vain() for _ in range(backlog.DEATHS_IN_VAIN)] == [True, True, False]
    some.forget_deaths_in_vain()
    assert some.count_death_in_vain()


# all together


class Workers:
    """Workers that take chunks and finish, die or are put back; no image may be lost, or be in two places."""

    def __init__(self, sizes, workers):
        self.sizes, self.hands = sizes, [[] for _ in range(workers)]
        self.backlog, self.finished, self.handed_out = Backlog(Tasks(sizes)), [], []
        self.draining = False

    def take(self, number):
        if self.draining or self.hands[number]:
            return
        if not any(self.hands):
            self.backlog.release_suspect()
        tasks = self.backlog.take_chunk(len(self.hands))
        self.hands[number] = indices(tasks)
        self.handed_out += self.hands[number]

    def finish_one(self, number):
        if self.hands[number]:
            self.finished.append(self.hands[number].pop(0))
            self.backlog.forget_deaths_in_vain()

    def die(self, number):
        hand = self.hands[number]
        if hand and not self.draining:
            blamed = hand.pop(0)
            if not self.backlog.blame(blamed):
                self.finished.append(blamed)
        self.backlog.put_back(hand)
        self.hands[number] = []

    def notice(self, _):
        self.draining = True

    def resume(self, _):
        """As the next run would."""
        self.draining = False

    def places(self):
        in_hand = [index for hand in self.hands for index in hand]
        return sorted([*self.backlog._waiting, *self.backlog._suspects, *in_hand, *self.finished])

    def work_off(self):
        """With no more deaths."""
        self.draining = False
        for _ in range(4 * len(self.sizes) + 4):
            for number in range(len(self.hands)):
                self.take(number)
            for number in range(len(self.hands)):
                while self.hands[number]:
                    self.finish_one(number)


sizes = st.lists(st.sampled_from([10, 10, 300_000, CHUNK_BYTES, 5 << 20]), max_size=40)
steps = st.lists(
    st.tuples(st.sampled_from(["take", "finish_one", "die", "notice", "resume"]), st.integers(0, 2)),
    min_size=20,
    max_size=100,
)


@given(sizes, st.integers(1, 3), steps)
@example([10] * 8, 1, [("take", 0), ("die", 0)])
@example([10], 1, [("take", 0), ("die", 0), ("take", 0), ("die", 0), ("take", 0)])
@settings(max_examples=200, deadline=None)
def test_no_image_is_lost_or_in_two_places_over_any_deaths_chunks_and_notices(sizes, count, steps):
    workers = Workers(sizes, count)
    for step, number in steps:
        getattr(workers, step)(number % count)
        assert workers.places() == list(range(len(sizes)))
    workers.work_off()
    assert sorted(workers.finished) == list(range(len(sizes)))


@given(sizes, steps)
@settings(max_examples=100, deadline=None)
def test_without_a_death_no_image_is_handed_out_twice(sizes, steps):
    workers = Workers(sizes, 3)
    for step, number in steps:
        if step != "die":
            getattr(workers, step)(number)
    workers.work_off()
    assert sorted(workers.handed_out) == list(range(len(sizes)))


@given(sizes, st.integers(1, 64))
def test_a_chunk_is_never_empty_while_something_waits_nor_larger_than_its_bounds(sizes, workers):
    some = Backlog(Tasks(sizes))
    while len(some):
        tasks = some.take_chunk(workers)
        assert 1 <= len(tasks) <= CHUNK_IMAGES
        assert sum(task.version.size for task in tasks[:-1]) < CHUNK_BYTES


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_waits_where_there_is_nothing_to_do(count):
    some = backlog_of(*[10] * count)
    assert len(some) == count
    assert len(some.take_chunk(4)) == count
    assert some.take_chunk(4) == []
