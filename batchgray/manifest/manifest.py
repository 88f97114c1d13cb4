"""The manifest: one JSON document, and a journal beside it. A link to it is the manifest: all goes by its real path.

The document is replaced atomically when a run starts, ends or is interrupted. In between, the journal takes one line
an event, so that a checkpoint costs the same for ten images and a million. Together they are the truth, and a crash
may cut either off anywhere:

- the journal belongs to the document of its `lineage` and `generation`; one of an earlier generation is already in the
  document, one of another lineage belongs to a run that was overwritten: both are ignored;
- every line carries a seal, which holds only at its place in its own journal. Whatever was appended after the last sync
  may be missing or torn: replay stops there, without drama. What a later line says was synced and is broken all the
  same is damage, and is refused;
- a line is written only after what it tells of is durable, so that the manifest may lag the disk but never leads it.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from batchgray import errors, spelling
from batchgray.manifest.document import (
    VERSION,
    Count,
    Image,
    ImageChange,
    Interruption,
    Manifest,
    Run,
    RunState,
    brief,
    fault_of,
)
from batchgray.storage import durable, integrity
from batchgray.storage.guards import may_be_cut_off, open_regular

# The records are the document's, and are had from here.
__all__ = [
    "Image",
    "ImageChange",
    "Interruption",
    "Manifest",
    "Run",
    "RunState",
    "Store",
    "load",
]

_HEAD_BYTES = 200
_READ_BYTES = 8 << 20
_LONGEST_LINE = 256 << 20  # the head line has all input folders and interruptions; no image's line comes near
_JOURNAL_PIECE = 1 << 20


class JournalLine(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A journal line holds one of these: the opening, a change, an interruption, or how far the journal is on disk."""

    generation: Count | None = None
    lineage: str | None = None
    change: ImageChange | None = None
    interruption: Interruption | None = None
    synced: Count | None = None


_LINES = msgspec.json.Decoder(JournalLine)
_DOCUMENTS = msgspec.json.Decoder(Manifest)
_ENCODER = msgspec.json.Encoder()
_BEGINNING = b'{"version":1,"batchgray":"'
_JOURNAL_BEGINNING = b'{"generation":'
_VERSION = re.compile(rb'\s*\{\s*"version"\s*:\s*(\d{1,18})\s*,\s*"batchgray"')
_UNDECODABLE = (msgspec.DecodeError, ValueError, RecursionError, errors.UsageError)


def load(path: Path) -> Manifest:
    """The manifest with its journal replayed.

    Raises NoSuchManifest, UnreadableManifest, ForeignManifest, DamagedManifest, FutureManifest.
    """
    while True:
        head = _head(path)
        manifest = _load_document(path)
        lines = _load_journal(path, manifest)
        if lines or (lines is not None and _head(path) == head):
            break  # else the document was replaced between the two reads: look again
    for line in lines:
        if line.change:
            try:
                line.change.apply(manifest.images)
            except IndexError:
                raise errors.DamagedManifest(journal_path(path), f"it tells of an image {line.change.image}") from None
        if line.interruption:
            manifest.interruptions.append(line.interruption)
            manifest.state = "interrupted"
    if fault := fault_of(manifest, path):
        raise errors.DamagedManifest(path, fault)
    return manifest


def journal_path(path: Path) -> Path:
    real = Path(os.path.realpath(path))
    return real.with_name(f"{real.name}.journal")


def temporary_path(path: Path) -> Path:
    real = Path(os.path.realpath(path))
    return real.with_name(f".{real.name}.tmp")


