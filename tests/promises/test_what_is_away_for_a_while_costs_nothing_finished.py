"""An input, a mount or a name that is away for a while costs nothing that was finished, and is no failure.

If this broke, a card that was not mounted, or one mistyped folder, would have all the work done again, and one picture
that somebody deleted would make every later run a failed one.
"""

import json
import os
import shutil
from typing import NamedTuple

import pytest
from harness import (
    Running,
    batchgray,
    can_be_refused,
    events_of,
    leftovers,
    manifest_of,
    named,
    save_gradient,
    tree,
)
from recording import Recording, Rule, interrupt, wait_for_stopped, wait_for_stopped_worker

OPTIONS = ("--tile-rows", 64)
IN_THE_MIDDLE = Rule("tile", r"^big\.jpg$", after=5)
TILES = 16


class Work(NamedTuple):
    """An output folder, where `batchgray run photos` was interrupted in the middle of an image."""

    photos: object
    out: object
    whole: dict

    def command(self, verb):
        return ("run", self.photos, "--out", self.out, *OPTIONS) if verb == "run" else ("resume", self.out)

    def go_on(self, verb="run", *arguments, expect=0, **settings):
        """The summary of a run to its end, and what it did."""
        done = batchgray(*self.command(verb), *arguments, "--progress", "json", expect=expect, **settings)
        events = events_of(done.stdout)
        return (named(events, "summary") or [None])[0], named(events, "done"), done.stderr

    def image(self, name):
        return next(image for image in manifest_of(self.out)["images"] if image["source"] == name)

    def everything(self):
        """The bytes of all files, the manifest's and those in flight included."""
        return {path: path.read_bytes() for path in self.out.rglob("*") if path.is_file() and path.suffix != ".lock"}


