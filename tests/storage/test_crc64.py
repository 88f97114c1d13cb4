"""The CRC-64 is the one that OSS tells."""

import ctypes
import importlib

import pytest
from oss_local_buckets import crc64_in_python

from batchgray.storage import crc64


@pytest.mark.skipif(crc64.crc64 is None, reason="no liblzma here")
@pytest.mark.parametrize("data", [b"", b"123456789", bytes(range(256)) * 40])
def test_it_is_that_of_a_table(data):
    assert crc64.crc64(data) == crc64_in_python(data)


def test_a_system_without_the_library_has_none(monkeypatch):
    def nothing(name):
        raise OSError(f"{name}: cannot open shared object file")

    with monkeypatch.context() as patched:
        patched.setattr(ctypes, "CDLL", nothing)
        assert importlib.reload(crc64).crc64 is None
    importlib.reload(crc64)
