"""`run --dry-run` foresees what the run would refuse, in the same words, and touches nothing."""

import contextlib
import fcntl
import json
import os

import pytest
from harness import batchgray, can_be_refused, events_of, named, save_gradient


@pytest.fixture
def folder(tmp_path):
    for name in ("in/a.png", "in/b.jpg", "in/b.jpeg", "one.png"):
        save_gradient(tmp_path / name, 16, 16)
    (tmp_path / "in" / "b.jpeg").unlink()
    batchgray("run", "in", "--out", "done", cwd=tmp_path)
    batchgray("run", "in", "--out", "other", "--manifest", "elsewhere.json", cwd=tmp_path)
    (tmp_path / "file").write_text("text")
    return tmp_path


@contextlib.contextmanager
def locked(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()} on elsewhere, since 2026-11-22T18:00:00Z\n")
        file.flush()
        yield


def a_foreign_journal(folder):
    (folder / "new").mkdir()
    (folder / "new" / "manifest.json.journal").write_text("dear diary")


def a_link_for_what_is_in_flight(folder):
    (folder / "new").mkdir()
    (folder / "new" / ".batchgray").symlink_to(folder / "in")


def a_file_for_what_is_in_flight(folder):
    (folder / "new").mkdir()
    (folder / "new" / ".batchgray").write_text("")


def a_foreign_lock(folder):
    (folder / "new").mkdir()
    (folder / "new" / "manifest.json.lock").write_text("not a lock")


def a_foreign_manifest(folder):
    (folder / "new").mkdir()
    (folder / "new" / "manifest.json").write_text("{}")


def two_inputs_of_one_name(folder):
    save_gradient(folder / "in" / "b.jpeg", 16, 16)


def tree_of(folder):
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in sorted(folder.rglob("*"))
    }


def both_say(folder, *arguments, **settings):
    """What a dry run says, which is what the run says."""
    before = tree_of(folder)
    foreseen = batchgray("run", *arguments, "--dry-run", cwd=folder, expect=2, **settings).stderr
    assert tree_of(folder) == before
    said = batchgray("run", *arguments, cwd=folder, expect=2, **settings).stderr
    assert foreseen == said
    return said


@pytest.mark.parametrize(
    ("prepare", "arguments", "words"),
    [
        (a_foreign_journal, ["in", "--out", "new"], "was not written by batchgray, which needs its name"),
        (a_link_for_what_is_in_flight, ["in", "--out", "new"], "is a link"),
        (a_file_for_what_is_in_flight, ["in", "--out", "new"], "can't write to the output folder"),
        (a_foreign_lock, ["in", "--out", "new"], "can't lock"),
        (a_foreign_manifest, ["in", "--out", "new"], "was not written by batchgray"),
        (two_inputs_of_one_name, ["in", "--out", "new"], "would share an output name"),
        (None, ["in", "--out", "done", "--quality", "9"], "with other options"),
        (None, ["in", "--out", "done", "--manifest", "elsewhere.json"], "is of the output folder"),
        (None, ["in", "--out", "file/new"], "can't write to the output folder"),
        (None, ["in", "--out", "new", "--manifest", "file/m.json"], "can't write to the output folder"),
        (None, ["in", "--out", "file"], "--out takes a folder, not a file"),
        (None, ["one.png", "--out", "b.jpg"], "b.jpg has the name of one"),
        (None, ["nowhere", "--out", "new"], "no such file or folder"),
        (None, ["in", "--out", "new", "--workers", "0"], "--workers"),
        (None, ["in", "--out", "new", "--notices", "smq"], "the endpoint is missing"),
    ],
)
def test_a_refusal_is_foreseen_in_the_same_words(folder, prepare, arguments, words):
    if prepare:
        prepare(folder)
    assert words in both_say(folder, *arguments)


@pytest.mark.parametrize(
    ("lock", "arguments"),
    [
        ("done/manifest.json.lock", ["--out", "done"]),
        ("done/.batchgray/default/run.lock", ["--out", "done", "--overwrite"]),
        ("other/.batchgray/RUN/run.lock", ["--out", "new", "--manifest", "elsewhere.json", "--overwrite"]),
    ],
)
def test_another_run_is_foreseen_by_its_locks(folder, lock, arguments):
    run_id = json.loads((folder / "elsewhere.json").read_text())["run_id"]
    with locked(folder / lock.replace("RUN", run_id)):
        assert "process" in both_say(folder, "in", *arguments)


@pytest.mark.skipif(not can_be_refused(), reason="nothing is refused to root here")
def test_a_folder_that_may_not_be_written_is_foreseen(folder):
    (folder / "closed").mkdir(mode=0o555)
    for out in ("closed", "closed/new"):
        assert "Permission denied" in both_say(folder, "in", "--out", out, privileged=False)


def test_what_a_run_accepts_is_planned(folder):
    (folder / "b.jpg").mkdir()
    for arguments in (
        ["one.png", "--out", "b.jpg"],
        ["one.png", "in", "--out", "c.jpg"],
        ["in", "--out", "new/deeper"],
        ["in", "--out", "done", "--overwrite"],
    ):
        planned = events_of(batchgray("run", *arguments, "--dry-run", "--progress", "json", cwd=folder).stdout)
        converted = events_of(batchgray("run", *arguments, "--progress", "json", cwd=folder).stdout)
        assert len(named(planned, "would_convert")) == len(named(converted, "done")) > 0


def test_a_dry_run_prints_the_plan_and_touches_nothing(pictures, tmp_path):
    out = tmp_path / "out"
    plan = batchgray("run", pictures, "--out", out, "--dry-run").stdout
    assert f"{pictures}/sub/b.jpg -> {out}/sub/b.jpg" in plan
    assert not out.exists()
