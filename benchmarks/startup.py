"""How long a start takes: the words that need no work, and the way to the first finished image.

    python benchmarks/startup.py [--runs 15] [--json FILE]

Everything is warm: numba's cache is there, and the libraries are in the page cache. The image is of 8 x 8, so that what
is measured is the start. `first image` ends when its output is durable and said so, `whole run` when the process ends.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import pictures
from common import Measured, Row, Watched, batchgray, fresh, main, paired, rows_of, timed

_RUN = "batchgray run"


class Start(NamedTuple):
    """Seconds from the start of the process."""

    planned: float
    first_image: float
    whole: float


def measure(given, work) -> Measured:
    images = pictures.tiny(work / "tiny", 1)
    timed(batchgray("run", images, "--out", work / "done"))
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import numba'": [sys.executable, "-c", "import numba"],
        "batchgray --version": batchgray("--version"),
        "batchgray --help": batchgray("--help"),
        "batchgray status": batchgray("status", work / "done" / "manifest.json"),
    }
    ways = {name: lambda command=command: timed(command) for name, command in commands.items()}
    ways[_RUN] = lambda: _first_image(images, fresh(work))
    found = paired(given.runs, ways)
    starts = found.pop(_RUN)
    rows = rows_of(found)
    for moment in Start._fields:
        rows.append(Row(f"{_RUN}, {moment}", "wall", "s", [getattr(start, moment) for start in starts]))
    numba = found["python -c 'import numba'"]
    ratio = [start.first_image / imported.wall for start, imported in zip(starts, numba, strict=True)]
    rows.append(Row("first_image / import numba", "wall ratio", "x", ratio))
    return Measured(rows, {"image": "8 x 8"})


def _first_image(images: Path, out: Path) -> Start:
    with Watched("run", images, "--out", out) as run:
        planned, _ = run.wait_for("planned")
        first, _ = run.wait_for("done")
        ended = run.finish(expect=0)
    return Start(planned - run.began, first - run.began, ended - run.began)


if __name__ == "__main__":
    main(__file__, __doc__, measure, runs=15)
