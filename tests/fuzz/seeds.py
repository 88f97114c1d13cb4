"""Seeds for the fuzzing: small, real files of every kind, one folder a target.

python tests/fuzz/seeds.py FOLDER

FOLDER/words is a dictionary for libFuzzer: the words of all the JSON.
"""

import base64
import io
import json
import re
import sys
from pathlib import Path

import msgspec
from described import CHARACTERS, KEYWORDS, WORDS, packet, resource
from PIL import Image

from batchgray.checkpoints import sidecar
from batchgray.manifest import records
from batchgray.notices import spot_event
from batchgray.options import PixelOptions
from batchgray.planes import slots
from batchgray.records import InputVersion


def manifests() -> list[bytes]:
    done = {"state": "done", "width": 8, "height": 8, "tiles_done": 1, "tiles_total": 1, "output_size": 1}
    images = [
        records.Image(root=0, source="a/b.png", output="a/b.jpg", size=1, mtime_ns=1),
        records.Image(root=0, source="c.jpg", output="c.jpg", size=2, mtime_ns=2, checksum="xxh3-128:00", **done),
        records.Image(root=0, source="bad", output="", size=0, mtime_ns=0, state="failed", error="not UTF-8"),
    ]
    interruption = records.Interruption(at="2026-11-22T18:00:00Z", source="smq", event_id="1", deadline=None)
    settings = {"run_id": "default", "options": PixelOptions(), "max_pixels": 10**9, "output_root": "."}
    return [
        msgspec.json.encode(records.Manifest(**settings, input_roots=["/in"], images=some, interruptions=interruptions))
        for some, interruptions in (([], []), (images[:1], [interruption]), (images, []))
    ]


def journals() -> list[bytes]:
    lines = [
        b'{"change":{"image":0,"state":"partial","width":640,"height":480,"tiles_done":3,"tiles_total":8}}',
        b'{"synced":73}',
        b'{"change":{"image":1,"state":"failed","error":"truncated"}}',
        b'{"interruption":{"at":"2026-11-22T18:00:00Z","source":"signal","event_id":"SIGTERM","deadline":null}}',
        b"!torn",
    ]
    return [b"\n".join(lines), lines[0], b"\n".join(lines[2:])]


def sidecars() -> list[bytes]:
    found = []
    for tiles in ([], [(0, 1)], [(0, 1), (2, 3)]):
        record = slots.SlotRecord(
            version=InputVersion(1, 2), width=2, height=20, tile_rows=8, colour=True, exif_bytes=3, note=None
        )
        header = sidecar.SidecarHeader(
            output="a/b.jpg",
            owns_preview=True,
            record=record,
            options=PixelOptions(tile_rows=8),
            tiles=tiles,
            payload="x:0",
        )
        found.append(msgspec.json.encode(header) + b"\nexi" + bytes(header.pixels))
    return found


def events() -> list[bytes]:
    pushed = {
        "id": "2256A988-0B26-4E2B-820A-8A00000000E5",
        "resourceId": "acs:ecs:cn-hangzhou:1690000000000030:instance/i-x",
        "name": spot_event.NAME,
        "eventTime": "20190409T121826.922+0800",
        "content": {"instanceId": "i-x", "action": "delete"},
    }
    text = json.dumps(pushed).encode()
    return [text, base64.b64encode(text), spot_event.simulated("i-x", "cn-hangzhou"), b'{"name":"x"}', b"[]"]


def images() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = []
    for mode in ("L", "RGB", "P", "1", "I;16", "CMYK", "RGBA", "LA"):
        for kind in ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "JPEG2000", "PPM"):
            buffer = io.BytesIO()
            try:
                Image.new(mode, (9, 7)).save(buffer, kind, exif=exif)
            except (OSError, ValueError, KeyError):
                continue  # this format has no such mode
            found.append(buffer.getvalue())
    buffer = io.BytesIO()
    Image.new("RGB", (17, 9)).save(buffer, "JPEG", progressive=True, exif=exif)
    return [*found, buffer.getvalue(), b"P3#\n3 1 255\n1 2 3 4 5 6 7 8 9", *_heics(exif)]


def _heics(exif: Image.Exif) -> list[bytes]:
    try:
        from pillow_heif import from_pillow
    except ImportError:  # the walk over their boxes has no seeds then
        return []
    found = []
    for settings in ({}, {"exif": exif.tobytes()}, {"tile_size": 64}):
        buffer = io.BytesIO()
        from_pillow(Image.new("RGB", (150, 70))).save(buffer, **settings)
        found.append(buffer.getvalue())
    return found


def metadata() -> list[bytes]:
    words = CHARACTERS + WORDS
    xmp = packet(KEYWORDS, 'photoshop:ColorMode="3" xmp:Rating="2"')
    return [xmp, words, resource(0x0404, words), b"XML:com.adobe.xmp\0\0\0\0\0" + xmp]


def main(folder: Path) -> None:
    pictures = images()
    seeds = {
        "manifest": manifests(),
        "journal": journals(),
        "sidecar": sidecars(),
        "intents": [b'{"output":"a.jpg","size":1,"checksum":"xxh3-128:00"}\n{"output":"b.jpg"}'],
        "event": events(),
        "markers": pictures,
        "images": pictures,
        "metadata": metadata(),
        "pixels": [data for data in pictures if data.startswith((b"\x89PNG", b"II", b"RIFF"))],
        "size": [b"800M", b"2GiB", b"1.5k", b"1000000"],
    }
    no_texts = "images", "markers", "metadata", "pixels"
    texts = b"".join(data for target, some in seeds.items() if target not in no_texts for data in some)
    words = sorted(set(re.findall(rb'"[\w:.-]+"', texts)))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "words").write_text("".join(f'"\\"{word[1:-1].decode()}\\""\n' for word in words))
    for target, some in seeds.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(some):
            (folder / target / f"seed{number}").write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
