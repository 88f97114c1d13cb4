"""Files, folders and links that other programs or people may have put in our way, on purpose or not.

To open a FIFO may take for ever, a device never ends, and a link makes what is written, changed or removed through it
happen elsewhere. To check a path guards against what is there, and not against a change in the moment between the check
and the use; so what is written goes by descriptors of held folders, from one part of a name to the next
(`open_folder`), and what was checked is what is used.
"""

import errno
import os
import re
import stat
from collections import deque
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

_BLOCK_BYTES = 512
_LONGEST_LOSS = 1 << 26  # bytes of zeros
_NO_TEXT = re.compile(rb"[\0-\x09\x0b-\x1f]")
_MOST_LINKS = 40  # in one name, as the kernel counts them


def open_regular(path: Path | str, follow_links: bool = True, folder: int | None = None) -> BufferedReader:
    """Open a file to read it. Raises OSError, also for whatever is not a regular file."""
    return os.fdopen(open_descriptor(path, os.O_RDONLY | (0 if follow_links else os.O_NOFOLLOW), folder), "rb")


def open_descriptor(path: Path | str, flags: int, folder: int | None = None) -> int:
    """A descriptor of a regular file, `path` relative to an open `folder`.

    Raises OSError, also for whatever is none.
    """
    try:  # O_NONBLOCK: not to wait for a FIFO's writer
        fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666, dir_fd=folder)
    except OSError as error:
        if flags & os.O_NOFOLLOW and error.errno in (errno.ELOOP, errno.EMLINK):  # EMLINK on FreeBSD
            raise OSError(error.errno, "it is a link", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
        os.close(fd)
        if is_folder:
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return fd


def may_be_cut_off(path: Path | str, beginning: bytes) -> bool:
    """Whether a file of text is, as far as it goes, one that begins so: also one that is empty, torn, or not there."""
    try:
        with open_regular(path, follow_links=False) as file:
            head = file.read(len(beginning))
            return head == beginning or (beginning.startswith(head.rstrip(b"\0")) and _is_lost_up_to_a_text(file, head))
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _is_lost_up_to_a_text(file: BufferedReader, head: bytes) -> bool:
    """Whether what follows `head` is zeros to the end, or to a block of text: a power cut loses whole blocks.

    Other files may begin with zeros, too: an image of a disk.
    """
    at = len(head)
    while piece := file.read(_BLOCK_BYTES - at % _BLOCK_BYTES):
        if piece.strip(b"\0"):
            return at % _BLOCK_BYTES == 0 and not _NO_TEXT.search(piece.rstrip(b"\0"))
        at += len(piece)
        if at > _LONGEST_LOSS:
            return False
    return True


def without_dots(path: Path) -> Path:
    """Absolute, without `..`. What is above a link is not what is above the folder it leads to, so links go first."""
    parts = path.absolute().parts
    if ".." not in parts:
        return path.absolute()
    above = len(parts) - parts[::-1].index("..")
    return Path(os.path.realpath(os.path.join(*parts[:above])), *parts[above:])


class LeadsOutside(OSError):
    """A name goes through a link that leaves the folder which it is relative to."""


def open_folder(root: int, path: Path, name: str, make: Callable[[str, int], None] | None = None) -> int:
    """A descriptor of the folder `name` below the open folder `root` (at `path`), whatever links are put in its way.

    One part after another, none of them followed by the kernel: a link is read, and followed as long as it stays below
    `root`. `make(part, folder)` makes what is missing. Never more than two descriptors are open. Raises OSError;
    LeadsOutside.
    """
    passed: list[str] = []
    fd, ahead, links = os.dup(root), deque(name.split("/")), 0
    try:
        while ahead:
            part = ahead.popleft()
            if (
                part == ".."
            ):  # of a link: up from where it was, by name, as a folder's own `..` changes when it is moved
                if not passed:
                    raise _leads_outside(name)
                ahead.extendleft(reversed(passed[:-1]))
                passed.clear()
                fd = _exchange(fd, os.dup(root))
            elif part not in ("", "."):
                target = _enter(fd, part, make)
                if isinstance(target, int):
                    fd = _exchange(fd, target)
                    passed.append(part)
                    continue
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
                if target.startswith("/"):
                    target = _below(path, target, name)
                    passed.clear()
                    fd = _exchange(fd, os.dup(root))
                ahead.extendleft(reversed(target.split("/")))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _enter(folder: int, part: str, make: Callable[[str, int], None] | None) -> int | str:
    """A descriptor of the folder of that name, or where the link of that name leads."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(part, flags, dir_fd=folder)
    except FileNotFoundError:
        if make is None:
            raise
        make(part, folder)
        return os.open(part, flags, dir_fd=folder)
    except OSError as error:
        try:
            return os.readlink(part, dir_fd=folder)
        except OSError:
            raise error from None


def _exchange(old: int, new: int) -> int:
    os.close(old)
    return new


def _below(root: Path, target: str, name: str) -> str:
    """Where an absolute link leads, relative to `root`: a text; the way down is taken part by part as any other."""
    try:
        inside = os.path.relpath(os.path.realpath(target), os.path.realpath(root))
    except RecursionError:  # far more links than the kernel follows
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None
    if inside == ".." or inside.startswith("../"):
        raise _leads_outside(name)
    return inside


def _leads_outside(name: str) -> LeadsOutside:
    return LeadsOutside(errno.ELOOP, "a link leads out of the output folder", name)
