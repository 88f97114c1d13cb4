"""Nothing is written outside the output folder, whatever links are put in the way there, and whenever.

If this broke, whoever may write to an output folder could have any file overwritten by the user who runs batchgray.
"""

import os
import signal
from pathlib import Path

import pytest
from harness import Running, batchgray, leftovers, save_gradient, tree
from recording import Recording, Rule, interrupt, wait_for_stopped, wait_for_stopped_worker

from batchgray.storage import integrity


@pytest.fixture
def precious(tmp_path):
    """A file elsewhere, which is as it was at the end."""
    path = tmp_path / "elsewhere" / "precious"
    path.parent.mkdir()
    path.write_bytes(b"precious")
    yield path
    assert path.read_bytes() == b"precious"
    assert os.listdir(path.parent) == ["precious"]


@pytest.fixture
def pictures(tmp_path) -> Path:
    for number in range(60):  # more than a group of files that are committed together
        save_gradient(tmp_path / "in" / "m" / f"{number:02}.png", 64, 48, seed=number)
    return tmp_path / "in"


@pytest.mark.parametrize("kind", [os.symlink, os.link])
def test_links_under_the_names_of_what_is_in_flight(tall, precious, tmp_path, kind):
    """Planted when the folder is cleaned and the work has not begun."""
    out, name = tmp_path / "out", integrity.short_name("tall.jpg")
    began = Rule("return", "batchgray.engine.runs:_commit_start")
    recording = Recording(tmp_path / "record", began, Rule("tile", r"tall\.jpg", after=30))
    arguments = ("run", tall, "--out", out, "--tile-rows", 8, "--workers", 1, "--checkpoint", 0.000001)
    with Running(*arguments, env=recording.environment) as run:
        wait_for_stopped(run)
        for planted in ("1-1.out", f"{name}.tmp", f"{name}.tiles", f"{name}.preview", f"{name}.gray", f"{name}.bands"):
            kind(precious, out / ".batchgray" / "default" / planted)
        kind(precious, out / ".manifest.json.tmp")
        run.signal(signal.SIGCONT)
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    assert precious.read_bytes() == b"precious"
    os.unlink(out / ".batchgray" / "default" / "1-1.out")
    kind(precious, out / ".batchgray" / "default" / "1-1.out")
    batchgray("resume", out / "manifest.json")
    assert leftovers(out) == []


@pytest.mark.parametrize("kind", [os.symlink, os.link])
def test_a_link_where_an_output_is_to_be_written_costs_that_image(tall, precious, tmp_path, kind):
    out = tmp_path / "out"
    recording = Recording(tmp_path / "record", Rule("return", "batchgray.engine.runs:_commit_start"))
    with Running("run", tall, "--out", out, "--workers", 1, env=recording.environment) as run:
        wait_for_stopped(run)
        for planted in ("1-1.out", f"{integrity.short_name('tall.jpg')}.out"):
            kind(precious, out / ".batchgray" / "default" / planted)
        run.signal(signal.SIGCONT)
        run.finish(expect=3)
    batchgray("resume", out / "manifest.json")
    assert leftovers(out) == []


def test_a_folder_that_is_swapped_for_a_link_while_outputs_go_there(pictures, precious, tmp_path):
    """The worker stops itself when the first output has its name; no other has been placed."""
    (tmp_path / "out" / "m").mkdir(parents=True)
    out, recording = tmp_path / "out", Recording(tmp_path / "record", Rule("rename", r"/out/m/\d+\.jpg$"))
    with Running("run", pictures, "--out", out, "--workers", 1, env=recording.environment) as run:
        worker = wait_for_stopped_worker(run)
        (out / "m").rename(out / "kept")
        (out / "m").symlink_to(precious.parent)
        worker.resume()
        run.finish(expect=3)
    assert len(tree(out / "kept")) < 60
    failed = [line for line in batchgray("status", out / "manifest.json").stdout.splitlines() if "leads out" in line]
    assert failed
    (out / "m").unlink()
    (out / "kept").rename(out / "m")
    batchgray("resume", out / "manifest.json")
    assert len(tree(out)) == 60


@pytest.mark.parametrize("name", [".batchgray", ".batchgray/default"])
def test_a_folder_of_what_is_in_flight_that_is_swapped_for_a_link(pictures, precious, tmp_path, name):
    out, recording = tmp_path / "out", Recording(tmp_path / "record", Rule("write", r"\.out$", after=1))
    with Running("run", pictures, "--out", out, "--workers", 1, env=recording.environment) as run:
        worker = wait_for_stopped_worker(run)
        (out / name).rename(out / "kept")
        (out / name).symlink_to(precious.parent)
        worker.resume()
        run.finish(expect=0)
    assert len([path for path in tree(out) if path.startswith("m/")]) == 60


def test_an_output_folder_that_is_swapped_for_a_link(pictures, precious, tmp_path):
    """All goes on in the folder that it began in."""
    out, recording = tmp_path / "out", Recording(tmp_path / "record", Rule("rename", r"/out/m/\d+\.jpg$"))
    with Running("run", pictures, "--out", out, "--workers", 1, env=recording.environment) as run:
        worker = wait_for_stopped_worker(run)
        out.rename(tmp_path / "kept")
        out.symlink_to(precious.parent)
        worker.resume()
        run.finish(expect=0)
    assert len(tree(tmp_path / "kept")) == 60


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_a_link_where_the_manifest_is_to_be(pictures, precious, tmp_path, overwrite):
    """The user named the output folder, and not what somebody's link there leads to."""
    out = tmp_path / "out"
    out.mkdir()
    for target in (precious.with_name("new"), precious):
        (out / "manifest.json").symlink_to(target)
        batchgray("run", pictures, "--out", out, *overwrite, expect=2)
        assert os.listdir(out) == ["manifest.json"]
        (out / "manifest.json").unlink()
