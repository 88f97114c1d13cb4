"""Finished outputs into any place, a put each. A put is durable when it is answered, so there is nothing to sync."""

import os

from batchgray.storage import integrity
from batchgray.storage.base import Content, Place, Put
from batchgray.storage.durable import Folder
from batchgray.storage.publishing import TakenInPlace
from batchgray.storage.scratch import HeldFile, ScratchFile

_READ_BYTES = 8 << 20


class PlacePublisher:
    """Puts outputs into a place, from memory or from the folder `scratch`, and replaces nothing but what is ours.

    Whoever makes an output again makes the same bytes, so what stands there already is ours if it is the same. Other
    bytes may be another's, so they stay, also where an earlier version of batchgray made them and was cut off.
    """

    def __init__(self, place: Place, scratch: Folder) -> None:
        self._place, self._scratch = place, scratch

    def put(self, key: str, file: HeldFile | ScratchFile, replaces: str = "") -> None:
        """Durable under its key when it returns; else nothing is left of it. Raises TakenInPlace, PlaceError, OSError.

        `replaces` is the checksum of what an earlier round made under the key, which makes way; "" for nothing, "*" for
        anything.
        """
        if isinstance(file, HeldFile):
            self._put(key, file.data, replaces)
            return
        os.close(file.fileno())
        try:
            with self._scratch.open(file.name) as content:
                self._put(key, content, replaces)
        finally:
            self._scratch.remove(file.name)

    def _put(self, key: str, content: Content, replaces: str) -> None:
        if self._place.put_absent(key, content) is not Put.OTHER:
            return
        if replaces != "*" and (not replaces or integrity.checksum_in(self._place, key) != replaces):
            raise TakenInPlace(key, "other bytes are there")
        if not isinstance(content, bytes | bytearray | memoryview):
            content.seek(0)
        self._place.put(key, content)
