"""When a worker's finished files go to the disk: in company while more are coming, at once when none are."""

import queue

import pytest
from harness import DEADLINE, written

from batchgray import committer
from batchgray.durable import Folder
from batchgray.intents import IntentLog


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
