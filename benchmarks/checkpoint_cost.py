"""What a checkpoint every second costs, against none at all, on images of 12 megapixels and on large ones.

    python benchmarks/checkpoint_cost.py [--images DIR] [--count 96] [--large 6] [--megapixels 150] [--runs 7]
                                         [--workers N] [--json FILE]

The large ones take seconds each, so that their finished tiles are saved while they are converted.
"""

import pictures
from common import Measured, batchgray, fresh, main, paired, ratios, rows_of, timed

_NEVER = 1e9  # seconds
_INTERVALS = {"every second": 1, "never": _NEVER}


def options(parser) -> None:
    parser.add_argument("--count", type=int, default=96, help="images of 12 megapixels")
    parser.add_argument("--large", type=int, default=6, help="large images")
    parser.add_argument("--megapixels", type=int, default=150, help="of a large image")


def measure(given, work) -> Measured:
    photographs = pictures.flat_copy(given.images, work / "photographs")
    side = int((given.megapixels * 1e6) ** 0.5)
    folders = {
        "12 MP": pictures.twelve_megapixels(photographs, work / "12", given.count),
        f"{given.megapixels} MP": pictures.resized(photographs, work / "large", (side, side), given.large, distinct=2),
    }
    ways = {}
    for size, folder in folders.items():
        pictures.warm(folder)
        for name, seconds in _INTERVALS.items():
            command = ["run", folder, "--workers", given.workers, "--checkpoint", seconds, "--out"]
            ways[f"{size}, {name}"] = lambda command=command: timed(batchgray(*command, fresh(work)))
    found = paired(given.runs, ways)
    rows = rows_of(found)
    for size in folders:
        rows += ratios(f"{size}, every second / never", found[f"{size}, every second"], found[f"{size}, never"])
    return Measured(rows, {"images_12_mp": given.count, "large_images": given.large, "megapixels": given.megapixels})


if __name__ == "__main__":
    main(__file__, __doc__, measure, runs=7, options=options)
