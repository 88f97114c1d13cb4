"""Opening an input: whatever a parser meets is that image's failure, and a changed input is told as such."""

import contextlib
import os
from types import SimpleNamespace

import harness
import numpy as np
import pytest
import simplejpeg
from files import RGB, saved
from PIL import Image

from batchgray.codecs import jpeg, opening, pillow_probes
from batchgray.codecs.band_plan import plan_bands
from batchgray.codecs.bands import open_bands
from batchgray.codecs.jpeg_outline import JpegOutline
from batchgray.codecs.png_outline import PngOutline
from batchgray.errors import ImageError
from batchgray.kernels.unfilter import Unfilter
from batchgray.records import InputVersion

PICTURE = Image.fromarray(RGB)
REPORTED = r"can't be read \(IndexError: index out of range\): .* please report it"


def raising(error: Exception):
    def parser(*_, **__):
        raise error

    return parser


@pytest.fixture(params=["a.jpg", "a.png"])
def path(request, tmp_path) -> str:
    name = tmp_path / request.param
    name.write_bytes(saved(PICTURE, "JPEG" if request.param == "a.jpg" else "PNG"))
    return str(name)


def opened(path: str, **settings):
    return opening.open_image(path, "bt601", 10**9, **settings)


def fail(monkeypatch, path: str, error: Exception) -> None:
    monkeypatch.setattr(JpegOutline if path.endswith("jpg") else PngOutline, "walk", raising(error))


def test_whatever_a_parser_raises_is_the_images_failure(path, monkeypatch):
    fail(monkeypatch, path, IndexError("index out of range"))
    with pytest.raises(ImageError, match=REPORTED):
        opened(path)


def test_whatever_a_parser_raises_when_bands_are_planned_is_too(path, monkeypatch):
    image = opened(path)
    image.close()
    fail(monkeypatch, path, IndexError("index out of range"))
    with pytest.raises(ImageError, match=REPORTED):
        plan_bands(path, image, "bt601")


def test_whatever_a_decoder_raises_is_too(path, monkeypatch):
    image = opened(path)
    monkeypatch.setattr(Unfilter, "rows", raising(IndexError("index out of range")))
    monkeypatch.setattr(simplejpeg, "decode_jpeg", raising(IndexError("index out of range")))
    plane = memoryview(bytearray(RGB.size))
    with pytest.raises(ImageError, match=REPORTED):
        image.decode(SimpleNamespace(rgb=plane, gray=plane))
    image.close()


@pytest.mark.parametrize("by_libvips", [False, True])
def test_whatever_a_reader_of_bands_raises_is_too(path, by_libvips, monkeypatch):
    image = opened(path)
    image.close()
    reader = open_bands(path, image, plan_bands(path, image, "bt601", by_libvips))
    monkeypatch.setattr(np, "frombuffer", raising(IndexError("index out of range")))
    monkeypatch.setattr(simplejpeg, "decode_jpeg", raising(IndexError("index out of range")))
    with pytest.raises(ImageError, match=REPORTED):
        reader.part(0, 8)()
    monkeypatch.undo()
    reader.close()


def test_the_systems_error_is_told_in_its_words(path, monkeypatch):
    fail(monkeypatch, path, OSError(5, os.strerror(5)))
    with pytest.raises(ImageError, match=r"^input/output error$"):
        opened(path)


@pytest.mark.parametrize("error", [MemoryError(), ImportError("no Pillow today")])
def test_what_says_nothing_of_the_file_is_no_failure_of_its(path, monkeypatch, error):
    fail(monkeypatch, path, error)
    with pytest.raises(type(error)):
        opened(path)


class Interrupted(Exception):
    """Of whoever asks for memory."""


@pytest.mark.parametrize(
    "error", [Interrupted(), BrokenPipeError(32, "the supervisor is gone"), ImageError("too much")]
)
def test_what_reserving_memory_raises_comes_through(tmp_path, error):
    path = tmp_path / "a.webp"
    path.write_bytes(saved(PICTURE, "WEBP", save_all=True, append_images=[PICTURE.rotate(180)]))
    with pytest.raises(type(error)) as caught:
        opened(str(path), reserve=raising(error))
    assert caught.value is error


def test_each_format_goes_to_its_own_probe(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(pillow_probes, "PROBES", {"BMP": lambda probe: given.append(probe) or "opened"})
    monkeypatch.setattr(jpeg.OpenedJpeg, "probe", lambda probe: given.append(probe) or "opened too")
    for name, format in (("a.bmp", "BMP"), ("a.jpg", "JPEG")):
        (tmp_path / name).write_bytes(saved(PICTURE, format))
    assert opened(str(tmp_path / "a.bmp"), background=(1, 2, 3)) == "opened"
    assert opened(str(tmp_path / "a.jpg")) == "opened too"
    assert [probe.background for probe in given] == [(1, 2, 3), None]
    assert [probe.version for probe in given] == [opening.version_of(str(tmp_path / n)) for n in ("a.bmp", "a.jpg")]


def test_no_descriptor_stays_open_of_what_fails(path, monkeypatch):
    fail(monkeypatch, path, IndexError())
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with pytest.raises(ImageError):
            opened(path)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_an_input_that_changed_or_went_is_told_as_such(path):
    version = opening.version_of(path)
    opening.check_unchanged(path, version)
    opening.open_unchanged(path, version).close()
    os.utime(path, (1, 1))
    for check in (opening.check_unchanged, opening.open_unchanged):
        with pytest.raises(ImageError, match="changed while it was being read; the next run or resume"):
            check(path, version)
    os.unlink(path)
    for check in (opening.check_unchanged, opening.open_unchanged):
        with pytest.raises(ImageError, match="no such file"):
            check(path, version)


@pytest.mark.parametrize("size", [64 << 10, (64 << 10) + 1])
def test_a_small_file_is_read_and_a_larger_one_mapped(tmp_path, size):
    data = saved(PICTURE, "JPEG", quality=30)
    (tmp_path / "a.jpg").write_bytes(data + bytes(size - len(data)))
    image = opened(str(tmp_path / "a.jpg"))
    assert isinstance(image.given.data, bytes) == (size == 64 << 10)
    image.close()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("JPEG", {}),
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("BMP", {}),
        ("PPM", {}),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_was_fetched_is_converted_as_a_file_is(tmp_path, kind, settings, mode):
    """Without a file: a library that wants one gets a copy, which counts."""
    path = tmp_path / "a"
    path.write_bytes(saved(PICTURE.convert(mode), kind, **settings))
    version = opening.version_of(str(path))
    fetched = opening.FetchedInput(path.read_bytes(), version)
    planes = []
    for source in (str(path), fetched):
        image = opened(source)
        with contextlib.closing(image):
            plane = bytearray(3 * image.width * image.height)
            note = harness.decode(image, memoryview(plane)[: len(plane) if image.colour else len(plane) // 3])
        planes.append((plane, note, image.version, image.exif, image.width, image.height))
    assert planes[0] == planes[1]
    path.unlink()
    opening.check_unchanged(fetched, version)


@pytest.mark.parametrize(("data", "reason"), [(b"", "an empty file"), (b"no image at all", "none of the formats")])
def test_what_was_fetched_may_be_no_image(data, reason):
    with pytest.raises(ImageError, match=reason):
        opened(opening.FetchedInput(data, InputVersion(len(data), 0)))
