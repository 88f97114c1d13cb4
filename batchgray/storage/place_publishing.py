"""Finished outputs into any place, a put each. A put is durable when it is answered, so there is nothing to sync."""

import itertools
import os

from batchgray.storage import integrity
from batchgray.storage.base import Content, Place, Put
from batchgray.storage.durable import Folder
from batchgray.storage.publishing import Taken
from batchgray.storage.scratch import HeldFile, ScratchFile

_READ_BYTES = 8 << 20


class PlacePublisher:
    """Puts outputs into a place, from memory or from the folder `scratch`, and replaces nothing but what is ours.

    Whoever makes an output again makes the same bytes, so what stands there already is ours if it is the same.
    """

    def __init__(self, place: Place, scratch: Folder) -> None:
        self._place, self._scratch = place, scratch

    def put(self, key: str, file: HeldFile | ScratchFile, replaces: str = "") -> None:
        """Durable under its key when it returns; else nothing is left of it. Raises Taken, PlaceError, OSError.

        `replaces` is the checksum of what an earlier round made under the key, which makes way; "" for nothing.
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
        if not replaces or self._checksum_of(key) != replaces:
            raise Taken(key, "batchgray did not make it")
        if not isinstance(content, bytes | bytearray | memoryview):
            content.seek(0)
        self._place.put(key, content)

    def _checksum_of(self, key: str) -> str:
        digest = integrity.Digest()
        version = self._place.stat(key).version
        for start in itertools.count(0, _READ_BYTES):
            piece = self._place.get(key, version, start, start + _READ_BYTES)
            digest.update(piece)
            if len(piece) < _READ_BYTES:
                break
        return str(digest)
