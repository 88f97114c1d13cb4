"""The folder of what is in flight: what a kill left goes at the start, and what an image can go on from stays."""

import contextlib
from pathlib import Path

import pytest
from begun import OPTIONS, TASK, VERSION, making_folders

from batchgray.checkpoints import band_plane, cleanup, preview, sidecar
from batchgray.engine import recovery
from batchgray.manifest import lock
from batchgray.manifest.records import Image, Manifest
from batchgray.planning.plan import Plan
from batchgray.storage import durable, integrity, intents
from batchgray.storage.intents import Intent, IntentLog
from batchgray.storage.run_folder import LOCK_NAME

OTHER = "a/c.jpg"


def path_of(fd):
    return Path(f"/proc/self/fd/{fd}").readlink()


class World:
    """An output folder with the begun image a/b.jpg, and a/c.jpg, of which nothing is known; both are to do."""

    def __init__(self, folders, stack):
        self.folders, self.out, self.stack = folders, folders.out.path, stack
        images = [
            Image(root=0, source=output, output=output, size=VERSION.size, mtime_ns=VERSION.mtime_ns)
            for output in (TASK.output, OTHER)
        ]
        document = Manifest(
            run_id="default", options=OPTIONS, max_pixels=10**9, output_root=".", input_roots=["/in"], images=images
        )
        self.plan = Plan(self.out / "manifest.json", self.out, document, resumed=True, todo=[0, 1])
        folders.flight.path.rmdir()
        self.held = self.hold()
        self.flight, folders.flight = self.plan.flight, self.held.inner
        self.header = folders.write(folders.begun())
        folders.draw(self.header, b"jpeg")

    def hold(self):
        return self.stack.enter_context(recovery.holding(self.plan, locked=True))

    def left(self):
        """But for the lock."""
        return {path.name for path in self.flight.iterdir()} - {LOCK_NAME}


@pytest.fixture
def world():
    with making_folders() as folders, contextlib.ExitStack() as stack:
        yield World(folders, stack)


def test_at_the_start_what_a_kill_left_is_cleaned_away(world):
    """Else it would fill the disk, run by run."""
    other = integrity.short_name(OTHER)
    for name in (f"{other}.out", f"{other}.tmp", f"{other}.tiles", "0123456789abcdef.tiles", "0123.gray", "x"):
        (world.flight / name).write_bytes(b"of a run that was killed")
    (world.flight / "folder").mkdir()
    assert recovery.prepare(world.plan, world.held) == {0}
    assert world.left() == {world.folders.sidecar.name}
    assert world.folders.preview.read_bytes().startswith(b"jpeg\n")


def test_at_the_start_a_sidecar_of_no_image_goes_with_the_partial_jpeg_that_it_claims(world):
    """Nobody else knows any more whose it is: it would stay for ever."""
    world.plan.manifest.images.pop(0)
    world.plan.todo = [0]
    assert recovery.prepare(world.plan, world.held) == set()
    assert world.left() == set()
    assert not world.folders.preview.exists()


@pytest.mark.parametrize("what", ["prepare", "discard"])
def test_a_sidecar_under_another_images_name_costs_the_live_image_nothing(world, what):
    """It claims the live image's partial JPEG, and names its tiles; it is not where that image's sidecar would be."""
    stray = world.flight / sidecar.name_of("gone.jpg")
    stray.write_bytes(world.folders.sidecar.read_bytes())
    if what == "prepare":
        assert recovery.prepare(world.plan, world.held) == {0}
    else:
        cleanup.discard(world.held, stray.name, set())
    assert world.left() == {world.folders.sidecar.name}
    assert world.folders.preview.read_bytes().startswith(b"jpeg\n")
    assert sidecar.read_header(world.held.inner, world.folders.sidecar.name) == world.header


def test_a_partial_jpeg_whose_sidecar_was_lost_goes(world):
    """The tree was copied without its hidden folder: nothing would claim it any more."""
    world.plan.manifest.images[0].state = "partial"
    world.folders.sidecar.unlink()
    assert recovery.prepare(world.plan, world.held) == set()
    assert not world.folders.preview.exists()


