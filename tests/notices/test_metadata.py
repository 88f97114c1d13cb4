"""The termination time becomes one notice; whatever is unclear is told once and outlived."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from harness import DEADLINE

from batchgray.cloud import instance
from batchgray.cloud.instance import MetadataService, iso_utc
from batchgray.notices import metadata
from batchgray.notices.inbox import Complaint, Inbox, InterruptionNotice
from batchgray.notices.metadata import MetadataListener


@pytest.fixture(params=[False, True], ids=["open", "hardened"])
def server(request, smq_local):
    with smq_local.LocalSMQ(instance_id="i-mine", role="reader", hardened=request.param) as server:
        yield server


def heard(inbox, kind, seconds=DEADLINE):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for item in inbox.take():
            if isinstance(item, kind):
                return item
        time.sleep(0.01)
    return None


@pytest.fixture
def listening(server):
    inbox, listener = Inbox(), MetadataListener(server.metadata_url, poll_seconds=0.05)
    listener.start(inbox)
    yield inbox
    listener.stop()
    inbox.close()


def test_the_termination_time_is_the_notices_deadline(server, listening):
    server.wait_until(lambda: server.requests["GetTerminationTime"] > 2)
    assert heard(listening, InterruptionNotice, 0.1) is None
    moment = datetime.now(UTC) + timedelta(minutes=4)
    server.termination_time = iso_utc(moment)
    notice = heard(listening, InterruptionNotice)
    assert (notice.source, notice.deadline) == ("metadata", iso_utc(moment))


def test_a_time_that_the_instance_has_outlived_is_one_warning_and_no_notice(server, listening):
    server.termination_time = iso_utc(datetime.now(UTC) - timedelta(minutes=11))
    complaint = heard(listening, Complaint)
    assert "--notices smq" in complaint.message
    asked = server.requests["GetTerminationTime"]
    server.wait_until(lambda: server.requests["GetTerminationTime"] > asked + 2)
    assert heard(listening, (Complaint, InterruptionNotice), 0.1) is None
    server.termination_time = iso_utc(datetime.now(UTC) - timedelta(minutes=1))
    assert heard(listening, InterruptionNotice)


def test_its_clock_counts_and_not_this_machines():
    service = MetadataService("http://127.0.0.1:9")
    service._date = "Thu, 05 Jan 2023 18:02:00 GMT"
    assert service.now() == datetime(2023, 1, 5, 18, 2, tzinfo=UTC)
    for nonsense in ("", "2023", "Thu, 99 Jan 2023 18:02:00 GMT"):
        service._date = nonsense
        assert abs((service.now() - datetime.now(UTC)).total_seconds()) < DEADLINE


def test_hiccups_are_told_once_and_are_no_interruption(server, listening, smq_local):
    server.faults.append(smq_local.Fault("GetTerminationTime", "status", times=4, status=503))
    assert "not known" in heard(listening, Complaint).message
    server.wait_until(lambda: not server.faults or server.requests["GetTerminationTime"] > 8)
    assert heard(listening, (Complaint, InterruptionNotice), 0.1) is None
    server.termination_time = "2030-01-05T18:02:00Z"
    assert heard(listening, InterruptionNotice)


@pytest.mark.parametrize("time_told", ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00"])
def test_a_time_that_no_clock_can_tell_is_outlived(server, listening, time_told):
    server.termination_time = time_told
    assert "a time that is none" in heard(listening, Complaint).message
    server.termination_time = "9999-12-31"
    assert heard(listening, InterruptionNotice).deadline == "9999-12-31T00:00:00Z"


def test_whatever_goes_wrong_is_outlived(server, monkeypatch):
    def fail_oddly(self):
        raise OverflowError("odd")

    inbox, listener = Inbox(), MetadataListener(server.metadata_url, poll_seconds=0.05)
    with monkeypatch.context() as broken:
        broken.setattr(MetadataService, "termination_time", fail_oddly)
        listener.start(inbox)
        assert "OverflowError" in heard(inbox, Complaint).message
    server.termination_time = "2030-01-05T18:02:00Z"
    assert heard(inbox, InterruptionNotice)
    listener.stop()
    inbox.close()


def test_stopping_waits_for_no_answer_and_what_comes_later_is_no_notice(monkeypatch):
    monkeypatch.setattr(instance, "_TIMEOUT_SECONDS", 1e6)
    answered, listener, inbox = threading.Event(), MetadataListener("http://127.0.0.1:9"), Inbox()

    def answer():
        answered.wait()
        return datetime(2030, 1, 5, tzinfo=UTC)

    listener._service.termination_time = answer
    listener.start(inbox)
    listener.stop()
    answered.set()
    listener._thread.join()
    assert inbox.take() == []
    inbox.close()


class Waits:
    """In place of a listener's event: the waits between its polls, which take no time. The tenth is the last."""

    def __init__(self):
        self.seconds = []

    def is_set(self):
        return len(self.seconds) >= 10

    def wait(self, seconds):
        self.seconds.append(seconds)


def test_a_service_that_answers_again_is_heard_within_ten_seconds(monkeypatch):
    """A poll that fails just before, the wait after it, and the poll that is answered."""
    listener = MetadataListener("http://127.0.0.1:9")
    listener._stopping = waits = Waits()
    monkeypatch.setattr(metadata.random, "uniform", lambda least, most: most)
    listener._poll(Inbox())
    assert max(waits.seconds) + 2 * instance._TIMEOUT_SECONDS <= 10
