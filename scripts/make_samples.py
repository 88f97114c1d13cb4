"""Make a small folder of pictures to try batchgray on: painted landscapes in every format it reads, one of them large.

    python scripts/make_samples.py ./images

The same pictures come out each time. They are drawn from fractal noise, whose spectrum is about that of photographs.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, features

LARGE = (6000, 4000)
DRAWN = (1200, 800)  # larger pictures are enlarged, and get the grain of a sensor


def noise(height: int, width: int, seed: int, octaves: int = 8, falloff: float = 0.55) -> np.ndarray:
    """Fractal noise in 0..1, float32 of shape (height, width): octaves of smooth random fields, each half as strong."""
    random = np.random.default_rng(seed)
    field, strength = np.zeros((height, width), np.float32), 1.0
    for octave in range(octaves):
        cells = 3 * 2**octave
        grid = random.random((min(cells, height), min(2 * cells, width)), np.float32)
        smooth = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        field += strength * np.asarray(smooth)
        strength *= falloff
    return (field - field.min()) / (field.max() - field.min())


def photograph(width: int, height: int, seed: int) -> Image.Image:
    """A landscape of any size, with grain."""
    scene = landscape(*DRAWN, seed=seed).resize((width, height), Image.Resampling.LANCZOS)
    grain = np.random.default_rng(seed).integers(-6, 7, (height, width, 1), np.int16)
    return Image.fromarray(np.clip(np.asarray(scene) + grain, 0, 255).astype(np.uint8))


def landscape(width: int, height: int, seed: int) -> Image.Image:
    """Sky with clouds over three ranges of hills, each nearer, darker and greener."""
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    clouds = np.clip(noise(height, width, seed) * 2.2 - 0.9, 0, 1)[..., None]
    sky = np.stack(
        [np.broadcast_to(c, (height, width)) for c in (0.35 + 0.45 * y, 0.55 + 0.3 * y, 0.95 - 0.15 * y)], -1
    )
    picture = sky * (1 - clouds) + clouds
    texture = noise(height, width, seed + 1, falloff=0.75)[..., None]
    colours = np.array([[0.45, 0.5, 0.6], [0.3, 0.42, 0.3], [0.16, 0.28, 0.1]], np.float32)
    for nearness, colour in enumerate(colours):
        ridge = 0.45 + 0.16 * nearness + 0.25 * (noise(2, width, seed + 2 + nearness)[0] - 0.5)
        ground = colour * (0.55 + 0.9 * texture)
        picture = np.where((y > ridge)[..., None], ground, picture)
    return Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))


def save_all(folder: Path) -> int:
    """Write the pictures; returns how many."""
    phone, scans, web = folder / "phone", folder / "scans" / "1987", folder / "web"
    for path in (phone, scans, web):
        path.mkdir(parents=True, exist_ok=True)
    scene = photograph(1600, 1200, seed=7)
    small = scene.resize((800, 600), Image.Resampling.LANCZOS)

    photograph(*LARGE, seed=1).save(folder / "large.jpg", quality=90)
    for number in range(6):
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 2 else 1  # Orientation: this one was taken with the camera upright
        exif[0x010F] = "batchgray samples"
        photograph(2400, 1800, seed=10 * number + 20).save(
            phone / f"IMG_{number + 1:04}.jpg", quality=88, progressive=number % 2 == 1, exif=exif
        )

    scene.save(scans / "colour.tif", compression="tiff_lzw")
    small.save(scans / "pages.tif", save_all=True, append_images=[small.rotate(180)])
    sixteen = np.asarray(scene.convert("L")).astype(np.uint16) * 257
    Image.fromarray(sixteen).save(scans / "sixteen-bit.png")
    scene.convert("CMYK").save(scans / "print.jpg", quality=90)
    scene.convert("L").save(scans / "gray.jpg", quality=90)
    small.convert("1").save(scans / "fax.png")

    small.quantize(64).save(web / "palette.png")
    veil = small.convert("RGBA")
    veil.putalpha(Image.fromarray((noise(600, 800, 3) * 255).astype(np.uint8)))
    veil.save(web / "transparent.png")
    small.save(web / "picture.webp", quality=85)
    small.save(web / "picture.bmp")
    small.quantize(128).save(
        web / "moving.gif", save_all=True, append_images=[small.rotate(90).quantize(128)], duration=300
    )
    if features.check("avif"):
        small.save(web / "modern.avif", quality=70)
    (web / "notes.txt").write_text("Not a picture: batchgray leaves it out and says so.\n", encoding="utf-8")
    return sum(1 for path in folder.rglob("*") if path.is_file() and path.suffix != ".txt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    if folder.exists():
        sys.exit(f"{folder} is there already; nothing was drawn.")
    part = folder.with_name(folder.name + ".part")  # a folder that is there is whole
    count = save_all(part)
    part.rename(folder)
    print(f"Drew {count} sample pictures into {folder}")


if __name__ == "__main__":
    main()