def test_a_sidecar_of_a_finished_image_is_nothing_to_go_on_from(world):
    world.plan.todo = [1]
    assert recovery.prepare(world.plan, world.held) == set()
    assert world.left() == set()


def test_a_plane_stays_with_its_sidecar_and_goes_without_one(world):
    for name in (*band_plane.names(TASK.output), *band_plane.names(OTHER)):
        (world.flight / name).write_bytes(b"")
    recovery.prepare(world.plan, world.held)
    assert world.left() == {*band_plane.names(TASK.output), world.folders.sidecar.name}


def test_a_partial_jpeg_that_has_become_an_output_is_not_cleaned_away(world):
    """An input of that very name was added, and its output is finished: a/b.partial.jpg is a picture of its own."""
    name = preview.name_of(TASK.output)
    world.plan.manifest.images.append(
        Image(root=0, source=name, output=name, size=1, mtime_ns=1, state="done", checksum="x:y")
    )
    recovery.remove(world.plan, world.held)
    assert world.folders.preview.exists()


def test_an_output_that_stands_as_it_was_intended_is_known_to_be_ours(world):
    """The crash came between its rename and the journal: else it would be taken for somebody else's."""
    data = b"finished"
    intent = Intent(output=OTHER, size=len(data), checksum=integrity.checksum([data]))
    IntentLog(world.held.inner, 1).append([intent, Intent(output=TASK.output, size=1, checksum="x:y")])
    (world.out / OTHER).write_bytes(data)
    (world.out / TASK.output).write_bytes(b"?")
    recovery.prepare(world.plan, world.held)
    assert [image.checksum for image in world.plan.manifest.images] == [None, intent.checksum]
    assert world.plan.manifest.images[1].output_size == len(data)
    assert f"1{intents.SUFFIX}" in world.left(), "it goes only when the manifest has what it tells"
    recovery.forget_intents(world.plan, world.held)
    assert f"1{intents.SUFFIX}" not in world.left()


def test_when_the_run_is_complete_nothing_of_it_is_left_and_that_is_durable(world, monkeypatch):
    (world.flight / "1.intents").write_bytes(b"")
    synced = []
    monkeypatch.setattr(durable, "sync", lambda fd: synced.append(path_of(fd)))
    recovery.remove(world.plan, world.held)
    assert synced[-1] == world.out
    assert sorted(path.name for path in world.out.rglob("*")) == ["a"]


@pytest.mark.parametrize("state", ["gone", "failed"])
def test_what_is_begun_of_an_image_that_is_away_stays_and_with_it_what_the_folder_is_known_by(world, state):
    world.plan.manifest.images[0].state = state
    kept = {world.folders.sidecar.name, *band_plane.names(TASK.output), LOCK_NAME, "run.manifest"}
    for name in {*kept, *band_plane.names(OTHER)} - {world.folders.sidecar.name, LOCK_NAME}:
        (world.flight / name).write_bytes(b"")
    world.plan.todo = [1]
    recovery.remove(world.plan, world.held)
    assert {path.name for path in world.flight.iterdir()} == kept
    assert world.folders.preview.read_bytes().startswith(b"jpeg")
    assert lock.is_running(world.plan.path, world.flight)


def test_a_partial_jpeg_makes_way_where_its_name_is_to_be_an_outputs(world):
    name = preview.name_of(TASK.output)
    world.plan.manifest.images.append(Image(root=0, source=name, output=name, size=1, mtime_ns=1))
    assert recovery.prepare(world.plan, world.held) == {0}
    assert world.left() == {world.folders.sidecar.name}
    assert not world.folders.preview.exists()


def test_a_run_of_which_no_manifest_comes_leaves_nothing_in_flight(tmp_path, world):
    recovery.remove(world.plan, world.held)
    with pytest.raises(ZeroDivisionError), recovery.holding(world.plan, locked=True):
        raise ZeroDivisionError
    assert not world.flight.parent.exists()
