"""What it costs to join: two supervisors with a worker each against one with two workers, on the same cores.

    python benchmarks/joined.py [--images DIR] [--runs 5] [--photographs 500] [--thumbnails 12000] [--only WORD] [--ray]

A way is a job over folders, or over the local OSS server (whose processor time counts for nobody). `both` is when the
second supervisor has ended, too: it has to see that all is done. `finished` is when the first has.
Processor time is that of all supervisors and workers. Start-up is the same over two tiny pictures, in the same round.

With `--ray` there is a third way: a driver, and a cluster of two nodes with a worker each, which is there before and
after (`make bench-ray` installs batchgray[ray]). Its processor time is that of the driver and of all of the cluster;
`finished` and `both` are when the driver has ended. What the cluster takes while nothing runs on it is measured in each
round, and taken off in a ratio of its own: it is there with or without a job. Its workers have the niceness of all
else here, as the server, and whatever else runs on these cores, would come before those of Ray's own niceness, 15. Ray
runs in a network of its own, as it takes the machine's own address for 127.0.0.1.
"""

import argparse
import contextlib
import fcntl
import itertools
import os
import shlex
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pictures
import psutil
from common import HERE, Measured, Row, batchgray, children_seconds, fresh, main, paired
from stores import adopt_orphans

_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
_LOOK_SECONDS = 0.2  # between two looks at a cluster's processes
_IDLE_SECONDS = 5.0


class Figures(NamedTuple):
    """Seconds."""

    finished: float
    both: float
    cpu: float


class Place(NamedTuple):
    """Where a job's input and output are; `out` makes the name of the next output."""

    source: str
    out: Path | str
    environment: dict[str, str]

    def next_out(self) -> str:
        if isinstance(self.out, Path):
            out = fresh(self.out)
            out.mkdir()
            os.sync()  # what emptying the one before it left to be written is none of this one's work
            return str(out)
        return f"{self.out}/{time.monotonic_ns()}"


def measured(place: Place, workers: list[int], options: list[str]) -> Figures:
    """As many supervisors as there are numbers of workers, over the same job."""
    others = set(psutil.Process().children())
    out, cpu, began = place.next_out(), children_seconds(), time.monotonic()
    running = [
        subprocess.Popen(
            batchgray("run", place.source, "--out", out, *options, "--workers", count, "--progress", "none"),
            env=os.environ | place.environment,
            stderr=subprocess.PIPE,
        )
        for count in workers
    ]
    with ThreadPoolExecutor(len(running)) as pool:
        ends = sorted(moment - began for moment in pool.map(ended, running))
    for orphan in set(psutil.Process().children()) - others:  # workers, whose fork server was killed
        os.waitpid(orphan.pid, 0)
    return Figures(ends[0], ends[-1], children_seconds() - cpu)


def ended(process: subprocess.Popen) -> float:
    """Wait for it; when that was. One that fails ends the benchmark."""
    error = process.communicate()[1]
    if process.returncode:
        sys.exit(f"exit {process.returncode}: {error.decode(errors='replace')}")
    return time.monotonic()


class Way(NamedTuple):
    workers: list[int]
    options: list[str]


ALONE = "one with two workers"
WAYS = {ALONE: Way([2], ["--job"]), "two joined, one worker each": Way([1, 1], ["--join"])}
ON_RAY = "Ray, two nodes, one worker each"


IDLE = f"{ON_RAY}: the cluster, idle"


class Spent(contextlib.AbstractContextManager):
    """Processor time of what is below this process, but for `others`; what has ended since is included.

    Nobody else tells of it: raylets ignore SIGCHLD, so the kernel adds what ended below them to nobody's time. What a
    process spends between the last look at it and its end is lost; that is as much in start-up.
    """

    def __init__(self, others: set[psutil.Process]) -> None:
        self._others, self._seconds = others, {}
        self._lock, self._end = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()

    def seconds(self) -> float:
        """All so far."""
        with self._lock:
            for process in set(psutil.Process().children(recursive=True)) - self._others:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._seconds[process] = sum(process.cpu_times()[:2])
            return sum(self._seconds.values())

    def forget(self, pid: int) -> None:
        """It was waited for: all of its time is known."""
        with self._lock:
            self._seconds = {process: of_it for process, of_it in self._seconds.items() if process.pid != pid}

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._end.wait(_LOOK_SECONDS):
            self.seconds()


class RayCluster:
    """A head without cores, and two nodes with one each. Nothing else is started while it is measured."""

    def __init__(self, environment: dict[str, str]) -> None:
        from ray.cluster_utils import Cluster

        request = struct.pack("16sh", b"lo", _IFF_UP)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)  # a new network has its loopback down
        environment = {**environment, "RAY_worker_niceness": "0"}
        self._others = set(psutil.Process().children(recursive=True))  # such as the server
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "env_vars": environment})
        for number in (1, 2):
            self._cluster.add_node(num_cpus=1, env_vars={**environment, "BATCHGRAY_INSTANCE_ID": f"i-{number}"})

    def measured(self, place: Place) -> Figures:
        out = place.next_out()
        options = ["--engine", "ray", "--ray-address", self._cluster.address, "--progress", "none"]
        with Spent(self._others) as spent:
            before, began = spent.seconds() + children_seconds(), time.monotonic()
            driver = subprocess.Popen(
                batchgray("run", place.source, "--out", out, *options),
                env=os.environ | place.environment,
                stderr=subprocess.PIPE,
            )
            seconds = ended(driver) - began
            spent.forget(driver.pid)
            return Figures(seconds, seconds, spent.seconds() + children_seconds() - before)

    def idle(self) -> Figures:
        """While nothing runs on it."""
        with Spent(self._others) as spent:
            before = spent.seconds()
            time.sleep(_IDLE_SECONDS)
            return Figures(_IDLE_SECONDS, _IDLE_SECONDS, spent.seconds() - before)

    def close(self) -> None:
        self._cluster.shutdown()


