"""The manifest and its journal: what was durable is there again, what was torn is dropped, the rest is refused."""

import errno
import itertools
import json
import os
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchgray import errors
from batchgray.manifest import document as document_file
from batchgray.manifest.document import check_is_manifest
from batchgray.manifest.files import files_of
from batchgray.manifest.records import Image, ImageChange, Interruption, Manifest
from batchgray.manifest.store import Store, load_manifest
from batchgray.options import PixelOptions
from batchgray.storage import durable, integrity

INTERRUPTION = Interruption(at="2026-11-22T18:00:00Z", source="signal", event_id="SIGTERM", deadline=None)
FOREIGN = [b"hello", b"{}", b"[1, 2]", b'{"version": 1, "images": []}', b'{"a":"batchgray"}', b"\xff\xfe\0"]


def document(*names, **changes):
    names = names or ("a/b.png", "c.jpg", "线/\n\u2028.png", "d.jpg", "e.jpg")
    images = [
        Image(root=0, source=name, output=str(Path(name).with_suffix(".jpg")), size=1234, mtime_ns=10**18 + index)
        for index, name in enumerate(names)
    ]
    settings = {
        "run_id": "default",
        "options": PixelOptions(),
        "max_pixels": 10**9,
        "output_root": ".",
        "input_roots": ["/data/images"],
        "images": images,
    }
    return Manifest(**{**settings, **changes})


def done(index, **fields):
    known = {"width": 640, "height": 480, "tiles_done": 8, "tiles_total": 8, "output_size": 999, "checksum": "x:y"}
    return ImageChange(image=index, state="done", **{**known, **fields})


def states(found):
    return [image.state for image in found.images]


def flipped(data, bit):
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def synced_to(journal):
    """How far a journal is known to be on disk, without the line break that the last mark needs to be read."""
    return max(json.loads(line).get("synced", 0) for line in journal.splitlines()) - 1


@pytest.fixture
def path(tmp_path):
    return tmp_path / "manifest.json"


@pytest.fixture
def store(path):
    store = Store(path)
    yield store
    store.close()


@pytest.fixture
def journal(path, store):
    """The file of a journal with two syncs and an unsynced tail; image i was done before image i + 1."""
    store.commit(document())
    store.record([done(0), done(1)])
    store.sync()
    store.record([done(2)])
    store.sync()
    store.record([done(3), done(4)])
    store.close()
    return files_of(path).journal


# the document


def test_what_is_committed_is_loaded(path, store):
    written = document(interruptions=[INTERRUPTION], options=PixelOptions(method="luma", tile_rows=16, quality=90))
    written.images[1] = Image(
        root=0, source="c.jpg", output="c.jpg", state="failed", size=1, mtime_ns=-1, error="bad", note="n", mend=True
    )
    store.commit(written)
    assert load_manifest(path) == written


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=3), unique=True)
)
def test_any_name_comes_back_as_it_was(tmp_path, names):
    path = tmp_path / "manifest.json"
    store = Store(path)
    images = [Image(root=0, source=name, output=f"{name}.jpg", size=0, mtime_ns=0) for name in names]
    written = document(images=images, state="complete")
    store.commit(written)
    assert load_manifest(path) == written


def test_the_document_has_the_fields_of_the_contract(path, store):
    store.commit(document(interruptions=[INTERRUPTION]))
    read = json.loads(path.read_text("utf-8"))
    assert read["version"] == 1
    assert read["state"] == "running"
    assert set(read) >= {"batchgray", "options", "input_roots", "images", "interruptions"}
    assert read["options"] == {
        "method": "bt601",
        "format": "jpeg",
        "quality": 75,
        "tile_rows": None,
        "metadata": "keep",
        "background": "none",
    }
    assert read["interruptions"] == [
        {"at": "2026-11-22T18:00:00Z", "source": "signal", "event_id": "SIGTERM", "deadline": None, "run": None}
    ]
    expected = {"root": 0, "source": "a/b.png", "output": "a/b.jpg", "state": "pending", "size": 1234}
    assert read["images"][0].items() >= expected.items()
    later = {"mtime_ns", "width", "height", "tiles_done", "tiles_total", "output_size", "checksum", "error"}
    assert set(read["images"][0]) >= later


