"""The instance metadata service: 404 and blank are answers, all that is unclear is unknown, no proxy is asked."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from harness import DEADLINE

from batchgray.notices import Complaint, Inbox, InterruptionNotice
from batchgray.notices.metadata import MetadataService, MetadataSource, RoleCredentials, Unknown, iso_utc


@pytest.fixture(params=[False, True], ids=["open", "hardened"])
def server(request, smq_local):
    with smq_local.LocalSMQ(instance_id="i-mine", role="reader", hardened=request.param) as server:
        yield server


def test_who_this_is(server):
    assert MetadataService(server.metadata_url).instance_id() == "i-mine"


@pytest.mark.parametrize("planned", [None, ""])
def test_nothing_planned(server, planned):
    server.termination_time = planned
    assert MetadataService(server.metadata_url).termination_time() is None


def test_a_time_is_utc(server):
    server.termination_time = "2015-01-05T18:02:00Z"
    assert MetadataService(server.metadata_url).termination_time() == datetime(2015, 1, 5, 18, 2, tzinfo=UTC)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_anything_unclear_is_unknown(server, smq_local, status):
    service = MetadataService(server.metadata_url)
    assert service.termination_time() is None
    server.faults.append(smq_local.Fault("GetTerminationTime", "status", times=2, status=status))
    with pytest.raises(Unknown):
        service.termination_time()


def test_a_time_that_is_none_is_unknown(server):
    server.termination_time = "soon"
    with pytest.raises(Unknown):
        MetadataService(server.metadata_url).termination_time()


def test_a_hanging_service_is_unknown_in_seconds(server, smq_local):
    server.faults.append(smq_local.Fault("*", "hang", times=5, seconds=10 * DEADLINE))
    began = time.monotonic()
    with pytest.raises(Unknown):
        MetadataService(server.metadata_url, timeout=0.2).instance_id()
    assert time.monotonic() - began < DEADLINE


def test_a_token_that_died_early_is_replaced(server):
    service = MetadataService(server.metadata_url)
    service.instance_id()
    server.advance(7 * 3600)
    assert service.instance_id() == "i-mine"


def test_no_proxy_is_asked(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert MetadataService(server.metadata_url).instance_id() == "i-mine"


def test_role_credentials_are_kept_and_renewed_before_they_expire(server, monkeypatch):
    role = RoleCredentials(MetadataService(server.metadata_url))
    first = role.current()
    assert role.current() is first
    assert "reader" in first.origin
    assert first.secret not in repr(first) + str(first)
    later = time.monotonic() + server.credential_lifetime - 60
    server.rotate_credentials()
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert role.current().key_id != first.key_id


def test_without_a_role_there_are_none(smq_local):
    with smq_local.LocalSMQ() as server, pytest.raises(Unknown, match="no RAM role"):
        RoleCredentials(MetadataService(server.metadata_url)).current()


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
    inbox, source = Inbox(), MetadataSource(server.metadata_url, poll_seconds=0.05)
    source.start(inbox)
    yield inbox
    source.stop()
    inbox.close()


def test_the_termination_time_is_the_notices_deadline(server, listening):
    server.wait_until(lambda: server.requests["GetTerminationTime"] > 2)
    assert heard(listening, InterruptionNotice, 0.1) is None
    moment = datetime.now(UTC) + timedelta(minutes=4)
    server.termination_time = iso_utc(moment)
    notice = heard(listening, InterruptionNotice)
    assert (notice.source, notice.deadline) == ("metadata", iso_utc(moment))


def test_hiccups_are_told_once_and_are_no_interruption(server, listening, smq_local):
    server.faults.append(smq_local.Fault("GetTerminationTime", "status", times=4, status=503))
    assert "not known" in heard(listening, Complaint).message
    server.wait_until(lambda: not server.faults or server.requests["GetTerminationTime"] > 8)
    assert heard(listening, (Complaint, InterruptionNotice), 0.1) is None
    server.termination_time = "2030-01-05T18:02:00Z"
    assert heard(listening, InterruptionNotice)
