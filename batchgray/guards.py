"""Files, folders and links that somebody else may have put in our way, on purpose or not.

A FIFO keeps whoever opens it waiting for ever, a device never ends, and a link makes what is written, changed or
removed through it happen elsewhere. These looks guard against what is there, not against somebody who changes it in
the moment between the look and the deed.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path | str, follow_links: bool = True) -> BinaryIO:
    """Open a file to read it. Raises OSError, also for whatever is not a regular file."""
    # Without O_NONBLOCK, opening a FIFO waits for a writer.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW)
    fd = os.open(path, flags)
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        reason = "a folder, not a file" if stat.S_ISDIR(mode) else "not a regular file"
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, reason, str(path))
    return os.fdopen(fd, "rb")


def leads_outside(root: Path | str, folder: Path | str) -> bool:
    """Whether `folder`, which need not be there yet, is reached through a link that leaves the folder `root`."""
    real_root = os.path.realpath(root)
    return os.path.commonpath([real_root, os.path.realpath(folder)]) != real_root
