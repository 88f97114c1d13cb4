"""Promise 8 against files made to hurt: each costs little time and memory, fails or converts for its own reason, and
the good ones beside it come out as ever.
"""

import io
import os
import re
import socket
import struct
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
from boxed import box, codestream, heic, jp2
from harness import Running, batchgray, can_be_refused, gradient, manifest_of
from PIL import Image

RGB = gradient(64, 48, seed=5)
PICTURE = Image.fromarray(RGB)
GRAY = (RGB.astype(np.uint32) @ np.array([30, 59, 11], np.uint32) // 100).astype(np.uint8)
PROMISED = 30000  # pixels a side: 900 megapixels
SPARSE_BYTES = 3 << 30
PEAK_BYTES = 1_000_000_000  # it is 0.2 GB; one bomb alone would be 2.7 GB of planes


def saved(image, format, **settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **settings)
    return buffer.getvalue()


def patched(data: bytes, marker: bytes, offset: int, new: bytes) -> bytes:
    """`data` with `new` at `offset` behind the beginning of `marker`."""
    at = data.index(marker) + offset
    return data[:at] + new + data[at + len(new) :]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


IDAT = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in RGB)))


def png(*before: bytes, side: tuple[int, int] = (64, 48), idat: bytes = IDAT) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + idat + chunk(b"IEND", b"")


def tiff(tags: dict[int, tuple[int, int, int]], data: bytes, next_page: int = 0) -> bytes:
    """A little-endian TIFF of one directory behind `data`; `tags` are type, count and value."""
    entries = b"".join(struct.pack("<HHII", tag, *tags[tag]) for tag in sorted(tags))
    head = b"II*\0" + struct.pack("<I", 8 + len(data))
    return head + data + struct.pack("<H", len(tags)) + entries + struct.pack("<I", next_page)


def gray_tiff(width: int = 64, height: int = 48, compression: int = 1, data: bytes = GRAY.tobytes(), **more) -> bytes:
    tags = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, compression), 262: (3, 1, 1)}
    tags |= {273: (4, 1, 8), 277: (3, 1, 1), 278: (4, 1, height), 279: (4, 1, len(data))}
    return tiff(tags | more.get("tags", {}), data, more.get("next_page", 0))


def exif_bomb(size: int = 40000) -> bytes:
    """An EXIF block of many entries, each of which claims all of it."""
    count = size // 12 - 2
    entries = b"".join(struct.pack("<HHII", 5000 + index, 7, size - 100, 8) for index in range(count))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + bytes(4)


def segment(code: int, body: bytes) -> bytes:
    return bytes((0xFF, code)) + (len(body) + 2).to_bytes(2, "big") + body


JPEG = saved(PICTURE, "JPEG", quality=90)
PROGRESSIVE = saved(PICTURE, "JPEG", quality=90, progressive=True)
CMYK = saved(PICTURE.convert("CMYK"), "JPEG")
GIF = saved(PICTURE.quantize(60), "GIF")
BMP = saved(PICTURE, "BMP")
MOVING = saved(PICTURE, "WEBP", lossless=True, save_all=True, append_images=[PICTURE.rotate(180)])
EXIF_BOMB = exif_bomb()
HEIC = heic(RGB)
JP2 = codestream(RGB)
PPM = b"P6 64 48 255\n" + RGB.tobytes()
SIDES_OF_ONE_TILE = struct.pack(">6I", 2**32 - 1, 2**32 - 1, 0, 0, 2**32 - 1, 2**32 - 1)
LONG_SIDES = struct.pack(">II", PROMISED, PROMISED)
EMPTY_SCAN = segment(0xDA, b"\x01\x01\x00\x01\x05\x00") + b"\0"
SIDES = struct.pack(">HH", PROMISED, PROMISED)
FRAME = GIF[GIF.index(b",", 13 + 3 * (2 << (GIF[10] & 7))) : -1]
GIF_HEAD = GIF[: GIF.index(FRAME)]
PAGES = 70000  # more than a second's work where each page is looked for among those before it
DIRECTORY_AT = len(gray_tiff())

