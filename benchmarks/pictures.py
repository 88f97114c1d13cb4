"""What the benchmarks convert, made from a folder of photographs: the same flat folder of JPEGs for everybody."""

import random
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import simplejpeg
from PIL import Image

_THUMBNAIL = 256


def flat_copy(images: Path, folder: Path) -> Path:
    """Copies of the JPEGs under `images`, as every program here takes them: numbered, in one folder.

    What only some can read (other formats, CMYK, damaged headers) is left out, and counted.
    """
    if not images.is_dir():
        sys.exit(f"There is no folder {images}. Name one with --images, or fetch photographs: make photos")
    folder.mkdir()
    found = sorted(path for path in images.rglob("*") if path.is_file() and not path.is_symlink())
    taken = [path for path in found if _readable_by_all(path)]
    for number, path in enumerate(taken):
        shutil.copyfile(path, folder / f"{number:05}.jpg")
    if not taken:
        sys.exit(f"There is no JPEG under {images}.")
    print(f"{len(taken)} JPEGs of {len(found)} files, {megapixels(folder):,.0f} megapixels", file=sys.stderr)
    return folder


def thumbnails(photos: Path, folder: Path, count: int) -> Path:
    """`count` different JPEGs of 256 x 256: squares cut out of the photographs at random places and scales."""
    folder.mkdir()
    paths = sorted(photos.iterdir())
    shares = [range(number, count, len(paths)) for number in range(len(paths))]
    with ThreadPoolExecutor() as pool:
        list(pool.map(_cut, paths, [folder] * len(paths), shares))
    return folder


def twelve_megapixels(photos: Path, folder: Path, count: int) -> Path:
    return resized(photos, folder, (4000, 3000), count, distinct=24)


def resized(photos: Path, folder: Path, size: tuple[int, int], count: int, distinct: int) -> Path:
    """`count` JPEGs of this size, baseline 4:2:0, from up to `distinct` photographs; the rest are hard links."""
    folder.mkdir()
    sources = sorted(photos.iterdir())[: min(count, distinct)]
    distinct = len(sources)
    with ThreadPoolExecutor() as pool:
        list(pool.map(_resize, sources, (folder / f"{number:05}.jpg" for number in range(distinct)), [size] * distinct))
    for number in range(distinct, count):
        (folder / f"{number:05}.jpg").hardlink_to(folder / f"{number % distinct:05}.jpg")
    return folder


def tiny(folder: Path, count: int) -> Path:
    """`count` JPEGs of 8 x 8, one for each worker: a run over them is start-up and nothing else."""
    folder.mkdir()
    for number in range(count):
        tiny_picture(folder / f"{number:05}.jpg")
    return folder


def tiny_picture(path: Path) -> None:
    Image.new("RGB", (8, 8), (200, 100, 50)).save(path, quality=90)


def warm(folder: Path) -> None:
    """Read everything once, so that it is in the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()


def megapixels(folder: Path) -> float:
    return sum(width * height for width, height in sizes(folder).values()) / 1e6


def sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """Width and height of each JPEG by its name. One that is no JPEG is not in it."""
    found = {}
    for path in folder.glob("*.jpg"):
        header = _header(path)
        if header:
            height, width, _, _ = header
            found[path.name] = (width, height)
    return found


def check(folder: Path, out: Path, suffix: str = ".jpg") -> None:
    """Every picture has its output, gray, of the same size. Anything else ends the benchmark."""
    if suffix == ".png":
        _check_pngs(folder, out)
        return
    expected, found = sizes(folder), sizes(out)
    if expected != found:
        wrong = sorted(name for name in expected | found if expected.get(name) != found.get(name))
        sys.exit(f"{out}: missing, too many, or of another size: {', '.join(wrong[:5])}")
    coloured = [name for name in found if _header(out / name)[2] != "Gray"]
    if coloured:
        sys.exit(f"{out}: not gray: {', '.join(coloured[:5])}")


def _check_pngs(folder: Path, out: Path) -> None:
    for name, size in sizes(folder).items():
        path = out / f"{name.removesuffix('.jpg')}.png"
        try:
            with Image.open(path) as image:
                found, mode = image.size, image.mode
        except OSError as error:
            sys.exit(f"{path}: {error}")
        if (found, mode) != (size, "L"):
            sys.exit(f"{path}: {mode} of {found[0]} x {found[1]}")


def _readable_by_all(path: Path) -> bool:
    header = _header(path)
    return header is not None and header[2] in ("YCbCr", "Gray", "RGB")


def _header(path: Path) -> Sequence | None:
    try:
        return simplejpeg.decode_jpeg_header(path.read_bytes())
    except ValueError:
        return None


def _cut(path: Path, folder: Path, numbers: range) -> None:
    chance = random.Random(path.name)
    with Image.open(path) as opened:
        opened.draft("RGB", (1024, 1024))
        image = opened.convert("RGB")
    for number in numbers:
        side = chance.randint(min(_THUMBNAIL, *image.size), min(image.size))
        left, top = chance.randint(0, image.width - side), chance.randint(0, image.height - side)
        square = image.resize((_THUMBNAIL, _THUMBNAIL), box=(left, top, left + side, top + side))
        square.save(folder / f"{number:05}.jpg", quality=85)


def _resize(path: Path, target: Path, size: tuple[int, int]) -> None:
    with Image.open(path) as opened:
        opened.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(target, quality=85)
