"""The journal: what happened to a manifest since its document was written, in order.

`Journal` is what the rest of the program sees of one. `FileJournal` is its form beside the document, one sealed JSON
line a record:

- a seal holds only at its line's place in its own journal;
- whatever was appended after the last sync may be missing or torn: replay stops there;
- what a later line says was synced and is broken all the same is damage, and is refused.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from batchgray import errors
from batchgray.manifest.records import Count, ImageChange, Interruption
from batchgray.storage import durable, integrity
from batchgray.storage.guards import open_regular
from batchgray.storage.sealing import SealedRecords, Undecodable, UnreadableRecord
from batchgray.texts import brief

JournalRecord = ImageChange | Interruption

BEGINNING = b'{"generation":'


class Superseded(Exception):
    """The journal is of a later document than the one that was read: that was replaced meanwhile, or is an old copy."""


class Journal(Protocol):
    """What happened to the images of a manifest, and to the run. What is recorded is durable after the next `sync`."""

    def record(self, changes: Iterable[ImageChange]) -> None:
        """What is now true of images, each of which is durable itself. Raises OSError."""

    def record_interruption(self, interruption: Interruption) -> None:
        """Raises OSError."""

    def sync(self) -> None:
        """Make durable what was recorded. May run in another thread than the records. Raises OSError."""

    @property
    def unsynced(self) -> bool:
        """Whether something was recorded that no sync has reached."""

    def replay(self) -> list[JournalRecord]:
        """What was recorded, as far as it is whole. Raises Superseded, UnreadableManifest, DamagedManifest."""

    def close(self) -> None:
        """Record no more. May be called again."""


class JournalLine(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A journal line holds one of these: the opening, a change, an interruption, or how far the journal is on disk."""

    generation: Count | None = None
    lineage: str | None = None
    change: ImageChange | None = None
    interruption: Interruption | None = None
    synced: Count | None = None

    def records(self) -> Iterator[JournalRecord]:
        if self.change is not None:
            yield self.change
        if self.interruption is not None:
            yield self.interruption


_LINES = SealedRecords(JournalLine, longest=1 << 20)


class FileJournal:
    """The journal at `path` of the document that has this lineage and generation; see `Journal`.

    One of an earlier generation is already in the document, and one of another lineage belongs to a run that was
    overwritten: of both nothing is replayed.
    """

    def __init__(self, path: Path, lineage: str, generation: int) -> None:
        self._path, self._lineage, self._generation = path, lineage, generation
        self._file: durable.AppendFile | None = None
        self._seed = 0
        self._appended = 0
        self._synced = 0
        self._marked = 0

    def begin(self, folder: durable.Folder) -> None:
        """Make the file, which is not there yet, in its held folder. Only then anything is recorded. Raises OSError."""
        self._file = durable.AppendFile(folder, self._path.name)
        folder.sync()
        self._append([JournalLine(generation=self._generation, lineage=self._lineage)])
        self._seed = seed_of(self._lineage, self._generation)

    def record(self, changes: Iterable[ImageChange]) -> None:
        self._append([JournalLine(change=change) for change in changes])

    def record_interruption(self, interruption: Interruption) -> None:
        self._append([JournalLine(interruption=interruption)])

    def sync(self) -> None:
        if self._file is not None:
            reached = self._appended
            self._file.sync()
            self._synced = reached

    @property
    def unsynced(self) -> bool:
        return self._appended > self._synced

    def replay(self) -> list[JournalRecord]:
        try:
            lines = _read_lines(self._path, seed_of(self._lineage, self._generation))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise errors.UnreadableManifest(self._path, error.strerror) from None
        if not lines or lines[0].generation is None or lines[0].lineage != self._lineage:
            return []
        if lines[0].generation > self._generation:
            raise Superseded
        if lines[0].generation < self._generation:
            return []
        return [record for line in lines for record in line.records()]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, lines: list[JournalLine]) -> None:
        if self._synced > self._marked:
            self._marked = self._synced
            lines = [JournalLine(synced=self._synced), *lines]
        data = bytearray()
        for line in lines:
            data += _LINES.line(line, self._seed + self._appended + len(data))
        if self._file is None:
            raise RuntimeError("the journal is not open")
        self._file.append(data)
        self._appended += len(data)


def seed_of(lineage: str | None, generation: int | None) -> int:
    """What the seals of a journal's further lines begin from, so that no other journal's line passes for one."""
    return integrity.number(f"{lineage} {generation}")


def _read_lines(path: Path, seed: int) -> list[JournalLine]:
    """The lines up to the first that is torn. Raises OSError, DamagedManifest.

    `seed` is that of the document's own journal, for one whose opening is torn.
    """
    lines: list[JournalLine] = []
    broken_at: int | None = None
    start = synced = 0
    with open_regular(path) as file:
        for raw in _LINES.lines(file):
            line = _decode_line(path, raw, start, start and seed + start)
            if line is None:
                broken_at = start if broken_at is None else broken_at
            else:
                synced = max(synced, line.synced or 0)
                if start == 0:
                    seed = seed_of(line.lineage, line.generation)
                if broken_at is None:
                    lines.append(line)
            start += len(raw)
    if broken_at is not None and broken_at < synced:
        raise errors.DamagedManifest(path, f"the line at byte {broken_at} is not as it was written")
    return lines


def _decode_line(path: Path, raw: bytes, start: int, seed: int) -> JournalLine | None:
    """None where the line is not the one that was written at this place of this journal."""
    try:
        return _LINES.decode_line(raw, seed)
    except Undecodable as error:
        raise errors.DamagedManifest(path, f"the line at byte {start}: {brief(str(error))}") from None
    except UnreadableRecord:
        return None
