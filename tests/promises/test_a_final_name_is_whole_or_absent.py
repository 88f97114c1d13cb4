"""A final name never holds an incomplete image, and nobody else's file is ever replaced.

If this broke, a viewer would show torn pictures, or a user would lose a file of their own.
"""

import os
from pathlib import Path

import pytest
from harness import Running, batchgray, events_of, leftovers, manifest_of, named, save_gradient, tree
from recording import Recording, Rule, interrupt, wait_for_stopped_worker

from batchgray.manifest.store import Store
from batchgray.options import RunOptions
from batchgray.planning.planner import plan_run
from batchgray.storage import integrity, intents
from batchgray.storage.durable import Folder

KILLED_AT = [
    Rule("open", r"\.out$", after=2),
    Rule("write", r"\.out$", after=4),
    Rule("sync", r"\.intents$", after=1),
    Rule("rename", r"/out/.*\.jpg$", after=3),
    Rule("sync folder", r"/out/phone$"),
]


@pytest.mark.parametrize("rule", KILLED_AT, ids=lambda rule: rule.kind)
def test_at_every_look_during_a_run_and_after_a_kill(samples, converted, tmp_path, rule):
    """It is stopped before and after an output gets its name, looked at, killed, and looked at while it goes on."""
    whole, out, recording = tree(converted), tmp_path / "out", Recording(tmp_path / "record", rule)
    arguments = ("run", samples, "--out", out, "--tile-rows", 8, "--workers", 2)
    with Running(*arguments, env=recording.environment) as run:
        wait_for_stopped_worker(run)
        check(out, whole)
        run.kill()
    check(out, whole)
    with Running("resume", out / "manifest.json") as run:
        while run.process.poll() is None:
            check(out, whole)
        run.finish(expect=0)
    assert tree(out) == whole


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


def interrupt_between_tiles(tmp_path, inputs, *options):
    """A run of one image into `out` that ends with some of its tiles finished and some not."""
    recording = Recording(tmp_path / "record", Rule("tile", r"\.jpg$", after=4))
    arguments = ("run", inputs, "--out", tmp_path / "out", "--tile-rows", 8, "--workers", 1, *options)
    with Running(*arguments, env=recording.environment) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)


def test_a_partial_jpegs_name_that_is_somebody_elses_is_left_alone(tall, tmp_path):
    preview = tmp_path / "out" / "tall.partial.jpg"
    preview.parent.mkdir()
    preview.write_bytes(b"mine")
    interrupt_between_tiles(tmp_path, tall)
    assert preview.read_bytes() == b"mine"
    batchgray("resume", tmp_path / "out" / "manifest.json", "--progress", "none")
    assert preview.read_bytes() == b"mine"


@pytest.mark.parametrize("inputs", [["a"], ["a", "b"], ["a/x.jpg"]])
def test_an_input_is_never_replaced_by_its_output(tmp_path, inputs):
    for name in ("a/x.jpg", "b/y.jpg"):
        save_gradient(tmp_path / name, 64, 64)
    before = tree(tmp_path)
    out = tmp_path if len(inputs) > 1 else tmp_path / "a"
    batchgray("run", *(tmp_path / name for name in inputs), "--out", out, "--overwrite", expect=2)
    assert {name: data for name, data in tree(tmp_path).items() if name in before} == before


def test_what_overwrite_and_mend_permit_outlasts_an_interruption(tall, tall_converted, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "tall.jpg").write_bytes(b"to be replaced")
    interrupt_between_tiles(tmp_path, tall, "--overwrite")
    batchgray("resume", out / "manifest.json", "--progress", "none")
    assert tree(out) == tree(tall_converted)


def test_a_name_too_long_for_a_partial_jpeg_is_no_obstacle(tmp_path):
    name = "n" * 251
    save_gradient(tmp_path / "in" / f"{name}.png", 600, 800)
    interrupt_between_tiles(tmp_path, tmp_path / "in")
    assert manifest_of(tmp_path / "out")["images"][0]["state"] == "partial"
    batchgray("resume", tmp_path / "out" / "manifest.json", "--progress", "none")
    assert list(tree(tmp_path / "out")) == [f"{name}.jpg"]
