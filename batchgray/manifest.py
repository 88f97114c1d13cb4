"""The manifest: one JSON document, a journal beside it, and the lock that makes one owner.

The document is replaced atomically when a run starts, ends or is interrupted. In between, the journal takes one line
an event, so that a checkpoint costs the same for ten images and a million. Together they are the truth, and a crash
may cut either off anywhere:

- the journal belongs to the document of its `lineage` and `generation`; one of an earlier generation is already in the
  document, one of another lineage belongs to a run that was overwritten: both are ignored;
- every line carries a seal. Whatever was appended after the last sync may be missing or torn: replay stops there,
  without drama. What a later line says was synced and is broken all the same is damage, and is refused;
- a line is written only after what it tells of is durable, so that the manifest may lag the disk but never leads it.
"""

import contextlib
import fcntl
import os
import secrets
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec

import batchgray
from batchgray import durable, errors, integrity
from batchgray.messages import SourceIdentity
from batchgray.options import PixelOptions

VERSION = 1
_HEAD_BYTES = 200
_LOOKING_SECONDS = 0.2

ImageState = Literal["pending", "partial", "done", "failed"]
RunState = Literal["running", "interrupted", "complete", "complete_with_failures"]
NoticeSource = Literal["smq", "metadata", "signal", "disk"]


class Image(msgspec.Struct, kw_only=True, gc=False):
    """One input and what became of it: `source` below `input_roots[root]`, `output` below the output folder.

    An input that planning had to refuse (a name that isn't UTF-8, a folder that can't be read) is failed and has no
    output name. `checksum` and `output_size` tell of the file under the output's name, also while it waits to be made
    anew; `mend` says that the file there was found damaged and may be replaced whatever it holds.
    """

    root: int
    source: str
    output: str
    state: ImageState = "pending"
    size: int
    mtime_ns: int
    width: int | None = None
    height: int | None = None
    tiles_done: int = 0
    tiles_total: int | None = None
    output_size: int | None = None
    checksum: str | None = None
    error: str | None = None
    note: str | None = None
    mend: bool = False

    @property
    def identity(self) -> SourceIdentity:
        return SourceIdentity(self.size, self.mtime_ns)

    @property
    def resumable(self) -> bool:
        """Whether the work can go on; not so for inputs that planning refused."""
        return bool(self.output)


class Interruption(msgspec.Struct, kw_only=True, frozen=True):
    """Times are UTC in ISO 8601; `event_id` is the notice's id, or the signal's name."""

    at: str
    source: NoticeSource
    event_id: str | None
    deadline: str | None


class Manifest(msgspec.Struct, kw_only=True):
    """The document. `lineage` is drawn when it begins: the journal of one that was overwritten is never replayed.

    `output_root` is "." where the manifest lies in its output folder, else that folder's absolute path.
    """

    version: int = VERSION
    batchgray: str = batchgray.__version__
    state: RunState = "running"
    generation: int = 0
    run_id: str
    lineage: str = msgspec.field(default_factory=lambda: secrets.token_hex(8))
    options: PixelOptions
    max_pixels: int
    output_root: str
    input_roots: list[str]
    interruptions: list[Interruption] = msgspec.field(default_factory=list)
    images: list[Image] = msgspec.field(default_factory=list)  # last, so that it can be written a line an image

    def output_folder(self, manifest: Path) -> Path:
        """The output folder, absolute, of the manifest at this path."""
        return (manifest.absolute().parent / self.output_root).absolute()


class _Probe(msgspec.Struct):
    """What every manifest of batchgray has, of whatever version."""

    version: int
    batchgray: str


class ImageChange(msgspec.Struct, kw_only=True, frozen=True):
    """A journal line: what is now true of an image. Absent fields stay as they were."""

    image: int
    state: ImageState
    size: int | msgspec.UnsetType = msgspec.UNSET
    mtime_ns: int | msgspec.UnsetType = msgspec.UNSET
    width: int | msgspec.UnsetType = msgspec.UNSET
    height: int | msgspec.UnsetType = msgspec.UNSET
    tiles_done: int | msgspec.UnsetType = msgspec.UNSET
    tiles_total: int | msgspec.UnsetType = msgspec.UNSET
    output_size: int | msgspec.UnsetType = msgspec.UNSET
    checksum: str | msgspec.UnsetType = msgspec.UNSET
    note: str | msgspec.UnsetType | None = msgspec.UNSET
    error: str | None = None
    mend: bool | msgspec.UnsetType = msgspec.UNSET

    def apply(self, images: list[Image]) -> None:
        """Make it true. Raises IndexError."""
        target = images[self.image]
        for name in self.__struct_fields__[1:]:
            value = getattr(self, name)
            if value is not msgspec.UNSET:
                setattr(target, name, value)


