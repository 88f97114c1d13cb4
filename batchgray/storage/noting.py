"""A place that notes what is put into it below a prefix: for who may have to take back what it was late with."""

from batchgray.storage.base import Content, Place, Put
from batchgray.storage.wrapping import WrappedPlace


class NotingPlace(WrappedPlace):
    """See `base.Place`: another place. `noted` are the keys below `prefix` that were put, the oldest first."""

    def __init__(self, place: Place, prefix: str) -> None:
        super().__init__(place)
        self.noted: list[str] = []
        self._prefix = f"{prefix}/"

    def forget(self, count: int) -> None:
        """So many of the oldest."""
        del self.noted[:count]

    def put(self, key: str, content: Content) -> None:
        try:
            super().put(key, content)
        finally:
            self._note(key)

    def put_absent(self, key: str, content: Content) -> Put:
        try:
            return super().put_absent(key, content)
        finally:
            self._note(key)

    def _note(self, key: str) -> None:
        """When it was put, or may have been: what is on its way is not noted yet, and so not forgotten."""
        if key.startswith(self._prefix):
            self.noted.append(key)
