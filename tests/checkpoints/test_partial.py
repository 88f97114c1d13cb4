"""Finished tiles come back exactly, or not at all; partial JPEGs are never drawn over somebody else's file."""

import errno
import os
import shutil
from pathlib import Path

import msgspec
import pytest
from begun import IDENTITY, OPTIONS, TASK, making_folders
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchgray import tiles
from batchgray.checkpoints import partial
from batchgray.records import SourceIdentity, Task
from batchgray.storage import durable, sealing
from batchgray.storage.guards import LeadsOutside


@pytest.fixture
def folders():
    with making_folders() as folders:
        yield folders


@settings(deadline=None, max_examples=60)
@given(
    flags=st.lists(st.sampled_from([0, 1]), min_size=1, max_size=9),
    width=st.integers(1, 40),
    short=st.integers(0, 7),
    exif=st.binary(max_size=300),
    colour=st.booleans(),
)
def test_any_set_of_finished_tiles_comes_back_exactly(flags, width, short, exif, colour):
    with making_folders() as folders:
        image = folders.begun(flags, exif, width, 8 * len(flags) - short, colour)
        header = folders.write(image)
        assert header.tiles_done == sum(flags)
        assert partial.matching_header(folders.flight, TASK, OPTIONS) == header
        restored, slot = folders.restored(image.record)
        assert restored.record == image.record
        assert bytes(restored.flags) == bytes(flags) == bytes(slot.image().flags)
        assert bytes(restored.exif) == exif
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
        with pytest.raises(OSError, match="space"):
            folders.write(folders.begun((1, 1, 0)))
    assert folders.sidecar.read_bytes() == before
    assert folders.flight.names() == [folders.sidecar.name]


# damage


def damaged_sidecar_is_refused(folders, record, content):
    folders.sidecar.write_bytes(content)
    header = partial.matching_header(folders.flight, TASK, OPTIONS)
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
    folders.sidecar.write_bytes(header + b"\n" + bytes(max(0, written.record.exif_bytes + written.pixels)))
    assert partial.read_header(folders.flight, folders.sidecar.name) is None
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
        {"note": "n" * 2048},
    ],
)
def test_a_header_that_batchgray_would_never_write_is_not_believed(folders, changes):
    """Its seal is no signature: anybody can make one, and have a worker lay out what it likes."""
    written = folders.write(folders.begun())
    header = msgspec.structs.replace(written, tiles=[], record=msgspec.structs.replace(written.record, **changes))
    line = sealing.seal(msgspec.json.encode(header)) + b"\n"
    folders.sidecar.write_bytes(line + bytes(header.record.exif_bytes))
    assert partial.read_header(folders.flight, folders.sidecar.name) is None


@pytest.mark.parametrize("output", ["../b.jpg", "/etc/b.jpg", "a/../../b.jpg", ""])
def test_a_header_that_names_an_output_elsewhere_is_not_believed(folders, output):
    """Its partial JPEG would be removed there."""
    header = msgspec.structs.replace(folders.write(folders.begun()), output=output, tiles=[])
    folders.sidecar.write_bytes(sealing.seal(msgspec.json.encode(header)) + b"\nEXIF")
    assert partial.read_header(folders.flight, folders.sidecar.name) is None


def test_a_header_of_another_version_is_not_believed(folders):
    """What its fields mean is not known."""
    header = msgspec.structs.replace(folders.write(folders.begun()), version=2, tiles=[])
    folders.sidecar.write_bytes(sealing.seal(msgspec.json.encode(header)) + b"\nEXIF")
    assert partial.read_header(folders.flight, folders.sidecar.name) is None


def test_where_there_is_no_sidecar_nothing_is_restored(folders):
    assert partial.matching_header(folders.flight, TASK, OPTIONS) is None
    assert folders.restored(folders.begun().record)[0] is None


# identity


