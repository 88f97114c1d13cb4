"""A place that is a folder: a key is a name below it, and what is under a key is a regular file.

Links on the way to a key are followed as long as they stay in the folder; one that stands under a key itself is never
followed, listed or taken for the same bytes. Folders are no objects; those that a key needs are made.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from batchgray.records import InputVersion
from batchgray.storage import durable, put_names
from batchgray.storage.base import BadKey, Changed, Content, Entry, Missing, NoPlace, Put, meaning
from batchgray.storage.durable import Buffer, Folder
from batchgray.storage.names import is_plain

_READ_BYTES = 8 << 20


class FolderPlace:
    """See `base.Place`. `name` is how the folder is called."""

    def __init__(self, path: Path) -> None:
        """The folder at a path that the user named. Raises NoPlace, PlaceError."""
        self.name = str(path)
        try:
            with meaning():
                self._folder = Folder.at(path)
        except (Missing, BadKey) as error:
            raise NoPlace("", error.reason) from None
        self._closed = False

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """See `Place`. A tree may be deeper than any stack."""
        with self._about(prefix):
            ahead = [*self._entries_of("")[::-1]]
            while ahead:
                entry = ahead.pop()
                if entry.key.endswith("/"):
                    if _is_ahead(entry.key, prefix, after):
                        ahead += self._entries_of(entry.key)[::-1]
                elif entry.key.startswith(prefix) and _order_of(entry.key) > _order_of(after):
                    yield entry

    def stat(self, key: str) -> Entry:
        """See `Place`."""
        with self._about(key), self._open(key) as file:
            return _entry(key, os.fstat(file.fileno()))

    def get(self, key: str, version: InputVersion | None = None, start: int = 0, end: int | None = None) -> bytes:
        """See `Place`. What is written to while it is read is Changed too."""
        with self._about(key), self._open(key) as file:
            before = InputVersion.of(os.fstat(file.fileno()))
            file.seek(start)
            data = file.read(None if end is None else max(0, end - start))
            now = InputVersion.of(os.fstat(file.fileno()))
        if not now.is_same(before if version is None else version):
            raise Changed(key, "it is another version")
        return data

    def put(self, key: str, content: Content) -> None:
        """See `Place`."""
        with (
            self._about(key),
            self._above(key, make=True) as (folder, name),
            folder.saving(name, put_names.new_name(), self._folder) as file,
        ):
            for piece in _pieces(content):
                file.append(piece)

    def put_absent(self, key: str, content: Content) -> Put:
        """See `Place`."""
        temporary = put_names.new_name()
        with self._about(key), self._above(key, make=True) as (folder, name):
            try:
                self._write(temporary, content)
                self._folder.rename_new(temporary, folder, name)
                result = Put.CREATED
            except FileExistsError:
                result = self._compare(temporary, folder, name)
            finally:
                self._folder.remove(temporary)
            folder.sync()  # also for what another made: it counts from now on
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

    def sweep(self) -> None:
        """Remove what was on its way when its writer died; what others are putting now stays (see `put_names`)."""
        with self._about(""):
            if names := [name for name in self._folder.names() if name.startswith(put_names.PREFIX)]:
                now = self._now()
                for name in names:
                    found = self._folder.stat(name)
                    if found is not None and put_names.is_abandoned(name, now - found.st_mtime):
                        self._folder.remove(name)

    def _now(self) -> float:
        """By the clock of the file system, as it dates files. Raises OSError."""
        name = put_names.new_name()
        with self._folder.temporary(name) as fd:
            durable.write_all(fd, b"now")
            now = os.fstat(fd).st_mtime
        os.close(fd)
        self._folder.remove(name)
        return now

    def close(self) -> None:
        """See `Place`."""
        if not self._closed:
            self._closed = True
            self._folder.close()

    @contextmanager
    def _about(self, key: str) -> Iterator[None]:
        """Raises PlaceError instead of OSError, but for one of the content's."""
        try:
            with meaning(key):
                yield
        except _Unreadable as unreadable:
            raise unreadable.error from None
        except Missing as error:
            if os.fstat(self._folder.fileno()).st_nlink == 0:
                raise NoPlace(key, error.reason) from None
            raise

    @contextmanager
    def _above(self, key: str, make: bool = False) -> Iterator[tuple[Folder, str]]:
        """The folder that a key's file lies in, and its name there. Raises OSError, BadKey."""
        if not is_plain(key) or key.startswith(put_names.PREFIX):
            raise BadKey(key, "no file can have this name here")
        above, _, name = key.rpartition("/")
        with self._folder.below(above, make) as folder:
            yield folder, name

    @contextmanager
    def _open(self, key: str) -> Iterator[BufferedReader]:
        """A key's file. Raises OSError, Missing, BadKey."""
        try:
            with self._above(key) as (folder, name), folder.open(name) as file:
                yield file
        except (IsADirectoryError, NotADirectoryError) as error:
            raise Missing(key, str(error.strerror)) from None

    def _entries_of(self, key: str) -> Sequence[Entry]:
        """What is in the folder with this key, in order: files, and folders by keys that end with a slash."""
        try:
            with self._folder.below(key.rstrip("/")) as folder:
                found = [(name, folder.stat(name)) for name in folder.names() if not name.startswith(put_names.PREFIX)]
        except (FileNotFoundError, NotADirectoryError):
            if not key:
                raise
            return []  # it went meanwhile
        entries = [_entry(f"{key}{name}{_mark_of(each)}", each) for name, each in found if each and _is_known(each)]
        return sorted(entries, key=lambda entry: _order_of(entry.key))

    def _write(self, temporary: str, content: Content) -> None:
        """A new file, durable but for its name. Raises OSError; then nothing is left."""
        with self._folder.temporary(temporary) as fd:
            for piece in _pieces(content):
                durable.write_all(fd, piece)
            durable.sync(fd)
        os.close(fd)

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


class _Unreadable(Exception):
    """The content to be put can't be read: no fault of the place."""

    def __init__(self, error: OSError) -> None:
        self.error = error


def _pieces(content: Content) -> Iterator[Buffer]:
    """Raises _Unreadable."""
    if isinstance(content, bytes | bytearray | memoryview):
        yield content
        return
    try:
        while piece := content.read(_READ_BYTES):
            yield piece
    except OSError as error:
        raise _Unreadable(error) from None


def _entry(key: str, found: os.stat_result) -> Entry:
    return Entry(key, found.st_size, InputVersion.of(found))


def _is_known(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)


def _mark_of(found: os.stat_result) -> str:
    return "/" if stat.S_ISDIR(found.st_mode) else ""


def _is_ahead(folder: str, prefix: str, after: str) -> bool:
    """Whether a key in the folder with this key can begin with `prefix`, and come after `after`."""
    late = _order_of(folder) > _order_of(after) or after.startswith(folder)
    return late and (folder.startswith(prefix) or prefix.startswith(folder))


def _order_of(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")
