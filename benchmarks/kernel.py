"""The kernel alone, one thread: batchgray's against cv2.cvtColor, numpy, and a memcpy that moves the same bytes.

    python benchmarks/kernel.py [--megapixels 48] [--runs 15] [--json FILE]

A pixel is 3 bytes read and 1 written; the memcpy reads 2 and writes 2, so that its speed is what the memory can give.
`in cache`: 65 thousand pixels, 256 KB. `out of cache`: 48 megapixels, 192 MB. Time is the thread's own, whatever else
the machine does.
"""

import importlib.util
import sys
import time
from collections.abc import Callable

import numpy as np
from common import Measured, Row, main, paired

from batchgray.kernels import methods

_IN_CACHE = 1 << 16  # pixels
_ROUND_SECONDS = 0.1
_BYTES_A_PIXEL = 4


def options(parser) -> None:
    parser.add_argument("--megapixels", type=int, default=48, help="of the image that no cache holds")


def measure(given, work) -> Measured:
    rows = []
    for size, pixels in {"in cache": _IN_CACHE, "out of cache": given.megapixels * 1_000_000}.items():
        ways = {name: _speed(call, pixels) for name, call in _contenders(pixels).items()}
        found = paired(given.runs, ways)
        copied = [figures["speed"] for figures in found[f"memcpy, {pixels:,} pixels"]]
        for name, runs in found.items():
            speeds = [figures["speed"] for figures in runs]
            share = [100 * speed / copy for speed, copy in zip(speeds, copied, strict=True)]
            rows.append(Row(name, "speed", "Gpx/s", speeds, size))
            rows.append(Row(name, "bandwidth", "GB/s", [_BYTES_A_PIXEL * speed for speed in speeds], size))
            rows.append(Row(name, "share of memcpy", "%", share, size))
    return Measured(rows, {"threads": 1})


def _contenders(pixels: int) -> dict[str, Callable[[], object]]:
    rgb = np.random.default_rng(1).integers(0, 256, 3 * pixels, dtype=np.uint8)
    gray, expected = np.zeros(pixels, np.uint8), np.zeros(pixels, np.uint8)
    source, target = rgb[: 2 * pixels], np.zeros(2 * pixels, np.uint8)
    shaped = rgb.reshape(-1, 3)
    methods.bt601(rgb, expected)
    _numpy(shaped, gray)
    if not np.array_equal(gray, expected):
        sys.exit("the kernel and numpy do not agree")
    calls = {f"batchgray {name}": lambda kernel=kernel: kernel(rgb, gray) for name, kernel in methods.BY_METHOD.items()}
    if importlib.util.find_spec("cv2"):
        import cv2

        cv2.setNumThreads(1)
        image, plane = rgb.reshape(1, -1, 3), gray.reshape(1, -1)
        calls["OpenCV cvtColor"] = lambda: cv2.cvtColor(image, cv2.COLOR_RGB2GRAY, plane)
    else:
        print("left out: OpenCV cvtColor: no module cv2: pip install opencv-python-headless", file=sys.stderr)
    calls["numpy, uint16"] = lambda: _numpy(shaped, gray)
    calls["memcpy"] = lambda: np.copyto(target, source)
    return {f"{name}, {pixels:,} pixels": call for name, call in calls.items()}


def _numpy(rgb: np.ndarray, gray: np.ndarray) -> None:
    """(30 R + 59 G + 11 B) // 100 as one would write it; 25500 fits uint16."""
    red, green, blue = (rgb[:, channel].astype(np.uint16) for channel in range(3))
    gray[:] = (30 * red + 59 * green + 11 * blue) // 100


def _speed(call: Callable[[], object], pixels: int) -> Callable[[], dict[str, float]]:
    def timed() -> dict[str, float]:
        calls, began = 0, time.thread_time()
        while (seconds := time.thread_time() - began) < _ROUND_SECONDS:
            call()
            calls += 1
        return {"speed": calls * pixels / seconds / 1e9}

    return timed


if __name__ == "__main__":
    main(__file__, __doc__, measure, runs=15, options=options)
