"""A place that is a folder: a key is a name below it, and what is under a key is a regular file.

Links on the way to a key are followed as long as they stay in the folder; one that stands under a key itself is never
followed, listed or replaced by `put_absent`. Folders are no entries; those that a key needs are made.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from batchgray.records import InputVersion
from batchgray.storage import durable
from batchgray.storage.base import (
    BadKey,
    Buffer,
    Changed,
    Entry,
    Missing,
    NoPlace,
    Put,
    check_key,
    key_order,
    meaning,
)
from batchgray.storage.durable import Folder

_TEMPORARY = ".batchgray-put-"  # begins the names of what is on its way; it lies in the folder itself
_READ_BYTES = 8 << 20


class FolderPlace:
    """See `base.Place`."""

    def __init__(self, folder: Folder) -> None:
        """Takes over the held folder."""
        self._folder = folder

    @classmethod
    def at(cls, path: Path) -> "FolderPlace":
        """The folder at a path that the user named. Raises NoPlace, PlaceError."""
        try:
            with meaning():
                return cls(Folder.at(path))
        except (Missing, BadKey) as error:
            raise NoPlace("", error.reason) from None

    def close(self) -> None:
        self._folder.close()

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """See `Place`."""
        with self._about(prefix):
            ahead = [*self._entries_of("")[::-1]]
            while ahead:
                entry = ahead.pop()
                if entry.key.endswith("/"):
                    if _is_ahead(entry.key, prefix, after):
                        ahead += self._entries_of(entry.key)[::-1]
                elif _is_listed(entry.key, prefix, after):
                    yield entry

    def stat(self, key: str) -> Entry:
        """See `Place`."""
        with self._about(key), self._open(key) as file:
            return _entry(key, os.fstat(file.fileno()))

    def get(self, key: str, version: InputVersion | None = None, span: tuple[int, int] | None = None) -> bytes:
        """See `Place`."""
        with self._about(key), self._open(key) as file:
            before = _entry(key, os.fstat(file.fileno())).version
            start, count = span or (0, -1)
            file.seek(start)
            data = file.read(count)
            now = _entry(key, os.fstat(file.fileno())).version
        if not now.is_same(before if version is None else version):
            raise Changed(key, "it is another version by now")
        return data

    def put(self, key: str, pieces: Iterable[Buffer]) -> None:
        """See `Place`."""
        with (
            self._about(key),
            self._above(key, make=True) as (folder, name),
            folder.saving(name, self._temporary_name(), self._folder) as file,
        ):
            for piece in pieces:
                file.append(piece)

    def put_absent(self, key: str, pieces: Iterable[Buffer]) -> Put:
        """See `Place`."""
        temporary = self._temporary_name()
        with self._about(key), self._above(key, make=True) as (folder, name):
            with self._folder.temporary(temporary) as fd:
                for piece in pieces:
                    durable.write_all(fd, piece)
                durable.sync(fd)
            os.close(fd)
            try:
                self._folder.rename_new(temporary, folder, name)
                result = Put.CREATED
            except FileExistsError:
                result = self._compare(temporary, folder, name)
            finally:
                self._folder.remove(temporary)
            folder.sync()  # also what another made: it counts from now on
        return result

    def delete(self, key: str) -> None:
        """See `Place`."""
        with self._about(key):
            try:
                with self._above(key) as (folder, name):
                    found = folder.stat(name)
                    if found is not None and not stat.S_ISDIR(found.st_mode):
                        folder.remove(name)
                        folder.sync()
            except (FileNotFoundError, NotADirectoryError):
                pass  # nothing is under the key

    @contextmanager
    def _about(self, key: str) -> Iterator[None]:
        """Raises PlaceError instead of OSError."""
        try:
            with meaning(key):
                yield
        except Missing as error:
            if os.fstat(self._folder.fileno()).st_nlink == 0:
                raise NoPlace(key, error.reason) from None
            raise

    @contextmanager
    def _above(self, key: str, make: bool = False) -> Iterator[tuple[Folder, str]]:
        """The folder that a key's file lies in, and its name there. Raises OSError, BadKey."""
        check_key(key)
        if key.startswith(_TEMPORARY):
            raise BadKey(key, "such names are for what is on its way")
        above, _, name = key.rpartition("/")
        with self._folder.below(above, make) as folder:
            yield folder, name

    @contextmanager
    def _open(self, key: str) -> Iterator[BufferedReader]:
        """A key's file. Raises OSError, PlaceError."""
        try:
            with self._above(key) as (folder, name), folder.open(name) as file:
                yield file
        except (IsADirectoryError, NotADirectoryError) as error:
            raise Missing(key, str(error.strerror)) from None

    def _entries_of(self, key: str) -> Sequence[Entry]:
        """What is in the folder with this key, in order: files, and folders by keys that end with a slash."""
        try:
            with self._folder.below(key.rstrip("/")) as folder:
                found = [(name, folder.stat(name)) for name in folder.names()]
        except (FileNotFoundError, NotADirectoryError):
            if not key:
                raise
            return []  # it went meanwhile
        entries = [_entry(f"{key}{name}{_mark_of(each)}", each) for name, each in found if each and _is_known(each)]
        return sorted(entries, key=lambda entry: key_order(entry.key))

    def _compare(self, temporary: str, folder: Folder, name: str) -> Put:
        """Whether the file that is there holds the same bytes; a link never does. Raises OSError."""
        found = folder.stat(name)
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder", name)
        try:
            with self._folder.open(temporary) as ours, folder.open(name) as theirs:
                while (piece := ours.read(_READ_BYTES)) == theirs.read(_READ_BYTES):
                    if not piece:
                        return Put.SAME
        except OSError:
            pass
        return Put.OTHER

    def _temporary_name(self) -> str:
        """That no other thread or process has."""
        return f"{_TEMPORARY}{os.urandom(8).hex()}"


def _entry(key: str, found: os.stat_result) -> Entry:
    return Entry(key, found.st_size, InputVersion.of(found))


def _is_known(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)


def _mark_of(found: os.stat_result) -> str:
    return "/" if stat.S_ISDIR(found.st_mode) else ""


def _is_listed(key: str, prefix: str, after: str) -> bool:
    return key.startswith(prefix) and key_order(key) > key_order(after) and not key.startswith(_TEMPORARY)


def _is_ahead(folder: str, prefix: str, after: str) -> bool:
    """Whether a key in the folder with this key can begin with `prefix`, and come after `after`."""
    late = key_order(folder) > key_order(after) or after.startswith(folder)
    return late and (folder.startswith(prefix) or prefix.startswith(folder))
