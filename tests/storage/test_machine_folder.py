"""A run's folder on its machine: gone with the run, or with the next one where it was killed."""

import os
import tempfile

import pytest

from batchgray.storage.machine_folder import machine_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_goes_with_the_block(temporary):
    with machine_folder() as machine:
        (machine.folder.path / "a").write_bytes(b"x")
        assert machine.folder.path.parent == temporary
    assert not list(temporary.iterdir())


def test_what_a_dead_run_left_goes_and_what_a_living_one_has_stays(temporary):
    dead = temporary / "batchgray-run-dead"
    dead.mkdir()
    (dead / "a").write_bytes(b"x")
    with machine_folder() as first, machine_folder():
        assert first.folder.path.is_dir()
    assert not list(temporary.iterdir())


def test_a_worker_that_lives_on_keeps_it(temporary):
    with machine_folder() as machine:
        kept = os.dup(machine.lock)
        left = machine.folder.path
    left.mkdir()  # as if the run had been killed
    os.close(kept)
    with machine_folder():
        assert not left.exists()


def test_links_are_left_alone(temporary):
    (temporary / "target").mkdir()
    (temporary / "batchgray-run-link").symlink_to("target")
    with machine_folder():
        assert (temporary / "target").is_dir()
        assert (temporary / "batchgray-run-link").is_symlink()
