"""Read in bands, an image's pixels are those of the whole; a kind of which that is not sure is refused."""

import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tiffs
from band_kinds import KINDS, noise, smooth
from files import ODD, sampled
from harness import decode
from PIL import Image

from batchgray.codecs.band_plan import plan_bands
from batchgray.codecs.band_reader import BandReader, PyvipsMissing, check_installed
from batchgray.codecs.bands import open_bands
from batchgray.codecs.opened import OpenedImage
from batchgray.codecs.opening import open_image
from batchgray.errors import ImageError


def whole(path: Path, method: str) -> tuple[OpenedImage, np.ndarray]:
    opened = open_image(str(path), method, 10**9)
    plane = memoryview(bytearray(opened.width * opened.height * (3 if opened.colour else 1)))
    with closing(opened):
        decode(opened, plane)
    return opened, np.frombuffer(plane, np.uint8)


def read(path: Path, method: str, rows: int = 24, first: int = 0, by_libvips: bool = False) -> np.ndarray:
    opened = open_image(str(path), method, 10**9)
    opened.close()
    tops = range(first, opened.height, rows)
    plan = plan_bands(str(path), opened, method, by_libvips)
    with closing(open_bands(str(path), opened, plan)) as reader:
        # Of colour a slice is valid until the next one.
        pieces = [reader.part(top, min(top + rows, opened.height))().copy() for top in tops]
        piece = reader.part(tops[-1], opened.height)() if plan.slices else pieces[-1]
    assert all(piece.flags.c_contiguous and piece.flags.writeable for piece in (piece, *pieces))  # the kernels insist
    return np.concatenate(pieces)


BY = pytest.mark.parametrize("by_libvips", [False, True], ids=["here", "libvips"])


@BY
@pytest.mark.parametrize("kind", KINDS)
def test_bands_are_the_whole(kind, by_libvips, tmp_path):
    path = tmp_path / kind
    KINDS[kind](path)
    opened, pixels = whole(path, "bt601")
    assert np.array_equal(read(path, "bt601", by_libvips=by_libvips), pixels)
    passed_over = 40 * opened.width * (3 if opened.colour else 1)
    assert np.array_equal(read(path, "bt601", first=40, by_libvips=by_libvips), pixels[passed_over:])


IN_PIECES = ["tiff tiles.tif", "tiff jpeg tiles.tif", "tiff pyramid.tif", "tiff 1 bit strips.tif"] + [
    kind for kind in KINDS if kind.startswith("tiff strips")
]


@BY
@pytest.mark.parametrize("kind", IN_PIECES)
def test_strips_and_tiles_are_read_in_any_order(kind, by_libvips, tmp_path):
    path = tmp_path / kind
    KINDS[kind](path)
    opened, pixels = whole(path, "bt601")
    plan = plan_bands(str(path), opened, "bt601", by_libvips)
    assert plan.pieces.rows < opened.height
    row = pixels.size // opened.height
    spans = [(top, min(top + 24, opened.height)) for top in range(0, opened.height, 24)]
    with closing(open_bands(str(path), opened, plan)) as reader:
        parts = [(span, reader.part(*span)) for span in spans]
        for (top, bottom), part in reversed(parts):
            assert np.array_equal(part(), pixels[top * row : bottom * row])


@pytest.mark.parametrize("adobe", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.endswith(".jpg") and "RGB" not in kind])
def test_luma_is_the_jpegs_own(kind, adobe, tmp_path):
    path = tmp_path / kind
    KINDS[kind](path)
    if adobe and kind != "jpeg cmyk.jpg":
        data = path.read_bytes()
        path.write_bytes(data[:20] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x01" + data[20:])
    assert np.array_equal(read(path, "luma"), whole(path, "luma")[1])


@pytest.mark.parametrize(("across", "down"), ODD)
def test_a_jpeg_of_odd_sampling_is_read_alike(across, down, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(sampled(across, down, Image.fromarray(smooth(3))))
    assert np.array_equal(read(path, "bt601"), whole(path, "bt601")[1])


def test_metadata_without_end_is_never_read(tmp_path):
    """libvips would hold all of it, more than once."""
    KINDS["jpeg progressive.jpg"](tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    comment = b"\xff\xfe\xff\xff" + bytes(65533)
    (tmp_path / "a.jpg").write_bytes(data[:2] + 20 * comment + data[2:])
    tags = {"bits": 8, "photometric": tiffs.RGB, "more": {270: (2, b"x" * 2_000_000), 34675: (7, bytes(2_000_000))}}
    (tmp_path / "a.tif").write_bytes(tiffs.tiff(noise(3), **tags))
    for name in ("a.jpg", "a.tif"):
        path = tmp_path / name
        opened = open_image(str(path), "bt601", 10**9)
        opened.close()
        plan = plan_bands(str(path), opened, "bt601", by_libvips=True)
        with closing(BandReader(str(path), opened, plan)) as reader:
            image = (reader._whole or reader._open(plan.parts, opened.height))._image
            fields = image.get_fields()
            lengths = [len(value) for name in fields if isinstance(value := image.get(name), str | bytes)]
            assert max(lengths, default=0) < 1000
        assert np.array_equal(read(path, "bt601"), whole(path, "bt601")[1])


def cut(kind: str):
    def save(path: Path) -> None:
        KINDS[kind](path)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])

    return save


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("jpeg 420.jpg", "in bands: its coded data"),
        ("jpeg progressive.jpg", "in bands: .*premature end"),
        ("png RGB.png", "damaged, or not to be"),
    ],
)
def test_what_is_cut_off_is_refused(kind, reason, tmp_path):
    cut(kind)(tmp_path / kind)
    with pytest.raises(ImageError, match=reason):
        read(tmp_path / kind, "bt601")


@pytest.mark.parametrize("kind", ["jpeg 420.jpg", "jpeg 444.jpg", "jpeg progressive.jpg"])
def test_a_damaged_jpeg_is_refused_or_read_alike(kind, tmp_path):
    KINDS[kind](tmp_path / kind)
    sound = (tmp_path / kind).read_bytes()
    random = np.random.default_rng(11)
    for _ in range(12):
        data = bytearray(sound)
        data[random.integers(700, len(data))] = random.integers(256)
        (tmp_path / kind).write_bytes(data)
        try:
            pixels = read(tmp_path / kind, "bt601")
        except ImageError:
            continue
        assert np.array_equal(pixels, whole(tmp_path / kind, "bt601")[1])


def test_what_libvips_takes_for_another_image_is_refused(tmp_path):
    path = tmp_path / "png RGB.png"
    KINDS[path.name](path)
    opened = open_image(str(path), "bt601", 10**9)
    opened.close()
    plan = plan_bands(str(path), opened, "bt601", by_libvips=True)
    opened.height += 1
    with pytest.raises(ImageError, match=f"libvips takes it for {opened.width} x {opened.height - 1} srgb"):
        BandReader(str(path), opened, plan)


def test_without_pyvips_nothing_can_be_read(monkeypatch):
    check_installed()
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with pytest.raises(PyvipsMissing):
        check_installed()
