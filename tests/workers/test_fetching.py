"""Inputs fetched ahead: in order, within a budget, each fault told when its turn comes, and nothing left behind."""

import contextlib
import threading
from pathlib import Path

import pytest
from harness import DEADLINE

from batchgray.codecs.opening import FetchedInput
from batchgray.errors import ImageError
from batchgray.records import InputVersion, Task
from batchgray.storage.base import Unreachable
from batchgray.storage.durable import Folder
from batchgray.storage.memory import MemoryPlace
from batchgray.workers import fetching as fetching_module
from batchgray.workers.fetching import Fetching
from batchgray.workers.interrupt import Interrupted

BUDGET = 4000  # a small input is at most 1000 bytes


class Gated(MemoryPlace):
    """Lets each object go when it is told to; `held` is what of its bytes is on the way, at most `most` at a time."""

    def __init__(self):
        super().__init__()
        self.changed = threading.Condition()
        self.open = True
        self.asked, self.held, self.most = [], 0, 0

    def get(self, key, version=None, start=0, end=None):
        data = super().get(key, version, start, end)
        with self.changed:
            self.asked.append(key)
            self.held += len(data)
            self.most = max(self.most, self.held)
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.open, DEADLINE)
            self.held -= len(data)
        return data

    def let_go(self):
        with self.changed:
            self.open = True
            self.changed.notify_all()

    def wait_until_asked(self, *keys):
        with self.changed:
            assert self.changed.wait_for(lambda: set(keys) <= set(self.asked), DEADLINE)


class Interrupt:
    heard = False

    @contextlib.contextmanager
    def ending_at_once(self):
        if self.heard:
            raise Interrupted
        yield


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(fetching_module, "_LEAST_PIECE", 1000)


@pytest.fixture
def place():
    return Gated()


@pytest.fixture
def folder(tmp_path):
    return Folder.at(Path(tmp_path))


@pytest.fixture
def interrupt():
    return Interrupt()


@pytest.fixture
def fetching(place, folder, interrupt):
    return Fetching(place, folder, 7, interrupt, BUDGET, until_certain=lambda: None)


def tasks(place, *sizes):
    """So many objects of these sizes, each of a byte of its own."""
    for index, size in enumerate(sizes):
        place.put(f"{index}.png", bytes([index]) * size)
    found = enumerate(place.list())
    return [Task(index=index, source=at.key, output=f"{index}.jpg", version=at.version) for index, at in found]


def wait_until_there(fetching):
    fetching._ahead[0].source.exception(DEADLINE)


def test_each_is_at_hand_in_its_turn_as_it_was_planned(fetching, place, folder):
    wanted = tasks(place, 10, 0, 1001, 30)
    fetching.expect(wanted)
    for index, task in enumerate(wanted):
        with fetching.at_hand(task) as at_hand:
            source = at_hand.source
            data = source.data if isinstance(source, FetchedInput) else Path(source).read_bytes()
            assert data == place.get(task.source)
            assert at_hand.task.version == task.version.of_copy()
            assert isinstance(source, str) == (index == 2)
            if isinstance(source, str):
                assert InputVersion.of(Path(source).stat()) == at_hand.task.version
    assert folder.names() == []


def test_those_that_come_next_are_fetched_while_one_is_at_hand(fetching, place):
    wanted = tasks(place, 10, 20, 30)
    fetching.expect(wanted)
    with fetching.at_hand(wanted[0]):
        place.wait_until_asked("1.png", "2.png")
        wait_until_there(fetching)
        assert fetching.is_there
    place.open = False
    with fetching.at_hand(wanted[1]) as at_hand:
        assert at_hand.source.data == bytes([1]) * 20


def test_whether_the_next_one_is_there_is_told(fetching, place):
    assert not fetching.is_there
    place.open = False
    fetching.expect(tasks(place, 10))
    assert not fetching.is_there
    place.let_go()
    wait_until_there(fetching)
    assert fetching.is_there


def test_what_is_in_memory_stays_within_the_budget(fetching, place):
    """Twice what is on the way, as the store's library holds it too, and once what is there."""
    wanted = tasks(place, *[1000] * 20)
    place.open = False
    fetching.expect(wanted)
    place.wait_until_asked("0.png", "1.png")
    assert place.most == 2 * 1000
    place.let_go()
    for task in wanted:
        with fetching.at_hand(task):
            assert 1000 <= fetching._held <= BUDGET
    assert fetching._held == 0
    assert place.most <= BUDGET // 2


