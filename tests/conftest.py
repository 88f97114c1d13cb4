"""Pictures that the tests share: drawn once, read only."""

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import batchgray, save_gradient

SCRIPTS = Path(__file__).parent.parent / "scripts"


def script(name: str):
    """A program of scripts/ as a module."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def smq_local():
    """The local SMQ server's module."""
    return script("smq_local")


@pytest.fixture(scope="session")
def samples(tmp_path_factory) -> Path:
    """The sample pictures of `make run`."""
    folder = tmp_path_factory.mktemp("samples") / "images"
    script("make_samples").save_all(folder)
    return folder


@pytest.fixture(scope="session")
def converted(samples, tmp_path_factory) -> Path:
    """The samples' output tree of one uninterrupted run with small tiles."""
    out = tmp_path_factory.mktemp("converted") / "gray"
    batchgray("run", samples, "--out", out, "--tile-rows", 8, "--progress", "none")
    return out


@pytest.fixture(scope="session")
def tall(tmp_path_factory) -> Path:
    """A folder with one image of 64 megapixels: with 8 rows a tile, its kernel can be caught between two tiles."""
    folder = tmp_path_factory.mktemp("tall")
    save_gradient(folder / "tall.jpg", 8000, 8000, quality=90)
    return folder


@pytest.fixture(scope="session")
def tall_converted(tall, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("tall-converted") / "gray"
    batchgray("run", tall, "--out", out, "--tile-rows", 8, "--progress", "none")
    return out
