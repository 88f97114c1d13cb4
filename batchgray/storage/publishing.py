"""Finished outputs to their keys, a group at a time: whole, durable, and never over what batchgray did not make.

A place that is a folder takes a group so, and each step once for all of it: sync the files, write down what is about to
be put where (see `intents`), sync that, rename the files, sync their folders.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from batchgray.storage import durable, integrity
from batchgray.storage.base import PlaceError, meaning_of
from batchgray.storage.durable import Folder
from batchgray.storage.guards import LeadsOutside
from batchgray.storage.intents import Intent, IntentLog
from batchgray.storage.scratch import ScratchFile

FOLDERS_AT_ONCE = 8  # that are open besides those of a group's outputs


class Taken(PlaceError):
    """Something that batchgray did not make is under the key."""


class TakenInPlace(PlaceError):
    """Other bytes are under the key than an output's: who put them can't be told in a store."""


class IsInput(PlaceError):
    """What is under the key is the input that the output was made of."""


class OutsidePlace(PlaceError):
    """The key is below a link that leads out of the place."""


class Output(NamedTuple):
    """A finished file and the key that it is to have.

    `replaces` says what may be under the key already, besides the same file: "" nothing, "*" anything, else the
    checksum of the file that an earlier conversion put there. `source` is the input, which is never replaced.
    """

    file: ScratchFile
    key: str
    replaces: str
    source: str


class Publisher(Protocol):
    """Puts outputs into their place."""

    def publish(self, group: Sequence[Output], placed: Callable[[Output], None]) -> list[Exception | None]:
        """Put a group of outputs under their keys, and let go of their files.

        Returns what came of each, in order: None where it is durable under its key; else why nothing of it is left:
        PlaceError, or whatever went wrong. `placed` is called with each when it has its key and before that is durable:
        what it does beside it becomes durable with it.
        """


class FolderPublisher:
    """See `Publisher`: puts outputs into the held folder `out`, from the run's folder in its file system."""

    def __init__(self, out: Folder, run_folder: Folder, log: IntentLog) -> None:
        self._out, self._run_folder, self._intents = out, run_folder, log
        self._durable_folders: set[str] = set()

    def publish(self, group: Sequence[Output], placed: Callable[[Output], None]) -> list[Exception | None]:
        """See `Publisher`."""
        faults: dict[ScratchFile, Exception] = {}
        try:
            synced = self._all(group, faults, lambda: self._sync(group))
        finally:
            for output in group:
                os.close(output.file.fileno())
        if synced:
            with _Folders(self._out) as folders:
                self._place_all(group, folders, placed, faults)
        return [faults.get(output.file) for output in group]

    def _place_all(
        self,
        group: Sequence[Output],
        folders: "_Folders",
        placed: Callable[[Output], None],
        faults: dict[ScratchFile, Exception],
    ) -> None:
        def place(output: Output) -> None:
            self._place(output, folders.folder_of(output.key))
            placed(output)

        there = [output for output in group if self._all([output], faults, functools.partial(place, output))]
        names = {os.path.dirname(output.key) for output in there}
        touched = {name: folders.held[name] for name in names}
        if there:
            self._all(there, faults, lambda: self._sync_folders(touched))

    def _all(self, group: Sequence[Output], faults: dict[ScratchFile, Exception], step: Callable[[], None]) -> bool:
        """Take a step for all together. Where it fails, it has failed for all, and of their files nothing is left."""
        try:
            step()
        except Exception as error:  # whatever it is, it costs these outputs and no others
            for output in group:
                with contextlib.suppress(OSError):  # the next run cleans it up
                    self._run_folder.remove(output.file.name)
                faults[output.file] = meaning_of(error, output.key) if isinstance(error, OSError) else error
            return False
        return True

    def _sync(self, group: Sequence[Output]) -> None:
        """The files, and what is intended with them."""
        self._intents.append(map(_intent, group))
        durable.sync_all([*(output.file.fileno() for output in group), self._intents.fileno()])

    def _sync_folders(self, folders: dict[str, Folder]) -> None:
        """The folders of new outputs, and those above them that this process has not synced yet.

        That one of them is there does not say that it is on the disk: another worker may just be making it.
        """
        above = {parent for name in folders for parent in self._unsynced_above(name)} - folders.keys()
        if len(above) <= FOLDERS_AT_ONCE or not durable.sync_file_system(self._out.fileno()):
            for names in _pieces(sorted(above)):
                with contextlib.ExitStack() as stack:
                    durable.sync_all([stack.enter_context(self._out.below(name)).fileno() for name in names])
            durable.sync_all([folder.fileno() for folder in folders.values()])
        self._durable_folders |= above | folders.keys()

    def _unsynced_above(self, folder: str) -> Iterator[str]:
        while folder and folder not in self._durable_folders:
            folder = os.path.dirname(folder)
            yield folder

    def _place(self, output: Output, folder: Folder) -> None:
        """Rename to the final name; over an earlier output of ours, never over a file that batchgray did not make."""
        name = os.path.basename(output.key)
        if output.replaces != "*":
            try:
                self._run_folder.rename_new(output.file.name, folder, name)
                return
            except FileExistsError:
                # Ours from before a crash that came between the rename and the journal, or from an earlier version of
                # the input.
                there = integrity.checksum_of(name, folder.fileno())
                if there not in (output.file.checksum, output.replaces):
                    raise Taken(output.key, "batchgray did not make it") from None
        if _is_same_file(output.source, folder, name):
            raise IsInput(output.key, "it is the input")
        self._run_folder.replace(output.file.name, folder, name)


class _Folders(contextlib.ExitStack):
    """The folders of a group's outputs, by name: looked up anew with each group, held until all in them is done."""

    def __init__(self, out: Folder) -> None:
        super().__init__()
        self._out = out
        self.held: dict[str, Folder] = {}

    def folder_of(self, key: str) -> Folder:
        """It is made where it is missing, but in an output folder that is gone. Raises OutsidePlace, OSError."""
        name = os.path.dirname(key)
        if name not in self.held:
            try:
                self.held[name] = self.enter_context(self._out.below(name, make=True))
            except LeadsOutside:
                raise OutsidePlace(key, "a link leads out of the place") from None
        return self.held[name]


def _intent(output: Output) -> Intent:
    return Intent(output=output.key, size=output.file.size, checksum=output.file.checksum)


def _is_same_file(source: str, folder: Folder, name: str) -> bool:
    try:
        return os.path.samestat(os.stat(source), os.stat(name, dir_fd=folder.fileno()))
    except OSError:
        return False  # there is no such target


def _pieces(names: list[str]) -> Iterator[list[str]]:
    """So many at a time as may well be open at once."""
    return (names[start : start + FOLDERS_AT_ONCE] for start in range(0, len(names), FOLDERS_AT_ONCE))
