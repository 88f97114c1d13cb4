"""Pictures that the tests share: drawn once, read only."""

import contextlib
import importlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

sys.path.append(str(Path(__file__).parent.parent / "scripts"))

from harness import batchgray, save_gradient, scaled

from batchgray.storage import durable

pytest_plugins = ["processes", "skips"]

# Under nohup it is ignored, and what is started inherits that; what the tests start is to hear it.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def script(name: str):
    """A program of scripts/ as a module."""
    return importlib.import_module(name)


def pytest_addoption(parser):
    group = parser.getgroup("soak", "longer than the suite: see `make soak`")
    group.addoption("--rounds", type=int, default=20, help="interruptions and kills")
    group.addoption("--seed", type=int, default=20261122, help="of the random moments")
    group.addoption("--images", type=Path, help="real pictures instead of the samples")


class Soak(NamedTuple):
    """What is interrupted, how often, and within how many seconds of its start."""

    images: Path
    converted: Path
    rounds: int
    seed: int
    seconds: float


@pytest.fixture(scope="session")
def soak(request, tmp_path_factory) -> Soak:
    images = request.config.getoption("--images")
    images = request.getfixturevalue("samples") if images is None else images.absolute()
    converted = tmp_path_factory.mktemp("soak") / "gray"
    began = time.monotonic()
    batchgray("run", images, "--out", converted, "--tile-rows", 8, "--progress", "none", timeout=1200)
    seconds = time.monotonic() - began
    return Soak(images, converted, request.config.getoption("--rounds"), request.config.getoption("--seed"), seconds)


@pytest.fixture(autouse=True)
def _folders_that_end_with_the_test(monkeypatch):
    """Tests of mechanics hold folders without a run that lets go of them; there are only so many descriptors."""
    opened, begin = [], durable.Folder.__init__

    def begin_and_note(folder, *given):
        begin(folder, *given)
        opened.append((folder, os.fstat(folder.fileno())))

    monkeypatch.setattr(durable.Folder, "__init__", begin_and_note)
    yield
    for folder, there in opened:
        with contextlib.suppress(OSError):  # it was closed, and its number may be another file's by now
            if os.path.samestat(os.fstat(folder.fileno()), there):
                folder.close()


@pytest.fixture(scope="session")
def smq_local():
    """The local SMQ server's module."""
    return script("smq_local")


@pytest.fixture(scope="session")
def oss_local():
    """The local OSS server's module."""
    return script("oss_local")


@pytest.fixture(scope="session")
def samples(tmp_path_factory) -> Path:
    """The sample pictures of `make run`."""
    folder = tmp_path_factory.mktemp("samples") / "images"
    drawing = script("make_samples")
    draw = drawing.photograph
    drawing.photograph = lambda width, height, seed: draw(scaled(width), scaled(height), seed)
    drawing.save_all(folder)
    return folder


@pytest.fixture(scope="session")
def converted(samples, tmp_path_factory) -> Path:
    """The samples' output tree of one uninterrupted run with small tiles."""
    out = tmp_path_factory.mktemp("converted") / "gray"
    batchgray("run", samples, "--out", out, "--tile-rows", 8, "--progress", "none")
    return out


@pytest.fixture(scope="session")
def tall(tmp_path_factory) -> Path:
    """A folder with one image of 100 tiles of 8 rows."""
    folder = tmp_path_factory.mktemp("tall")
    save_gradient(folder / "tall.jpg", 600, 800, quality=90)
    return folder


@pytest.fixture(scope="session")
def tall_converted(tall, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("tall-converted") / "gray"
    batchgray("run", tall, "--out", out, "--tile-rows", 8, "--progress", "none")
    return out


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder with three pictures, each of another format, and a file that is none."""
    for name in ("a.png", "sub/b.jpg", "sub/deep/c.webp"):
        save_gradient(tmp_path / "in" / name, 320, 240, exact=True)
    (tmp_path / "in" / "notes.txt").write_text("not a picture")
    return tmp_path / "in"
