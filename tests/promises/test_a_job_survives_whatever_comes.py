"""On a slow store that loses answers: interruptions and kills one after another, and the tree is that of a plain run.

The points at which a job is hit are drawn with a fixed seed, and the program stops there by itself: a tile, a put, an
entry of the log. `make soak` has more of them.

If this broke, whoever works on machines that come and go would get other pictures, or lose some.
"""

import math
import os
import random
import signal
from collections import Counter

import jobs
import psutil
import pytest
from harness import Running, batchgray, is_alive, save_gradient, tree, wait_until, workers_of
from recording import Recording, Rule, is_stopped

SEED, EVENTS = (
    int(os.environ.get("TEST_BATCHGRAY_SEED", "20261126")),
    int(os.environ.get("TEST_BATCHGRAY_EVENTS", "20")),
)
LATENCY, LOST = 0.04, 0.05
PUT = "batchgray.storage.place_publishing:PlacePublisher.put"
SYNC = "batchgray.manifest.share_log:ShareLog.sync"
POINTS = [
    ("tile", "."),
    ("encode", "."),
    ("call", PUT),
    ("return", PUT),
    ("call", SYNC),
    ("return", SYNC),
    ("return", "batchgray.checkpoints.place:PlaceCheckpoints.save"),
    ("call", "batchgray.checkpoints.place:PlaceCheckpoints.remove"),
    ("call", "batchgray.manifest.share_log:ShareLog.take"),
    ("return", "batchgray.engine.supervisor:Supervisor._send_chunk"),
]
EVENT_KINDS = ["SIGTERM", "kill of everything", "kill of the supervisor", "kill of a worker"]


@pytest.fixture
def images(tmp_path):
    """One of 100 tiles, and some small ones."""
    save_gradient(tmp_path / "in" / "a.jpg", 600, 800, quality=90)
    for number in range(4):
        save_gradient(tmp_path / "in" / f"{number}" / "b.png", 64, 48, seed=number)
    return tmp_path / "in"


@pytest.fixture
def converted(images, tmp_path):
    batchgray("run", images, "--out", tmp_path / "plain", "--tile-rows", 8, "--progress", "none")
    return tmp_path / "plain"


@pytest.fixture
def stage(images, tmp_path, oss_local):
    with jobs.oss(images, tmp_path) as stage:
        stage.environment["SHARE_LEASE"] = "1.5"
        stage.server.latency, stage.server.seed = LATENCY, SEED
        stage.server.faults.append(oss_local.Fault("*", "lose", times=math.inf, share=LOST))
        yield stage


def test_kills_and_interruptions_at_points_that_are_drawn(stage, converted, tmp_path):
    chance = random.Random(SEED)
    survived: Counter[str] = Counter()
    jobs_done = rounds = 0
    while survived.total() < EVENTS:
        rounds += 1
        event, (kind, path) = chance.choice(EVENT_KINDS), chance.choice(POINTS)
        rule = Rule(kind, path, after=chance.randrange(8))
        code = hit(stage, Recording(tmp_path / f"record{rounds}", rule), event, survived)
        log_never_leads(stage)
        if code == 0:
            jobs_done += ends_well(stage, converted)
            stage.server.buckets.pop("gray")
            stage.server.create_bucket("gray")
        assert rounds < 20 * EVENTS, f"too few points are met: {survived}"
    batchgray(*stage.run(), env=stage.env(), expect=None)
    jobs_done += ends_well(stage, converted)
    lost = sum(request.code == "-" for request in stage.server.log)
    print(f"seed {SEED}: survived {dict(survived)}, {lost} of {len(stage.server.log)} answers lost, {jobs_done} jobs")


def hit(stage, recording, event: str, survived: Counter[str]) -> int:
    """Run until the point is met, and let the event happen there. Returns the exit code."""
    with Running(*stage.run("--checkpoint", 0.05, "--workers", 2), env=stage.env(recording)) as run:
        supervisor = psutil.Process(run.process.pid)
        wait_until(lambda: not is_alive(supervisor) or stopped(supervisor))
        if not is_alive(supervisor):
            run.finish()
            assert run.process.returncode == 0, run.error
            return run.process.returncode
        survived[event] += 1
        if event == "kill of everything":
            run.kill()
            return -signal.SIGKILL
        (victim, *_) = stopped(supervisor)
        if event == "kill of the supervisor":
            run.process.kill()
            for worker in stopped(supervisor):
                worker.kill()
        elif event == "SIGTERM":
            run.signal(signal.SIGTERM)
        elif victim.pid != supervisor.pid:
            victim.kill()
        victim.resume() if is_alive(victim) else None
        run.finish()
        assert "Traceback" not in run.error
        assert run.process.returncode in (0, 75, -signal.SIGKILL), (event, run.error)
        return run.process.returncode


def stopped(supervisor: psutil.Process) -> list[psutil.Process]:
    return [process for process in [supervisor, *workers_of(supervisor)] if is_stopped(process)]


def log_never_leads(stage) -> None:
    """What it calls done is there, with that size."""
    objects = stage.server.objects("gray")
    entries = stage.log() if "2026/manifest.json" in objects else []
    told = Counter(change.output_size for entry in entries for change in entry.changes if change.state == "done")
    there = Counter(len(data) for name, data in objects.items() if ".partial." not in name)
    assert told <= there


def ends_well(stage, converted) -> int:
    assert stage.outputs() == tree(converted)
    assert set(stage.kept()) == jobs.FINISHED
    return 1
