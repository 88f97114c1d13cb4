"""Finished outputs to any place, a put each. A put is durable when it is answered, so there is nothing to sync."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from batchgray.storage.base import Place, Put, meaning
from batchgray.storage.durable import Folder
from batchgray.storage.publishing import Output, Taken

_PUTS_AT_ONCE = 8  # while one waits for its answer, others go


class PlacePublisher:
    """See `publishing.Publisher`: puts outputs from the folder `scratch` into a place, and never replaces anything.

    Whoever makes an output again makes the same bytes, so what stands there already is ours if it is the same.
    """

    def __init__(self, place: Place, scratch: Folder) -> None:
        self._place, self._scratch = place, scratch

    def publish(self, group: Sequence[Output], placed: Callable[[Output], None]) -> list[Exception | None]:
        """See `Publisher`. `placed` is called by several threads."""
        with ThreadPoolExecutor(min(len(group), _PUTS_AT_ONCE), "put") as threads:
            return list(threads.map(lambda output: self._publish(output, placed), group))

    def _publish(self, output: Output, placed: Callable[[Output], None]) -> Exception | None:
        try:
            with meaning(output.key):
                self._put(output)
            placed(output)
        except Exception as error:  # whatever it is, it costs this output and no other
            return error
        return None

    def _put(self, output: Output) -> None:
        """Raises Taken, PlaceError, OSError."""
        os.close(output.file.fileno())
        try:
            with self._scratch.open(output.file.name) as file:
                if self._place.put_absent(output.key, file) is Put.OTHER:
                    raise Taken(output.key, "batchgray did not make it")
        finally:
            self._scratch.remove(output.file.name)
