"""Inputs that are not there now: what can be known of them for sure, and what earlier runs had."""

import errno
import os

import pytest

from batchgray.manifest.records import Image, Manifest
from batchgray.options import PixelOptions
from batchgray.planning import gone


def image(name, **fields):
    return Image(root=0, source=f"{name}.png", output=f"{name}.jpg", **{"size": 5, "mtime_ns": 7, **fields})


def earlier(root, *images):
    settings = {"run_id": "default", "options": PixelOptions(), "max_pixels": 9, "output_root": "."}
    return gone.EarlierInputs(Manifest(**settings, input_roots=[str(root)], images=list(images)))


def test_an_input_is_known_by_its_size_and_time(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"12345")
    os.utime(path, ns=(1, 7))
    assert gone.stat_input(str(path), image("a")) == image("a").version
    path.unlink()
    assert gone.stat_input(str(path), image("a")) is None


def test_an_input_that_could_never_be_looked_at_is_as_ever_while_it_has_a_name(tmp_path):
    path, never = tmp_path / "a.png", image("a", size=0, mtime_ns=0)
    path.symlink_to("nowhere")
    assert gone.stat_input(str(path), never) == gone.NEVER_SEEN
    assert gone.stat_input(str(path), image("a")) is None
    path.unlink()
    assert gone.stat_input(str(path), never) is None


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
    assert gone.is_below("/a/b/c.png", {"/a/b"})
    assert gone.is_below("/a/b", {"/a/b"})
    assert gone.is_below("/a", {"/"})
    assert not gone.is_below("/a/bc", {"/a/b"})
    assert not gone.is_below("/a", {"/a/b"})


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
    assert not gone.EarlierInputs(None).had("/")
