"""scripts/batchgray.service under a systemd of its own: what it is at the end of each kind of run.

If this broke, a machine that is taken away would not be gone on with, or one with failed images would look done.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from harness import DEADLINE, batchgray, save_gradient, tree, wait_until
from recording import AT_THE_FIRST_CHUNK, Recording

ROOT = Path(__file__).parents[2]
SYSTEMD = Path("/lib/systemd/systemd")
TARGETS = ["sysinit", "basic", "shutdown", "umount", "network-online", "multi-user"]  # empty, as there is nothing else
NAMESPACES = ["unshare", "--fork", "--kill-child=KILL", "--pid", "--mount", "--mount-proc", "--uts", "--ipc"]
PYTHONS = [Path(sys.executable).resolve(), Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")]
PYTHON = next((path for path in PYTHONS if path.exists() and path.parts[1] not in ("root", "home")), None)
OVERRIDE = """[Service]
ReadWritePaths=/srv/record
Environment=DURABLE_RECORD=/srv/record PYTHONPATH={}
StandardError=append:/srv/record/said
"""
INTERCEPT = ":".join(f"/opt/batchgray/source/tests/support{name}" for name in ("/intercept", ""))


class Machine:
    """Namespaces with systemd as their first process, and the unit."""

    def __init__(self, folder: Path) -> None:
        self.images, self.gray = folder / "srv" / "images", folder / "srv" / "gray"
        units = folder / "units"
        for made in (self.images, self.gray, units / "batchgray.service.d"):
            made.mkdir(parents=True)
        for name in TARGETS:
            (units / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
        shutil.copy(ROOT / "scripts" / "batchgray.service", units)
        (units / "batchgray.service.d" / "test.conf").write_text(OVERRIDE.format(INTERCEPT))
        self.recording = Recording(folder / "srv" / "record")
        inside = [folder, ROOT, sysconfig.get_path("purelib"), PYTHON]
        started = [*NAMESPACES, ROOT / "tests" / "support" / "own_systemd.sh", *inside]
        self._outer = subprocess.Popen([*map(str, started)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_until(lambda: self._outer.poll() is not None or self._is_up())

    def _is_up(self) -> bool:
        return any(process.name() == "systemd" for process in psutil.Process(self._outer.pid).children()) and (
            self.systemctl("is-active", "multi-user.target") == "active\n"
        )

    @property
    def reason(self) -> str:
        """Why it is not up, if it is not."""
        return self._outer.stderr.read().decode() if self._outer.poll() is not None else ""

    def systemctl(self, *arguments: str) -> str:
        (first,) = psutil.Process(self._outer.pid).children()
        entered = ["nsenter", f"--target={first.pid}", "--mount", "--pid", "--ipc", "--uts", "systemctl", *arguments]
        done = subprocess.run(entered, capture_output=True, text=True, timeout=DEADLINE, check=False)
        return done.stdout

    def state(self) -> tuple[str, str, str]:
        """What the unit is, why, and the exit code of its last run."""
        shown = self.systemctl("show", "batchgray", "--property=SubState,Result,ExecMainStatus").split()
        values = dict(line.split("=") for line in shown)
        return values["SubState"], values["Result"], values["ExecMainStatus"]

    def close(self) -> None:
        with self._outer:
            self._outer.kill()  # and so systemd, and so all that it started


@pytest.fixture
def machine(tmp_path) -> Iterator[Machine]:
    if not SYSTEMD.exists() or os.geteuid() or PYTHON is None:
        pytest.skip("no systemd here")
    machine = Machine(tmp_path)
    try:
        if machine.reason:
            pytest.skip(f"no process namespaces here: {machine.reason}")
        for number in range(3):
            save_gradient(machine.images / f"{number}.jpg", 400, 300)
        yield machine
    finally:
        machine.close()


def test_a_run_that_is_interrupted_waits_for_its_next_turn_and_one_that_is_done_does_not(machine, tmp_path):
    machine.recording.set_rules(AT_THE_FIRST_CHUNK)
    machine.systemctl("start", "batchgray")
    machine.recording.wait_until_met()
    machine.systemctl("kill", "--kill-whom=main", "--signal=TERM", "batchgray")
    machine.systemctl("kill", "--kill-whom=main", "--signal=CONT", "batchgray")
    wait_until(lambda: machine.state()[0] == "auto-restart")
    machine.recording.set_rules()
    machine.systemctl("stop", "batchgray")
    assert machine.state()[:2] == ("dead", "success")
    machine.systemctl("start", "batchgray")
    wait_until(lambda: machine.state()[0] == "dead")
    assert machine.state() == ("dead", "success", "0")
    batchgray("run", machine.images, "--out", tmp_path / "plain", "--progress", "none")
    assert tree(machine.gray) == tree(tmp_path / "plain")
    assert {path.stat().st_uid for path in machine.gray.iterdir()} == {2990}


def test_a_run_with_failed_images_is_a_failed_unit(machine):
    (machine.images / "bad.jpg").write_text("no picture")
    machine.systemctl("start", "batchgray")
    wait_until(lambda: machine.state()[0] == "failed")
    assert machine.state() == ("failed", "exit-code", "3")
