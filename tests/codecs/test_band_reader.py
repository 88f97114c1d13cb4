"""Read in bands, an image's pixels are those of the whole; a kind of which that is not sure is refused."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import pyvips
import simplejpeg
import tiffs
from files import ODD, sampled
from harness import decode
from PIL import Image, TiffImagePlugin

from batchgray.codecs.band_plan import plan_bands
from batchgray.codecs.band_reader import BandReader
from batchgray.codecs.opened import OpenedImage
from batchgray.codecs.opening import open_image
from batchgray.errors import ImageError

HEIGHT, WIDTH = 131, 97
MODES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


def noise(channels: int, dtype=np.uint8, below: int | None = None) -> np.ndarray:
    random = np.random.default_rng(channels)
    pixels = random.integers(0, below or np.iinfo(dtype).max + 1, (HEIGHT, WIDTH, channels), dtype=dtype)
    return pixels[..., 0] if channels == 1 else pixels


def smooth(channels: int) -> np.ndarray:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([(x * (c + 1) + y * 3) % 256 for c in range(channels)], -1).astype(np.uint8)


def palette(colours: int = 256) -> Image.Image:
    image = Image.fromarray(noise(1, below=colours)).convert("P")
    image.putpalette(np.random.default_rng(7).integers(0, 256, 3 * colours, dtype=np.uint8).tobytes())
    return image


def one_bit() -> Image.Image:
    return Image.fromarray(noise(1)).convert("1")


def pillow(image, **settings):
    return lambda path: (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **settings)


def turbo(subsampling: str, channels: int = 3):
    return lambda path: path.write_bytes(
        simplejpeg.encode_jpeg(smooth(channels), quality=85, colorsubsampling=subsampling)
    )


def vips(pixels: np.ndarray, **settings):
    interpretation = {1: "b-w", 3: "srgb", 4: "srgb"} if pixels.dtype == np.uint8 else {3: "rgb16", 4: "rgb16"}
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    interpretation = interpretation.get(channels, "grey16" if pixels.dtype == np.uint16 else "b-w")

    def save(path: Path) -> None:
        pyvips.Image.new_from_array(pixels).copy(interpretation=interpretation).write_to_file(str(path), **settings)

    return save


def strip_of_the_whole(path: Path) -> None:
    """One strip for all rows, compressed: libtiff's own limit would refuse it, where it is larger."""
    before, TiffImagePlugin.STRIP_SIZE = TiffImagePlugin.STRIP_SIZE, 1 << 30
    try:
        Image.fromarray(noise(3)).save(path, compression="tiff_lzw")
    finally:
        TiffImagePlugin.STRIP_SIZE = before


def separate_planes(path: Path) -> None:
    """Pillow writes none, and only the header counts here."""
    Image.fromarray(noise(3)).save(path, tiffinfo={284: 2})


KINDS = {
    **{f"jpeg {s}.jpg": turbo(s) for s in ("444", "422", "420", "440", "411", "Gray")},
    "jpeg progressive.jpg": pillow(smooth(3), progressive=True, quality=90),
    "jpeg of RGB.jpg": pillow(smooth(3), keep_rgb=True, quality=90),
    "jpeg cmyk.jpg": pillow(Image.fromarray(smooth(4), "CMYK"), quality=90),
    **{f"png {mode}.png": pillow(noise(channels)) for mode, channels in MODES.items()},
    **{f"tiff {mode}.tif": pillow(noise(channels)) for mode, channels in MODES.items()},
    **{f"png palette {colours}.png": pillow(palette(colours)) for colours in (2, 4, 16, 256)},
    "png palette transparent.png": pillow(palette(), transparency=bytes(range(256))),
    "png transparent.png": pillow(noise(3), transparency=(1, 2, 3)),
    "png gray transparent.png": pillow(noise(1), transparency=7),
    "png 1 bit.png": pillow(one_bit()),
    "png 2 bits.png": vips(noise(1), bitdepth=2),
    "png 16 bits.png": pillow(noise(1, np.uint16)),
    **{f"png 16 bits {c}.png": vips(noise(c, np.uint16)) for c in (2, 3, 4)},
    "png interlaced.png": vips(noise(3), interlace=True),
    "tiff palette.tif": pillow(palette()),
    "tiff 1 bit.tif": pillow(one_bit()),
    "tiff group4.tif": pillow(one_bit(), compression="group4"),
    "tiff 4 bits white is 0.tif": vips(noise(1), bitdepth=4, miniswhite=True),
    "tiff white is 0.tif": vips(noise(1), miniswhite=True),
    "tiff 16 bits white is 0.tif": vips(noise(1, np.uint16), miniswhite=True),
    "tiff cmyk.tif": pillow(Image.fromarray(noise(4), "CMYK")),
    "tiff 16 bits.tif": pillow(noise(1, np.uint16)),
    **{f"tiff 16 bits {c}.tif": vips(noise(c, np.uint16), compression="deflate") for c in (3, 4)},
    "tiff packbits.tif": pillow(noise(3), compression="packbits"),
    "tiff jpeg.tif": vips(smooth(3), compression="jpeg", Q=75),
    "tiff jpeg tiles.tif": vips(smooth(3), compression="jpeg", Q=95, tile=True, tile_width=64, tile_height=64),
    "tiff tiles.tif": vips(noise(3), compression="lzw", tile=True, tile_width=32, tile_height=32),
    "tiff predictor.tif": vips(noise(3), compression="lzw", predictor="horizontal"),
    "tiff pyramid.tif": vips(noise(3), pyramid=True, tile=True, tile_width=32, tile_height=32),
    "tiff one strip.tif": strip_of_the_whole,
    "bigtiff.tif": vips(noise(3), bigtiff=True),
    "bigtiff tiles.tif": vips(noise(4), bigtiff=True, compression="deflate", tile=True),
}


