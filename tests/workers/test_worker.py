"""A worker's way with one image, in this process: what it tells of, and what is on the disk by then."""

import contextlib
import os
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from harness import save_gradient
from PIL import Image

from batchgray.checkpoints import sidecar
from batchgray.checkpoints.folder import FolderCheckpoints
from batchgray.codecs import opening, pillow, transparency
from batchgray.options import PixelOptions
from batchgray.planes import slots
from batchgray.records import Task
from batchgray.storage.base import Changed
from batchgray.storage.durable import Folder
from batchgray.storage.intents import IntentLog
from batchgray.storage.publishing import FolderPublisher
from batchgray.storage.scratch import Scratch
from batchgray.workers import allocator, committer, worker
from batchgray.workers.inputs import Files, InHand
from batchgray.workers.interrupt import Interrupted
from batchgray.workers.messages import (
    Convert,
    Done,
    Failed,
    Flushed,
    GiveBack,
    Granted,
    Idle,
    NeedMemory,
    Refused,
    Setup,
    WantsMore,
)

CHECKPOINT = 1000.0  # seconds; longer than any of this takes


class Pipe:
    """The supervisor: grants what is asked for, after what it is to say before."""

    def __init__(self, slot_fd):
        self._slot_fd, self.sent, self.before, self.refusal = slot_fd, [], [], None

    def send(self, message):
        self.sent.append(message)

    def waiting(self, seconds):
        return bool(self.before)

    def answer(self):
        if self.before:
            return self.before.pop(0)
        asked = next(message for message in reversed(self.sent) if isinstance(message, NeedMemory))
        if self.refusal:
            return self.refusal
        slots.resize_memory(self._slot_fd, max(asked.slot_bytes, slots.EMPTY_SLOT_BYTES))
        return Granted(slot_bytes=asked.slot_bytes, scratch_bytes=asked.scratch_bytes)

    def told(self, kind):
        return [message for message in self.sent if isinstance(message, kind)]


class Interrupt:
    """SIGTERM, that comes when the test says so."""

    heard = False

    def check(self):
        if self.heard:
            raise Interrupted

    def receive(self, channel):
        self.check()
        return channel.answer()

    @contextlib.contextmanager
    def ending_at_once(self):
        self.check()
        yield

    def end_while_decoding(self, finish):
        pass


class World:
    """A worker whose image is `name`; outputs go to `out`."""

    def __init__(self, folder, inputs=None):
        (folder / "out" / "flight").mkdir(parents=True)
        self.out, self.flight = folder / "out", Folder.at(folder / "out" / "flight")
        self.fd = slots.make_memory()
        self.pipe, self.interrupt, self.broken = Pipe(self.fd), Interrupt(), []
        setup = Setup(
            worker=1,
            out=str(self.out),
            flight=str(self.flight.path),
            pixels=PixelOptions(tile_rows=8),
            max_pixels=10**9,
            checkpoint=CHECKPOINT,
        )
        out = Folder.at(self.out)
        self.checkpoints = FolderCheckpoints(self.flight, out, setup.pixels)
        publisher = FolderPublisher(out, self.flight, IntentLog(self.flight, 1))
        outbox = committer.Committer(publisher, self.checkpoints, self.pipe.send, self.broken.append)
        self.it = worker.Worker(
            self.pipe,
            setup,
            Scratch(self.flight, 1),
            worker.Places(inputs or Files(), self.checkpoints, outbox),
            slots.Slot(self.fd),
            self.interrupt,
        )
        self.converter = self.it._converter

    def task(self, path, **changes):
        return Task(
            index=0, source=str(path), output=f"{path.stem}.jpg", version=opening.version_of(str(path)), **changes
        )

    def header(self, task):
        return sidecar.read_header(self.flight, sidecar.name_of(task.output))


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.it._outbox.finish()
    os.close(world.fd)
    assert world.broken == []


@pytest.fixture
def picture(tmp_path):
    return save_gradient(tmp_path / "a.png", 40, 64, exact=True)


@pytest.fixture
def gray_picture(tmp_path):
    """All its tiles are finished as soon as it is decoded: no kernel runs."""
    path = tmp_path / "gray.png"
    Image.fromarray(np.full((64, 40), 7, np.uint8)).save(path)
    return path


