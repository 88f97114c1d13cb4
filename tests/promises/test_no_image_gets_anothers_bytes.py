"""Images whose names look alike to a short checksum are two images all the same.

If this broke, one picture would stand under another's name, and the manifest would call both done.
"""

import os

import psutil
import pytest
from harness import Running, batchgray, manifest_of, save_gradient, tree, wait_until
from recording import Recording, Rule, interrupt, wait_for_stopped_worker

from batchgray.storage import integrity

# XXH3 with 64 bits, by which temporary files went, is the same for both.
PAIR = ["j\\ho3L[3plim.jpg", "57\\H;``Reaom.jpg"]


def test_two_that_are_written_at_once_stay_apart(tmp_path):
    """Each worker stops when it has written its output, and before that has its name; then both go on, one by one."""
    for number, name in enumerate(PAIR):
        save_gradient(tmp_path / "in" / name, 200, 160 + 8 * number, seed=1000 * number)
    batchgray("run", tmp_path / "in", "--out", tmp_path / "whole", "--workers", 1)
    out, recording = tmp_path / "out", Recording(tmp_path / "record", Rule("write", r"\.out$", times=2))
    with Running("run", tmp_path / "in", "--out", out, "--workers", 2, env=recording.environment) as run:
        wait_until(lambda: len(stopped(run)) == 2 or run.process.poll() is not None)
        for worker in stopped(run):
            worker.resume()
            run.wait_for("done")
        run.finish(expect=0)
    assert tree(out) == tree(tmp_path / "whole")
    assert "0 damaged" in batchgray("verify", out / "manifest.json").stdout


def stopped(run: Running) -> list[psutil.Process]:
    return [worker for worker in run.workers() if worker.status() == psutil.STATUS_STOPPED]


def test_the_names_of_what_is_in_flight_differ():
    assert integrity.short_name(PAIR[0]) != integrity.short_name(PAIR[1])


@pytest.fixture
def twins(tmp_path):
    """Two folders, each with a picture of the same name, length and time, as cameras and archives make them."""
    for number, folder in enumerate(("first", "second")):
        picture = tmp_path / folder / "p.bmp"
        save_gradient(picture, 400, 1000, seed=9 * number)
        os.utime(picture, ns=(0, 10**18))
    first, second = (tmp_path / folder / "p.bmp" for folder in ("first", "second"))
    assert first.stat().st_size == second.stat().st_size
    assert first.read_bytes() != second.read_bytes()
    return first.parent, second.parent


def whole(folder, tmp_path):
    batchgray("run", folder, "--out", tmp_path / "whole", "--tile-rows", 64, "--progress", "none")
    return tree(tmp_path / "whole")


def test_tiles_of_a_run_that_is_overwritten_go_into_no_other_image(twins, tmp_path):
    first, second = twins
    out, recording = tmp_path / "out", Recording(tmp_path / "record", Rule("tile", r"^p\.jpg$", after=3))
    with Running("run", first, "--out", out, "--tile-rows", 64, env=recording.environment) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    assert list(out.glob(".batchgray/*/*.tiles"))
    batchgray("run", second, "--out", out, "--tile-rows", 64, "--overwrite", "--progress", "none")
    assert tree(out) == whole(second, tmp_path)


def test_tiles_that_a_killed_run_could_not_tell_of_go_into_no_other_image(twins, tmp_path):
    """The manifest knows the image as pending, and gives its name to another when its input is gone."""
    first, second = twins
    out, recording = tmp_path / "out", Recording(tmp_path / "record", Rule("rename", r"\.tiles$"))
    arguments = ("run", first, "--out", out, "--tile-rows", 64, "--checkpoint", 0.000001)
    with Running(*arguments, env=recording.environment) as run:
        wait_for_stopped_worker(run)
        run.kill()
    assert [image["state"] for image in manifest_of(out)["images"]] == ["pending"]
    first.rename(tmp_path / "elsewhere")
    batchgray("run", second, "--out", out, "--tile-rows", 64, "--progress", "none")
    assert tree(out) == whole(second, tmp_path)


@pytest.mark.parametrize("arguments", [(), ("--overwrite",)])
def test_two_outputs_that_a_link_makes_one_file_are_refused(tmp_path, arguments):
    """The folder `deep/sub` of the outputs is a link to `sub`, and `new` will be made in both."""
    out, pictures = tmp_path / "out", tmp_path / "in"
    for number, name in enumerate(("sub/new/a.png", "deep/sub/new/a.png", "deep/sub/b.png")):
        save_gradient(pictures / name, 90, 70, seed=number)
    for folder in (out / "sub", out / "deep"):
        folder.mkdir(parents=True)
    (out / "deep" / "sub").symlink_to("../sub")
    told = batchgray("run", pictures, "--out", out, *arguments, expect=2).stderr
    assert "deep/sub/new/a.png and" in told
    assert "sub/new/a.jpg, by a link" in told
    (pictures / "sub/new/a.png").unlink()
    batchgray("run", pictures, "--out", out, *arguments, "--progress", "none")
    assert sorted(tree(out)) == ["sub/b.jpg", "sub/new/a.jpg"]
