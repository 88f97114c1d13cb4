"""The folder of what one run has in flight, below its output folder: held by the run, and by its workers to their ends.

    OUT/.batchgray/RUN/    scratch and checkpoints, run.lock, and run.manifest where the manifest lies elsewhere

Whatever is written for the outputs goes by the folders that are held here: a link that comes in their way later leads
nothing astray.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from batchgray import errors
from batchgray.storage import durable
from batchgray.storage.durable import Folder
from batchgray.storage.locking import Lock

FLIGHT_FOLDER = ".batchgray"
LOCK_NAME = "run.lock"

# Has the real path of a manifest that lies elsewhere: how what is in flight is found if that one is a ruin.
_MARK = "run.manifest"
_LONGEST_MARK = 1 << 16
_RUN_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


Owning = Callable[[Folder], contextlib.AbstractContextManager[Lock]]


class RunFolder(NamedTuple):
    """The folders that a run holds: its own, `inner`, lies in `above`, which lies in the output folder `out`."""

    out: Folder
    above: Folder
    inner: Folder
    lock: Lock

    @property
    def for_workers(self) -> list[int]:
        """The descriptors of the output folder, of the run's own folder, and of its lock."""
        return [self.out.fileno(), self.inner.fileno(), *self.lock.for_children]

    def names(self) -> list[str]:
        """Of what is in flight. Raises OSError."""
        return [name for name in self.inner.names() if name not in (LOCK_NAME, _MARK)]

    def discard(self, name: str) -> None:
        """Remove a file, or an empty folder, that does not belong here. Raises OSError."""
        if not self.inner.remove_folder(name):
            self.inner.remove(name)

    def sync(self) -> None:
        """Make the folders durable: an earlier run may have been cut off before it did. Raises OSError."""
        durable.sync_all([self.above.fileno(), self.out.fileno()])

    def mark(self, mark: bytes) -> None:
        """Say by what this folder is known. Raises OSError."""
        if _read_mark(self.inner) != mark:
            with self.inner.saving(_MARK, f"{_MARK}.tmp") as file:
                file.append(mark)

    def remove(self) -> None:
        """With nothing in it but the lock and the mark; durably. Raises OSError."""
        self.inner.remove(_MARK)
        self.lock.discard()
        self.above.remove_folder(self.inner.path.name)
        self.out.remove_folder(FLIGHT_FOLDER)
        self.out.sync()


@contextlib.contextmanager
def holding(out: Path, run_id: str, owning: Owning, make: bool = False) -> Iterator[RunFolder]:
    """Hold the folder of the run `run_id`, as its one owner: `owning` gives the lock. With `make` it is made.

    Raises LinkInTheWay, what `owning` raises, and OSError where something is not there, or can't be made.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Folder.at(out))
        above, inner = map(stack.enter_context, _two_inner(folder, run_id, make))
        try:
            lock = stack.enter_context(owning(inner))
        except BaseException:
            if make and above.remove_folder(run_id):  # it was empty
                folder.remove_folder(FLIGHT_FOLDER)
            raise
        yield RunFolder(folder, above, inner, lock)


def run_ids_marked(out: Path, mark: bytes) -> list[str]:
    """The runs below `out` whose folders are known by this mark."""
    found = []
    with contextlib.suppress(OSError), Folder.at(out) as folder, folder.inner(FLIGHT_FOLDER) as above:
        for name in sorted(filter(_RUN_ID.fullmatch, above.names())):
            with contextlib.suppress(OSError), above.inner(name) as inner:
                if _read_mark(inner) == mark:
                    found.append(name)
    return found


def _two_inner(folder: Folder, run_id: str, make: bool) -> tuple[Folder, Folder]:
    """The folder of all that is in flight, and the run's own in it."""
    while True:
        above = _inner(folder, FLIGHT_FOLDER, make)
        try:
            return above, _inner(above, run_id, make)
        except BaseException as error:
            above.close()
            if make and isinstance(error, FileNotFoundError):
                continue  # another manifest's run has just ended, and removed the outer one
            if make:
                folder.remove_folder(FLIGHT_FOLDER)  # if it is empty
            raise


def _inner(folder: Folder, name: str, make: bool) -> Folder:
    try:
        return folder.inner(name, make)
    except OSError:
        if os.path.islink(folder.path / name):
            raise errors.LinkInTheWay(folder.path / name) from None
        raise


def _read_mark(inner: Folder) -> bytes | None:
    try:
        with inner.open(_MARK) as file:
            return file.read(_LONGEST_MARK)
    except OSError:
        return None
