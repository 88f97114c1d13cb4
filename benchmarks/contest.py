"""Contenders over one flat folder of JPEGs, in turns: time, processor time, outputs checked, and start-up taken off.

Start-up is a run of the same command over one picture of 8 x 8 for each worker, in the same round.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pictures
from common import Measured, Row, Timing, fresh, less, paired, ratios, rows_of, timed
from peers import FLOORS, ONE_THREAD, OURS, Contender

_START_UP = "{}, start-up"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", action="append", metavar="WORD", help="contenders with this word; may be repeated")


def compare(
    given: argparse.Namespace,
    work: Path,
    folder: Path,
    peers: list[Contender],
    ours: list[Contender] = OURS,
    floors: list[Contender] = FLOORS,
) -> Measured:
    """batchgray, the floors and `peers` over `folder`, `given.runs` times."""
    contenders = chosen(ours + floors + peers, given.only)
    tiny = pictures.tiny(work / "tiny", given.workers)
    pictures.warm(folder)
    ways = {}
    for contender in contenders:
        ways[contender.name] = way(contender, folder, work, given.workers)
        if contender in ours + floors:
            ways[_START_UP.format(contender.name)] = way(contender, tiny, work, given.workers)
        way(contender, tiny, work, given.workers)()  # programs and libraries into the page cache
    found = paired(given.runs, ways)
    notes = {contender.name: contender.note for contender in contenders}
    megapixels = pictures.megapixels(folder)
    rows = (
        rows_of(found, notes) + _speeds(found, contenders, megapixels) + _comparisons(found, contenders, ours, floors)
    )
    parameters = {"images": len(os.listdir(folder)), "megapixels": round(megapixels, 1), "quality": 75}
    return Measured(rows, parameters)


def chosen(contenders: list[Contender], only: list[str] | None) -> list[Contender]:
    chosen = []
    for contender in contenders:
        if only and not any(word in contender.name for word in only):
            continue
        if contender.lacking:
            print(f"left out: {contender.name}: {contender.lacking}", file=sys.stderr)
        else:
            chosen.append(contender)
    return chosen


def way(contender: Contender, folder: Path, work: Path, workers: int) -> Callable[[], Timing]:
    """One run of a contender over a folder, its outputs checked."""

    def convert() -> Timing:
        out = fresh(work)
        out.mkdir()
        command = contender.command(folder.absolute(), out.absolute(), workers)
        names = b"\0".join(os.fsencode(name) for name in sorted(os.listdir(folder)))
        spent = timed(command, cwd=folder, input=names, env=os.environ | ONE_THREAD)
        pictures.check(folder, out, contender.suffix)
        return spent

    return convert


def _speeds(found: dict[str, list[Timing]], contenders: list[Contender], megapixels: float) -> list[Row]:
    return [
        Row(contender.name, "speed", "MP/s", [megapixels / timing.wall for timing in found[contender.name]])
        for contender in contenders
    ]


def _comparisons(
    found: dict[str, list[Timing]], contenders: list[Contender], ours: list[Contender], floors: list[Contender]
) -> list[Row]:
    """Each peer against the method that it is a peer of, whole; that method against its floor, start-up taken off."""
    rows = []
    for own in (contender for contender in contenders if contender in ours):
        for other in (contender for contender in contenders if contender.method == own.method):
            if other in floors:
                above, below = (less(found[each.name], found[_START_UP.format(each.name)]) for each in (own, other))
                rows += ratios(f"{own.name} / {other.name}", above, below, "start-up taken off both")
            elif other is not own:
                rows += ratios(f"{other.name} / {own.name}", found[other.name], found[own.name])
    return rows