@pytest.mark.parametrize("count", [0, 1, 5])
def test_the_document_has_a_line_an_image(path, store, count):
    written = document()
    written.images = written.images[:count]
    store.commit(written)
    lines = path.read_text("utf-8").split("\n")
    assert len(lines) == (count + 2 if count else 1)
    assert [json.loads(line.removesuffix(","))["source"] for line in lines[1:-1]] == [
        image.source for image in written.images
    ]


def test_a_commit_leaves_a_journal_only_where_work_goes_on(path, store):
    running = document()
    store.commit(running)
    assert files_of(path).journal.exists()
    running.state = "interrupted"
    store.commit(running)
    assert os.listdir(path.parent) == ["manifest.json"]
    assert load_manifest(path).state == "interrupted"


def test_a_document_that_finds_no_space_leaves_the_old_one(path, store, monkeypatch):
    store.commit(document("old.jpg"))
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing_with(errno.ENOSPC))
        with pytest.raises(OSError, match="space"):
            store.commit(document("new.jpg"))
    assert path.read_bytes() == before
    assert sorted(os.listdir(path.parent)) == ["manifest.json", "manifest.json.journal"]


def test_a_document_that_cannot_be_written_is_fatal_and_named(path, store, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing_with(errno.EIO))
        with pytest.raises(errors.ManifestUnwritable, match=r"manifest\.json"):
            store.commit(document())


