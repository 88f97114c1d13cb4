"""A manifest, a journal or a sidecar from a stranger: each command finishes right, or exits 2 with a sentence.

Whoever writes them can seal them too, so what is changed here is sealed again wherever that makes a difference.
"""

import base64
import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest
from harness import DEADLINE, Running, batchgray, can_be_refused, command, leftovers, save_gradient, tree, wait_until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recording import Recording, Rule

from batchgray import errors
from batchgray.checkpoints import sidecar
from batchgray.checkpoints.folder import FolderCheckpoints
from batchgray.manifest import lock
from batchgray.manifest.files import files_of
from batchgray.manifest.journal import seed_of
from batchgray.manifest.records import ImageChange
from batchgray.manifest.store import Store, load_manifest
from batchgray.options import EngineOptions, PixelOptions, ResumeOptions
from batchgray.planes import slots
from batchgray.planning.planner import plan_resume
from batchgray.records import InputVersion, Task
from batchgray.storage import guards, integrity, intents, sealing
from batchgray.storage.durable import Folder

MEMORY = 3 << 30  # of address space, for a command that has no reason to take any
OUTSIDE = "../outside.jpg"
ABSURD = [-1, 2**31, 10**18, 10**30, 10**40, 1.5, "1", True, [], {}]


class Killed:
    """The tree of a run that was killed: `a.jpg` done, `m/m.jpg` begun, the others not; its inputs, and its end."""

    def __init__(self, folder: Path) -> None:
        self.inputs, self.out, self.whole = folder / "in", folder / "killed", folder / "whole"
        save_gradient(self.inputs / "a.jpg", 64, 48)
        save_gradient(self.inputs / "m" / "m.jpg", 640, 960, seed=7)
        for name in ("x.png", "y.jpg", "z.jpg"):
            save_gradient(self.inputs / name, 80, 40, seed=len(name))
        self.arguments = ("--tile-rows", 8, "--workers", 1)
        batchgray("run", self.inputs, "--out", self.whole, *self.arguments)
        self._kill(Recording(folder / "record", Rule("tile", r"m/m\.jpg", after=6, hold=True)))

    def _kill(self, recording: Recording) -> None:
        """The worker is held between two tiles, after as many checkpoints; meanwhile the first image gets done."""
        arguments = ("run", self.inputs, "--out", self.out, *self.arguments, "--checkpoint", 0.000001)
        with Running(*arguments, env=recording.environment) as run:
            wait_until(lambda: self.journal.count(b'"image":1,"state":"partial"') == 7)
            wait_until(lambda: b'"image":0,"state":"done"' in self.journal)
            run.kill()
        found = load_manifest(self.out / "manifest.json")
        assert [image.state for image in found.images] == ["done", "partial", "pending", "pending", "pending"]

    @property
    def journal(self) -> bytes:
        path = files_of(self.out / "manifest.json").journal
        return path.read_bytes() if path.exists() else b""


class Victim:
    """A copy of the killed run's tree, to be changed."""

    def __init__(self, killed: Killed, folder: Path) -> None:
        self.killed, self.folder, self.out = killed, folder, folder / "out"
        shutil.copytree(killed.out, self.out, symlinks=True)
        self.path = self.out / "manifest.json"
        self.journal, self.lock = files_of(self.path).journal, files_of(self.path).lock
        self.flight = self.out / ".batchgray" / "default"
        self.sidecar = self.flight / sidecar.name_of("m/m.jpg")

    @property
    def document(self) -> dict:
        members = json.loads(self.path.read_bytes())
        del members["seal"]
        return members

    @document.setter
    def document(self, members: dict) -> None:
        self.path.write_bytes(sealing.seal(json.dumps(members).encode()))

    def change(self, change) -> None:
        """Change the document and seal it again, without a journal."""
        members = self.document
        change(members)
        self.document = members
        self.journal.unlink(missing_ok=True)

    def append(self, *lines: bytes) -> None:
        """Append lines to the journal, each sealed for its place."""
        members = self.document
        seed = seed_of(members["lineage"], members["generation"])
        data = self.journal.read_bytes()
        for line in lines:
            data += sealing.seal(line, seed + len(data)) + b"\n"
        self.journal.write_bytes(data)

    @property
    def header(self) -> dict:
        members = json.loads(self.sidecar.read_bytes().split(b"\n")[0])
        del members["seal"]
        return members

    def change_header(self, **changes) -> None:
        """Change the sidecar's header and seal it again; `record` is merged into its own."""
        header, payload = self.header, self.sidecar.read_bytes().split(b"\n", 1)[1]
        changes["record"] = {**header["record"], **changes.get("record", {})}
        self.sidecar.write_bytes(sealing.seal(json.dumps({**header, **changes}).encode()) + b"\n" + payload)

    def resume(self, expect: int | None = 0) -> subprocess.CompletedProcess:
        return batchgray("resume", self.path, "--workers", 1, expect=expect)

    def finishes_right(self) -> None:
        self.resume()
        assert tree(self.out) == tree(self.killed.whole)
        assert leftovers(self.out) == []

    def commands(self) -> list[tuple]:
        run = ("run", self.killed.inputs, "--out", self.out, *self.killed.arguments)
        return [("status", self.path), ("verify", self.path), ("resume", self.path), run]

    def is_refused_by_every_command(self) -> None:
        for arguments in self.commands():
            done = limited(arguments)
            assert done.returncode == 2, f"{arguments[0]}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
            assert done.stderr.startswith("batchgray: error: ")
            assert done.stderr.count("\n") == 1
            assert len(done.stderr) < 2000


