"""A listing is cut by what a few requests tell of its names, and never between names that could come out as one."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray.planning import ranges
from batchgray.planning.ranges import Range, find_borders
from batchgray.storage.folder import FolderPlace
from batchgray.storage.memory import MemoryPlace

YEARS = [
    f"20{year}/{month:02}/{day:02}/IMG_{day}.jpg" for year in (25, 26) for month in range(1, 13) for day in range(28)
]
LISTINGS = {
    "digits": [f"img_{number:06}.jpg" for number in range(2000)],
    "folders": [f"{number}/{name}.jpg" for number in range(9) for name in range(200)],
    "years": YEARS,
    "hex": [f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}.jpg" for number in range(2000)],
    "characters": [f"照片/日{chr(0x4E00 + 7 * number)}.jpg" for number in range(2000)],
}


class Counting(MemoryPlace):
    requests = 0

    def list(self, prefix="", after=""):
        self.requests += 1
        return super().list(prefix, after)


def holding(keys) -> Counting:
    place = Counting()
    for key in keys:
        place.put(key, b"")
    return place


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(ranges, "MANY_NAMES", 100)


@pytest.mark.parametrize("keys", LISTINGS.values(), ids=LISTINGS)
def test_any_names_are_cut_with_few_requests(few, keys):
    place = holding(keys)
    borders = find_borders(place, "", clock=lambda: 0.0)
    assert 7 <= len(borders) < ranges.MOST_RANGES
    assert place.requests < 450
    sizes = [
        sum(after < key <= until for key in keys) for after, until in itertools.pairwise(["", *borders, "\U0010ffff"])
    ]
    assert sum(sizes) == len(keys)
    assert max(sizes) < 0.3 * len(keys)


def test_no_border_is_before_where_a_planner_is(few):
    borders = find_borders(holding(LISTINGS["digits"]), "img_001500.jpg")
    assert borders == [name for name in borders if name > "img_001500.jpg"]


def test_few_names_are_one_range(monkeypatch):
    place = holding(LISTINGS["digits"])
    assert find_borders(place, "") == []
    assert place.requests == 1
    monkeypatch.setattr(ranges, "MANY_NAMES", 2001)
    assert find_borders(place, "") == []
    monkeypatch.setattr(ranges, "MANY_NAMES", 2000)
    assert find_borders(place, "")


def test_counting_many_names_can_be_stopped():
    class Stopped(Exception):
        pass

    def pause():
        raise Stopped

    with pytest.raises(Stopped):
        find_borders(holding(LISTINGS["digits"]), "", pause=pause)


def test_a_folder_is_not_cut(few, tmp_path):
    assert find_borders(FolderPlace(tmp_path), "") == []


def test_after_a_second_what_was_found_has_to_do(few):
    times = itertools.chain([0.0, 0.5, 0.5], itertools.repeat(2.0))
    place = holding(LISTINGS["years"])
    assert len(find_borders(place, "", lambda: next(times))) < 7


NAMES = st.text("ab./-\U0010ffff\ud7ff", min_size=1, max_size=6).filter(lambda name: "." not in name.rpartition("/")[0])


@given(st.sets(NAMES, max_size=40), st.text("ab.", max_size=2))
@settings(max_examples=300, deadline=None)
def test_names_that_could_come_out_as_one_are_in_one_range(names, after):
    place = Counting()
    place.list = lambda prefix="", after="": iter(  # names that no place can hold too
        [Name(name) for name in sorted(names, key=str.encode) if name.encode() > after.encode()]
    )
    few, ranges.MANY_NAMES = ranges.MANY_NAMES, 1
    try:
        borders = find_borders(place, after)
    finally:
        ranges.MANY_NAMES = few
    assert borders == sorted(set(borders), key=str.encode)
    assert all(border.encode() > after.encode() for border in borders)
    for name, other in itertools.combinations(names, 2):
        if stem(name) == stem(other) != name and stem(other) != other:
            assert [name > border for border in borders] == [other > border for border in borders]


class Name:
    def __init__(self, key):
        self.key = key


def stem(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def test_ranges_are_written_whatever_the_names_are():
    whole = Range(input=3, after="a", until="z")
    assert whole.cut(["b", "c"]) == [
        Range(input=3, after="a", until="b"),
        Range(input=3, after="b", until="c"),
        Range(input=3, after="c", until="z"),
    ]
