"""Outputs into any place: put once, never over another's, each on its own."""

from pathlib import Path

import pytest

from batchgray.storage.base import Full
from batchgray.storage.durable import Folder
from batchgray.storage.integrity import checksum
from batchgray.storage.memory import MemoryPlace
from batchgray.storage.place_publishing import PlacePublisher
from batchgray.storage.publishing import TakenInPlace
from batchgray.storage.scratch import HeldFile, Scratch


@pytest.fixture
def folder(tmp_path):
    return Folder.at(Path(tmp_path))


@pytest.fixture
def place():
    return MemoryPlace()


@pytest.fixture(params=["in memory", "in a file"])
def made(request, folder):
    """Makes an output of some bytes."""
    return {
        "in memory": lambda data: HeldFile([data]),
        "in a file": lambda data: Scratch(folder, 1).write_file([data]),
    }[request.param]


def test_it_is_there_and_nothing_else_is_left(folder, place, made):
    PlacePublisher(place, folder).put("b/c.jpg", made(b"C"))
    assert place.get("b/c.jpg") == b"C"
    assert folder.names() == []


def test_the_same_may_be_there_already(folder, place, made):
    place.put("a.jpg", b"A")
    PlacePublisher(place, folder).put("a.jpg", made(b"A"))
    assert folder.names() == []


def test_another_stays(folder, place, made):
    place.put("b.jpg", b"mine")
    with pytest.raises(TakenInPlace):
        PlacePublisher(place, folder).put("b.jpg", made(b"B"))
    assert place.get("b.jpg") == b"mine"
    assert folder.names() == []


@pytest.mark.parametrize("replaces", [str(checksum([b"old"])), "*"])
def test_what_it_is_told_to_replace_makes_way(folder, place, made, replaces):
    place.put("b.jpg", b"old")
    PlacePublisher(place, folder).put("b.jpg", made(b"B"), replaces)
    assert place.get("b.jpg") == b"B"


def test_what_is_not_as_it_was_made_does_not(folder, place, made):
    place.put("b.jpg", b"mine")
    with pytest.raises(TakenInPlace):
        PlacePublisher(place, folder).put("b.jpg", made(b"B"), str(checksum([b"old"])))
    assert place.get("b.jpg") == b"mine"


def test_where_it_fails_no_file_is_left(folder, place, made, monkeypatch):
    def full(key, content):
        raise Full(key, "no space")

    monkeypatch.setattr(place, "put_absent", full)
    with pytest.raises(Full):
        PlacePublisher(place, folder).put("a.jpg", made(b"A"))
    assert folder.names() == []
