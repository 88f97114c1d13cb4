"""Outputs get their keys in groups: what came of each is told for each, and none is ever over another's file.

What a committer makes of it is in `tests/workers/test_committer.py`, with the order of the syncs.
"""

import os

import pytest

from batchgray.storage import durable, integrity
from batchgray.storage.base import BadKey, Full, Missing
from batchgray.storage.durable import Folder
from batchgray.storage.intents import IntentLog
from batchgray.storage.publishing import FolderPublisher, IsInput, Output, OutsidePlace, Taken
from batchgray.storage.scratch import Scratch


class World:
    """An output folder with a run's folder in it."""

    def __init__(self, folder):
        (folder / "out" / "run").mkdir(parents=True)
        self.path, self.run = folder / "out", Folder.at(folder / "out" / "run")
        self.publisher = FolderPublisher(Folder.at(self.path), self.run, IntentLog(self.run, 1))
        self._scratch, self.placed = Scratch(self.run, 1), []

    def output(self, key, replaces="", source="/in/a.png"):
        return Output(self._scratch.write_file([b"picture ", key.encode()]), key, replaces, source)

    def publish(self, *outputs):
        return self.publisher.publish(outputs, lambda output: self.placed.append(output.key))

    def left(self):
        """In the run's folder, but for the intents."""
        return [name for name in self.run.names() if not name.endswith(".intents")]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_each_is_told_what_came_of_it_in_order(world):
    (world.path / "taken.jpg").write_bytes(b"theirs")
    first, second, third = world.publish(world.output("a/1.jpg"), world.output("taken.jpg"), world.output("a/3.jpg"))
    assert (first, third) == (None, None)
    assert isinstance(second, Taken)
    assert second.key == "taken.jpg"
    assert (world.path / "taken.jpg").read_bytes() == b"theirs"
    assert (world.path / "a" / "3.jpg").read_bytes() == b"picture a/3.jpg"
    assert world.placed == ["a/1.jpg", "a/3.jpg"]
    assert world.left() == []


def test_the_same_bytes_and_an_earlier_version_make_way(world):
    earlier = integrity.checksum([b"earlier"])
    (world.path / "1.jpg").write_bytes(b"picture 1.jpg")
    (world.path / "2.jpg").write_bytes(b"earlier")
    (world.path / "3.jpg").write_bytes(b"whatever")
    outputs = world.output("1.jpg"), world.output("2.jpg", replaces=earlier), world.output("3.jpg", replaces="*")
    assert world.publish(*outputs) == [None, None, None]
    assert [(world.path / f"{n}.jpg").read_bytes() for n in (1, 2, 3)] == [b"picture %d.jpg" % n for n in (1, 2, 3)]


def test_the_input_is_never_replaced(world):
    (world.path / "1.jpg").write_bytes(b"the input")
    (fault,) = world.publish(world.output("1.jpg", replaces="*", source=str(world.path / "1.jpg")))
    assert isinstance(fault, IsInput)
    assert (world.path / "1.jpg").read_bytes() == b"the input"


def test_nothing_is_put_outside(world, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (world.path / "a").symlink_to(tmp_path / "elsewhere")
    (fault,) = world.publish(world.output("a/1.jpg"))
    assert isinstance(fault, OutsidePlace)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_the_system_refuses_has_the_name_of_what_it_means(world):
    (world.path / "file").touch()
    long, below_file = world.publish(world.output("n" * 300 + ".jpg"), world.output("file/1.jpg"))
    assert isinstance(long, BadKey)
    assert isinstance(below_file, BadKey)
    assert world.left() == []


def test_a_place_that_is_gone_is_not_made_again(world):
    output = world.output("a/1.jpg")
    gone = Folder.at(world.path)
    world.path.rename(world.path.with_name("moved"))
    (world.path.with_name("moved") / "run" / "x").mkdir()
    for path in sorted(world.path.with_name("moved").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    world.path.with_name("moved").rmdir()
    publisher = FolderPublisher(gone, world.run, IntentLog(world.run, 2))
    (fault,) = publisher.publish([output], lambda _: None)
    assert isinstance(fault, Missing)
    assert not world.path.exists()


def test_where_the_group_cannot_be_synced_none_gets_its_key(world, monkeypatch):
    def full(_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(durable, "sync_all", full)
    faults = world.publish(world.output("1.jpg"), world.output("2.jpg"))
    assert [type(fault) for fault in faults] == [Full, Full]
    assert world.placed == []
    assert not (world.path / "1.jpg").exists()
    assert world.left() == []


def test_their_files_are_let_go_of(world):
    next_descriptor = os.dup(0)
    os.close(next_descriptor)
    outputs = world.output("1.jpg"), world.output("2.jpg")
    world.publish(*outputs)
    log = os.dup(0)  # the intents' file is the one that stays open
    os.close(log)
    assert log <= next_descriptor + 1


def test_what_is_done_beside_an_output_is_durable_with_it(world, monkeypatch):
    (world.path / "a").mkdir()
    (world.path / "a" / "old").touch()
    order, sync_all = [], durable.sync_all

    def watched(fds):
        order.append("sync")
        sync_all(fds)

    monkeypatch.setattr(durable, "sync_all", watched)
    world.publisher.publish([world.output("a/1.jpg")], lambda _: order.append("placed"))
    assert order[:2] == ["sync", "placed"]
    assert order[-1] == "sync"
