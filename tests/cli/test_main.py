"""The command as a user meets it: help, exit codes, and a sentence where it fails."""

import subprocess
import sys

import pytest
from harness import (
    batchgray,
)

import batchgray as package


def test_version_and_help_are_there_and_light():
    assert batchgray("--version").stdout == f"batchgray {package.__version__}\n"
    heavy = {"numba", "llvmlite", "numpy", "PIL", "simplejpeg", "imageio", "rich", "psutil"}
    probe = f"import sys, batchgray.cli.main; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout == "set()\n"
    for arguments in (["-h"], ["run", "--help"], ["resume", "-h"], ["status", "-h"], ["verify", "-h"]):
        assert "Usage: " in batchgray(*arguments).stdout


def test_the_help_tells_the_exit_codes_the_shells_and_the_nearest_word():
    for arguments in (["-h"], ["run", "-h"], ["resume", "-h"], ["verify", "-h"], ["smq", "create", "-h"]):
        assert "75  interrupted" in batchgray(*arguments).stdout
    assert "completion" in batchgray("-h").stdout
    for arguments, nearest in (
        (["stauts", "manifest.json"], "`batchgray status manifest.json`"),
        (["smq", "craete", "name"], "`batchgray smq create name`"),
        (["run", "in", "--out", "o", "--qualty", "5"], "--quality"),
        (["run", "in", "--out", "o", "--format", "jpg"], "jpeg"),
        (["run", "in", "--out", "o", "--notices", "sqm"], "smq"),
    ):
        error = batchgray(*arguments, expect=2).stderr
        command = f"{sys.executable} -m batchgray"
        assert f"Did you mean {nearest.replace('batchgray', command)}?" in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nowhere", "--out", "o"], "no such file or folder: nowhere"),
        (["run", "--out", "o"], "no INPUT given"),
        (["run", "in"], "--out"),
        (["run", "in", "--out", "o", "--quality", "0"], "--quality"),
        (["run", "in", "--out", "o", "--compression", "10"], "--compression"),
        (["run", "in", "--out", "o", "--memory", "lots"], "lots is not a size"),
        (["run", "in", "--out", "o", "--no-such-option"], "--no-such-option"),
        (["run", "in", "--out", "/proc/nowhere"], "can't write to the output folder /proc/nowhere"),
        (["run", "in", "--out", "in/a.png"], "--out takes a folder, not a file, and in/a.png is a file"),
        (["run", "in/a.png", "--out", "o/b.jpg"], "and o/b.jpg has the name of one. Name the folder"),
        (["run", "in", "--out", "o", "--files-from", "nolist"], "can't read the list nolist"),
        (["resume", "nowhere.json"], "/nowhere.json. Name the manifest.json"),
        (["resume", "in/a.png"], "was not written by batchgray"),
        (["run", "in", "--out", ""], "--out is empty"),
        (["run", "in", "--out", "new", "--memory", "5"], "--memory takes 1M or more"),
        (["run", "in", "--out", "o", "--memory", ""], "is not a size"),
        (["run", "in", "--out", "o", "--instance-id", ""], "--instance-id is empty"),
        (["run", "in", "--out", "o", "--smq-endpoint", " "], "--smq-endpoint is empty"),
        (
            ["run", "in", "--out", "o", "--metadata-url", "http://h:abc"],
            "can't ask for instance metadata at http://h:abc",
        ),
        (["smq", "simulate", "--instance-id", ""], "--instance-id is empty"),
        (["smq", "simulate", "--instance-id", "i-\udcff"], "i-\\xff has a character that can't be shown"),
        (["run", "in", "--out", "o", "--smq-queue", "a\nb"], "a\\nb has a character that can't be shown"),
        (["smq", "create", "q", "--smq-endpoint", "http://h:abc", "--metadata-url", "http://h"], "InvalidEndpoint"),
        (["status", "in"], "there is no manifest at in/manifest.json"),
        (["verify", "nowhere.json"], "there is no manifest"),
    ],
)
def test_usage_errors_exit_2_with_a_sentence_and_leave_nothing(pictures, tmp_path, arguments, words):
    done = batchgray(*arguments, expect=2, cwd=tmp_path)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "o" / "manifest.json").exists()


def test_the_supervisors_process_imports_no_image_library(pictures, tmp_path):
    probe = f"""
import sys
from pathlib import Path
from batchgray import options
from batchgray.engine import runs
asked = options.RunOptions(inputs=(Path({str(pictures)!r}),), out=Path({str(tmp_path / "out")!r}))
assert runs.run(asked, lambda event: None).exit_code == 0
print({{'numba', 'numpy', 'PIL', 'simplejpeg', 'imageio'}} & set(sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout == "set()\n"