class Store:
    """The owner's hand on the manifest: commit the document, append to the journal, sync it.

    Its folder is held from the first commit on. What it replaces there beside the document is its own, or what a crash
    left of that. Raises ForeignFile.
    """

    def __init__(self, path: Path) -> None:
        for own, beginning in ((temporary_path(path), _BEGINNING), (journal_path(path), _JOURNAL_BEGINNING)):
            if not may_be_cut_off(own, beginning):
                raise errors.ForeignFile(own)
        self.path = path
        self._name = os.path.basename(os.path.realpath(path))
        self._folder: durable.Folder | None = None
        self._journal: durable.AppendFile | None = None
        self._seed = 0
        self._appended = 0
        self._synced = 0
        self._marked = 0

    def commit(self, manifest: Manifest) -> None:
        """Replace the document durably, and begin a journal where work goes on. Raises ManifestUnwritable.

        A full disk raises OSError.
        """
        manifest.generation += 1
        try:
            if self._folder is None:
                self._folder = durable.Folder.at(Path(os.path.realpath(self.path)).parent)
            self._write_document(self._folder, manifest)
            self._close_journal()
            self._folder.remove(f"{self._name}.journal")
            if manifest.state == "running":
                self._journal = durable.AppendFile(self._folder, f"{self._name}.journal")
                self._folder.sync()
                self._seed = self._appended = self._synced = self._marked = 0
                opening = JournalLine(generation=manifest.generation, lineage=manifest.lineage)
                self._append([opening])
                self._seed = _journal_seed(manifest.lineage, manifest.generation)
        except OSError as error:
            if error.errno in durable.FULL_DISK:
                raise
            raise errors.ManifestUnwritable(self.path, error.strerror) from error

    def record(self, changes: list[ImageChange]) -> None:
        """Append what is now true; on disk after the next sync."""
        self._append([JournalLine(change=change) for change in changes])

    def record_interruption(self, interruption: Interruption) -> None:
        self._append([JournalLine(interruption=interruption)])

    def sync(self) -> None:
        """Bring the journal to the disk. May run in another thread than the appends."""
        if self._journal is not None:
            reached = self._appended
            self._journal.sync()
            self._synced = reached

    @property
    def unsynced(self) -> bool:
        return self._appended > self._synced

    def close(self) -> None:
        """May be called again."""
        self._close_journal()
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def _close_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _append(self, lines: list[JournalLine]) -> None:
        if self._synced > self._marked:
            self._marked = self._synced
            lines = [JournalLine(synced=self._synced), *lines]
        data = bytearray()
        for line in lines:
            data += integrity.seal(_ENCODER.encode(line), self._seed + self._appended + len(data)) + b"\n"
        if self._journal is None:
            raise RuntimeError("the journal is not open")
        self._journal.append(data)
        self._appended += len(data)

    def _write_document(self, folder: durable.Folder, manifest: Manifest) -> None:
        head = spelling.to_json(msgspec.structs.replace(manifest, images=[]))
        document = bytearray(head[: -len(b"]}")])
        for image in manifest.images:
            document += b"\n"
            end = len(document)
            try:
                _ENCODER.encode_into(image, document, end)
            except UnicodeEncodeError:
                _ENCODER.encode_into(spelling.spelled(image), document, end)
            document += b","
        if manifest.images:
            document[-1:] = b"\n"
        document += b"]}"
        with folder.saving(self._name, f".{self._name}.tmp") as file:
            file.append(integrity.seal(document))


def check_is_manifest(path: Path, or_ruin: bool = False) -> None:
    """A quick look, before anything is written beside it; `or_ruin` takes what a crash or a full disk left of one too.

    Raises NoSuchManifest, UnreadableManifest, DamagedManifest, ForeignManifest.
    """
    head = _head(path)
    if _VERSION.match(head):
        return
    if not may_be_cut_off(os.path.realpath(path), _BEGINNING):
        raise errors.ForeignManifest(path, "it is not a manifest")
    if not or_ruin:
        raise errors.DamagedManifest(path, "its beginning is lost")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise errors.NoSuchManifest(path) from None
    except OSError as error:
        raise errors.UnreadableManifest(path, error.strerror) from None


def _head(path: Path) -> bytes:
    """The document's first bytes, with its state and generation: another commit, another head."""
    with _reading(path), open_regular(path) as file:
        return file.read(_HEAD_BYTES)


