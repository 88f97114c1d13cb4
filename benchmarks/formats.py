"""PNG, TIFF and WebP in: batches of photographs against the pools of Pillow and OpenCV.

    python benchmarks/formats.py [--images DIR] [--runs 5] [--counts 16 200] [--kinds png ...] [--json FILE]

The files are what Pillow makes of the photographs of 4 to 10 megapixels (of all, where there are none such), with its
defaults; of a larger batch some are hard links. Start-up is a run over one picture of 8 x 8 for each worker, in the
same format and the same round. Ratios are taken round by round: how many times as long the peer took.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import contest
import pictures
from common import Measured, Row, Timing, fresh, less, main, paired, ratios, rows_of, timed
from peers import ONE_THREAD, OURS, POOLS, Contender
from PIL import Image

_PEERS = [contender for contender in POOLS if contender.name in ("OpenCV cvtColor pool", "Pillow convert pool")]
_MOST_DISTINCT = 32  # files; to make a PNG takes Pillow seconds
_LEAST_PIXELS, _MOST_PIXELS = 4e6, 10e6


class Kind(NamedTuple):
    suffix: str
    settings: dict[str, object]


KINDS = {
    "png": Kind(".png", {}),
    "tiff": Kind(".tif", {}),
    "tiff-lzw": Kind(".tif", {"compression": "tiff_lzw"}),
    "tiff-deflate": Kind(".tif", {"compression": "tiff_adobe_deflate"}),
    "webp": Kind(".webp", {"quality": 80}),
}


def measure(given, work) -> Measured:
    photographs = pictures.flat_copy(given.images, work / "photographs")
    sizes = pictures.sizes(photographs)
    usual = {name for name, (width, height) in sizes.items() if _LEAST_PIXELS <= width * height <= _MOST_PIXELS}
    chosen = [photographs / name for name in sorted(usual or sizes)]
    contenders = contest.chosen([OURS[0], *_PEERS], given.only)
    rows: list[Row] = []
    for kind in given.kinds:
        for count in given.counts:
            folder, sizes = _batch(chosen, work / f"{kind}-{count}", KINDS[kind], count)
            rows += _compared(given, work, folder, sizes, f"{kind}, {count} files", contenders)
    return Measured(rows, {"photographs": len(chosen)})


def _batch(photographs: list[Path], folder: Path, kind: Kind, count: int) -> tuple[Path, dict[str, tuple[int, int]]]:
    """So many files of that kind; and the sizes of what is to be made of them, by their names."""
    folder.mkdir()
    most = min(count, _MOST_DISTINCT)
    distinct, sizes = photographs[:: max(1, len(photographs) // most)][:most], {}
    for number in range(count):
        path = folder / f"{number:05}{kind.suffix}"
        with Image.open(distinct[number % len(distinct)]) as image:
            sizes[f"{number:05}.jpg"] = image.size
            if number < len(distinct):
                image.convert("RGB").save(path, **kind.settings)
            else:
                path.hardlink_to(folder / f"{number % len(distinct):05}{kind.suffix}")
    pictures.warm(folder)
    return folder, sizes


def _compared(
    given, work: Path, folder: Path, sizes: dict[str, tuple[int, int]], name: str, contenders: list[Contender]
) -> list[Row]:
    tiny, tiny_sizes = _tiny(folder, given.workers)
    ways: dict[str, Callable[[], Timing]] = {}
    for contender in contenders:
        ways[contender.name] = _way(contender, folder, sizes, work, given.workers)
        ways[f"{contender.name}, start-up"] = _way(contender, tiny, tiny_sizes, work, given.workers)
        ways[f"{contender.name}, start-up"]()  # programs and libraries into the page cache
    found = paired(given.runs, ways)
    rows = rows_of({f"{name}: {who}": timings for who, timings in found.items()})
    own = OURS[0].name
    for other in (contender.name for contender in contenders if contender.name != own and own in found):
        rows += ratios(f"{name}: {other} / {own}", found[other], found[own])
        above, below = (less(found[who], found[f"{who}, start-up"]) for who in (other, own))
        rows += ratios(f"{name}: {other} / {own}, start-up taken off", above, below)
    return rows


def _tiny(folder: Path, count: int) -> tuple[Path, dict[str, tuple[int, int]]]:
    """A picture of 8 x 8 for each worker, in the format of a folder's."""
    suffix, tiny = next(folder.iterdir()).suffix, folder.with_name(f"{folder.name}-tiny")
    tiny.mkdir()
    for number in range(count):
        Image.new("RGB", (8, 8), (200, 100, 50)).save(tiny / f"{number:05}{suffix}")
    return tiny, {f"{number:05}.jpg": (8, 8) for number in range(count)}


def _way(
    contender: Contender, folder: Path, sizes: dict[str, tuple[int, int]], work: Path, workers: int
) -> Callable[[], Timing]:
    def convert() -> Timing:
        out = fresh(work)
        out.mkdir()
        command = contender.command(folder.absolute(), out.absolute(), workers)
        spent = timed(command, cwd=folder, env=os.environ | ONE_THREAD)
        if pictures.sizes(out) != sizes:
            raise SystemExit(f"{out}: pictures are missing, too many, or of another size")
        return spent

    return convert


def options(parser) -> None:
    contest.options(parser)
    parser.add_argument("--counts", type=int, nargs="+", default=[16, 200], help="files in a batch (default: 16 200)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[*KINDS], help="of files (default: all)")


if __name__ == "__main__":
    main(__file__, __doc__, measure, runs=5, options=options)
