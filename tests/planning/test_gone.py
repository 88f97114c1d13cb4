"""Inputs that are not there now: what is known for sure, and what is removed when nobody waits for them any more."""

import errno
import os
from pathlib import Path

import pytest

from batchgray import errors
from batchgray.manifest.records import Image, Manifest
from batchgray.options import PixelOptions
from batchgray.planning import gone
from batchgray.storage import integrity
from batchgray.storage.durable import Folder


def image(name, **fields):
    return Image(root=0, source=f"{name}.png", output=f"{name}.jpg", **{"size": 5, "mtime_ns": 7, **fields})


def earlier(root, *images):
    settings = {"run_id": "default", "options": PixelOptions(), "max_pixels": 9, "output_root": "."}
    return gone.Earlier(Manifest(**settings, input_roots=[str(root)], images=list(images)))


# what is there


def test_an_input_is_known_by_its_size_and_time(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"12345")
    os.utime(path, ns=(1, 7))
    assert gone.look(str(path), image("a")) == image("a").identity
    path.unlink()
    assert gone.look(str(path), image("a")) is None


def test_an_input_that_could_never_be_looked_at_is_as_ever_while_it_has_a_name(tmp_path):
    path, never = tmp_path / "a.png", image("a", size=0, mtime_ns=0)
    path.symlink_to("nowhere")
    assert gone.look(str(path), never) == gone.NEVER_SEEN
    assert gone.look(str(path), image("a")) is None
    path.unlink()
    assert gone.look(str(path), never) is None


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOTCONN])
def test_what_cannot_be_looked_at_is_not_known_to_be_absent(tmp_path, monkeypatch, error):
    (tmp_path / "file").touch()
    assert gone.is_absent(str(tmp_path / "nothing"))
    assert gone.is_absent(str(tmp_path / "file" / "below"))
    assert not gone.is_absent(str(tmp_path / "file"))

    def refuse(path):
        raise OSError(error, os.strerror(error), path)

    monkeypatch.setattr(os, "lstat", refuse)
    assert not gone.is_absent(str(tmp_path / "nothing"))


def test_an_input_names_itself_and_all_below_it():
    assert gone.is_named("/a/b/c.png", {"/a/b"})
    assert gone.is_named("/a/b", {"/a/b"})
    assert gone.is_named("/a", {"/"})
    assert not gone.is_named("/a/bc", {"/a/b"})
    assert not gone.is_named("/a", {"/a/b"})


def test_what_earlier_runs_had_is_counted_below_any_folder(tmp_path):
    never, refused = image("d", size=0, mtime_ns=0), Image(root=0, source="e/", output="", size=0, mtime_ns=0)
    known = earlier(tmp_path, image("a"), image("sub/b"), image("sub/c"), never, refused)
    assert [known.had(str(tmp_path / name)) for name in ("", "a.png", "sub", "d.png", "e", "su")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    assert (known.count(str(tmp_path)), known.count(str(tmp_path / "sub"))) == ("3 images", "2 images")
    assert not gone.Earlier(None).had("/")


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO])
def test_an_input_folder_that_cannot_be_read_is_refused_known_or_not(tmp_path, monkeypatch, error):
    def refuse(path):
        raise OSError(error, os.strerror(error), str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    for prune in (False, True):
        with pytest.raises(errors.UnreadableInput, match=os.strerror(error)):
            gone.walkable([tmp_path], earlier(tmp_path / "other"), prune)
    known = earlier(tmp_path, image("a"))
    with pytest.raises(errors.InputGone, match=rf"can't be reached \({os.strerror(error)}\)"):
        gone.walkable([tmp_path], known, prune=False)
    assert gone.walkable([tmp_path], known, prune=True) == []


# what is removed


class Outputs:
    """Outputs with images that know them."""

    def __init__(self, out: Path) -> None:
        self.out, self.images = out, []

    def make(self, name: str) -> Path:
        path = self.out / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        self.images.append(image(name, checksum=integrity.checksum([name.encode()]), output_size=len(name)))
        return path

    def remove(self, images) -> gone.Pruned:
        with Folder.at(self.out) as out:
            return gone.remove_outputs(out, images)


@pytest.fixture
def outputs(tmp_path):
    return Outputs(tmp_path / "out")


def test_what_is_as_it_was_made_is_removed_with_the_folders_that_it_leaves_empty(outputs):
    for name in ("a", "b/c/d", "b/c/e", "f/g"):
        outputs.make(name)
    (outputs.out / "f" / "mine").touch()
    assert outputs.remove(outputs.images) == (4, [], [])
    assert sorted(path.name for path in outputs.out.rglob("*")) == ["f", "mine"]


@pytest.mark.parametrize("how", ["another file", "a link to the same", "in a folder that is a link", "a folder"])
def test_what_is_not_as_it_was_made_stays(outputs, tmp_path, how):
    path = outputs.make("a/b")
    if how == "another file":
        path.write_bytes(b"x/y")
    elif how == "a link to the same":
        path.rename(tmp_path / "target")
        path.symlink_to(tmp_path / "target")
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.parent.rename(tmp_path / "target")
        (outputs.out / "a").symlink_to(tmp_path / "target")
    assert outputs.remove(outputs.images) == (0, ["a/b.jpg"], [])
    assert os.path.lexists(path)
    assert how == "a folder" or path.exists()


def test_what_is_not_there_or_was_never_made_is_nothing_to_remove(outputs):
    outputs.make("a").unlink()
    (outputs.out / "b.jpg").write_bytes(b"mine")
    assert outputs.remove([*outputs.images, image("b")]) == (0, [], [])
    assert (outputs.out / "b.jpg").exists()


def test_what_cannot_be_removed_is_told_and_the_rest_goes(outputs, monkeypatch):
    stuck, other = outputs.make("a"), outputs.make("b")
    remove = Folder.remove

    def refuse(folder, name):
        if name == stuck.name:
            raise PermissionError(errno.EACCES, "Permission denied", name)
        remove(folder, name)

    monkeypatch.setattr(Folder, "remove", refuse)
    pruned = outputs.remove(outputs.images)
    assert (pruned.removed, pruned.altered) == (1, [])
    assert [(each.output, reason) for each, reason in pruned.stuck] == [("a.jpg", "Permission denied")]
    assert stuck.exists()
    assert not other.exists()
