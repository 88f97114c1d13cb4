"""What a dead writer left in a folder is told from what a living one is putting there, also from another machine."""

import os
import subprocess
import sys

import pytest

from batchgray.storage import put_names
from batchgray.storage.folder import FolderPlace


def made_by(code: str) -> subprocess.Popen:
    """A process that prints a name of its own, and then runs `code`."""
    lines = f"from batchgray.storage import put_names\nprint(put_names.new_name(), flush=True)\n{code}"
    return subprocess.Popen([sys.executable, "-c", lines], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_names_are_of_the_process_and_no_two_are_alike():
    assert len({put_names.new_name() for _ in range(100)}) == 100
    assert not put_names.is_abandoned(put_names.new_name(), 10**9)


def test_what_a_living_process_puts_is_never_abandoned_and_at_once_when_it_is_dead():
    with made_by("input()") as other:
        name = other.stdout.readline().strip()
        assert not put_names.is_abandoned(name, 10**9)
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        assert put_names.is_abandoned(name, 0.0)  # its parent has not asked for it yet
    assert put_names.is_abandoned(name, 0.0)


def test_an_id_that_was_given_again_is_another_process():
    began = put_names._began(os.getpid())
    name = put_names.new_name().replace(f"-{began}-", f"-{int(began) + 1}-")
    assert put_names.is_abandoned(name, 0.0)


@pytest.mark.parametrize("name", [f"{put_names.PREFIX}0123", f"{put_names.PREFIX}{12 * '0'}-1-1-{16 * '0'}"])
def test_what_another_machine_puts_is_abandoned_when_it_was_idle_for_long(name):
    assert not put_names.is_abandoned(name, put_names.IDLE_SECONDS - 1)
    assert put_names.is_abandoned(name, put_names.IDLE_SECONDS)


def test_a_sweep_leaves_what_others_are_putting(tmp_path, monkeypatch):
    with made_by("") as dead:
        of_the_dead = dead.stdout.readline().strip()
    another = f"{put_names.PREFIX}{12 * '0'}-1-1-"
    idle, busy, ours = another + 16 * "0", another + 16 * "1", put_names.new_name()
    for name in (of_the_dead, idle, busy, ours, "picture.jpg"):
        (tmp_path / name).write_bytes(b"half of it")
    os.utime(tmp_path / idle, (1, 1))
    FolderPlace(tmp_path).sweep()
    assert {path.name for path in tmp_path.iterdir()} == {busy, ours, "picture.jpg"}


def test_without_proc_a_process_is_known_by_its_id_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(put_names, "Path", lambda path: tmp_path / path.removeprefix("/"))
    assert not put_names.is_abandoned(put_names.new_name(), 0.0)
    with made_by("") as dead:
        dead.wait()
    assert put_names._began(dead.pid) == ""
