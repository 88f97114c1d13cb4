"""Writes are whole or absent, on disk in the right order, and never over what is somebody else's."""

import contextlib
import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from harness import removed_afterwards

from batchgray.storage import durable


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """What is synced and renamed, in order; a folder as `folder NAME`."""
    if durable.F_FULLFSYNC is not None:
        pytest.skip("os.fsync is not what syncs here")
    seen = []

    def recorded(name, real, described):
        def call(*args, **kwargs):
            result = real(*args, **kwargs)
            seen.append(f"{name} {described(*args)}")
            return result

        monkeypatch.setattr(os, name, call)

    def opened(fd):
        found = os.fstat(fd)
        for path in [tmp_path, *tmp_path.rglob("*")]:
            if os.path.samestat(path.stat(), found):
                return f"folder {path.name}" if path.is_dir() else path.name
        return "something else"

    recorded("fsync", os.fsync, opened)
    recorded("replace", os.replace, lambda source, target: f"{source} {target}")
    return seen


@pytest.fixture(params=["renameat2", "fallback"])
def rename_new(request, monkeypatch):
    if request.param == "fallback":
        monkeypatch.setattr(durable, "_renameat2", None)
    elif durable._renameat2 is None:
        pytest.skip("this system has no renameat2")

    def rename_new(source, target):
        with durable.Folder.at(source.parent) as folder, durable.Folder.at(target.parent) as other:
            folder.rename_new(source.name, other, target.name)

    return rename_new


@pytest.fixture
def folder(tmp_path):
    with durable.Folder.at(tmp_path) as folder:
        yield folder


@contextlib.contextmanager
def a_disk_that_fills_up(monkeypatch, after):
    """os.write takes `after` bytes, then finds no space."""
    real, left = os.write, after

    def write(fd, data):
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = real(fd, data[:left])
        left -= count
        return count

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        yield


def test_saving_makes_a_file(tmp_path, folder):
    with folder.saving("file", "tmp") as file:
        file.append(b"one ")
        file.append(memoryview(b"two"))
    assert (tmp_path / "file").read_bytes() == b"one two"
    assert os.listdir(tmp_path) == ["file"]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path, folder):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with folder.saving("file", "tmp") as file:
        file.append(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_when_saving_fails_the_old_file_stays_and_nothing_else_does(tmp_path, folder):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def interrupt(file):
        file.append(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), folder.saving("file", "tmp") as file:
        interrupt(file)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_when_the_rename_fails_no_temporary_file_is_left(tmp_path, folder):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError), folder.saving("folder", "tmp") as file:
        file.append(b"data")
    assert os.listdir(tmp_path) == ["folder"]


