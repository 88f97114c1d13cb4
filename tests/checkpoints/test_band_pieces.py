"""Bands in a place: another machine has them to the bit, each is put once, and none is believed that does not fit."""

import contextlib
from random import Random

import msgspec
import pytest

from batchgray.checkpoints import band_pieces
from batchgray.checkpoints.band_pieces import PlacePlane
from batchgray.options import PixelOptions
from batchgray.planes import slots
from batchgray.records import InputVersion
from batchgray.storage.base import Unreachable
from batchgray.storage.durable import Folder
from batchgray.storage.memory import MemoryPlace

WIDTH, HEIGHT = 30_000, 100
BANDS = 13  # of 8 rows, the last one of 4
OPTIONS = PixelOptions(tile_rows=16)
RECORD = slots.SlotRecord(
    version=InputVersion(1234, 5678), width=WIDTH, height=HEIGHT, tile_rows=16, colour=True, exif_bytes=0, note=None
)
GRAY = Random(5).randbytes(WIDTH * HEIGHT)


class Counted(MemoryPlace):
    """Tells what was put and read."""

    def __init__(self):
        super().__init__()
        self.puts, self.gets = [], []

    def put(self, key, content):
        self.puts.append(key.rpartition(".bands-")[2])
        super().put(key, content)

    def get(self, key, version=None, start=0, end=None):
        self.gets.append(key.rpartition(".bands-")[2])
        return super().get(key, version, start, end)


@pytest.fixture
def place():
    return Counted()


@pytest.fixture
def machine(place, tmp_path):
    """Makes a machine's plane of the image, in a folder of its own."""
    with contextlib.ExitStack() as stack:

        def make(name, record=RECORD, options=OPTIONS, output="a/b.jpg"):
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            return stack.enter_context(
                contextlib.closing(PlacePlane(Folder.at(folder), output, record, options, place, "job/begun"))
            )

        yield make


def write(plane, bands):
    for band in plane.bands():
        if band.index in bands:
            plane.write(band.index, GRAY[band.top * WIDTH : band.bottom * WIDTH])


def finished(plane):
    for band in plane.bands():
        if plane.finished(band.index):
            assert plane.read(band.index) == GRAY[band.top * WIDTH : band.bottom * WIDTH]
    return {band.index for band in plane.bands() if plane.finished(band.index)}


@pytest.mark.parametrize("bands", [{0}, {12}, {0, 1, 2, 5, 7, 8}, set(range(BANDS)), set()])
def test_another_machine_has_what_was_finished(machine, bands):
    first = machine("first")
    write(first, bands)
    first.checkpoint()
    assert finished(machine("second")) == bands


def test_a_checkpoint_puts_what_is_new(machine, place):
    plane = machine("first")
    write(plane, {0, 1, 2})
    plane.checkpoint()
    plane.checkpoint()
    write(plane, {3, 4, 9})
    plane.checkpoint()
    assert sorted(place.puts) == ["000000-000002", "000003-000004", "000009-000009"]


def test_who_goes_on_puts_what_is_new_too(machine, place):
    first = machine("first")
    write(first, {0, 1})
    first.checkpoint()
    second = machine("second")
    write(second, {5})
    second.checkpoint()
    assert place.puts == ["000000-000001", "000005-000005"]
    assert finished(machine("third")) == {0, 1, 5}


def test_pieces_are_no_longer_than_what_may_be_on_its_way(machine, place, monkeypatch):
    monkeypatch.setattr(band_pieces, "_PIECE_BYTES", 4 * 8 * WIDTH)
    plane = machine("first")
    write(plane, set(range(1, BANDS)))
    plane.checkpoint()
    assert sorted(place.puts) == ["000001-000003", "000004-000007", "000008-000011", "000012-000012"]


def test_what_is_here_is_not_fetched(machine, place):
    plane = machine("first")
    write(plane, {0, 1})
    plane.checkpoint()
    assert finished(machine("first")) == {0, 1}
    assert place.gets == []


def test_what_only_this_machine_has_is_put_with_the_next_checkpoint(machine, place):
    plane = machine("first")
    write(plane, {0, 1})
    plane.checkpoint()
    for entry in list(place.list()):
        place.delete(entry.key)
    machine("first").checkpoint()
    assert finished(machine("second")) == {0, 1}


@pytest.mark.parametrize(
    "other",
    [
        {"record": msgspec.structs.replace(RECORD, version=InputVersion(1234, 5679))},
        {"options": PixelOptions(tile_rows=16, method="luma")},
        {"output": "a/c.jpg"},
    ],
)
def test_another_image_or_other_options_take_nothing_up(machine, other):
    first = machine("first")
    write(first, {0, 1})
    first.checkpoint()
    assert finished(machine("second", **other)) == set()


@pytest.mark.parametrize("at", [10, 5000, -1])
def test_a_band_with_a_flipped_bit_is_doubted_and_no_other_piece(machine, place, at):
    first = machine("first")
    write(first, {0, 5})
    first.checkpoint()
    (key,) = [entry.key for entry in place.list() if entry.key.endswith("000005-000005")]
    data = bytearray(place.get(key))
    data[at] ^= 1
    place.put(key, bytes(data))
    assert finished(machine("second")) == {0}


def test_a_piece_that_is_cut_off_counts_for_nothing_and_is_put_again(machine, place):
    plane = machine("first")
    write(plane, {0})
    plane.checkpoint()
    (key,) = [entry.key for entry in place.list()]
    place.put(key, place.get(key)[:1000])
    machine("first").checkpoint()
    assert finished(machine("second")) == {0}


def test_what_was_put_before_a_put_failed_is_not_put_again(machine, place, monkeypatch):
    monkeypatch.setattr(band_pieces, "_PIECE_BYTES", 1)
    plane, put = machine("first"), place.put

    def refuse(key, content):
        if key.endswith("000003-000003"):
            raise Unreachable(key, "no answer")
        put(key, content)

    place.put = refuse
    write(plane, {0, 1, 2, 3})
    with pytest.raises(Unreachable):
        plane.checkpoint()
    place.put = put
    plane.checkpoint()
    assert sorted(place.puts) == [f"{index:06}-{index:06}" for index in range(4)]


@pytest.mark.parametrize("name", ["readme", "1-x", "000005-000004", "000000-000013", "-"])
def test_what_has_another_name_is_passed_over(machine, place, name):
    place.put(f"{band_pieces.prefix_of('job/begun', 'a/b.jpg')}{name}", b"mine")
    assert finished(machine("first")) == set()


def test_what_is_removed_is_gone(machine, place):
    plane = machine("first")
    write(plane, {0, 5})
    plane.checkpoint()
    band_pieces.remove(place, "job/begun", "a/c.jpg")
    assert len(list(place.list())) == 2
    band_pieces.remove(place, "job/begun", "a/b.jpg")
    assert list(place.list()) == []
