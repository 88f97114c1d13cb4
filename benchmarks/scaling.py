"""1 to N workers over the photographs: how many times faster, beside the bare codec's own scaling on this machine.

    python benchmarks/scaling.py [--images DIR] [--runs 5] [--workers N] [--json FILE]

Cores share memory and turbo, so that the floor does not scale by N either. Speed-ups are of wall time, taken round by
round, whole and with start-up taken off.
"""

import contest
import pictures
from common import Measured, Row, less, main, paired, rows_of
from peers import FLOORS, OURS


def measure(given, work) -> Measured:
    folder = pictures.flat_copy(given.images, work / "photographs")
    pictures.warm(folder)
    counts = sorted({1, *(2**power for power in range(1, 10) if 2**power <= given.workers), given.workers})
    contenders = [OURS[0], FLOORS[0]]
    ways = {}
    for count in counts:
        tiny = pictures.tiny(work / f"tiny-{count}", count)
        for contender in contenders:
            name = _name(contender.name, count)
            ways[name] = contest.way(contender, folder, work, count)
            ways[f"{name}, start-up"] = contest.way(contender, tiny, work, count)
    found = paired(given.runs, ways)
    rows = rows_of(found)
    for contender in contenders:
        alone = _name(contender.name, 1)
        alone_working = less(found[alone], found[f"{alone}, start-up"])
        for count in counts[1:]:
            name = _name(contender.name, count)
            whole = [one.wall / many.wall for one, many in zip(found[alone], found[name], strict=True)]
            working = less(found[name], found[f"{name}, start-up"])
            steady = [one.wall / many.wall for one, many in zip(alone_working, working, strict=True)]
            rows.append(Row(f"{name} / 1", "speed-up", "x", whole))
            rows.append(Row(f"{name} / 1", "speed-up, start-up off", "x", steady))
    return Measured(rows, {"megapixels": round(pictures.megapixels(folder), 1)})


def _name(name: str, count: int) -> str:
    return f"{name}, {count} worker{'s' if count > 1 else ''}"


if __name__ == "__main__":
    main(__file__, __doc__, measure, runs=5)
