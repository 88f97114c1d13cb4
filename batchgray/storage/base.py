"""Places: where inputs lie and outputs go. A folder is one, and so is a bucket, or a prefix of it, in an object store.

What crosses this seam is keys, bytes and versions: no path, no descriptor, no errno. The rules of every place, held by
one suite of tests (`tests/storage/test_places.py`):

- a key is a name of parts with "/" between them, relative to the place, such as `2026/a.jpg`;
- an object appears whole or not at all, and is durable when `put` or `put_absent` returns;
- `put_absent` never replaces. Of several that race for a name, one creates it;
- a version is opaque: it is equal to another or not, and says nothing else. What was listed or looked at can be read
  as that version; where it has changed since, nothing of the new one is given for it;
- whatever fails, it fails by one of the errors below.
"""

import enum
from collections.abc import Iterator
from typing import BinaryIO, Protocol

import msgspec

from batchgray.records import SourceIdentity

Content = bytes | bytearray | memoryview | BinaryIO  # a file is read from where it stands to its end


class StorageError(Exception):
    """What went wrong at a place: `where` is a key or the place itself as people write it, `reason` is in words."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where, self.reason = where, reason


class Missing(StorageError):
    """There is no such object."""


class NoPlace(StorageError):
    """There is no such folder or bucket."""


class Denied(StorageError):
    """It is not permitted: no right to it, credentials that are wrong or out of date, or a medium that is read-only."""


class Changed(StorageError):
    """The object is there, in another version than the one that was asked for."""


class Busy(StorageError):
    """The place wants fewer requests, or has a fault that passes; it was tried again, in vain."""


class Full(StorageError):
    """There is no space left, or no more of it is allowed."""


class Unreachable(StorageError):
    """The place does not answer."""


class Put(enum.Enum):
    """What came of `put_absent`."""

    CREATED = "created"
    SAME = "same"  # an object of the same bytes is there already: whoever put it
    OTHER = "other"  # another one is there


class Entry(msgspec.Struct, frozen=True):
    """An object: its key, its size in bytes and its version."""

    key: str
    size: int
    version: SourceIdentity


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

    def get(self, key: str, version: SourceIdentity | None = None, start: int = 0, end: int | None = None) -> bytes:
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