class _Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A journal line holds one of these: the opening, a change, an interruption, or how far the journal is on disk."""

    generation: int | None = None
    lineage: str | None = None
    change: ImageChange | None = None
    interruption: Interruption | None = None
    synced: int | None = None


_LINES = msgspec.json.Decoder(_Line)
_DOCUMENTS = msgspec.json.Decoder(Manifest)
_ENCODER = msgspec.json.Encoder()


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
    return manifest


def journal_path(path: Path) -> Path:
    return path.with_name(path.name + ".journal")


def lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


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
            os.pwrite(fd, f"process {os.getpid()} on {socket.gethostname()}, since {utc_now()}\n".encode(), 0)
        yield
    finally:
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
    fd = os.open(lock_path(path), flags | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(fd, 500, 0).decode("utf-8", "replace").strip()
        os.close(fd)
        raise errors.ManifestLocked(path, owner or "another process") from None
    except OSError as error:
        os.close(fd)
        raise errors.UnlockableManifest(lock_path(path), error.strerror) from None
    return fd


class Store:
    """The owner's hand on the manifest: commit the document, append to the journal, sync it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._journal: durable.AppendFile | None = None
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
                self._appended = self._synced = self._marked = 0
                self._append([_Line(generation=manifest.generation, lineage=manifest.lineage)])
        except OSError as error:
            if error.errno in durable.FULL_DISK:
                raise
            raise errors.ManifestUnwritable(self.path, error.strerror) from error

    def record(self, changes: list[ImageChange]) -> None:
        """Append what is now true; on disk after the next sync."""
        self._append([_Line(change=change) for change in changes])

    def record_interruption(self, interruption: Interruption) -> None:
        self._append([_Line(interruption=interruption)])

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

    def _append(self, lines: list[_Line]) -> None:
        if self._synced > self._marked:
            self._marked = self._synced
            lines = [_Line(synced=self._synced), *lines]
        data = b"".join(integrity.seal(_ENCODER.encode(line)) + b"\n" for line in lines)
        if self._journal is None:
            raise RuntimeError("the journal is not open")
        self._journal.append(data)
        self._appended += len(data)

    def _write_document(self, manifest: Manifest) -> None:
        head = _ENCODER.encode(msgspec.structs.replace(manifest, images=[]))
        document = bytearray(head[: -len(b"]}")])
        for image in manifest.images:
            document += b"\n"
            _ENCODER.encode_into(image, document, -1)
            document += b","
        if manifest.images:
            document[-1:] = b"\n"
        document += b"]}"
        with durable.saving(self.path, self.path.with_name(f".{self.path.name}.tmp")) as file:
            file.append(integrity.seal(document))


def check_is_manifest(path: Path) -> None:
    """A quick look, before anything is written beside it.

    Raises NoSuchManifest, UnreadableManifest, ForeignManifest.
    """
    if b'"batchgray"' not in _head(path):
        raise errors.ForeignManifest(path, "it is not a manifest")


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
    with _reading(path), path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _load_document(path: Path) -> Manifest:
    check_is_manifest(path)
    with _reading(path):
        data = path.read_bytes()
    try:
        probe = msgspec.json.decode(data, type=_Probe)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise errors.DamagedManifest(path, "it is not whole") from None
    if probe.version > VERSION:
        raise errors.FutureManifest(path, probe.version, VERSION)
    if not integrity.sealed(data):
        raise errors.DamagedManifest(path, "it is not as it was written")
    try:
        manifest = _DOCUMENTS.decode(data)
    except (msgspec.DecodeError, errors.UsageError) as error:
        raise errors.DamagedManifest(path, str(error)) from None
    for image in manifest.images:
        _check_image(path, image, len(manifest.input_roots))
    return manifest


def is_inside(name: str) -> bool:
    """Whether a relative name stays below the folder that it is relative to."""
    return "\0" not in name and not name.startswith("/") and ".." not in PurePosixPath(name).parts


def _check_image(path: Path, image: Image, roots: int) -> None:
    """A manifest from a stranger must not lead outside its folders."""
    for name in (image.output, image.source):
        if not is_inside(name):
            raise errors.DamagedManifest(path, f"the name {name} leads outside its folder")
    if not 0 <= image.root < roots:
        raise errors.DamagedManifest(path, f"{image.source} has no input folder")


def _load_journal(path: Path, manifest: Manifest) -> list[_Line] | None:
    """The lines to replay; None where the journal is newer than the document just read."""
    try:
        data = journal_path(path).read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise errors.UnreadableManifest(journal_path(path), error.strerror) from None
    lines: list[_Line] = []
    broken_at, start, synced = len(data), 0, 0
    for raw in data.split(b"\n"):
        line = _decode_line(raw)
        if line is None:
            broken_at = min(broken_at, start)
        else:
            synced = max(synced, line.synced or 0)
            if start < broken_at:
                lines.append(line)
        start += len(raw) + 1
    if broken_at < synced:
        raise errors.DamagedManifest(journal_path(path), f"the line at byte {broken_at} is not as it was written")
    if not lines or lines[0].generation is None or lines[0].lineage != manifest.lineage:
        return []
    if lines[0].generation < manifest.generation:
        return []
    if lines[0].generation > manifest.generation:
        if _load_document(path).generation == manifest.generation:
            raise errors.DamagedManifest(path, "its journal is newer than it is; it was put back from an old copy")
        return None
    return lines


def _decode_line(raw: bytes) -> _Line | None:
    if not integrity.sealed(raw):
        return None
    try:
        return _LINES.decode(raw)
    except msgspec.DecodeError:
        return None