def _load_document(path: Path) -> Manifest:
    check_is_manifest(path)
    data = _read_sealed(path)
    try:
        manifest: Manifest = spelling.decoded(_DOCUMENTS, data)
    except _UNDECODABLE as error:
        _refuse_future(path, data)
        raise errors.DamagedManifest(path, brief(str(error))) from None
    if manifest.version != VERSION:
        raise errors.FutureManifest(path, manifest.version, VERSION)
    return manifest


def _read_sealed(path: Path) -> bytearray:
    """The document, to the bit as it was written. What is not costs no more memory than a line of it."""
    with _reading(path), open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - integrity.SEAL_BYTES))
        if not integrity.looks_sealed(file.read(integrity.SEAL_BYTES)):
            _refuse_future(path, _head(path))
            raise errors.DamagedManifest(path, "it is not whole")
        file.seek(0)
        data = bytearray()
        line_at = 0
        while piece := file.read(_READ_BYTES):
            data += piece
            line_at = max(line_at, data.rfind(b"\n", len(data) - len(piece)))
            if len(data) - line_at > _LONGEST_LINE:
                raise errors.DamagedManifest(path, "a line of it is longer than any that batchgray writes")
    if not integrity.sealed(data):
        _refuse_future(path, data)
        raise errors.DamagedManifest(path, "it is not as it was written")
    return data


def _refuse_future(path: Path, data: bytes | bytearray) -> None:
    """What can't be read may be of a later version, whose first two fields are the same. Raises FutureManifest."""
    found = _VERSION.match(data)
    if found and int(found[1]) > VERSION:
        raise errors.FutureManifest(path, int(found[1]), VERSION)


def _load_journal(path: Path, manifest: Manifest) -> list[JournalLine] | None:
    """The lines to replay; None where the journal is newer than the document just read."""
    try:
        lines = _read_journal(journal_path(path), _journal_seed(manifest.lineage, manifest.generation))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise errors.UnreadableManifest(journal_path(path), error.strerror) from None
    if not lines or lines[0].generation is None or lines[0].lineage != manifest.lineage:
        return []
    if lines[0].generation < manifest.generation:
        return []
    if lines[0].generation > manifest.generation:
        if _load_document(path).generation == manifest.generation:
            raise errors.DamagedManifest(path, "its journal is newer than it is; it was put back from an old copy")
        return None
    return lines


def _read_journal(path: Path, seed: int) -> list[JournalLine]:
    """The lines up to the first that is torn. Raises OSError, DamagedManifest.

    `seed` is that of the document's own journal, for one whose opening is torn.
    """
    lines: list[JournalLine] = []
    broken_at: int | None = None
    start = synced = 0
    with open_regular(path) as file:
        while raw := file.readline(_JOURNAL_PIECE):
            line = _decode_line(path, raw.rstrip(b"\n"), start, start and seed + start)
            if line is None:
                broken_at = start if broken_at is None else broken_at
            else:
                synced = max(synced, line.synced or 0)
                if start == 0:
                    seed = _journal_seed(line.lineage, line.generation)
                if broken_at is None:
                    lines.append(line)
            start += len(raw)
    if broken_at is not None and broken_at < synced:
        raise errors.DamagedManifest(path, f"the line at byte {broken_at} is not as it was written")
    return lines


def _decode_line(path: Path, raw: bytes, start: int, seed: int) -> JournalLine | None:
    """None where the line is not the one that was written at this place of this journal."""
    if not integrity.sealed(raw, seed):
        return None
    try:
        return _LINES.decode(raw)
    except _UNDECODABLE as error:
        raise errors.DamagedManifest(path, f"the line at byte {start}: {brief(str(error))}") from None


def _journal_seed(lineage: str | None, generation: int | None) -> int:
    """What the seals of a journal's further lines begin from, so that no other journal's line passes for one."""
    return integrity.number(f"{lineage} {generation}")
