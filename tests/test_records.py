"""Which version of an input: the same one or another, whatever a file system tells of times."""

import os

import pytest

from batchgray.records import InputVersion


def test_a_file_that_stays_as_it_is_is_the_same_version(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12")
    version = InputVersion.of(path.stat())
    assert version.size == 2
    assert version.is_same(InputVersion.of(path.stat()))


@pytest.mark.parametrize("change", ["longer", "later"])
def test_a_file_that_is_longer_or_later_is_another(tmp_path, change):
    path = tmp_path / "a"
    path.write_bytes(b"12")
    found = path.stat()
    if change == "longer":
        path.write_bytes(b"123")
        os.utime(path, ns=(0, found.st_mtime_ns))
    else:
        os.utime(path, ns=(0, found.st_mtime_ns + 1))
    assert not InputVersion.of(found).is_same(InputVersion.of(path.stat()))


def test_a_time_that_64_bits_cannot_hold_is_told_by_its_lower_ones():
    assert InputVersion(1, 2**64 + 5).is_same(InputVersion(1, 5))
    assert -(2**63) <= InputVersion(1, 2**63).mtime_ns < 2**63
