"""After any number of interruptions and kills, the finished tree is byte for byte that of one uninterrupted run.

If this broke, nobody could tell a resumed batch from a damaged one. `make soak` takes more rounds, over more pictures.
"""

import contextlib
import os
import random
import signal
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from harness import (
    DEADLINE,
    Running,
    batchgray,
    leftovers,
    manifest_of,
    named,
    shared_memory_unchanged,
    tree,
    wait_until,
)
from recording import Recording, Rule, interrupt, resume_when_told, wait_for_stopped_worker


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


def signal_it(run: Running, chance: random.Random) -> None:
    run.signal(chance.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP]))


def signal_it_twice(run: Running, chance: random.Random) -> None:
    signal_it(run, chance)
    time.sleep(chance.uniform(0, 0.05))
    signal_it(run, chance)


def kill_during_the_flush(run: Running, chance: random.Random) -> None:
    run.signal(signal.SIGTERM)
    time.sleep(chance.uniform(0, 0.2))
    chance.choice([kill_supervisor, kill_worker, kill_group, kill_fork_server])(run, chance)


WAYS = [kill_supervisor, kill_worker, kill_fork_server, kill_group, signal_it, signal_it_twice, kill_during_the_flush]


def test_interruptions_and_kills_at_random_moments(soak, tmp_path):
    """The moments lie anywhere between a run's start and its end, as long as that takes on this machine now.

    A round counts where the run was hit before its end; there are as many as --rounds says.
    """
    chance = random.Random(soak.seed)
    whole = tree(soak.converted)
    rounds: Counter[str] = Counter()
    trees = looks = 0
    seconds = soak.seconds
    with shared_memory_unchanged():
        while rounds.total() < soak.rounds:
            out = tmp_path / f"gray{trees}"
            watch = Watch(out, whole)
            watch.start()
            arguments = ("run", soak.images, "--out", out, "--tile-rows", 8, "--checkpoint", 0.2)
            while (ended := disturbed_run(arguments, chance, seconds, rounds)).code != 0:
                if not ended.events:  # it has become slower, or little luck: let it get further
                    seconds *= 1.1
                if (out / "manifest.json").exists():
                    arguments = ("resume", out / "manifest.json", "--checkpoint", 0.2)
                    check_what_it_says(out)
            watch.end()
            assert tree(out) == whole
            assert leftovers(out) == []
            batchgray("verify", out / "manifest.json")
            trees, looks = trees + 1, looks + watch.looks
    print(f"seed {soak.seed}: {rounds.total()} rounds, {trees} trees, {looks} looks: {dict(rounds)}")


class Ended(NamedTuple):
    code: int
    events: list[dict]


def disturbed_run(arguments: tuple, chance: random.Random, seconds: float, rounds: Counter[str]) -> Ended:
    """One run that something happens to within so many seconds. Nothing of it is running any more."""
    mark = uuid.uuid4().hex
    way = chance.choice(WAYS)
    options = ("--workers", chance.choice([1, 2, 3]), "--grace", 10 * DEADLINE)
    environment = {**os.environ, "TEST_BATCHGRAY_MARK": mark}
    with Running(*arguments, *options, env=environment, start_new_session=True) as run:
        time.sleep(chance.uniform(0, seconds))
        rounds[way.__name__] += run.process.poll() is None
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):  # it ended in this very moment
            way(run, chance)
        events = run.finish()
        code = run.process.returncode
        if code != 0:
            wait_until(lambda: not any(carries(process, mark) for process in psutil.process_iter()))
    unheard = () if events else [-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, 130]  # while Python itself starts
    assert code in (0, 75, -signal.SIGKILL, *unheard), f"{way.__name__}: exit {code}, {events[-3:]}"
    return Ended(code, events)


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
    out, recording = tmp_path / "out", Recording(tmp_path / "record", Rule("tile", r"large\.jpg", after=9))
    arguments = ("run", samples, "--out", out, "--tile-rows", 8, "--grace", 10 * DEADLINE)
    with Running(*arguments, start_new_session=True, env=recording.environment) as run:
        worker = wait_for_stopped_worker(run)
        os.killpg(run.process.pid, signal.SIGINT)
        resume_when_told(worker)
        run.finish(expect=75)
    document = manifest_of(out)
    assert document["interruptions"][0]["event_id"] == "SIGINT"
    (large,) = (image for image in document["images"] if image["source"] == "large.jpg")
    assert large["tiles_done"] < large["tiles_total"]
    batchgray("resume", out / "manifest.json", "--progress", "none")
    assert tree(out) == tree(converted)


def test_a_resumed_run_converts_only_what_is_missing(samples, tmp_path):
    out, recording = tmp_path / "out", Recording(tmp_path / "record", Rule("encode", r"phone/IMG_0004"))
    with Running("run", samples, "--out", out, "--workers", 1, env=recording.environment) as run:
        interrupt(run, wait_for_stopped_worker(run))
        first = named(run.finish(expect=75), "done")
    with Running("resume", out / "manifest.json") as run:
        second = named(run.finish(expect=0), "done")
    assert len(first) > 1
    assert len(second) > 1
    assert not {event["source"] for event in first} & {event["source"] for event in second}
    assert len(first) + len(second) == len(manifest_of(out)["images"])
