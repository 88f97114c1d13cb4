"""A slot is one memory with two owners: what the worker put there outlives it."""

import os
import signal
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray.planes import slots
from batchgray.records import InputVersion

KILLED_WORKER = """
import os, signal, sys
from batchgray.planes import slots
from batchgray.records import InputVersion
slot = slots.Slot(int(sys.argv[1]))
slot.announce(41)
record = slots.SlotRecord(
    version=InputVersion(9, 10), width=4, height=20, tile_rows=8, colour=True, exif_bytes=2, note="first page"
)
image = slot.begin(record, slots.Metadata(b"II"))
image.gray[:32] = bytes(range(32))
image.flags[0] = 1
image.gray[32:] = b"?" * 48
os.kill(os.getpid(), signal.SIGKILL)
"""


LONGEST = slots.Metadata(b"E" * slots.LONGEST_EXIF, b"X" * slots.LONGEST_XMP, b"I" * slots.LONGEST_IPTC)


def record_of(width=5, height=20, tile_rows=8, colour=True, metadata=slots.NO_METADATA, note=None):
    return slots.SlotRecord(
        version=InputVersion(100, 200),
        width=width,
        height=height,
        tile_rows=tile_rows,
        colour=colour,
        exif_bytes=len(metadata.exif),
        xmp_bytes=len(metadata.xmp),
        iptc_bytes=len(metadata.iptc),
        note=note,
    )


@pytest.fixture
def fd():
    fd = slots.make_memory()
    yield fd
    os.close(fd)


def slot_for(fd, record):
    slots.resize_memory(fd, record.slot_bytes)
    return slots.Slot(fd)


def test_a_new_slot_is_empty(fd):
    slot = slots.Slot(fd)
    assert slot.size == slots.EMPTY_SLOT_BYTES
    assert slot.announced is None
    assert slot.image() is None


def test_memory_is_not_inherited_unless_it_is_handed_on(fd):
    assert not os.get_inheritable(fd)


def test_what_a_killed_worker_finished_is_still_there(fd):
    slots.resize_memory(fd, record_of(4, 20).slot_bytes)
    killed = subprocess.run([sys.executable, "-c", KILLED_WORKER, str(fd)], pass_fds=[fd], check=False)
    assert killed.returncode == -signal.SIGKILL
    slot = slots.Slot(fd)
    image = slot.image()
    assert slot.announced == 41
    assert image.record.version == InputVersion(9, 10)
    assert image.record.note == "first page"
    assert (image.record.width, image.record.height, image.record.tiles_total) == (4, 20, 3)
    assert image.metadata == slots.Metadata(b"II")
    assert bytes(image.flags) == b"\1\0\0"
    assert bytes(image.rows(0, 1)) == bytes(range(32))


def test_an_announced_image_has_a_name_and_nothing_else_yet(fd):
    slot, other = slot_for(fd, record_of()), slots.Slot(fd)
    slot.begin(record_of(), slots.NO_METADATA)
    slot.announce(0)
    assert other.announced == 0
    assert other.image() is None


def test_a_cleared_slot_has_nothing_in_hand(fd):
    slot, other = slot_for(fd, record_of()), slots.Slot(fd)
    slot.announce(7)
    slot.begin(record_of(), slots.NO_METADATA)
    slot.clear()
    assert other.announced is None
    assert other.image() is None


def test_beginning_an_image_keeps_the_announcement_and_lowers_the_flags_of_the_one_before(fd):
    slot, other = slot_for(fd, record_of()), slots.Slot(fd)
    slot.announce(7)
    first = slot.begin(record_of(), slots.NO_METADATA)
    first.flags[:] = b"\1" * 3
    assert first.tiles_done == first.record.tiles_total
    slot.begin(record_of(height=17), slots.NO_METADATA)
    assert other.announced == 7
    assert other.image().record == record_of(height=17)
    assert bytes(other.image().flags) == b"\0" * 3


def test_an_image_is_finished_when_every_flag_is_up(fd):
    image = slot_for(fd, record_of()).begin(record_of(), slots.NO_METADATA)
    for count in range(3):
        assert image.tiles_done == count
        image.flags[count] = 1
    assert image.tiles_done == 3


def test_rows_are_the_gray_bytes_of_a_run_of_tiles(fd):
    image = slot_for(fd, record_of()).begin(record_of(), slots.NO_METADATA)
    image.gray[:] = bytes(range(100))
    assert bytes(image.rows(1, 2)) == bytes(range(40, 80))
    assert bytes(image.rows(1, 3)) == bytes(range(40, 100))
    assert bytes(image.rows(2, 3)) == bytes(range(80, 100))
    assert bytes(image.rows(1, 1)) == b""


