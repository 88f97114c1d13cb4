"""Images of 8 x 8, which cost nothing themselves: how fast they are planned and handed out, and what the list weighs.

    python benchmarks/dispatch.py [--planned 10000,100000] [--full] [--runs 3] [--workers N] [--json FILE]

`planning` is from the start to the plan, `images a second` from the plan to the end, `peak memory` the supervisor's
own. `supervisor` is the processor time of its process from the plan on, `processor time` that of all processes from
start to end. `--full` adds a million images: some minutes a run, and as many files on the disk. Progress goes to a log,
as plain lines.

Two floors stand beside the longest list of `--planned`: `idle workers` (`idle_workers.py`) is what the supervisor
alone could hand out, the codec floor (`peers.py`) what the files and the codec take in a bare loop that syncs nothing,
start-up included.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pictures
from common import HERE, Measured, Row, batchgray, fresh, main, paired

_FOLDER_FILES = 1000
_LOOK_SECONDS = 0.02
_MILLION = 1_000_000
_TICKS = os.sysconf("SC_CLK_TCK")
_FLOORS = {
    "idle workers": "no image is touched: planned, handed out and written down",
    "codec floor": "batchgray's codec calls, nothing else",
}


def options(parser) -> None:
    parser.add_argument("--planned", default="10000,100000", metavar="N,N", help="how many images")
    parser.add_argument("--full", action="store_true", help="a million too")


def measure(given, work) -> Measured:
    planned = [int(number) for number in given.planned.split(",")]
    counts = planned + [_MILLION] * given.full
    folders = {count: _tree(work / str(count), count) for count in counts}
    ways = {_name(count): _run(given, work, count, folders[count], batchgray()) for count in counts}
    most = planned[-1]
    idle = [sys.executable, "-P", str(HERE / "idle_workers.py")]
    ways[_name(most, "idle workers")] = _run(given, work, most, folders[most], idle)
    flat = _flat(work / "flat", folders[most])
    ways[_name(most, "codec floor")] = lambda: _bare(flat, most, fresh(work), given.workers)
    found = paired(given.runs, ways)
    rows = [
        Row(name, figure, unit, [round_[figure] for round_ in rounds], _FLOORS.get(name.rpartition(", ")[2], ""))
        for name, rounds in found.items()
        for figure, unit in _UNITS.items()
        if figure in rounds[0]
    ]
    for floor in _FLOORS:
        rows += _ratios(f"{_name(most)} / {floor}", found[_name(most)], found[_name(most, floor)])
    if len(counts) > 1:
        rows += _growth(counts, [found[_name(counts[0])], found[_name(counts[-1])]])
    return Measured(rows, {"image": "8 x 8"})


_UNITS = {
    "planning": "s",
    "planning an image": "µs",
    "images a second": "1/s",
    "supervisor": "µs an image",
    "processor time": "µs an image",
    "peak memory": "MB",
}


def _name(count: int, floor: str = "") -> str:
    return f"{count:,} images, {floor}" if floor else f"{count:,} images"


def _ratios(name: str, ours: list[dict[str, float]], floor: list[dict[str, float]]) -> list[Row]:
    pairs = list(zip(ours, floor, strict=True))
    return [
        Row(name, f"{figure}, ratio", "x", [above[figure] / below[figure] for above, below in pairs])
        for figure in ("images a second", "processor time")
    ]


def _growth(counts: list[int], rounds: list[list[dict[str, float]]]) -> list[Row]:
    """From the smallest list to the largest."""
    pairs = list(zip(*rounds, strict=True))
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


def _flat(folder: Path, tree: Path) -> Path:
    """The same images in one folder, as the codec floor takes them."""
    folder.mkdir()
    for number, path in enumerate(sorted(tree.glob("*/*"))):
        (folder / f"{number:07}.jpg").hardlink_to(path)
    return folder


def _run(given, work: Path, count: int, folder: Path, program: Sequence[str]):
    def run() -> dict[str, float]:
        out = fresh(work)
        arguments = ("run", folder, "--out", out, "--workers", given.workers, "--progress", "plain")
        return _dispatched([*program, *map(str, arguments)], count, out.with_suffix(".log"))

    return run


def _dispatched(command: list[str], count: int, log: Path) -> dict[str, float]:
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stdin=subprocess.DEVNULL)
    planned, before, peak = None, _Spent(0.0, 0.0), 0.0
    while not _has_ended(process.pid):
        if planned is None and log.stat().st_size:  # its first line tells the plan
            planned, before = time.monotonic(), _spent(process.pid)
        peak = _peak_megabytes(process.pid) or peak
        time.sleep(_LOOK_SECONDS)
    seconds, spent = time.monotonic() - (planned or began), _spent(process.pid)
    process.wait()
    if not re.search(rf"^Done: {count:,} of {count:,} images?\b", log.read_text(), re.MULTILINE):
        sys.exit(log.read_text())
    planning = (planned or began) - began
    return {
        "planning": planning,
        "planning an image": planning / count * 1e6,
        "images a second": count / seconds,
        "supervisor": (spent.own - before.own) / count * 1e6,
        "processor time": sum(spent) / count * 1e6,
        "peak memory": peak,
    }


def _bare(flat: Path, count: int, out: Path, workers: int) -> dict[str, float]:
    out.mkdir()
    command = [sys.executable, HERE / "peers.py", "floor-bt601", "--workers", str(workers), flat, out]
    began = time.monotonic()
    process = subprocess.Popen(command)
    while not _has_ended(process.pid):
        time.sleep(_LOOK_SECONDS)
    seconds, spent = time.monotonic() - began, _spent(process.pid)
    if process.wait() or len(os.listdir(out)) != count:
        sys.exit("the codec floor made no picture of some images")
    return {"images a second": count / seconds, "processor time": sum(spent) / count * 1e6}


class _Spent(NamedTuple):
    """Seconds of processor time: a process's own, and those of the children that it has waited for."""

    own: float
    children: float


def _has_ended(pid: int) -> bool:
    """Whether it has, while its figures are still to be had."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _spent(pid: int) -> _Spent:
    user, system, of_children_user, of_children_system = map(
        int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    )
    return _Spent((user + system) / _TICKS, (of_children_user + of_children_system) / _TICKS)


def _peak_megabytes(pid: int) -> float | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else None


if __name__ == "__main__":
    main(__file__, __doc__, measure, runs=3, options=options)
