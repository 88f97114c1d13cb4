"""A place that is a folder: a key is a name below it, and what is under a key is a regular file.

Links on the way to a key are followed as long as they stay in the folder; one that stands under a key itself is never
followed, listed or taken for the same bytes, but where a folder is only read. Folders are no objects; those that a key
needs are made.
"""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from batchgray.records import InputVersion
from batchgray.storage import durable, put_names
from batchgray.storage.base import BadKey, Changed, Content, Entry, Missing, NoPlace, Put, meaning
from batchgray.storage.durable import Buffer, Folder
from batchgray.storage.keys import key_order
from batchgray.storage.names import is_plain

_READ_BYTES = 8 << 20
_ATTEMPTS = 5  # to give a file its name, while others remove the folder above


class FolderPlace:
    """See `base.Place`. `name` is how the folder is called."""

    def __init__(self, path: Path, follow_links: bool = False) -> None:
        """The folder at a path that the user named. Raises NoPlace, PlaceError.

        With `follow_links` a link to a file is that file, wherever it is: for folders that are only read.
        """
        self.name = str(path)
        try:
            with meaning():
                self._folder = Folder.at(path)
        except (Missing, BadKey) as error:
            raise NoPlace("", error.reason) from None
        self._follow_links = follow_links
        self._closed = False

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """See `Place`. A tree may be deeper than any stack."""
        with self._about(prefix), _Listed(self._folder, self._follow_links) as listed:
            ahead = listed.keys("")
            while ahead:
                key = ahead.pop()
                if key.endswith("/"):
                    if _is_ahead(key, prefix, after):
                        ahead += listed.keys(key)
                elif key.startswith(prefix) and key_order(key) > key_order(after) and (entry := listed.entry(key)):
                    yield entry

    def stat(self, key: str) -> Entry:
        """See `Place`."""
        with self._about(key), self._open(key) as file:
            return entry_of(key, os.fstat(file.fileno()))

    def age(self, key: str) -> None:
        """See `Place`: whose clock it is that the times are of can't be told."""

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
        with self._about(key), self._above(key, make=True):
            try:
                self._write(temporary, content)
                return self._give_name(temporary, key)
            finally:
                self._folder.remove(temporary)

    def set_time(self, key: str, mtime_ns: int) -> bool:
        """Give a file a modification time, in nanoseconds, durably. False where the file system won't have it."""
        with self._about(key), self._above(key) as (folder, name), folder.open(name) as file:
            try:
                os.utime(file.fileno(), ns=(time.time_ns(), mtime_ns))
            except OSError:
                return False
            durable.sync(file.fileno())
        return True

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

    def remove_empty(self, prefix: str) -> None:
        """Remove the folders below the one of this name that hold no file, however deep they are. Raises PlaceError."""
        with self._about(prefix):
            found, ahead = [], [prefix]
            while ahead:
                key = ahead.pop()
                found.append(key)
                with self._folder.below(key) as folder:
                    stats = [(name, folder.stat(name)) for name in folder.names()]
                ahead += [f"{key}/{name}" for name, each in stats if each and stat.S_ISDIR(each.st_mode)]
            for key in found[:0:-1]:
                above, _, name = key.rpartition("/")
                with self._folder.below(above) as folder:
                    folder.remove_folder(name)  # it stays where there is something in it

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
            with self._above(key) as (folder, name), folder.open(name, self._follow_links) as file:
                yield file
        except (IsADirectoryError, NotADirectoryError) as error:
            raise Missing(key, str(error.strerror)) from None

    def _give_name(self, temporary: str, key: str) -> Put:
        """Raises OSError. Another process may be removing the folder above, as it is empty: then it is made again."""
        for left in reversed(range(_ATTEMPTS)):
            with self._above(key, make=True) as (folder, name):
                try:
                    self._folder.rename_new(temporary, folder, name)
                    result = Put.CREATED
                except FileExistsError:
                    result = self._compare(temporary, folder, name)
                except FileNotFoundError:
                    if left:
                        continue
                    raise
                folder.sync()  # also for what another made: it counts from now on
                return result
        raise AssertionError("the last attempt returns or raises")

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


class _Listed(contextlib.AbstractContextManager["_Listed"]):
    """What is in a folder and below. Of files only the names are held, and each is looked at in its turn."""

    def __init__(self, root: Folder, follow_links: bool) -> None:
        self._root, self._follow_links = root, follow_links
        self._above, self._folder = "", root

    def __exit__(self, *exception: object) -> None:
        self._leave()

    def keys(self, folder: str) -> list[str]:
        """Of what is in the folder with this key, the last one first; those of folders end with a slash."""
        try:
            names = self._enter(folder).marked_names()
        except (FileNotFoundError, NotADirectoryError):
            if not folder:
                raise
            return []  # it went meanwhile
        keys = [folder + name for name in names if not name.startswith(put_names.PREFIX)]
        return sorted(keys, key=key_order, reverse=True)

    def entry(self, key: str) -> Entry | None:
        """Where a regular file is still there."""
        above, _, name = key.rpartition("/")
        try:
            found = self._enter(f"{above}/" if above else "").stat(name, self._follow_links)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:  # a link that leads to itself
                return None
            raise
        return entry_of(key, found) if found is not None and stat.S_ISREG(found.st_mode) else None

    def _enter(self, folder: str) -> Folder:
        if folder != self._above:
            self._leave()
            if folder:
                self._folder = self._root.below(folder.rstrip("/"))
                self._above = folder
        return self._folder

    def _leave(self) -> None:
        if self._folder is not self._root:
            self._folder.close()
        self._above, self._folder = "", self._root


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


def entry_of(key: str, found: os.stat_result) -> Entry:
    """Of a regular file that the system tells of."""
    return Entry(key, found.st_size, InputVersion.of(found))


def _is_ahead(folder: str, prefix: str, after: str) -> bool:
    """Whether a key in the folder with this key can begin with `prefix`, and come after `after`."""
    late = key_order(folder) > key_order(after) or after.startswith(folder)
    return late and (folder.startswith(prefix) or prefix.startswith(folder))
