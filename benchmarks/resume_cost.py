"""What interruptions cost: a run that SIGTERM interrupts again and again and that is resumed, against one left alone.

    python benchmarks/resume_cost.py [--images DIR] [--interruptions 4] [--runs 5] [--workers N] [--json FILE]

All processes' time is counted, every start included. The finished trees are compared, by the manifests' checksums.
`start-up` is a run over pictures of 8 x 8: what any start costs, interrupted or not.
"""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pictures
from common import Measured, Row, Timing, Watched, fresh, main, paired, ratios, rows_of, timing


def options(parser) -> None:
    parser.add_argument("--interruptions", type=int, default=4, help="SIGTERMs, evenly spread over the images")


def measure(given, work) -> Measured:
    photographs = pictures.flat_copy(given.images, work / "photographs")
    pictures.warm(photographs)
    total = len(list(photographs.iterdir()))
    times = min(given.interruptions, total - 1)
    stops = [total // (times + 1)] * times
    tiny = pictures.tiny(work / "tiny", given.workers)
    expected = {}

    def way(folder: Path, stops: list[int]) -> Callable[[], Timing]:
        def run() -> Timing:
            out = fresh(work)
            spent = _run(folder, out, given.workers, stops)
            if expected.setdefault(folder, _checksums(out)) != _checksums(out):
                sys.exit("the finished trees differ")
            return spent

        return run

    found = paired(
        given.runs,
        {
            "uninterrupted": way(photographs, []),
            f"{times} interruptions": way(photographs, stops),
            "start-up": way(tiny, []),
        },
    )
    rows = rows_of(found)
    pairs = list(zip(found[f"{times} interruptions"], found["uninterrupted"], strict=True))
    for figure in Timing._fields:
        extra = [(getattr(more, figure) - getattr(less, figure)) / times for more, less in pairs] if times else [0.0]
        rows.append(Row("an interruption", figure, "s", extra, "what it adds, the new start included"))
    rows += ratios(f"{times} interruptions / uninterrupted", *map(list, zip(*pairs, strict=True)))
    return Measured(rows, {"images": total, "interruptions": times})


def _run(folder: Path, out: Path, workers: int, stops: list[int]) -> Timing:
    """Run, and resume until it is complete; each of `stops` is after how many images of a start SIGTERM comes."""
    arguments = ("run", folder, "--out", out)
    with timing() as spent:
        for stop in [*stops, None]:
            with Watched(*arguments, "--workers", workers) as run:
                for _ in range(stop or 0):
                    run.wait_for("done")
                if stop is not None:
                    run.process.send_signal(signal.SIGTERM)
                run.finish(expect=0 if stop is None else 75)
            arguments = ("resume", out / "manifest.json")
        return spent()


def _checksums(out: Path) -> dict[str, str]:
    manifest = json.loads((out / "manifest.json").read_bytes())
    return {image["output"]: image["checksum"] for image in manifest["images"]}


if __name__ == "__main__":
    main(__file__, __doc__, measure, runs=5, options=options)