@pytest.fixture
def interrupted(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    for number in range(3):
        save_gradient(photos / "sub" / f"{number}.jpg", 90, 70, seed=number)
    save_gradient(photos / "big.jpg", 400, 64 * TILES, quality=90, exact=True)
    batchgray("run", photos, "--out", tmp_path / "whole", *OPTIONS, "--progress", "none")
    recording = Recording(tmp_path / "record", IN_THE_MIDDLE)
    work = Work(photos, out, tree(tmp_path / "whole"))
    batchgray("run", photos, "--out", out, *OPTIONS, "--exclude", "big.jpg", "--progress", "none")
    with Running(*work.command("run"), "--workers", 1, env=recording.environment) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    assert work.image("big.jpg")["tiles_done"] == 6
    return work


@pytest.fixture
def finished(interrupted):
    interrupted.go_on()
    assert tree(interrupted.out) == interrupted.whole
    return interrupted


def away(photos):
    photos.rename(photos.with_name("away"))


def empty(photos):
    away(photos)
    photos.mkdir()


def linked_to_nowhere(photos):
    away(photos)
    photos.symlink_to("not-mounted")


def without_permission(photos):
    photos.chmod(0)


def without_permission_to_enter(photos):
    photos.chmod(0o444)


LOSSES = [away, empty, linked_to_nowhere, without_permission, without_permission_to_enter]


def put_back(photos):
    if (back := photos.with_name("away")).exists():
        if photos.is_symlink():
            photos.unlink()
        elif photos.exists():
            shutil.rmtree(photos)
        back.rename(photos)
    photos.chmod(0o755)


@pytest.mark.parametrize("verb", ["run", "resume"])
@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_an_input_folder_is_away_for_one_run(interrupted, lose, verb):
    if lose in (without_permission, without_permission_to_enter) and not can_be_refused():
        pytest.skip("root is refused nothing here")
    before = interrupted.everything()
    lose(interrupted.photos)
    try:
        summary, done, error = interrupted.go_on(verb, expect=2, privileged=False)
    finally:
        put_back(interrupted.photos)
    assert (summary, done) == (None, [])
    assert f"{interrupted.photos} held 4 images" in error
    assert "--prune" in error
    assert interrupted.everything() == before
    summary, done, _ = interrupted.go_on(verb)
    assert [(event["source"], event["tiles_computed"]) for event in done] == [("big.jpg", TILES - 6)]
    assert (tree(interrupted.out), leftovers(interrupted.out)) == (interrupted.whole, [])


@pytest.mark.parametrize("wrong", ["another folder", "one with the same names", "an empty one", "none at all"])
def test_a_wrong_input_root_costs_nothing_and_is_not_kept(interrupted, tmp_path, wrong):
    other = tmp_path / "other"
    if wrong != "none at all":
        other.mkdir()
    if wrong == "another folder":
        save_gradient(other / "x.jpg", 90, 70)
    if wrong == "one with the same names":
        for name in ("sub/0.jpg", "sub/1.jpg", "sub/2.jpg", "big.jpg"):
            save_gradient(other / name, 70, 90, seed=7)
    before = interrupted.everything()
    _, _, error = interrupted.go_on("resume", "--input-root", other, expect=2)
    assert "--input-root" in error
    assert interrupted.everything() == before
    _, done, _ = interrupted.go_on("resume")
    assert [(event["source"], event["tiles_computed"]) for event in done] == [("big.jpg", TILES - 6)]
    assert tree(interrupted.out) == interrupted.whole


@pytest.mark.parametrize("verb", ["run", "resume"])
def test_a_begun_image_is_away_for_some_runs(interrupted, verb):
    photo, back = interrupted.photos / "big.jpg", interrupted.photos.with_name("big.jpg")
    photo.rename(back)
    summary, done, _ = interrupted.go_on(verb)
    assert (summary["state"], summary["done"], summary["gone"], summary["newly_gone"]) == (
        "complete",
        3,
        1,
        ["big.jpg"],
    )
    assert done == []
    assert interrupted.go_on(verb)[0]["newly_gone"] == []
    assert (interrupted.out / "big.partial.jpg").exists()
    back.rename(photo)
    _, done, _ = interrupted.go_on(verb)
    assert [event["tiles_computed"] for event in done] == [TILES - 6]
    assert (tree(interrupted.out), leftovers(interrupted.out)) == (interrupted.whole, [])


def test_a_begun_image_goes_away_between_the_plan_and_its_turn(interrupted, tmp_path):
    photo, back = interrupted.photos / "big.jpg", interrupted.photos.with_name("big.jpg")
    recording = Recording(tmp_path / "again", Rule("return", "batchgray.engine.runs:plan_resume"))
    with Running("resume", interrupted.out / "manifest.json", env=recording.environment) as run:
        supervisor = wait_for_stopped(run)
        photo.rename(back)
        supervisor.resume()
        events = run.finish(expect=3)
    assert "no such file" in named(events, "failed")[0]["error"]
    assert interrupted.go_on()[0]["newly_gone"] == ["big.jpg"]
    back.rename(photo)
    _, done, _ = interrupted.go_on()
    assert [event["tiles_computed"] for event in done] == [TILES - 6]
    assert (tree(interrupted.out), leftovers(interrupted.out)) == (interrupted.whole, [])


@pytest.mark.parametrize("verb", ["run", "resume"])
def test_a_finished_image_that_is_removed_is_told_once_and_is_no_failure(finished, verb):
    photo, back = finished.photos / "sub" / "1.jpg", finished.photos.with_name("1.jpg")
    photo.rename(back)
    first = batchgray(*finished.command(verb)).stdout
    assert "Done: 3 of 4 images (3 skipped, done before), 1 gone." in first
    assert "Inputs that are gone since the last run: sub/1.jpg. What was made of them stays" in first
    second = batchgray(*finished.command(verb)).stdout
    assert "1 gone" in second
    assert "sub/1.jpg" not in second
    status = json.loads(batchgray("status", finished.out, "--json").stdout)
    assert status["state"] == "complete"
    assert status["counts"] == {"total": 4, "done": 3, "partial": 0, "pending": 0, "failed": 0, "gone": 1}
    assert tree(finished.out) == finished.whole
    back.rename(photo)
    summary, done, _ = finished.go_on(verb)
    assert (summary["done"], summary["gone"], done) == (4, 0, [])


def test_a_folder_below_an_input_cannot_be_read_for_one_run(finished):
    if not can_be_refused():
        pytest.skip("root is refused nothing here")
    (finished.photos / "sub").chmod(0)
    try:
        summary, done, _ = finished.go_on(privileged=False, expect=3)
    finally:
        (finished.photos / "sub").chmod(0o755)
    assert summary["failures"].keys() == {"sub/"}
    assert (summary["done"], summary["gone"], done) == (1, 3, [])
    summary, done, _ = finished.go_on()
    assert (summary["state"], summary["done"], summary["gone"], done) == ("complete", 4, 0, [])
    assert tree(finished.out) == finished.whole


def test_the_report_of_a_run_with_gone_images_can_be_written(finished):
    (finished.photos / "sub" / "1.jpg").unlink()
    finished.go_on()
    batchgray("report", finished.out)
    assert "<dt>gone</dt><dd>1</dd>" in (finished.out / "report.html").read_text()


def test_a_name_that_was_changed_and_changed_back(finished):
    old, new = finished.photos / "sub" / "1.jpg", finished.photos / "sub" / "eins.jpg"
    old.rename(new)
    summary, done, _ = finished.go_on()
    assert (summary["newly_gone"], [event["source"] for event in done]) == (["sub/1.jpg"], ["sub/eins.jpg"])
    new.rename(old)
    summary, done, _ = finished.go_on()
    assert (summary["newly_gone"], summary["done"], done) == (["sub/eins.jpg"], 4, [])


def test_a_suffix_that_was_changed_costs_nothing(finished):
    for name in os.listdir(finished.photos / "sub"):
        (finished.photos / "sub" / name).rename(finished.photos / "sub" / name.upper())
    summary, done, _ = finished.go_on()
    assert (summary["done"], summary["gone"], done) == (4, 0, [])
    assert tree(finished.out) == finished.whole


@pytest.mark.parametrize("stage", ["finished", "begun"])
@pytest.mark.parametrize("verb", ["run", "resume"])
def test_an_output_folder_that_is_not_mounted_is_refused(tmp_path, verb, stage):
    """The manifest lies elsewhere, and stays; else the whole work would be done again, to the disk below the mount."""
    photos, out, path = tmp_path / "photos", tmp_path / "usb" / "out", tmp_path / "jobs" / "m.json"
    save_gradient(photos / "big.jpg", 400, 64 * TILES, quality=90, exact=True)
    run = ("run", photos, "--out", out, "--manifest", path, *OPTIONS)
    if stage == "begun":
        recording = Recording(tmp_path / "record", IN_THE_MIDDLE)
        with Running(*run, env=recording.environment) as running:
            interrupt(running, wait_for_stopped_worker(running))
            running.finish(expect=75)
    else:
        batchgray(*run, "--progress", "none")
    before = path.read_bytes()
    out.parent.rename(tmp_path / "away")
    (tmp_path / "usb").mkdir()
    if verb == "resume":
        out.mkdir()
    arguments = run if verb == "run" else ("resume", path)
    assert "Mount it" in batchgray(*arguments, expect=2).stderr
    if verb == "resume":
        assert "Mount it" in batchgray("verify", path, "--mend", expect=2).stderr
    assert path.read_bytes() == before
    assert not any(out.iterdir()) if verb == "resume" else not out.exists()
    shutil.rmtree(tmp_path / "usb")
    (tmp_path / "away").rename(tmp_path / "usb")
    (done,) = named(events_of(batchgray(*arguments, "--progress", "json").stdout), "done") or [None]
    assert done is None if stage == "finished" else done["tiles_computed"] < TILES