def test_tiles_of_another_version_of_the_source_do_not_match(folders):
    folders.write(folders.begun())
    for identity in SourceIdentity(1235, 5678), SourceIdentity(1234, 5679):
        task = Task(index=3, source=TASK.source, output=TASK.output, identity=identity)
        assert partial.matching_header(folders.flight, task, OPTIONS) is None


@pytest.mark.parametrize(
    "other",
    [
        *({"method": "bt709"}, {"format": "png"}, {"quality": 76}, {"tile_rows": 16}, {"metadata": "strip"}),
        {"background": "#ffffff"},
    ],
)
def test_tiles_of_other_pixel_options_do_not_match(folders, other):
    folders.write(folders.begun())
    assert partial.matching_header(folders.flight, TASK, msgspec.structs.replace(OPTIONS, **other)) is None


def test_tiles_of_another_output_do_not_match(folders):
    folders.write(folders.begun())
    task = Task(index=3, source=TASK.source, output="a/c.jpg", identity=IDENTITY)
    shutil.copy(folders.sidecar, folders.flight.path / partial.sidecar_name(task.output))
    assert partial.matching_header(folders.flight, task, OPTIONS) is None


# the partial JPEG


def test_the_partial_jpeg_is_beside_the_output():
    assert partial.preview_name("a/b.jpg") == "a/b.partial.jpg"
    assert partial.preview_name("a.b/c.png.jpg") == "a.b/c.png.partial.jpg"
    assert partial.preview_name("c.png") == "c.partial.jpg"


def test_only_unfinished_rows_are_blackened(folders):
    image = folders.begun((1, 0, 1))
    kept = bytes(image.rows(0, 1)), bytes(image.rows(2, 3))
    partial.blacken_unfinished(image)
    assert (bytes(image.rows(0, 1)), bytes(image.rows(2, 3))) == kept
    assert bytes(image.rows(1, 2)) == bytes(40)


def test_a_partial_jpeg_of_our_own_is_replaced_and_goes_with_the_sidecar(folders):
    for content in b"one", b"two":
        header = folders.write(folders.begun())
        assert header.owns_preview
        partial.write_preview(folders.flight, folders.out, header, [content, b"!"])
        assert folders.preview.read_bytes().startswith(content + b"!\nbatchgray: partial image of 0000")
    partial.discard(folders.flight, folders.out, TASK.output)
    assert not folders.preview.exists()
    assert folders.flight.names() == []


def test_a_partial_jpeg_makes_its_folder(folders):
    (folders.out.path / "a").rmdir()
    partial.write_preview(folders.flight, folders.out, folders.write(folders.begun()), [b"jpeg"])
    assert folders.preview.read_bytes().startswith(b"jpeg\n")


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_a_name_that_is_somebody_elses_is_never_claimed(folders, kind):
    if kind == "file":
        folders.preview.write_bytes(b"theirs")
    else:
        folders.preview.symlink_to("nowhere")
    for _ in range(2):
        assert not folders.write(folders.begun()).owns_preview
    partial.discard(folders.flight, folders.out, TASK.output)
    assert os.path.lexists(folders.preview)
    assert not folders.sidecar.exists()


@pytest.mark.parametrize("change", ["another file", "edited", "cut", "a link", "a folder"])
def test_a_claimed_name_that_somebody_else_took_is_theirs(folders, change):
    """The claim is older than their file; and what they made of the partial JPEG is theirs, too."""
    header = folders.write(folders.begun())
    partial.write_preview(folders.flight, folders.out, header, [b"jpeg"])
    drawn = folders.preview.read_bytes()
    folders.preview.unlink()
    if change == "a link":
        (folders.preview.parent / "mine").write_bytes(drawn)
        folders.preview.symlink_to("mine")
    elif change == "a folder":
        folders.preview.mkdir()
    else:
        folders.preview.write_bytes({"another file": b"mine", "edited": b"!" + drawn, "cut": drawn[1:]}[change])
    before = os.lstat(folders.preview)
    partial.write_preview(folders.flight, folders.out, header, [b"again"])
    partial.discard(folders.flight, folders.out, TASK.output)
    assert os.path.samestat(os.lstat(folders.preview), before)
    assert folders.flight.names() == []


