"""In a container with little memory a run stays within it by itself, and nobody is killed for want of memory.

If this broke, the kernel would kill workers, or the whole run, in the very containers that are meant for such work.
"""

import re
import shutil
from pathlib import Path

import pytest
from harness import cgroup, confined, events_of, named, save_gradient, tree

WIDTH, HEIGHT = 4000, 4000
IN_FLIGHT = 5 * WIDTH * HEIGHT  # planes, and what the encoder holds
LIMIT = 300 << 20  # too little for five images beside the processes themselves


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(2):
        save_gradient(folder / f"{seed}.jpg", WIDTH, HEIGHT, seed, quality=80, exact=True)
    for copy in range(2, 6):
        shutil.copy(folder / f"{copy % 2}.jpg", folder / f"{copy}.jpg")
    return folder


def kills(folder: Path) -> int:
    """How many processes of the cgroup were killed for want of memory (version 1, or 2)."""
    file = next(folder / name for name in ("memory.oom_control", "memory.events") if (folder / name).exists())
    return int(re.search(r"^oom_kill (\d+)", file.read_text(), re.MULTILINE)[1])


def test_more_workers_than_fit_wait_for_each_other_and_nobody_is_killed(pictures, tmp_path):
    assert 2 * IN_FLIGHT < LIMIT < 5 * IN_FLIGHT
    with cgroup(memory=LIMIT) as (inside, [folder]):
        arguments = ("--workers", 5, "--progress", "json")
        said = confined(inside, "run", pictures, "--out", tmp_path / "tight", *arguments)
        assert kills(folder) == 0
    summary = named(events_of(said), "summary")[0]
    assert (summary["done"], summary["failed"]) == (6, 0)
    confined([], "run", pictures, "--out", tmp_path / "wide", "--workers", 1)
    assert tree(tmp_path / "tight") == tree(tmp_path / "wide")