@pytest.mark.parametrize("kind", ["picture", "gray_picture"])
def test_a_slow_decode_is_checkpointed_before_the_image_is_encoded(world, request, kind):
    """Else a power cut while it is encoded would cost the decoding: minutes for a large image."""
    task = world.task(request.getfixturevalue(kind))
    began_long_ago = time.monotonic() - CHECKPOINT
    world.converter._compute(task, task.source, None, began_long_ago)
    (told,) = world.pipe.told(Flushed)
    assert (told.tiles_done, told.tiles_total) == (8, 8)
    assert world.header(task).tiles == [(0, 8)]


def test_a_quick_image_costs_no_checkpoint(world, picture):
    task = world.task(picture)
    world.converter._compute(task, task.source, None, time.monotonic())
    assert world.pipe.told(Flushed) == []
    assert world.header(task) is None


def test_sigterm_between_two_tiles_flushes_what_is_finished_and_draws_it(world, picture):
    task = world.task(picture)
    kernel = world.converter._kernel
    finished = 0

    def hear_at_the_third(rgb, gray):
        nonlocal finished
        kernel(rgb, gray)
        finished += 1
        world.interrupt.heard = finished == 3

    world.converter._kernel = hear_at_the_third
    with pytest.raises(Interrupted):
        world.it._convert(task)
    (told,) = world.pipe.told(Flushed)
    assert (told.tiles_done, world.header(task).tiles) == (3, [(0, 3)])
    with Image.open(world.out / "a.partial.jpg") as preview:
        assert not np.asarray(preview)[24:].any()


def test_sigterm_before_the_first_tile_leaves_the_image_as_it_was(world, picture):
    task = world.task(picture)
    with contextlib.closing(opening.open_image(task.source, "bt601", 10**9)) as source:
        image = world.converter._lay_out(task, source, None)
    world.interrupt.heard = True
    with pytest.raises(Interrupted):
        world.converter._run_kernel(task, image)
    assert world.pipe.told(Flushed) == []
    assert world.header(task) is None
    assert not (world.out / "a.partial.jpg").exists()


def test_an_input_that_changes_while_it_is_read_fails_and_gives_no_output(world, picture, monkeypatch):
    task = world.task(picture)
    real = opening.open_image

    def open_and_change(*given):
        source = real(*given)
        os.utime(picture, ns=(1, 1))
        return source

    monkeypatch.setattr(opening, "open_image", open_and_change)
    world.it._convert(task)
    world.it._outbox.finish()
    (told,) = world.pipe.told(Failed)
    assert "changed while it was being read" in told.reason
    assert not (world.out / "a.jpg").exists()


def test_while_it_waits_for_memory_it_gives_back_what_it_has(world, picture, monkeypatch):
    """Others are short of it; the codec's memory goes back to the system, not only to the heap."""
    calls = []
    monkeypatch.setattr(allocator, "give_back", lambda: calls.append("given back"))
    world.it._scratch_bytes = 100
    world.pipe.before.append(GiveBack(slot_bytes=slots.EMPTY_SLOT_BYTES))
    world.it._reserve(10**6, 50)
    assert calls == ["given back"]
    assert (world.it._scratch_bytes, world.it._slot.size) == (50, 10**6)


def test_memory_that_is_there_already_is_not_asked_for(world):
    world.it._reserve(slots.EMPTY_SLOT_BYTES, 0)
    assert world.pipe.told(NeedMemory) == []


def test_a_refusal_fails_the_image_with_its_reason_and_remedy(world, picture):
    world.pipe.refusal = Refused(reason="needs 1 MB", remedy="raise --memory")
    world.it._convert(world.task(picture))
    (told,) = world.pipe.told(Failed)
    assert "needs 1 MB" in told.reason
    assert "raise --memory" in told.reason


def test_an_image_that_waits_for_the_disk_is_not_in_its_slot_any_more(world, picture):
    """Else its worker's death, or its time, would be held against it."""
    world.it._convert(world.task(picture))
    assert world.it._slot.announced is None


def test_a_second_opinion_waits_for_its_own_memory(world, tmp_path):
    """The library that decodes a faulty JPEG again takes three times as much."""
    path = save_gradient(tmp_path / "odd.jpg", 203, 155, quality=90)
    data = path.read_bytes()
    path.write_bytes(data[:-2] + bytes(600) + data[-2:])
    image, computed = world.converter._compute(world.task(path), str(path), None, time.monotonic())
    first, second = world.pipe.told(NeedMemory)
    assert second.slot_bytes == first.slot_bytes
    assert second.scratch_bytes > 4 * first.scratch_bytes
    assert "fault in the file" in image.record.note
    assert computed == image.record.tiles_total
    assert image.tiles_done == image.record.tiles_total


