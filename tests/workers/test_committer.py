"""When a worker's finished files go to the disk: in company while more are coming, at once when none are.

And over whose files: over earlier outputs of batchgray's own, never over anybody else's. What goes wrong with one of
them costs no other.
"""

import errno
import os
import queue
import shutil
import threading
from pathlib import Path

import msgspec
import pytest
from harness import DEADLINE, removed_afterwards, written

from batchgray.checkpoints.folder import FolderCheckpoints
from batchgray.options import PixelOptions
from batchgray.storage import durable, integrity
from batchgray.storage.durable import Folder
from batchgray.storage.intents import IntentLog
from batchgray.storage.publishing import FolderPublisher
from batchgray.workers import committer
from batchgray.workers.messages import Done, Failed, OutputFault


@pytest.fixture
def reports():
    return queue.Queue()


@pytest.fixture
def flight(tmp_path):
    (tmp_path / "flight").mkdir()
    return Folder.at(tmp_path / "flight")


@pytest.fixture
def gathering(tmp_path, flight, monkeypatch, reports):
    """A committer that waits for company for longer than any test."""
    monkeypatch.setattr(committer, "_GATHERING_SECONDS", 10 * DEADLINE)
    thread = committer_in(tmp_path, reports)
    thread.start()
    yield thread
    thread.finish()


def indices(report):
    return [image.index for image in report.images]


def test_files_wait_for_company_until_a_group_is_whole(gathering, reports, flight):
    for index in range(committer._GROUP_FILES - 1):
        gathering.put(written(flight, index))
    with pytest.raises(queue.Empty):
        reports.get(timeout=0.2)
    gathering.put(written(flight, committer._GROUP_FILES - 1))
    assert indices(reports.get(timeout=DEADLINE)) == list(range(committer._GROUP_FILES))


def test_no_file_waits_for_company_that_does_not_come(gathering, reports, tmp_path, flight):
    gathering.put(written(flight, 0))
    gathering.commit_now()
    assert indices(reports.get(timeout=DEADLINE)) == [0]
    assert (tmp_path / "0.jpg").read_bytes() == b"picture 0"


def test_what_comes_after_that_waits_again(gathering, reports, flight):
    gathering.commit_now()
    gathering.put(written(flight, 0))
    with pytest.raises(queue.Empty):
        reports.get(timeout=0.2)
    gathering.finish()
    assert indices(reports.get(timeout=DEADLINE)) == [0]


@pytest.mark.parametrize(
    ("small_pixels", "room"),
    [
        pytest.param(10**6, [True, True, True, False], id="small files: as many as may be open"),
        pytest.param(1, [True, True, False, False], id="larger ones: not as many, as each is more work to lose"),
    ],
)
def test_a_worker_that_is_faster_than_the_disk_waits(tmp_path, flight, reports, monkeypatch, small_pixels, room):
    asked = []

    class Condition(threading.Condition):
        def wait_for(self, predicate, timeout=None):
            asked.append(predicate())

    monkeypatch.setattr(committer, "_SMALL_PIXELS", small_pixels)
    thread = committer_in(tmp_path, reports)
    thread._most, thread._most_small, thread._changed = 2, 3, Condition()
    files = [written(flight, index) for index in range(4)]
    for file in files:
        thread.put(file)
        os.close(file.file.fileno())
    assert asked == room


# whose file it is


def committed(tmp_path, reports, *files):
    """The reports of a committer that was given these files."""
    thread = committer_in(tmp_path, reports)
    thread.start()
    for file in files:
        thread.put(file)
    thread.finish()
    return [reports.get_nowait() for _ in range(reports.qsize())]


def committer_in(out, reports):
    flight = Folder.at(out / "flight")
    folder = Folder.at(out)
    checkpoints = FolderCheckpoints(flight, folder, PixelOptions())
    publisher = FolderPublisher(folder, flight, IntentLog(flight, 1))
    return committer.Committer(publisher, checkpoints, reports.put, broken=reports.put)


def with_task(file, **changes):
    return file._replace(task=msgspec.structs.replace(file.task, **changes))