def limited(arguments: tuple) -> subprocess.CompletedProcess:
    """A command that may take neither minutes nor gigabytes."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        stdin=subprocess.DEVNULL,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Killed:
    return Killed(tmp_path_factory.mktemp("killed"))


@pytest.fixture
def victim(killed, tmp_path) -> Victim:
    return Victim(killed, tmp_path)


def everything_below(folder: Path) -> dict[str, tuple]:
    return {
        str(path): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"") for path in folder.rglob("*")
    }


def test_the_killed_run_finishes_right_when_nobody_touches_it(victim):
    victim.finishes_right()


# the document


def at(*where, value):
    """A change of the document: set what is at `where`."""

    def change(members):
        for key in where[:-1]:
            members = members[key]
        members[where[-1]] = value

    return change


def done_image(**changes):
    image = {"state": "done", "width": 8, "height": 8, "tiles_done": 1, "tiles_total": 1}
    return {**image, "output_size": 1, "checksum": "xxh3-128:00", **changes}


def image_with(**changes):
    return lambda members: members["images"][0].update(changes)


def in_base64(name):
    return base64.b64encode(name.encode()).decode()


def two_images_with_one_output(members):
    members["images"][1]["output"] = members["images"][0]["output"]


def an_output_that_is_anothers_folder(members):
    members["images"][0]["output"] = "b.jpg"
    members["images"][1]["output"] = "b.jpg/c/d.jpg"


def an_image_twice(members):
    members["images"].append(members["images"][0])


def a_source_that_leads_outside(members):
    members["images"][0]["source"] = "../../etc/x.jpg"


STRANGE_DOCUMENTS = {
    "a run id that leads outside": at("run_id", value="../../x"),
    "a run id that is a path": at("run_id", value="/tmp/x"),
    "a run id that ends in a line break": at("run_id", value="default\n"),
    "no run id": at("run_id", value=""),
    "a dot as run id": at("run_id", value="."),
    "a lineage of anything": at("lineage", value="\x1b[31m"),
    "a relative output folder": at("output_root", value="../.."),
    "an output folder with a NUL": at("output_root", value="/a\0b"),
    "an input folder with a NUL": at("input_roots", value=["/a\0b"]),
    "an output that leads outside": image_with(output=OUTSIDE),
    "an absolute output": image_with(output="/tmp/x.jpg"),
    "an output with an empty part": image_with(output="a//b.jpg"),
    "an output with a dot": image_with(output="./a.jpg"),
    "bytes that lead outside": image_with(output_base64=in_base64(OUTSIDE)),
    "bytes of a source that lead outside": image_with(source_base64=in_base64("../../etc/passwd")),
    "bytes of an output of another kind": image_with(output_base64=in_base64("authorized_keys")),
    "bytes that are not base64": image_with(source_base64="*"),
    "bytes of no text": image_with(source_base64=None),
    "fewer bytes than folders": at("input_roots_base64", value=[]),
    "bytes of a folder that can't be": at("input_roots_base64", value=[in_base64("/\0")]),
    "bytes of a relative output folder": at("output_root_base64", value=in_base64("../x")),
    "an output of another kind": image_with(output="authorized_keys"),
    "an output in batchgray's folder": image_with(output=".batchgray/default/a.jpg"),
    "a pending image without an output": image_with(output="", state="pending"),
    "a source that leads outside": a_source_that_leads_outside,
    "two images with one output": two_images_with_one_output,
    "an image twice": an_image_twice,
    "an output that is another's folder": an_output_that_is_anothers_folder,
    "done without a checksum": image_with(**done_image(checksum=None)),
    "done without a size": image_with(**done_image(output_size=None)),
    "done without dimensions": image_with(**done_image(width=None)),
    "done with tiles missing": image_with(**done_image(tiles_total=2, height=16)),
    "a checksum that stands for any file": image_with(checksum="*", output_size=1),
    "partial without dimensions": image_with(state="partial", tiles_done=1, tiles_total=2, width=None, height=None),
    "more tiles done than there are": image_with(tiles_done=3, tiles_total=2, width=9, height=99),
    "more tiles than rows": image_with(tiles_total=3, width=2, height=2),
    "an unknown state": image_with(state="lost"),
    "gone, and nothing before that": image_with(state="gone"),
    "gone from a state that nothing goes back to": image_with(state="gone", was="failed"),
    "gone when it was done, without a checksum": image_with(**done_image(state="gone", was="done", checksum=None)),
    "not gone, and a state before that": image_with(state="pending", was="partial", tiles_total=None),
    "an unknown state of the run": at("state", value="paused" * 1000),
    "images that are no list": at("images", value={"a": 1}),
    "an image that is no object": at("images", value=[1]),
    "options that are no object": at("options", value=[]),
    "an unknown method": at("options", "method", value="magic"),
    "no quality": at("options", "quality", value=0),
    "tiles of any height": at("options", "tile_rows", value=10**30),
    "no pixels": at("max_pixels", value=0),
    "any pixels": at("max_pixels", value=10**30),
    "any generation": at("generation", value=10**30),
    "version 0": at("version", value=0),
    "version -1": at("version", value=-(10**30)),
    "a version that is no number": at("version", value="1"),
}


@pytest.mark.parametrize("what", STRANGE_DOCUMENTS)
def test_what_no_run_would_write_is_refused_though_it_is_sealed(victim, what):
    victim.change(STRANGE_DOCUMENTS[what])
    with pytest.raises(errors.UsageError) as refused:
        load_manifest(victim.path)
    assert len(str(refused.value)) < 1000
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("value", ABSURD, ids=str)
def test_absurd_numbers_are_refused(victim, value):
    names = ["root", "size", "mtime_ns", "width", "height", "tiles_done", "tiles_total", "output_size"]
    members = victim.document
    for name in names:
        if (name == "mtime_ns" and value in (-1, 2**31, 10**18)) or (
            name in ("size", "output_size") and value in (2**31, 10**18)
        ):
            continue  # nothing is absurd about these
        victim.change(lambda members, name=name: members["images"][0].update({"width": 9, "height": 9, name: value}))
        with pytest.raises(errors.DamagedManifest):
            load_manifest(victim.path)
        victim.document = members


def test_fields_of_a_later_version_are_read_over(victim):
    before = load_manifest(victim.path)
    members = victim.document
    members["colour"] = members["images"][0]["depth"] = members["options"]["hue"] = [{"of": [1.5, None]}]
    victim.document = members
    assert load_manifest(victim.path) == before


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("images", [[], "elsewhere"])
def test_a_later_version_is_called_one_however_it_ends(victim, sealed, images):
    members = {**victim.document, "version": 2, "images": images}
    data = json.dumps(members).encode()
    victim.path.write_bytes(sealing.seal(data) if sealed else data + b"in some other way")
    with pytest.raises(errors.FutureManifest):
        load_manifest(victim.path)


def test_every_command_refuses_it_and_touches_nothing(victim):
    victim.change(STRANGE_DOCUMENTS["a run id that leads outside"])
    victim.lock.unlink()
    before = everything_below(victim.folder)
    victim.is_refused_by_every_command()
    victim.lock.unlink()
    assert everything_below(victim.folder) == before


def test_a_nesting_without_end_is_refused(victim):
    deep = b"[" * 10**6 + b"]" * 10**6
    data = json.dumps(victim.document).encode()
    victim.path.write_bytes(sealing.seal(data[:-1] + b',"deep":' + deep + b"}"))
    with pytest.raises(errors.DamagedManifest):
        load_manifest(victim.path)


@pytest.mark.parametrize("text", [b'"\xff\xfe"', rb'"\ud800"', rb'"\udc80x"', b'"\xed\xa0\x80"'])
def test_a_name_that_is_no_text_is_refused(victim, text):
    victim.change(image_with(source="NAME"))
    body = victim.path.read_bytes()[: -sealing.SEAL_BYTES] + b"}"
    victim.path.write_bytes(sealing.seal(body.replace(b'"NAME"', text)))
    with pytest.raises(errors.DamagedManifest):
        load_manifest(victim.path)


def test_a_manifest_named_as_an_output_is_refused(victim):
    victim.change(lambda members: None)
    path = victim.path.rename(victim.out / "y.jpg")
    with pytest.raises(errors.DamagedManifest, match=r"own y\.jpg"):
        load_manifest(path)


@pytest.mark.parametrize("name", ["x.jpg", "m", "m/m.jpg"])
def test_a_run_whose_manifest_would_be_in_an_outputs_way_is_refused(victim, name):
    manifest_path = victim.folder / "new" / name
    done = batchgray("run", victim.killed.inputs, "--out", victim.folder / "new", "--manifest", manifest_path, expect=2)
    assert f"own {name}" in done.stderr
    assert not manifest_path.exists()


def test_an_output_of_an_earlier_run_that_is_a_new_ones_folder_is_refused(tmp_path):
    inputs = tmp_path / "in"
    save_gradient(inputs / "a.png", 8, 8)
    batchgray("run", inputs, "--out", tmp_path / "out")
    save_gradient(inputs / "a.jpg" / "b.png", 8, 8)
    done = batchgray("run", inputs, "--out", tmp_path / "out", "--exclude", "a.png", expect=2)
    assert "a.jpg is the folder of another" in done.stderr
    assert batchgray("status", tmp_path / "out" / "manifest.json").stdout.startswith("complete: 1 of 1")


# what is no file


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.mkdir()
    (path / "theirs").write_text("theirs")


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_sparse_file(path: Path) -> None:
    """Three gigabytes that begin like a manifest, and are nowhere on disk."""
    path.write_bytes(b'{"version":1,"batchgray":"0.1.0"')
    os.truncate(path, 3 << 30)


def a_long_string(path: Path) -> None:
    """Three gigabytes in one string, whose end looks sealed."""
    path.write_bytes(b'{"version":1,"batchgray":"')
    os.truncate(path, 3 << 30)
    with path.open("ab") as file:
        file.write(sealing.seal(b'"}'))


def test_every_command_refuses_a_fifo_for_a_manifest(victim):
    victim.path.unlink()
    a_fifo(victim.path)
    victim.is_refused_by_every_command()


@pytest.mark.parametrize("put", [a_folder, a_device, a_sparse_file, a_long_string])
def test_what_is_no_manifest_is_refused(victim, put):
    victim.path.unlink()
    put(victim.path)
    assert limited(("status", victim.path)).returncode == 2


def test_a_manifest_that_is_a_link_to_itself_is_refused(victim):
    victim.path.unlink()
    a_loop(victim.path)
    with pytest.raises(errors.UnreadableManifest):
        load_manifest(victim.path)


def test_every_command_refuses_a_manifest_behind_more_links_than_the_stack_is_deep(victim):
    victim.path.unlink()
    for number in range(1500):
        (victim.folder / f"{number}").symlink_to(f"{number - 1}")
    victim.path.symlink_to(victim.folder / "1499")
    victim.is_refused_by_every_command()


@pytest.mark.parametrize("put", [a_fifo, a_folder, a_loop, a_device])
def test_what_is_no_journal_is_refused(victim, put):
    victim.journal.unlink()
    put(victim.journal)
    with pytest.raises(errors.UnreadableManifest, match="journal"):
        load_manifest(victim.path)


def test_zeros_after_the_journal_are_a_torn_tail(victim):
    os.truncate(victim.journal, 64 << 20)
    before = load_manifest(Victim(victim.killed, victim.folder / "other").path)
    assert load_manifest(victim.path).images == before.images


def theirs(path: Path) -> None:
    path.write_text("somebody else's")


def a_link(path: Path) -> None:
    target = path.with_name("target")
    target.write_text("process of somebody else")
    path.symlink_to(target)


@pytest.mark.parametrize("put", [a_fifo, a_folder, a_loop, a_device, a_link, theirs])
def test_what_is_no_lock_is_refused_and_stays(victim, put):
    victim.lock.unlink()
    put(victim.lock)
    before = everything_below(victim.out)
    assert not lock.is_running(victim.path)
    with pytest.raises(errors.UnlockableManifest, match="lock"), lock.owning(victim.path):
        pass
    assert everything_below(victim.out) == before


@pytest.mark.parametrize("content", [b"", b"\0" * 40, b"proc", b"process 1 on x"])
def test_a_lock_that_a_power_cut_left_is_one(victim, content):
    victim.lock.write_bytes(content)
    with lock.owning(victim.path):
        assert victim.lock.read_bytes().startswith(f"process {os.getpid()} on ".encode())


# the journal

CHANGE = '{"change":{"image":4,%s}}'
STRANGE_LINES = {
    "an image that is not there": '{"change":{"image":99,"state":"pending"}}',
    "an image before the first": '{"change":{"image":-1,"state":"pending"}}',
    "an image beyond all numbers": '{"change":{"image":1%s,"state":"pending"}}' % ("0" * 30),
    "an unknown state": CHANGE % '"state":"lost"',
    "done without a checksum": CHANGE % '"state":"done","width":8,"height":8,"tiles_done":1,"tiles_total":1',
    "partial without dimensions": '{"change":{"image":4,"state":"partial","tiles_done":3}}',
    "a negative size": CHANGE % '"state":"pending","size":-1',
    "a time beyond all clocks": CHANGE % ('"state":"pending","mtime_ns":1' + "0" * 40),
    "a side beyond all formats": CHANGE % '"state":"pending","width":2147483648',
    "a checksum for any file": CHANGE % '"state":"pending","output_size":1,"checksum":"*"',
    "an interruption by nobody": '{"interruption":{"at":"","source":"fire","event_id":null,"deadline":null}}',
    "a change that is a list": '{"change":[]}',
}


@pytest.mark.parametrize("what", STRANGE_LINES)
def test_a_journal_line_that_no_run_would_write_is_refused(victim, what):
    victim.append(STRANGE_LINES[what].encode())
    with pytest.raises(errors.DamagedManifest) as refused:
        load_manifest(victim.path)
    assert str(refused.value).isprintable()


def test_a_line_that_a_later_version_might_write_is_read_over(victim):
    before = load_manifest(victim.path)
    victim.append(b'{"weather":"fine"}')
    assert load_manifest(victim.path) == before


def finished(victim: Victim) -> bytes:
    """A journal of another run of the same images, in which all are done."""
    out = victim.folder / "theirs"
    path = out / "manifest.json"
    out.mkdir()
    store, theirs = Store(path), load_manifest(victim.path)
    theirs.lineage, theirs.state = "0" * 16, "running"
    store.commit(theirs)
    fields = {"width": 8, "height": 8, "tiles_done": 1, "tiles_total": 1, "output_size": 1, "checksum": "x:0"}
    store.record([ImageChange(image=index, state="done", **fields) for index in range(len(theirs.images))])
    store.sync()
    store.close()
    return files_of(path).journal.read_bytes()


def test_the_journal_of_another_run_is_not_replayed(victim):
    before = load_manifest(victim.path)
    ours, theirs = victim.journal.read_bytes(), finished(victim)
    victim.journal.write_bytes(theirs)
    assert {image.state for image in load_manifest(victim.path).images} == {"pending"}  # as the document has it
    lines = ours.splitlines(keepends=True), theirs.splitlines(keepends=True)
    victim.journal.write_bytes(ours + b"".join(lines[1][1:]))
    assert load_manifest(victim.path) == before
    mixed = b"".join(line for pair in zip(*lines, strict=False) for line in pair)
    victim.journal.write_bytes(lines[0][0] + mixed)
    assert {image.state for image in load_manifest(victim.path).images} == {"pending"}


def test_lines_that_changed_places_are_not_replayed(victim):
    opening, *lines = victim.journal.read_bytes().splitlines(keepends=True)
    victim.journal.write_bytes(opening + b"".join(reversed(lines)))
    assert {image.state for image in load_manifest(victim.path).images} == {"pending"}


def test_text_of_an_interruption_and_of_a_failure_is_shown_escaped(victim):
    nasty = "\x1b]0;owned\x07\u202e\n" * 3
    interruption = {"at": nasty, "source": "smq", "event_id": nasty, "deadline": nasty}
    members = victim.document
    members["images"][0].update(state="failed", error=nasty, source=nasty + "\t")
    members["interruptions"] = [interruption]
    victim.document = members
    victim.append(json.dumps({"interruption": interruption}).encode())
    told = batchgray("status", victim.path).stdout
    assert all(line.isprintable() for line in told.splitlines())
    assert "owned" in told
    assert json.loads(batchgray("status", victim.path, "--json").stdout)["interruptions"][0]["event_id"] == nasty


# sidecars

STRANGE_HEADERS = {
    "no EXIF at all": {"record": {"exif_bytes": -1}},
    "a gigabyte of EXIF": {"record": {"exif_bytes": 1 << 30}},
    "more EXIF than a JPEG holds": {"record": {"exif_bytes": 65536}},
    "a gigabyte of XMP": {"record": {"xmp_bytes": 1 << 30}},
    "less IPTC than none": {"record": {"exif_bytes": 8, "iptc_bytes": -8}},
    "no width": {"record": {"width": 0}},
    "a negative height": {"record": {"height": -8}},
    "an absurd width": {"record": {"width": 2**31}},
    "an absurd height": {"record": {"height": 10**30}},
    "more columns": {"record": {"width": 1288}},
    "tiles of no rows": {"record": {"tile_rows": 0}},
    "tiles of other rows": {"record": {"tile_rows": 16}},
    "a note without end": {"record": {"note": "n" * 100_000}},
    "tiles beyond the last": {"tiles": [[0, 1201]]},
    "tiles before the first": {"tiles": [[-1, 1]]},
    "tiles that overlap": {"tiles": [[0, 2], [1, 3]]},
    "tiles in another order": {"tiles": [[2, 3], [0, 1]]},
    "tiles beyond all numbers": {"tiles": [[0, 10**30]]},
    "all tiles": {"tiles": [[0, 1200]]},
    "no tiles": {"tiles": []},
    "options that nobody has": {"options": {"quality": 101}},
    "an output that leads outside": {"output": OUTSIDE},
    "an output that is no text": {"output": 7},
}


@pytest.mark.parametrize("what", STRANGE_HEADERS)
def test_a_sidecar_that_no_run_would_write_is_doubted_though_it_is_sealed(victim, what):
    assert sidecar.read_header(Folder.at(victim.flight), victim.sidecar.name) is not None
    victim.change_header(**STRANGE_HEADERS[what])
    assert sidecar.read_header(Folder.at(victim.flight), victim.sidecar.name) is None
    assert restored(victim) is None


def checkpoints_of(victim: Victim) -> FolderCheckpoints:
    return FolderCheckpoints(Folder.at(victim.flight), Folder.at(victim.out), PixelOptions(tile_rows=8))


def restored(victim: Victim) -> slots.SlotImage | None:
    fd = slots.make_memory()
    try:
        slots.resize_memory(fd, 64 << 20)
        return checkpoints_of(victim).restore("m/m.jpg", slots.Slot(fd))
    finally:
        os.close(fd)


def cut(victim):
    os.truncate(victim.sidecar, victim.sidecar.stat().st_size - 1)


def lengthen(victim):
    with victim.sidecar.open("ab") as file:
        file.write(b"\0")


def make_sparse(victim):
    os.truncate(victim.sidecar, 3 << 30)


def claim_another_image(victim):
    """All of it is done, says its header: with one tile, as wide and high as no source of this run."""
    record = {"width": 3, "height": 8, "exif_bytes": 0}
    victim.change_header(record=record, tiles=[[0, 1]], payload=integrity.checksum([bytes(24)]), output="y.jpg")
    line = victim.sidecar.read_bytes().split(b"\n")[0]
    victim.sidecar.write_bytes(line + b"\n" + bytes(24))


def claim_the_impossible(victim):
    """All of an image is done that is over --max-pixels, and is nowhere on disk."""
    side = 40_000
    record = {"width": side, "height": side, "exif_bytes": 0}
    victim.change_header(record=record, tiles=[[0, side // 8]], payload="xxh3-128:0")
    line = victim.sidecar.read_bytes().split(b"\n")[0]
    victim.sidecar.write_bytes(line + b"\n")
    os.truncate(victim.sidecar, len(line) + 1 + side * side)


def replace_with(put):
    def replace(victim):
        victim.sidecar.unlink()
        put(victim.sidecar)

    replace.__name__ = put.__name__
    return replace


def an_empty_folder(path: Path) -> None:
    path.mkdir()


def nest_without_end(victim):
    deep = b'{"output":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    victim.sidecar.write_bytes(sealing.seal(deep) + b"\n")


ATTACKS = [cut, lengthen, make_sparse, claim_another_image, nest_without_end, *map(replace_with, (a_fifo, a_device))]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_damaged_sidecar_is_doubted(victim, attack):
    image = load_manifest(victim.path).images[1]
    task = Task(index=1, source="", output=image.output, version=image.version)
    assert checkpoints_of(victim).find(task) is not None
    attack(victim)
    assert checkpoints_of(victim).find(task) is None


@pytest.mark.parametrize(
    "attack",
    [cut, claim_the_impossible, replace_with(a_fifo), replace_with(an_empty_folder)],
    ids=lambda it: it.__name__,
)
def test_an_image_with_a_doubtful_sidecar_is_made_anew(victim, attack):
    attack(victim)
    victim.finishes_right()


def test_a_sidecar_can_not_claim_another_images_output(victim):
    """m.jpg's sidecar says that m.partial.jpg is its own partial JPEG, and not the output of m.partial.png."""
    inputs = shutil.copytree(victim.killed.inputs, victim.folder / "in")
    save_gradient(inputs / "m" / "m.partial.png", 16, 16)
    out = victim.folder / "gray"
    arguments = ("run", inputs, "--out", out, *victim.killed.arguments)
    batchgray(*arguments)
    kept = (out / "m" / "m.partial.jpg").read_bytes()
    victim.change_header(owns_preview=True)
    for begun in (False, True):
        (out / ".batchgray" / "default").mkdir(parents=True)
        shutil.copy(victim.sidecar, out / ".batchgray" / "default" / sidecar.name_of("m/m.jpg"))
        if begun:
            (out / "m" / "m.jpg").unlink()
        batchgray(*arguments)
        assert (out / "m" / "m.partial.jpg").read_bytes() == kept
        assert (out / "m" / "m.jpg").read_bytes() == (victim.killed.whole / "m" / "m.jpg").read_bytes()
        assert not (out / ".batchgray").exists()


