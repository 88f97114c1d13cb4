"""Manifests for tests: of images that are planned, and what may happen to them."""

from pathlib import Path

from batchgray.manifest.records import Image, ImageChange, Interruption, Manifest
from batchgray.options import PixelOptions

INTERRUPTION = Interruption(at="2026-11-22T18:00:00Z", source="signal", event_id="SIGTERM", deadline=None)


def planned(*names, **changes):
    names = names or ("a/b.png", "c.jpg", "线/\n\u2028.png", "d.jpg", "e.jpg")
    images = [
        Image(root=0, source=name, output=str(Path(name).with_suffix(".jpg")), size=1234, mtime_ns=10**18 + index)
        for index, name in enumerate(names)
    ]
    settings = {
        "run_id": "default",
        "options": PixelOptions(),
        "max_pixels": 10**9,
        "output_root": ".",
        "input_roots": ["/data/images"],
        "images": images,
    }
    return Manifest(**{**settings, **changes})


def done(index, **fields):
    known = {"width": 640, "height": 480, "tiles_done": 8, "tiles_total": 8, "output_size": 999, "checksum": "x:y"}
    return ImageChange(image=index, state="done", **{**known, **fields})


def states(found):
    return [image.state for image in found.images]


def flipped(data, bit):
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)