def enter_a_network_of_its_own() -> None:
    """Run this program anew there."""
    if "IN_A_NETWORK_OF_ITS_OWN" not in os.environ:
        command = ["unshare", "--map-root-user", "--net", sys.executable, *sys.argv]
        os.execvpe(command[0], command, os.environ | {"IN_A_NETWORK_OF_ITS_OWN": "1"})


@contextlib.contextmanager
def oss(folders: dict[str, Path]) -> Iterator[dict[str, Place]]:
    """Each of the folders in a bucket of its own."""
    buckets = [part for name, folder in folders.items() for part in ("--bucket", f"{name}={folder}")]
    command = [sys.executable, str(HERE.parent / "scripts" / "oss_local.py"), *buckets, "--bucket", "gray"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            exports = itertools.takewhile(lambda line: line.startswith("export "), server.stdout)
            environment = dict(shlex.split(line)[1].split("=", 1) for line in exports)
            yield {name: Place(f"oss://{name}", f"oss://gray/{name}", environment) for name in folders}
        finally:
            server.terminate()


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--photographs", type=int, default=500)
    parser.add_argument("--thumbnails", type=int, default=12000)
    parser.add_argument("--only", default="", help="a word of what to measure: photographs, thumbnails, folders, OSS")
    parser.add_argument("--ray", action="store_true", help="on a Ray cluster as well")


def linked(source: Path, folder: Path, count: int) -> Path:
    """So many names of the pictures that there are."""
    folder.mkdir()
    paths = sorted(source.iterdir())
    for number in range(count):
        (folder / f"{number:06}.jpg").hardlink_to(paths[number % len(paths)])
    return folder


def rows_of(name: str, found: dict[str, list[Figures]]) -> list[Row]:
    rows = [
        Row(f"{name}: {way}", figure, "s", [getattr(each, figure) for each in figures])
        for way, figures in found.items()
        for figure in Figures._fields
    ]
    for way in found:
        if way != ALONE and f"{way}, start-up" in found:
            rows += _ratios(name, way, found)
    if IDLE in found:
        rows += _ratios(f"{name}, idle cluster off", ON_RAY, found | _without_idle(found))[-1:]
    return rows


def _ratios(name: str, way: str, found: dict[str, list[Figures]]) -> list[Row]:
    """Of wall time to each end, and of processor time."""
    rounds = list(zip(*(found[each] for each in _with_start_up(way, ALONE)), strict=True))
    rows = []
    for figure in Figures._fields:
        spent = [[getattr(each, figure) for each in round] for round in rounds]
        ratios = [(of_way - start) / (alone - start_alone) for of_way, start, alone, start_alone in spent]
        rows.append(Row(f"{name}: {way} / {ALONE}, start-up off", f"{figure} ratio", "x", ratios))
    return rows


def _without_idle(found: dict[str, list[Figures]]) -> dict[str, list[Figures]]:
    """What runs on Ray take, without what the cluster takes in as long with nothing to do."""
    return {
        way: [
            each._replace(cpu=each.cpu - idle.cpu * each.finished / idle.finished)
            for each, idle in zip(found[way], found[IDLE], strict=True)
        ]
        for way in (ON_RAY, f"{ON_RAY}, start-up")
    }


def _with_start_up(*ways: str) -> Iterator[str]:
    for way in ways:
        yield from (way, f"{way}, start-up")


def measure(given: argparse.Namespace, work: Path) -> Measured:
    adopt_orphans()
    photographs = pictures.flat_copy(given.images, work / "originals")
    small = pictures.thumbnails(photographs, work / "small", 1000)
    folders = {
        "photographs": linked(photographs, work / "photographs", given.photographs),
        "thumbnails": linked(small, work / "thumbnails", given.thumbnails),
        "tiny": pictures.tiny(work / "tiny", 2),
    }
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        buckets = stack.enter_context(oss(folders))
        cluster = None
        if given.ray:
            cluster = stack.enter_context(contextlib.closing(RayCluster(buckets["tiny"].environment)))
        below = {name: Place(str(folder), work, {}) for name, folder in folders.items()}
        for kind, places in (("folders", below), ("OSS", buckets)):
            for name in ("photographs", "thumbnails"):
                if given.only not in f"{name} {kind}":
                    continue
                ways = {}
                for way, of in WAYS.items():
                    ways[way] = partial(measured, places[name], *of)
                    ways[f"{way}, start-up"] = partial(measured, places["tiny"], *of)
                if cluster is not None:
                    ways[IDLE] = cluster.idle
                    ways[ON_RAY] = partial(cluster.measured, places[name])
                    ways[f"{ON_RAY}, start-up"] = partial(cluster.measured, places["tiny"])
                rows += rows_of(f"{name}, {kind}", paired(given.runs, ways))
    return Measured(rows, {"photographs": given.photographs, "thumbnails": given.thumbnails})


if __name__ == "__main__":
    if "--ray" in sys.argv:
        enter_a_network_of_its_own()
    main(__file__, __doc__, measure, runs=5, options=options)
