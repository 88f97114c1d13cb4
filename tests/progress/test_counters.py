"""What is left, told from what was seen."""

import random
from itertools import pairwise

import pytest
from stream import FAILED, PLANNED, Clock, done, replaced, started

from batchgray import events
from batchgray.progress.counters import Counters


def planned(**bytes_of):
    kinds = {f".{kind}": size for kind, size in bytes_of.items()}
    return replaced(
        PLANNED, todo_bytes=sum(kinds.values()), todo_bytes_by_kind=kinds, done=0, done_bytes=0, done_pixels=0
    )


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def counters(clock):
    return Counters(clock)


def count(counters, *given):
    for event in given:
        counters.count(event)


def test_nothing_is_known_before_an_image_is_done(counters, clock):
    count(counters, planned(png=8_000_000), started())
    clock.now += 5
    assert (counters.seconds_left, counters.pixels_left, counters.share, counters.rate) == (None, None, 0.0, "")


def test_images_that_are_gone_are_not_waited_for(counters):
    count(counters, replaced(PLANNED, total=10, gone=3))
    assert counters.total == 7


def listed(total, done, complete, **bytes_of):
    kinds = {f".{kind}": size for kind, size in bytes_of.items()}
    todo, size = total - done, sum(kinds.values())
    return events.Listed(
        total=total, todo=todo, done=done, todo_bytes=size, todo_bytes_by_kind=kinds, complete=complete
    )


def test_a_list_that_grows_is_told_as_what_there_is_at_least(counters, clock):
    """What was done meanwhile, here or by other machines, is neither lost nor counted twice."""
    count(counters, replaced(planned(png=2_000_000), total=2, complete=False), started("a.png"))
    assert counters.total_words == "at least 2"
    clock.now += 1
    count(counters, done("a.png", pixels=1_000_000, seconds=1.0))
    count(counters, listed(10, 0, False, png=10_000_000))
    assert (counters.total, counters.done, counters.pixels_left) == (10, 1, 9_000_000)
    count(counters, listed(10, 4, True, png=6_000_000))
    assert (counters.total_words, counters.done, counters.pixels_left) == ("10", 5, 5_000_000)


def test_what_is_left_is_told_by_pixels_and_each_kind_has_its_own(counters, clock):
    """A megabyte of JPEG has ten times the pixels of one of PNG, and takes a fifth of the time a pixel."""
    count(counters, planned(jpg=3_000_000, png=11_000_000))
    for name, pixels, seconds in (("a.JPG", 10_000_000, 1.0), ("b.png", 1_000_000, 0.5)):
        count(counters, started(name))
        clock.now += seconds
        count(counters, done(name, pixels=pixels, seconds=seconds))
    assert counters.pixels_left == 2 * 10_000_000 + 10 * 1_000_000
    assert counters.seconds_left == pytest.approx(2 * 1.0 + 10 * 0.5)
    assert counters.share == pytest.approx(11 / 41)


def test_a_kind_that_was_not_seen_yet_is_taken_for_what_was(counters, clock):
    count(counters, planned(jpg=1_000_000, gif=2_000_000), started("a.jpg"))
    clock.now += 1
    count(counters, done("a.jpg", pixels=4_000_000, seconds=1.0))
    assert (counters.pixels_left, counters.seconds_left) == (8_000_000, pytest.approx(2.0))


def test_the_workers_start_is_not_held_against_the_images(counters, clock):
    count(counters, planned(png=2_000_000))
    clock.now += 100
    count(counters, started("a.png"))
    clock.now += 1
    count(counters, done("a.png", seconds=1.0))
    assert counters.seconds_left == pytest.approx(1.0)
    assert counters.rate == "12 MP/s"


def test_bar_and_count_have_one_scale_after_a_resume(counters, clock):
    """Nine of ten images are done, equally large: the bar stands at nine tenths, before the first image and after."""
    before = {"done": 9, "done_bytes": 9_000_000, "done_pixels": 108_000_000}
    count(counters, replaced(planned(png=1_000_000), **before))
    assert (counters.share, counters.done / counters.total) == (pytest.approx(0.9), 0.9)
    assert counters.pixels == 108_000_000
    assert (counters.seconds_left, counters.rate) == (None, "")
    count(counters, started())
    clock.now += 1
    count(counters, done())
    assert (counters.share, counters.done / counters.total) == (1.0, 1.0)
    assert (counters.pixels, counters.rate) == (120_000_000, "12 MP/s")


