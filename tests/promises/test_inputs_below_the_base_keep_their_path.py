"""With --base an input comes out under its path below that folder, whether a folder, a file or a list named it.

If this broke, `find ... | batchgray run --files-from -` would pour a tree of years into one folder, and a second run
with other INPUTs would make everything again beside what is there.
"""

import os
import shutil

import pytest
from harness import Running, batchgray, manifest_of, save_gradient, tree
from recording import Recording, Rule, interrupt, wait_for_stopped_worker

NAMES = ["2023/a.png", "2024/may/a.png", "2024/may/b.jpg", "2024/june/a.png"]
OUTPUTS = ["2023/a.jpg", "2024/june/a.jpg", "2024/may/a.jpg", "2024/may/b.jpg"]


@pytest.fixture
def data(tmp_path):
    for side, name in enumerate(NAMES, 60):
        save_gradient(tmp_path / "data" / name, side, 60)
    return tmp_path / "data"


def listed(data, *names):
    path = data.parent / "list"
    path.write_bytes(b"\0".join(os.fsencode(data / name) for name in names))
    return ("--files-from", path)


def files(out):
    """Which files are there: one that is made again is another."""
    found = {name: (out / name).stat() for name in tree(out)}
    return {name: (there.st_ino, there.st_mtime_ns) for name, there in found.items()}


def ways(data):
    """The same four inputs, named in several ways."""
    return {
        "the base": [data],
        "its folders": [data / "2023", data / "2024"],
        "a list": listed(data, *NAMES),
        "a list of folders": listed(data, "2023", "2024/may", "2024/june"),
        "all at once": [data / "2024", data / "2023" / "a.png", *listed(data, *NAMES)],
        "relative names": [os.path.relpath(data / name) for name in NAMES],
        "another way there": [data.parent / "link" / "2023", *(data.parent / "link" / name for name in NAMES[1:])],
    }


def test_however_they_are_named(data, tmp_path):
    (tmp_path / "link").symlink_to("data")
    batchgray("run", data, "--out", tmp_path / "expected", "--progress", "none")
    assert sorted(tree(tmp_path / "expected")) == OUTPUTS
    for way, arguments in ways(data).items():
        out = tmp_path / way
        batchgray("run", *arguments, "--base", data, "--out", out, "--progress", "none")
        assert tree(out) == tree(tmp_path / "expected"), way
        batchgray("resume", out, "--progress", "none")
        batchgray("verify", out)


def test_whatever_a_later_run_names_them_by_nothing_is_made_twice(data, tmp_path):
    (tmp_path / "link").symlink_to("data")
    out = tmp_path / "out"
    batchgray("run", *listed(data, *NAMES), "--base", data, "--out", out, "--progress", "none")
    before = files(out)
    for way, arguments in ways(data).items():
        for base in (data, data.parent, None):
            if base != data and way == "another way there":  # those are other names, and the base does not lead there
                continue
            given = ("--base", base) if base else ()
            batchgray("run", *arguments, *given, "--out", out, "--progress", "none")
            assert files(out) == before, (way, base)
            assert [image["state"] for image in manifest_of(out)["images"]] == ["done"] * 4
    save_gradient(data / "2025" / "a.png", 30, 30)
    batchgray("run", data / "2025", "--base", data, "--out", out, "--progress", "none")
    assert sorted(tree(out)) == sorted([*OUTPUTS, "2025/a.jpg"])


def test_across_an_interruption_and_a_move(data, tmp_path):
    save_gradient(data / "2024" / "may" / "b.jpg", 400, 1000, quality=90)
    batchgray("run", data, "--out", tmp_path / "whole", "--tile-rows", 64, "--progress", "none")
    out, recording = tmp_path / "out", Recording(tmp_path / "record", Rule("tile", "b.jpg", after=3))
    arguments = (*listed(data, *NAMES), "--base", data, "--out", out, "--tile-rows", 64)
    with Running("run", *arguments, env=recording.environment) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    shutil.copytree(data, tmp_path / "moved", copy_function=shutil.copy2)
    shutil.rmtree(data)
    batchgray("resume", out, "--input-root", tmp_path / "moved", "--progress", "none")
    assert tree(out) == tree(tmp_path / "whole")


def test_what_is_not_below_it_is_refused_and_nothing_is_left(data, tmp_path):
    save_gradient(tmp_path / "elsewhere" / "c.png", 30, 30)
    other = tmp_path / "elsewhere" / "c.png"
    refused = batchgray("run", data, other, "--base", data, "--out", tmp_path / "out", expect=2).stderr
    assert f"{other} is not below --base {data}" in refused
    assert not (tmp_path / "out").exists()


def test_without_a_base_listed_names_that_meet_are_refused_with_the_way_out(data, tmp_path):
    refused = batchgray("run", *listed(data, *NAMES), "--out", tmp_path / "out", expect=2).stderr
    assert f"{data}/2023/a.png and {data}/2024/may/a.png -> a.png.jpg" in refused
    assert "--base DIR`, with one above them all" in refused
