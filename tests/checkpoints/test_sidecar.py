"""Finished tiles come back exactly, or not at all."""

import errno
import os
import shutil

import msgspec
import pytest
from begun import OPTIONS, TASK, VERSION, making_folders
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchgray import tiles
from batchgray.checkpoints import sidecar
from batchgray.planes import slots
from batchgray.records import InputVersion, Task
from batchgray.storage import durable, sealing
from batchgray.storage.base import Full


@pytest.fixture
def folders():
    with making_folders() as folders:
        yield folders


@settings(deadline=None, max_examples=60)
@given(
    flags=st.lists(st.sampled_from([0, 1]), min_size=1, max_size=9),
    width=st.integers(1, 40),
    short=st.integers(0, 7),
    metadata=st.builds(slots.Metadata, *[st.binary(max_size=300)] * 3),
    colour=st.booleans(),
)
def test_any_set_of_finished_tiles_comes_back_exactly(flags, width, short, metadata, colour):
    with making_folders() as folders:
        image = folders.begun(flags, metadata, width, 8 * len(flags) - short, colour)
        header = folders.write(image)
        assert header.tiles_done == sum(flags)
        assert folders.checkpoints().find(TASK) == header
        restored, slot = folders.restored(image.record)
        assert restored.record == image.record
        assert bytes(restored.flags) == bytes(flags) == bytes(slot.image().flags)
        assert restored.metadata == metadata
        for first, last in tiles.spans(flags):
            assert restored.rows(first, last) == image.rows(first, last)
        assert folders.flight.names() == [folders.sidecar.name]


def test_unfinished_tiles_are_not_in_the_sidecar(folders):
    folders.write(folders.begun((1, 0, 0)))
    one = folders.sidecar.stat().st_size
    folders.write(folders.begun((1, 1, 0)))
    assert folders.sidecar.stat().st_size == one + 8 * 5


def test_a_sidecar_is_replaced_by_a_later_one(folders):
    folders.write(folders.begun((1, 0, 0)))
    image = folders.begun((1, 1, 0))
    folders.write(image)
    restored, _ = folders.restored(image.record)
    assert bytes(restored.flags) == b"\1\1\0"


def test_a_sidecar_that_finds_no_space_leaves_the_earlier_one(folders, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folders.write(folders.begun((1, 0, 0)))
    before = folders.sidecar.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(durable, "sync", full)
        with pytest.raises(Full, match="space"):
            folders.write(folders.begun((1, 1, 0)))
    assert folders.sidecar.read_bytes() == before
    assert folders.flight.names() == [folders.sidecar.name]


# damage


def damaged_sidecar_is_refused(folders, record, content):
    folders.sidecar.write_bytes(content)
    header = folders.checkpoints().find(TASK)
    restored, slot = folders.restored(record)
    assert restored is None
    assert header is None or header.tiles == [(0, 1), (2, 3)]
    begun = slot.image()
    assert begun is None or begun.tiles_done == 0


def test_a_sidecar_that_is_cut_off_anywhere_is_not_restored(folders):
    image = folders.begun()
    folders.write(image)
    whole = folders.sidecar.read_bytes()
    for length in range(len(whole)):
        damaged_sidecar_is_refused(folders, image.record, whole[:length])


def test_a_sidecar_with_any_flipped_bit_is_not_restored(folders):
    image = folders.begun()
    folders.write(image)
    whole = folders.sidecar.read_bytes()
    for byte, value in enumerate(whole):
        damaged = whole[:byte] + bytes([value ^ 1 << byte % 8]) + whole[byte + 1 :]
        damaged_sidecar_is_refused(folders, image.record, damaged)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=3000))
def test_a_sidecar_of_rubbish_is_not_restored(folders, content):
    damaged_sidecar_is_refused(folders, folders.begun().record, content)


