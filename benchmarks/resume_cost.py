"""What interruptions cost: a run that SIGTERM interrupts again and again and that is resumed, against one left alone.

    python benchmarks/resume_cost.py [--images DIR] [--interruptions 4] [--runs 5] [--workers N] [--json FILE]

All processes' time is counted, every start included. The finished trees are compared, by the manifests' checksums.
`start-up` is a run over pictures of 8 x 8: what any start costs, interrupted or not.
"""

import contextlib
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pictures
from common import Ended, Measured, Row, Timing, Watched, fresh, main, paired, ratios, rows_of, timing


def options(parser) -> None:
    parser.add_argument("--interruptions", type=int, default=4, help="SIGTERMs, evenly spread over the images")


def measure(given, work) -> Measured:
    photographs = pictures.flat_copy(given.images, work / "photographs")
    pictures.warm(photographs)
    total = len(list(photographs.iterdir()))
    times = min(given.interruptions, total - 1)
    stop_after = total // (times + 1)
    tiny = pictures.tiny(work / "tiny", given.workers)
    expected, interrupted = {}, []

    def way(folder: Path, interruptions: int = 0) -> Callable[[], Timing]:
        def run() -> Timing:
            out = fresh(work)
            spent, hits = _run(folder, out, given.workers, interruptions, stop_after)
            if interruptions:
                interrupted.append(hits)
            if expected.setdefault(folder, _checksums(out)) != _checksums(out):
                sys.exit("the finished trees differ")
            return spent

        return run

    found = paired(
        given.runs,
        {
            "uninterrupted": way(photographs),
            f"{times} interruptions": way(photographs, times),
            "start-up": way(tiny),
        },
    )
    rows = rows_of(found)
    pairs = list(zip(found[f"{times} interruptions"], found["uninterrupted"], strict=True))
    for figure in Timing._fields:
        extra = [
            (getattr(more, figure) - getattr(less, figure)) / hits
            for (more, less), hits in zip(pairs, interrupted, strict=True)
            if hits
        ]
        rows.append(Row("an interruption", figure, "s", extra or [0.0], "what it adds, the new start included"))
    rows += ratios(f"{times} interruptions / uninterrupted", *map(list, zip(*pairs, strict=True)))
    return Measured(rows, {"images": total, "interruptions": times, "heard in time": min(interrupted)})


def _run(folder: Path, out: Path, workers: int, interruptions: int, stop_after: int) -> tuple[Timing, int]:
    """Run, and resume until it is complete; SIGTERM comes after so many images of each of the first starts.

    Returns how many of these came before the end as well.
    """
    arguments, hits = ("run", folder, "--out", out), 0
    with timing() as spent:
        while True:
            with Watched(*arguments, "--workers", workers) as run:
                if hits < interruptions:
                    with contextlib.suppress(Ended):
                        for _ in range(stop_after):
                            run.wait_for("done")
                        run.process.send_signal(signal.SIGTERM)
                run.finish(0, 75)
            if run.process.returncode == 0:
                return spent(), hits
            hits += 1
            arguments = ("resume", out / "manifest.json")


def _checksums(out: Path) -> dict[str, str]:
    manifest = json.loads((out / "manifest.json").read_bytes())
    return {image["output"]: image["checksum"] for image in manifest["images"]}


if __name__ == "__main__":
    main(__file__, __doc__, measure, runs=5, options=options)