def test_saving_takes_away_the_temporary_file_that_a_kill_left(tmp_path, folder):
    (tmp_path / "tmp").write_bytes(b"a longer rest of an earlier run")
    with folder.saving("file", "tmp") as file:
        file.append(b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_saving_syncs_the_data_then_renames_then_syncs_the_folder(tmp_path, calls, folder):
    with folder.saving("file", "tmp") as file:
        file.append(b"data")
        assert calls == []
    assert calls == ["fsync tmp", "replace tmp file", f"fsync folder {tmp_path.name}"]


def test_a_file_is_renamed_to_a_free_name(tmp_path, rename_new):
    (tmp_path / "source").write_bytes(b"data")
    rename_new(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"data"
    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize("kind", ["file", "dangling link", "folder"])
def test_a_name_that_is_taken_is_never_replaced(tmp_path, rename_new, kind):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"ours")
    match kind:
        case "file":
            target.write_bytes(b"theirs")
        case "dangling link":
            target.symlink_to("nowhere")
        case "folder":
            target.mkdir()
    before = target.lstat()
    with pytest.raises(FileExistsError):
        rename_new(source, target)
    assert target.lstat() == before
    assert source.read_bytes() == b"ours"


def test_renaming_what_is_not_there_says_so(tmp_path, rename_new):
    with pytest.raises(FileNotFoundError):
        rename_new(tmp_path / "source", tmp_path / "target")


def test_a_file_system_that_cannot_refuse_a_taken_name_is_looked_at_instead(tmp_path, monkeypatch, folder):
    def unsupported(*_):
        durable.ctypes.set_errno(errno.EINVAL)
        return -1

    monkeypatch.setattr(durable, "_renameat2", unsupported)
    (tmp_path / "source").write_bytes(b"data")
    folder.rename_new("source", folder, "target")
    (tmp_path / "source").write_bytes(b"more")
    with pytest.raises(FileExistsError):
        folder.rename_new("source", folder, "target")
    assert (tmp_path / "target").read_bytes() == b"data"


def test_folders_are_made_and_each_is_durable_in_its_parent(tmp_path, calls):
    assert durable.make_folders(tmp_path / "a" / "b") == [tmp_path / "a" / "b", tmp_path / "a"]
    assert (tmp_path / "a" / "b").is_dir()
    assert calls == [f"fsync folder {tmp_path.name}", "fsync folder a"]
    assert durable.make_folders(tmp_path / "a" / "b") == []
    assert len(calls) == 2


def test_a_folder_is_not_made_over_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(FileExistsError):
        durable.make_folders(tmp_path / "a")
    with pytest.raises(OSError, match="a"):
        durable.make_folders(tmp_path / "a" / "b")


def test_an_append_that_finds_no_space_leaves_nothing_of_it(tmp_path, monkeypatch, folder):
    with contextlib.closing(durable.AppendFile(folder, "file")) as file:
        file.append(b"kept, ")
        with a_disk_that_fills_up(monkeypatch, after=3), pytest.raises(OSError, match="space"):
            file.append(b"lost")
        assert (tmp_path / "file").read_bytes() == b"kept, "
        file.append(b"and more")
    assert (tmp_path / "file").read_bytes() == b"kept, and more"


def test_an_append_file_is_new(tmp_path, folder):
    (tmp_path / "file").write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        durable.AppendFile(folder, "file")
    assert (tmp_path / "file").read_bytes() == b"theirs"


def test_short_writes_are_gone_on_with(tmp_path, monkeypatch, folder):
    real = os.write
    with contextlib.closing(durable.AppendFile(folder, "file")) as file, monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
        file.append(b"ten bytes.")
    assert (tmp_path / "file").read_bytes() == b"ten bytes."


def write_temporary(folder, name, chunks):
    """Returns its descriptor."""
    with folder.temporary(name) as fd:
        for chunk in chunks:
            durable.write_all(fd, chunk)
    return fd


def test_a_temporary_file_holds_the_chunks(tmp_path, folder):
    large = bytes(range(256)) * 40_000
    fd = write_temporary(folder, "tmp", [b"head", bytearray(b" "), memoryview(large)])
    os.close(fd)
    assert (tmp_path / "tmp").read_bytes() == b"head " + large


def test_a_temporary_file_that_finds_no_space_is_not_left(tmp_path, monkeypatch, folder):
    next_descriptor = os.dup(0)
    os.close(next_descriptor)
    with a_disk_that_fills_up(monkeypatch, after=5), pytest.raises(OSError, match="space"):
        write_temporary(folder, "tmp", [b"first", b"second"])
    assert os.listdir(tmp_path) == []
    descriptor = os.dup(0)
    os.close(descriptor)
    assert descriptor == next_descriptor, "a descriptor is left open"


def test_a_sparse_file_is_zeros_where_it_was_not_written(tmp_path, monkeypatch, folder):
    pwrite, pread = os.pwrite, os.pread
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, bytes(data[:3]), at))
    monkeypatch.setattr(os, "pread", lambda fd, size, at: pread(fd, min(size, 2), at))
    path = tmp_path / "a"
    with contextlib.closing(durable.SparseFile(folder, "a", 1 << 20)) as file:
        file.write(500_000, memoryview(b"in the middle"))
        assert file.read(499_998, 17) == b"\0\0in the middle\0\0"
        with pytest.raises(EOFError):
            file.read((1 << 20) - 1, 2)
    assert path.stat().st_size == 1 << 20
    with contextlib.closing(durable.SparseFile(folder, "a", 500_002, again=True)) as file:
        assert file.map()[-4:] == b"\0\0in"


def test_a_sparse_file_that_would_be_too_long_is_closed_again(folder, monkeypatch):
    def refuse(fd, size):
        refused.append(fd)
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    refused = []
    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(OSError, match="File too large"):
        durable.SparseFile(folder, "plane", 1 << 50)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(refused[0])


def test_a_sparse_file_is_not_opened_through_a_link(tmp_path, folder):
    """Somebody else's file would be cut to another length, and written over."""
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / "a").symlink_to("theirs")
    for again in (False, True):
        with contextlib.closing(durable.SparseFile(folder, "a", 2, again)) as file:
            file.write(0, b"!!")
        (tmp_path / "a").unlink()
        (tmp_path / "a").symlink_to("theirs")
    assert (tmp_path / "theirs").read_bytes() == b"theirs"


def test_removing_what_is_gone_already_is_no_error(tmp_path, folder):
    (tmp_path / "file").write_bytes(b"")
    folder.remove("file")
    folder.remove("file")
    assert os.listdir(tmp_path) == []


def test_only_an_empty_folder_is_removed(tmp_path, folder):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"")
    assert not folder.remove_folder("folder")
    (tmp_path / "folder" / "file").unlink()
    assert folder.remove_folder("folder")
    assert not folder.remove_folder("folder")


