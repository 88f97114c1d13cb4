"""Peak memory of the whole tree of processes over the photographs, with 2 workers. Linux only.

    python benchmarks/memory.py [--images DIR] [--runs 3] [--workers 2] [--only WORD]... [--json FILE]

PSS counts a page that several processes share once in all, RSS once in each. Both are summed over the tree again and
again while it runs, and the largest sum is taken. `files of every format` are the photographs as they are, PNG and
all; the others are given the JPEGs.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import contest
import peers
import pictures
import psutil
from common import Measured, Row, fresh, main, paired

_LOOK_SECONDS = 0.02


def options(parser) -> None:
    contest.options(parser)
    parser.set_defaults(workers=2)


def measure(given, work) -> Measured:
    if not sys.platform.startswith("linux"):
        sys.exit("PSS is known on Linux only.")
    folder = pictures.flat_copy(given.images, work / "photographs")
    pictures.warm(folder)
    ways = {f"{peers.OURS[0].name}, files of every format": _way(peers.OURS[0], given.images, work, given.workers)}
    for contender in contest.chosen(peers.OURS + peers.POOLS, given.only):
        ways[contender.name] = _way(contender, folder, work, given.workers)
    found = paired(given.runs, ways)
    rows = [
        Row(name, figure, "MB", [round_[figure] for round_ in rounds])
        for name, rounds in found.items()
        for figure in rounds[0]
    ]
    return Measured(rows, {"megapixels": round(pictures.megapixels(folder), 1)})


def _way(contender: peers.Contender, folder: Path, work: Path, workers: int) -> Callable[[], dict[str, float]]:
    def peak() -> dict[str, float]:
        out = fresh(work)
        out.mkdir()
        return _peak(contender.command(folder.absolute(), out.absolute(), workers))

    return peak


def _peak(command: list[str]) -> dict[str, float]:
    peak = {"peak PSS": 0.0, "peak RSS": 0.0}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=os.environ | peers.ONE_THREAD, **quiet)
    tree = psutil.Process(process.pid)
    while process.poll() is None:
        found = [0, 0]
        with contextlib.suppress(psutil.NoSuchProcess):
            for member in [tree, *tree.children(recursive=True)]:
                found = [have + more for have, more in zip(found, _held(member.pid), strict=True)]
        for figure, kilobytes in zip(peak, found, strict=True):
            peak[figure] = max(peak[figure], kilobytes * 1024 / 1e6)
        time.sleep(_LOOK_SECONDS)
    if process.returncode not in (0, 3):  # a photograph that can't be converted is nobody's memory
        sys.exit(f"{' '.join(map(str, command))}: exit {process.returncode}")
    return peak


def _held(pid: int) -> tuple[int, int]:
    """PSS and RSS of a process in kB; nothing where it has just gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    fields = {line.split(":")[0]: line.split()[1] for line in lines[1:]}
    return int(fields.get("Pss", 0)), int(fields.get("Rss", 0))


if __name__ == "__main__":
    main(__file__, __doc__, measure, runs=3, options=options)
