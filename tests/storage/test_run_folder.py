"""The folder of what a run has in flight: made, held by one, known by its mark, and removed without a trace."""

import contextlib
from pathlib import Path

import pytest

from batchgray import errors
from batchgray.storage import durable, run_folder


class Lock:
    """Says whether it is held."""

    def __init__(self):
        self.held = True

    def discard(self):
        self.held = False


@contextlib.contextmanager
def owning(_inner):
    yield Lock()


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def making(out, run_id="default", owning=owning):
    return run_folder.holding(out, run_id, owning, make=True)


def left(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_it_is_made_and_removed_without_a_trace(out):
    with making(out) as held:
        assert left(out) == [".batchgray", ".batchgray/default"]
        held.mark(b"/jobs/m.json")
        assert held.names() == []
        held.remove()
    assert left(out) == []


def test_its_end_is_durable(out, monkeypatch):
    synced = []
    with making(out) as held:
        monkeypatch.setattr(durable, "sync", lambda fd: synced.append(path_of(fd)))
        held.remove()
    assert synced[-1] == out


def path_of(fd):
    return Path(f"/proc/self/fd/{fd}").readlink()


def test_syncing_it_makes_it_durable_where_it_lies(out, monkeypatch):
    synced = []
    monkeypatch.setattr(durable, "sync_all", lambda fds: synced.extend(map(path_of, fds)))
    with making(out) as held:
        held.sync()
    assert set(synced) == {out, out / ".batchgray"}


@pytest.mark.parametrize("name", [".batchgray", ".batchgray/default"])
def test_a_link_in_its_place_is_refused(out, tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.LinkInTheWay), making(out):
        pass
    assert left(tmp_path / "elsewhere") == []


def test_where_nothing_is_in_flight_there_is_nothing_to_hold(out):
    with pytest.raises(FileNotFoundError), run_folder.holding(out, "default", owning):
        pass
    assert left(out) == []


def test_where_the_lock_is_refused_nothing_is_left(out):
    def refusing(_inner):
        raise errors.ManifestLocked("m.json", "another")

    with pytest.raises(errors.ManifestLocked), making(out, owning=refusing):
        pass
    assert left(out) == []


def test_the_lock_is_let_go_before_its_folder_goes(out, monkeypatch):
    """NFS keeps a file that is open under another name, and with it the folder."""
    remove_folder = durable.Folder.remove_folder

    def watched(self, name):
        assert not held.lock.held
        return remove_folder(self, name)

    with making(out) as held:
        monkeypatch.setattr(durable.Folder, "remove_folder", watched)
        held.remove()
    assert left(out) == []


def test_another_run_in_the_same_output_folder_keeps_its_own(out):
    with making(out, "other"), making(out) as held:
        held.remove()
        assert left(out) == [".batchgray", ".batchgray/other"]


def test_a_run_that_begins_when_another_ends_makes_the_folder_again(out, monkeypatch):
    """The other one has removed what was just found to be there."""
    inner, removed = durable.Folder.inner, []

    def outrun(self, name, make=False):
        found = inner(self, name, make)
        if not removed:
            removed.append(self.remove_folder(name))
        return found

    monkeypatch.setattr(durable.Folder, "inner", outrun)
    with making(out):
        assert removed == [True]
        assert left(out) == [".batchgray", ".batchgray/default"]


def test_what_is_marked_is_found_by_its_mark(out, tmp_path):
    for name, mark in [("ours", b"mine"), ("theirs", b"another"), ("no name for a run!", b"mine")]:
        (out / ".batchgray" / name).mkdir(parents=True)
        (out / ".batchgray" / name / "run.manifest").write_bytes(mark)
    (out / ".batchgray" / "planted").symlink_to("ours")
    (out / ".batchgray" / "file").touch()
    assert run_folder.run_ids_marked(out, b"mine") == ["ours"]
    assert run_folder.run_ids_marked(tmp_path / "nowhere", b"mine") == []
