"""Thousands of JPEGs of 256 x 256, where what is not the codec shows: batchgray against pools, and against floors.

python benchmarks/thumbnails.py [--images DIR] [--count 4000] [--runs 5] [--workers N] [--only WORD]...
"""

import contest
import pictures
from common import Measured, main
from peers import DURABLE_FLOORS, FLOORS, POOLS


def options(parser) -> None:
    contest.options(parser)
    parser.add_argument("--count", type=int, default=4000, help="thumbnails (default: 4000)")


def measure(given, work) -> Measured:
    photographs = pictures.flat_copy(given.images, work / "photographs")
    folder = pictures.thumbnails(photographs, work / "thumbnails", given.count)
    return contest.compare(given, work, folder, POOLS, floors=FLOORS + DURABLE_FLOORS)


if __name__ == "__main__":
    main(__file__, __doc__, measure, runs=5, options=options)
