"""PNG out: whole batches, and the encoders alone over gray photographs in memory, on one core: time and size.

    python benchmarks/png_output.py [--images DIR] [--runs 5] [--photographs 8] [--only WORD]... [--json FILE]

An encoder's time is processor time, so that a neighbour on the core is not counted. Ratios are taken round by round:
`A / B` is how many times as long A took, or as large its files are.
"""

import importlib.util
import io
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import contest
import numpy as np
import pictures
import simplejpeg
from common import Measured, Row, main, paired
from peers import PNG_OURS, PNG_POOLS
from PIL import Image

from batchgray.codecs import png

Encode = Callable[[np.ndarray], int]

_EFFORTS = (0, 1, 2, 3, 6, 9)
_DEFAULT = "batchgray, effort 2, its default"
_OPENCV = "OpenCV, its default"


class Figures(NamedTuple):
    nanoseconds: float  # a pixel
    megabytes: float


def measure(given, work) -> Measured:
    folder = pictures.flat_copy(given.images, work / "photographs")
    batches = contest.compare(given, work, folder, PNG_POOLS, PNG_OURS, [])
    grays = _grays(folder, given.photographs)
    found = paired(given.runs, {name: _way(encode, grays) for name, encode in _encoders().items()})
    megapixels = sum(gray.size for gray in grays) / 1e6
    parameters = {**batches.parameters, "encoded alone": f"{len(grays)} of {megapixels:.1f} MP together"}
    return Measured(batches.rows + _rows(found), parameters)


def _grays(folder: Path, count: int) -> list[np.ndarray]:
    """The largest photographs of at most 10 MP, gray as they are decoded."""
    found = sorted((width * height, name) for name, (width, height) in pictures.sizes(folder).items())
    chosen = [name for pixels, name in found if pixels <= 10e6][-count:]
    return [simplejpeg.decode_jpeg((folder / name).read_bytes(), "GRAY")[..., 0].copy() for name in chosen]


def _encoders() -> dict[str, Encode]:
    ways = {f"batchgray, effort {effort}": _batchgray(effort) for effort in _EFFORTS if effort != 2}
    ways = {_DEFAULT: _batchgray(2), **ways, "Pillow, its default": _pillow(6), "Pillow, level 1": _pillow(1)}
    for module, add in (("cv2", _opencv), ("pyvips", _pyvips)):
        if importlib.util.find_spec(module):
            ways |= add()
        else:
            print(f"left out: no module {module}: pip install '.[bench]'", file=sys.stderr)
    return ways


def _batchgray(effort: int) -> Encode:
    return lambda gray: sum(map(len, png.encode(gray, gray.shape[1], gray.shape[0], effort)))


def _pillow(level: int) -> Encode:
    def encode(gray: np.ndarray) -> int:
        into = io.BytesIO()
        Image.fromarray(gray).save(into, "PNG", compress_level=level)
        return into.tell()

    return encode


def _opencv() -> dict[str, Encode]:
    import cv2

    cv2.setNumThreads(1)
    return {_OPENCV: lambda gray: len(cv2.imencode(".png", gray)[1])}


def _pyvips() -> dict[str, Encode]:
    import pyvips

    def encode(gray: np.ndarray) -> int:
        image = pyvips.Image.new_from_memory(gray.data, gray.shape[1], gray.shape[0], 1, "uchar")
        return len(image.pngsave_buffer(compression=3, filter="up"))

    return {"pyvips, level 3, filter up": encode}


def _way(encode: Encode, grays: Sequence[np.ndarray]) -> Callable[[], Figures]:
    def run() -> Figures:
        began = time.process_time()
        size = sum(map(encode, grays))
        return Figures((time.process_time() - began) * 1e9 / sum(gray.size for gray in grays), size / 1e6)

    return run


def _rows(found: dict[str, list[Figures]]) -> list[Row]:
    rows = []
    for name, figures in found.items():
        rows.append(Row(name, "encoding", "ns a pixel", [each.nanoseconds for each in figures]))
        rows.append(Row(name, "size", "MB", [each.megabytes for each in figures]))
    for name in (name for name in found if not name.startswith("batchgray")):
        pairs = list(zip(found[name], found[_DEFAULT], strict=True))
        for figure, unit in (("nanoseconds", "encoding ratio"), ("megabytes", "size ratio")):
            runs = [getattr(other, figure) / getattr(own, figure) for other, own in pairs]
            rows.append(Row(f"{name} / {_DEFAULT}", unit, "x", runs))
    return rows


def options(parser) -> None:
    contest.options(parser)
    parser.add_argument("--photographs", type=int, default=8, help="for the encoders alone (default: 8)")


if __name__ == "__main__":
    main(__file__, __doc__, measure, runs=5, options=options)