# intents


@pytest.mark.parametrize(
    "line",
    [b'{"output":"y.jpg","size":-1,"checksum":"%s"}', b'{"output":7}', b'{"output":' + b"[" * 300_000 + b"}", b"{}}"],
)
def test_an_intent_that_no_run_would_write_is_read_over(victim, line):
    (victim.out / "y.jpg").write_bytes(b"theirs")
    data = line.replace(b"%s", integrity.checksum([b"theirs"]).encode())
    (victim.flight / f"7{intents.SUFFIX}").write_bytes(sealing.seal(data) + b"\n")
    assert list(intents.read(Folder.at(victim.flight), f"7{intents.SUFFIX}")) == []


@pytest.mark.parametrize("put", [a_fifo, a_device, a_folder])
def test_what_is_no_log_of_intents_is_refused_by_name(victim, put):
    put(victim.flight / f"7{intents.SUFFIX}")
    assert f"7{intents.SUFFIX}" in victim.resume(expect=2).stderr


# links


@pytest.fixture
def elsewhere(tmp_path):
    """A folder beside the output folder, and a look at the end whether anything there was touched."""
    folder = tmp_path / "elsewhere"
    (folder / "default").mkdir(parents=True)
    (folder / "default" / "precious.out").write_text("precious")
    (folder / "m.partial.jpg").write_text("precious")
    before = everything_below(folder)
    yield folder
    assert everything_below(folder) == before