def test_a_partial_jpeg_without_its_sidecar_is_claimed_again(folders):
    """The tree was copied without what was in flight."""
    partial.write_preview(folders.flight, folders.out, folders.write(folders.begun()), [b"jpeg"])
    folders.sidecar.unlink()
    assert folders.write(folders.begun()).owns_preview


def test_a_name_that_is_another_images_output_is_never_claimed(folders):
    task = Task(index=3, source=TASK.source, output=TASK.output, identity=IDENTITY, preview=False)
    assert not folders.write(folders.begun(), task).owns_preview


def test_a_claim_to_a_name_that_became_another_images_output_is_void(folders):
    folders.write(folders.begun())
    task = msgspec.structs.replace(TASK, preview=False)
    assert not partial.matching_header(folders.flight, task, OPTIONS).owns_preview
    assert not folders.write(folders.begun(), task).owns_preview


def test_discarding_only_the_partial_jpeg_keeps_the_claim(folders):
    header = folders.write(folders.begun())
    partial.write_preview(folders.flight, folders.out, header, [b"jpeg"])
    with folders.out.below("a") as folder:
        partial.discard_preview(folders.flight, folder, TASK.output)
    assert not folders.preview.exists()
    assert partial.read_header(folders.flight, folders.sidecar.name) == header


def test_discarding_what_was_never_begun_is_no_error(folders):
    folders.preview.write_bytes(b"theirs")
    partial.discard(folders.flight, folders.out, TASK.output)
    partial.discard(folders.flight, folders.out, "no/such/folder.jpg")
    assert folders.preview.read_bytes() == b"theirs"


def test_a_partial_jpeg_is_not_drawn_through_a_link_that_leads_outside(folders, tmp_path):
    """Somebody's own b.partial.jpg may be there, and would be replaced."""
    (tmp_path / "b.partial.jpg").write_bytes(b"theirs")
    header = folders.write(folders.begun())
    (folders.out.path / "a").rmdir()
    (folders.out.path / "a").symlink_to(tmp_path)
    with pytest.raises(LeadsOutside):
        partial.write_preview(folders.flight, folders.out, header, [b"jpeg"])
    partial.discard(folders.flight, folders.out, TASK.output)
    assert os.listdir(tmp_path) == ["b.partial.jpg"]
    assert (tmp_path / "b.partial.jpg").read_bytes() == b"theirs"


def test_the_sidecar_goes_only_when_the_partial_jpegs_end_is_durable(folders, monkeypatch):
    """Else a power cut could leave a partial JPEG that nothing claims, and nobody would clean it up."""
    header = folders.write(folders.begun())
    partial.write_preview(folders.flight, folders.out, header, [b"jpeg"])
    order = []
    remove, sync = durable.Folder.remove, durable.Folder.sync
    monkeypatch.setattr(
        durable.Folder, "remove", lambda self, name: (order.append(f"remove {name}"), remove(self, name))
    )
    monkeypatch.setattr(durable.Folder, "sync", lambda self: (order.append(f"sync {self.path.name}"), sync(self)))
    partial.discard(folders.flight, folders.out, TASK.output)
    assert order[:3] == ["remove b.partial.jpg", "sync a", f"remove {folders.sidecar.name}"]


def test_a_partial_jpeg_is_drawn_only_when_the_sidecar_that_claims_it_is_durable(folders, monkeypatch):
    order = []
    real = durable.sync
    monkeypatch.setattr(
        durable, "sync", lambda fd: (order.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name), real(fd))
    )
    folders.write(folders.begun())
    assert order == [folders.sidecar.with_suffix(".tmp").name, "flight"]
