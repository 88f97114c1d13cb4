"""A final name never holds an incomplete image, and nobody else's file is ever replaced.

If this broke, a viewer would show torn pictures, or a user would lose a file of their own.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from harness import (
    Running,
    batchgray,
    events_of,
    freeze_between_tiles,
    leftovers,
    manifest_of,
    named,
    save_gradient,
    tree,
)

from batchgray import integrity, intents
from batchgray.durable import Folder
from batchgray.manifest import Store
from batchgray.options import RunOptions
from batchgray.plan import plan_run


def test_at_every_look_during_a_run_and_after_a_kill(samples, converted, tmp_path):
    whole = tree(converted)
    chance = random.Random(1)
    for round_number in range(4):
        out = tmp_path / str(round_number)
        with Running("run", samples, "--out", out, "--tile-rows", 8) as run:
            run.wait_for("planned")
            end = time.monotonic() + chance.uniform(0.3, 1.6)
            while time.monotonic() < end:
                check(out, whole)
            run.signal(signal.SIGKILL)
            run.finish()
        check(out, whole)


def check(out, whole):
    for folder, folders, names in os.walk(out):  # which does not mind that a folder goes away meanwhile
        folders[:] = [name for name in folders if name != ".batchgray"]
        for path in (Path(folder, name) for name in names if name.endswith(".jpg")):
            assert path.read_bytes() == whole[str(path.relative_to(out))], path


@pytest.fixture
def one_picture(tmp_path):
    return save_gradient(tmp_path / "in" / "a.png", 200, 100).parent


def test_a_file_that_is_not_ours_stays(one_picture, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.jpg").write_bytes(b"mine")
    run = batchgray("run", one_picture, "--out", out, "--progress", "json", expect=3)
    assert "did not make" in named(events_of(run.stdout), "failed")[0]["error"]
    assert (out / "a.jpg").read_bytes() == b"mine"
    batchgray("run", one_picture, "--out", out, "--overwrite", "--progress", "none")
    assert (out / "a.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_an_output_that_somebody_edited_stays_when_the_input_changes(one_picture, tmp_path):
    out = tmp_path / "out"
    batchgray("run", one_picture, "--out", out, "--progress", "none")
    (out / "a.jpg").write_bytes(b"retouched")
    save_gradient(one_picture / "a.png", 200, 100, seed=99)
    batchgray("run", one_picture, "--out", out, "--progress", "none", expect=3)
    assert (out / "a.jpg").read_bytes() == b"retouched"


def test_our_own_output_is_replaced_when_the_input_changes(one_picture, tmp_path):
    out = tmp_path / "out"
    batchgray("run", one_picture, "--out", out, "--progress", "none")
    before = (out / "a.jpg").read_bytes()
    save_gradient(one_picture / "a.png", 200, 100, seed=99)
    run = batchgray("run", one_picture, "--out", out, "--progress", "json")
    assert named(events_of(run.stdout), "summary")[0]["changed"] == 1
    assert (out / "a.jpg").read_bytes() != before


def test_an_output_of_ours_from_before_a_lost_journal_is_taken_over(one_picture, tmp_path):
    """As a crash leaves it that comes after the rename and before the journal's line."""
    out = tmp_path / "out"
    batchgray("run", one_picture, "--out", out, "--progress", "none")
    (out / "manifest.json").unlink()
    batchgray("run", one_picture, "--out", out, "--progress", "none")
    assert manifest_of(out)["images"][0]["state"] == "done"