@pytest.mark.parametrize("name", [".batchgray", ".batchgray/default"])
def test_a_folder_of_what_is_in_flight_that_is_a_link_is_refused(victim, elsewhere, name):
    (victim.out / name).rename(victim.folder / "away")
    (victim.out / name).symlink_to(elsewhere if name == ".batchgray" else elsewhere / "default")
    for arguments in victim.commands()[2:]:
        done = limited(arguments)
        assert done.returncode == 2
        assert f"{name} is a link" in done.stderr


@pytest.mark.parametrize("target", ["../elsewhere", "/nowhere/at/all"])
def test_an_image_whose_folder_leads_outside_fails_and_nothing_is_touched(victim, elsewhere, target):
    shutil.rmtree(victim.out / "m", ignore_errors=True)
    (victim.out / "m").symlink_to(target)
    victim.change_header(owns_preview=True)
    done = victim.resume(expect=3)
    assert "leads out of the output folder" in done.stdout
    (victim.out / "m").unlink()
    victim.finishes_right()


def test_a_link_that_stays_inside_is_followed(victim):
    inside = victim.out / "inside"
    (victim.out / "m").rename(inside) if (victim.out / "m").exists() else inside.mkdir()
    (victim.out / "m").symlink_to("inside")
    victim.resume()
    assert (inside / "m.jpg").read_bytes() == (victim.killed.whole / "m" / "m.jpg").read_bytes()


