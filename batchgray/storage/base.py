"""What a place is, whatever keeps it: keys with bytes under them, and what can go wrong, each with a name of its own.

Outputs, inputs and checkpoints lie in places. A key is a relative name of any number of parts (see `names.is_plain`).
What is written appears whole or not at all.
"""

import contextlib
import errno
from collections.abc import Iterator


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
