"""What a place is, whatever keeps it: keys with bytes under them, and what can go wrong, each with a name of its own.

Outputs, inputs and checkpoints lie in places. A key is a relative name of any number of parts (see `names.is_plain`).
What is written appears whole or not at all.
"""

import contextlib
import enum
import errno
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from batchgray.records import InputVersion
from batchgray.storage.names import is_plain

Buffer = bytes | bytearray | memoryview


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


class Entry(NamedTuple):
    """What is under a key: its size in bytes, and which version it is."""

    key: str
    size: int
    version: InputVersion


class Put(enum.Enum):
    """What came of `put_absent`: it is there now; the same bytes were there already; or others were, and stay."""

    CREATED = "created"
    SAME = "same"
    OTHER = "other"


class Place(Protocol):
    """Bytes under keys. What a method returned from is durable. All methods raise PlaceError, BadKey where it is one.

    Any number of threads and processes may use a place at once.
    """

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """What is under keys that begin with `prefix` and come after `after`, in the order of the keys' bytes.

        What is put and deleted meanwhile may be among it or not.
        """

    def stat(self, key: str) -> Entry:
        """Raises Missing."""

    def get(self, key: str, version: InputVersion | None = None, span: tuple[int, int] | None = None) -> bytes:
        """What is under a key; with `span` so many bytes from a place on, fewer at the end: (place, how many).

        Raises Missing; Changed where it is not this version, or becomes another while it is read.
        """

    def put(self, key: str, pieces: Iterable[Buffer]) -> None:
        """Put bytes under a key, whatever is there. Readers see what was there before, or all of it."""

    def put_absent(self, key: str, pieces: Iterable[Buffer]) -> Put:
        """Put bytes under a key that must be free: of several that try, one creates it. Nothing is ever replaced."""

    def delete(self, key: str) -> None:
        """Remove what is under a key, if anything is."""


def check_key(key: str) -> None:
    """Raises BadKey for what is no relative name, or not the only way to write it."""
    if not is_plain(key):
        raise BadKey(key, "it is no key")


def key_order(key: str) -> bytes:
    """What keys are sorted by."""
    return key.encode("utf-8", "surrogateescape")


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


@contextlib.contextmanager
def meaning(key: str = "") -> Iterator[None]:
    """Raises PlaceError instead of OSError."""
    try:
        yield
    except OSError as error:
        raise meaning_of(error, key) from error