def failing_with(code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    return fail


def test_the_output_folder_moves_with_the_manifest(tmp_path):
    assert document().output_folder(tmp_path / "m.json") == tmp_path
    assert document(output_root="/out").output_folder(tmp_path / "m.json") == Path("/out")


# what is refused


@pytest.mark.parametrize("content", FOREIGN)
def test_a_file_of_somebody_else_is_foreign(path, content):
    path.write_bytes(content)
    with pytest.raises(errors.ForeignManifest, match=r"manifest\.json"):
        load_manifest(path)
    for or_ruin in (False, True):
        with pytest.raises(errors.ForeignManifest):
            check_is_manifest(path, or_ruin)


def test_what_a_crash_leaves_of_a_manifest_may_be_replaced_and_is_not_read(path, store):
    store.commit(document("a.jpg", state="complete"))
    whole = path.read_bytes()
    for ruin in (b"", whole[:20], bytes(len(whole)), whole[:20] + bytes(len(whole) - 20)):
        path.write_bytes(ruin)
        check_is_manifest(path, or_ruin=True)
        with pytest.raises(errors.DamagedManifest, match="beginning is lost"):
            load_manifest(path)


@pytest.mark.parametrize("name", ["manifest.json.journal", ".manifest.json.tmp"])
def test_what_is_beside_the_manifest_and_not_its_own_is_left_alone(path, name):
    beside = path.with_name(name)
    for content in (b"mine", b'{"mine":1}', b"\0mine" * 20):
        beside.write_bytes(content)
        with pytest.raises(errors.ForeignFile, match=re.escape(name)):
            Store(path)
        assert beside.read_bytes() == content
    beside.unlink()
    beside.symlink_to("elsewhere")
    with pytest.raises(errors.ForeignFile):
        Store(path)


@pytest.mark.parametrize("left", ["whole", "nothing", "torn", "zeros"])
def test_what_a_crash_leaves_beside_the_manifest_is_replaced(path, store, left):
    store.commit(document("a.jpg"))
    for own, like in ((files_of(path).journal,) * 2, (files_of(path).temporary, path)):
        data = like.read_bytes()
        own.write_bytes({"whole": data, "nothing": b"", "torn": data[:9], "zeros": bytes(len(data))}[left])
    Store(path).commit(document("a.jpg", state="complete"))
    assert os.listdir(path.parent) == ["manifest.json"]


def test_a_manifest_that_is_not_there_or_a_folder_is_refused_by_name(path):
    with pytest.raises(errors.NoSuchManifest):
        load_manifest(path)
    path.mkdir()
    with pytest.raises(errors.UnreadableManifest):
        load_manifest(path)
    with pytest.raises(errors.NoSuchManifest):
        load_manifest(path / "manifest.json" / "below")


def test_any_flipped_bit_in_the_document_is_refused(path, store):
    store.commit(document("a.jpg", state="complete"))
    whole = path.read_bytes()
    named = whole.index(b'"state"')  # before it: whose file this is, and of which version
    for byte, _ in enumerate(whole):
        path.write_bytes(flipped(whole, 8 * byte + byte % 8))
        refusals = errors.DamagedManifest
        if byte < named:
            refusals = (errors.DamagedManifest, errors.ForeignManifest, errors.FutureManifest)
        with pytest.raises(refusals):
            load_manifest(path)


def test_a_document_that_is_cut_off_is_refused(path, store):
    store.commit(document("a.jpg", state="complete"))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises((errors.DamagedManifest, errors.ForeignManifest)):
            load_manifest(path)


def test_a_manifest_of_a_later_version_is_not_called_damaged(path, store):
    store.commit(document("a.jpg", state="complete"))
    members = json.loads(path.read_bytes())
    del members["seal"]
    path.write_bytes(integrity.seal(json.dumps({**members, "version": 2, "images": "elsewhere"}).encode()))
    with pytest.raises(errors.FutureManifest, match=r"version 2.*\(1\)"):
        load_manifest(path)


def test_fields_of_later_versions_are_read_over(path, store):
    written = document("a.jpg", state="complete")
    store.commit(written)
    members = json.loads(path.read_bytes())
    del members["seal"]
    path.write_bytes(integrity.seal(json.dumps({**members, "colour": "gray"}).encode()))
    assert load_manifest(path) == written


@pytest.mark.parametrize("field", ["source", "output"])
@pytest.mark.parametrize("name", ["../a.jpg", "a/../../b.jpg", "..", "/etc/passwd", "a\0.jpg"])
def test_a_name_that_leads_outside_is_refused(path, store, field, name):
    written = document("a.jpg")
    setattr(written.images[0], field, name)
    store.commit(written)
    with pytest.raises(errors.DamagedManifest, match="outside"):
        load_manifest(path)


@pytest.mark.parametrize("root", [-1, 1])
def test_an_image_without_an_input_folder_is_refused(path, store, root):
    written = document("a.jpg")
    written.images[0].root = root
    store.commit(written)
    with pytest.raises(errors.DamagedManifest, match="input folder"):
        load_manifest(path)


def test_options_that_no_run_can_have_are_refused(path, store):
    store.commit(document("a.jpg", state="complete"))
    members = json.loads(path.read_bytes())
    del members["seal"]
    members["options"]["quality"] = 101
    path.write_bytes(integrity.seal(json.dumps(members).encode()))
    with pytest.raises(errors.DamagedManifest, match="quality"):
        load_manifest(path)


# the journal


def test_the_journal_is_replayed_in_order(path, store):
    written = document()
    store.commit(written)
    store.record([ImageChange(image=0, state="partial", width=640, height=480, tiles_done=3, tiles_total=8)])
    store.record([ImageChange(image=1, state="failed", error="truncated"), done(0, size=5, mtime_ns=7, note="n")])
    store.close()
    found = load_manifest(path).images
    assert found[0] == msgspec.structs.replace(
        written.images[0],
        state="done",
        size=5,
        mtime_ns=7,
        width=640,
        height=480,
        tiles_done=8,
        tiles_total=8,
        output_size=999,
        checksum="x:y",
        note="n",
    )
    assert found[1] == msgspec.structs.replace(written.images[1], state="failed", error="truncated")
    assert found[2:] == written.images[2:]


def test_a_change_leaves_absent_fields_and_takes_back_the_error():
    image = Image(root=0, source="a", output="a", state="failed", size=1, mtime_ns=2, error="e", width=3, mend=True)
    ImageChange(image=0, state="partial", tiles_done=1).apply([image])
    assert (image.state, image.tiles_done, image.width, image.size) == ("partial", 1, 3, 1)
    assert (image.error, image.mend) == (None, True)  # until it is done, it may be replaced


def test_an_interruption_in_the_journal_interrupts_the_run(path, store):
    store.commit(document())
    store.record_interruption(INTERRUPTION)
    store.close()
    found = load_manifest(path)
    assert found.state == "interrupted"
    assert found.interruptions == [INTERRUPTION]


def test_what_was_not_synced_is_unsynced(store):
    store.commit(document())
    store.sync()
    assert not store.unsynced
    store.record([done(0)])
    assert store.unsynced
    store.sync()
    assert not store.unsynced


def test_a_journal_cut_off_anywhere_gives_the_changes_before_the_cut(path, journal):
    whole = journal.read_bytes()
    prefixes = [["done"] * count + ["pending"] * (5 - count) for count in range(6)]
    reached = 0
    for length in range(len(whole) + 1):
        journal.write_bytes(whole[:length])
        count = prefixes.index(states(load_manifest(path)))
        assert count >= reached, f"cut at byte {length}"
        reached = count
    assert reached == 5


def test_a_flipped_bit_in_the_synced_part_of_the_journal_is_damage(path, journal):
    whole = journal.read_bytes()
    assert 0 < synced_to(whole) < len(whole)
    for byte in range(synced_to(whole)):
        journal.write_bytes(flipped(whole, 8 * byte + byte % 8))
        with pytest.raises(errors.DamagedManifest, match="journal"):
            load_manifest(path)


def test_a_flipped_bit_in_the_unsynced_tail_drops_what_comes_after(path, journal):
    whole = journal.read_bytes()
    tail = synced_to(whole)
    counts = []
    for byte in range(tail, len(whole)):
        journal.write_bytes(flipped(whole, 8 * byte + byte % 8))
        counts.append(states(load_manifest(path)).count("done"))
    assert counts == sorted(counts)
    assert (counts[0], counts[1], counts[-1]) == (2, 3, 4)


def test_lines_after_a_torn_one_are_not_replayed(path, journal):
    lines = journal.read_bytes().splitlines(keepends=True)
    at = next(index for index, line in enumerate(lines) if b'"image":3' in line)
    journal.write_bytes(b"".join(lines[:at]) + b"torn\n" + b"".join(lines[at + 1 :]))
    assert states(load_manifest(path)) == ["done", "done", "done", "pending", "pending"]


def test_a_journal_of_an_earlier_generation_is_ignored(path, store):
    written = document()
    store.commit(written)
    store.record([done(0)])
    earlier = files_of(path).journal.read_bytes()
    store.commit(written)
    files_of(path).journal.write_bytes(earlier)
    assert states(load_manifest(path)) == ["pending"] * 5


def test_a_journal_newer_than_its_document_is_damage(path, store):
    written = document()
    store.commit(written)
    earlier = path.read_bytes()
    store.commit(written)
    path.write_bytes(earlier)
    with pytest.raises(errors.DamagedManifest, match="old copy"):
        load_manifest(path)


def test_a_document_that_is_replaced_while_it_is_read_is_read_again(path, store, monkeypatch):
    written = document()
    store.commit(written)
    read = document_file.read
    replacing = itertools.chain([True], itertools.repeat(False))

    def read_late(path):
        found = read(path)
        if next(replacing):
            store.commit(written)
            store.record([done(2)])
        return found

    monkeypatch.setattr(document_file, "read", read_late)
    assert states(load_manifest(path)) == ["pending", "pending", "done", "pending", "pending"]


def test_a_run_that_ends_while_it_is_read_is_seen_as_it_ended(path, store, monkeypatch):
    """Its journal is gone by then: without a second look all that it told would seem never to have been."""
    written = document(state="running")
    store.commit(written)
    store.record([done(2)])
    read = document_file.read
    ending = itertools.chain([True], itertools.repeat(False))

    def read_and_end(path):
        found = read(path)
        if next(ending):
            done(2).apply(written.images)
            written.state = "interrupted"
            store.commit(written)
        return found

    monkeypatch.setattr(document_file, "read", read_and_end)
    found = load_manifest(path)
    assert (found.state, found.images[2].state) == ("interrupted", "done")


def test_a_journal_that_tells_of_no_image_is_damage(path, store):
    store.commit(document("a.jpg"))
    store.record([done(1)])
    store.close()
    with pytest.raises(errors.DamagedManifest, match="image 1"):
        load_manifest(path)


def test_the_journal_of_an_overwritten_run_is_not_replayed_over_the_new_document(path, store, monkeypatch):
    store.commit(document())
    store.record([done(0)])
    store.sync()
    store.close()

    def power_cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(durable.Folder, "remove", power_cut_at(files_of(path).journal.name, power_cut))
        with pytest.raises(KeyboardInterrupt):
            Store(path).commit(document(options=PixelOptions(method="luma")))
    found = load_manifest(path)
    assert found.options.method == "luma"
    assert states(found) == ["pending"] * 5


def power_cut_at(target, power_cut):
    """Folder.remove until it comes to `target`."""
    real = durable.Folder.remove
    return lambda folder, name: power_cut() if name == target else real(folder, name)


# what a power cut leaves


def test_a_new_journals_name_is_synced_into_its_folder_before_the_work_begins(path, store, monkeypatch):
    """Else a power cut would take the whole journal, with hours of work, and not an interval's."""
    order = []
    opened, synced = durable.AppendFile, durable.Folder.sync
    monkeypatch.setattr(durable, "AppendFile", lambda *file: (order.append(f"open {file[1]}"), opened(*file))[1])
    monkeypatch.setattr(durable.Folder, "sync", lambda self: (order.append(f"sync {self.path.name}"), synced(self)))
    store.commit(document(state="running"))
    assert order[-2:] == [f"open {path.name}.journal", f"sync {path.parent.name}"]


def test_what_is_appended_while_a_sync_runs_waits_for_the_next_one(store, monkeypatch):
    store.commit(document(state="running"))
    store.record([done(0)])
    sync = durable.sync

    def sync_while_more_comes(fd):
        sync(fd)
        store.record([done(1)])

    with monkeypatch.context() as patch:
        patch.setattr(durable, "sync", sync_while_more_comes)
        store.sync()
    assert store.unsynced


def test_a_power_cut_after_such_a_sync_leaves_a_sound_manifest(path, store, monkeypatch):
    """What came during the sync may be torn and what came later whole: that is no damage, and is not refused."""
    journal = files_of(path).journal
    store.commit(document(state="running"))
    store.record([done(0)])
    begin = 0
    sync = durable.sync

    def sync_while_more_comes(fd):
        nonlocal begin
        sync(fd)
        begin = journal.stat().st_size
        store.record([done(1)])

    with monkeypatch.context() as patch:
        patch.setattr(durable, "sync", sync_while_more_comes)
        store.sync()
    end = journal.stat().st_size
    store.record([done(2)])
    data = journal.read_bytes()
    journal.write_bytes(data[:begin] + bytes(end - begin) + data[end:])
    assert states(load_manifest(path)) == ["done", "pending", "pending", "pending", "pending"]
