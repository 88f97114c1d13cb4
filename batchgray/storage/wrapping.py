"""A place that is another one, for what has something to do before or after some of its calls."""

from collections.abc import Iterator

from batchgray.records import InputVersion
from batchgray.storage.base import Content, Entry, Place, Put


class WrappedPlace:
    """See `base.Place`."""

    def __init__(self, place: Place) -> None:
        self.name = place.name
        self._place = place

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        return self._place.list(prefix, after)

    def stat(self, key: str) -> Entry:
        return self._place.stat(key)

    def age(self, key: str) -> float | None:
        return self._place.age(key)

    def get(self, key: str, version: InputVersion | None = None, start: int = 0, end: int | None = None) -> bytes:
        return self._place.get(key, version, start, end)

    def put(self, key: str, content: Content) -> None:
        self._place.put(key, content)

    def put_absent(self, key: str, content: Content) -> Put:
        return self._place.put_absent(key, content)

    def delete(self, key: str) -> None:
        self._place.delete(key)

    def close(self) -> None:
        self._place.close()