PROMISES = "its header promises 30000 x 30000 pixels"
FAILING = {
    "bomb.jpg": (patched(JPEG, b"\xff\xc0", 5, SIDES), PROMISES),
    "bomb-progressive.jpg": (patched(PROGRESSIVE, b"\xff\xc2", 5, SIDES), PROMISES),
    "bomb-cmyk.jpg": (patched(CMYK, b"\xff\xc0", 5, SIDES), PROMISES),
    "bomb.png": (png(side=(PROMISED, PROMISED)), PROMISES),
    "bomb.tif": (gray_tiff(PROMISED, PROMISED), PROMISES),
    "bomb-deflate.tif": (gray_tiff(PROMISED, PROMISED, 8, zlib.compress(bytes(9999))), PROMISES),
    "bomb.bmp": (patched(BMP, b"BM", 18, struct.pack("<II", PROMISED, PROMISED)), PROMISES),
    "bomb.gif": (patched(GIF, b"GIF", 6, struct.pack("<HH", PROMISED, PROMISED)), PROMISES),
    "bomb.webp": (patched(MOVING, b"VP8X", 12, struct.pack("<I", PROMISED)[:3] * 2), "a canvas of 30001 x 30001"),
    "bomb.heic": (patched(HEIC, b"ispe", 8, LONG_SIDES), f"promises {PROMISED} x {PROMISED} pixels, and its picture"),
    "larger.heic": (patched(HEIC, b"ispe", 8, b"\xff" * 8), "promises 4294967295 x 4294967295 pixels"),
    "smaller.heic": (patched(HEIC, b"ispe", 8, struct.pack(">II", 32, 32)), "damaged: ValueError: Invalid input"),
    "cut.heic": (HEIC[:-100], "damaged: ValueError: Invalid input: Unexpected end of file"),
    "head.heic": (HEIC[:100], "damaged: a HEIF"),
    "properties.heic": (patched(HEIC, b"ipma", 8, b"\xff" * 8), "damaged: a HEIF whose head ends too early"),
    "bomb.j2k": (patched(JP2, b"\xff\x51", 6, LONG_SIDES), "damaged: a JPEG 2000 of 293,125 tiles"),
    "larger.j2k": (patched(JP2, b"\xff\x51", 6, SIDES_OF_ONE_TILE), "over the limit of 1,000,000,000"),
    "tiles.j2k": (patched(JP2, b"\xff\x51", 22, b"\0\0\0\1\0\0\0\0"), "damaged: a JPEG 2000 whose tiles have no"),
    "cut.jp2": (jp2(JP2)[:-500], "damaged: OSError"),
    "sizes.jp2": (jp2(JP2, sides=(PROMISED, PROMISED)), "damaged: a JPEG 2000 with two sizes"),
    "boxes.jp2": (jp2(JP2)[:32] + box(b"free", b"") * 200_000, "damaged: more than 100,000 boxes"),
    "bomb.ppm": (b"P6 30000 30000 255\n" + RGB.tobytes(), "truncated: 9,216 bytes of pixels, which must be"),
    "bomb.pbm": (b"P1 30000 30000\n" + b"0" * 9999, "truncated: 9,999 bytes of pixels, which must be 900,000,000"),
    "comment.pgm": (b"P5\n#" + b"c" * 10_000_000 + b"\n64 48 255\n" + bytes(3072), "damaged: a PNM whose head"),
    "word.pgm": (b"P2 64 48 255\n" + b"0" * 10_000_000, "a sample of more than 1,000 digits"),
    "larger.png": (png(side=(2**31 - 1, 2**31 - 1)), "pixels, which"),
    "larger.gif": (GIF_HEAD + patched(FRAME, b",", 5, b"\xff\xff\xff\xff"), "over the limit of 1,000,000,000"),
    "scans.jpg": (PROGRESSIVE[:-2] + EMPTY_SCAN * 20000 + b"\xff\xd9", "more than 500 scans"),
    "twelve-bit.jpg": (patched(JPEG, b"\xff\xc0", 4, b"\x0c"), "a JPEG of 12-bit samples"),
    "cut-segment.jpg": (JPEG[:2] + b"\xff\xe1\xff\xff" + JPEG[2:], "before its picture begins"),
    "chunk-of-2-gb.png": (png(struct.pack(">I", 2**31 - 1) + b"tEXt"), "before its picture begins"),
    "header-checksum.png": (patched(png(), b"IHDR", 17, b"\0\0\0\0"), "bad header checksum"),
    "tiles.tif": (gray_tiff(tags={322: (4, 1, PROMISED), 323: (4, 1, PROMISED)}), "tiles of 30000 x 30000"),
    "strips.tif": (gray_tiff(tags={273: (4, 5_000_000, 8)}, data=bytes(20 << 20)), "a TIFF of 5,000,000 strips"),
    "comments.gif": (GIF_HEAD + b"!\xfe" + b"\1a" * 1_000_001 + b"\0" + FRAME, "a GIF without a picture"),
    "elsewhere.tif": (gray_tiff(tags={273: (4, 1, 10**9)}), "damaged or truncated"),
    "postscript.jpg": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "in none of the formats that are read",
    ),
    "float.jpg": (b"Pf 64 48 -1.0\n" + bytes(12288), "in none of the formats that are read"),
    "text.tif": (b"The quick brown fox. " * 50000, "in none of the formats that are read"),
}
SPARSE = {
    "zeros.jpg": (b"", "in none of the formats that are read"),
    "marker.jpg": (b"\xff\xd8\xff", "before its picture begins"),
    "header.jpg": (JPEG[: JPEG.index(b"\xff\xda")], "before its picture begins"),
    "open-end.jpg": (JPEG[:-50], "truncated"),
    "zeros.png": (b"\x89PNG\r\n\x1a\n", "a PNG without its header"),
    "idat.png": (png(idat=struct.pack(">I", 2**31 - 1) + b"IDAT"), "more than a PNG of 64 x 48 pixels can need"),
    "zeros.tif": (b"II*\0\x08\0\0\0", "damaged"),
    "zeros.webp": (b"RIFF\xf8\xff\xff\xbfWEBPVP8 ", "a WebP of more than 1,000,000 chunks"),
    "zeros.heic": (HEIC, "over the 536,870,912"),
    "cut.j2k": (JP2[:-500], "damaged: OSError"),
    "zeros.jp2": (b"\0\0\0\x0cjP  \r\n\x87\n", "damaged: a JPEG 2000 without its picture"),
    "zeros.ppm": (b"P3 64 48 255\n" + b"0 " * 9000, "damaged: "),
    "zeros.avif": (b"\0\0\0\x1cftypavif", "over the 536,870,912"),
}
NOT_FILES = {
    "pipe.jpg": "a pipe, not a file",
    "socket.jpg": "a socket, not a file",
    "zero.jpg": "a device, not a file",
    "loop.jpg": "too many levels of symbolic links",
    "nowhere.jpg": "no such file",
}
PROFILE = segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60000))
CONVERTING = {
    "exif.jpg": (JPEG[:2] + segment(0xE1, b"Exif\0\0" + EXIF_BOMB) * 20 + JPEG[2:], None),
    "exif-cmyk.jpg": (CMYK[:2] + segment(0xE1, b"Exif\0\0" + EXIF_BOMB) * 20 + CMYK[2:], None),
    "profiles.jpg": (JPEG[:2] + PROFILE * 400 + JPEG[2:], None),
    "scans-allowed.jpg": (PROGRESSIVE[:-2] + EMPTY_SCAN * 400 + b"\xff\xd9", "Corrupt JPEG data"),
    "exif.png": (png(chunk(b"eXIf", EXIF_BOMB)), None),
    "exif.webp": (saved(PICTURE, "WEBP", lossless=True, exif=b"Exif\0\0" + EXIF_BOMB), None),
    "profile-text.png": (
        png(
            chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n40000\n" + EXIF_BOMB.hex().encode()))
        ),
        None,
    ),
    "text.png": (png(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000)))), None),
    "texts.png": (png(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000))) * 100), None),
    "profile.png": (png(chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(100_000_000)))), None),
    "text-checksum.png": (png(chunk(b"tEXt", b"a\0b")[:-1] + b"!"), None),
    "frames.png": (png(chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))), "the first of 2147483647 frames"),
    "frames.gif": (GIF_HEAD + FRAME * 5000 + b";", "the first of 1000 or more frames"),
    "entries.tif": (
        gray_tiff(data=bytes(12 << 20), tags={5000 + index: (7, 12 << 20, 8) for index in range(60)}),
        None,
    ),
    "loop.tif": (gray_tiff(next_page=8 + GRAY.size), None),
    "pages.tif": (
        gray_tiff(next_page=DIRECTORY_AT)
        + b"".join(struct.pack("<HI", 0, DIRECTORY_AT + 6 * (page + 1)) for page in range(PAGES)),
        "the first of 1000 or more frames or pages",
    ),
    "frames.ppm": (PPM * 5000, "the first of 1000 or more frames"),
    "comments.ppm": (b"P3#\n64 48 255\n" + b" ".join(b"%d" % one for one in RGB.reshape(-1)) + b"#" * 10_000_000, None),
    "text.jp2": (jp2(JP2, box(b"xml ", bytes(10_000_000)), behind=box(b"uuid", bytes(10_000_000))), None),
    "exif.jp2": (jp2(JP2, behind=box(b"uuid", b"JpgTiffExif->JP2" + EXIF_BOMB)), None),
    "exif.heic": (heic(RGB, exif=b"Exif\0\0" + EXIF_BOMB), None),
    "line\nbreak.png": (png(), None),
    "\x1b[31mred\x07.png": (png(), None),
    "n" * 251 + ".png": (png(), None),
}
EXACT = [name for name in CONVERTING if name.endswith(("png", "webp", "ppm", "jp2", "heic"))]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run over all of them: its output folder, its images by name, its events, and the tree's highest memory."""
    folder, out = tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("out")
    for name, (data, _) in (FAILING | CONVERTING).items():
        (folder / name).write_bytes(data)
    for name, (data, _) in SPARSE.items():
        with (folder / f"sparse-{name}").open("wb") as file:
            file.write(data)
            file.truncate(SPARSE_BYTES)
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(folder / "socket.jpg"))
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "nowhere.jpg").symlink_to(folder / "nobody")
    (folder / "folder.jpg").mkdir()
    for index in range(3):
        (folder / f"good-{index}.png").write_bytes(saved(PICTURE, "PNG"))
    with Running("run", folder, "--out", out, "--format", "png", "--workers", 2) as running:
        peak = _peak_memory(running)
        events = running.finish(3)
    return out, {image["source"]: image for image in manifest_of(out)["images"]}, events, peak()


