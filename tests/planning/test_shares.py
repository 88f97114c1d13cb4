"""A listing becomes shares while it goes on, and the same ones whoever plans, however often it is interrupted."""

import contextlib
import itertools
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray.errors import Collisions
from batchgray.planning import ranges, shares
from batchgray.planning.shares import DamagedPlan, Input, Planner
from batchgray.storage.base import Missing, Unreachable
from batchgray.storage.memory import MemoryPlace

SUFFIXES = (".jpg", ".png", ".tif")


def unwanted(key: str) -> str | None:
    suffix = os.path.splitext(key)[1]
    return None if suffix in SUFFIXES else suffix or "no suffix"


def holding(*keys: str) -> MemoryPlace:
    place = MemoryPlace()
    for key in keys:
        place.put(key, key.encode())
    return place


def planner(job: MemoryPlace, *places: MemoryPlace, share_images: int = 3, **more: int) -> Planner:
    names = [""] if len(places) == 1 else [f"in{number}/" for number in range(len(places))]
    inputs = [Input(place, name) for place, name in zip(places, names, strict=True)]
    return Planner(job, "job", inputs, "jpeg", unwanted, share_images, **more)


def outputs(found) -> dict[tuple[int, str], str]:
    return {(share.input, image.source): image.output for share in found for image in share.images}


def test_a_listing_is_cut_into_shares_in_the_order_of_names():
    place = holding(*(f"{name}.jpg" for name in "hgfedcba"))
    shares = list(planner(MemoryPlace(), place).shares())
    assert [[image.source[0] for image in share.images] for share in shares] == [list("abc"), list("def"), list("gh")]
    assert [share.number for share in shares] == [1, 2, 3]
    image = shares[0].images[0]
    assert image.version == place.stat("a.jpg").version


def test_work_can_begin_before_the_listing_ends():
    listed = []

    class Slow(MemoryPlace):
        def list(self, prefix="", after=""):
            for entry in super().list(prefix, after):
                listed.append(entry.key)
                yield entry

    place = Slow()
    for number in range(100):
        place.put(f"{number:03}.jpg", b"")
    next(iter(planner(MemoryPlace(), place).shares()))
    assert len(listed) < 6


def test_neighbours_that_would_share_a_name_keep_their_own():
    place = holding("a/b.jpg", "a/b.png", "a/b.tif", "a/c.png", "b.png", "b/x.jpg")
    assert outputs(planner(MemoryPlace(), place, share_images=1).shares()) == {
        (0, "a/b.jpg"): "a/b.jpg",
        (0, "a/b.png"): "a/b.png.jpg",
        (0, "a/b.tif"): "a/b.tif.jpg",
        (0, "a/c.png"): "a/c.jpg",
        (0, "b.png"): "b.jpg",
        (0, "b/x.jpg"): "b/x.jpg",
    }


def test_what_collides_all_the_same_is_refused_with_both_names():
    place = holding("a.png", "a.jpg", "a.png.jpg")
    with pytest.raises(Collisions, match=r"a\.png"):
        list(planner(MemoryPlace(), place).shares())


def test_several_inputs_are_mirrored_under_their_names():
    shares = list(planner(MemoryPlace(), holding("a.jpg"), holding("a.jpg", "b.png")).shares())
    assert outputs(shares) == {
        (0, "a.jpg"): "in0/a.jpg",
        (1, "a.jpg"): "in1/a.jpg",
        (1, "b.png"): "in1/b.jpg",
    }


def test_what_is_not_taken_is_counted_by_type():
    job, place = MemoryPlace(), holding("a.jpg", "b.txt", "c.jpg", "d.txt", "e", "f.jpg", "g.jpg", "h.mp4")
    shares = list(planner(job, place, share_images=2).shares())
    assert [share.ignored for share in shares] == [{".txt": 1}, {".txt": 1, "no suffix": 1}]
    assert planner(job, place).ignored_at_the_end() == {".mp4": 1}


