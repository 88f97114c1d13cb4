"""A folder that is only read, in which links to folders are followed: what they hold is as if it were there."""

import contextlib
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from batchgray.storage.base import BadKey, Entry, Missing
from batchgray.storage.folder import FolderPlace, entry_of
from batchgray.storage.guards import open_regular
from batchgray.storage.keys import key_order
from batchgray.storage.links import Ways
from batchgray.storage.names import is_plain


class LinkedFolder(FolderPlace):
    """See `FolderPlace`. What is in `besides`, a real path, is left out, whatever leads there.

    All of it is walked with each listing: how far links are followed depends on what was walked before.
    """

    def __init__(self, path: Path, besides: str) -> None:
        super().__init__(path, follow_links=True)
        self._root, self._besides = os.path.realpath(path), besides

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """See `Place`. A tree may be deeper than any stack."""
        first, ways = key_order(after), Ways(self._root)
        with self._about(prefix):
            waiting = [iter(_keys_in(self._root, ""))]
            while waiting:
                key = next(waiting[-1], None)
                if key is None:
                    waiting.pop()
                    ways.leave()
                elif key.endswith("/"):
                    if self._enters(key, ways):
                        waiting.append(iter(_keys_in(self._root, key)))
                elif key.startswith(prefix) and key_order(key) > first and (entry := self._entry(key)):
                    yield entry

    def _enters(self, folder: str, ways: Ways) -> bool:
        path = self._path(folder.rstrip("/"))
        is_link = os.path.islink(path)
        real = f"{os.path.realpath(path)}/" if is_link else f"{path}/"
        return not real.startswith(f"{self._besides}/") and ways.enter(path, is_link) is None

    def _entry(self, key: str) -> Entry | None:
        """Where a regular file is still there, or at the end of a link."""
        try:
            found = os.stat(self._path(key))
        except OSError:
            return None
        return entry_of(key, found) if stat.S_ISREG(found.st_mode) else None

    def _path(self, key: str) -> str:
        return os.path.join(self._root, key)

    @contextlib.contextmanager
    def _open(self, key: str) -> Iterator[BufferedReader]:
        if not is_plain(key):
            raise BadKey(key, "no file can have this name here")
        try:
            with open_regular(self._path(key)) as file:
                yield file
        except (IsADirectoryError, NotADirectoryError) as error:
            raise Missing(key, str(error.strerror)) from None


def _keys_in(root: str, folder: str) -> list[str]:
    """Of what is in the folder with this key, in order; those of folders end with a slash."""
    try:
        with os.scandir(os.path.join(root, folder)) as entries:
            names = [entry.name + ("/" if _is_folder(entry) else "") for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        if not folder:
            raise
        return []  # it went meanwhile
    return sorted((folder + name for name in names), key=key_order)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder without permission
        return False
