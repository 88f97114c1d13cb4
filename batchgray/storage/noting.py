"""A place that notes what is put into it below a prefix: for who may have to take back what it was late with."""

from collections.abc import Iterator

from batchgray.records import InputVersion
from batchgray.storage.base import Content, Entry, Place, Put

Keys = list[str]


class NotingPlace:
    """See `base.Place`: another place. `noted` are the keys below `prefix` that were put, the oldest first."""

    def __init__(self, place: Place, prefix: str) -> None:
        self.name = place.name
        self.noted: Keys = []
        self._place, self._prefix = place, f"{prefix}/"

    def forget(self, count: int) -> None:
        """So many of the oldest."""
        del self.noted[:count]

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        return self._place.list(prefix, after)

    def stat(self, key: str) -> Entry:
        return self._place.stat(key)

    def age(self, key: str) -> float | None:
        return self._place.age(key)

    def get(self, key: str, version: InputVersion | None = None, start: int = 0, end: int | None = None) -> bytes:
        return self._place.get(key, version, start, end)

    def put(self, key: str, content: Content) -> None:
        try:
            self._place.put(key, content)
        finally:
            self._note(key)

    def put_absent(self, key: str, content: Content) -> Put:
        try:
            return self._place.put_absent(key, content)
        finally:
            self._note(key)

    def delete(self, key: str) -> None:
        self._place.delete(key)

    def close(self) -> None:
        self._place.close()

    def _note(self, key: str) -> None:
        """When it was put, or may have been: what is on its way is not noted yet, and so not forgotten."""
        if key.startswith(self._prefix):
            self.noted.append(key)
