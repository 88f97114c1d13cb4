"""The manifest: one JSON document, and a journal beside it. A link to it is the manifest: all goes by its real path.

The document is replaced atomically when a run starts, ends or is interrupted. In between, the journal takes one line
an event, so that a checkpoint costs the same for ten images and a million. Together they are the truth, and a crash
may cut either off anywhere:

- the journal belongs to the document of its `lineage` and `generation`; one of an earlier generation is already in the
  document, one of another lineage belongs to a run that was overwritten: both are ignored;
- a line is written only after what it tells of is durable, so that the manifest may lag the disk but never leads it;
- a journal may be torn where it was not synced, and nowhere else (see `journal`).
"""

from collections.abc import Iterable
from pathlib import Path

from batchgray import errors
from batchgray.manifest import document, journal
from batchgray.manifest.files import files_of
from batchgray.manifest.journal import FileJournal, Journal, JournalRecord
from batchgray.manifest.records import ImageChange, Interruption, Manifest, find_fault
from batchgray.storage import durable
from batchgray.storage.base import is_full
from batchgray.storage.guards import may_be_cut_off


def load_manifest(path: Path) -> Manifest:
    """The manifest with its journal replayed.

    Raises NoSuchManifest, UnreadableManifest, ForeignManifest, DamagedManifest, FutureManifest.
    """
    manifest, records = _read_both(path)
    for record in records:
        _apply(record, manifest, path)
    if fault := find_fault(manifest, path):
        raise errors.DamagedManifest(path, fault)
    return manifest


class Store:
    """How the owner of a manifest writes it: commit the document, append to the journal, sync it.

    The folder is held from the first commit on. The files beside the document that are replaced there are batchgray's,
    or what a crash left of those. Raises ForeignFile.
    """

    commit_has_all = False  # on a full disk the journal finds space where the document does not
    hurries = False  # nobody waits for what is synced

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = files_of(path)
        for own, beginning in (
            (self._files.temporary, document.BEGINNING),
            (self._files.journal, journal.BEGINNING),
        ):
            if not may_be_cut_off(own, beginning):
                raise errors.ForeignFile(own)
        self._folder: durable.Folder | None = None
        self._journal: Journal | None = None

    def commit(self, manifest: Manifest) -> None:
        """Replace the document durably, and begin a journal where work goes on. Raises ManifestUnwritable.

        A full disk raises OSError.
        """
        manifest.generation += 1
        try:
            if self._folder is None:
                self._folder = durable.Folder.at(self._files.document.parent)
            self._write_document(self._folder, manifest)
            self._close_journal()
            self._folder.remove(self._files.journal.name)
            if manifest.state == "running":
                self._journal = new = FileJournal(self._files.journal, manifest.lineage, manifest.generation)
                new.begin(self._folder)
        except OSError as error:
            if is_full(error):
                raise
            raise errors.ManifestUnwritable(self.path, error.strerror) from error

    def record(self, changes: Iterable[ImageChange]) -> None:
        """Append what is now true; on disk after the next sync."""
        self._open_journal.record(changes)

    def record_interruption(self, interruption: Interruption) -> None:
        self._open_journal.record_interruption(interruption)

    def sync(self) -> None:
        """Bring the journal to the disk. May run in another thread than the appends."""
        if self._journal is not None:
            self._journal.sync()

    @property
    def unsynced(self) -> bool:
        return self._journal is not None and self._journal.unsynced

    def close(self) -> None:
        """May be called again."""
        self._close_journal()
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def _write_document(self, folder: durable.Folder, manifest: Manifest) -> None:
        data = document.encode(manifest)
        with folder.saving(self._files.document.name, self._files.temporary.name) as file:
            file.append(data)

    @property
    def _open_journal(self) -> Journal:
        if self._journal is None:
            raise RuntimeError("the journal is not open")
        return self._journal

    def _close_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None


def _read_both(path: Path) -> tuple[Manifest, list[JournalRecord]]:
    """The document, and what its journal tells: once more where the document is replaced between the two reads."""
    while True:
        head = document.read_head(path)
        manifest = document.read(path)
        try:
            records = FileJournal(files_of(path).journal, manifest.lineage, manifest.generation).replay()
        except journal.Superseded:
            if document.read(path).generation == manifest.generation:
                reason = "its journal is newer than it is; it was put back from an old copy"
                raise errors.DamagedManifest(path, reason) from None
        else:
            if records or document.read_head(path) == head:
                return manifest, records


def _apply(record: JournalRecord, manifest: Manifest, path: Path) -> None:
    """Raises DamagedManifest."""
    if isinstance(record, Interruption):
        manifest.interruptions.append(record)
        manifest.state = "interrupted"
        return
    try:
        record.apply(manifest.images)
    except IndexError:
        raise errors.DamagedManifest(files_of(path).journal, f"it tells of an image {record.image}") from None
