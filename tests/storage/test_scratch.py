"""A worker's outputs on their way: whole, counted and summed, or not there."""

import errno
import os

import pytest

from batchgray.storage import integrity
from batchgray.storage.base import Full
from batchgray.storage.durable import Folder
from batchgray.storage.scratch import Scratch


@pytest.fixture
def folder(tmp_path):
    with Folder.at(tmp_path) as folder:
        yield folder


def test_a_file_knows_what_was_written_to_it(folder, tmp_path):
    pieces = [b"one", bytearray(b" and "), memoryview(b"two")]
    file = Scratch(folder, 3).write_file(pieces)
    os.close(file.fileno())
    assert file.name == "3-1.out"
    assert (tmp_path / file.name).read_bytes() == b"one and two"
    assert (file.size, file.checksum) == (11, integrity.checksum(pieces))


def test_no_two_files_of_a_run_have_the_same_name(folder):
    files = [scratch.write_file([b"a"]) for scratch in (Scratch(folder, 1), Scratch(folder, 11)) for _ in range(12)]
    for file in files:
        os.close(file.fileno())
    assert len({file.name for file in files}) == 24


def test_what_fails_halfway_leaves_nothing(folder, tmp_path, monkeypatch):
    def halves():
        yield b"half"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Scratch(folder, 1).write_file(halves())
    assert list(tmp_path.iterdir()) == []

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Full):
        Scratch(folder, 1).write_file([b"a"])
    assert list(tmp_path.iterdir()) == []


def test_a_file_can_be_given_a_time(folder, tmp_path, monkeypatch):
    for mtime_ns in (0, 1_234_567_890_123_456_789, -1_000_000_000):
        file = Scratch(folder, mtime_ns % 7).write_file([b"a"])
        assert file.set_time(mtime_ns)
        assert (tmp_path / file.name).stat().st_mtime_ns == mtime_ns
        os.close(file.fileno())

    def refused(*_, **__):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    file = Scratch(folder, 9).write_file([b"a"])
    monkeypatch.setattr(os, "utime", refused)
    assert not file.set_time(0)
    os.close(file.fileno())