@pytest.mark.parametrize("kind", ["the picture itself", "a hard link", "a link to it"])
@pytest.mark.parametrize("replaces", ["*", "checksum"])
def test_the_users_picture_is_never_replaced_by_its_own_output(tmp_path, flight, reports, kind, replaces):
    """Whatever planning made of the names, and whatever the user allowed to be replaced."""
    target, source = tmp_path / "0.jpg", tmp_path / "0.jpg"
    target.write_bytes(b"the user's picture")
    if kind == "a hard link":
        source = tmp_path / "hard"
        source.hardlink_to(target)
    elif kind == "a link to it":
        (tmp_path / "folder").symlink_to(".")
        source = tmp_path / "folder" / "0.jpg"
    if replaces == "checksum":
        replaces = integrity.checksum([b"the user's picture"])
    (said,) = committed(tmp_path, reports, with_task(written(flight, 0), source=str(source), replaces=replaces))
    assert isinstance(said, Failed)
    assert "would replace the image itself" in said.reason
    assert target.read_bytes() == b"the user's picture"
    assert flight.names() == ["1.intents"]


def test_a_file_that_batchgray_did_not_make_is_never_replaced(tmp_path, flight, reports):
    (tmp_path / "0.jpg").write_bytes(b"theirs")
    said = committed(tmp_path, reports, written(flight, 0), written(flight, 1))
    assert [type(message) for message in said] == [Failed, Done]
    assert "did not make" in said[0].reason
    assert (tmp_path / "0.jpg").read_bytes() == b"theirs"


def test_a_link_is_never_taken_for_an_output(tmp_path, flight, reports):
    """Whatever it leads to: batchgray makes no links."""
    (tmp_path / "elsewhere").write_bytes(b"picture 0")
    (tmp_path / "0.jpg").symlink_to("elsewhere")
    (said,) = committed(tmp_path, reports, written(flight, 0))
    assert "did not make" in said.reason
    assert (tmp_path / "0.jpg").is_symlink()


@pytest.mark.parametrize("there", [b"picture 0", b"an earlier version"])
def test_an_output_of_its_own_is_replaced(tmp_path, flight, reports, there):
    (tmp_path / "0.jpg").write_bytes(there)
    earlier = integrity.checksum([b"an earlier version"])
    (said,) = committed(tmp_path, reports, with_task(written(flight, 0), replaces=earlier))
    assert isinstance(said, Done)
    assert (tmp_path / "0.jpg").read_bytes() == b"picture 0"


def test_nothing_is_written_through_a_folder_that_is_a_link_outside(tmp_path, reports):
    out, outside = tmp_path / "out", tmp_path / "outside"
    (out / "flight").mkdir(parents=True)
    outside.mkdir()
    (out / "a").symlink_to(outside)
    (said,) = committed(out, reports, with_task(written(Folder.at(out / "flight"), 0), output="a/0.jpg"))
    assert isinstance(said, Failed)
    assert list(outside.iterdir()) == []


def test_a_group_that_can_not_be_synced_is_not_placed(tmp_path, flight, reports, monkeypatch):
    """A name is given only to what is on the disk."""

    def fail(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(durable, "sync", fail)
    said = committed(tmp_path, reports, written(flight, 0))
    assert [type(message) for message in said] == [OutputFault]
    assert not said[0].full
    assert not (tmp_path / "0.jpg").exists()


def test_a_folder_that_can_not_be_synced_makes_nothing_done(tmp_path, flight, reports, monkeypatch):
    monkeypatch.setattr(durable, "sync_all", failing_for(tmp_path, errno.ENOSPC))
    said = committed(tmp_path, reports, written(flight, 0), written(flight, 1))
    assert (tmp_path / "0.jpg").exists(), "it was not its file that failed"
    assert {type(message) for message in said} == {OutputFault}
    assert all(message.full for message in said)


def test_what_is_left_of_a_begun_image_goes_in_the_order_that_a_power_cut_may_come(
    tmp_path, flight, reports, monkeypatch
):
    """The partial JPEG's end is synced with the output's name; the sidecar, which claims it, goes only then.

    Else a cut would leave neither the output nor the tiles to make it from, or a partial JPEG for ever.
    """
    order = []
    for module, name in [
        (Folder, "rename_new"),
        (FolderCheckpoints, "discard_preview"),
        (durable, "sync_all"),
        (FolderCheckpoints, "remove"),
    ]:
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, real=real, name=name: (order.append(name), real(*given))[1])
    said = committed(tmp_path, reports, written(flight, 0)._replace(begun=True))
    assert isinstance(said[0], Done)
    assert order[-4:] == ["rename_new", "discard_preview", "sync_all", "remove"]


