"""Image planes in flight stay within --memory, whatever the images and however many workers.

If this broke, one panorama would take a small machine down, and the whole batch with it.
"""

import contextlib
import os
from pathlib import Path

import psutil
import pytest
from harness import Running, batchgray, events_of, named, save_gradient, tree
from recording import Recording, Rule, wait_for_stopped_worker

SIDE = 3000
PLANES = 4 * SIDE * SIDE  # RGB and gray


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(4):
        save_gradient(folder / f"{number}.jpg", SIDE, SIDE, seed=number, quality=80, exact=True)
    return folder


def slot_bytes(run: Running) -> int:
    """All slots of a run together, as long as they were at one moment; 0 where they change while they are looked at.

    One worker gives its memory up and another has it within microseconds: it would be counted twice.
    """
    sizes = slot_sizes(run)
    return sum(sizes.values()) if slot_sizes(run) == sizes else 0


def slot_sizes(run: Running) -> dict[int, int]:
    sizes = {}
    for worker in run.workers():
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, PermissionError):
            for link in Path(f"/proc/{worker.pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if "batchgray-slot" in os.readlink(link):
                        sizes[worker.pid] = link.stat().st_size
    return sizes


def test_images_that_do_not_fit_at_once_wait_for_each_other(pictures, tmp_path):
    limit = int(1.6 * PLANES)
    recording = Recording(tmp_path / "record", Rule("tile", r"\.jpg$"))
    arguments = ("run", pictures, "--out", tmp_path / "tight", "--workers", 2, "--memory", limit)
    with Running(*arguments, env=recording.environment) as run:
        worker = wait_for_stopped_worker(run)
        largest = slot_sizes(run)[worker.pid]
        worker.resume()
        while run.process.poll() is None:
            largest = max(largest, slot_bytes(run))
        events = run.finish(expect=0)
    assert named(events, "summary")[0]["done"] == 4
    assert PLANES <= largest <= limit
    batchgray("run", pictures, "--out", tmp_path / "wide", "--workers", 2, "--progress", "none")
    assert tree(tmp_path / "tight") == tree(tmp_path / "wide")


def test_an_image_that_never_fits_fails_with_the_figures(pictures, tmp_path):
    save_gradient(tmp_path / "small.png", 100, 100)
    run = batchgray(
        *("run", pictures, tmp_path / "small.png", "--out", tmp_path / "out"),
        *("--memory", "3M", "--progress", "json"),
        expect=3,
    )
    events = events_of(run.stdout)
    assert [event["source"] for event in named(events, "done")] == ["small.png"]
    for event in named(events, "failed"):
        assert "needs 45 MB while it is converted, over the limit of 3 MB, and" in event["error"]
        assert "MB in bands; raise --memory" in event["error"]


def test_a_limit_just_above_one_image_lets_them_through_one_by_one(tmp_path):
    for number in range(6):
        save_gradient(tmp_path / "in" / f"{number}.jpg", 1500, 1000, seed=number, exact=True)
    needed = 4 * 1500 * 1000 + 1500 * 1000 + 100_000  # planes, what the encoder holds, and little more
    arguments = ("--workers", 4, "--memory", needed, "--progress", "none")
    batchgray("run", tmp_path / "in", "--out", tmp_path / "out", *arguments)
    assert len(tree(tmp_path / "out")) == 6
