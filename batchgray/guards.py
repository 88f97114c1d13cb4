"""Files, folders and links that somebody else may have put in our way, on purpose or not.

A FIFO keeps whoever opens it waiting for ever, a device never ends, and a link makes what is written, changed or
removed through it happen elsewhere. These looks guard against what is there, not against somebody who changes it in
the moment between the look and the deed.
"""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path | str, follow_links: bool = True) -> BufferedReader:
    """Open a file to read it. Raises OSError, also for whatever is not a regular file."""
    return os.fdopen(open_descriptor(path, os.O_RDONLY | (0 if follow_links else os.O_NOFOLLOW)), "rb")


def open_descriptor(path: Path | str, flags: int) -> int:
    """A descriptor of a regular file. Raises OSError, also for whatever is none."""
    try:
        fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)  # O_NONBLOCK: not to wait for a FIFO's writer
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
    """Whether a file is, as far as it goes, one that begins so: also one that is empty, torn, or not there.

    A power cut can leave zeros in place of what was written last.
    """
    try:
        with open_regular(path, follow_links=False) as file:
            head = file.read(len(beginning))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return beginning.startswith(head.rstrip(b"\0"))


def leads_outside(root: Path | str, folder: Path | str) -> bool:
    """Whether `folder`, which need not be there yet, is reached through a link that leaves the folder `root`."""
    real_root = os.path.realpath(root)
    return os.path.commonpath([real_root, os.path.realpath(folder)]) != real_root


def without_dots(path: Path) -> Path:
    """Absolute, without `..`. What is above a link is not what is above the folder it leads to, so links go first."""
    parts = path.absolute().parts
    if ".." not in parts:
        return path.absolute()
    above = len(parts) - parts[::-1].index("..")
    return Path(os.path.realpath(os.path.join(*parts[:above])), *parts[above:])
