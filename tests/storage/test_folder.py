"""A place that is a folder: links, what can't be a key in a file system, and what is durable when.

What it has in common with every place is in `test_places`.
"""

import contextlib
import errno
import inspect
import io
import itertools
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batchgray.storage import durable
from batchgray.storage.base import BadKey, Changed, Full, Missing, NoPlace, Put
from batchgray.storage.folder import FolderPlace


@pytest.fixture
def path(tmp_path):
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


@pytest.fixture
def place(path):
    place = FolderPlace(path)
    yield place
    place.close()


@pytest.mark.parametrize("kind", ["nothing", "a file"])
def test_what_is_no_folder_is_no_place(tmp_path, kind):
    if kind == "a file":
        (tmp_path / "it").touch()
    with pytest.raises(NoPlace):
        FolderPlace(tmp_path / "it")


def test_a_folder_that_went_is_no_place_any_more(path, place):
    path.rmdir()
    for attempt in (
        lambda: place.put("a", b"x"),
        lambda: place.put_absent("a/b", b"x"),
        lambda: place.get("a"),
        lambda: place.stat("a"),
    ):
        with pytest.raises(NoPlace):
            attempt()
    assert not path.exists()


@pytest.mark.parametrize("key", ["file/a", "folder", "n" * 256, ".batchgray-put-0"])
def test_what_a_file_system_cannot_have_is_a_bad_key(path, place, key):
    (path / "file").write_bytes(b"theirs")
    (path / "folder").mkdir()
    for put in place.put, place.put_absent:
        with pytest.raises(BadKey) as caught:
            put(key, b"x")
        assert caught.value.key == key
    assert [entry.key for entry in place.list()] == ["file"]
    assert sorted(os.listdir(path)) == ["file", "folder"]


