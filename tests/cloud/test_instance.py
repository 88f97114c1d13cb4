"""The instance metadata service: 404 and blank are answers, all that is unclear is unknown, no proxy is asked."""

import contextlib
import socket
import threading
import time
from datetime import UTC, datetime

import pytest
from harness import DEADLINE

from batchgray import errors
from batchgray.cloud.instance import MetadataService, RoleCredentials, Unknown


@pytest.fixture(params=[False, True], ids=["open", "hardened"])
def server(request, smq_local):
    with smq_local.LocalSMQ(instance_id="i-mine", role="reader", hardened=request.param) as server:
        yield server


def test_the_instances_id(server):
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


@pytest.mark.parametrize("operation", ["*", "GetInstanceId", "CreateToken"])
def test_a_service_that_drips_is_unknown_in_seconds(server, smq_local, operation):
    server.faults.append(smq_local.Fault(operation, "drip", times=5, seconds=0.1))
    with pytest.raises(Unknown, match="does not answer"):
        MetadataService(server.metadata_url, timeout=0.25).instance_id()


def test_credentials_that_drip_are_unknown_in_seconds(server, smq_local):
    server.faults.append(smq_local.Fault("GetRoleCredentials", "drip", seconds=0.1))
    with pytest.raises(Unknown, match="does not answer"):
        MetadataService(server.metadata_url, timeout=0.25).role_credentials()


def test_half_an_answer_is_none():
    """Where the end of the connection is the end of the answer, nothing else tells that some of it is missing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            for reply in (b"HTTP/1.0 404 Not Found\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\ni-m"):
                connection, _ = listener.accept()
                connection.recv(4096)
                connection.sendall(reply)
                if reply.endswith(b"i-m"):
                    connection.recv(1)  # until it is hung up on
                connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Unknown):
            MetadataService(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.25).instance_id()
        thread.join()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h",
        "h:80",
        "ftp://h",
        "http://",
        "http://h:abc",
        "http://h:99999",
        "http://[::1",
        "http://u@h",
        "http://h?x",
    ],
)
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(errors.BadMetadataUrl, match="--metadata-url"):
        MetadataService(url)


def test_https_is_spoken_as_such():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard = []

        def listen():
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(2))

        thread = threading.Thread(target=listen)
        thread.start()
        with pytest.raises(Unknown):
            MetadataService(f"https://127.0.0.1:{listener.getsockname()[1]}").instance_id()
        thread.join()
    assert heard == [b"\x16\x03"]  # a handshake of TLS


def test_a_token_that_died_early_is_replaced(server):
    service = MetadataService(server.metadata_url)
    service.instance_id()
    server.advance(7 * 3600)
    assert service.instance_id() == "i-mine"


def page_of_a_proxy(smq_local, monkeypatch):
    monkeypatch.setattr(smq_local, "PROXY_PAGE", b"<html>\n<h1>Welcome</h1>\n</html>")
    return smq_local.Fault("*", "html", status=200)


def test_a_page_in_place_of_a_token_costs_one_question(server, smq_local, monkeypatch):
    service = MetadataService(server.metadata_url)
    fault = page_of_a_proxy(smq_local, monkeypatch)
    fault.operation = "CreateToken"
    server.faults.append(fault)
    with contextlib.suppress(Unknown):
        service.termination_time()
    assert service.instance_id() == "i-mine"


def test_a_page_in_place_of_an_instance_id_is_none(server, smq_local, monkeypatch):
    fault = page_of_a_proxy(smq_local, monkeypatch)
    fault.operation = "GetInstanceId"
    server.faults.append(fault)
    service = MetadataService(server.metadata_url)
    with pytest.raises(Unknown, match="no instance id"):
        service.instance_id()
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
