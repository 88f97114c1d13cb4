"""On a slow store that loses answers: interruptions and kills one after another, and the tree is that of a plain run.

The points at which a job is hit are drawn with a fixed seed, and the program stops there by itself: a tile, a put, an
entry of the log. `make soak` has many more of them.

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
    int(os.environ.get("TEST_BATCHGRAY_EVENTS", "12")),
)
LATENCY, LOST = 0.04, 0.05
PUT = "batchgray.storage.place_publishing:PlacePublisher.put"
SYNC = "batchgray.manifest.share_log:ShareLog.sync"
POINTS = {  # and how often a run from the beginning comes by, at least: what is drawn beyond that hits nothing
    ("tile", "."): 100,
    ("encode", "."): 5,
    ("call", PUT): 5,
    ("return", PUT): 5,
    ("call", SYNC): 4,
    ("return", SYNC): 4,
    ("return", "batchgray.checkpoints.place:PlaceCheckpoints.save"): 2,
    ("call", "batchgray.checkpoints.place:PlaceCheckpoints.remove"): 1,
    ("call", "batchgray.manifest.share_log:ShareLog.take"): 2,
    ("return", "batchgray.engine.supervisor:Supervisor._send_chunk"): 5,
}
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
        event, (kind, path) = chance.choice(EVENT_KINDS), chance.choice(list(POINTS))
        rule = Rule(kind, path, after=chance.randrange(POINTS[kind, path]))
        code = hit(stage, Recording(tmp_path / f"record{rounds}", rule), rule, event, survived)
        log_never_leads(stage)
        if code == 0:
            jobs_done += ends_well(stage, converted)
            stage.server.buckets.pop("gray")
            stage.server.create_bucket("gray")
        assert rounds < 5 * EVENTS, f"too few points are met: {survived}"
    batchgray(*stage.run(), env=stage.env())
    jobs_done += ends_well(stage, converted)
    lost = sum(request.code == "-" for request in stage.server.log)
    print(f"seed {SEED}: survived {dict(survived)}, {lost} of {len(stage.server.log)} answers lost, {jobs_done} jobs")


def hit(stage, recording, rule: Rule, event: str, survived: Counter[str]) -> int:
    """Run until the point is met, and let the event happen there. Returns the exit code."""
    with Running(*stage.run("--checkpoint", 0.001, "--workers", 2), env=stage.env(recording)) as run:
        supervisor = psutil.Process(run.process.pid)
        wait_until(lambda: recording.met() > rule.after or run.process.poll() is not None)
        wait_until(lambda: not is_alive(supervisor) or stopped(supervisor))
        if not is_alive(supervisor):
            run.finish(expect=0)
            return 0
        (victim,) = stopped(supervisor)
        survived[event] += 1
        if event == "kill of everything":
            run.kill()
            return -signal.SIGKILL
        if event == "kill of the supervisor":
            run.process.kill()
        elif event == "SIGTERM":
            run.signal(signal.SIGTERM)
        else:
            kill_a_worker(victim if victim != supervisor else None, supervisor)
        victim.resume() if is_alive(victim) else None
        run.finish()
        assert "Traceback" not in run.error
        assert run.process.returncode in (0, 75, -signal.SIGKILL), (event, run.error)
        return run.process.returncode


def kill_a_worker(victim: psutil.Process | None, supervisor: psutil.Process) -> None:
    """The one that is stopped; another where it is the supervisor. None where none is there yet."""
    for worker in [victim] if victim else workers_of(supervisor)[:1]:
        worker.kill()


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
