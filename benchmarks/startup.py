"""How long a start takes: the words that need no work, and the way to the first finished image.

    python benchmarks/startup.py [--runs 15] [--json FILE]

Warm: the kernels' machine code is kept from an earlier start, and the libraries are in the page cache. Cold: there is
no machine code, so that numba is imported and compiles; the libraries are in the page cache all the same. The image is
of 8 x 8, so that what is measured is the start. `first image` ends when its output is durable and said so, `whole run`
when the process ends; processor time is of the whole run, all its processes together.
"""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import pictures
from common import Measured, Row, Watched, batchgray, fresh, main, paired, rows_of, timed, timing

_RUNS = {"batchgray run, warm": "warm", "batchgray run, cold": "cold"}


class Start(NamedTuple):
    """Seconds from the start of the process; `cpu` is processor time."""

    planned: float
    first_image: float
    whole: float
    cpu: float


def measure(given, work) -> Measured:
    images = pictures.tiny(work / "tiny", 1)
    warm = work / "warm"
    timed(batchgray("run", images, "--out", work / "done"), env=_keeping_code_in(warm))
    if not list(warm.iterdir()):
        sys.exit("the first start has kept no machine code, so no start would be warm")
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import numba'": [sys.executable, "-c", "import numba"],
        "batchgray --version": batchgray("--version"),
        "batchgray --help": batchgray("--help"),
        "batchgray status": batchgray("status", work / "done" / "manifest.json"),
    }
    ways = {name: lambda command=command: timed(command) for name, command in commands.items()}
    ways["batchgray run, warm"] = lambda: _first_image(images, fresh(work), warm)
    ways["batchgray run, cold"] = lambda: _first_image(images, out := fresh(work), work / f"cold-{out.name}")
    found = paired(given.runs, ways)
    starts = {name: found.pop(name) for name in _RUNS}
    rows = rows_of(found)
    numba = found["python -c 'import numba'"]
    for name, runs in starts.items():
        for moment in ("planned", "first_image", "whole"):
            rows.append(Row(f"{name}, {moment}", "wall", "s", [getattr(start, moment) for start in runs]))
        rows.append(Row(f"{name}, whole", "cpu", "s", [start.cpu for start in runs]))
        first = [start.first_image / imported.wall for start, imported in zip(runs, numba, strict=True)]
        rows.append(Row(f"{_RUNS[name]}: first_image / import numba", "wall ratio", "x", first))
        spent = [start.cpu / imported.cpu for start, imported in zip(runs, numba, strict=True)]
        rows.append(Row(f"{_RUNS[name]}: whole / import numba", "cpu ratio", "x", spent))
    return Measured(rows, {"image": "8 x 8"})


def _first_image(images: Path, out: Path, code: Path) -> Start:
    with timing() as spent:
        with Watched("run", images, "--out", out, env=_keeping_code_in(code)) as run:
            planned, _ = run.wait_for("planned")
            first, _ = run.wait_for("done")
            ended = run.finish(0)
        cpu = spent().cpu
    return Start(planned - run.began, first - run.began, ended - run.began, cpu)


def _keeping_code_in(folder: Path) -> dict[str, str]:
    return {**os.environ, "NUMBA_CACHE_DIR": str(folder)}


if __name__ == "__main__":
    main(__file__, __doc__, measure, runs=15)
