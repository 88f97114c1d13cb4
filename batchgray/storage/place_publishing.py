"""Finished outputs into any place, a put each. A put is durable when it is answered, so there is nothing to sync."""

import os

from batchgray.storage.base import Content, Place, Put
from batchgray.storage.durable import Folder
from batchgray.storage.publishing import Taken
from batchgray.storage.scratch import HeldFile, ScratchFile


class PlacePublisher:
    """Puts outputs into a place, from memory or from the folder `scratch`, and never replaces anything.

    Whoever makes an output again makes the same bytes, so what stands there already is ours if it is the same.
    """

    def __init__(self, place: Place, scratch: Folder) -> None:
        self._place, self._scratch = place, scratch

    def put(self, key: str, file: HeldFile | ScratchFile) -> None:
        """Durable under its key when it returns; else nothing is left of it. Raises Taken, PlaceError, OSError."""
        if isinstance(file, HeldFile):
            self._put(key, file.data)
            return
        os.close(file.fileno())
        try:
            with self._scratch.open(file.name) as content:
                self._put(key, content)
        finally:
            self._scratch.remove(file.name)

    def _put(self, key: str, content: Content) -> None:
        if self._place.put_absent(key, content) is Put.OTHER:
            raise Taken(key, "batchgray did not make it")