def test_what_stands_under_an_outputs_name_costs_one_image_and_stays(victim):
    a_fifo(victim.out / "x.jpg")
    a_device(victim.out / "y.jpg")
    a_folder(victim.out / "z.jpg")
    before = {name: (victim.out / name).lstat().st_mode for name in ("x.jpg", "y.jpg", "z.jpg")}
    told = victim.resume(expect=3).stdout
    (line,) = (line for line in told.splitlines() if "batchgray did not make the file" in line)
    assert all(name in line for name in ("x.png", "y.jpg", "z.jpg"))
    assert {name: (victim.out / name).lstat().st_mode for name in before} == before
    assert (victim.out / "m" / "m.jpg").is_file()


def test_verify_waits_for_no_fifo_and_follows_no_link(victim):
    victim.finishes_right()
    (victim.out / "z.jpg").unlink()
    os.mkfifo(victim.out / "z.jpg")
    (victim.out / "y.jpg").rename(victim.folder / "y.jpg")
    (victim.out / "y.jpg").symlink_to(victim.folder / "y.jpg")
    members = victim.document
    next(image for image in members["images"] if image["output"] == "z.jpg")["output_size"] = 0
    victim.document = members
    verdict = json.loads(batchgray("verify", victim.path, "--json", expect=3).stdout)
    assert {damage["output"]: damage["fault"] for damage in verdict["damaged"]} == {
        "y.jpg": "can't be read: it is a link",
        "z.jpg": "can't be read: it is not a regular file",
    }


