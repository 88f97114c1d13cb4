"""Parts of a file, read as a file: the same as the parts joined, wherever it is read from."""

import io
import mmap
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgray.codecs.excerpt import Excerpt, excerpt, let_go

DATA = bytes(range(256)) * 3
PARTS = st.lists(
    st.binary(max_size=9) | st.tuples(st.integers(0, 700), st.integers(0, 60)).map(lambda at: slice(at[0], sum(at))),
    min_size=1,
    max_size=6,
)


def joined(parts) -> bytes:
    return b"".join(part if isinstance(part, bytes) else DATA[part] for part in parts)


@given(parts=PARTS, at=st.integers(0, 300), size=st.integers(0, 300))
def test_any_parts_are_read_from_anywhere_as_if_they_were_joined(parts, at, size):
    file, whole = excerpt(DATA, parts), io.BytesIO(joined(parts))
    assert file.seek(at) == whole.seek(at)
    assert file.read(size) == whole.read(size)
    assert file.read() == whole.read()


@pytest.mark.parametrize(("offset", "whence"), [(3, os.SEEK_SET), (-4, os.SEEK_END), (0, os.SEEK_END)])
def test_it_is_sought_like_any_file(offset, whence):
    parts = [slice(5, 15), b"between", slice(0, 3)]
    file, whole = excerpt(DATA, parts), io.BytesIO(joined(parts))
    assert file.seek(offset, whence) == whole.seek(offset, whence)
    assert file.read() == whole.read()


def test_its_descriptor_is_its_own_to_close():
    fd = os.open(os.devnull, os.O_RDONLY)
    file = excerpt(DATA, [slice(0, 9)], fd)
    assert file.fileno() == fd
    file.close()
    file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_without_a_descriptor_it_has_none():
    with pytest.raises(io.UnsupportedOperation):
        Excerpt(DATA, [slice(0, 9)]).fileno()


def test_what_is_mapped_is_unmapped_and_what_was_read_is_left_alone(tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    with (tmp_path / "a").open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    assert excerpt(data, [slice(2, 5)]).read() == DATA[2:5]
    let_go(data)
    assert data.closed
    let_go(DATA)