def _peak_memory(running: Running):
    """Watches the workers' own memory and their slots, not the pages of mapped files. Returns what tells the peak."""
    peak = [0]

    def watch() -> None:
        while running.process.poll() is None:
            peak[0] = max(peak[0], sum(map(_own_bytes, running.descendants())))
            time.sleep(0.02)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()

    def told() -> int:
        thread.join()
        return peak[0]

    return told


def _own_bytes(process: psutil.Process) -> int:
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:  # it is gone
        return 0
    return sum(int(kilobytes) for kilobytes in re.findall(r"Rss(?:Anon|Shmem):\s+(\d+)", status)) * 1024


REASONS = {name: reason for name, (_, reason) in FAILING.items()} | NOT_FILES
REASONS |= {f"sparse-{name}": reason for name, (_, reason) in SPARSE.items()}


@pytest.mark.parametrize("name", REASONS)
def test_it_fails_with_its_own_reason(run, name):
    image = run[1][name]
    assert image["state"] == "failed"
    assert REASONS[name] in image["error"]
    assert len(image["error"]) <= 300


@pytest.mark.parametrize("name", CONVERTING)
def test_it_is_converted_and_the_note_says_what_is_odd(run, name):
    image, note = run[1][name], CONVERTING[name][1]
    assert image["state"] == "done", image["error"]
    assert note in image["note"] if note else image["note"] is None
    with Image.open(run[0] / image["output"]) as result:
        assert result.size == (64, 48)
        if name in EXACT:
            assert np.array_equal(np.asarray(result), GRAY)


