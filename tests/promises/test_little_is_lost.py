"""A graceful interruption loses no finished tile, and neither does a worker's death.

If this broke, hours of a large image's work would be paid for twice.
"""

import signal

import numpy as np
import pytest
from harness import Running, batchgray, events_of, manifest_of, named, tree
from PIL import Image
from recording import Recording, Rule, interrupt, wait_for_stopped_worker

FINISHED = 30  # tiles of the image, when its worker stops
OPTIONS = ("--tile-rows", 8, "--workers", 1)


def stopped_between_tiles(tmp_path, tall, *options):
    """A run whose worker stops itself when so many tiles are finished."""
    recording = Recording(tmp_path / "record", Rule("tile", r"tall\.jpg", after=FINISHED - 1))
    return Running("run", tall, "--out", tmp_path / "out", *OPTIONS, *options, env=recording.environment)


def resume_and_compare(out, reference):
    """Resume; returns the `done` event of the one image."""
    events = events_of(batchgray("resume", out / "manifest.json", "--progress", "json").stdout)
    assert tree(out) == tree(reference)
    return named(events, "done")[0]


def check_partial_jpeg(out, image, reference):
    """It opens like any JPEG; finished bands show the picture, the rest is black."""
    with Image.open(out / "tall.partial.jpg") as partial:
        assert partial.size == (image["width"], image["height"])
        shown = np.asarray(partial)
    with Image.open(reference / "tall.jpg") as whole:
        expected = np.asarray(whole)
    edge = image["tiles_done"] * 8
    assert np.abs(shown[:edge].astype(np.int16) - expected[:edge]).max() <= 2
    assert shown[edge:].max() == 0


def test_sigterm_keeps_every_finished_tile(tall, tall_converted, tmp_path):
    out = tmp_path / "out"
    with stopped_between_tiles(tmp_path, tall) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    image = manifest_of(out)["images"][0]
    assert image["state"] == "partial"
    assert FINISHED <= image["tiles_done"] < image["tiles_total"]
    check_partial_jpeg(out, image, tall_converted)
    done = resume_and_compare(out, tall_converted)
    assert done["tiles_computed"] == image["tiles_total"] - image["tiles_done"]


def test_a_worker_that_does_not_react_is_killed_and_salvaged(tall, tall_converted, tmp_path):
    out = tmp_path / "out"
    with stopped_between_tiles(tmp_path, tall, "--grace", 0.2) as run:
        wait_for_stopped_worker(run)
        run.signal(signal.SIGTERM)
        run.finish(expect=75)
    image = manifest_of(out)["images"][0]
    assert (image["state"], image["tiles_done"]) == ("partial", FINISHED)
    check_partial_jpeg(out, image, tall_converted)
    done = resume_and_compare(out, tall_converted)
    assert done["tiles_computed"] == image["tiles_total"] - FINISHED


def test_a_killed_workers_tiles_are_taken_up_by_the_next_worker(tall, tall_converted, tmp_path):
    with stopped_between_tiles(tmp_path, tall) as run:
        wait_for_stopped_worker(run).kill()
        events = run.finish(expect=0)
    done = named(events, "done")[0]
    assert done["tiles_computed"] == done["tiles_total"] - FINISHED
    assert "tried once more" in named(events, "warned")[0]["message"]
    assert tree(tmp_path / "out") == tree(tall_converted)


@pytest.mark.parametrize(("effort", "state"), [("2", "done"), ("6", "partial")])
def test_a_png_that_takes_long_to_write_is_flushed_and_any_other_is_finished(tall, tmp_path, effort, state):
    options = (*OPTIONS, "--format", "png", "--compression", effort)
    batchgray("run", tall, "--out", tmp_path / "whole", *options)
    out, recording = tmp_path / "out", Recording(tmp_path / "record", Rule("call", "batchgray.codecs.png:_chunk"))
    with Running("run", tall, "--out", out, *options, env=recording.environment) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75 if state == "partial" else 0)
    image = manifest_of(out)["images"][0]
    assert (image["state"], image["tiles_done"]) == (state, image["tiles_total"])
    if state == "partial":
        done = resume_and_compare(out, tmp_path / "whole")
        assert (done["tiles_computed"], done["decoded"]) == (0, False)
    assert tree(out) == tree(tmp_path / "whole")


def test_an_image_whose_tiles_are_all_finished_is_not_decoded_again(tall, tall_converted, tmp_path):
    out, recording = tmp_path / "out", Recording(tmp_path / "record", Rule("encode", r"tall\.jpg"))
    with Running("run", tall, "--out", out, *OPTIONS, "--grace", 0, env=recording.environment) as run:
        wait_for_stopped_worker(run)
        run.signal(signal.SIGTERM)
        run.finish(expect=75)
    image = manifest_of(out)["images"][0]
    assert image["tiles_done"] == image["tiles_total"]
    done = resume_and_compare(out, tall_converted)
    assert (done["decoded"], done["tiles_computed"]) == (False, 0)
