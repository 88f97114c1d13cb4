"""The mark of a machine that is idle: seen by the owner of a share, and gone when it has something to do."""

from collections import Counter

import pytest
from stream import Clock

from batchgray.engine import pace
from batchgray.engine.idle_mark import IdleMark
from batchgray.manifest.job_round import Round
from batchgray.storage.base import Unreachable
from batchgray.storage.memory import MemoryPlace

ROUND = Round(".batchgray/j", 1)


class World:
    def __init__(self):
        self.place, self.clock = MemoryPlace(), Clock()
        self.mark = IdleMark(self.place, ROUND, self.clock)

    def shares(self):
        """On which there is a mark."""
        return [entry.key.removeprefix(ROUND.idle("")).split("/")[0] for entry in self.place.list(ROUND.idle(""))]

    def keys(self):
        return [entry.key for entry in self.place.list()]


@pytest.fixture
def world():
    return World()


def test_it_stays_where_it_is_for_some_seconds_so_that_owners_see_it(world):
    world.mark.put({"a": None, "b": None})
    before = world.keys()
    assert len(before) == 1
    world.clock.now += pace.look_seconds() - 0.1
    world.mark.put({"a": None, "b": None})
    assert world.keys() == before


def test_then_it_asks_for_a_part_of_some_share_anew(world):
    world.mark.put({"a": None})
    before = world.keys()
    world.clock.now += pace.look_seconds()
    world.mark.put({"a": None})
    assert len(world.keys()) == 1
    assert world.keys() != before


def test_it_leaves_a_share_that_nobody_works_on_any_more(world):
    world.mark.put({"a": None})
    world.mark.put({"b": 5})
    assert world.shares() == ["b"]
    world.mark.put({})
    assert world.keys() == []


def test_of_a_thousand_machines_most_ask_where_most_is_left():
    world, asked = World(), Counter()
    for _ in range(1000):
        mark = IdleMark(world.place, ROUND, world.clock)
        mark.put({"little": 1, "much": 60, "half": 30, "unknown": None, "nothing": 0})
        asked.update(world.shares())
        mark.take_off()
    assert asked.keys() <= {"little", "much", "half"}
    assert 550 < asked["much"] < 760
    assert 240 < asked["half"] < 420


def test_where_nothing_is_known_or_left_it_asks_anybody(world):
    asked = set()
    for _ in range(100):
        world.mark.put({"a": None, "b": 0, "c": None})
        asked.update(world.shares())
        world.mark.take_off()
    assert asked == {"a", "b", "c"}


def test_whatever_is_drawn_is_a_share_that_is_held(world, monkeypatch):
    monkeypatch.setattr("os.urandom", lambda size: b"\xff" * size)
    world.mark.put({"a": 3, "b": 7})
    assert world.shares() == ["b"]


def test_it_is_gone_when_it_is_taken_off(world):
    world.mark.put({"a": None})
    world.mark.take_off()
    world.mark.take_off()
    assert world.keys() == []
    world.mark.put({"a": None})
    assert world.shares() == ["a"]


def test_a_place_that_does_not_answer_does_not_matter(world, monkeypatch):
    def silent(key, *_):
        raise Unreachable(key, "no answer")

    monkeypatch.setattr(world.place, "put", silent)
    monkeypatch.setattr(world.place, "delete", silent)
    world.mark.put({"a": None})
    world.mark.take_off()