def test_thumbnails_are_counted_by_images_a_second_too(counters, clock):
    count(counters, planned(jpg=1_000_000), *(started(f"{number}.jpg", 10_000) for number in range(50)))
    clock.now += 0.5
    count(counters, *(done(f"{number}.jpg", 10_000, pixels=64_000) for number in range(50)))
    assert counters.rate == "6.4 MP/s, 100 images/s"


def test_failed_images_are_not_left_and_teach_nothing(counters, clock):
    count(counters, planned(png=3_000_000), started("a.png"), started("c.png"))
    clock.now += 1
    count(counters, done("a.png", seconds=1.0), FAILED)
    assert (counters.done, counters.failed, counters.pixels_left) == (1, 1, 12_000_000)


def test_time_goes_on_while_a_large_image_is_in_hand(counters, clock):
    """Nothing comes for nine of its ten seconds: the time left goes down all the same, and not back up."""
    count(counters, planned(png=11_000_000), started("a.png"))
    clock.now += 1
    count(counters, done("a.png", seconds=1.0), started("large.png", 10_000_000))
    seen = []
    for _ in range(9):
        clock.now += 1
        seen.append(counters.seconds_left)
    assert seen == pytest.approx([9, 8, 7, 6, 5, 4, 3, 2, 1])


def test_what_a_worker_has_in_hand(counters, clock):
    count(counters, PLANNED, started("a.png", worker=2), started("b.png", worker=2), started("c.png", worker=1))
    clock.now += 2
    assert counters.in_hand() == [(1, "c.png", 2.0), (2, "a.png", 2.0)]
    count(counters, done("a.png"), FAILED, replaced(FAILED, output="c.png.jpg"))
    clock.now += 1
    assert counters.in_hand() == [(2, "b.png", 1.0)]
    count(counters, events.WorkerEnded(worker=2), started("b.png", worker=3), done("b.png"))
    assert counters.in_hand() == []


def test_the_time_left_is_near_the_truth_whatever_the_sizes(clock):
    """400 images from 0.1 to 50 megapixels, JPEGs and PNGs, over four workers: a simulation with its own truth."""
    draw = random.Random(1)
    counters, kinds, images = Counters(clock), {"jpg": 0, "png": 0}, []
    for number in range(400):
        kind = draw.choice(["jpg", "png"])
        pixels = int(10 ** draw.uniform(5, 7.7))
        size = int(pixels / draw.uniform(*((4, 8) if kind == "jpg" else (0.5, 1))))
        seconds = 0.001 + pixels / 1e6 * draw.uniform(*((0.015, 0.025) if kind == "jpg" else (0.06, 0.1)))
        images.append((f"{number}.{kind}", size, pixels, seconds))
        kinds[kind] += size
    count(counters, replaced(planned(**kinds), workers=4))
    began, seen, busy, queue = clock.now, [], {}, iter(images)
    for worker in range(4):
        name, size, pixels, seconds = next(queue)
        count(counters, started(name, size, worker))
        busy[worker] = (clock.now + seconds, name, size, pixels, seconds)
    while busy:
        worker = min(busy, key=lambda each: busy[each][0])
        clock.now, name, size, pixels, seconds = busy.pop(worker)
        count(counters, done(name, size, pixels, seconds))
        if following := next(queue, None):
            name, size, pixels, seconds = following
            count(counters, started(name, size, worker))
            busy[worker] = (clock.now + seconds, name, size, pixels, seconds)
        seen.append((clock.now, counters.seconds_left))
    whole = clock.now - began
    for now, left in seen:
        passed = (now - began) / whole
        if passed > 0.1:
            assert left == pytest.approx(whole - (now - began), abs=0.15 * whole)
        if passed > 0.5:
            assert left == pytest.approx(whole - (now - began), abs=0.06 * whole)
    settled = [(now, left) for now, left in seen if now - began > 0.1 * whole]
    for (earlier, before), (later, after) in pairwise(settled):
        assert after == pytest.approx(before - (later - earlier), abs=0.08 * whole)
