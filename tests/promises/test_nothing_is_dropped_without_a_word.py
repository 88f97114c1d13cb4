"""Transparency and lower bits that are dropped are told of, and transparency can be composited instead.

If this broke, a black signature on a transparent ground would come out as a black sheet, and nobody would know before
the paper is filed.
"""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tiffs
from harness import Running, batchgray, events_of, leftovers, manifest_of, named, tree
from large import LARGE, call_large_where
from naive import BY_METHOD, over
from PIL import Image, PngImagePlugin
from recording import Recording, Rule, interrupt, wait_for_stopped_worker

from batchgray.codecs.transparency import IGNORED
from batchgray.storage import sealing

SIDE = 1200  # in bands, its planes take more than LIMIT
LIMIT = 16 << 20
IN_BANDS = ("--memory", LIMIT, "--workers", 1)


@pytest.fixture(autouse=True)
def _large(request, monkeypatch):
    call_large_where(request, monkeypatch, IN_BANDS)


def signature(width: int, height: int) -> np.ndarray:
    """R, G, B and alpha: black strokes on a ground that is black too, and wholly transparent; here and there a blot."""
    y, x = np.mgrid[:height, :width]
    alpha = np.where((x + 2 * y) % 97 < 9, 255, 0).astype(np.uint8)
    alpha[height // 3 : height // 2] = (x + y)[height // 3 : height // 2] % 256
    pixels = np.zeros((height, width, 4), np.uint8)
    pixels[..., 0], pixels[..., 3] = x % 7, alpha
    return pixels


def expected(pixels: np.ndarray, method: str, background: tuple[int, int, int] | None) -> np.ndarray:
    colours, alpha = pixels[..., :3].astype(np.int64), pixels[..., 3].astype(np.int64)
    if background is not None:
        colours = np.stack([over(colours[..., channel], alpha, background[channel]) for channel in range(3)], -1)
    return BY_METHOD[method](*np.moveaxis(colours, -1, 0)).astype(np.uint8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    Image.fromarray(signature(SIDE, SIDE)).save(folder / "signature.png", compress_level=1)
    opaque = signature(200, 100)
    opaque[..., 3] = 255
    Image.fromarray(opaque).save(folder / "opaque.png")
    Image.fromarray(signature(200, 100)).save(folder / "small.webp", lossless=True, exact=True)
    gray = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(gray).save(folder / "deep.png")
    (folder / "twelve.tif").write_bytes(tiffs.tiff(gray[..., None] >> 4, bits=12, photometric=1))
    return folder


@pytest.mark.parametrize("memory", [("--memory", "1G"), IN_BANDS], ids=["in memory", "in bands"])
def test_what_is_dropped_is_noted(pictures, tmp_path, memory):
    told = batchgray("run", pictures, "--out", tmp_path, "--progress", "plain", *memory).stdout
    notes = {image["source"]: image["note"] for image in manifest_of(tmp_path)["images"]}
    assert notes == {
        "signature.png": IGNORED,
        "opaque.png": None,
        "small.webp": IGNORED,
        "deep.png": "the upper 8 of 16 bits were taken",
        "twelve.tif": "the upper 8 of 12 bits were taken",
    }
    (line,) = [line for line in told.splitlines() if line.endswith(IGNORED)]
    assert {"signature.png", "small.webp"} == set(line.removesuffix(f": {IGNORED}").strip().split(", "))


BACKGROUNDS = [("white", (255, 255, 255)), ("#fA0", (255, 170, 0)), ("none", None)]


@pytest.mark.parametrize("method", ["bt601", "bt709", "luma"])
@pytest.mark.parametrize(("background", "colour"), BACKGROUNDS)
def test_a_background_is_what_is_seen_through(pictures, tmp_path, method, background, colour):
    arguments = (
        "run",
        pictures,
        "--method",
        method,
        "--background",
        background,
        "--format",
        "png",
        "--progress",
        "none",
    )
    batchgray(*arguments, "--out", tmp_path / "wide", "--memory", "1G")
    large = {**os.environ, **LARGE}
    batchgray(*arguments, "--out", tmp_path / "tight", *IN_BANDS, env=large)
    assert tree(tmp_path / "tight") == tree(tmp_path / "wide")
    for name, width, height in (("signature.png", SIDE, SIDE), ("small.png", 200, 100)):
        with Image.open(tmp_path / "wide" / name) as image:
            assert np.array_equal(np.asarray(image), expected(signature(width, height), method, colour))
    images = {image["source"]: image for image in manifest_of(tmp_path / "wide")["images"]}
    assert images["small.webp"]["note"] == (IGNORED if colour is None else None)


def test_the_background_is_fixed_in_the_manifest(pictures, tmp_path):
    arguments = ("run", pictures / "opaque.png", "--out", tmp_path, "--progress", "none")
    batchgray(*arguments, "--background", "white")
    assert manifest_of(tmp_path)["options"]["background"] == "#ffffff"
    batchgray(*arguments, "--background", "#FFF")
    assert "--background '#ffffff'" in batchgray(*arguments, expect=2).stderr


def test_a_manifest_from_before_there_were_backgrounds_means_none(pictures, tmp_path):
    arguments = ("run", pictures / "small.webp", "--out", tmp_path, "--progress", "json")
    batchgray(*arguments)
    members = json.loads((tmp_path / "manifest.json").read_text())
    del members["options"]["background"], members["seal"]
    (tmp_path / "manifest.json").write_bytes(sealing.seal(json.dumps(members).encode()))
    assert named(events_of(batchgray(*arguments).stdout), "summary")[0]["already_done"] == 1
    batchgray(*arguments, "--background", "black", expect=2)


def test_what_no_colour_is_called_is_refused(pictures, tmp_path):
    refused = batchgray("run", pictures, "--out", tmp_path / "out", "--background", "rainbow", expect=2).stderr
    assert (
        "--background takes none, a colour such as '#ffffff' (in quotes), or a name such as white, not rainbow"
        in refused
    )


@pytest.mark.parametrize("background", ["none", "#204060"])
@pytest.mark.parametrize(
    "rule", [Rule("tile", "signature", after=3), Rule("encode", "signature")], ids=["tile", "encode"]
)
def test_a_note_outlives_the_worker(pictures, tmp_path, rule, background):
    """Killed behind its tiles, what it has in its slot is all that is known of the picture."""
    recording = Recording(tmp_path / "record", rule)
    arguments = ("run", pictures / "signature.png", "--workers", 1, "--background", background, "--tile-rows", 8)
    with Running(*arguments, "--out", tmp_path / "out", env=recording.environment) as run:
        wait_for_stopped_worker(run).kill()
        events = run.finish(expect=0)
    (done,) = named(events, "done")
    assert done["note"] == (IGNORED if background == "none" else None)
    assert done["tiles_computed"] < done["tiles_total"]
    batchgray(*arguments, "--out", tmp_path / "whole", "--progress", "none")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@pytest.mark.parametrize("background", ["none", "#204060"])
def test_a_resumed_image_is_composited_and_noted_like_any_other(tmp_path, background, monkeypatch):
    """What is transparent lies in the first bands, which the resumed run does not read again."""
    side = 4 * SIDE  # so that most of its bands are still to come when the first are made
    pixels = signature(side, side)
    pixels[side // 16 :, :, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png", compress_level=1)
    monkeypatch.setenv("LARGE_PIXELS", "1000000")
    recording = Recording(tmp_path / "record", Rule("band", "a.jpg", after=3))
    arguments = ("run", tmp_path / "a.png", "--background", background, "--tile-rows", 8)
    memory = ("--memory", "1G", "--workers", 1)
    with Running(*arguments, "--out", tmp_path / "out", *memory, env=recording.environment) as run:
        interrupt(run, wait_for_stopped_worker(run), signal.SIGTERM)
        run.finish(expect=75)
    resumed = batchgray("resume", tmp_path / "out" / "manifest.json", *memory, "--progress", "json")
    (done,) = named(events_of(resumed.stdout), "done")
    assert 0 < done["tiles_computed"] < done["tiles_total"]
    assert done["note"] == (IGNORED if background == "none" else None)
    batchgray(*arguments, "--out", tmp_path / "whole", "--memory", "1G", "--progress", "none")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert leftovers(tmp_path / "out") == []


@pytest.mark.parametrize("memory", [(), IN_BANDS], ids=["in memory", "in bands"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_xmp_that_is_not_kept_is_noted_unless_all_was_to_go(tmp_path, memory, suffix):
    packet, side = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">', SIDE if memory and suffix != "webp" else 64
    settings = {"pnginfo": _itxt(packet)} if suffix == "png" else {"xmp": packet}
    settings = {"tiffinfo": {700: packet}} if suffix == "tif" else settings
    (tmp_path / "in").mkdir()
    Image.new("RGB", (side, side), "red").save(tmp_path / "in" / f"a.{suffix}", **settings)
    notes = {}
    for metadata in ("keep", "strip"):
        out = tmp_path / metadata
        batchgray("run", tmp_path / "in", "--out", out, "--metadata", metadata, "--progress", "none", *memory)
        notes[metadata] = manifest_of(out)["images"][0]["note"]
    assert notes == {
        "keep": "XMP metadata was dropped: too long, damaged, or in a form that is not read",
        "strip": None,
    }


def _itxt(packet):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet.decode())
    return info