def test_a_plan_that_is_through_is_not_listed_again():
    job, place = MemoryPlace(), holding("a.jpg", "b.jpg")
    first = list(planner(job, place).shares())
    place.list = None
    assert list(planner(job, place).shares()) == first


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "a.b", "ä"]), st.integers(0, 9), st.sampled_from([*SUFFIXES, ".txt"])),
        unique=True,
    ),
    st.integers(1, 4),
    st.lists(st.integers(0, 5), max_size=5),
)
def test_whoever_plans_and_however_often_it_is_interrupted_the_shares_are_the_same(names, share_images, stops):
    place = holding(*(f"{folder}/{number}{suffix}" for folder, number, suffix in names))
    try:
        whole = list(planner(MemoryPlace(), place, share_images=share_images).shares())
    except Collisions:
        return
    job = MemoryPlace()
    for stop in stops:
        list(itertools.islice(planner(job, place, share_images=share_images).shares(), stop))
    assert list(planner(job, place, share_images=share_images).shares()) == whole
    sources = [image.source for share in whole for image in share.images]
    assert sources == sorted(sources, key=str.encode)
    assert len(sources) == sum(suffix != ".txt" for *_, suffix in names)


def test_where_two_plan_at_once_a_share_is_what_the_first_put():
    job, place = MemoryPlace(), holding("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    first, second = planner(job, place, share_images=2).shares(), planner(job, place, share_images=2).shares()
    shares = [next(first)]
    place.put("b.jpg", b"changed in between")
    assert next(second) == shares[0]
    assert next(second) == next(first)


@pytest.mark.parametrize("damage", [b"", b"no plan", b"half"])
def test_a_damaged_share_is_refused_by_name(damage):
    job, place = MemoryPlace(), holding("a.jpg")
    list(planner(job, place).shares())
    key = "job/plan/00000001"
    job.put(key, job.get(key)[:-5] if damage == b"half" else damage)
    with pytest.raises(DamagedPlan, match=key):
        planner(job, place).share(1)


def test_a_share_that_is_not_there():
    job, place = MemoryPlace(), holding(*(f"{name}.jpg" for name in "abcd"))
    list(planner(job, place, share_images=2).shares())
    job.delete("job/plan/00000001")
    with pytest.raises(DamagedPlan, match="share 1 is not there"):
        list(planner(job, place).shares())
    with pytest.raises(Missing):
        planner(job, place).share(1)


class Unsteady(MemoryPlace):
    """Does not answer after so many requests; a put that is not answered is done or not."""

    left = 10**9
    is_done = False

    def _count(self) -> bool:
        self.left -= 1
        return self.left < 0

    def list(self, prefix="", after=""):
        for entry in super().list(prefix, after):
            if self._count():
                raise Unreachable("", "it does not answer")
            yield entry

    def get(self, key, *args, **given):
        if self._count():
            raise Unreachable(key, "it does not answer")
        return super().get(key, *args, **given)

    def put_absent(self, key, content):
        fails = self._count()
        result = super().put_absent(key, content) if self.is_done or not fails else None
        if fails:
            raise Unreachable(key, "it does not answer")
        return result


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(ranges, "MANY_NAMES", 2)
    monkeypatch.setattr(shares, "MANY_NAMES", 2)


def many() -> MemoryPlace:
    return holding(*(f"{folder}/{number:02}{SUFFIXES[number % 3]}" for folder in "abcd" for number in range(20)))


def planned(found) -> dict[tuple[int, str], tuple]:
    """Images by their names. No two shares have the same one."""
    images = [((share.input, image.source), image) for share in found for image in share.images]
    assert len(dict(images)) == len(images)
    return dict(images)


def test_ranges_are_listed_side_by_side(few):
    job, place = MemoryPlace(), many()
    waiting = threading.Barrier(2, timeout=30)  # two listings have begun before one goes on
    threads, begun = set(), set()

    class Slow(MemoryPlace):
        def list(self, prefix="", after=""):
            thread = threading.current_thread().name.partition("_")[0]
            threads.add(thread)
            if thread == "listing" and "probe" in threads and len(begun) < 2:
                begun.add(after)
                waiting.wait()
            return place.list(prefix, after)

    found = list(planner(job, Slow()).shares())
    assert len(planned(found)) == 80
    assert len({share.range for share in found}) > 3


def numbered(count: int) -> MemoryPlace:
    return holding(*(f"{number % 9}/{number:05}.jpg" for number in range(count)))


def test_the_shares_of_a_short_listing_are_as_large_as_may_be():
    """Each costs some requests after one another; the first image waits for the first one, so that is of one answer."""
    found = list(planner(MemoryPlace(), numbered(4000), share_images=2000).shares())
    assert [len(share.images) for share in found] == [999, 2000, 1001]


def test_where_others_wait_the_first_share_is_smaller():
    settings = {"share_images": shares.SHARE_IMAGES, "first_images": shares.FIRST_OF_MANY}
    found = list(planner(MemoryPlace(), numbered(500), **settings).shares())
    assert [len(share.images) for share in found] == [250, 250]


def test_only_what_follows_many_names_is_cut(monkeypatch):
    monkeypatch.setattr(ranges, "MANY_NAMES", 1000)
    monkeypatch.setattr(shares, "MANY_NAMES", 1000)
    found = list(planner(MemoryPlace(), numbered(3000), share_images=400).shares())
    assert [(share.range, len(share.images)) for share in found[:3]] == [(0, 400), (0, 400), (0, 400)]
    assert len({share.range for share in found}) > 5
    assert sum(len(share.images) for share in found) == 3000


def test_the_end_tells_the_order_of_names(few):
    job, place = MemoryPlace(), many()
    plan = planner(job, place, many())
    list(plan.shares())
    names = [(share.input, image.source) for share in map(plan.share, plan.end().order) for image in share.images]
    assert names == sorted(names)
    assert len(names) == 160


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=8), st.booleans(), st.integers(1, 9))
def test_a_plan_that_was_interrupted_at_any_request_is_that_of_one_stream(stops, fails_in_job, share_images):
    whole = planned(planner(MemoryPlace(), many()).shares())
    job, place = Unsteady(), Unsteady()
    place._objects = many()._objects
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "MANY_NAMES", 2)
        patch.setattr(shares, "MANY_NAMES", 2)
        for left, is_done in stops:
            failing = job if fails_in_job else place
            failing.left, failing.is_done = left, is_done
            with contextlib.suppress(Unreachable):
                list(planner(job, place, share_images=share_images).shares())
        job.left = place.left = 10**9
        plan = planner(job, place, share_images=share_images)
        list(plan.plan())
        assert planned(plan.written()) == planned(map(plan.share, plan.end().order)) == whole


