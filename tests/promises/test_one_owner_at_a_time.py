"""Two processes on one manifest: the second exits 2 and names the first.

If this broke, two runs would undo each other's work.
"""

import json
import os
import shutil

import pytest
from harness import Running, batchgray, is_alive, leftovers, save_gradient, tree, wait_until
from recording import AT_THE_FIRST_CHUNK, Recording, Rule, interrupt, wait_for_stopped, wait_for_stopped_worker


def test_the_second_run_and_resume_are_refused(samples, tmp_path):
    out, recording = tmp_path / "out", Recording(tmp_path / "record", AT_THE_FIRST_CHUNK)
    with Running("run", samples, "--out", out, env=recording.environment) as run:
        supervisor = wait_for_stopped(run)  # it holds what it has while the others try
        for arguments in (
            ("run", samples, "--out", out),
            ("resume", out / "manifest.json"),
            ("verify", "--mend", out / "manifest.json"),
        ):
            second = batchgray(*arguments, expect=2)
            assert f"process {run.process.pid} " in second.stderr
        status = json.loads(batchgray("status", out / "manifest.json", "--json").stdout)
        assert status["state"] == "running"
        supervisor.resume()
        run.finish(expect=0)


def test_the_lock_goes_with_its_owner(samples, tmp_path):
    out, recording = tmp_path / "out", Recording(tmp_path / "record", AT_THE_FIRST_CHUNK)
    with Running("run", samples, "--out", out, env=recording.environment) as run:
        wait_for_stopped(run)
        family = run.descendants()
        run.process.kill()
        run.finish()
        wait_until(lambda: not any(map(is_alive, family)))  # a worker holds the lock to its own end
        status = json.loads(batchgray("status", out / "manifest.json", "--json").stdout)
        assert status["state"] == "interrupted"
        batchgray("resume", out / "manifest.json", "--progress", "none")


@pytest.fixture
def stopped(tall, tmp_path):
    """A run whose worker has stopped itself in the middle of its image."""
    recording = Recording(tmp_path / "record", Rule("tile", r"tall\.jpg", after=30))
    arguments = ("run", tall, "--out", tmp_path / "out", "--tile-rows", 8, "--workers", 1)
    with Running(*arguments, env=recording.environment) as run:
        run.stopped = wait_for_stopped_worker(run)
        yield run


def a_link_to_it(path):
    link = path.parent.with_name("elsewhere") / "link.json"
    link.parent.mkdir()
    link.symlink_to(path)
    return link


def a_copy_of_it(path):
    return shutil.copy(path, path.with_name("copy.json"))


def its_folder_by_a_second_name(path):
    path.parent.with_name("second").symlink_to(path.parent.name)
    return path.parent.with_name("second") / path.name


@pytest.mark.parametrize("other", [a_link_to_it, a_copy_of_it, its_folder_by_a_second_name])
def test_whatever_the_manifest_is_called_it_has_one_owner(stopped, tall, tmp_path, tall_converted, other):
    path = other(tmp_path / "out" / "manifest.json")
    for arguments in (("resume", path), ("verify", "--mend", path)):
        assert f"process {stopped.process.pid} " in batchgray(*arguments, expect=2).stderr
    assert json.loads(batchgray("status", path, "--json").stdout)["state"] == "running"
    stopped.stopped.resume()
    stopped.finish(expect=0)
    assert {name: data for name, data in tree(tmp_path / "out").items() if "copy" not in name} == tree(tall_converted)


def test_a_resume_through_a_link_goes_on_in_the_real_output_folder(stopped, tmp_path, tall_converted):
    out = tmp_path / "out"
    interrupt(stopped, stopped.stopped)
    stopped.finish(expect=75)
    link = a_link_to_it(out / "manifest.json")
    assert json.loads(batchgray("status", link, "--json").stdout)["counts"]["partial"] == 1
    batchgray("resume", link)
    assert tree(out) == tree(tall_converted)
    assert leftovers(out) == []
    assert os.listdir(link.parent) == [link.name]
    assert link.is_symlink()
    assert "1 output checked, 0 damaged" in batchgray("verify", link).stdout


def test_every_worker_holds_the_lock_of_what_is_in_flight(stopped, tmp_path):
    held = {os.readlink(f"/proc/{stopped.stopped.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{stopped.stopped.pid}/fd")}
    assert str(tmp_path / "out" / ".batchgray" / "default" / "run.lock") in held


def test_a_manifest_is_of_one_output_folder(tmp_path):
    """Else its outputs would be in two places, and half of them called missing in each."""
    pictures = save_gradient(tmp_path / "in" / "a.png", 64, 64).parent
    first, second, path = tmp_path / "first", tmp_path / "second", tmp_path / "jobs" / "a.json"
    batchgray("run", pictures, "--out", first, "--manifest", path)
    refused = batchgray("run", pictures, "--out", second, "--manifest", path, expect=2)
    assert str(first) in refused.stderr
    assert not second.exists()
    first.rename(second)
    assert "nothing to do" in batchgray("run", pictures, "--out", second, "--manifest", path).stdout
    assert "nothing to do" in batchgray("resume", path).stdout


def test_a_copy_by_hard_links_is_in_nobodys_way(samples, tmp_path):
    """As `cp -al` and rsync's --link-dest make them: the lock file has two names then."""
    out, copy = tmp_path / "out", tmp_path / "copy"
    batchgray("run", samples, "--out", out, "--progress", "none")
    shutil.copytree(out, copy, copy_function=os.link)
    before = contents(copy)
    batchgray("run", samples, "--out", out, "--progress", "none")
    assert contents(copy) == before
    batchgray("resume", copy, "--progress", "none")


def contents(folder):
    """Of all files, the manifest and its lock included."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
