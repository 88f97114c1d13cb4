"""Of what the workers have in hand when a notice comes, each image is finished, kept as partial, or put back.

If this broke, an interruption's figures would not tell whether something was lost in it.
"""

import signal

import pytest
from harness import Running, batchgray, manifest_of, named, save_gradient
from recording import Recording, Rule, interrupt, wait_for_stopped_worker

IMAGES = 12


@pytest.fixture
def pictures(tmp_path):
    """Thumbnails that go to a worker many at a time, and a picture of many tiles that comes first."""
    for number in range(IMAGES):
        save_gradient(tmp_path / "in" / f"{number:02}.png", 64, 64, number)
    save_gradient(tmp_path / "in" / "tall.png", 64, 1600)
    return tmp_path / "in"


def figures_of(events):
    [notice], [flushed] = named(events, "notice"), named(events, "flushed")
    assert notice["in_hand"] == flushed["in_hand"] == flushed["finished"] + flushed["kept"] + flushed["put_back"]
    since = events[events.index(notice) :]
    assert flushed["finished"] == len(named(since, "done")) + len(named(since, "failed"))
    assert flushed["failed"] == len(named(since, "failed"))
    return flushed


def begin(pictures, tmp_path, rule, *options):
    recording = Recording(tmp_path / "record", rule)
    arguments = ("run", pictures, "--out", tmp_path / "out", "--workers", 1, "--tile-rows", 8, *options)
    return Running(*arguments, env=recording.environment)


def test_files_that_wait_for_the_disk_and_images_not_begun_are_in_hand_too(pictures, tmp_path):
    with begin(pictures, tmp_path, Rule("encode", r"03\.jpg"), "--exclude", "tall.png") as run:
        worker = wait_for_stopped_worker(run)
        interrupt(run, worker)
        events = run.finish(expect=75)
    flushed = figures_of(events)
    assert flushed["finished"] >= 1  # all tiles of the one that it was stopped in are finished
    assert flushed["kept"] == 0
    assert flushed["pending"] == IMAGES - len(named(events, "done"))
    batchgray("resume", tmp_path / "out", "--progress", "none")
    assert manifest_of(tmp_path / "out")["state"] == "complete"


@pytest.mark.parametrize("grace", [30, 0.2], ids=["flushed", "killed"])
def test_a_begun_image_is_kept_and_what_was_not_begun_is_put_back(pictures, tmp_path, grace):
    with begin(pictures, tmp_path, Rule("tile", r"tall\.jpg", after=20), "--grace", grace) as run:
        worker = wait_for_stopped_worker(run)
        if grace == 30:
            interrupt(run, worker)
        else:
            run.signal(signal.SIGTERM)
        flushed = figures_of(run.finish(expect=75))
    assert (flushed["kept"], flushed["partial"]) == (1, 1)
    assert [image["state"] for image in manifest_of(tmp_path / "out")["images"]].count("partial") == 1


def test_an_image_that_fails_meanwhile_is_finished_and_counted(pictures, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "03.jpg").write_text("somebody's")
    with begin(pictures, tmp_path, Rule("encode", r"03\.jpg"), "--exclude", "tall.png") as run:
        interrupt(run, wait_for_stopped_worker(run))
        flushed = figures_of(run.finish(expect=75))
    assert (flushed["failed"], flushed["finished"] >= 1) == (1, True)