# what these attacks found elsewhere


def test_a_modification_time_of_more_than_64_bits_is_told_from_others():
    far, later = InputVersion(1, 10**22), InputVersion(1, 10**22 + 1)
    assert far != later
    assert far == InputVersion(1, 10**22)
    assert all(-(2**63) <= version.mtime_ns < 2**63 for version in (far, later))
    assert InputVersion(1, -5).mtime_ns == -5


def test_an_image_from_the_far_future_is_converted(tmp_path):
    path = save_gradient(tmp_path / "in" / "a.jpg", 8, 8)
    os.utime(path, (15_000_000_000, 15_000_000_000))  # in 2445; its nanoseconds need 64 bits and a sign
    assert path.stat().st_mtime_ns > 2**63
    batchgray("run", path.parent, "--out", tmp_path / "out")
    assert "nothing to do" in batchgray("resume", tmp_path / "out" / "manifest.json").stdout


@pytest.mark.parametrize("option", ["--max-pixels", "--tile-rows"])
def test_numbers_that_no_message_can_carry_are_refused_before_any_work(tmp_path, option):
    save_gradient(tmp_path / "in" / "a.jpg", 8, 8)
    done = batchgray("run", tmp_path / "in", "--out", tmp_path / "out", option, 10**30, expect=2)
    assert option in done.stderr


