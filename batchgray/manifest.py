"""The manifest: one JSON document, a journal beside it, and the lock that makes one owner.

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
import errno
import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from batchgray import durable, errors, integrity, spelling
from batchgray.document import (
    VERSION,
    Count,
    Image,
    ImageChange,
    Interruption,
    Manifest,
    NoticeSource,
    Run,
    RunState,
    brief,
    fault_of,
)
from batchgray.guards import may_be_cut_off, open_descriptor, open_regular

# The records are the document's, and are had from here.
__all__ = [
    "Image",
    "ImageChange",
    "Interruption",
    "Manifest",
    "NoticeSource",
    "Run",
    "RunState",
    "Store",
    "load",
    "owning",
]

_HEAD_BYTES = 200
_LOOKING_SECONDS = 0.2
_OWNED_BY = "process "  # begins the text of a lock file; a power cut can make it empty, or zeros
_NO_FILE = {errno.ELOOP, errno.EMLINK, errno.EINVAL, errno.EISDIR}
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


def utc_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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
    return path.with_name(path.name + ".journal")


def lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def temporary_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


@contextlib.contextmanager
def owning(path: Path, locked: bool = True) -> Iterator[None]:
    """Be the one owner of the manifest; with `locked` False also where its file system refuses locks.

    Raises ManifestLocked, naming the owner, UnwritableOutput or UnlockableManifest.
    """
    try:
        fd = _lock_patiently(path)
    except errors.UnlockableManifest:
        if locked:
            raise
        fd = None
    except OSError as error:
        raise errors.UnwritableOutput(path.parent, error.strerror) from None
    if fd is None:
        yield
        return
    try:
        with contextlib.suppress(OSError):  # a full disk: the lock holds, only its owner's name is not told
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{_OWNED_BY}{os.getpid()} on {socket.gethostname()}, since {utc_now()}\n".encode(), 0)
        yield
    finally:
        if not path.exists():  # refused, or interrupted, before there was anything to own
            with contextlib.suppress(OSError):
                durable.remove(lock_path(path))
        os.close(fd)


def is_running(path: Path) -> bool:
    """Whether some process owns the manifest."""
    try:
        os.close(_lock(path, os.O_RDONLY, fcntl.LOCK_SH))
    except errors.ManifestLocked:
        return True
    except (OSError, errors.UnlockableManifest):
        pass  # no lock file, or no locks here
    return False


def _lock_patiently(path: Path) -> int:
    """The owner's lock. Somebody who only looks whether there is an owner holds it for a moment."""
    until = time.monotonic() + _LOOKING_SECONDS
    while True:
        try:
            return _lock(path, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)
        except errors.ManifestLocked:
            if time.monotonic() >= until:
                raise
            time.sleep(_LOOKING_SECONDS / 10)


def _lock(path: Path, flags: int, kind: int) -> int:
    """A descriptor that holds the lock until it is closed.

    Raises ManifestLocked, UnlockableManifest, and OSError where there is no file to lock.
    """
    try:
        fd = open_descriptor(lock_path(path), flags | os.O_NOFOLLOW)  # through a link, its target would be overwritten
    except OSError as error:
        if error.errno in _NO_FILE:
            raise errors.UnlockableManifest(lock_path(path), error.strerror) from None
        raise
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
        if not _OWNED_BY.startswith(os.pread(fd, len(_OWNED_BY), 0).rstrip(b"\0").decode("latin-1")):
            raise FileExistsError(errno.EEXIST, "it is somebody else's file")
    except BlockingIOError:
        owner = os.pread(fd, 500, 0).decode("utf-8", "replace").strip()
        os.close(fd)
        raise errors.ManifestLocked(path, owner or "another process") from None
    except OSError as error:
        os.close(fd)
        raise errors.UnlockableManifest(lock_path(path), error.strerror) from None
    if os.fstat(fd).st_nlink == 0:  # its last owner took it away while it was waited for
        os.close(fd)
        return _lock(path, flags, kind)
    return fd


class Store:
    """The owner's hand on the manifest: commit the document, append to the journal, sync it.

    What it replaces beside the document is its own, or what a crash left of that. Raises ForeignFile.
    """

    def __init__(self, path: Path) -> None:
        for own, beginning in ((temporary_path(path), _BEGINNING), (journal_path(path), _JOURNAL_BEGINNING)):
            if not may_be_cut_off(own, beginning):
                raise errors.ForeignFile(own)
        self.path = path
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
            self._write_document(manifest)
            self.close()
            durable.remove(journal_path(self.path))
            if manifest.state == "running":
                self._journal = durable.AppendFile(journal_path(self.path))
                durable.sync_folder(self.path.parent)
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

    def _write_document(self, manifest: Manifest) -> None:
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
        with durable.saving(self.path, temporary_path(self.path)) as file:
            file.append(integrity.seal(document))


def check_is_manifest(path: Path, or_ruin: bool = False) -> None:
    """A quick look, before anything is written beside it; `or_ruin` takes what a crash or a full disk left of one too.

    Raises NoSuchManifest, UnreadableManifest, DamagedManifest, ForeignManifest.
    """
    head = _head(path)
    if _VERSION.match(head):
        return
    if not _BEGINNING.startswith(head.rstrip(b"\0")):
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
