"""Images of every kind that is read in bands, to be saved under a path."""

from pathlib import Path

import numpy as np
import pyvips
import simplejpeg
from PIL import Image, TiffImagePlugin

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
    **{
        f"tiff strips {name}.tif": pillow(noise(3), compression=compression, tiffinfo={278: 16})
        for name, compression in {"lzw": "tiff_lzw", "deflate": "tiff_adobe_deflate", "packbits": "packbits"}.items()
    },
    "tiff 1 bit strips.tif": pillow(one_bit(), compression="group4", tiffinfo={278: 8}),
    "bigtiff.tif": vips(noise(3), bigtiff=True),
    "bigtiff tiles.tif": vips(noise(4), bigtiff=True, compression="deflate", tile=True),
}
