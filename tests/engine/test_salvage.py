"""What a dead worker leaves in its slot is found, made durable, and drawn when there is time."""

from types import SimpleNamespace

import pytest
from stream import Clock

from batchgray.checkpoints.folder import FolderCheckpoints
from batchgray.engine import salvage
from batchgray.engine.worker_handle import WorkerHandle
from batchgray.options import PixelOptions
from batchgray.planes import slots
from batchgray.records import InputVersion, Task
from batchgray.storage.durable import Folder
from batchgray.workers import messages

VERSION = InputVersion(1234, 5678)
RECORD = slots.SlotRecord(
    version=VERSION,
    width=8,
    height=24,
    tile_rows=PixelOptions().rows_for(8),
    colour=True,
    exif_bytes=0,
    note=None,
)
TASK = Task(index=7, source="/in/a.png", output="a.jpg", version=VERSION)


@pytest.fixture
def worker():
    """One that has image 7 in hand."""
    one = WorkerHandle(1, slots.make_memory(), SimpleNamespace(close=lambda: None), pid=1000)
    one.tasks[7] = TASK
    yield one
    one.close()


@pytest.fixture
def checkpoints(tmp_path):
    with Folder.at(tmp_path) as out, out.inner("flight", make=True) as flight:
        yield FolderCheckpoints(flight, out, PixelOptions())


def lay_out(worker, finished=1):
    worker.resize(RECORD.slot_bytes)
    slot = slots.Slot(worker.slot_fd)
    slot.announce(7)
    slot.begin(RECORD, b"").flags[:finished] = bytes([1] * finished)


def test_a_worker_that_announced_nothing_had_nothing_in_hand(worker):
    assert salvage.in_hand(worker) == (None, None, False)


def test_what_was_announced_but_is_done_already_is_no_longer_in_hand(worker):
    lay_out(worker)
    worker.tasks.clear()
    assert salvage.in_hand(worker) == (None, None, False)


@pytest.mark.parametrize("finished", [0, 1])
def test_an_image_is_there_only_where_tiles_of_it_are_finished(worker, finished):
    lay_out(worker, finished)
    task, image, _ = salvage.in_hand(worker)
    assert task == TASK
    assert (image is not None) == bool(finished)


def test_finished_tiles_are_durable_when_they_are_told_of(worker, checkpoints):
    lay_out(worker)
    image = salvage.in_hand(worker).image
    flushed = salvage.Salvage(checkpoints).save_tiles(TASK, image)
    header = checkpoints.find(TASK)
    assert (flushed.index, flushed.tiles_done, header.tiles_done) == (7, 1, 1)
    assert flushed.version == VERSION


class Artist:
    """A worker that draws what it is told, then ends."""

    slot_bytes = RECORD.slot_bytes

    def __init__(self):
        self.drawn = []
        self.channel = SimpleNamespace(send=self.drawn.append, waiting=lambda seconds: True, receive=self.receive)

    def receive(self):
        raise EOFError


def test_partial_jpegs_are_drawn_by_new_workers_of_what_was_saved(worker, checkpoints):
    lay_out(worker)
    saved, artist, clock = salvage.Salvage(checkpoints), Artist(), Clock()
    saved.save_tiles(TASK, salvage.in_hand(worker).image)
    asked = []

    def spawn(size):
        asked.append(size)
        return artist

    saved.draw_previews(SimpleNamespace(spawn_worker=spawn), clock)
    assert asked == [RECORD.slot_bytes]
    assert artist.drawn == [messages.Preview(task=TASK, slot_bytes=RECORD.slot_bytes)]


def test_no_partial_jpeg_is_begun_when_its_time_is_over_or_no_worker_can_be_had(worker, checkpoints):
    lay_out(worker)
    saved, clock, artist, asked = salvage.Salvage(checkpoints), Clock(), Artist(), []
    for _ in range(3):
        saved.save_tiles(TASK, salvage.in_hand(worker).image)

    def spawn(size):
        asked.append(size)
        clock.now += 2 * salvage._PREVIEW_SECONDS / 3
        return artist

    saved.draw_previews(SimpleNamespace(spawn_worker=spawn), clock)
    assert len(artist.drawn) == 2
    saved.draw_previews(SimpleNamespace(spawn_worker=asked.append), Clock())
    assert len(asked) == 3
