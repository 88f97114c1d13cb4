"""Planning a job of millions of names, without any image: how fast, in how much memory, and what a plan takes.

    python benchmarks/planning.py [--names 10000000] [--latency 0.05] [--runs 1] [--json FILE]

The listing is made up: a place that thinks up a thousand names at a time, and takes `--latency` seconds to answer. The
plan goes into a folder. Then all images are said to be done, their results are written as a layer, and the same listing
is held against them, as a second `run` does that finds nothing new. Memory is the peak RSS of the process that does it.
"""

import contextlib
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from common import Measured, Row, fresh, main

from batchgray.manifest.layers import Layers
from batchgray.manifest.results import Result, Totals
from batchgray.planning.planned import Share
from batchgray.planning.shares import Input, Planner
from batchgray.planning.wanted import choosing
from batchgray.records import InputVersion
from batchgray.storage.base import Entry
from batchgray.storage.folder import FolderPlace

_PAGE = 1000
_A_DAY = 2500
_UNITS = {
    "first share": "s",
    "planning": "names/s",
    "peak RSS, planning": "MB",
    "plan": "bytes/image",
    "writing results": "images/s",
    "peak RSS, writing results": "MB",
    "results": "bytes/image",
    "merging": "names/s",
    "peak RSS, merging": "MB",
}


class MadeUp:
    """So many photographs, by days; sizes and ETags are drawn from the names."""

    name = "oss://made-up/photographs"

    def __init__(self, count: int, latency: float) -> None:
        self._count, self._latency = count, latency

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        first = self._first_after(after)
        for number in range(first, self._count):
            if (number - first) % _PAGE == 0:
                time.sleep(self._latency)
            yield _entry(number)

    def _first_after(self, after: str) -> int:
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if _name(middle) > after else (middle + 1, high)
        return low


def _name(number: int) -> str:
    day = number // _A_DAY
    return f"{2000 + day // 372}/{day // 31 % 12 + 1:02}/{day % 31 + 1:02}/IMG_{number:09}.jpg"


def _entry(number: int) -> Entry:
    etag = hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()
    size = 20_000 + int(etag[:6], 16) % 9_000_000
    return Entry(_name(number), size, InputVersion(size, 0, etag))


def options(parser) -> None:
    parser.add_argument("--names", type=int, default=10_000_000)
    parser.add_argument("--latency", type=float, default=0.05, metavar="SECONDS")
    parser.add_argument("--only", choices=["plan", "results", "merge"], help="what a child of this program does")
    parser.add_argument("--folder", type=Path, help="of the same")


def measure(given, work) -> Measured:
    found: dict[str, list[float]] = {figure: [] for figure in _UNITS}
    for _ in range(given.runs):
        folder = fresh(work)
        folder.mkdir()
        for what in ("plan", "results", "merge"):
            for figure, value in _of_a_child(given, what, folder).items():
                found[figure].append(value)
    rows = [Row("batchgray", figure, unit, found[figure]) for figure, unit in _UNITS.items()]
    return Measured(rows, {"names": given.names, "latency": given.latency})


def _of_a_child(given, what: str, folder: Path) -> dict[str, float]:
    sizes = ["--names", str(given.names), "--latency", str(given.latency)]
    command = [sys.executable, __file__, *sizes, "--only", what, "--folder", str(folder)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def _do(given) -> dict[str, float]:
    """In the child."""
    with contextlib.closing(FolderPlace(given.folder)) as job:
        return {"plan": _plan, "results": _results, "merge": _merge}[given.only](job, given)


def _planner(job: FolderPlace, given, prefix: str, layers: Layers | None = None) -> Planner:
    place = MadeUp(given.names, given.latency)
    return Planner(job, prefix, [Input(place, "")], "jpeg", choosing((), ()), layers=layers)


def _plan(job: FolderPlace, given) -> dict[str, float]:
    began = time.monotonic()
    shares = _planner(job, given, "job/1").plan()
    count = len(next(shares).images)
    first = time.monotonic() - began
    count += sum(len(share.images) for share in shares)
    assert count == given.names
    return {
        "first share": first,
        "planning": count / (time.monotonic() - began),
        "peak RSS, planning": _peak(),
        "plan": _bytes_below(given.folder / "job/1/plan") / count,
    }


def _results(job: FolderPlace, given) -> dict[str, float]:
    began = time.monotonic()
    planner = _planner(job, given, "job/1")
    shares = map(planner.share, planner.end().order)
    Layers(job, "job").write(1, given.names, (result for share in shares for result in _done(share)), Totals())
    return {
        "writing results": given.names / (time.monotonic() - began),
        "peak RSS, writing results": _peak(),
        "results": _bytes_below(given.folder / "job/results") / given.names,
    }


def _done(share: Share) -> Iterator[Result]:
    for image in share.images:
        yield Result(
            input=share.input,
            source=image.source,
            output=image.output,
            state="done",
            size=image.size,
            mtime_ns=image.mtime_ns,
            etag=image.etag,
            width=4000,
            height=3000,
            output_size=image.size // 3,
            checksum=f"xxh3-128:{hashlib.md5(image.etag.encode(), usedforsecurity=False).hexdigest()}",
            done_at_ms=1_764_000_000_000 + image.size,
        )


def _merge(job: FolderPlace, given) -> dict[str, float]:
    began = time.monotonic()
    planner = _planner(job, given, "job/2", Layers(job, "job"))
    assert not list(planner.plan())
    assert planner.end().kept.done == given.names
    return {"merging": given.names / (time.monotonic() - began), "peak RSS, merging": _peak()}


def _bytes_below(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes, on Linux


if __name__ == "__main__":
    if "--only" in sys.argv:
        import argparse

        parser = argparse.ArgumentParser()
        options(parser)
        print(json.dumps(_do(parser.parse_args())))
    else:
        main(__file__, __doc__, measure, runs=1, options=options)
