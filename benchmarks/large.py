"""One large image at a time, of each kind: wall and processor time, memory, against pyvips with all its threads.

    python benchmarks/large.py [--images DIR] [--side 30000] [--kinds jpeg png ...] [--bare] [--runs 3] [--workers N]

The image is made of the photographs, side by side, and is removed before the next kind is made: at 30,000 x 30,000 a
TIFF takes 2.7 GB of the disk. `bare codec` is the same calls without anything around them, in memory and on one core;
of PNG and TIFF it is OpenCV's reading. It takes four bytes a pixel of memory and more.

Memory is the largest sum over the processes of what belongs to none of them alone counted once (PSS), without the pages
of files, which the system may take back at any time.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import peers
import pictures
import psutil
from common import QUALITY, Measured, Row, batchgray, children_seconds, fresh, main, paired

_TILE = 2500
_PHOTOGRAPHS = 16
_LOOK_SECONDS = 0.05
_KINDS = {
    "jpeg": ("jpg", {"Q": 85}),
    "progressive": ("jpg", {"Q": 85, "interlace": True}),
    "png": ("png", {"compression": 3, "filter": "up"}),
    "striped": ("tif", {"bigtiff": True}),
    "tiled": ("tif", {"bigtiff": True, "tile": True, "tile_width": 256, "tile_height": 256}),
    "lzw": ("tif", {"bigtiff": True, "compression": "lzw", "predictor": "horizontal"}),
    "deflate": ("tif", {"bigtiff": True, "compression": "deflate", "predictor": "horizontal"}),
}
_HERE = Path(__file__).resolve()


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--side", type=int, default=30_000, help="pixels (default: 30000)")
    parser.add_argument("--kinds", nargs="+", choices=_KINDS, default=list(_KINDS))
    parser.add_argument("--bare", action="store_true", help="the bare codec too: much memory")


def measure(given, work) -> Measured:
    photographs = pictures.flat_copy(given.images, work / "photographs")
    rows = []
    for kind in given.kinds:
        path = _make(photographs, work, kind, given.side)
        rows += _rows_of(kind, paired(given.runs, _ways(path, work, given.workers, given.bare)))
        path.unlink()
    return Measured(rows, {"side": given.side})


def _ways(path: Path, work: Path, workers: int, bare: bool) -> dict[str, Callable[[], dict[str, float]]]:
    ours = ("run", path, "--workers", workers, "--progress", "none", "--out")
    ways = {
        "batchgray": lambda: _watched(batchgray(*ours, fresh(work))),
        "pyvips": lambda: _watched(_this_script("vips", path, work / "vips.jpg"), VIPS_CONCURRENCY=str(workers)),
        "checkpoint every second": lambda: _watched(batchgray(*ours, fresh(work), "--checkpoint", 1)),
        "no checkpoint": lambda: _watched(batchgray(*ours, fresh(work), "--checkpoint", 1e9)),
    }
    if bare:
        ways["bare codec"] = lambda: _watched(_this_script("bare", path, work / "bare.jpg"))
    return ways


def _rows_of(kind: str, found: dict[str, list[dict[str, float]]]) -> list[Row]:
    rows = [
        Row(f"{kind}, {name}", figure, "MB" if figure == "memory" else "s", [round_[figure] for round_ in rounds])
        for name, rounds in found.items()
        for figure in rounds[0]
    ]
    pairs = {f"{kind}, pyvips / batchgray": ("pyvips", "batchgray")}
    pairs[f"{kind}, checkpoint every second / none"] = ("checkpoint every second", "no checkpoint")
    if "bare codec" in found:
        pairs[f"{kind}, batchgray / bare codec"] = ("batchgray", "bare codec")
    for name, (above, below) in pairs.items():
        for figure in ("wall", "cpu"):
            runs = [a[figure] / b[figure] for a, b in zip(found[above], found[below], strict=True)]
            rows.append(Row(name, f"{figure} ratio", "x", runs))
    return rows


def _make(photographs: Path, work: Path, kind: str, side: int) -> Path:
    """In a process of its own: libvips must not be initialised before a fork."""
    path = work / f"{kind}.{_KINDS[kind][0]}"
    subprocess.run(_this_script("make", photographs, path, str(side), kind), check=True)
    return path


def _this_script(*arguments: object) -> list[str]:
    return [sys.executable, str(_HERE), "--part", *map(str, arguments)]


def _watched(command: list[str], **environment: str) -> dict[str, float]:
    """Wall and processor time of a command, and the most memory of it and all below it, in MB."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    before, began, peak = children_seconds(), time.perf_counter(), 0
    process = subprocess.Popen(command, env={**os.environ, **environment}, **quiet)
    tree = psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            peak = max(peak, sum(_held(member.pid) for member in [tree, *tree.children(recursive=True)]))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_SECONDS)
    wall = time.perf_counter() - began
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit {process.returncode}")
    return {"wall": wall, "cpu": children_seconds() - before, "memory": peak * 1024 / 1e6}


def _held(pid: int) -> int:
    """Kilobytes; nothing where the process has just gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0
    fields = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return fields["Pss_Anon"] + fields["Pss_Shmem"]


# What is run in a process of its own.


def _made(photographs: str, target: str, side: str, kind: str) -> None:
    import pyvips

    paths = sorted(Path(photographs).iterdir(), key=lambda path: -path.stat().st_size)[:_PHOTOGRAPHS]
    images = [pyvips.Image.thumbnail(str(path), _TILE, height=_TILE, crop="centre") for path in paths]
    tiles = [image.copy_memory() for image in images if image.bands == 3]
    across = -(-int(side) // _TILE)
    order = [tiles[(place * 7 + place // across * 3) % len(tiles)] for place in range(across * across)]
    whole = pyvips.Image.arrayjoin(order, across=across).crop(0, 0, int(side), int(side))
    whole.write_to_file(target, **_KINDS[kind][1])


def _bare(source: str, target: str) -> None:
    """Everything in memory: read, decode, kernel, encode, write."""
    import numpy as np
    import simplejpeg

    from batchgray.kernels import methods

    if source.endswith(".jpg"):
        rgb = simplejpeg.decode_jpeg(Path(source).read_bytes(), "RGB")
    else:
        import cv2

        rgb = cv2.imread(source, cv2.IMREAD_COLOR_RGB)
    gray = np.empty(rgb.shape[:2], np.uint8)
    methods.bt601(rgb.reshape(-1), gray.reshape(-1))
    Path(target).write_bytes(simplejpeg.encode_jpeg_yuv_planes(gray, None, None, quality=QUALITY))


def _vips(source: str, target: str) -> None:
    peers.pyvips_recomb()(source, target)


_PARTS = {"make": _made, "bare": _bare, "vips": _vips}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        _PARTS[sys.argv[2]](*sys.argv[3:])
    else:
        main(__file__, __doc__, measure, runs=3, options=options)