def test_nothing_is_read_written_or_removed_outside(path, place, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a").write_bytes(b"theirs")
    (path / "way").symlink_to(tmp_path / "outside")
    for attempt in (
        lambda: place.put("way/a", b"x"),
        lambda: place.put_absent("way/b", b"x"),
        lambda: place.get("way/a"),
        lambda: place.stat("way/a"),
        lambda: place.delete("way/a"),
    ):
        with pytest.raises(BadKey):
            attempt()
    assert list(place.list()) == []
    assert os.listdir(tmp_path / "outside") == ["a"]
    assert (tmp_path / "outside" / "a").read_bytes() == b"theirs"


def test_a_link_that_stays_inside_leads_to_the_same_keys(path, place):
    place.put("a/b", b"x")
    (path / "way").symlink_to("a")
    assert place.get("way/b") == b"x"
    assert [entry.key for entry in place.list()] == ["a/b"]


def test_a_link_under_a_key_is_never_followed(path, place, tmp_path):
    (tmp_path / "theirs").write_bytes(b"theirs")
    (path / "a").symlink_to(tmp_path / "theirs")
    with pytest.raises(BadKey):
        place.get("a")
    assert place.put_absent("a", b"theirs") is Put.OTHER
    place.put("a", b"ours")
    assert not (path / "a").is_symlink()
    assert (tmp_path / "theirs").read_bytes() == b"theirs"


@pytest.mark.parametrize("kind", ["a pipe", "a folder"])
def test_what_is_no_file_keeps_nobody_waiting_and_is_not_listed(path, place, kind):
    os.mkfifo(path / "a") if kind == "a pipe" else (path / "a").mkdir()
    assert list(place.list()) == []
    place.delete("a") if kind == "a folder" else None
    assert (path / "a").exists()


def test_a_tree_may_be_deeper_than_any_stack(path, place):
    key = "d/" * 150 + "f"
    (path / key).parent.mkdir(parents=True)
    (path / key).write_bytes(b"x")
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        assert [entry.key for entry in place.list()] == [key]
        assert place.get(key) == b"x"
    finally:
        sys.setrecursionlimit(usual)


@pytest.mark.parametrize("how", ["put", "put_absent"])
def test_a_full_disk_leaves_nothing(path, place, monkeypatch, how):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(durable, "sync", full)
    with pytest.raises(Full):
        getattr(place, how)("a", b"x")
    assert os.listdir(path) == []


@pytest.mark.parametrize("how", ["put", "put_absent"])
def test_the_file_is_durable_before_its_name_and_the_name_before_it_returns(path, place, monkeypatch, how):
    order, sync = [], durable.sync
    replace, rename_new = durable.Folder.replace, durable.Folder.rename_new
    monkeypatch.setattr(durable, "sync", lambda fd: (order.append(f"sync {kind_of(fd)}"), sync(fd)))
    monkeypatch.setattr(durable.Folder, "replace", lambda *given: (order.append("rename"), replace(*given)))
    monkeypatch.setattr(durable.Folder, "rename_new", lambda *given: (order.append("rename"), rename_new(*given)))
    getattr(place, how)("a", b"x")
    assert order == ["sync file", "rename", "sync folder"]


def kind_of(fd):
    return "folder" if Path(f"/proc/self/fd/{fd}").is_dir() else "file"


def test_what_another_has_created_is_durable_too_before_it_counts(place, monkeypatch):
    place.put("a", b"x")
    synced, sync = [], durable.sync
    monkeypatch.setattr(durable, "sync", lambda fd: (synced.append(kind_of(fd)), sync(fd)))
    assert place.put_absent("a", b"x") is Put.SAME
    assert synced[-1] == "folder"


class Watched(io.BytesIO):
    """Says what is there while it is read."""

    def __init__(self, path, place, seen):
        super().__init__(b"content")
        self._look = lambda: seen.append((len(os.listdir(path)), [entry.key for entry in place.list()]))

    def read(self, *given):
        self._look()
        return super().read(*given)


def test_what_is_on_its_way_is_not_listed(path, place):
    seen = []
    place.put("a", Watched(path, place, seen))
    place.put_absent("b", Watched(path, place, seen))
    assert seen == [(1, []), (1, []), (2, ["a"]), (2, ["a"])]


def test_a_name_that_is_not_utf_8_is_a_name(place):
    place.put("caf\udce9/\udcff.jpg", b"x")
    assert [entry.key for entry in place.list("caf\udce9/")] == ["caf\udce9/\udcff.jpg"]
    assert place.get("caf\udce9/\udcff.jpg") == b"x"


def test_a_file_that_is_written_to_while_it_is_read_has_changed(path, place, monkeypatch):
    """What was read may be half of this and half of that."""
    place.put("a", b"before")
    fstat = os.fstat

    def written_between(fd):
        if os.lseek(fd, 0, os.SEEK_CUR) > 0:  # it was read
            (path / "a").write_bytes(b"after it")
        return fstat(fd)

    monkeypatch.setattr("batchgray.storage.folder.os.fstat", written_between)
    with pytest.raises(Changed):
        place.get("a")


def test_it_may_be_closed_again(place):
    place.close()
    place.close()


def test_several_threads_list_at_once(tmp_path):
    """Each through a descriptor of its own: where two share one, each gets a part of the names, or some twice."""
    for number in range(3000):
        (tmp_path / f"{number:04}").touch()
    with contextlib.closing(FolderPlace(tmp_path)) as place, ThreadPoolExecutor(8) as pool:
        listed = list(pool.map(lambda _: [entry.key for entry in place.list()], range(40)))
    assert all(keys == [f"{number:04}" for number in range(3000)] for keys in listed)


def test_nothing_that_is_asked_for_leaves_a_descriptor_open(place):
    """A job lists and reads all day."""
    for key in "a/b/c", "a/d", "e", "f/g", "h":  # folders come between files
        place.put(key, b"1")
    before = os.listdir("/proc/self/fd")
    for entry in [*place.list(), *place.list("a/"), *place.list(after="e"), *itertools.islice(place.list(), 2)]:
        place.get(entry.key)
        place.stat(entry.key)
        assert place.put_absent(entry.key, b"1") is Put.SAME
    with pytest.raises(Missing):
        place.get("a/x")
    place.delete("a/d")
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_folder_that_is_only_read_follows_links_to_files(tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "elsewhere.jpg").write_bytes(b"pixels")
    (inside / "folder").mkdir()
    for name, target in {"a.jpg": "../elsewhere.jpg", "b.jpg": "nowhere", "c": "folder", "d": "d"}.items():
        (inside / name).symlink_to(target)
    with contextlib.closing(FolderPlace(inside, follow_links=True)) as place:
        (entry,) = place.list()
        assert (entry.key, entry.size, place.stat("a.jpg")) == ("a.jpg", 6, entry)
        assert place.get("a.jpg", entry.version) == b"pixels"
    with contextlib.closing(FolderPlace(inside)) as place:
        assert list(place.list()) == []


def test_of_a_folder_that_is_listed_only_the_names_are_held(tmp_path):
    """What is done with each name may take hours: a file is looked at in its turn."""
    for name in ("a", "b", "c/d", "e"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    with contextlib.closing(FolderPlace(tmp_path)) as place:
        listed = place.list()
        assert next(listed).key == "a"
        (tmp_path / "b").unlink()
        (tmp_path / "e").write_bytes(b"larger")
        assert [(entry.key, entry.size) for entry in listed] == [("c/d", 1), ("e", 6)]


def test_folders_without_a_file_are_removed_below_a_name_and_nowhere_else(tmp_path):
    place = FolderPlace(tmp_path)
    for key in ("r/a/b/c", "r/d/e", "r/f", "other/g/h"):
        place.put(key, b"")
    for key in ("r/a/b/c", "r/d/e", "other/g/h"):
        place.delete(key)
    place.put("r/d/i", b"")
    place.remove_empty("r")
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"r", "r/d", "r/d/i", "r/f", "other", "other/g"}
    place.close()


def test_a_file_is_given_a_time_and_what_is_linked_is_not(path, place, tmp_path):
    place.put("a/b.jpg", b"x")
    assert place.set_time("a/b.jpg", 1_500_000_000_123_456_789)
    assert place.stat("a/b.jpg").version.mtime_ns == 1_500_000_000_123_456_789
    (tmp_path / "elsewhere").touch()
    before = (tmp_path / "elsewhere").stat().st_mtime_ns
    (path / "link").symlink_to("../elsewhere")
    with pytest.raises(BadKey):
        place.set_time("link", 5)
    assert (tmp_path / "elsewhere").stat().st_mtime_ns == before


def removing_the_folder(times, monkeypatch):
    """What another process does that tidies up, just before a file would get its name."""
    rename_new, left = durable.Folder.rename_new, itertools.repeat(None, times)

    def renamed(self, name, folder, target):
        if next(left, "over") is None:
            (folder.path).rmdir()
        return rename_new(self, name, folder, target)

    monkeypatch.setattr(durable.Folder, "rename_new", renamed)


def test_a_folder_that_is_removed_as_it_is_empty_is_made_again(path, place, monkeypatch):
    removing_the_folder(2, monkeypatch)
    assert place.put_absent("log/1", b"one") is Put.CREATED
    assert place.get("log/1") == b"one"
    assert [each.name for each in path.iterdir()] == ["log"]


def test_one_that_is_removed_again_and_again_is_given_up(path, place, monkeypatch):
    removing_the_folder(100, monkeypatch)
    with pytest.raises(Missing):
        place.put_absent("log/1", b"one")
    assert list(path.iterdir()) == []
