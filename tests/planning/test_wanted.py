"""Which keys are images: the same as in a folder that is walked."""

import pytest

from batchgray.planning.wanted import choosing


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("a/b.JPG", None),
        ("a/b.png", None),
        ("a/b.txt", ".txt"),
        ("a/b", "no suffix"),
        (".a/b.jpg", "hidden"),
        ("a/.b.jpg", "hidden"),
        ("raw/b.jpg", "left out by --include or --exclude"),
        ("a/raw/c/b.jpg", "left out by --include or --exclude"),
        ("x/y/b.jpg", "left out by --include or --exclude"),
    ],
)
def test_what_is_left_out(key, kind):
    assert choosing((), ("raw", "x/y"))(key) == kind


def test_what_is_included():
    kind_of = choosing(("*.jpg",), ())
    assert kind_of("a/b.jpg") is None
    assert kind_of("a/b.png") == "left out by --include or --exclude"


def test_it_is_what_discovery_finds(tmp_path):
    from batchgray.planning.discovery import Discovery
    from batchgray.storage.folder import FolderPlace

    for name in ("a.jpg", "b/c.png", "b/raw/d.jpg", ".e/f.jpg", "g.txt", "b/h.tif", "raw.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"x")
    include, exclude = ("b/*",), ("raw",)
    walked = {each.source for each in Discovery(tmp_path / "out", include, exclude).find([tmp_path])}
    place = FolderPlace(tmp_path)
    kind_of = choosing(include, exclude)
    assert {entry.key for entry in place.list() if kind_of(entry.key) is None} == walked
    place.close()
