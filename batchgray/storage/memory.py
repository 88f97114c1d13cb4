"""A place in this process's memory, for tests: what a store is like that has no folders and no files."""

import threading
from collections.abc import Iterable, Iterator

from batchgray.records import InputVersion
from batchgray.storage.base import Buffer, Changed, Entry, Missing, Put, check_key, key_order


class MemoryPlace:
    """See `base.Place`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, tuple[bytes, InputVersion]] = {}
        self._puts = 0

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """See `Place`."""
        with self._lock:
            held = dict(self._held)
        for key in sorted(held, key=key_order):
            if key.startswith(prefix) and key_order(key) > key_order(after):
                data, version = held[key]
                yield Entry(key, len(data), version)

    def stat(self, key: str) -> Entry:
        """See `Place`."""
        data, version = self._find(key)
        return Entry(key, len(data), version)

    def get(self, key: str, version: InputVersion | None = None, span: tuple[int, int] | None = None) -> bytes:
        """See `Place`."""
        data, found = self._find(key)
        if version is not None and not found.is_same(version):
            raise Changed(key, "it is another version by now")
        start, count = span or (0, len(data))
        return data[start : start + count]

    def put(self, key: str, pieces: Iterable[Buffer]) -> None:
        """See `Place`."""
        check_key(key)
        data = b"".join(pieces)
        with self._lock:
            self._keep(key, data)

    def put_absent(self, key: str, pieces: Iterable[Buffer]) -> Put:
        """See `Place`."""
        check_key(key)
        data = b"".join(pieces)
        with self._lock:
            if key not in self._held:
                self._keep(key, data)
                return Put.CREATED
            return Put.SAME if self._held[key][0] == data else Put.OTHER

    def delete(self, key: str) -> None:
        """See `Place`."""
        check_key(key)
        with self._lock:
            self._held.pop(key, None)

    def _keep(self, key: str, data: bytes) -> None:
        self._puts += 1
        self._held[key] = data, InputVersion(len(data), self._puts)

    def _find(self, key: str) -> tuple[bytes, InputVersion]:
        check_key(key)
        with self._lock:
            if key not in self._held:
                raise Missing(key, "there is nothing under this key")
            return self._held[key]
