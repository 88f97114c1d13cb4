"""Outputs into a place beside the conversion: several at once, told only after the answer, and bounded in memory."""

import queue
import threading
from pathlib import Path

import msgspec
import pytest
from harness import DEADLINE, written

from batchgray.storage.base import Full, Unreachable
from batchgray.storage.durable import Folder
from batchgray.storage.memory import MemoryPlace
from batchgray.storage.place_publishing import PlacePublisher
from batchgray.storage.scratch import HeldFile
from batchgray.workers import sending
from batchgray.workers.messages import Done, Failed, OutputFault
from batchgray.workers.sending import Sender


class Gated(MemoryPlace):
    """Answers when it is told to."""

    def __init__(self):
        super().__init__()
        self.changed = threading.Condition()
        self.on_the_way, self.open = [], True
        self.faults = {}

    def put_absent(self, key, content):
        with self.changed:
            self.on_the_way.append(key)
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.open, DEADLINE)
        if key in self.faults:
            raise self.faults[key]
        return super().put_absent(key, content)

    def let_go(self):
        with self.changed:
            self.open = True
            self.changed.notify_all()

    def wait_until_asked(self, *keys):
        with self.changed:
            assert self.changed.wait_for(lambda: set(keys) <= set(self.on_the_way), DEADLINE)


class Checkpoints:
    """Writes down what is removed, and what was there by then."""

    def __init__(self, place):
        self.place, self.removed = place, []

    def discard_preview(self, output):
        self.removed.append(("preview", output, [entry.key for entry in self.place.list()]))

    def remove(self, output):
        self.removed.append(("sidecar", output, [entry.key for entry in self.place.list()]))


class World:
    def __init__(self, folder, budget):
        self.place, self.reports, self.folder = Gated(), queue.Queue(), Folder.at(folder)
        self.checkpoints = Checkpoints(self.place)
        publisher = PlacePublisher(self.place, self.folder)
        self.it = Sender(publisher, self.checkpoints, self.reports.put, self.reports.put, budget)
        self.it.start()

    def output(self, index, size=100, **changes):
        """An output in memory, `INDEX.jpg`."""
        made = written(self.folder, index)
        self.folder.remove(made.file.name)
        return made._replace(file=HeldFile([bytes([index]) * size]), **changes)

    def told(self):
        """The indices and kinds of all that was reported; of what was done by then everything is there."""
        self.it.finish()
        found = []
        while not self.reports.empty():
            report = self.reports.get()
            indices = [image.index for image in report.images] if isinstance(report, Done) else [report.index]
            found += [(type(report), index) for index in indices]
        return found


@pytest.fixture
def world(tmp_path):
    world = World(Path(tmp_path), budget=1000)
    yield world
    world.place.let_go()
    world.it.finish()


def test_one_is_told_only_after_its_put_was_answered(world):
    world.place.open = False
    world.it.put(world.output(1))
    world.place.wait_until_asked("1.jpg")
    assert world.reports.empty()
    world.place.let_go()
    assert [image.index for image in world.reports.get(timeout=DEADLINE).images] == [1]
    assert world.place.get("1.jpg") == b"\1" * 100


def test_several_are_on_their_way_at_once(world):
    world.place.open = False
    for index in range(4):
        world.it.put(world.output(index))
    world.place.wait_until_asked("0.jpg", "1.jpg", "2.jpg", "3.jpg")
    world.place.let_go()
    assert {index for _, index in world.told()} == {0, 1, 2, 3}


def test_what_is_on_the_way_is_bounded_in_memory(world):
    """A third one has to wait until one of the two was answered."""
    world.place.open = False
    world.it.put(world.output(0, 500))
    world.it.put(world.output(1, 500))
    third = threading.Thread(target=world.it.put, args=[world.output(2, 1)])
    assert not world.it._has_room(1)
    third.start()
    world.place.wait_until_asked("0.jpg", "1.jpg")
    assert "2.jpg" not in world.place.on_the_way
    world.place.let_go()
    third.join(DEADLINE)
    assert {index for _, index in world.told()} == {0, 1, 2}


def test_no_more_than_so_many_are_on_the_way_however_small(world, monkeypatch):
    monkeypatch.setattr(sending, "_ON_THE_WAY", 2)
    world.place.open = False
    world.it.put(world.output(0, 1))
    world.it.put(world.output(1, 1))
    assert not world.it._has_room(1)


def test_one_that_is_larger_than_the_budget_goes_alone(world):
    assert world.it._has_room(10**6)
    world.place.open = False
    world.it.put(world.output(0, 1))
    assert not world.it._has_room(10**6)


def test_finish_returns_when_all_are_there_and_told(world):
    world.place.open = False
    for index in range(3):
        world.it.put(world.output(index))
    finishing = threading.Thread(target=world.it.finish)
    finishing.start()
    world.place.wait_until_asked("0.jpg", "1.jpg", "2.jpg")
    assert finishing.is_alive()
    world.place.let_go()
    finishing.join(DEADLINE)
    assert not finishing.is_alive()
    assert {index for _, index in world.told()} == {0, 1, 2}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Full("1.jpg", "no space"), OutputFault),
        (Unreachable("1.jpg", "no answer"), OutputFault),
        (OSError(5, "broken"), OutputFault),
        (ValueError("what nobody thought of"), Failed),
    ],
)
def test_what_fails_costs_one(world, fault, kind):
    world.place.faults["1.jpg"] = fault
    for index in range(3):
        world.it.put(world.output(index))
    assert set(world.told()) == {(Done, 0), (kind, 1), (Done, 2)}


def test_what_batchgray_did_not_make_stays(world):
    world.place.put("0.jpg", b"mine")
    world.it.put(world.output(0))
    assert world.told() == [(Failed, 0)]
    assert world.place.get("0.jpg") == b"mine"


def test_checkpoints_go_when_the_output_is_there(world):
    world.it.put(world.output(0, begun=True))
    assert world.told() == [(Done, 0)]
    assert world.checkpoints.removed == [("preview", "0.jpg", ["0.jpg"]), ("sidecar", "0.jpg", ["0.jpg"])]


def test_checkpoints_stay_where_it_is_not(world):
    world.place.faults["0.jpg"] = Full("0.jpg", "no space")
    world.it.put(world.output(0, begun=True))
    world.told()
    assert world.checkpoints.removed == []


def test_a_preview_that_is_none_of_its_own_stays(world):
    made = world.output(0, begun=True)
    world.it.put(made._replace(task=msgspec.structs.replace(made.task, preview=False)))
    world.told()
    assert [kind for kind, *_ in world.checkpoints.removed] == ["sidecar"]


def test_an_output_in_a_file_is_put_and_the_file_removed(world):
    world.it.put(written(world.folder, 5))
    assert world.told() == [(Done, 5)]
    assert world.place.get("5.jpg") == b"picture 5"
    assert world.folder.names() == []