def test_what_opening_takes_is_asked_for_before_it_is_opened(world, tmp_path, monkeypatch):
    path = save_gradient(tmp_path / "a.webp", 203, 155)
    opened = []
    monkeypatch.setattr(opening, "_READERS", {})
    monkeypatch.setattr(pillow.Image, "open", lambda *_, **__: opened.append(1) or 1 / 0)
    world.pipe.refusal = Refused(reason="needs 9 MB", remedy="raise --memory")
    world.it._convert(world.task(path))
    assert [message.reason for message in world.pipe.told(Failed)] == ["needs 9 MB; raise --memory"]
    assert opened == []


def test_all_notes_are_in_the_slot_before_the_first_tile(world, tmp_path):
    """Whoever finishes the image after this worker knows them only from there."""
    pixels = np.zeros((64, 40, 4), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    kernel, noted = world.converter._kernel, []
    world.converter._kernel = lambda rgb, gray: noted.append(world.it._slot.image().record.note) or kernel(rgb, gray)
    world.converter._compute(world.task(tmp_path / "a.png"), str(tmp_path / "a.png"), None, time.monotonic())
    assert noted == [transparency.IGNORED] * 8


# what is there already


def begun_earlier(world, path, tiles=8, **changes):
    """The task of an image of which an earlier run left so many tiles."""
    task = world.task(path, resumable=True, **changes)
    with contextlib.closing(opening.open_image(task.source, "bt601", 10**9)) as source:
        record, _ = world.converter.describe(source)
    fd = slots.make_memory()
    slots.resize_memory(fd, record.slot_bytes)
    image = slots.Slot(fd).begin(record, b"")
    image.flags[:tiles] = b"\1" * tiles
    world.checkpoints.save(task, image)
    os.close(fd)
    return task


def test_the_tiles_of_an_earlier_run_are_gone_on_from(world, picture):
    task = begun_earlier(world, picture, tiles=5)
    *_, computed = world.converter._compute(
        task, task.source, world.converter._usable_sidecar(task, task.source), time.monotonic()
    )
    assert computed == 3


def test_the_tiles_of_a_source_that_has_changed_since_the_plan_are_not_used(world, picture):
    """Half of the output would show what the picture was before."""
    task = begun_earlier(world, picture)
    assert world.converter._usable_sidecar(task, task.source) is not None
    os.utime(picture, ns=(1, 1))
    assert world.converter._usable_sidecar(task, task.source) is None


def test_a_finished_plane_is_encoded_without_its_source_unless_it_claims_to_be_too_large(world, picture):
    task = begun_earlier(world, picture)
    header = world.converter._usable_sidecar(task, task.source)
    restored = world.converter._restore_finished(task, header)
    assert restored.tiles_done == restored.record.tiles_total
    world.converter._setup = msgspec.structs.replace(world.converter._setup, max_pixels=40 * 64 - 1)
    assert world.converter._restore_finished(task, header) is None


@pytest.mark.parametrize("way", ["begun by an earlier run", "checkpointed by this one", "neither"])
def test_what_was_checkpointed_is_removed_with_its_output(world, picture, way):
    """Else sidecars as large as the images would fill the disk until the run is complete."""
    task = begun_earlier(world, picture) if way.startswith("begun") else world.task(picture)
    slow = CHECKPOINT if way.startswith("checkpointed") else 0.0
    written = world.it._make_in_memory(InHand(task, task.source), time.monotonic() - slow)
    os.close(written.file.fileno())
    assert written.begun == (way != "neither")


def test_what_reads_past_the_end_of_a_file_is_not_taken_for_the_supervisors_end(world, picture, monkeypatch):
    """Such a worker would exit without a word, as if all was well."""

    def cut_off(*_):
        raise EOFError

    monkeypatch.setattr(world.it, "_make_output", cut_off)
    monkeypatch.setattr(world.pipe, "before", [Convert(tasks=[world.task(picture)], slot_bytes=0, scratch_bytes=0)])
    world.it._slot.refresh = lambda: None
    with pytest.raises(EOFError):
        world.it.work()
    monkeypatch.setattr(world.pipe, "answer", cut_off)
    with pytest.raises(worker.SupervisorGone):
        world.it.work()


def test_a_plane_that_was_cut_off_costs_its_image(world, picture, monkeypatch):
    def cut_off(*_):
        raise Changed("a.jpg", "the plane of its finished bands was cut off meanwhile")

    monkeypatch.setattr(world.it, "_make_output", cut_off)
    world.it._convert(world.task(picture))
    (failed,) = world.pipe.told(Failed)
    assert "cut off" in failed.reason


@pytest.mark.parametrize("wanted", [False, True])
def test_an_output_gets_its_inputs_time_where_that_is_asked_for(world, tmp_path, monkeypatch, wanted):
    path = save_gradient(tmp_path / "a.jpg", 64, 64)
    os.utime(path, ns=(1, 1_234_567_890_123_456_789))
    world.it._setup = msgspec.structs.replace(world.it._setup, times=wanted)
    written = world.it._make_output(InHand(world.task(path), str(path)))
    found = os.fstat(written.file.fileno()).st_mtime_ns
    assert (found == 1_234_567_890_123_456_789) == wanted
    assert written.done.note is None
    os.close(written.file.fileno())
    monkeypatch.setattr(type(written.file), "set_time", lambda *_: False)
    written = world.it._make_output(InHand(world.task(path), str(path)))
    assert written.done.note == ("the input's modification time could not be kept" if wanted else None)
    os.close(written.file.fileno())


class Ahead:
    """Inputs that have room for what the test says, and write down what is expected of them."""

    def __init__(self, room):
        self.room, self.is_there, self.expected = room, True, []

    def expect(self, tasks):
        self.expected += [task.index for task in tasks]

    @contextlib.contextmanager
    def at_hand(self, task):
        yield InHand(task, task.source, waited=0.25)


@pytest.fixture
def ahead(tmp_path):
    world = World(tmp_path / "ahead", Ahead(1000))
    yield world
    world.it._outbox.finish()
    os.close(world.fd)


def convert(*tasks):
    return Convert(tasks=list(tasks), slot_bytes=slots.EMPTY_SLOT_BYTES, scratch_bytes=0)


def test_more_is_asked_for_once_while_an_image_is_converted(ahead, picture):
    task = ahead.task(picture)
    ahead.it._take_in(convert(task, msgspec.structs.replace(task, index=1, output="b.jpg")))
    ahead.it._work_off()
    assert ahead.pipe.told(WantsMore) == [WantsMore(size=1000)]
    assert ahead.pipe.told(Idle) == [Idle(chunks=1)]


def test_what_comes_while_images_are_converted_is_expected_at_once_and_converted_after_them(ahead, picture):
    task = ahead.task(picture)
    ahead.pipe.before = [convert(msgspec.structs.replace(task, index=1, output="b.jpg"))]
    ahead.it._take_in(convert(task))
    ahead.it._inputs.room = 0
    ahead.it._wanted_more = True
    ahead.it._ask_for_more()
    assert ahead.it._inputs.expected == [0, 1]
    ahead.it._work_off()
    ahead.it._outbox.finish()
    assert [done.index for told in ahead.pipe.told(Done) for done in told.images] == [0, 1]
    assert ahead.pipe.told(Idle) == [Idle(chunks=2)]


def test_images_that_come_while_it_waits_for_memory_are_kept_for_later(ahead, picture):
    task = ahead.task(picture)
    ahead.pipe.before = [convert(msgspec.structs.replace(task, index=1, output="b.jpg"))]
    ahead.it._reserve(10**6, 50)
    assert (ahead.it._scratch_bytes, ahead.it._slot.size) == (50, 10**6)
    assert [task.index for task in ahead.it._tasks] == ahead.it._inputs.expected == [1]


def test_how_long_it_stood_still_is_told_with_the_image(ahead, picture):
    ahead.it._waited = 0.5
    ahead.it._convert(ahead.task(picture))
    ahead.it._outbox.finish()
    assert ahead.pipe.told(Done)[0].images[0].waited >= 0.75


def test_an_input_in_memory_that_turns_out_too_large_becomes_a_file(world, picture, monkeypatch):
    """What converts in bands reads a file."""
    data = picture.read_bytes()
    task = world.task(picture)
    version = task.version.of_copy()
    seen = []

    def in_bands(task, started, error, sliced):
        seen.append((Path(task.source).read_bytes(), opening.version_of(task.source)))
        raise Changed(task.output, "stop here")

    monkeypatch.setattr(world.it, "_make_in_bands", in_bands)
    world.pipe.refusal = Refused(reason="it needs more", remedy="raise --memory")
    with pytest.raises(Changed):
        world.it._make_output(
            InHand(msgspec.structs.replace(task, version=version), opening.FetchedInput(data, version))
        )
    assert seen == [(data, version)]
    assert not [name for name in world.flight.names() if "out" in name]
