"""Photographs, the whole batch: batchgray against its peers on the same cores, and against the codec's own floor.

    python benchmarks/throughput.py [--images DIR] [--runs 5] [--workers N] [--only WORD]... [--json FILE]

See benchmarks/peers.py for who they are and what they do. Ratios are taken round by round: `A / B` is how many times
as long A took.
"""

import contest
import pictures
from common import Measured, main
from peers import POOLS, PROGRAMS


def measure(given, work) -> Measured:
    return contest.compare(given, work, pictures.flat_copy(given.images, work / "photographs"), POOLS + PROGRAMS)


if __name__ == "__main__":
    main(__file__, __doc__, measure, runs=5, options=contest.options)
