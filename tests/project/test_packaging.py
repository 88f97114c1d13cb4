"""The wheel and the sdist hold what they are for and nothing else, and work where they are installed."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from conftest import script
from harness import DEADLINE, save_gradient

import batchgray

ROOT = Path(__file__).parents[2]
SHIPPED = {".ci", ".github", "benchmarks", "batchgray", "docs", "scripts", "tests"}
JUNK = (
    ".venv/lib/a.py",
    "batchgray/__pycache__/a.cpython-311.pyc",
    "benchmarks/results/a.json",
    "benchmarks/scratch/a.jpg",
    "build/lib/batchgray/gone.py",
    "gray/a.jpg",
    "images/a.jpg",
    "tests/__pycache__/a.cpython-311.pyc",
)
NAME = f"batchgray-{batchgray.__version__}"
BUILD = "import setuptools.build_meta as backend; backend.build_{}('.')"
METADATA = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"}


def run(*arguments: object, **settings) -> str:
    done = subprocess.run(
        [*map(str, arguments)], capture_output=True, text=True, timeout=DEADLINE, check=False, **settings
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path, set[str]]:
    """The sdist, the wheel that is built from it, and the names of the sources."""
    folder = tmp_path_factory.mktemp("packaging")
    copy = folder / "copy"
    copy.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "results", "scratch", ".*cache")
    for path in ROOT.iterdir():
        if path.name in SHIPPED:
            shutil.copytree(path, copy / path.name, ignore=unwanted)
        elif path.is_file() and not path.name.startswith("."):
            shutil.copy(path, copy)
    sources = files_below(copy)
    for name in JUNK:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("not to be shipped")
    run(sys.executable, "-c", BUILD.format("sdist"), cwd=copy)
    sdist = copy / f"{NAME}.tar.gz"
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    run(sys.executable, "-c", BUILD.format("wheel"), cwd=folder / NAME)
    return sdist, folder / NAME / f"{NAME}-py3-none-any.whl", sources


def test_the_sdist_has_all_sources_and_nothing_else(built):
    sdist, _, sources = built
    with tarfile.open(sdist) as archive:
        names = {name.name.removeprefix(f"{NAME}/") for name in archive.getmembers() if name.isfile()}
    assert {name for name in names if not name.startswith("batchgray.egg-info/")} == sources | {"PKG-INFO"}
    assert {"LICENSE", "MANIFEST.in", "Makefile", ".ci/run", "docs/library.md", "tests/conftest.py"} < sources


def test_the_wheel_has_the_package_its_licence_and_nothing_else(built):
    _, wheel, sources = built
    package = {name for name in sources if name.startswith("batchgray/")}
    with zipfile.ZipFile(wheel) as archive:
        assert set(archive.namelist()) == package | {f"{NAME}.dist-info/{name}" for name in METADATA}
        metadata = archive.read(f"{NAME}.dist-info/METADATA").decode()
    page = "batchgray/commands/report/templates/report.html"
    assert {"batchgray/py.typed", page, "batchgray/notices/smq.py"} < package
    for line in ("License-Expression: Apache-2.0", "Requires-Python: >=3.11", "Classifier: Typing :: Typed"):
        assert f"\n{line}\n" in metadata


def check_works(command: list[object], folder: Path, **settings) -> None:
    """A run and its report, which needs the templates, from a folder of its own."""
    save_gradient(folder / "in" / "a.png", 64, 48)
    assert run(*command, "--version", cwd=folder, **settings) == f"batchgray {batchgray.__version__}\n"
    run(*command, "run", "in", "--out", "gray", cwd=folder, **settings)
    run(*command, "report", "gray/manifest.json", cwd=folder, **settings)
    assert {"a.jpg", "report.html"} < files_below(folder / "gray")


def test_the_wheel_works_beside_what_it_needs(built, tmp_path):
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", site]
    run(*pip, built[1])
    environment = {**os.environ, "PYTHONPATH": str(site)}
    where = run(sys.executable, "-c", "import batchgray; print(batchgray.__file__)", cwd=tmp_path, env=environment)
    assert where == f"{site}/batchgray/__init__.py\n"
    check_works([site / "bin" / "batchgray"], tmp_path, env=environment)


def test_nothing_of_it_is_left_when_it_is_uninstalled(built, tmp_path):
    venv, cache = tmp_path / "venv", tmp_path / "cache"
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "needs.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    before = files_below(venv)
    pip = [sys.executable, "-m", "pip", "--python", venv / "bin" / "python"]
    run(*pip, "install", "-q", "--no-deps", "--no-index", built[1])
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    check_works([venv / "bin" / "batchgray"], tmp_path, env={**environment, "XDG_CACHE_HOME": str(cache)})
    assert {path.suffix for path in (cache / "batchgray").iterdir()} == {".o"}
    run(*pip, "uninstall", "-q", "-y", "batchgray")
    assert files_below(venv) == before
    assert not (site / "batchgray").exists()


def test_a_release_has_the_same_bytes_whenever_and_by_whomever_it_is_made(built, tmp_path, monkeypatch):
    sdist, wheel, _ = built
    made = []
    for number, umask in enumerate((0o022, 0o077)):
        copy = tmp_path / f"a{number}" / ("deeper" * number)
        with tarfile.open(sdist) as archive:
            archive.extractall(copy, filter="data")
        for path in copy.rglob("*"):
            os.utime(path, (10**9 + number, 10**9 + number))
        before = os.umask(umask)
        try:
            target = tmp_path / f"dist{number}"
            names = [path.name for path in script("make_dist").build(copy / NAME, target, epoch=1_700_000_001)]
        finally:
            os.umask(before)
        made.append({name: (target / name).read_bytes() for name in names})
    assert made[0] == made[1]
    assert list(made[0]) == [sdist.name, wheel.name, "SHA256SUMS"]
    run("sha256sum", "--check", "SHA256SUMS", cwd=tmp_path / "dist0")


def test_a_release_is_the_package_and_nobodys(built, tmp_path):
    sdist, wheel, sources = built
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    made_sdist, made_wheel, _ = script("make_dist").build(tmp_path / NAME, tmp_path / "dist", epoch=1_700_000_000)
    with tarfile.open(made_sdist) as archive:
        members = archive.getmembers()
    assert {(each.mtime, each.uid, each.gid, each.uname) for each in members} == {(1_700_000_000, 0, 0, "")}
    assert {f"{NAME}/{name}" for name in sources} < {each.name for each in members}
    with zipfile.ZipFile(wheel) as ours, zipfile.ZipFile(made_wheel) as theirs:
        assert sorted(ours.namelist()) == sorted(theirs.namelist())


def test_the_release_page_gets_what_make_dist_made():
    release = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))
    assert release[True] == {"push": {"tags": ["v*"]}}  # of YAML's words for true, `on` is one
    assert release["permissions"] == {"contents": "write"}
    make, publish = (step["run"] for step in release["jobs"]["release"]["steps"] if "run" in step)
    assert make == 'make dist TAG="$TAG"'
    assert publish.startswith('gh release create "$TAG" dist/* --verify-tag ')
    steps = run("make", "--no-print-directory", "-n", "dist", "TAG=v9", cwd=ROOT).splitlines()
    assert any(step.endswith("make_dist.py dist --tag v9") for step in steps)


@pytest.mark.skipif("TEST_BATCHGRAY_INSTALL" not in os.environ, reason="downloads all it needs: see make soak")
@pytest.mark.parametrize("kind", ["sdist", "wheel"])
def test_it_installs_into_an_empty_environment_with_all_it_needs(built, tmp_path, kind):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run(sys.executable, "-m", "venv", tmp_path / "venv", env=environment)
    bin = tmp_path / "venv" / "bin"
    run(bin / "pip", "install", "-q", built[0] if kind == "sdist" else built[1], env=environment)
    run(bin / "pip", "check", env=environment)
    check_works([bin / "batchgray"], tmp_path, env=environment)
    code = "import batchgray, numpy; print(batchgray.to_gray(numpy.full((1, 1, 3), 7, 'u1')))"
    assert run(bin / "python", "-c", code, cwd=tmp_path, env=environment) == "[[7]]\n"
