"""The document of a manifest: what was written is read again, and anything else is refused by name."""

import json

import pytest
from manifests import INTERRUPTION, flipped, planned

from batchgray import errors
from batchgray.manifest import document
from batchgray.manifest.document import check_is_manifest
from batchgray.storage import sealing

FOREIGN = [b"hello", b"{}", b"[1, 2]", b'{"version": 1, "images": []}', b'{"a":"batchgray"}', b"\xff\xfe\0"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "manifest.json"


def write(path, manifest):
    path.write_bytes(document.encode(manifest))


def write_members(path, **changes):
    """Another content, and its seal."""
    members = {**json.loads(path.read_bytes()), **changes}
    del members["seal"]
    path.write_bytes(sealing.seal(json.dumps(members).encode()))


def test_the_document_has_the_fields_of_the_contract(path):
    write(path, planned(interruptions=[INTERRUPTION]))
    read = json.loads(path.read_text("utf-8"))
    assert read["version"] == 1
    assert read["state"] == "running"
    assert set(read) >= {"batchgray", "options", "input_roots", "images", "interruptions"}
    assert read["options"] == {
        "method": "bt601",
        "format": "jpeg",
        "quality": 75,
        "compression": 2,
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


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_the_document_has_a_line_an_image(path, count, monkeypatch):
    """However many are encoded at once, and whatever their names hold."""
    monkeypatch.setattr(document, "_IMAGES_AT_ONCE", 2)
    written = planned()
    written.images = written.images[:count]
    for number, image in enumerate(written.images):
        image.source = f"{number},\n{{}}\udcff.png" if number % 2 else f"{number}\n.png"
    write(path, written)
    lines = path.read_text("utf-8").split("\n")
    assert len(lines) == (count + 2 if count else 1)
    assert [json.loads(line.removesuffix(","))["source"][0] for line in lines[1:-1]] == [*"01234"[:count]]
    assert document.read(path) == written


@pytest.mark.parametrize("content", FOREIGN)
def test_a_file_of_another_program_is_foreign(path, content):
    path.write_bytes(content)
    with pytest.raises(errors.ForeignManifest, match=r"manifest\.json"):
        document.read(path)
    for or_damaged in (False, True):
        with pytest.raises(errors.ForeignManifest):
            check_is_manifest(path, or_damaged)


def test_what_a_crash_leaves_of_a_manifest_may_be_replaced_and_is_not_read(path):
    write(path, planned("a.jpg", state="complete"))
    whole = path.read_bytes()
    for damaged in (b"", whole[:20], bytes(len(whole)), whole[:20] + bytes(len(whole) - 20)):
        path.write_bytes(damaged)
        check_is_manifest(path, or_damaged=True)
        with pytest.raises(errors.DamagedManifest, match="beginning is lost"):
            document.read(path)


def test_a_manifest_that_is_not_there_or_a_folder_is_refused_by_name(path):
    with pytest.raises(errors.NoSuchManifest):
        document.read(path)
    path.mkdir()
    with pytest.raises(errors.UnreadableManifest):
        document.read(path)
    with pytest.raises(errors.NoSuchManifest):
        document.read(path / "manifest.json" / "below")


def test_any_flipped_bit_in_the_document_is_refused(path):
    write(path, planned("a.jpg", state="complete"))
    whole = path.read_bytes()
    first_fields = whole.index(b'"state"')  # before it: which program's file this is, and of which version
    for byte, _ in enumerate(whole):
        path.write_bytes(flipped(whole, 8 * byte + byte % 8))
        refusals = errors.DamagedManifest
        if byte < first_fields:
            refusals = (errors.DamagedManifest, errors.ForeignManifest, errors.FutureManifest)
        with pytest.raises(refusals):
            document.read(path)


def test_a_document_that_is_cut_off_is_refused(path):
    write(path, planned("a.jpg", state="complete"))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises((errors.DamagedManifest, errors.ForeignManifest)):
            document.read(path)


def test_a_manifest_of_a_later_version_is_not_called_damaged(path):
    write(path, planned("a.jpg", state="complete"))
    write_members(path, version=2, images="elsewhere")
    with pytest.raises(errors.FutureManifest, match=r"version 2.*\(1\)"):
        document.read(path)


def test_fields_of_later_versions_are_read_over(path):
    written = planned("a.jpg", state="complete")
    write(path, written)
    write_members(path, colour="gray")
    assert document.read(path) == written


def test_options_that_no_run_can_have_are_refused(path):
    write(path, planned("a.jpg", state="complete"))
    write_members(path, options={"quality": 101})
    with pytest.raises(errors.DamagedManifest, match="quality"):
        document.read(path)
