"""XMP and IPTC that do not speak of colours are in the outputs, in memory and in bands, interrupted or not.

If this broke, keywords and captions that somebody wrote in years would be gone from an archive.
"""

import signal

import pytest
from described import CHARACTERS, KEYWORDS, WORDS, in_gif, packet, resource
from harness import Running, batchgray, leftovers, manifest_of, tree
from large import call_large_where
from PIL import Image, IptcImagePlugin, PngImagePlugin
from recording import Recording, Rule, interrupt, wait_for_stopped_worker

from batchgray.codecs import xmp
from batchgray.codecs.jpeg_markers import made

SIDE = 1800
IN_BANDS = ("--memory", "13M", "--workers", 1)
PACKET = packet(KEYWORDS, 'photoshop:ColorMode="3" xmp:Rating="4"')
CLEAN = xmp.without_colour(PACKET)
IPTC = {(1, 90): b"\x1b%G", (2, 0): b"\0\4", (2, 25): b"Schnee", (2, 120): "Größe\0".encode()}


@pytest.fixture(autouse=True)
def _large(request, monkeypatch):
    call_large_where(request, monkeypatch, IN_BANDS)


def picture(path, side):
    path.parent.mkdir()
    image, suffix = Image.effect_noise((side, side), 60).convert("RGB"), path.suffix
    if suffix == ".png":
        described = PngImagePlugin.PngInfo()
        described.add_itxt("XML:com.adobe.xmp", PACKET.decode())
        image.save(path, pnginfo=described)
    elif suffix == ".tif":
        image.save(path, tiffinfo={700: PACKET, 33723: CHARACTERS + WORDS})
    else:
        image.save(path, xmp=PACKET)
    if suffix == ".gif":
        path.write_bytes(path.read_bytes()[:-1] + in_gif(PACKET) + b";")
    if suffix == ".jpg":
        data = path.read_bytes()
        path.write_bytes(data[:2] + made(0xED, b"Photoshop 3.0\0" + resource(0x0404, CHARACTERS + WORDS)) + data[2:])


def kept_in(path):
    """XMP and IPTC."""
    with Image.open(path) as image:
        image.load()
        text = image.info.get("XML:com.adobe.xmp")
        return (text.encode() if text else image.info.get("xmp")), IptcImagePlugin.getiptcinfo(image)


@pytest.mark.parametrize("memory", [(), IN_BANDS], ids=["in memory", "in bands"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "gif"])
def test_they_are_in_the_outputs_unless_they_were_to_go(tmp_path, memory, suffix):
    picture(tmp_path / "in" / f"a.{suffix}", SIDE if memory and suffix not in ("webp", "gif") else 64)
    options = ("--progress", "none", *memory)
    for metadata in ("keep", "strip"):
        batchgray("run", tmp_path / "in", "--out", tmp_path / metadata, "--metadata", metadata, *options)
        assert manifest_of(tmp_path / metadata)["images"][0]["note"] is None
    assert kept_in(tmp_path / "keep" / "a.jpg") == (CLEAN, IPTC if suffix in ("jpg", "tif") else None)
    assert kept_in(tmp_path / "strip" / "a.jpg") == (None, None)


@pytest.mark.parametrize("memory", [(), IN_BANDS], ids=["in memory", "in bands"])
def test_a_png_has_a_place_for_xmp_alone(tmp_path, memory):
    picture(tmp_path / "in" / "a.jpg", SIDE if memory else 64)
    batchgray("run", tmp_path / "in", "--out", tmp_path / "out", "--format", "png", "--progress", "none", *memory)
    assert kept_in(tmp_path / "out" / "a.png") == (CLEAN, None)
    note = manifest_of(tmp_path / "out")["images"][0]["note"]
    assert note == "IPTC metadata was dropped: a PNG has no place for it"


@pytest.mark.parametrize(("memory", "kind"), [((), "tile"), (IN_BANDS, "band")], ids=["in memory", "in bands"])
def test_after_an_interruption_they_are_there_too(tmp_path, memory, kind):
    picture(tmp_path / "in" / "a.jpg", SIDE)
    options = ("--tile-rows", 8, *memory)
    recording = Recording(tmp_path / "record", Rule(kind, r"a\.jpg", after=3))
    with Running("run", tmp_path / "in", "--out", tmp_path / "out", *options, env=recording.environment) as run:
        interrupt(run, wait_for_stopped_worker(run), signal.SIGTERM)
        run.finish(expect=75)
    assert kept_in(tmp_path / "out" / "a.partial.jpg") == (CLEAN, IPTC)
    batchgray("resume", tmp_path / "out" / "manifest.json", *memory, "--progress", "none")
    batchgray("run", tmp_path / "in", "--out", tmp_path / "whole", *options, "--progress", "none")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert kept_in(tmp_path / "out" / "a.jpg") == (CLEAN, IPTC)
    assert leftovers(tmp_path / "out") == []
