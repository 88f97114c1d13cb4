"""What it costs to join: two supervisors with a worker each against one with two workers, on the same cores.

    python benchmarks/joined.py [--images DIR] [--runs 5] [--photographs 500] [--thumbnails 12000] [--only WORD]

A way is a job over folders, or over the local OSS server (whose processor time counts for nobody). `both` is when the
second supervisor has ended, too: it looks every three seconds whether all is done. `finished` is when the first has.
Processor time is that of all supervisors and workers. Start-up is the same over two tiny pictures, in the same round.
"""

import argparse
import contextlib
import itertools
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pictures
from common import HERE, Measured, Row, batchgray, children_seconds, fresh, main, paired


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
            return str(out)
        return f"{self.out}/{time.monotonic_ns()}"


def measured(place: Place, workers: list[int], options: list[str]) -> Figures:
    """As many supervisors as there are numbers of workers, over the same job."""
    out, cpu, began = place.next_out(), children_seconds(), time.monotonic()
    running = [
        subprocess.Popen(
            batchgray("run", place.source, "--out", out, *options, "--workers", count, "--progress", "none"),
            env=os.environ | place.environment,
            stderr=subprocess.PIPE,
        )
        for count in workers
    ]
    ends = []
    for process in running:
        error = process.communicate()[1]
        ends.append(time.monotonic() - began)
        if process.returncode:
            sys.exit(f"exit {process.returncode}: {error.decode(errors='replace')}")
    return Figures(ends[0], ends[-1], children_seconds() - cpu)


WAYS = {"one with two workers": ([2], ["--job"]), "two joined, one worker each": ([1, 1], ["--join"])}


@contextlib.contextmanager
def oss(folders: dict[str, Path]) -> Iterator[dict[str, Place]]:
    """Each of the folders in a bucket of its own."""
    buckets = [part for name, folder in folders.items() for part in ("--bucket", f"{name}={folder}")]
    command = [sys.executable, str(HERE.parent / "scripts" / "oss_local.py"), *buckets, "--bucket", "gray"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
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
    one, two = (found[way] for way in WAYS)
    starts = [found[f"{way}, start-up"] for way in WAYS]
    for figure in Figures._fields:
        ratios = [
            (getattr(b, figure) - getattr(start_b, figure)) / (getattr(a, figure) - getattr(start_a, figure))
            for a, b, start_a, start_b in zip(one, two, *starts, strict=True)
        ]
        rows.append(Row(f"{name}: joined / one, start-up off", f"{figure} ratio", "x", ratios))
    return rows


def measure(given: argparse.Namespace, work: Path) -> Measured:
    photographs = pictures.flat_copy(given.images, work / "originals")
    small = pictures.thumbnails(photographs, work / "small", 1000)
    folders = {
        "photographs": linked(photographs, work / "photographs", given.photographs),
        "thumbnails": linked(small, work / "thumbnails", given.thumbnails),
        "tiny": pictures.tiny(work / "tiny", 2),
    }
    rows: list[Row] = []
    with oss(folders) as buckets:
        below = {name: Place(str(folder), work, {}) for name, folder in folders.items()}
        for kind, places in (("folders", below), ("OSS", buckets)):
            for name in ("photographs", "thumbnails"):
                if given.only not in f"{name} {kind}":
                    continue
                ways = {}
                for way, of in WAYS.items():
                    ways[way] = lambda place=places[name], of=of: measured(place, *of)
                    ways[f"{way}, start-up"] = lambda place=places["tiny"], of=of: measured(place, *of)
                rows += rows_of(f"{name}, {kind}", paired(given.runs, ways))
    return Measured(rows, {"photographs": given.photographs, "thumbnails": given.thumbnails})


if __name__ == "__main__":
    main(__file__, __doc__, measure, runs=5, options=options)