def test_many_files_go_to_the_disk_with_one_call_where_that_is_honest(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(durable, "sync", lambda fd: calls.append("fsync"))
    monkeypatch.setattr(durable, "_syncfs", lambda fd: calls.append("syncfs") or 0)
    fds = [os.open(tmp_path / str(number), os.O_WRONLY | os.O_CREAT) for number in range(8)]
    for honest, many, expected in [(True, 8, ["syncfs"]), (True, 7, ["fsync"] * 7), (False, 8, ["fsync"] * 8)]:
        monkeypatch.setattr(durable, "_has_honest_syncfs", lambda device, honest=honest: honest)
        durable.sync_all(fds[:many])
        assert calls == expected
        calls.clear()
    monkeypatch.setattr(durable, "_syncfs", lambda fd: -1)
    monkeypatch.setattr(durable.ctypes, "get_errno", lambda: errno.EIO)
    monkeypatch.setattr(durable, "_has_honest_syncfs", lambda device: True)
    with pytest.raises(OSError, match="Input/output error"):
        durable.sync_all(fds)
    for fd in fds:
        os.close(fd)


def test_syncfs_counts_as_honest_only_on_local_file_systems_of_this_kernel(tmp_path, monkeypatch):
    mounts = "30 1 8:1 / / rw - ext4 /dev/a rw\n31 30 0:52 / /x rw shared:1 - fuse.sshfs me rw\n"
    monkeypatch.setattr(durable.Path, "read_text", lambda *_: mounts)
    for release, device, expected in [
        ("6.1.0-13-amd64", os.makedev(8, 1), True),
        ("5.8", os.makedev(8, 1), True),
        ("5.7.19", os.makedev(8, 1), False),
        ("6.1.0", os.makedev(0, 52), False),
        ("6.1.0", os.makedev(9, 9), False),
    ]:
        durable._has_honest_syncfs.cache_clear()
        monkeypatch.setattr(durable.os, "uname", lambda release=release: SimpleNamespace(release=release))
        assert durable._has_honest_syncfs(device) == expected, (release, device)
    durable._has_honest_syncfs.cache_clear()


@pytest.fixture(params=[os.symlink, os.link])
def precious(request, tmp_path):
    """Somebody else's file, and its link under the name `planted`."""
    path = tmp_path / "precious"
    path.write_bytes(b"precious")
    request.param(path, tmp_path / "planted")
    yield path
    assert path.read_bytes() == b"precious"


def test_nothing_is_made_through_a_link(folder, precious):
    with pytest.raises(FileExistsError):
        write_temporary(folder, "planted", [b"ours"])
    with pytest.raises(FileExistsError):
        durable.AppendFile(folder, "planted")
    with folder.saving("new", "planted") as file:
        file.append(b"ours")


@pytest.mark.parametrize("again", [False, True])
def test_a_plane_is_never_somebody_elses_file(folder, precious, again):
    with contextlib.closing(durable.SparseFile(folder, "planted", 20, again)) as file:
        file.write(0, b"ours")


def test_what_is_done_in_a_held_folder_is_done_there(tmp_path):
    """Whatever takes its name meanwhile."""
    for name in ("source", "target", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "source" / "file").write_bytes(b"data")
    with durable.Folder.at(tmp_path / "source") as source, durable.Folder.at(tmp_path / "target") as target:
        for name in ("source", "target"):
            (tmp_path / name).rename(tmp_path / f"{name} held")
            (tmp_path / name).symlink_to("elsewhere")
        source.rename_new("file", target, "first")
        target.replace("first", target, "second")
        with target.saving("third", "tmp", source) as file:
            file.append(b"data")
        target.inner("folder", make=True).close()
        target.below("a/b", make=True).close()
        os.close(write_temporary(source, "temporary", [b"data"]))
        source.remove("temporary")
    assert os.listdir(tmp_path / "elsewhere") == []
    assert sorted(os.listdir(tmp_path / "target held")) == ["a", "folder", "second", "third"]


def test_what_goes_wrong_names_the_whole_path(folder, tmp_path):
    (tmp_path / "file").touch()
    for fault in (
        lambda: folder.open("gone"),
        lambda: folder.create("file"),
        lambda: folder.inner("file"),
        lambda: folder.stat("a" * 300),
        lambda: folder.replace("gone", folder, "file"),
        lambda: folder.rename_new("gone", folder, "free"),
    ):
        with pytest.raises(OSError, match=r".") as refused:
            fault()
        assert Path(refused.value.filename).parent == tmp_path


def test_a_folder_that_can_not_be_read_is_named(folder, tmp_path, monkeypatch):
    def refuse(fd):
        raise OSError(errno.EIO, os.strerror(errno.EIO), fd)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(OSError, match=r"Input/output") as refused:
        folder.names()
    assert refused.value.filename == str(tmp_path)


def test_folders_may_be_deeper_than_a_call_may_be_nested(tmp_path):
    with removed_afterwards(tmp_path / "d"):
        folder = tmp_path.joinpath(*"d" * 1100)
        assert len(durable.make_folders(folder)) == 1100
        assert folder.is_dir()


def test_folders_that_could_not_all_be_made_are_taken_away(tmp_path, monkeypatch):
    real = os.mkdir

    def mkdir(path, *given, **named):
        if path.name == "c":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, *given, **named)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(OSError, match="space"):
        durable.make_folders(tmp_path / "a" / "b" / "c")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_closed_again_closes_nobodys_file(tmp_path):
    folder = durable.Folder.at(tmp_path)
    number = folder.fileno()
    folder.close()
    other = os.open(tmp_path, os.O_RDONLY)
    assert other == number
    folder.close()
    os.fstat(other)
    os.close(other)
