"""A disk that fills up: flushed as far as it goes, exit 75, the space needed in words, and resume when there is room.

If this broke, a full disk would end a night's work with half files and a traceback.
"""

import subprocess

import pytest
from harness import batchgray, events_of, leftovers, manifest_of, named, tree


@pytest.fixture
def small_disk(converted, tmp_path):
    """A file system with room for half of the outputs."""
    room = sum(map(len, tree(converted).values())) // 2
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"can't mount a small file system here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_flushed_told_and_resumed(samples, converted, small_disk):
    out = small_disk / "gray"
    run = batchgray("run", samples, "--out", out, "--tile-rows", 8, "--progress", "json", expect=75)
    summary = named(events_of(run.stdout), "summary")[0]
    assert manifest_of(out)["state"] == "interrupted"
    assert manifest_of(out)["interruptions"][0]["source"] == "disk"
    assert summary["done"] + summary["pending"] + summary["partial"] == summary["total"]
    whole = tree(converted)
    assert summary["space_needed"] > sum(map(len, whole.values())) // 10
    placed = {name: data for name, data in tree(out).items() if not name.startswith(".batchgray/")}
    assert placed.items() <= whole.items()
    again = batchgray("resume", out / "manifest.json", expect=75)
    assert "The disk is full" in again.stdout
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    batchgray("resume", out / "manifest.json", "--progress", "none")
    assert tree(out) == whole
    assert leftovers(out) == []
