"""Images of 8 x 8, which cost nothing themselves: how fast they are planned and handed out, and what the list weighs.

    python benchmarks/dispatch.py [--planned 10000,100000] [--full] [--runs 3] [--workers N] [--json FILE]

`planning` is from the start to the plan, `images a second` from the plan to the end, `peak memory` the supervisor's
own. `--full` adds a million images: some minutes a run, and as many files on the disk. Progress goes to a log, as plain
lines.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

import pictures
from common import Measured, Row, batchgray, fresh, main, paired

_FOLDER_FILES = 1000
_LOOK_SECONDS = 0.02
_MILLION = 1_000_000


def options(parser) -> None:
    parser.add_argument("--planned", default="10000,100000", metavar="N,N", help="how many images")
    parser.add_argument("--full", action="store_true", help="a million too")


def measure(given, work) -> Measured:
    counts = [int(number) for number in given.planned.split(",")] + [_MILLION] * given.full
    ways = {}
    for count in counts:
        folder = _tree(work / str(count), count)
        ways[f"{count:,} images"] = lambda folder=folder, count=count: _dispatched(
            folder, count, fresh(work), given.workers
        )
    found = paired(given.runs, ways)
    rows = [
        Row(name, figure, unit, [round_[figure] for round_ in rounds])
        for name, rounds in found.items()
        for figure, unit in _UNITS.items()
    ]
    if len(counts) > 1:
        rows += _growth(counts, list(found.values()))
    return Measured(rows, {"image": "8 x 8"})


_UNITS = {"planning": "s", "planning an image": "µs", "images a second": "1/s", "peak memory": "MB"}


def _growth(counts: list[int], rounds: list[list[dict[str, float]]]) -> list[Row]:
    """From the smallest list to the largest."""
    pairs = list(zip(rounds[0], rounds[-1], strict=True))
    more = counts[-1] - counts[0]
    bytes_an_image = [(last["peak memory"] - first["peak memory"]) * 1e6 / more for first, last in pairs]
    flat = [last["images a second"] / first["images a second"] for first, last in pairs]
    name = f"{counts[-1]:,} images / {counts[0]:,}"
    return [
        Row(name, "memory an image", "bytes", bytes_an_image),
        Row(name, "images a second, ratio", "x", flat),
    ]


def _tree(folder: Path, count: int) -> Path:
    """`count` images in folders of a thousand: one file a folder, and hard links to it (a file may have 65,000)."""
    for first in range(0, count, _FOLDER_FILES):
        inside = folder / f"{first:07}"
        inside.mkdir(parents=True)
        original = inside / "00000.jpg"
        pictures.tiny_picture(original)
        for number in range(1, min(_FOLDER_FILES, count - first)):
            (inside / f"{number:05}.jpg").hardlink_to(original)
    return folder


def _dispatched(folder: Path, count: int, out: Path, workers: int) -> dict[str, float]:
    command = batchgray("run", folder, "--out", out, "--workers", workers, "--progress", "plain")
    log = out.with_suffix(".log")
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stdin=subprocess.DEVNULL)
    planned, peak = None, 0.0
    while process.poll() is None:
        if planned is None and log.stat().st_size:  # its first line tells the plan
            planned = time.monotonic()
        peak = _peak_megabytes(process.pid) or peak
        time.sleep(_LOOK_SECONDS)
    seconds = time.monotonic() - (planned or began)
    if not re.search(rf"^Done: {count:,} of {count:,} images?\b", log.read_text(), re.MULTILINE):
        sys.exit(log.read_text())
    planning = (planned or began) - began
    return {
        "planning": planning,
        "planning an image": planning / count * 1e6,
        "images a second": count / seconds,
        "peak memory": peak,
    }


def _peak_megabytes(pid: int) -> float | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else None


if __name__ == "__main__":
    main(__file__, __doc__, measure, runs=3, options=options)
