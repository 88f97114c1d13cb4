"""When a worker's finished files go to the disk: in company while more are coming, at once when none are.

And over whose files: over earlier outputs of batchgray's own, never over anybody else's.
"""

import errno
import os
import queue
import shutil
import threading

import msgspec
import pytest
from harness import DEADLINE, written

from batchgray import committer, durable, integrity, partial
from batchgray.intents import IntentLog
from batchgray.messages import Done, Failed, OutputFault


@pytest.fixture
def reports():
    return queue.Queue()


@pytest.fixture
def gathering(tmp_path, monkeypatch, reports):
    """A committer that waits for company for longer than any test."""
    monkeypatch.setattr(committer, "_GATHERING_SECONDS", 10 * DEADLINE)
    flight = tmp_path / "flight"
    flight.mkdir()
    thread = committer.Committer(tmp_path, flight, IntentLog(flight, 1), reports.put, broken=reports.put)
    thread.start()
    yield thread
    thread.finish()


def indices(report):
    return [image.index for image in report.images]


def test_files_wait_for_company_until_a_group_is_whole(gathering, reports, tmp_path):
    for index in range(committer._GROUP_FILES - 1):
        gathering.put(written(tmp_path / "flight", index))
    with pytest.raises(queue.Empty):
        reports.get(timeout=0.2)
    gathering.put(written(tmp_path / "flight", committer._GROUP_FILES - 1))
    assert indices(reports.get(timeout=DEADLINE)) == list(range(committer._GROUP_FILES))


def test_no_file_waits_for_company_that_does_not_come(gathering, reports, tmp_path):
    gathering.put(written(tmp_path / "flight", 0))
    gathering.hurry()
    assert indices(reports.get(timeout=DEADLINE)) == [0]
    assert (tmp_path / "0.jpg").read_bytes() == b"picture 0"


def test_who_comes_after_a_hurry_waits_again(gathering, reports, tmp_path):
    gathering.hurry()
    gathering.put(written(tmp_path / "flight", 0))
    with pytest.raises(queue.Empty):
        reports.get(timeout=0.2)
    gathering.finish()
    assert indices(reports.get(timeout=DEADLINE)) == [0]


def test_no_more_files_are_open_than_may_be(tmp_path, flight):
    """A worker that makes them faster than the disk takes them waits."""
    asked = []

    class Condition(threading.Condition):
        def wait_for(self, predicate, timeout=None):
            asked.append(predicate())

    thread = committer.Committer(tmp_path, flight, IntentLog(flight, 1), print, print)
    thread._most, thread._changed = 2, Condition()
    files = [written(flight, index) for index in range(3)]
    for file in files:
        thread.put(file)
        os.close(file.fd)
    assert asked == [True, True, False]


# whose file it is


def committed(tmp_path, reports, *files):
    """The reports of a committer that was given these files."""
    thread = committer.Committer(
        tmp_path, tmp_path / "flight", IntentLog(tmp_path / "flight", 1), reports.put, broken=reports.put
    )
    thread.start()
    for file in files:
        thread.put(file)
    thread.finish()
    return [reports.get_nowait() for _ in range(reports.qsize())]


def with_task(file, **changes):
    return file._replace(task=msgspec.structs.replace(file.task, **changes))


@pytest.fixture
def flight(tmp_path):
    (tmp_path / "flight").mkdir()
    return tmp_path / "flight"


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
    assert list(flight.glob("*.out")) == []


def test_a_file_that_batchgray_did_not_make_is_never_replaced(tmp_path, flight, reports):
    (tmp_path / "0.jpg").write_bytes(b"theirs")
    said = committed(tmp_path, reports, written(flight, 0), written(flight, 1))
    assert [type(message) for message in said] == [Failed, Done]
    assert "did not make" in said[0].reason
    assert (tmp_path / "0.jpg").read_bytes() == b"theirs"


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
    (said,) = committed(out, reports, with_task(written(out / "flight", 0), output="a/0.jpg"))
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
    sync_folders = durable.sync_folders

    def fail(paths):
        if tmp_path in paths:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync_folders(paths)

    monkeypatch.setattr(durable, "sync_folders", fail)
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
        (durable, "rename_new"),
        (partial, "discard_preview"),
        (durable, "sync_folders"),
        (partial, "remove"),
    ]:
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, real=real, name=name: (order.append(name), real(*given))[1])
    said = committed(tmp_path, reports, written(flight, 0)._replace(begun=True))
    assert isinstance(said[0], Done)
    assert order[-4:] == ["rename_new", "discard_preview", "sync_folders", "remove"]


def test_a_new_folder_and_those_above_it_are_synced_once_and_its_files_always(tmp_path, flight, reports, monkeypatch):
    """That a folder is there does not say that it is on the disk: another worker may just be making it."""
    synced = []
    sync_folders = durable.sync_folders
    monkeypatch.setattr(durable, "sync_folders", lambda paths: (synced.append(set(paths)), sync_folders(paths)))
    (tmp_path / "a" / "b").mkdir(parents=True)
    log = IntentLog(flight, 1)
    thread = committer.Committer(tmp_path, flight, log, reports.put, broken=reports.put)
    for index in range(2):
        thread._commit([with_task(written(flight, index), output=f"a/b/{index}.jpg")])
    assert [type(reports.get_nowait()) for _ in range(2)] == [Done, Done]
    assert synced[1:] == [{tmp_path / "a" / "b", tmp_path / "a", tmp_path}, {tmp_path / "a" / "b"}]


def test_a_folder_that_could_not_be_synced_is_synced_again(tmp_path, flight, reports, monkeypatch):
    (tmp_path / "a").mkdir()
    thread = committer.Committer(tmp_path, flight, IntentLog(flight, 1), reports.put, broken=reports.put)
    sync_folders = durable.sync_folders

    def fail(paths):
        if tmp_path in paths:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync_folders(paths)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "sync_folders", fail)
        thread._commit([with_task(written(flight, 0), output="a/0.jpg")])
    assert isinstance(reports.get_nowait(), OutputFault)
    synced = []
    monkeypatch.setattr(durable, "sync_folders", synced.extend)
    thread._commit([with_task(written(flight, 1), output="a/1.jpg")])
    assert set(synced) == {tmp_path / "a", tmp_path}


def test_an_output_folder_that_is_gone_is_not_made_anew_behind_its_owners_back(tmp_path, reports, monkeypatch):
    out = tmp_path / "out"
    (out / "flight").mkdir(parents=True)
    file = with_task(written(out / "flight", 0), output="a/0.jpg")
    check = committer.leads_outside
    monkeypatch.setattr(committer, "leads_outside", lambda *given: (check(*given), shutil.rmtree(out))[0])
    (said,) = committed(out, reports, file)
    assert isinstance(said, OutputFault)
    assert not out.exists()
