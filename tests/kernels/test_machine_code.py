"""Compiled code is kept, and used again only where it is to be trusted."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest

from batchgray.kernels import machine_code

MODULE = "weights"  # any module; what is compiled of it here is `seven`
NUMBER = ctypes.CFUNCTYPE(ctypes.c_int64)
SEVEN = "define i64 @batchgray_seven() { ret i64 7 }"


def works(functions) -> bool:
    return functions["seven"]() == 7


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """What was compiled so far; the cache is empty."""
    calls = []

    def compile_now(module):
        calls.append(module)
        return llvm.parse_assembly(SEVEN)

    monkeypatch.setattr(machine_code, "_compiled", compile_now)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    return calls


@pytest.fixture
def cache(compiled, tmp_path) -> Path:
    """The cache that a first start has filled."""
    start()
    assert compiled == [MODULE]
    compiled.clear()
    return tmp_path / "cache"


def start() -> None:
    assert machine_code.load(MODULE, {"seven": NUMBER}, works)["seven"]() == 7


def kept(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_what_is_kept_is_used(cache, compiled):
    start()
    assert compiled == []


def _cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _a_flipped_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def _of_another_key(path: Path) -> None:
    code = path.read_bytes()[machine_code._SEAL_BYTES :]
    path.write_bytes(machine_code._seal("another", code) + code)


def _well_sealed_but_wrong(path: Path) -> None:
    code = machine_code._machine().emit_object(llvm.parse_assembly(SEVEN.replace("ret i64 7", "ret i64 8")))
    path.write_bytes(machine_code._seal(machine_code._key(MODULE), code) + code)


def _others_may_write(path: Path) -> None:
    path.chmod(0o666)


def _a_link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def _a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _somebody_elses(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(path, 54321, -1)


@pytest.mark.parametrize(
    "harm",
    [
        _cut_off,
        _empty,
        _a_flipped_bit,
        _of_another_key,
        _well_sealed_but_wrong,
        _others_may_write,
        _a_link,
        _a_pipe,
        _somebody_elses,
    ],
)
def test_what_is_not_to_be_trusted_is_compiled_anew_and_replaced(harm, cache, compiled):
    harm(kept(cache))
    start()
    assert compiled == [MODULE]
    start()
    assert compiled == [MODULE]


def test_a_folder_that_others_may_write_is_not_used(cache, compiled):
    cache.chmod(0o777)
    start()
    assert compiled == [MODULE]
    kept(cache).unlink()
    start()
    assert list(cache.iterdir()) == []


def test_without_any_folder_every_start_compiles(compiled, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/dev/null/cache")
    start()
    start()
    assert compiled == [MODULE] * 2


def test_the_umask_lets_nobody_else_write(compiled, tmp_path):
    before = os.umask(0)
    try:
        start()
    finally:
        os.umask(before)
    assert {f"{path.stat().st_mode & 0o777:o}" for path in (tmp_path / "cache", kept(tmp_path / "cache"))} == {
        "755",
        "644",
    }


def test_it_is_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert machine_code._folder() == tmp_path / "batchgray"
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert machine_code._folder() == tmp_path / ".cache" / "batchgray"


def test_a_user_without_a_home_keeps_none(compiled, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    start()
    start()
    assert compiled == [MODULE] * 2


def test_files_of_other_versions_do_not_pile_up(cache, compiled, monkeypatch):
    for version in range(20):
        monkeypatch.setattr(machine_code, "_key", lambda module, version=version: f"{module} {version}")
        start()
    assert len(compiled) == 20
    assert len(list(cache.iterdir())) == machine_code._KEPT
    start()
    assert len(compiled) == 20


def test_code_that_does_not_work_as_it_should_is_never_used_nor_kept(compiled, tmp_path):
    with pytest.raises(RuntimeError, match="does not compute"):
        machine_code.load(MODULE, {"seven": NUMBER}, lambda functions: False)
    assert not (tmp_path / "cache").exists()


def test_a_key_is_of_the_source_the_processor_and_the_versions(monkeypatch):
    keys = [machine_code._key(MODULE), machine_code._key("splice_code")]
    for owner, name, value in (
        (llvm, "get_host_cpu_name", lambda: "other"),
        (llvm, "get_process_triple", lambda: "other"),
        (machine_code, "_features", lambda: "other"),
        (machine_code.llvmlite, "__version__", "other"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            keys.append(machine_code._key(MODULE))
    assert len(set(keys)) == 6


# real processes


PROBE = """
import sys
import numpy as np
from batchgray.codecs import jpeg_bands, jpeg_slices, png
from batchgray.kernels import methods
rgb, gray = np.full(300, 100, np.uint8), np.zeros(100, np.uint8)
for kernel in methods.BY_METHOD.values():
    kernel(rgb, gray)
    assert (gray == 100).all()
assert b"".join(png.encode(gray, 10, 10, 2))
print("numba" in sys.modules)
"""


def process(cache: Path) -> subprocess.Popen:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    return subprocess.Popen([sys.executable, "-c", PROBE], stdout=subprocess.PIPE, text=True, env=environment)


def said(*running: subprocess.Popen) -> list[str]:
    answers = [each.communicate()[0].strip() for each in running]
    assert all(each.returncode == 0 for each in running)
    return answers


def test_only_a_first_start_imports_numba_and_two_at_once_are_none_the_worse(tmp_path):
    cache = tmp_path / "cache"
    assert said(process(cache), process(cache)) == ["True", "True"]
    modules = ["deflate_code", "method_code", "splice_code", "walk_code"]
    assert sorted(path.name.split("-")[1] for path in cache.iterdir()) == modules
    assert said(process(cache)) == ["False"]