def test_the_good_ones_beside_them_are_converted(run):
    for index in range(3):
        with Image.open(run[0] / f"good-{index}.png") as image:
            assert np.array_equal(np.asarray(image), GRAY)


def test_every_one_is_accounted_for_and_no_worker_died(run):
    _, images, events, _ = run
    assert len(images) == len(REASONS) + len(CONVERTING) + 3
    assert not [event for event in events if event["event"] == "warned"]


def test_memory_stays_far_below_what_the_headers_promise(run):
    assert run[3] < PEAK_BYTES


def test_no_message_lets_a_name_through_that_a_terminal_obeys(tmp_path):
    folder = tmp_path / "in\x1b[2J"
    folder.mkdir()
    (folder / "\x1b[31mred\n\x07.jpg").write_bytes(b"no image")
    out = tmp_path / "out\x1b[2J"
    told = batchgray("run", folder, "--out", out, "--progress", "plain", expect=3).stdout
    told += batchgray("run", folder, "--out", tmp_path / "bar", "--progress", "bar", expect=3).stdout
    told += batchgray("status", out / "manifest.json").stdout
    told += batchgray("verify", out / "manifest.json").stdout
    told += batchgray("run", folder / "gone\x1b[2J.jpg", "--out", out, expect=2).stderr
    assert "\\x1b[31mred\\n\\x07.jpg" in told
    assert "\x1b[31m" not in told
    assert "\x1b[2J" not in told
    assert "\x07" not in told


@pytest.mark.skipif(not can_be_refused(), reason="nothing is refused to root here")
def test_a_link_to_where_nobody_may_look_costs_one_image(tmp_path):
    hidden, folder = tmp_path / "hidden", tmp_path / "in"
    hidden.mkdir()
    folder.mkdir()
    (hidden / "a.png").write_bytes(png())
    (folder / "link.png").symlink_to(hidden / "a.png")
    (folder / "good.png").write_bytes(png())
    hidden.chmod(0)
    try:
        batchgray("run", folder, "--out", tmp_path / "out", "--progress", "none", expect=3, privileged=False)
    finally:
        hidden.chmod(0o755)
    images = {image["source"]: image for image in manifest_of(tmp_path / "out")["images"]}
    assert images["link.png"]["error"] == "permission denied"
    assert images["good.png"]["state"] == "done"
