"""The journal: what was synced is there again, what was torn is dropped, the rest is refused."""

import json

import pytest
from manifests import INTERRUPTION, done, flipped

from batchgray import errors
from batchgray.manifest.journal import FileJournal, Superseded
from batchgray.storage import durable
from batchgray.storage.durable import Folder

LINEAGE, GENERATION = "0123456789abcdef", 3


@pytest.fixture
def folder(tmp_path):
    with Folder.at(tmp_path) as folder:
        yield folder


@pytest.fixture
def path(tmp_path):
    return tmp_path / "manifest.json.journal"


@pytest.fixture
def journal(folder, path):
    journal = FileJournal(path, LINEAGE, GENERATION)
    journal.begin(folder)
    yield journal
    journal.close()


@pytest.fixture
def written(journal, path):
    """The bytes of a journal with two syncs and an unsynced tail; image i was done before image i + 1."""
    journal.record([done(0), done(1)])
    journal.sync()
    journal.record([done(2)])
    journal.sync()
    journal.record([done(3), done(4)])
    return path.read_bytes()


def replayed(path, lineage=LINEAGE, generation=GENERATION):
    """The images that are done."""
    return [change.image for change in FileJournal(path, lineage, generation).replay()]


def synced_to(data):
    """How far a journal is known to be on disk, without the line break that the last mark needs to be read."""
    return max(json.loads(line).get("synced", 0) for line in data.splitlines()) - 1


def test_what_was_recorded_is_replayed_in_order(journal, path):
    changes = [done(1), done(0, size=5, mtime_ns=7, note="线\n\u2028")]
    journal.record(changes[:1])
    journal.record_interruption(INTERRUPTION)
    journal.record(changes[1:])
    assert journal.replay() == [changes[0], INTERRUPTION, changes[1]]
    journal.close()
    assert FileJournal(path, LINEAGE, GENERATION).replay() == [changes[0], INTERRUPTION, changes[1]]


def test_where_there_is_no_journal_nothing_is_replayed(path):
    assert replayed(path) == []
    path.mkdir()
    with pytest.raises(errors.UnreadableManifest, match="journal"):
        replayed(path)


def test_nothing_is_recorded_before_it_begins(path):
    with pytest.raises(RuntimeError):
        FileJournal(path, LINEAGE, GENERATION).record([done(0)])
    assert not path.exists()


def test_what_was_not_synced_is_unsynced(journal):
    journal.sync()
    assert not journal.unsynced
    journal.record([done(0)])
    assert journal.unsynced
    journal.sync()
    assert not journal.unsynced


def test_a_journal_cut_off_anywhere_gives_the_changes_before_the_cut(written, path):
    reached = 0
    for length in range(len(written) + 1):
        path.write_bytes(written[:length])
        found = replayed(path)
        assert found == list(range(len(found)))
        assert len(found) >= reached, f"cut at byte {length}"
        reached = len(found)
    assert reached == 5


def test_a_flipped_bit_in_the_synced_part_of_the_journal_is_damage(written, path):
    assert 0 < synced_to(written) < len(written)
    for byte in range(synced_to(written)):
        path.write_bytes(flipped(written, 8 * byte + byte % 8))
        with pytest.raises(errors.DamagedManifest, match="journal"):
            replayed(path)


def test_a_flipped_bit_in_the_unsynced_tail_drops_what_comes_after(written, path):
    tail = synced_to(written)
    counts = []
    for byte in range(tail, len(written)):
        path.write_bytes(flipped(written, 8 * byte + byte % 8))
        counts.append(len(replayed(path)))
    assert counts == sorted(counts)
    assert (counts[0], counts[1], counts[-1]) == (2, 3, 4)


def test_lines_after_a_torn_one_are_not_replayed(written, path):
    lines = written.splitlines(keepends=True)
    at = next(index for index, line in enumerate(lines) if b'"image":3' in line)
    path.write_bytes(b"".join(lines[:at]) + b"torn\n" + b"".join(lines[at + 1 :]))
    assert replayed(path) == [0, 1, 2]


def test_only_the_journal_of_the_document_is_replayed(written, path):
    assert replayed(path) == [0, 1, 2, 3, 4]
    assert replayed(path, generation=GENERATION + 1) == [], "the document has it already"
    assert replayed(path, lineage="f" * 16) == [], "it is of a run that was overwritten"
    with pytest.raises(Superseded):
        replayed(path, generation=GENERATION - 1)


# what a power cut leaves


def test_a_new_journals_name_is_synced_into_its_folder_before_the_work_begins(folder, path, monkeypatch):
    """Else a power cut would take the whole journal, with hours of work, and not an interval's."""
    order = []
    opened, synced = durable.AppendFile, durable.Folder.sync
    monkeypatch.setattr(durable, "AppendFile", lambda *file: (order.append(f"open {file[1]}"), opened(*file))[1])
    monkeypatch.setattr(durable.Folder, "sync", lambda self: (order.append(f"sync {self.path.name}"), synced(self)))
    FileJournal(path, LINEAGE, GENERATION).begin(folder)
    assert order == [f"open {path.name}", f"sync {path.parent.name}"]


def sync_while_it_goes_on(journal, monkeypatch, go_on):
    sync = durable.sync

    def sync_and_go_on(fd):
        sync(fd)
        go_on()

    with monkeypatch.context() as patch:
        patch.setattr(durable, "sync", sync_and_go_on)
        journal.sync()


def test_what_is_appended_while_a_sync_runs_waits_for_the_next_one(journal, monkeypatch):
    journal.record([done(0)])
    sync_while_it_goes_on(journal, monkeypatch, lambda: journal.record([done(1)]))
    assert journal.unsynced


def test_a_power_cut_after_such_a_sync_leaves_a_sound_journal(journal, path, monkeypatch):
    """What came during the sync may be torn and what came later whole: that is no damage, and is not refused."""
    journal.record([done(0)])
    begin = path.stat().st_size
    sync_while_it_goes_on(journal, monkeypatch, lambda: journal.record([done(1)]))
    end = path.stat().st_size
    journal.record([done(2)])
    data = path.read_bytes()
    path.write_bytes(data[:begin] + bytes(end - begin) + data[end:])
    assert replayed(path) == [0]
