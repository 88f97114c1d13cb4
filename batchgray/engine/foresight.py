"""What a run would refuse before any work, found out without touching anything: for `run --dry-run`.

These are the refusals beyond the plan's own. What only an attempt can show, such as a full disk or a file system that
refuses to make locks, is not foreseen.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from batchgray import errors
from batchgray.manifest import lock
from batchgray.manifest.store import Store, load_manifest
from batchgray.planning.plan import Plan
from batchgray.storage import durable
from batchgray.storage.run_folder import FLIGHT_FOLDER


def check_folder(folder: Path) -> None:
    """That it is there and can be written to, or that it can be made. Raises UnwritableOutput."""
    there = folder
    while not there.is_dir():
        if os.path.lexists(there):
            raise errors.UnwritableOutput(folder, os.strerror(errno.EEXIST))
        there = there.parent
    try:
        durable.check_writable(there)
    except OSError as error:
        raise errors.UnwritableOutput(folder, error.strerror) from None


def check_plan(plan: Plan, overwrite: bool, locked: bool) -> None:
    """That no other run is in its way, and no file or link is where its own files are to be.

    Raises ManifestLocked, UnlockableManifest, LinkInTheWay, UnwritableOutput, ForeignFile.
    """
    flights = [plan.flight, *(_overwritten_flight(plan.path) if overwrite else ())]
    for flight in flights:
        lock.refuse_owned(plan.path, flight, locked)
    for place in (plan.out / FLIGHT_FOLDER, plan.flight):
        if os.path.islink(place):
            raise errors.LinkInTheWay(place)
        if os.path.lexists(place) and not os.path.isdir(place):
            raise errors.UnwritableOutput(place, os.strerror(errno.ENOTDIR))
    with contextlib.closing(Store(plan.path)):
        pass


def _overwritten_flight(path: Path) -> Iterator[Path]:
    """What the overwritten run has in flight, if there is one."""
    with contextlib.suppress(errors.UsageError):
        yield load_manifest(path).flight_folder(path)
