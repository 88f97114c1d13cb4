"""A manifest is its document and its journal: what was durable is there again, whenever it is read."""

import errno
import itertools
import os
import re

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from manifests import INTERRUPTION, done, planned, states

from batchgray import errors
from batchgray.manifest import document
from batchgray.manifest.files import files_of
from batchgray.manifest.records import Image, ImageChange
from batchgray.manifest.store import Store, load_manifest
from batchgray.options import PixelOptions
from batchgray.storage import durable


@pytest.fixture
def path(tmp_path):
    return tmp_path / "manifest.json"


@pytest.fixture
def store(path):
    store = Store(path)
    yield store
    store.close()


def test_what_is_committed_is_loaded(path, store):
    written = planned(interruptions=[INTERRUPTION], options=PixelOptions(method="luma", tile_rows=16, quality=90))
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
    written = planned(images=images, state="complete")
    store.commit(written)
    assert load_manifest(path) == written


def test_a_commit_leaves_a_journal_only_where_work_goes_on(path, store):
    running = planned()
    store.commit(running)
    assert files_of(path).journal.exists()
    running.state = "interrupted"
    store.commit(running)
    assert os.listdir(path.parent) == ["manifest.json"]
    assert load_manifest(path).state == "interrupted"


def test_a_document_that_finds_no_space_leaves_the_old_one(path, store, monkeypatch):
    store.commit(planned("old.jpg"))
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing_with(errno.ENOSPC))
        with pytest.raises(OSError, match="space"):
            store.commit(planned("new.jpg"))
    assert path.read_bytes() == before
    assert sorted(os.listdir(path.parent)) == ["manifest.json", "manifest.json.journal"]


def test_a_document_that_cannot_be_written_is_fatal_and_named(path, store, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing_with(errno.EIO))
        with pytest.raises(errors.ManifestUnwritable, match=r"manifest\.json"):
            store.commit(planned())


def failing_with(code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    return fail


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
    store.commit(planned("a.jpg"))
    for own, like in ((files_of(path).journal,) * 2, (files_of(path).temporary, path)):
        data = like.read_bytes()
        own.write_bytes({"whole": data, "nothing": b"", "torn": data[:9], "zeros": bytes(len(data))}[left])
    Store(path).commit(planned("a.jpg", state="complete"))
    assert os.listdir(path.parent) == ["manifest.json"]


def test_the_journal_is_replayed_in_order(path, store):
    written = planned()
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


def test_an_interruption_in_the_journal_interrupts_the_run(path, store):
    store.commit(planned())
    store.record_interruption(INTERRUPTION)
    store.close()
    found = load_manifest(path)
    assert found.state == "interrupted"
    assert found.interruptions == [INTERRUPTION]


def test_a_journal_newer_than_its_document_is_damage(path, store):
    written = planned()
    store.commit(written)
    earlier = path.read_bytes()
    store.commit(written)
    path.write_bytes(earlier)
    with pytest.raises(errors.DamagedManifest, match="old copy"):
        load_manifest(path)


def test_a_document_that_is_replaced_while_it_is_read_is_read_again(path, store, monkeypatch):
    written = planned()
    store.commit(written)
    read = document.read
    replacing = itertools.chain([True], itertools.repeat(False))

    def read_late(path):
        found = read(path)
        if next(replacing):
            store.commit(written)
            store.record([done(2)])
        return found

    monkeypatch.setattr(document, "read", read_late)
    assert states(load_manifest(path)) == ["pending", "pending", "done", "pending", "pending"]


def test_a_run_that_ends_while_it_is_read_is_seen_as_it_ended(path, store, monkeypatch):
    """Its journal is gone by then: without a second look all that it told would seem never to have been."""
    written = planned(state="running")
    store.commit(written)
    store.record([done(2)])
    read = document.read
    ending = itertools.chain([True], itertools.repeat(False))

    def read_and_end(path):
        found = read(path)
        if next(ending):
            done(2).apply(written.images)
            written.state = "interrupted"
            store.commit(written)
        return found

    monkeypatch.setattr(document, "read", read_and_end)
    found = load_manifest(path)
    assert (found.state, found.images[2].state) == ("interrupted", "done")


def test_a_journal_that_tells_of_no_image_is_damage(path, store):
    store.commit(planned("a.jpg"))
    store.record([done(1)])
    store.close()
    with pytest.raises(errors.DamagedManifest, match="image 1"):
        load_manifest(path)


def test_the_journal_of_an_overwritten_run_is_not_replayed_over_the_new_document(path, store, monkeypatch):
    store.commit(planned())
    store.record([done(0)])
    store.sync()
    store.close()

    def power_cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(durable.Folder, "remove", power_cut_at(files_of(path).journal.name, power_cut))
        with pytest.raises(KeyboardInterrupt):
            Store(path).commit(planned(options=PixelOptions(method="luma")))
    found = load_manifest(path)
    assert found.options.method == "luma"
    assert states(found) == ["pending"] * 5


def power_cut_at(target, power_cut):
    """Folder.remove until it comes to `target`."""
    real = durable.Folder.remove
    return lambda folder, name: power_cut() if name == target else real(folder, name)