def whole(path: Path, method: str) -> tuple[OpenedImage, np.ndarray]:
    opened = open_image(str(path), method, 10**9)
    plane = memoryview(bytearray(opened.width * opened.height * (3 if opened.colour else 1)))
    with closing(opened):
        decode(opened, plane)
    return opened, np.frombuffer(plane, np.uint8)


def read(path: Path, method: str, rows: int = 24, first: int = 0) -> np.ndarray:
    opened = open_image(str(path), method, 10**9)
    opened.close()
    tops = range(first, opened.height, rows)
    with closing(BandReader(str(path), opened, plan_bands(str(path), opened, method))) as reader:
        pieces = [reader.rows(top, min(top + rows, opened.height)) for top in tops]
    assert all(piece.flags.c_contiguous and piece.flags.writeable for piece in pieces)  # the kernels insist
    return np.concatenate(pieces)


@pytest.mark.parametrize("kind", KINDS)
def test_bands_are_the_whole(kind, tmp_path):
    path = tmp_path / kind
    KINDS[kind](path)
    opened, pixels = whole(path, "bt601")
    assert np.array_equal(read(path, "bt601"), pixels)
    passed_over = 40 * opened.width * (3 if opened.colour else 1)
    assert np.array_equal(read(path, "bt601", first=40), pixels[passed_over:])


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
    with pytest.raises(ImageError, match="the Y' of a JPEG that holds such samples can't be had in bands"):
        read(path, "luma")


def test_metadata_without_end_is_never_read(tmp_path):
    """libvips would hold all of it, more than once."""
    KINDS["jpeg 420.jpg"](tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    comment = b"\xff\xfe\xff\xff" + bytes(65533)
    (tmp_path / "a.jpg").write_bytes(data[:2] + 20 * comment + data[2:])
    tags = {"bits": 8, "photometric": tiffs.RGB, "more": {270: (2, b"x" * 2_000_000), 34675: (7, bytes(2_000_000))}}
    (tmp_path / "a.tif").write_bytes(tiffs.tiff(noise(3), **tags))
    for name in ("a.jpg", "a.tif"):
        path = tmp_path / name
        opened = open_image(str(path), "bt601", 10**9)
        opened.close()
        plan = plan_bands(str(path), opened, "bt601")
        with closing(BandReader(str(path), opened, plan)) as reader:
            fields = reader._image.get_fields()
            lengths = [len(value) for name in fields if isinstance(value := reader._image.get(name), str | bytes)]
            assert max(lengths, default=0) < 1000
        assert np.array_equal(read(path, "bt601"), whole(path, "bt601")[1])


def cut(kind: str):
    def save(path: Path) -> None:
        KINDS[kind](path)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])

    return save


def animated(path: Path) -> None:
    frames = [Image.fromarray(noise(3)), Image.fromarray(smooth(3))]
    frames[0].save(path, save_all=True, append_images=frames[1:])


REFUSED = {
    "a.webp": (pillow(smooth(3)), "only JPEG, PNG and TIFF"),
    "cut.jpg": (cut("jpeg 420.jpg"), "premature end"),
    "cut.png": (cut("png RGB.png"), "damaged"),
    "animated.png": (animated, "animated"),
    "turned.tif": (pillow(noise(3), tiffinfo={274: 6}), "to be turned"),
    "alpha.tif": (vips(noise(4), premultiply=True), "multiplied in"),
    "ycc.tif": (pillow(Image.fromarray(noise(3), "YCbCr")), "photometric"),
    "planes.tif": (separate_planes, "one after another"),
    "lab.tif": (pillow(Image.fromarray(noise(3), "LAB")), "photometric"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_sure_is_refused(name, tmp_path):
    save, reason = REFUSED[name]
    save(tmp_path / name)
    with pytest.raises(ImageError, match=reason):
        read(tmp_path / name, "bt601")


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


def test_the_luma_of_a_jpeg_of_rgb_is_refused(tmp_path):
    KINDS["jpeg of RGB.jpg"](tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="Y'"):
        read(tmp_path / "a.jpg", "luma")


def test_what_the_decoder_holds_is_counted(tmp_path):
    ways = {}
    for kind in ("jpeg 420.jpg", "jpeg progressive.jpg", "png RGB.png", "png interlaced.png", "tiff one strip.tif"):
        path = tmp_path / kind
        KINDS[kind](path)
        opened = open_image(str(path), "bt601", 10**9)
        opened.close()
        ways[kind] = plan_bands(str(path), opened, "bt601").held_bytes
    pixels = WIDTH * HEIGHT
    assert ways["jpeg 420.jpg"] == ways["png RGB.png"] == 0
    assert ways["jpeg progressive.jpg"] == 3 * pixels
    assert ways["png interlaced.png"] >= 3 * pixels
    assert ways["tiff one strip.tif"] >= (tmp_path / "tiff one strip.tif").stat().st_size // 2
