"""Names of what is on its way into a folder, by which others know whether its writer still lives.

    .batchgray-put-HOME-PID-BEGAN-RANDOM    HOME is where process ids mean the same: a boot, and a namespace of it

Several machines may put into one folder. What a dead process of the same home left is known by its id, and by when it
began, as ids are given again. What another home left is abandoned when nothing was written to it for IDLE_SECONDS:
both times are the file system's own, so that no clocks of two machines are compared.
"""

import functools
import hashlib
import os
import re
import socket
from pathlib import Path

PREFIX = ".batchgray-put-"
IDLE_SECONDS = 900.0

_FORM = re.compile(rf"{re.escape(PREFIX)}(?P<home>[0-9a-f]{{12}})-(?P<pid>\d+)-(?P<began>\d+)-[0-9a-f]{{16}}")


def new_name() -> str:
    """One that no other thread, process or machine has."""
    pid = os.getpid()
    return f"{PREFIX}{_home()}-{pid}-{_began(pid)}-{os.urandom(8).hex()}"


def is_abandoned(name: str, idle_seconds: float) -> bool:
    """Whether its writer is gone; it was last written to `idle_seconds` ago."""
    found = _FORM.fullmatch(name)
    if found is None or found["home"] != _home():
        return idle_seconds >= IDLE_SECONDS
    return _began(int(found["pid"])) != found["began"]


def _began(pid: int) -> str:
    """When a process began, as the system counts; "" where there is none. Without /proc it is "0" for all."""
    if not Path("/proc/self/stat").exists():
        return "0" if _lives(pid) else ""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else fields[18]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        pass
    return True


@functools.cache
def _home() -> str:
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            parts.append(os.readlink(path) if "/ns/" in path else Path(path).read_text("ascii"))
        except OSError:
            parts.append("")
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=6).hexdigest()
