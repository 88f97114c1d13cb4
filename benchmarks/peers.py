"""The peers, each as somebody who knows it would use it for this, and the floor under all of them.

    python benchmarks/peers.py NAME --workers N IN OUT     # those that are Python

Fair means: the same files, quality and number of processes; a process for each core and one thread in each, which
suits a folder of images best; no colour management, no rotation, no metadata; libraries are imported before the fork
where they allow it; chunks small enough that all processes end together. None of them syncs its files or writes down
what it did; batchgray does both.

What they do differs. Peers of `bt601` decode the colours and weigh them: by 0.299, 0.587 and 0.114 in fixed point,
mostly rounded, which is within one level of (30 R + 59 G + 11 B) // 100 or two. Peers of `luma` never look at the
colours: they take the Y' that a JPEG has inside.
"""

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from common import HERE, QUALITY, batchgray

Convert = Callable[[str, str], object]

_NUMBER_BYTES = 4
_GROUP_FILES = 48  # as batchgray's workers have them

# One thread in each process: with more, as many processes as cores would fight over them.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MAGICK_THREAD_LIMIT", "VIPS_CONCURRENCY", "NUMBA_NUM_THREADS"), "1")


# The loops that Python programmers write, in a pool of processes. Each function imports, and returns the conversion.


def opencv_cvtcolor() -> Convert:
    import cv2

    cv2.setNumThreads(1)
    colour = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    settings = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    return lambda source, target: cv2.imwrite(
        target, cv2.cvtColor(cv2.imread(source, colour), cv2.COLOR_BGR2GRAY), settings
    )


def opencv_gray() -> Convert:
    import cv2

    cv2.setNumThreads(1)
    gray = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
    settings = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    return lambda source, target: cv2.imwrite(target, cv2.imread(source, gray), settings)


def pillow_convert() -> Convert:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None

    def convert(source: str, target: str) -> None:
        with Image.open(source) as image:
            image.convert("L").save(target, quality=QUALITY)

    return convert


def pillow_draft() -> Convert:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None

    def convert(source: str, target: str) -> None:
        with Image.open(source) as image:
            image.draft("L", image.size)
            image.save(target, quality=QUALITY)

    return convert


def pyvips_recomb() -> Convert:
    """`colourspace("b-w")` goes through linear light: another gray, and slower than the matrix."""
    import pyvips

    pyvips.cache_set_max(0)  # no operation comes twice

    def convert(source: str, target: str) -> None:
        image = pyvips.Image.new_from_file(source, access="sequential")
        if image.bands == 3:
            image = image.recomb([[0.299, 0.587, 0.114]]).cast("uchar").copy(interpretation="b-w")
        image.jpegsave(target, Q=QUALITY, keep="none")

    return convert


def opencv_png() -> Convert:
    """As imwrite does it unless it is told otherwise: filter sub, runs alone."""
    import cv2

    cv2.setNumThreads(1)
    colour = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return lambda source, target: cv2.imwrite(target, cv2.cvtColor(cv2.imread(source, colour), cv2.COLOR_BGR2GRAY))


def pillow_png() -> Convert:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None

    def convert(source: str, target: str) -> None:
        with Image.open(source) as image:
            image.convert("L").save(target)

    return convert


def pyvips_png() -> Convert:
    """Its fastest setting for photographs whose files are about as small as OpenCV's."""
    import pyvips

    pyvips.cache_set_max(0)

    def convert(source: str, target: str) -> None:
        image = pyvips.Image.new_from_file(source, access="sequential")
        if image.bands == 3:
            image = image.recomb([[0.299, 0.587, 0.114]]).cast("uchar").copy(interpretation="b-w")
        image.pngsave(target, compression=3, filter="up", keep="none")

    return convert