def test_large_ones_are_files_of_which_only_the_next_is_fetched(fetching, place, folder):
    wanted = tasks(place, *[1500] * 4)
    fetching.expect(wanted)
    for number, task in enumerate(wanted):
        with fetching.at_hand(task):
            if number + 1 < len(wanted):
                wait_until_there(fetching)
                assert sorted(folder.names()) == [f"in-7-{number}.png", f"in-7-{number + 1}.png"]
    assert folder.names() == []
    assert place.most <= BUDGET // 2


def test_there_is_room_for_a_few_however_large_and_for_many_small_ones(fetching, place):
    assert fetching.room == BUDGET // 2
    wanted = tasks(place, 5000, 5000)
    fetching.expect(wanted[:1])
    assert fetching.room == 1
    fetching.expect(wanted[1:])
    assert fetching.room == 0
    with fetching.at_hand(wanted[0]):
        assert fetching.room == 1


def test_one_that_is_gone_costs_one_when_its_turn_comes(fetching, place):
    wanted = tasks(place, 10, 10, 10)
    place.delete("1.png")
    fetching.expect(wanted)
    with fetching.at_hand(wanted[0]):
        pass
    with pytest.raises(ImageError, match="not there any more"), fetching.at_hand(wanted[1]):
        pass
    with fetching.at_hand(wanted[2]) as at_hand:
        assert at_hand.source.data == bytes([2]) * 10
    assert fetching._held == 0


def test_one_that_changed_is_not_read(fetching, place):
    wanted = tasks(place, 10)
    place.put("0.png", b"another")
    fetching.expect(wanted)
    with pytest.raises(ImageError, match="has changed"), fetching.at_hand(wanted[0]):
        pass


@pytest.mark.parametrize("size", [10, 1500])
def test_a_store_that_fails_is_no_fault_of_the_image(fetching, place, folder, monkeypatch, size):
    def away(*_):
        raise Unreachable("0.png", "no answer")

    wanted = tasks(place, size)
    monkeypatch.setattr(place, "get", away)
    fetching.expect(wanted)
    with pytest.raises(Unreachable, match=r"can't read memory://.*0\.png: no answer"), fetching.at_hand(wanted[0]):
        pass
    assert folder.names() == []


def test_what_the_next_one_meets_does_not_touch_the_one_at_hand(fetching, place):
    wanted = tasks(place, 10, 10)
    place.delete("1.png")
    fetching.expect(wanted)
    with fetching.at_hand(wanted[0]) as at_hand:
        assert isinstance(fetching._ahead[0].source.exception(DEADLINE), ImageError)
        assert at_hand.source.data == bytes(10)


def test_none_is_begun_while_the_share_is_in_doubt(place, folder, interrupt):
    """It was handed out before, and may be another machine's by now."""
    certain = threading.Event()
    waiting = threading.Event()
    begun = []

    def until_certain():
        waiting.set()
        assert certain.wait(DEADLINE)

    def begin():
        with fetching.at_hand(wanted[0]):
            begun.append(certain.is_set())

    fetching = Fetching(place, folder, 7, interrupt, BUDGET, until_certain)
    wanted = tasks(place, 10)
    fetching.expect(wanted)
    beginning = threading.Thread(target=begin)
    beginning.start()
    assert waiting.wait(DEADLINE)
    assert begun == []
    certain.set()
    beginning.join(DEADLINE)
    assert begun == [True]


def test_interrupted_it_waits_for_none(fetching, place, interrupt):
    place.open = False
    wanted = tasks(place, 10)
    fetching.expect(wanted)
    interrupt.heard = True
    with pytest.raises(Interrupted), fetching.at_hand(wanted[0]):
        pass
    place.let_go()


def test_the_time_that_it_stood_still_is_told(fetching, place, monkeypatch):
    wanted = tasks(place, 10)
    fetching.expect(wanted)
    moments = iter((5.0, 5.25))
    monkeypatch.setattr("batchgray.workers.fetching.time.monotonic", lambda: next(moments))
    with fetching.at_hand(wanted[0]) as at_hand:
        assert at_hand.waited == 0.25
