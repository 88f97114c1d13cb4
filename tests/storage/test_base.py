"""What an error of the system means for a place is said once."""

import errno
import mmap
import os

import pytest

from batchgray.storage import base


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOENT, base.Missing),
        (errno.EACCES, base.Denied),
        (errno.EPERM, base.Denied),
        (errno.ENOSPC, base.Full),
        (errno.EDQUOT, base.Full),
        (errno.EBUSY, base.Busy),
        (errno.ENAMETOOLONG, base.BadKey),
        (errno.EFBIG, base.BadKey),
        (errno.ELOOP, base.BadKey),
        (errno.EXDEV, base.OtherFileSystem),
        (errno.EIO, base.Unreachable),
        (errno.EROFS, base.Unreachable),
        (errno.ESTALE, base.Unreachable),
        (errno.ENOTCONN, base.Unreachable),
    ],
)
def test_an_error_of_the_system_has_the_name_of_what_it_means(code, kind):
    error = OSError(code, os.strerror(code), "/out/a/b")
    with pytest.raises(base.PlaceError) as caught, base.meaning("a/b"):
        raise error
    assert type(caught.value) is kind
    assert (caught.value.key, caught.value.reason) == ("a/b", os.strerror(code))
    assert str(caught.value) == f"a/b: {os.strerror(code)}"
    assert base.is_full(error) == (kind is base.Full)


def test_an_error_without_a_number_says_what_it_can():
    found = base.meaning_of(OSError("the drive is on fire"))
    assert type(found) is base.Unreachable
    assert str(found) == "the drive is on fire"


def test_whatever_else_goes_wrong_stays_what_it_is():
    with pytest.raises(ZeroDivisionError), base.meaning("a"):
        raise ZeroDivisionError
    with pytest.raises(base.Changed), base.meaning("a"):
        raise base.Changed("b", "it is another")


@pytest.mark.parametrize("size", [10, base._MAPPED_BYTES + 10])
def test_a_file_is_read_from_where_it_stands_and_mapped_where_it_is_large(tmp_path, size):
    """An output, or a checkpoint, may be larger than what memory there is for it."""
    (tmp_path / "a").write_bytes(bytes(3) + b"x" * (size - 3))
    with (tmp_path / "a").open("rb") as file:
        file.read(3)
        found = base.read_all(file)
    assert found == b"x" * (size - 3)
    is_mapped = isinstance(found, memoryview) and isinstance(found.obj, mmap.mmap)
    assert is_mapped == (size > base._MAPPED_BYTES)
