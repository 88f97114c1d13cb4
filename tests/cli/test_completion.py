"""Shell completion: real shells, with a real key on a real terminal where the shell has no other way."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import DEADLINE, batchgray

import batchgray as package

_PROMPT = "READY>"
_START = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], f"PS1='{_PROMPT[:3]}''{_PROMPT[3:]}'"),
    "zsh": (["zsh", "-f", "-i"], f"autoload -Uz compinit; compinit -D -u; PS1='{_PROMPT[:3]}''{_PROMPT[3:]}'"),
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A PATH with batchgray on it, as when it is installed."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "batchgray"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m batchgray "$@"\n')
    program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(package.__file__).parent.parent),
        "TERM": "dumb",
        "HOME": str(folder),
    }


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "gray").mkdir()
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "my photos").mkdir()
    return tmp_path


class Shell:
    """An interactive shell on a terminal."""

    def __init__(self, name, environment, folder):
        self._ours, theirs = pty.openpty()
        arguments, prompt = _START[name]
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
        self.process = subprocess.Popen(arguments, cwd=folder, env=environment, start_new_session=True, **streams)
        os.close(theirs)
        self.type(f'{prompt}; eval "$(batchgray completion {name})"\n')

    def __enter__(self):
        self.read_until(_PROMPT)
        return self

    def type(self, keys):
        os.write(self._ours, keys.encode())

    def read_until(self, wanted):
        text, end = "", time.monotonic() + DEADLINE
        while wanted not in text:
            assert select.select([self._ours], [], [], max(0, end - time.monotonic()))[0], f"no {wanted!r} in {text!r}"
            text += os.read(self._ours, 4096).decode()

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_tab_completes_commands_options_values_and_files(name, environment, folder):
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name} here")
    with Shell(name, environment, folder) as shell:
        for typed, completed in (
            ("batchgray resu", "me "),
            ("manif", "est.json "),
            ("--inp", "ut-root "),
            ("gr", "ay/"),
            (" --notices metad", "ata "),
        ):
            shell.type(f"{typed}\t")
            shell.read_until(completed)


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish here")
def test_fish_completes_commands_options_values_and_files(environment, folder):
    asked = "; ".join(
        f"complete -C '{line}'"
        for line in (
            "batchgray resu",
            "batchgray resume manif",
            "batchgray run gray --metho",
            "batchgray run --method bt7",
        )
    )
    said = subprocess.run(
        ["fish", "--no-config", "-c", f"batchgray completion fish | source; {asked}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert [line.partition("\t")[0] for line in said.splitlines()] == ["resume", "manifest.json", "--method", "bt709"]


def test_the_shells_are_named():
    assert "takes bash, zsh or fish, not tcsh" in batchgray("completion", "tcsh", expect=2).stderr
    assert "~/.bashrc" in batchgray("completion", "--help").stdout
