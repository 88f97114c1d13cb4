"""A plane on disk: finished bands come back exactly, or are doubted; and they change hands with a plane in memory."""

import os
from pathlib import Path
from random import Random

import msgspec
import pytest

from batchgray import tiles
from batchgray.checkpoints import band_plane, sidecar
from batchgray.checkpoints.folder import FolderCheckpoints
from batchgray.options import PixelOptions
from batchgray.planes import slots
from batchgray.records import InputVersion, Task
from batchgray.storage import durable, integrity, sealing
from batchgray.storage.base import Changed
from batchgray.storage.durable import Folder

WIDTH, HEIGHT = 30_000, 100
OUTPUT = "a/b.jpg"
VERSION = InputVersion(1234, 5678)
TASK = Task(index=3, source="/in/a/b.png", output=OUTPUT, version=VERSION)
OPTIONS = PixelOptions(tile_rows=16)
RECORD = slots.SlotRecord(
    version=VERSION, width=WIDTH, height=HEIGHT, tile_rows=16, colour=True, exif_bytes=4, note=None
)
GRAY = Random(5).randbytes(WIDTH * HEIGHT)
BANDS = 13  # of 8 rows, the last one of 4


def plane_in(folder, record=RECORD, options=OPTIONS) -> band_plane.BandPlane:
    return band_plane.BandPlane(Folder.at(folder), OUTPUT, record, options)


def checkpoints_in(folder) -> FolderCheckpoints:
    return FolderCheckpoints(Folder.at(folder), Folder.at(folder), OPTIONS)


def paths(folder) -> list[Path]:
    """Of the plane and its header."""
    return [folder / name for name in band_plane.names(OUTPUT)]


def written(folder, bands) -> None:
    plane = plane_in(folder)
    for band in plane.bands():
        if band.index in bands:
            plane.write(band.index, GRAY[band.top * WIDTH : band.bottom * WIDTH])
    plane.checkpoint()
    plane.close()


def finished(plane: band_plane.BandPlane) -> set[int]:
    for band in plane.bands():
        if plane.finished(band.index):
            assert plane.read(band.index) == GRAY[band.top * WIDTH : band.bottom * WIDTH]
    return {band.index for band in plane.bands() if plane.finished(band.index)}


@pytest.fixture
def slot():
    fd = slots.make_memory()
    slots.resize_memory(fd, RECORD.slot_bytes)
    yield slots.Slot(fd)
    os.close(fd)


def test_bands_are_whole_blocks_of_about_one_size():
    for width in (1, 7, 1000, 30_000, 262_144, 10**8):
        rows = band_plane.band_rows(width)
        assert rows % 8 == 0
        assert rows == 8 or rows * width <= 1 << 18


@pytest.mark.parametrize("bands", [set(), {0}, {0, 1, 2, 5}, {12}, set(range(BANDS))])
def test_finished_bands_come_back(tmp_path, bands):
    written(tmp_path, bands)
    assert finished(plane_in(tmp_path)) == bands


def test_a_tile_is_done_where_all_its_bands_are(tmp_path):
    written(tmp_path, {0, 1, 2, 12})  # tiles of two bands; the last tile is one band
    assert plane_in(tmp_path).tiles_done == 2


def test_what_is_not_in_a_checkpoint_does_not_count(tmp_path):
    written(tmp_path, {0})
    plane = plane_in(tmp_path)
    plane.write(1, GRAY[8 * WIDTH : 16 * WIDTH])
    plane.close()
    assert finished(plane_in(tmp_path)) == {0}


def test_a_damaged_band_is_doubted_and_no_other(tmp_path):
    written(tmp_path, {0, 1, 2})
    with paths(tmp_path)[0].open("r+b") as file:
        file.seek(8 * WIDTH + 5)
        file.write(b"other")
    assert finished(plane_in(tmp_path)) == {0, 2}


def test_a_plane_that_was_cut_off_is_doubted_where_it_is_cut(tmp_path):
    written(tmp_path, set(range(BANDS)))
    os.truncate(paths(tmp_path)[0], 20 * WIDTH)
    assert finished(plane_in(tmp_path)) == {0, 1}


@pytest.mark.parametrize(
    ("record", "options"),
    [
        ({"version": InputVersion(1234, 5679)}, {}),
        ({"height": HEIGHT - 1}, {}),
        ({}, {"method": "luma"}),
        ({}, {"quality": 76}),
    ],
)
def test_another_image_or_other_options_begin_afresh(tmp_path, record, options):
    written(tmp_path, {0, 1})
    other = plane_in(tmp_path, msgspec.structs.replace(RECORD, **record), msgspec.structs.replace(OPTIONS, **options))
    assert not any(other.finished(band.index) for band in other.bands())


def test_a_header_with_a_flipped_bit_is_not_believed(tmp_path):
    written(tmp_path, {0, 1})
    header = paths(tmp_path)[1]
    data = bytearray(header.read_bytes())
    data[data.index(b"xxh3") + 12] ^= 1
    header.write_bytes(data)
    assert finished(plane_in(tmp_path)) == set()


