"""After any number of interruptions and kills, the finished tree is byte for byte that of one uninterrupted run.

If this broke, nobody could tell a resumed batch from a damaged one.
"""

import os
import random
import signal
import subprocess
import time

import pytest
from harness import DEADLINE, Running, batchgray, command, events_of, leftovers, manifest_of, named, tree

INTERRUPTIONS = 20


def interrupt(run, how):
    if how == "kill a worker":
        for worker in run.workers()[:1]:
            worker.kill()
    else:
        run.signal(how)


def test_twenty_interruptions_at_random_moments(samples, converted, tmp_path):
    chance = random.Random(20261122)
    hows = [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, "kill a worker"]
    interrupted, trees = 0, 0
    while interrupted < INTERRUPTIONS:
        out = tmp_path / f"gray{trees}"
        arguments = ("run", samples, "--out", out, "--tile-rows", 8, "--checkpoint", 0.2)
        while True:
            with Running(*arguments, "--workers", chance.choice([1, 2, 3])) as run:
                run.wait_for("started")
                time.sleep(chance.uniform(0, 0.4))
                interrupt(run, chance.choice(hows))
                events = run.finish()
                code = run.process.returncode
                assert all(event["seconds"] < 30.0 for event in named(events, "flushed")), "a worker had to be killed"
            arguments = ("resume", out / "manifest.json")
            if code == 0:
                break
            interrupted += 1
            assert code in (75, -signal.SIGKILL)
            check_what_is_there(out, converted)
        trees += 1
        assert tree(out) == tree(converted)
        assert leftovers(out) == []


def check_what_is_there(out, reference):
    """Between the rounds: a final name holds a whole image or is absent."""
    whole = tree(reference)
    for name, data in tree(out).items():
        if ".partial." not in name and not name.startswith(".batchgray"):
            assert data == whole[name], name


@pytest.mark.parametrize(("workers", "rows"), [(1, 8), (2, None), (3, 17), (2, 100000)])
def test_workers_and_tiles_change_no_byte(samples, converted, tmp_path, workers, rows):
    tile_rows = ["--tile-rows", rows] if rows else []
    batchgray("run", samples, "--out", tmp_path, "--workers", workers, *tile_rows, "--progress", "none")
    assert tree(tmp_path) == tree(converted)


def test_signals_to_the_whole_group_as_a_terminal_sends_them(samples, converted, tmp_path):
    process = subprocess.Popen(
        command("run", samples, "--out", tmp_path, "--tile-rows", 8, "--progress", "json"),
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    while '"started"' not in process.stdout.readline():
        pass
    os.killpg(process.pid, signal.SIGINT)
    events = events_of(process.communicate(timeout=DEADLINE)[0])
    assert process.returncode == 75
    assert named(events, "flushed")[0]["seconds"] < 30.0, "a worker did not hear it and was killed"
    assert manifest_of(tmp_path)["interruptions"][0]["event_id"] == "SIGINT"
    batchgray("resume", tmp_path / "manifest.json", "--progress", "none")
    assert tree(tmp_path) == tree(converted)


def test_a_resumed_run_converts_only_what_is_missing(samples, tmp_path):
    with Running("run", samples, "--out", tmp_path, "--workers", 1) as run:
        run.wait_for("done")
        run.signal(signal.SIGTERM)
        first = named(run.finish(expect=75), "done")
    with Running("resume", tmp_path / "manifest.json") as run:
        second = named(run.finish(expect=0), "done")
    assert not {event["source"] for event in first} & {event["source"] for event in second}
    assert len(first) + len(second) == len(manifest_of(tmp_path)["images"])