@pytest.mark.skipif(not can_be_refused(), reason="needs setpriv")
def test_an_output_folder_behind_a_closed_one_is_refused(tmp_path):
    save_gradient(tmp_path / "in" / "a.jpg", 8, 8)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    for arguments in (
        ("--out", closed / "a" / "b"),
        ("--out", tmp_path / "out", "--manifest", closed / "a" / "m.json"),
    ):
        done = batchgray("run", tmp_path / "in", *arguments, expect=2, privileged=False)
        assert "Permission denied" in done.stderr
    closed.chmod(0o700)


def test_names_alone_tell_what_is_plain():
    from batchgray.storage.names import folders_of, is_inside, is_plain

    plain = ["a", "a/b.jpg", "..a", "a..", "...", "a b\n", ".a/b"]
    inside_only = ["", "a//b", "a/", "./a", "a/.", "."]
    outside = ["/a", "..", "../a", "a/..", "a/../b", "a\0"]
    assert [is_plain(name) for name in plain + inside_only + outside] == [True] * 7 + [False] * 12
    assert [is_inside(name) for name in plain + inside_only + outside] == [True] * 13 + [False] * 6
    assert folders_of(["a", "b/c", "d/e/f", "d/g"]) == {"b", "d", "d/e"}


def test_a_guard_closes_what_it_refuses(tmp_path):
    for put in (a_fifo, a_folder):
        path = tmp_path / put.__name__
        put(path)
        before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
        with pytest.raises(OSError, match=r"it is (a folder|not a regular file)"):
            guards.open_regular(path)
        assert not before or len(os.listdir("/proc/self/fd")) == before