def test_a_header_of_another_version_is_not_believed(tmp_path):
    written(tmp_path, {0, 1})
    header = paths(tmp_path)[1]
    data = header.read_bytes().rstrip(b"\n")[: -sealing.SEAL_BYTES] + b"}"
    for version, expected in ((1, {0, 1}), (2, set())):
        header.write_bytes(sealing.seal(data.replace(b'"version":1', b'"version":%d' % version)) + b"\n")
        assert finished(plane_in(tmp_path)) == expected


def test_a_plane_that_is_cut_off_while_it_is_worked_on_is_told_by_name(tmp_path):
    """Not as the end of something else."""
    plane = plane_in(tmp_path)
    plane.write(2, GRAY[16 * WIDTH : 24 * WIDTH])
    os.truncate(paths(tmp_path)[0], 20 * WIDTH)
    with pytest.raises(Changed, match="cut off"):
        plane.read(2)
    plane.close()


def test_an_image_in_memory_takes_the_finished_bands(tmp_path, slot):
    written(tmp_path, {0, 1, 2, 12})
    with paths(tmp_path)[0].open("r+b") as file:
        file.write(b"damaged!")
    image = slot.begin(RECORD, slots.Metadata(b"exif"))
    band_plane.fill(image, Folder.at(tmp_path), OUTPUT, OPTIONS)
    assert [index for index, flag in enumerate(image.flags) if flag] == [6]
    assert bytes(image.gray[96 * WIDTH :]) == GRAY[96 * WIDTH :]


@pytest.mark.parametrize(
    ("done", "bands"), [({0}, {0, 1}), ({1, 2, 5}, {2, 3, 4, 5, 10, 11}), (set(range(7)), set(range(BANDS)))]
)
def test_a_plane_takes_up_the_tiles_of_a_sidecar(tmp_path, slot, done, bands):
    image = slot.begin(RECORD, slots.Metadata(b"exif"))
    for tile in (tiles.tile_at(index, HEIGHT, 16) for index in done):
        image.gray[tile.top * WIDTH : tile.bottom * WIDTH] = GRAY[tile.top * WIDTH : tile.bottom * WIDTH]
        image.flags[tile.index] = 1
    checkpoints_in(tmp_path).save(TASK, image)
    plane = plane_in(tmp_path)
    plane.take_up(checkpoints_in(tmp_path).rows(OUTPUT))
    assert finished(plane) == bands
    path = tmp_path / sidecar.name_of(OUTPUT)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert list(checkpoints_in(tmp_path).rows(OUTPUT)) == []


@pytest.mark.parametrize(
    ("first_row", "last_row", "bands"), [(4, 24, {1, 2}), (8, 20, {1}), (9, 15, set()), (90, 100, {12}), (0, 4, set())]
)
def test_a_band_of_which_only_some_rows_are_known_is_not_finished(tmp_path, first_row, last_row, bands):
    """The others would be black for ever."""
    plane = plane_in(tmp_path)
    plane.take_up([(first_row * WIDTH, GRAY[first_row * WIDTH : last_row * WIDTH])])
    assert finished(plane) == bands


def test_pieces_that_do_not_follow_each_other_are_taken_up_each_for_itself(tmp_path):
    plane = plane_in(tmp_path)
    pieces = [(0, 12), (12, 20), (28, 40)]
    plane.take_up([(first * WIDTH, GRAY[first * WIDTH : last * WIDTH]) for first, last in pieces])
    assert finished(plane) == {0, 1, 4}


def test_what_is_discarded_is_gone(tmp_path):
    written(tmp_path, {0})
    checkpoints = checkpoints_in(tmp_path)
    checkpoints.claim(TASK, RECORD, slots.Metadata(b"exif"))
    checkpoints.discard(OUTPUT)
    assert list(tmp_path.iterdir()) == []


def test_two_images_under_one_name_share_no_byte(tmp_path, monkeypatch):
    """No two names are the same; but if they were, neither image would be given what the other has."""
    monkeypatch.setattr(integrity, "short_name", lambda text: "same")
    first = plane_in(tmp_path)
    second = band_plane.BandPlane(Folder.at(tmp_path), "another.jpg", RECORD, OPTIONS)
    rows = GRAY[: 8 * WIDTH]
    first.write(0, rows)
    second.write(0, bytes(len(rows)))
    assert first.read(0) == rows
    first.checkpoint()
    assert not any(
        band_plane.BandPlane(Folder.at(tmp_path), "another.jpg", RECORD, OPTIONS).finished(0) for _ in range(2)
    )
    assert not plane_in(tmp_path).finished(0)
    for plane in (first, second):
        plane.close()


def test_a_checkpoint_syncs_the_plane_before_the_header_tells_of_its_bands(tmp_path, monkeypatch):
    """Else a power cut would leave checksums of bands that never came to the disk: all of them would be made anew."""
    order = []
    sync, replace = durable.sync, Folder.replace
    monkeypatch.setattr(
        durable, "sync", lambda fd: (order.append(Path(os.readlink(f"/proc/self/fd/{fd}")).suffix), sync(fd))
    )
    monkeypatch.setattr(
        Folder, "replace", lambda *names: (order.append(f"to {Path(names[3]).suffix}"), replace(*names))
    )
    written(tmp_path, {0, 1})
    assert order == [".gray", ".tmp", "to .bands", ""]