@pytest.mark.parametrize("spans", [[[0, 4]], [[2, 2]], [[2, 1]], [[-1, 1]], [[0, 1], [0, 1]], [[0, 1], [1, 2]]])
def test_a_sidecar_whose_tiles_are_not_in_its_image_is_not_restored(folders, spans):
    """However long it is: what follows its header is as long as such tiles would be."""
    image = folders.begun()
    written = msgspec.structs.replace(folders.write(image), tiles=[(first, last) for first, last in spans])
    header = sealing.seal(msgspec.json.encode(written))
    folders.sidecar.write_bytes(header + b"\n" + bytes(max(0, written.record.metadata_bytes + written.pixels)))
    assert sidecar.read_header(folders.flight, folders.sidecar.name) is None
    assert folders.restored(image.record)[0] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 0},
        {"height": 0},
        {"width": 2**31, "tile_rows": 8},
        {"height": 2**31},
        {"tile_rows": 16},
        {"tile_rows": 0},
        {"exif_bytes": 65528},
        {"xmp_bytes": 65503},
        {"xmp_bytes": -1, "exif_bytes": 1},
        {"iptc_bytes": 65507},
        {"note": "n" * 2048},
    ],
)
def test_a_header_that_batchgray_would_never_write_is_not_believed(folders, changes):
    """Its seal is no signature: anybody can make one, and have a worker lay out what it likes."""
    written = folders.write(folders.begun())
    header = msgspec.structs.replace(written, tiles=[], record=msgspec.structs.replace(written.record, **changes))
    line = sealing.seal(msgspec.json.encode(header)) + b"\n"
    folders.sidecar.write_bytes(line + bytes(header.record.metadata_bytes))
    assert sidecar.read_header(folders.flight, folders.sidecar.name) is None


@pytest.mark.parametrize("output", ["../b.jpg", "/etc/b.jpg", "a/../../b.jpg", ""])
def test_a_header_that_names_an_output_elsewhere_is_not_believed(folders, output):
    """Its partial JPEG would be removed there."""
    header = msgspec.structs.replace(folders.write(folders.begun()), output=output, tiles=[])
    folders.sidecar.write_bytes(sealing.seal(msgspec.json.encode(header)) + b"\nEXIF")
    assert sidecar.read_header(folders.flight, folders.sidecar.name) is None


def test_a_header_of_another_version_is_not_believed(folders):
    """What its fields mean is not known."""
    header = msgspec.structs.replace(folders.write(folders.begun()), version=2, tiles=[])
    folders.sidecar.write_bytes(sealing.seal(msgspec.json.encode(header)) + b"\nEXIF")
    assert sidecar.read_header(folders.flight, folders.sidecar.name) is None


def test_where_there_is_no_sidecar_nothing_is_restored(folders):
    assert folders.checkpoints().find(TASK) is None
    assert folders.restored(folders.begun().record)[0] is None


# version


def test_tiles_of_another_version_of_the_source_do_not_match(folders):
    folders.write(folders.begun())
    for version in InputVersion(1235, 5678), InputVersion(1234, 5679):
        task = Task(index=3, source=TASK.source, output=TASK.output, version=version)
        assert folders.checkpoints().find(task) is None


@pytest.mark.parametrize(
    "other",
    [
        *({"method": "bt709"}, {"format": "png"}, {"quality": 76}, {"tile_rows": 16}, {"metadata": "strip"}),
        *({"background": "#ffffff"}, {"compression": 6}),
    ],
)
def test_tiles_of_other_pixel_options_do_not_match(folders, other):
    folders.write(folders.begun())
    assert folders.checkpoints(msgspec.structs.replace(OPTIONS, **other)).find(TASK) is None


def test_tiles_of_another_output_do_not_match(folders):
    folders.write(folders.begun())
    task = Task(index=3, source=TASK.source, output="a/c.jpg", version=VERSION)
    shutil.copy(folders.sidecar, folders.flight.path / sidecar.name_of(task.output))
    assert folders.checkpoints().find(task) is None