# whatever else


def mutated(data: bytes, chance: Random, other: bytes) -> bytes:
    """A few bits flipped, a piece cut out, doubled or taken from elsewhere, or a number made absurd."""
    for _ in range(chance.randint(1, 3)):
        at, end = sorted(chance.choices(range(len(data) + 1), k=2))
        end = min(end, at + chance.choice([1, 40, 4000]))
        match chance.randrange(7):
            case 0 if data:
                at = chance.randrange(len(data))
                data = data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
            case 1:
                data = data[:at]
            case 2:
                data = data[:at] + data[end:]
            case 3:
                data = data[:end] + data[at:]
            case 4:
                from_ = chance.randrange(len(other))
                data = data[:at] + other[from_ : from_ + end - at] + data[end:]
            case 5:
                lines = data.split(b"\n")
                lines.insert(chance.randrange(len(lines) + 1), chance.choice(other.split(b"\n") + lines))
                data = b"\n".join(lines)
            case _:
                data = with_other_number(data, chance)
    return data


def with_other_number(data: bytes, chance: Random) -> bytes:
    places = list(re.finditer(rb"(?<=[:\[])\d+", data[:4000]))
    if not places:
        return data
    start, end = chance.choice(places).span()
    return data[:start] + str(chance.choice(ABSURD)).encode() + data[end:]


def resealed(data: bytes, name: str, members: dict) -> bytes:
    """What was changed, with right seals."""
    if name == "manifest":
        return sealing.seal(data[: -sealing.SEAL_BYTES] + b"}")
    if name == "sidecar":
        line, _, payload = data.partition(b"\n")
        return (sealing.seal(line[: -sealing.SEAL_BYTES] + b"}") if len(line) > 60 else line) + b"\n" + payload
    seed = seed_of(members["lineage"], members["generation"])
    sealed = b""
    for line in data.split(b"\n"):
        if len(line) > sealing.SEAL_BYTES:
            sealed += sealing.seal(line[: -sealing.SEAL_BYTES] + b"}", (sealed and seed + len(sealed)) or 0) + b"\n"
    return sealed


@pytest.fixture(scope="module")
def arena(killed, tmp_path_factory) -> Victim:
    """One copy for all of a property's examples."""
    return Victim(killed, tmp_path_factory.mktemp("arena"))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**64),
    sealed=st.booleans(),
    names=st.sets(st.sampled_from(["manifest", "journal", "sidecar"]), min_size=1),
)
def test_whatever_is_changed_is_planned_inside_the_folder_or_refused(arena, seed, sealed, names):
    chance = Random(seed)
    paths = {"manifest": arena.path, "journal": arena.journal, "sidecar": arena.sidecar}
    pristine = {name: path.read_bytes() for name, path in paths.items()}
    members = arena.document
    try:
        for name in sorted(names):
            data = mutated(pristine[name], chance, pristine[chance.choice(["manifest", "journal"])])
            paths[name].write_bytes(resealed(data, name, members) if sealed else data)
        with contextlib.suppress(errors.BatchgrayError):
            plan = plan_resume(
                ResumeOptions(manifest=arena.path, engine=EngineOptions(workers=1, memory=1)), load_manifest(arena.path)
            )
            check_stays_inside(plan, arena)
        header = sidecar.read_header(Folder.at(arena.flight), arena.sidecar.name)
        assert header is None or header.record.slot_bytes < 1 << 34
        restored(arena)
    finally:
        for name, path in paths.items():
            path.write_bytes(pristine[name])


def check_stays_inside(plan, arena: Victim) -> None:
    """Every path that work on the plan would write is below the output folder, and nobody else's."""
    assert plan.out == arena.out
    assert plan.flight.parent == plan.out / ".batchgray"
    outputs = [image.output for image in plan.manifest.images if image.output]
    assert len(set(outputs)) == len(outputs)
    for index in plan.todo:
        path = Path(os.path.abspath(plan.out / plan.manifest.images[index].output))
        assert path.is_relative_to(plan.out)
        assert not path.is_relative_to(plan.flight.parent)
        assert path not in (arena.path, arena.journal, arena.lock)


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_damaged_the_tree_is_whole_or_the_run_is_refused(killed, tmp_path, seed):
    chance = Random(seed)
    victim = Victim(killed, tmp_path)
    for path in chance.sample([victim.path, victim.journal, victim.sidecar, victim.sidecar], k=2):
        path.write_bytes(mutated(path.read_bytes(), chance, killed.journal))
    done = victim.resume(expect=None)
    assert done.returncode in (0, 2), done.stderr
    if done.returncode == 0:
        assert tree(victim.out) == tree(killed.whole)
        assert leftovers(victim.out) == []
