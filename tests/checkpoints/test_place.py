"""Checkpoints in a place: what one machine put, another goes on from; nothing of another's is touched."""

import contextlib
from pathlib import Path

import msgspec
import numpy as np
import pytest

from batchgray.checkpoints import preview, sidecar
from batchgray.checkpoints.place import PlaceCheckpoints
from batchgray.options import PixelOptions
from batchgray.planes import slots
from batchgray.records import InputVersion, Task
from batchgray.storage import integrity
from batchgray.storage.durable import Folder
from batchgray.storage.memory import MemoryPlace

PIXELS = PixelOptions(tile_rows=8)
PLANNED = InputVersion(1234, 1_700_000_000_123_456_789, "an etag")
TASK = Task(index=0, source="a.png", output="a.jpg", version=PLANNED, resumable=True)
RECORD = slots.SlotRecord(
    version=PLANNED.of_copy(), width=16, height=32, tile_rows=8, colour=True, exif_bytes=0, note=None
)
KEY = f"job/begun/{sidecar.name_of('a.jpg')}"


@pytest.fixture
def place():
    return MemoryPlace()


@pytest.fixture
def machine(place, tmp_path):
    """Makes a machine's view of the checkpoints, with a folder of its own."""

    def make(name: str) -> PlaceCheckpoints:
        (tmp_path / name).mkdir()
        return PlaceCheckpoints(place, "job/begun", Folder.at(Path(tmp_path / name)), PIXELS)

    return make


@contextlib.contextmanager
def slot():
    made = slots.Slot(slots.make_memory())
    slots.resize_memory(made.fd if hasattr(made, "fd") else made._fd, RECORD.slot_bytes)
    made.refresh()
    yield made


def begun_image(made: slots.Slot) -> slots.SlotImage:
    image = made.begin(RECORD, b"")
    np.frombuffer(image.gray, np.uint8)[: 16 * 16] = 7
    image.flags[0:2] = b"\1\1"
    return image


def test_another_machine_goes_on_from_it(machine, place):
    with slot() as made:
        machine("first").save(TASK, begun_image(made))
    second = machine("second")
    assert second.names() == {KEY.rpartition("/")[2].removesuffix(".tiles")}
    header = second.find(TASK)
    assert header.tiles == [(0, 2)]
    with slot() as made:
        image = second.restore("a.jpg", made)
        assert bytes(image.gray[: 16 * 16]) == b"\7" * 256
        assert image.tiles_done == 2


def test_one_of_other_options_is_none(machine, place, tmp_path):
    with slot() as made:
        machine("first").save(TASK, begun_image(made))
    (tmp_path / "x").mkdir()
    other = PlaceCheckpoints(place, "job/begun", Folder.at(tmp_path / "x"), PixelOptions(tile_rows=16))
    assert other.find(TASK) is None


def test_one_of_another_object_of_the_same_size_is_none(machine):
    """A store tells versions apart by nothing but their ETags."""
    stored = msgspec.structs.replace(TASK, version=InputVersion(1234, 0, "an etag"))
    other = msgspec.structs.replace(TASK, version=InputVersion(1234, 0, "another"))
    record = msgspec.structs.replace(RECORD, version=stored.version.of_copy())
    first, second = machine("first"), machine("second")
    first.claim(stored, record, slots.NO_METADATA)
    with contextlib.closing(first.open_plane("a.jpg", record)) as plane:
        plane.write(0, bytes(RECORD.width * RECORD.height))
        plane.checkpoint()
    assert second.find(stored) is not None
    assert second.find(other) is None
    other_record = msgspec.structs.replace(RECORD, version=other.version.of_copy())
    with contextlib.closing(second.open_plane("a.jpg", other_record)) as plane:
        assert not plane.tiles_done


def test_where_none_is_there_is_none(machine):
    assert machine("first").find(TASK) is None


def test_the_partial_jpeg_comes_and_goes_with_it(machine, place):
    first = machine("first")
    with slot() as made:
        header = first.save(TASK, begun_image(made))
    first.draw(header, [b"jpeg"])
    first.draw(header, [b"another"])
    assert place.get("a.partial.jpg").startswith(b"another\n")
    second = machine("second")
    second.find(TASK)
    second.discard("a.jpg")
    assert [entry.key for entry in place.list()] == []


def test_a_file_of_the_users_under_its_name_stays(machine, place):
    first = machine("first")
    with slot() as made:
        header = first.save(TASK, begun_image(made))
    place.put("a.partial.jpg", b"mine")
    first.draw(header, [b"jpeg"])
    first.discard("a.jpg")
    assert [entry.key for entry in place.list()] == ["a.partial.jpg"]
    assert place.get("a.partial.jpg") == b"mine"


def test_what_is_left_is_found_and_ruins_go(machine, place):
    first = machine("first")
    with slot() as made:
        first.save(TASK, begun_image(made))
    place.put(f"job/begun/{'0' * 40}.tiles", b"a ruin")
    assert list(machine("second").left()) == ["a.jpg"]
    assert [entry.key for entry in place.list()] == [KEY]


def begun_in_bands(checkpoints: PlaceCheckpoints) -> sidecar.SidecarHeader:
    header = checkpoints.claim(TASK, RECORD, slots.NO_METADATA)
    with contextlib.closing(checkpoints.open_plane("a.jpg", RECORD)) as plane:
        plane.write(0, bytes([9]) * RECORD.width * RECORD.height)
        plane.checkpoint()
    return header


def test_another_machine_goes_on_in_bands(machine, place):
    first = machine("first")
    header = begun_in_bands(first)
    first.draw(header, [b"jpeg"])
    second = machine("second")
    assert second.names() == {integrity.short_name("a.jpg")}
    assert second.find(TASK).owns_preview
    with contextlib.closing(second.open_plane("a.jpg", RECORD)) as plane:
        assert plane.complete
    second.discard("a.jpg")
    assert list(place.list()) == []


def test_another_machine_has_the_bands_in_memory(machine):
    begun_in_bands(machine("first"))
    second = machine("second")
    second.find(TASK)
    with slot() as made:
        image = second.restore("a.jpg", made)
        assert bytes(image.flags) == bytes([1] * 4)
        assert bytes(image.gray) == bytes([9]) * RECORD.width * RECORD.height


@pytest.mark.parametrize("end", ["discard", "withdraw"])
def test_nothing_of_an_image_in_bands_stays_that_is_finished_elsewhere(machine, place, end):
    begun_in_bands(machine("first"))
    place.put("a.jpg", b"its output")
    getattr(machine("second"), end)("a.jpg")
    assert [entry.key for entry in place.list()] == ["a.jpg"]


def test_bands_that_nobody_claims_go_with_what_is_left(machine, place):
    begun_in_bands(machine("first"))
    place.delete(KEY)
    assert list(machine("second").left()) == []
    assert list(place.list()) == []


def test_a_trailer_is_recognised():
    place = MemoryPlace()
    place.put("a", preview.with_trailer([b"one", b"two"]))
    place.put("b", b"onetwo")
    assert [preview.stands_in(place, key) for key in "abc"] == [True, False, False]
