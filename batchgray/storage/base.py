"""Places: where inputs lie and outputs go. A folder is one, and so is a bucket, or a prefix of it, in an object store.

What crosses this seam is keys, bytes and versions: no path, no descriptor, no errno. The rules of every place, held by
one suite of tests (`tests/storage/test_places.py`):

- a key is a name of parts with "/" between them, relative to the place, such as `2026/a.jpg`. No part is empty, `.` or
  `..`: what lies under such a name in a store is listed, and is a BadKey to all else;
- an object appears whole or not at all, and is durable when `put` or `put_absent` returns;
- `put_absent` never replaces. Of several that race for a name, one creates it;
- a version is opaque: it is equal to another or not, and says nothing else. What was listed or looked at can be read
  as that version; where it has changed since, nothing of the new one is given for it;
- whatever fails, it fails by one of the errors below.
"""

import enum
import errno
import mmap
import os
from collections.abc import Iterator
from typing import BinaryIO, Protocol

import msgspec

from batchgray.records import InputVersion

_MAPPED_BYTES = 1 << 20

Content = bytes | bytearray | memoryview | BinaryIO  # a file is read from where it stands to its end


class PlaceError(Exception):
    """Something could not be done in a place. `key` is what it was about, `reason` is why, for people."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(key, reason)
        self.key, self.reason = key, reason

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}" if self.key else self.reason


class Missing(PlaceError):
    """There is nothing under the key."""


class NoPlace(PlaceError):
    """The place itself is not there, or not any more."""


class Denied(PlaceError):
    """It is not allowed."""


class LockedOut(Denied):
    """None of our requests is accepted, whatever it is about: credentials, clock or account are not in order."""


class Changed(PlaceError):
    """What is under the key is not what it was any more."""


class BadKey(PlaceError):
    """This key, or so much under it, can't be had in this place; another one can."""


class OtherFileSystem(BadKey):
    """The key is below a folder that another file system is mounted on."""


class Busy(PlaceError):
    """Another has it now; it may work later."""


class Full(PlaceError):
    """There is no room left."""


class Unreachable(PlaceError):
    """The place does not work, or does not answer."""


class Unfit(PlaceError):
    """The place works, and does not keep what every place is to keep."""


class Put(enum.Enum):
    """What came of `put_absent`."""

    CREATED = "created"
    SAME = "same"  # an object of the same bytes is there already: whoever put it
    OTHER = "other"  # another one is there


class Entry(msgspec.Struct, frozen=True):
    """An object: its key, its size in bytes and its version."""

    key: str
    size: int
    version: InputVersion


class Place(Protocol):
    """A folder, or a prefix of an object store. Every method may raise NoPlace, Denied, Busy and Unreachable.

    `name` is the place as people write it: a path or a URL. Several threads may use a place at once, but no process
    that was forked after its first use.
    """

    name: str

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """The objects whose keys begin with `prefix`, in the order of the keys' bytes, those after `after` only."""

    def stat(self, key: str) -> Entry:
        """Raises Missing."""

    def age(self, key: str) -> float | None:
        """For how many seconds the object has been there, by the place's own clock alone; None where it tells none.

        Raises Missing.
        """

    def get(self, key: str, version: InputVersion | None = None, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from `start` to `end`, or as many of them as there are.

        With `version` they are that version's. Raises Missing, Changed.
        """

    def put(self, key: str, content: Content) -> None:
        """Make an object, or replace it. Raises Full."""

    def put_absent(self, key: str, content: Content) -> Put:
        """Make an object whose name is free. Raises Full."""

    def delete(self, key: str) -> None:
        """Remove an object, which may be gone already."""

    def close(self) -> None:
        """Let go of what the place holds. It may be closed again."""


def read_all(content: Content) -> bytes | bytearray | memoryview:
    """The bytes that are to be put. Those of a buffer are not copied, and a large file is mapped: it may be larger than
    what memory there is for it. Raises OSError.
    """
    if isinstance(content, bytes | bytearray | memoryview):
        return content
    begin = content.tell()
    if content.seek(0, os.SEEK_END) - begin < _MAPPED_BYTES:
        content.seek(begin)
        return content.read()
    return memoryview(mmap.mmap(content.fileno(), 0, prot=mmap.PROT_READ))[begin:]


_KINDS: dict[int, type[PlaceError]] = {
    errno.ENOENT: Missing,
    **dict.fromkeys((errno.EACCES, errno.EPERM), Denied),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), Full),
    **dict.fromkeys((errno.EAGAIN, errno.EBUSY, errno.EDEADLK, errno.ETXTBSY), Busy),
    **dict.fromkeys(
        (
            errno.EEXIST,
            errno.EFBIG,
            errno.EILSEQ,
            errno.EINVAL,
            errno.EISDIR,
            errno.ELOOP,
            errno.ENAMETOOLONG,
            errno.ENOTDIR,
            errno.ENOTEMPTY,
        ),
        BadKey,
    ),
    errno.EXDEV: OtherFileSystem,
}


def meaning_of(error: OSError, key: str = "") -> PlaceError:
    """What an error of the system means for a place that is kept in a file system. This is said here alone."""
    kind = _KINDS.get(error.errno or 0, Unreachable)
    return kind(key, error.strerror or str(error))


def is_full(error: OSError) -> bool:
    """Whether there is no room left."""
    return isinstance(meaning_of(error), Full)


class _Meaning:
    """A `contextmanager` takes three times as long, and this is passed several times an image."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = key

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            raise meaning_of(error, self._key) from error


def meaning(key: str = "") -> _Meaning:
    """In the block PlaceError is raised instead of OSError."""
    return _Meaning(key)