@pytest.mark.parametrize("intent", ["ours", "somebody else's file since", "torn"])
def test_an_output_of_ours_without_its_journal_line_is_known_by_its_intent(one_picture, tmp_path, intent):
    """As a crash leaves it, after which the input is changed as well."""
    out = tmp_path / "out"
    batchgray("run", one_picture, "--out", out, "--progress", "none")
    placed = (out / "a.jpg").read_bytes()
    (out / "a.jpg").unlink()
    forget_all_but_the_plan(one_picture, out)
    log = intents.IntentLog(Folder.at(out / ".batchgray" / "default"), 1)
    log.append([intents.Intent(output="a.jpg", size=len(placed), checksum=integrity.checksum([placed]))])
    (out / "a.jpg").write_bytes(b"mine" if intent == "somebody else's file since" else placed)
    if intent == "torn":
        path = out / ".batchgray" / "default" / "1.intents"
        path.write_bytes(path.read_bytes()[:-20])
    save_gradient(one_picture / "a.png", 200, 100, seed=99)
    before = (out / "a.jpg").read_bytes()
    batchgray("resume", out / "manifest.json", "--progress", "none", expect=0 if intent == "ours" else 3)
    assert ((out / "a.jpg").read_bytes() == before) == (intent != "ours")
    assert leftovers(out) == []


def forget_all_but_the_plan(pictures, out):
    """The manifest as it was when the work began."""
    (out / "manifest.json").unlink()
    (out / ".batchgray" / "default").mkdir(parents=True)
    document = plan_run(RunOptions(inputs=(pictures,), out=out), None).manifest
    Store(out / "manifest.json").commit(document)


def test_a_partial_jpegs_name_that_is_somebody_elses_is_left_alone(tall, tmp_path):
    (tmp_path / "tall.partial.jpg").write_bytes(b"mine")
    with Running("run", tall, "--out", tmp_path, "--tile-rows", 8, "--workers", 1) as run:
        worker, _ = freeze_between_tiles(run)
        run.signal(signal.SIGTERM)
        run.wait_for("notice")
        worker.resume()
        run.finish(expect=75)
    assert (tmp_path / "tall.partial.jpg").read_bytes() == b"mine"
    batchgray("resume", tmp_path / "manifest.json", "--progress", "none")
    assert (tmp_path / "tall.partial.jpg").read_bytes() == b"mine"


@pytest.mark.parametrize("inputs", [["a"], ["a", "b"], ["a/x.jpg"]])
def test_an_input_is_never_replaced_by_its_output(tmp_path, inputs):
    for name in ("a/x.jpg", "b/y.jpg"):
        save_gradient(tmp_path / name, 64, 64)
    before = tree(tmp_path)
    out = tmp_path if len(inputs) > 1 else tmp_path / "a"
    batchgray("run", *(tmp_path / name for name in inputs), "--out", out, "--overwrite", expect=2)
    assert {name: data for name, data in tree(tmp_path).items() if name in before} == before


def test_what_overwrite_and_mend_permit_outlasts_an_interruption(tall, tall_converted, tmp_path):
    (tmp_path / "tall.jpg").write_bytes(b"to be replaced")
    with Running("run", tall, "--out", tmp_path, "--tile-rows", 8, "--workers", 1, "--overwrite") as run:
        worker, _ = freeze_between_tiles(run)
        run.signal(signal.SIGTERM)
        run.wait_for("notice")
        worker.resume()
        run.finish(expect=75)
    batchgray("resume", tmp_path / "manifest.json", "--progress", "none")
    assert tree(tmp_path) == tree(tall_converted)


def test_a_name_too_long_for_a_partial_jpeg_is_no_obstacle(tmp_path):
    name = "n" * 251
    save_gradient(tmp_path / "in" / f"{name}.png", 3000, 3000)
    out = tmp_path / "out"
    arguments = ("run", tmp_path / "in", "--out", out, "--tile-rows", 8, "--checkpoint", 0.001)
    with Running(*arguments, "--workers", 1) as run:
        worker, _ = freeze_between_tiles(run)
        run.signal(signal.SIGTERM)
        run.wait_for("notice")
        worker.resume()
        run.finish(expect=75)
    batchgray("resume", out / "manifest.json", "--progress", "none")
    assert list(tree(out)) == [f"{name}.jpg"]