def run_pool(
    make: Callable[[], Convert], before_fork: bool, suffix: str, source: Path, target: Path, workers: int
) -> None:
    """The conversion over a folder, in `workers` processes. libvips must not be initialised before a fork."""
    names = sorted(os.listdir(source))
    pairs = [(str(source / name), str((target / name).with_suffix(suffix))) for name in names]
    if before_fork:
        _Pooled.convert = make()
    initializer = None if before_fork else lambda: setattr(_Pooled, "convert", make())
    with get_context("fork").Pool(workers, initializer) as pool:
        for _ in pool.imap_unordered(_Pooled.one, pairs, chunk_of(len(pairs), workers)):
            pass
        pool.close()
        pool.join()


class _Pooled:
    """The conversion of this process; a lambda can't be sent to it."""

    convert: Convert

    @staticmethod
    def one(pair: tuple[str, str]) -> None:
        _Pooled.convert(*pair)


def chunk_of(count: int, workers: int) -> int:
    """Files in a chunk: sixteen chunks for each process, so that the last ones end at about the same time."""
    return max(1, count // (16 * workers))


# The floor: the codec's own calls, in buffers that are used again and again, and nothing else.


def run_floor(method: str, writer: "type[_Writer]", source: Path, target: Path, workers: int) -> None:
    """What no program that makes these calls can beat. Largest files first, so that all processes end together."""
    import numpy as np  # noqa: F401  before the fork, as all that the processes need
    import simplejpeg  # noqa: F401

    from batchgray.kernels import methods

    paths = sorted(source.iterdir(), key=lambda path: -path.stat().st_size)
    kernel = None if method == "luma" else methods.BY_METHOD[method]
    with tempfile.TemporaryFile() as numbers:
        numbers.write(b"".join(number.to_bytes(_NUMBER_BYTES, "big") for number in range(len(paths))))
        numbers.seek(0)
        taken = _taken(numbers.fileno(), paths)
        fork = get_context("fork").Process
        processes = [fork(target=_floor_worker, args=(taken, writer(target), kernel)) for _ in range(workers)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    sys.exit(any(process.exitcode for process in processes))


def _taken(numbers: int, paths: list[Path]) -> Iterator[Path]:
    """Each path for one of the processes: they share the file's position, and a read moves it for all of them."""
    while number := os.read(numbers, _NUMBER_BYTES):
        yield paths[int.from_bytes(number, "big")]


class _Writer:
    """Files written and closed, no more."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def write(self, name: str, data: bytes) -> None:
        (self._target / name).write_bytes(data)

    def finish(self) -> None:
        pass


class _DurableWriter(_Writer):
    """Files as durable as batchgray's when they have their names, and whole: each group of them synced and renamed.

    There is no thread, no intent, no checksum and no log.
    """

    def __init__(self, target: Path) -> None:
        super().__init__(target)
        self._group: list[tuple[str, int]] = []

    def write(self, name: str, data: bytes) -> None:
        fd = os.open(self._target / f".{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(fd, data)
        self._group.append((name, fd))
        if len(self._group) == _GROUP_FILES:
            self.finish()

    def finish(self) -> None:
        from batchgray.storage import durable

        if self._group:
            durable.sync_all([fd for _, fd in self._group])
        for name, fd in self._group:
            os.close(fd)
            os.rename(self._target / f".{name}", self._target / name)
        with durable.Folder.at(self._target) as folder:
            folder.sync()
        self._group.clear()


def _floor_worker(paths: Iterable[Path], writer: _Writer, kernel: Callable | None) -> None:
    import numpy as np
    import simplejpeg

    rgb, gray = np.empty(0, np.uint8), np.empty(0, np.uint8)
    for path in paths:
        data = path.read_bytes()
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        pixels = width * height
        if gray.size < pixels:
            gray = np.empty(pixels, np.uint8)
        if kernel is None or colorspace == "Gray":
            simplejpeg.decode_jpeg(data, "GRAY", buffer=gray[:pixels])
        else:
            if rgb.size < 3 * pixels:
                rgb = np.empty(3 * pixels, np.uint8)
            simplejpeg.decode_jpeg(data, "RGB", buffer=rgb[: 3 * pixels])
            kernel(rgb[: 3 * pixels], gray[:pixels])
        plane = gray[:pixels].reshape(height, width)
        writer.write(path.name, simplejpeg.encode_jpeg_yuv_planes(plane, None, None, quality=QUALITY))
    writer.finish()


# Programs, in as many processes as there are workers. xargs reads the names, NUL-separated, in the folder of the files.


def _xargs(workers: int, at_once: int, *command: object) -> list[str]:
    return ["xargs", "-0", "-P", str(workers), "-n", str(at_once), *map(str, command)]


def _each(workers: int, *command: object) -> list[str]:
    return ["xargs", "-0", "-P", str(workers), "-I{}", *map(str, command)]


def jpegtran(source: Path, target: Path, workers: int) -> list[str]:
    return _each(workers, "jpegtran", "-grayscale", "-copy", "none", "-outfile", target / "{}", "{}")


def djpeg_gray(source: Path, target: Path, workers: int) -> list[str]:
    pipe = f'djpeg -grayscale "$1" | cjpeg -quality {QUALITY} -outfile "$2"'
    return _each(workers, "sh", "-c", pipe, "sh", "{}", target / "{}")


def djpeg_cjpeg(source: Path, target: Path, workers: int) -> list[str]:
    pipe = f'djpeg "$1" | cjpeg -grayscale -quality {QUALITY} -outfile "$2"'
    return _each(workers, "sh", "-c", pipe, "sh", "{}", target / "{}")


def graphicsmagick(source: Path, target: Path, workers: int) -> list[str]:
    at_once = chunk_of(len(os.listdir(source)), workers)
    options = ["-colorspace", "GRAY", "-quality", QUALITY, "+profile", "*", "-output-directory", target]
    return _xargs(workers, at_once, "gm", "mogrify", *options)


def imagemagick(source: Path, target: Path, workers: int) -> list[str]:
    at_once = chunk_of(len(os.listdir(source)), workers)
    options = ["-strip", "-grayscale", "Rec601Luma", "-quality", QUALITY, "-path", target]
    return _xargs(workers, at_once, "mogrify", *options)


def _this_script(name: str) -> Callable[[Path, Path, int], list[str]]:
    def command(source: Path, target: Path, workers: int) -> list[str]:
        return [sys.executable, str(HERE / "peers.py"), name, "--workers", str(workers), str(source), str(target)]

    return command


def _batchgray(method: str, *options: str) -> Callable[[Path, Path, int], list[str]]:
    def command(source: Path, target: Path, workers: int) -> list[str]:
        return batchgray("run", source, "--out", target, "--method", method, "--workers", workers, *options)

    return command


class Need(NamedTuple):
    """Something that a machine may lack, and what to do then."""

    there: Callable[[], bool]
    lacking: str


def _module(name: str, package: str) -> Need:
    return Need(lambda: importlib.util.find_spec(name) is not None, f"no module {name}: pip install {package}")


def _program(name: str, package: str) -> Need:
    return Need(lambda: shutil.which(name) is not None, f"no program {name}: apt-get install {package}")


def _has_semaphores() -> bool:
    try:
        get_context("fork").Lock()
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Contender:
    """`command` converts a flat folder into another that is there, with so many processes."""

    name: str
    method: str  # of batchgray, which it is a peer of
    command: Callable[[Path, Path, int], list[str]]
    needs: tuple[Need, ...] = ()
    note: str = ""
    suffix: str = ".jpg"  # of its outputs

    @property
    def lacking(self) -> str | None:
        """Why it can't run here."""
        return next((need.lacking for need in self.needs if not need.there()), None)


_POOLS = {
    "opencv-cvtcolor": (opencv_cvtcolor, True, ".jpg"),
    "opencv-gray": (opencv_gray, True, ".jpg"),
    "opencv-png": (opencv_png, True, ".png"),
    "pillow-convert": (pillow_convert, True, ".jpg"),
    "pillow-draft": (pillow_draft, True, ".jpg"),
    "pillow-png": (pillow_png, True, ".png"),
    "pyvips": (pyvips_recomb, False, ".jpg"),
    "pyvips-png": (pyvips_png, False, ".png"),
}
_FLOORS = {
    **{f"floor-{method}": (method, _Writer) for method in ("bt601", "luma")},
    **{f"durable-floor-{method}": (method, _DurableWriter) for method in ("bt601", "luma")},
}
_SEMAPHORES = Need(_has_semaphores, "no semaphores, which multiprocessing's pools need: mount a tmpfs on /dev/shm")
_OPENCV = (_SEMAPHORES, _module("cv2", "opencv-python-headless"))
_PILLOW = (_SEMAPHORES,)
_VIPS = (_SEMAPHORES, _module("pyvips", "'pyvips[binary]'"))
_DJPEG = (_program("djpeg", "libjpeg-turbo-progs"), _program("cjpeg", "libjpeg-turbo-progs"))
_JPEGTRAN = (_program("jpegtran", "libjpeg-turbo-progs"),)
_GM = (_program("gm", "graphicsmagick"),)
_MOGRIFY = (_program("mogrify", "imagemagick"),)

_WEIGHED = "as bt601: 0.299, 0.587, 0.114, rounded"
_FLOOR = "batchgray's codec calls, nothing else"
_DURABLE_FLOOR = "the same, its files synced and renamed in groups"
_AS_DECODED = "as luma: Y' as decoded"
_AS_IS = "as luma: Y' as it is, with the source's own quality, not 75"

OURS = [Contender(f"batchgray {method}", method, _batchgray(method), note="exact") for method in ("bt601", "luma")]
FLOORS = [
    Contender(f"codec floor {method}", method, _this_script(f"floor-{method}"), note=_FLOOR)
    for method in ("bt601", "luma")
]
DURABLE_FLOORS = [
    Contender(f"durable floor {method}", method, _this_script(f"durable-floor-{method}"), note=_DURABLE_FLOOR)
    for method in ("bt601", "luma")
]
POOLS = [
    Contender("OpenCV cvtColor pool", "bt601", _this_script("opencv-cvtcolor"), _OPENCV, _WEIGHED),
    Contender("Pillow convert pool", "bt601", _this_script("pillow-convert"), _PILLOW, _WEIGHED),
    Contender("pyvips pool", "bt601", _this_script("pyvips"), _VIPS, "as bt601: 0.299, 0.587, 0.114, truncated"),
    Contender("OpenCV gray pool", "luma", _this_script("opencv-gray"), _OPENCV, _AS_DECODED),
    Contender("Pillow draft pool", "luma", _this_script("pillow-draft"), _PILLOW, _AS_DECODED),
]
PNG_OURS = [Contender("batchgray --format png", "bt601", _batchgray("bt601", "--format", "png"), (), "exact", ".png")]
PNG_POOLS = [
    Contender("OpenCV pool to PNG", "bt601", _this_script("opencv-png"), _OPENCV, _WEIGHED, ".png"),
    Contender("Pillow pool to PNG", "bt601", _this_script("pillow-png"), _PILLOW, _WEIGHED, ".png"),
    Contender("pyvips pool to PNG", "bt601", _this_script("pyvips-png"), _VIPS, "level 3, filter up", ".png"),
]
PROGRAMS = [
    Contender("djpeg | cjpeg -grayscale", "bt601", djpeg_cjpeg, _DJPEG, _WEIGHED),
    Contender("GraphicsMagick mogrify", "bt601", graphicsmagick, _GM, _WEIGHED),
    Contender("ImageMagick mogrify", "bt601", imagemagick, _MOGRIFY, _WEIGHED),
    Contender("jpegtran -grayscale", "luma", jpegtran, _JPEGTRAN, _AS_IS),
    Contender("djpeg -grayscale | cjpeg", "luma", djpeg_gray, _DJPEG, _AS_DECODED),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*_POOLS, *_FLOORS])
    parser.add_argument("source", type=Path, metavar="IN")
    parser.add_argument("target", type=Path, metavar="OUT")
    parser.add_argument("--workers", type=int, required=True)
    given = parser.parse_args()
    if given.name in _FLOORS:
        run_floor(*_FLOORS[given.name], given.source, given.target, given.workers)
    else:
        run_pool(*_POOLS[given.name], given.source, given.target, given.workers)


if __name__ == "__main__":
    main()
