"""Partial JPEGs are beside where the outputs will be, and never drawn over, or removed with, another's file."""

import os
from pathlib import Path

import msgspec
import pytest
from begun import TASK, VERSION, making_folders

from batchgray.checkpoints import preview, sidecar
from batchgray.records import Task
from batchgray.storage import durable
from batchgray.storage.base import BadKey


@pytest.fixture
def folders():
    with making_folders() as folders:
        yield folders


def test_the_partial_jpeg_is_beside_the_output():
    assert preview.name_of("a/b.jpg") == "a/b.partial.jpg"
    assert preview.name_of("a.b/c.png.jpg") == "a.b/c.png.partial.jpg"
    assert preview.name_of("c.png") == "c.partial.jpg"


def test_only_unfinished_rows_are_blackened(folders):
    image = folders.begun((1, 0, 1))
    kept = bytes(image.rows(0, 1)), bytes(image.rows(2, 3))
    preview.blacken_unfinished(image)
    assert (bytes(image.rows(0, 1)), bytes(image.rows(2, 3))) == kept
    assert bytes(image.rows(1, 2)) == bytes(40)


def test_a_partial_jpeg_of_our_own_is_replaced_and_goes_with_the_sidecar(folders):
    for content in b"one", b"two":
        header = folders.write(folders.begun())
        assert header.owns_preview
        folders.draw(header, content, b"!")
        assert folders.preview.read_bytes().startswith(content + b"!\nbatchgray: partial image of 0000")
    folders.discard()
    assert not folders.preview.exists()
    assert folders.flight.names() == []


def test_a_partial_jpeg_makes_its_folder(folders):
    (folders.out.path / "a").rmdir()
    folders.draw(folders.write(folders.begun()), b"jpeg")
    assert folders.preview.read_bytes().startswith(b"jpeg\n")


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_a_name_that_is_somebody_elses_is_never_claimed(folders, kind):
    if kind == "file":
        folders.preview.write_bytes(b"theirs")
    else:
        folders.preview.symlink_to("nowhere")
    for _ in range(2):
        assert not folders.write(folders.begun()).owns_preview
    folders.discard()
    assert os.path.lexists(folders.preview)
    assert not folders.sidecar.exists()


@pytest.mark.parametrize("change", ["another file", "edited", "cut", "a link", "a folder"])
def test_a_claimed_name_that_somebody_else_took_is_theirs(folders, change):
    """The claim is older than their file; and what they made of the partial JPEG is theirs, too."""
    header = folders.write(folders.begun())
    folders.draw(header, b"jpeg")
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
    folders.draw(header, b"again")
    folders.discard()
    assert os.path.samestat(os.lstat(folders.preview), before)
    assert folders.flight.names() == []


def test_a_partial_jpeg_without_its_sidecar_is_claimed_again(folders):
    """The tree was copied without what was in flight."""
    folders.draw(folders.write(folders.begun()), b"jpeg")
    folders.sidecar.unlink()
    assert folders.write(folders.begun()).owns_preview


def test_a_name_that_is_another_images_output_is_never_claimed(folders):
    task = Task(index=3, source=TASK.source, output=TASK.output, version=VERSION, preview=False)
    assert not folders.write(folders.begun(), task).owns_preview


def test_a_claim_to_a_name_that_became_another_images_output_is_void(folders):
    folders.write(folders.begun())
    task = msgspec.structs.replace(TASK, preview=False)
    assert not folders.checkpoints().find(task).owns_preview
    assert not folders.write(folders.begun(), task).owns_preview


def test_discarding_only_the_partial_jpeg_keeps_the_claim(folders):
    header = folders.write(folders.begun())
    folders.draw(header, b"jpeg")
    folders.checkpoints().discard_preview(TASK.output)
    assert not folders.preview.exists()
    assert sidecar.read_header(folders.flight, folders.sidecar.name) == header


def test_discarding_what_was_never_begun_is_no_error(folders):
    folders.preview.write_bytes(b"theirs")
    folders.discard()
    folders.discard("no/such/folder.jpg")
    assert folders.preview.read_bytes() == b"theirs"


def test_a_partial_jpeg_is_not_drawn_through_a_link_that_leads_outside(folders, tmp_path):
    """Somebody's own b.partial.jpg may be there, and would be replaced."""
    (tmp_path / "b.partial.jpg").write_bytes(b"theirs")
    header = folders.write(folders.begun())
    (folders.out.path / "a").rmdir()
    (folders.out.path / "a").symlink_to(tmp_path)
    with pytest.raises(BadKey):
        folders.draw(header, b"jpeg")
    folders.discard()
    assert os.listdir(tmp_path) == ["b.partial.jpg"]
    assert (tmp_path / "b.partial.jpg").read_bytes() == b"theirs"


def test_the_sidecar_goes_only_when_the_partial_jpegs_end_is_durable(folders, monkeypatch):
    """Else a power cut could leave a partial JPEG that nothing claims, and nobody would clean it up."""
    header = folders.write(folders.begun())
    folders.draw(header, b"jpeg")
    order = []
    remove, sync = durable.Folder.remove, durable.Folder.sync
    monkeypatch.setattr(
        durable.Folder, "remove", lambda self, name: (order.append(f"remove {name}"), remove(self, name))
    )
    monkeypatch.setattr(durable.Folder, "sync", lambda self: (order.append(f"sync {self.path.name}"), sync(self)))
    folders.discard()
    assert order[:3] == ["remove b.partial.jpg", "sync a", f"remove {folders.sidecar.name}"]


def test_a_partial_jpeg_is_drawn_only_when_the_sidecar_that_claims_it_is_durable(folders, monkeypatch):
    order = []
    real = durable.sync
    monkeypatch.setattr(
        durable, "sync", lambda fd: (order.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name), real(fd))
    )
    folders.write(folders.begun())
    assert order == [folders.sidecar.with_suffix(".tmp").name, "flight"]
