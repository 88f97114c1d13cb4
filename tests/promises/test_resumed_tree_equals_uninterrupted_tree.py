"""After any number of interruptions and kills, the finished tree is byte for byte that of one uninterrupted run.

If this broke, nobody could tell a resumed batch from a damaged one. `make soak` takes more rounds, over more pictures.
"""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

import psutil
import pytest
from harness import (
    DEADLINE,
    Running,
    batchgray,
    command,
    events_of,
    leftovers,
    manifest_of,
    named,
    shared_memory_unchanged,
    tree,
    wait_until,
)

PARTING_SECONDS = 5  # what a killed supervisor leaves must be gone by then


class Watch(threading.Thread):
    """Looks at the output folder all the time: under a final name stands the whole image, or nothing."""

    def __init__(self, out: Path, whole: dict[str, bytes]) -> None:
        super().__init__(daemon=True)
        self._out, self._whole = out, whole
        self._seen: set[tuple[str, int, int]] = set()
        self._over = threading.Event()
        self.looks = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        while not self._over.is_set():
            self.look()
            time.sleep(0.002)

    def look(self) -> None:
        self.looks += 1
        for name, data in self._whole.items():
            try:
                found = (self._out / name).stat()
                if (key := (name, found.st_ino, found.st_mtime_ns)) in self._seen:
                    continue
                if (self._out / name).read_bytes() != data:
                    self.wrong.append(name)
                self._seen.add(key)
            except FileNotFoundError:
                pass

    def end(self) -> None:
        self._over.set()
        self.join()
        self.look()
        assert self.wrong == []


def kill_supervisor(run: Running, _: random.Random) -> None:
    run.signal(signal.SIGKILL)


def kill_worker(run: Running, chance: random.Random) -> None:
    if workers := run.workers():
        chance.choice(workers).kill()


def kill_fork_server(run: Running, _: random.Random) -> None:
    for server in run.descendants()[:1]:
        server.kill()


def kill_group(run: Running, _: random.Random) -> None:
    os.killpg(run.process.pid, signal.SIGKILL)


def interrupt(run: Running, chance: random.Random) -> None:
    run.signal(chance.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP]))


def interrupt_twice(run: Running, chance: random.Random) -> None:
    interrupt(run, chance)
    time.sleep(chance.uniform(0, 0.05))
    interrupt(run, chance)


def kill_during_the_flush(run: Running, chance: random.Random) -> None:
    run.signal(signal.SIGTERM)
    time.sleep(chance.uniform(0, 0.2))
    chance.choice([kill_supervisor, kill_worker, kill_group, kill_fork_server])(run, chance)


WAYS = [kill_supervisor, kill_worker, kill_fork_server, kill_group, interrupt, interrupt_twice, kill_during_the_flush]


def test_interruptions_and_kills_at_random_moments(soak, tmp_path):
    chance = random.Random(soak.seed)
    whole = tree(soak.converted)
    rounds: Counter[str] = Counter()
    trees = looks = 0
    with shared_memory_unchanged():
        while rounds.total() < soak.rounds:
            out = tmp_path / f"gray{trees}"
            watch = Watch(out, whole)
            watch.start()
            arguments = ("run", soak.images, "--out", out, "--tile-rows", 8, "--checkpoint", 0.2)
            while disturbed_run(arguments, chance, soak.seconds, rounds) != 0:
                if (out / "manifest.json").exists():
                    arguments = ("resume", out / "manifest.json", "--checkpoint", 0.2)
                    check_what_it_says(out)
            watch.end()
            assert tree(out) == whole
            assert leftovers(out) == []
            batchgray("verify", out / "manifest.json")
            trees, looks = trees + 1, looks + watch.looks
    print(f"seed {soak.seed}: {rounds.total()} rounds, {trees} trees, {looks} looks: {dict(rounds)}")


def disturbed_run(arguments: tuple, chance: random.Random, seconds: float, rounds: Counter[str]) -> int:
    """One run that something happens to. Returns its exit code, with nothing of it running any more."""
    mark = uuid.uuid4().hex
    way = chance.choice(WAYS)
    options = ("--workers", chance.choice([1, 2, 3]))
    environment = {**os.environ, "TEST_BATCHGRAY_MARK": mark}
    with Running(*arguments, *options, env=environment, start_new_session=True) as run:
        time.sleep(chance.uniform(0, seconds))
        rounds[way.__name__] += run.process.poll() is None
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):  # it ended in this very moment
            way(run, chance)
        events = run.finish()
        code = run.process.returncode
        if code != 0:
            wait_until(lambda: not any(carries(process, mark) for process in psutil.process_iter()), PARTING_SECONDS)
    unheard = () if events else [-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, 130]  # while Python itself starts
    assert code in (0, 75, -signal.SIGKILL, *unheard), f"{way.__name__}: exit {code}, {events[-3:]}"
    assert all(event["seconds"] < 30.0 for event in named(events, "flushed")), "a worker had to be killed"
    return code


def carries(process: psutil.Process, mark: str) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get("TEST_BATCHGRAY_MARK") == mark
    except psutil.Error:
        return False


def check_what_it_says(out: Path) -> None:
    """After any end, the manifest can be read, and what it calls done is there."""
    verified = batchgray("verify", out / "manifest.json", expect=None)
    assert verified.returncode == 0, verified.stdout


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
