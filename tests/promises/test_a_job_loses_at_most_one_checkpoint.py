"""Whatever is killed, on a slow store: what was finished before the last checkpoint is not made again.

If this broke, an image of an hour would begin anew on each machine that is taken away.
"""

from pathlib import Path

import jobs
import pytest
from harness import Running, batchgray, named, save_gradient, tree
from recording import Recording, Rule, interrupt, wait_for_stopped_worker

TILES = 20
LARGE_PIXELS = {"LARGE_PIXELS": "1000000"}


@pytest.fixture
def stage(tall, tmp_path):
    with jobs.oss(tall, tmp_path) as stage:
        stage.server.latency = 0.04
        yield stage


@pytest.mark.parametrize("killed", ["everything", "the supervisor", "a worker"])
def test_killed_in_the_middle(stage, tall_converted, tmp_path, killed):
    recording = Recording(tmp_path / "record", Rule("tile", r"tall\.jpg", after=TILES))
    with Running(*stage.run("--checkpoint", 0.000001), env=stage.env(recording)) as run:
        worker = wait_for_stopped_worker(run)
        if killed == "everything":
            run.kill()
        elif killed == "the supervisor":
            run.process.kill()
            run.process.wait()
            worker.kill()
        else:
            worker.kill()
            run.finish(expect=0)
            done = named(run.events, "done")
    if killed != "a worker":
        with Running(*stage.run(), env=stage.env()) as again:
            done = named(again.finish(expect=0), "done")
    # Each tile before the one at which it was stopped had its checkpoint; what a worker finished is saved even later.
    assert done[0]["tiles_computed"] <= 100 - TILES
    assert stage.outputs() == tree(tall_converted)
    assert set(stage.kept()) == jobs.FINISHED


CHECKPOINT = "batchgray.checkpoints.band_plane:BandPlane.checkpoint"
HEARD = "batchgray.workers.side_by_side:SideBySide._end"
TILES_IN_A_BAND = 10


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    save_gradient(folder / "in" / "large.jpg", 3000, 2400, quality=85, exact=True)
    batchgray("run", folder / "in", "--out", folder / "gray", "--tile-rows", 8, "--progress", "none")
    return folder


def tiles_kept(stage) -> int:
    """Of all bands that are in the store."""
    pieces = (entry.key.partition(".bands-")[2] for entry in stage.place.list(".batchgray/"))
    runs = (piece.split("-") for piece in pieces if piece)
    return TILES_IN_A_BAND * sum(int(last) - int(first) + 1 for first, last in runs)


def empty_folders(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_dir() and not any(path.iterdir())]


@pytest.mark.parametrize("end", ["killed", "interrupted"])
@pytest.mark.parametrize("of", jobs.STAGES)
def test_a_large_image_goes_on_on_another_machine(large, tmp_path, of, end):
    """It is converted in bands, and what is finished of them is in the output place."""
    with jobs.STAGES[of](large / "in", tmp_path) as stage:
        no_more_before_it_is_heard = Rule("band", r"large\.jpg", after=12, until=1), Rule("call", HEARD, times=0)
        recording = Recording(tmp_path / "record", *no_more_before_it_is_heard, Rule("return", CHECKPOINT))
        with Running(*stage.run("--checkpoint", 0.000001), env=stage.env(recording) | LARGE_PIXELS) as run:
            worker = wait_for_stopped_worker(run)
            if end == "killed":
                run.kill()
            else:
                interrupt(run, worker)
                run.finish(expect=75)
                told = [change.tiles_done for entry in stage.log() for change in entry.changes]
                assert told[-1] == tiles_kept(stage)
        kept = tiles_kept(stage)
        (tmp_path / "another").mkdir()
        another = {**stage.env(), **LARGE_PIXELS, "TMPDIR": str(tmp_path / "another")}
        with Running(*stage.run(), env=another) as again:
            (done,) = named(again.finish(expect=0), "done")
        assert 0 < kept < 300
        assert kept == 300 - done["tiles_computed"]
        assert stage.outputs() == tree(large / "gray")
        assert set(stage.kept()) == jobs.FINISHED
        assert of == "oss" or not empty_folders(Path(stage.out))
