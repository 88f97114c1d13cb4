"""Machines that join, die, sleep, are given notice and lose answers end in the tree of one machine, and leave nothing.

If this broke, nobody could trust a fleet of cheap machines. `make soak-join` takes more of all, over photographs.
"""

import contextlib
import os

import chaos
import jobs
import pytest
import smq_local
from chaos import Chaos, KeepingOSS, Machine
from harness import batchgray, save_gradient, tree
from stores import oss_options

from batchgray.manifest import job_head
from batchgray.storage.urls import open_place

pytest.importorskip("alibabacloud_oss_v2")

FLEET = 4
TRIAL = ".batchgray/trial-"
LEASE = 3.0
EVENTS = int(os.environ.get("TEST_BATCHGRAY_JOIN_EVENTS", "8"))
IMAGES = int(os.environ.get("TEST_BATCHGRAY_JOIN_IMAGES", "150"))
MOST_BYTES = 1_000_000  # of a photograph: server, outputs and expected outputs are all in memory
SHARE_IMAGES = max(5, IMAGES // 40)


def names(count):
    return [f"{number % 7}/{number:05}" for number in range(count)]


@pytest.fixture(scope="module")
def pictures(request, tmp_path_factory):
    """So many names, each with the picture that it is a link to."""
    folder = tmp_path_factory.mktemp("fleet") / "in"
    real = request.config.getoption("--images")
    if real:
        found = sorted(path for path in real.absolute().rglob("*") if path.suffix.lower() in (".jpg", ".png"))
        kinds = [path for path in found if path.stat().st_size < MOST_BYTES]
    else:
        kinds = [folder.parent / "kinds" / f"{number}.png" for number in range(10)]
        for number, path in enumerate(kinds):
            save_gradient(path, 400, 300, seed=number)
    for number, name in enumerate(names(IMAGES)):
        kind = kinds[number % len(kinds)]
        path = folder / f"{name}{kind.suffix.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(kind)
    return folder


@pytest.fixture(scope="module")
def converted(pictures):
    gray = pictures.parent / "gray"
    batchgray("run", pictures, "--out", gray, "--follow-links", "--progress", "none", timeout=3600)
    return tree(gray)


@pytest.fixture
def server(pictures):
    with KeepingOSS(latency=0.01) as server:
        server.create_bucket("photos")
        server.create_bucket("gray")
        contents = {}
        for path in pictures.rglob("*.*"):
            kind = path.resolve()
            contents.setdefault(kind, kind.read_bytes())
            server.put("photos", f"2026/{path.relative_to(pictures)}", contents[kind])
        yield server


@pytest.fixture
def queue():
    with smq_local.LocalSMQ() as queue:
        queue.create_queue(chaos.QUEUE)
        yield queue


def told(server):
    """Of each share the images that its log tells of, entry by entry; and that one owner has each epoch."""
    found = []
    for share, log in server.entries.items():
        entries = [log[number] for number in range(1, len(log) + 1)]
        epochs = [entry.epoch for entry in entries]
        assert epochs == sorted(epochs)
        assert len({(entry.epoch, entry.owner) for entry in entries}) == len(set(epochs)), share
        for entry in entries:
            found.append([(int(share[:8]), each.image) for each in entry.changes if each.state == "done"])
    return found


def test_machines_that_die_sleep_and_come_back_end_in_the_tree_of_one(
    request, pictures, converted, server, queue, tmp_path
):
    arguments = ["run", "oss://photos/2026", "--out", "oss://gray/2026", "--join", "--workers", 1, "--memory", "1G"]
    arguments += ["--progress", "json", "--notices", "smq", "--smq-endpoint", queue.endpoint]
    environment = chaos.environment(server, LEASE, SHARE_IMAGES, 0.5) | {"TMPDIR": str(tmp_path)}
    rage = Chaos(server, queue, request.config.getoption("--seed"), LEASE, 0.5)
    fleet = [Machine(f"i-{number}", arguments, environment, tmp_path) for number in range(FLEET)]
    survived = rage.rage(fleet, EVENTS)
    print(f"\nsurvived {dict(survived.events)}, {sum(machine.starts for machine in fleet)} starts, {IMAGES} images in")

    with contextlib.closing(open_place("oss://gray/2026", oss_options(server))) as place:
        stage = jobs.Stage(pictures, "", place, {}, "")
        assert stage.outputs() == converted
        trials = [entry.key for entry in place.list(TRIAL)]
        assert len(trials) <= survived.events["kill"]
        for key in trials:  # who dies while it tries the store leaves its object: nobody else may take it away
            place.delete(key)
        assert set(stage.kept()) == jobs.FINISHED
        assert job_head.read(place).totals.done == IMAGES
    entries = told(server)
    images = [image for entry in entries for image in entry]
    assert len(images) == len(set(images)) == IMAGES
    again = server.puts.total() - IMAGES
    breaks = survived.events.total() - survived.events["lost answers"]
    checkpoint = max(map(len, entries))
    print(f"{len(server.entries)} shares; {again} made twice, {checkpoint} in the largest checkpoint")
    assert survived.events.total() >= min(EVENTS, 4)
    assert again <= breaks * checkpoint + chaos.LOSING * survived.events["lost answers"]
