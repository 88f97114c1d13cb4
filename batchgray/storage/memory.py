"""A place in memory: for tests, and for what is to leave no trace."""

import threading
from collections.abc import Iterator

from batchgray.records import InputVersion
from batchgray.storage.base import BadKey, Changed, Content, Entry, Missing, Put, read_all
from batchgray.storage.names import is_plain


class MemoryPlace:
    """Objects in a dictionary. A version is the number of the put that made it."""

    def __init__(self, name: str = "memory://") -> None:
        self.name = name
        self._lock = threading.Lock()
        self._objects: dict[str, tuple[bytes, InputVersion]] = {}
        self._puts = 0

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        with self._lock:
            keys = sorted((key for key in self._objects if key.startswith(prefix)), key=_bytes_of)
            entries = [self._entry(key) for key in keys if _bytes_of(key) > _bytes_of(after)]
        return iter(entries)

    def stat(self, key: str) -> Entry:
        with self._lock:
            self._find(key)
            return self._entry(key)

    def age(self, key: str) -> None:
        """See `Place`: it has no clock."""

    def get(self, key: str, version: InputVersion | None = None, start: int = 0, end: int | None = None) -> bytes:
        with self._lock:
            data, found = self._find(key)
        if version not in (None, found):
            raise Changed(key, "it is another version")
        return data[start:end]

    def put(self, key: str, content: Content) -> None:
        _check(key)
        data = bytes(read_all(content))
        with self._lock:
            self._store(key, data)

    def put_absent(self, key: str, content: Content) -> Put:
        _check(key)
        data = bytes(read_all(content))
        with self._lock:
            if key in self._objects:
                return Put.SAME if self._objects[key][0] == data else Put.OTHER
            self._store(key, data)
        return Put.CREATED

    def delete(self, key: str) -> None:
        _check(key)
        with self._lock:
            self._objects.pop(key, None)

    def close(self) -> None:
        """There is nothing to let go of."""

    def _store(self, key: str, data: bytes) -> None:
        self._puts += 1
        self._objects[key] = data, InputVersion(size=len(data), mtime_ns=self._puts)

    def _find(self, key: str) -> tuple[bytes, InputVersion]:
        _check(key)
        try:
            return self._objects[key]
        except KeyError:
            raise Missing(key, "there is no such object") from None

    def _entry(self, key: str) -> Entry:
        data, version = self._objects[key]
        return Entry(key, len(data), version)


def _check(key: str) -> None:
    if not is_plain(key):
        raise BadKey(key, "a part of its name is empty, `.` or `..`")


def _bytes_of(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")