def test_a_new_folder_and_those_above_it_are_synced_once_and_its_files_always(tmp_path, flight, reports, monkeypatch):
    """That a folder is there does not say that it is on the disk: another worker may just be making it."""
    synced = watch_syncs(monkeypatch)
    (tmp_path / "a" / "b").mkdir(parents=True)
    thread = committer_in(tmp_path, reports)
    thread._commit([with_task(written(flight, 0), output="a/b/0.jpg")])
    assert synced >= {tmp_path / "a" / "b", tmp_path / "a", tmp_path}
    synced.clear()
    thread._commit([with_task(written(flight, 1), output="a/b/1.jpg")])
    assert [type(reports.get_nowait()) for _ in range(2)] == [Done, Done]
    assert {path for path in synced if path.is_dir()} == {tmp_path / "a" / "b"}


def watch_syncs(monkeypatch):
    """The paths of what is synced from now on."""
    synced, sync_all = set(), durable.sync_all
    monkeypatch.setattr(durable, "sync_all", lambda fds: (synced.update(map(path_of, fds)), sync_all(fds)))
    return synced


def path_of(fd):
    return Path(f"/proc/self/fd/{fd}").readlink()


def failing_for(path, code, sync_all=durable.sync_all):
    """durable.sync_all, but for what this path leads to."""

    def sync(fds):
        if path in map(path_of, fds):
            raise OSError(code, os.strerror(code))
        sync_all(fds)

    return sync


def test_a_folder_that_could_not_be_synced_is_synced_again(tmp_path, flight, reports, monkeypatch):
    (tmp_path / "a").mkdir()
    thread = committer_in(tmp_path, reports)
    with monkeypatch.context() as patch:
        patch.setattr(durable, "sync_all", failing_for(tmp_path, errno.EIO))
        thread._commit([with_task(written(flight, 0), output="a/0.jpg")])
    assert isinstance(reports.get_nowait(), OutputFault)
    synced = watch_syncs(monkeypatch)
    thread._commit([with_task(written(flight, 1), output="a/1.jpg")])
    assert synced >= {tmp_path / "a", tmp_path}


def test_an_output_folder_that_is_gone_is_not_made_anew_behind_its_owners_back(tmp_path, reports, monkeypatch):
    out = tmp_path / "out"
    (out / "flight").mkdir(parents=True)
    file = with_task(written(Folder.at(out / "flight"), 0), output="a/0.jpg")
    below = Folder.below
    monkeypatch.setattr(Folder, "below", lambda *given, **named: (shutil.rmtree(out), below(*given, **named))[1])
    (said,) = committed(out, reports, file)
    assert isinstance(said, OutputFault)
    assert not out.exists()


def all_reports(reports):
    return [reports.get(timeout=DEADLINE) for _ in range(reports.qsize())]


@pytest.mark.parametrize("error", [RecursionError("too deep"), RuntimeError("a fault of the program"), MemoryError()])
def test_whatever_goes_wrong_with_an_output_costs_that_image(gathering, reports, flight, tmp_path, monkeypatch, error):
    real = Folder.rename_new

    def rename_new(self, name, *others):
        if name == "1-1.out":
            raise error
        real(self, name, *others)

    monkeypatch.setattr(Folder, "rename_new", rename_new)
    for index in range(3):
        gathering.put(written(flight, index))
    gathering.finish()
    failed, done = all_reports(reports)
    assert isinstance(failed, Failed)
    assert failed.index == 1
    assert type(error).__name__ in failed.reason
    assert indices(done) == [0, 2]
    assert sorted(flight.names()) == ["1.intents"]


def test_an_output_may_be_deeper_than_a_path_is_long(gathering, reports, flight, tmp_path):
    name = "deep/" * 1100 + "0.jpg"
    with removed_afterwards(tmp_path / "deep"):
        deep = written(flight, 0)
        gathering.put(deep._replace(task=msgspec.structs.replace(deep.task, output=name)))
        gathering.put(written(flight, 1))
        gathering.finish()
        assert [type(report) for report in all_reports(reports)] == [Done]
        with Folder.at(tmp_path) as out, out.below(name.rpartition("/")[0]) as folder:
            assert folder.names() == ["0.jpg"]


def test_a_partial_jpeg_that_cannot_go_costs_no_image(gathering, reports, flight, monkeypatch):
    def discard_preview(*_):
        raise RuntimeError("a fault of the program")

    monkeypatch.setattr(FolderCheckpoints, "discard_preview", discard_preview)
    gathering.put(written(flight, 0)._replace(begun=True))
    gathering.put(written(flight, 1))
    gathering.finish()
    assert {type(report) for report in all_reports(reports)} == {Failed, Done}