@settings(deadline=None)
@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    blocks=st.integers(1, 60),
    colour=st.booleans(),
    metadata=st.builds(slots.Metadata, *[st.binary(max_size=64)] * 3) | st.just(LONGEST),
)
def test_the_parts_of_a_slot_are_of_the_right_size_and_never_overlap(width, height, blocks, colour, metadata):
    record = record_of(width, height, 8 * blocks, colour, metadata, note="n" * 200)
    fd = slots.make_memory()
    try:
        slot = slot_for(fd, record)
        slot.announce(3)
        image = slot.begin(record, metadata)
        assert len(image.flags) == -(-height // (8 * blocks))
        assert len(image.gray) == width * height
        assert len(image.rgb) == (3 * width * height if colour else 0)
        image.rgb[:], image.gray[:] = b"R" * len(image.rgb), b"G" * len(image.gray)
        image.flags[:] = b"\1" * len(image.flags)
        again = slots.Slot(fd)
        found = again.image()
        assert (again.announced, found.record) == (3, record)
        assert found.metadata == metadata
        assert found.tiles_done == found.record.tiles_total
        assert bytes(found.gray) == b"G" * len(found.gray)
        assert bytes(found.rgb) == b"R" * len(found.rgb)
    finally:
        os.close(fd)


def test_planes_begin_on_a_page():
    sizes = [record_of(width, height).slot_bytes for width, height in [(1, 1), (64, 64), (65, 64)]]
    assert [size % 4096 for size in sizes] == [0, 0, 0]
    assert record_of(colour=False).slot_bytes < record_of(colour=True).slot_bytes


def test_a_grown_slot_is_seen_after_a_refresh_and_keeps_what_it_held(fd):
    small, large = record_of(8, 8), record_of(800, 800)
    ours, theirs = slot_for(fd, small), slots.Slot(fd)
    theirs.announce(5)
    view = theirs.begin(small, slots.NO_METADATA).gray
    view[:] = b"s" * 64
    slots.resize_memory(fd, large.slot_bytes)
    assert theirs.size == small.slot_bytes
    theirs.refresh()
    assert theirs.size == large.slot_bytes
    assert bytes(view) == b"s" * 64
    assert bytes(ours.image().gray) == b"s" * 64
    theirs.begin(large, slots.NO_METADATA).rgb[-1] = 77
    ours.refresh()
    assert ours.announced == 5
    assert ours.image().rgb[-1] == 77


def test_a_shrunk_slot_gives_its_pages_back(fd):
    slot = slot_for(fd, record_of(800, 800))
    image = slot.begin(record_of(800, 800), slots.NO_METADATA)
    image.rgb[:] = b"R" * len(image.rgb)
    held = os.fstat(fd).st_blocks
    slots.resize_memory(fd, slots.EMPTY_SLOT_BYTES)
    assert os.fstat(fd).st_blocks * 512 <= slots.EMPTY_SLOT_BYTES < held * 512
    slot.refresh()
    assert slot.size == slots.EMPTY_SLOT_BYTES


def test_cores_are_lent_without_touching_the_image_in_hand(fd):
    longest = [slots.LONGEST_EXIF, slots.LONGEST_XMP, slots.LONGEST_IPTC]
    sizes = dict(zip(("exif_bytes", "xmp_bytes", "iptc_bytes"), longest, strict=True))
    record = msgspec.structs.replace(record_of(), **sizes)
    slot = slot_for(fd, record)
    assert slot.cores == 1
    metadata = slots.Metadata(*(b"\xee" * size for size in longest))
    image = slot.begin(record, metadata)
    slots.lend_cores(fd, 7)
    assert slot.cores == 7
    assert slots.SlotImage(slot._map, record).metadata == metadata
    assert not any(image.flags)


def test_a_platform_without_memfd_gets_a_nameless_file(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    fd = slots.make_memory()
    try:
        assert os.fstat(fd).st_nlink == 0
        slot, other = slot_for(fd, record_of()), slots.Slot(fd)
        slot.begin(record_of(), slots.NO_METADATA).gray[0] = 9
        assert other.image().gray[0] == 9
    finally:
        os.close(fd)


def test_a_slot_that_the_address_space_has_no_room_for_is_a_lack_of_memory():
    script = """
import resource
from batchgray.planes import slots
fd = slots.make_memory()
slot = slots.Slot(fd)
slots.resize_memory(fd, 1 << 40)
resource.setrlimit(resource.RLIMIT_AS, (1 << 39, 1 << 39))
try:
    slot.refresh()
except MemoryError:
    print(slot.size)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"{slots.EMPTY_SLOT_BYTES}\n"


def test_another_note_can_be_read_from_one_moment_to_the_next(fd):
    """Whoever looks while it is written sees the earlier one, and never none: a time limit without its pixels."""
    slot = slot_for(fd, record_of(note="one"))
    slot.announce(4)
    image = slot.begin(record_of(note="one"), slots.NO_METADATA)
    image.flags[1] = 1
    for note in ("two, which is longer", None, "three"):
        before = os.pread(fd, 16, 0)
        earlier = slot.image().record
        image = slot.annotate(image, note)
        assert slot.image().record == image.record == msgspec.structs.replace(earlier, note=note)
        assert bytes(image.flags) == b"\0\1\0"
        now = os.pread(fd, 16, 0)
        os.pwrite(fd, before, 0)  # as it was until the last moment
        assert slot.image().record == earlier
        assert slots.peek(fd).megapixels > 0
        os.pwrite(fd, now, 0)
