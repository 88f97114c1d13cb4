"""What `--prune` removes: what is as it was made, and the folders that this leaves empty."""

import errno
import os
from pathlib import Path

import pytest

from batchgray.manifest.records import Image
from batchgray.planning import pruning
from batchgray.storage import integrity
from batchgray.storage.durable import Folder


def image(name, **fields):
    return Image(root=0, source=f"{name}.png", output=f"{name}.jpg", size=5, mtime_ns=7, **fields)


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

    def remove(self, images) -> pruning.Pruned:
        with Folder.at(self.out) as out:
            return pruning.remove_outputs(out, images)


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
