"""Outputs into any place: put once, never over another's, each on its own."""

from pathlib import Path

import pytest

from batchgray.storage.base import Full, Put
from batchgray.storage.durable import Folder
from batchgray.storage.memory import MemoryPlace
from batchgray.storage.place_publishing import PlacePublisher
from batchgray.storage.publishing import Output, Taken
from batchgray.storage.scratch import Scratch


@pytest.fixture
def folder(tmp_path):
    return Folder.at(Path(tmp_path))


@pytest.fixture
def place():
    return MemoryPlace()


def publish(folder, place, outputs: dict[str, bytes]):
    scratch, placed = Scratch(folder, 1), []
    group = [Output(scratch.write_file([data]), key, "", "") for key, data in outputs.items()]
    faults = PlacePublisher(place, folder).publish(group, placed.append)
    assert folder.names() == []
    return faults, sorted(output.key for output in placed)


def test_they_are_there_and_told(folder, place):
    assert publish(folder, place, {"a.jpg": b"A", "b/c.jpg": b"C"}) == ([None, None], ["a.jpg", "b/c.jpg"])
    assert (place.get("a.jpg"), place.get("b/c.jpg")) == (b"A", b"C")


def test_the_same_may_be_there_already_and_another_stays(folder, place):
    place.put("a.jpg", b"A")
    place.put("b.jpg", b"mine")
    faults, placed = publish(folder, place, {"a.jpg": b"A", "b.jpg": b"B"})
    assert faults[0] is None
    assert isinstance(faults[1], Taken)
    assert placed == ["a.jpg"]
    assert place.get("b.jpg") == b"mine"


def test_what_fails_costs_one(folder, place, monkeypatch):
    put = place.put_absent

    def full_for_b(key, content):
        if key == "b.jpg":
            raise Full(key, "no space")
        assert put(key, content) is Put.CREATED
        return Put.CREATED

    monkeypatch.setattr(place, "put_absent", full_for_b)
    faults, placed = publish(folder, place, {"a.jpg": b"A", "b.jpg": b"B"})
    assert faults[0] is None
    assert isinstance(faults[1], Full)
    assert placed == ["a.jpg"]
