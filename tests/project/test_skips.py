"""Where tests may be skipped, and what is said where a machine lacks what they want."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import DEADLINE

SUPPORT = Path(__file__).parents[1] / "support"
SOME = """
import pytest

@pytest.mark.skipif(True, reason="there is no program here")
def test_by_mark(): pass

def test_by_call(): pytest.skip("there is no program here")

@pytest.mark.skipif(True, reason="no systemd here")
def test_allowed(): pass

@pytest.mark.xfail(raises=ValueError)
def test_fails_as_it_should(): raise ValueError
"""
WHOLE = 'import pytest\npytest.importorskip("nowhere")\n'


def said(folder: Path, text: str, **variables: str) -> str:
    (folder / "test_some.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "skips", "-p", "no:cacheprovider", "-ra", "test_some.py"]
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT), **variables}
    settings = {"capture_output": True, "text": True, "timeout": DEADLINE}
    return subprocess.run(command, cwd=folder, env=environment, check=False, **settings).stdout


def test_a_skip_on_ci_fails_but_for_the_reasons_that_are_allowed(tmp_path):
    told = said(tmp_path, SOME, CI="true")
    why = "skipped on CI, and not for a reason in tests/support/skips.py: there is no program here"
    assert f"ERROR test_some.py::test_by_mark - {why}" in told
    assert f"FAILED test_some.py::test_by_call - {why}" in told
    assert "1 failed, 1 skipped, 1 xfailed, 1 error" in told


def test_a_file_that_is_skipped_on_ci_fails(tmp_path):
    assert "not for a reason in tests/support/skips.py: could not import 'nowhere'" in said(tmp_path, WHOLE, CI="true")


def test_elsewhere_each_skip_is_told_in_a_line(tmp_path):
    told = said(tmp_path, SOME, CI="")
    assert "3 skipped, 1 xfailed" in told
    assert told.count("\nSKIPPED [1] test_some.py:") == 3


@pytest.fixture
def few(tmp_path) -> Path:
    """A PATH with the shell and nothing else."""
    (tmp_path / "sh").symlink_to("/bin/sh")
    return tmp_path


def packages(path: Path) -> str:
    script = (SUPPORT / "packages.sh").read_text().replace(":/usr/sbin:/sbin", "")
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, timeout=DEADLINE, env={"PATH": str(path)}, check=True
    )
    assert done.stderr == ""
    return done.stdout


def test_without_apt_it_says_so_in_a_line_and_goes_on(few):
    told = packages(few)
    assert told.startswith("The tests go without chromium cloud-init ")
    assert told.endswith(": there is no apt-get here to install them\n")


def test_without_root_it_says_so_in_a_line_and_goes_on(few):
    (few / "apt-get").symlink_to("/bin/false")
    (few / "id").write_text("#!/bin/sh\necho 1000\n")
    (few / "id").chmod(0o755)
    assert "only root can install them (sudo apt-get install chromium " in packages(few)


def test_what_apt_cannot_install_is_told_in_a_line_and_the_rest_is_installed(few):
    for name, text in {
        "id": "echo 0",
        "mktemp": f"echo {few}/log",
        "rm": ":",
        "tail": "read -r line; while read -r next; do line=$next; done < $3; echo $line",
        "apt-get": f'echo "$@" >>{few}/asked; case "$*" in *fish) echo first; echo no fish at all; exit 100;; esac',
    }.items():
        (few / name).write_text(f"#!/bin/sh\n{text}\n")
        (few / name).chmod(0o755)
    told = packages(few).splitlines()
    assert "The tests go without fish: apt-get install: no fish at all" in told
    assert "Installing zsh for the tests ..." in told
    assert (few / "asked").read_text().splitlines()[-1].endswith(" zsh")