@settings(deadline=None, max_examples=40)
@given(st.lists(st.booleans(), max_size=60), st.integers(1, 9))
def test_two_planners_that_overtake_each_other_make_one_plan(turns, share_images):
    whole = planned(planner(MemoryPlace(), many()).shares())
    job, place = MemoryPlace(), many()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "MANY_NAMES", 2)
        patch.setattr(shares, "MANY_NAMES", 2)
        planners = [planner(job, place, share_images=share_images).plan() for _ in range(2)]
        for turn in turns:
            next(planners[turn], None)
        for each in planners:
            list(each)
    plan = planner(job, place)
    assert planned(map(plan.share, plan.end().order)) == whole


def test_a_planner_can_be_stopped_while_a_listing_does_not_answer(few):
    """It is asked each second, and a listing that comes back later does no harm."""
    job, place = MemoryPlace(), many()
    answer = threading.Event()

    class Silent(MemoryPlace):
        def list(self, prefix="", after=""):
            if threading.current_thread().name == "listing":
                answer.wait(60)
            return place.list(prefix, after)

    class Stopped(Exception):
        pass

    asked = []

    def pause():
        asked.append(1)
        if len(asked) > 2:
            raise Stopped

    plan = Planner(job, "job", [Input(Silent(), "")], "jpeg", unwanted, 3, pause=pause)
    with pytest.raises(Stopped):
        list(plan.plan())
    answer.set()
    assert len(planned(planner(job, place).shares())) == 80
