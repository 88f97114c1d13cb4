"""When a worker's finished files go to the disk: in company while more are coming, at once when none are; and what one
of them can do to the others: nothing.
"""

import queue

import msgspec
import pytest
from harness import DEADLINE, removed_afterwards, written

from batchgray import committer, partial
from batchgray.durable import Folder
from batchgray.intents import IntentLog
from batchgray.messages import Done, Failed


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
    out = Folder.at(tmp_path)
    thread = committer.Committer(out, flight, IntentLog(flight, 1), reports.put, broken=reports.put)
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
    gathering.hurry()
    assert indices(reports.get(timeout=DEADLINE)) == [0]
    assert (tmp_path / "0.jpg").read_bytes() == b"picture 0"


def test_who_comes_after_a_hurry_waits_again(gathering, reports, flight):
    gathering.hurry()
    gathering.put(written(flight, 0))
    with pytest.raises(queue.Empty):
        reports.get(timeout=0.2)
    gathering.finish()
    assert indices(reports.get(timeout=DEADLINE)) == [0]


def all_reports(reports):
    return [reports.get(timeout=DEADLINE) for _ in range(reports.qsize())]


@pytest.mark.parametrize("error", [RecursionError("too deep"), RuntimeError("a fault of the program"), MemoryError()])
def test_whatever_goes_wrong_with_an_output_costs_that_image(gathering, reports, flight, tmp_path, monkeypatch, error):
    real = Folder.rename_new

    def rename_new(self, name, *others):
        if name == "1.out":
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

    monkeypatch.setattr(partial, "discard_preview", discard_preview)
    gathering.put(written(flight, 0)._replace(begun=True))
    gathering.put(written(flight, 1))
    gathering.finish()
    assert {type(report) for report in all_reports(reports)} == {Failed, Done}
