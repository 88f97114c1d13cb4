"""Intents: which file a worker is about to put under which name, on disk before the rename.

A crash can come after the rename of an output and before its journal line. Its input may even be changed before the
run goes on, and then the bytes under the output's name say nothing. The intent does: it knows the file by its
checksum, so that batchgray's own file is told from any other.

Each worker has a log of its own in the folder of what is in flight: a sealed JSON line an intent. A torn line is of a
rename that never came.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec

from batchgray import spelling
from batchgray.storage import durable
from batchgray.storage.sealing import SealedRecords, UnreadableRecord

SUFFIX = ".intents"


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """The file that is to stand under an output's name: its size in bytes and its checksum."""

    output: str
    output_base64: spelling.Bytes = msgspec.UNSET
    size: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    checksum: str


_INTENTS = SealedRecords(Intent, longest=1 << 20)


class IntentLog:
    """One worker's log. The file is made with the first intent."""

    def __init__(self, flight: durable.Folder, worker: int) -> None:
        self._flight, self._name = flight, f"{worker}{SUFFIX}"
        self._file: durable.AppendFile | None = None

    def append(self, intents: Iterable[Intent]) -> None:
        """Write intents down; durable when `fileno` was synced. Raises OSError."""
        if self._file is None:
            self._file = durable.AppendFile(self._flight, self._name)
            self._flight.sync()
        self._file.append(b"".join(map(_INTENTS.line, intents)))

    def fileno(self) -> int:
        """The log's descriptor, after the first `append`."""
        if self._file is None:
            raise ValueError("nothing was written down yet")
        return self._file.fileno()


def read(flight: durable.Folder, name: str) -> Iterator[Intent]:
    """The intents of the log of that name, oldest first. Raises OSError."""
    with flight.open(name) as file:
        for line in _INTENTS.lines(file):
            with contextlib.suppress(UnreadableRecord):
                yield _INTENTS.decode_line(line)
