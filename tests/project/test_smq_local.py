"""The local SMQ, through the real SDK and a real socket: what it gets wrong here, a rehearsal would hide."""

import base64
import hashlib
import json
import math
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from harness import DEADLINE
from mns.account import Account
from mns.mns_common import RequestInfo
from mns.mns_exception import MNSClientNetworkException, MNSServerException
from mns.queue import Message, Queue, QueueMeta
from smq_local import Fault, LocalSMQ

SCRIPT = Path(__file__).parents[2] / "scripts" / "smq_local.py"
TOKEN = "X-aliyun-ecs-metadata-token"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture
def server() -> Iterator[LocalSMQ]:
    with LocalSMQ() as server:
        server.create_queue("q")
        yield server


class Clients:
    """Queues, each on an Account and so a connection of its own; closed at the end."""

    def __init__(self, server: LocalSMQ) -> None:
        self.server = server
        self.accounts: list[Account] = []

    def __call__(self, name: str = "q", key: str = "local", secret: str = "local", token: str = "") -> Queue:
        account = Account(self.server.endpoint, key, secret, token)
        self.accounts.append(account)
        queue = account.get_queue(name)
        queue.set_encoding(False)
        return queue

    def close(self) -> None:
        for account in self.accounts:
            account.mns_client.close_connection()


@pytest.fixture
def client(server: LocalSMQ) -> Iterator[Clients]:
    with closing(Clients(server)) as clients:
        yield clients


@contextmanager
def refused(code: str) -> Iterator[None]:
    with pytest.raises(MNSServerException) as caught:
        yield
    assert caught.value.type == code


def metadata(server: LocalSMQ, path: str, method: str = "GET", data: bytes | None = None, **headers: str):
    """Status and text."""
    request = urllib.request.Request(f"{server.metadata_url}/latest/{path}", data, headers, method=method)
    try:
        with DIRECT.open(request, timeout=DEADLINE) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def new_token(server: LocalSMQ, seconds: object = 60) -> tuple[int, str]:
    return metadata(server, "api/token", "PUT", **{f"{TOKEN}-ttl-seconds": str(seconds)})


def test_create_is_201_then_204_if_alike_and_409_if_different(server, client):
    new = client("new-1")
    assert new.create(QueueMeta(vis_timeout=77)) == f"{server.endpoint}/queues/new-1"
    assert new.create(QueueMeta(vis_timeout=77)) == f"{server.endpoint}/queues/new-1"
    with refused("QueueAlreadyExist"):
        new.create(QueueMeta(vis_timeout=78))
    assert server.queues["new-1"].attributes["VisibilityTimeout"] == 77
    server.send("new-1", "body")
    new.create(QueueMeta(vis_timeout=77))
    assert len(server.messages("new-1")) == 1
    with refused("InvalidArgument"):
        client("new-2").create(QueueMeta(vis_timeout=43_201))
    with refused("InvalidQueueName"):
        client("-new").create(QueueMeta())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK warns of the counts that it sets itself
def test_attributes_and_counts(server, client):
    queue = client()
    for _ in range(3):
        server.send("q", "body")
    queue.receive_message(0)
    queue.send_message(Message("later", delay_seconds=60))
    meta = queue.get_attributes()
    assert (meta.active_messages, meta.inactive_messages, meta.delay_messages) == (2, 1, 1)
    assert (meta.queue_name, meta.visibility_timeout, meta.polling_wait_seconds) == ("q", 30, 0)
    assert meta.maximum_message_size == 65_536
    queue.set_attributes(QueueMeta(polling_wait_sec=7))
    meta = queue.get_attributes()
    assert (meta.polling_wait_seconds, meta.visibility_timeout) == (7, 30)


def test_queues_are_listed_and_deleted(server, client):
    server.create_queue("other")
    queue = client()
    assert client.accounts[0].list_queue()[0] == [f"{server.endpoint}/queues/{name}" for name in ("other", "q")]
    assert client.accounts[0].list_queue(prefix="o")[0] == [f"{server.endpoint}/queues/other"]
    queue.delete()
    assert list(server.queues) == ["other"]
    for call in (
        queue.receive_message,
        queue.peek_message,
        queue.get_attributes,
        lambda: queue.send_message(Message("x")),
    ):
        with refused("QueueNotExist"):
            call()


def test_a_message_is_sent_received_and_deleted(server, client):
    queue, before = client(), int(time.time() * 1000)
    sent = queue.send_message(Message('{"name": "<é&>"}'))
    message = queue.receive_message(0)
    assert (message.message_body, message.message_id) == ('{"name": "<é&>"}', sent.message_id)
    assert message.message_body_md5 == hashlib.md5('{"name": "<é&>"}'.encode()).hexdigest().upper()
    assert message.message_body_md5 == sent.message_body_md5
    assert before <= message.enqueue_time <= message.first_dequeue_time <= int(time.time() * 1000)
    assert 0 <= message.next_visible_time - message.first_dequeue_time - 30_000 <= 1
    assert (message.dequeue_count, message.priority) == (1, 8)
    assert "+" in message.receipt_handle
    assert "/" in message.receipt_handle
    with refused("MessageNotExist"):
        queue.receive_message(0)
    queue.delete_message(message.receipt_handle)
    assert server.messages("q") == []


def test_placed_messages_are_base64_by_default(server, client):
    server.send("q", "encoded")
    server.send("q", "raw", base64=False)
    encoded, raw = client().batch_peek_message(16)
    assert (base64.b64decode(encoded.message_body, validate=True), raw.message_body) == (b"encoded", "raw")


def test_peeking_neither_hides_nor_waits(server, client):
    queue = client()
    with refused("MessageNotExist"):
        queue.peek_message()
    server.send("q", "body")
    for _ in range(2):
        seen = queue.peek_message()
        assert (seen.dequeue_count, seen.first_dequeue_time) == (0, 0)
    assert [message.state(server.now()) for message in server.messages("q")] == ["visible"]
    queue.receive_message(0)
    assert [message.state(server.now()) for message in server.messages("q")] == ["hidden"]
    with refused("MessageNotExist"):
        queue.batch_peek_message(16)


def test_a_message_comes_back_when_its_time_out_passes_and_the_old_handle_is_dead(server, client):
    queue = client()
    server.send("q", "body")
    first = queue.receive_message(0)
    server.advance(29)
    with refused("MessageNotExist"):
        queue.receive_message(0)
    server.advance(1)
    with refused("MessageNotExist"):
        queue.delete_message(first.receipt_handle)
    second = queue.receive_message(0)
    assert (second.message_id, second.dequeue_count) == (first.message_id, 2)
    assert second.first_dequeue_time == first.first_dequeue_time
    with refused("MessageNotExist"):
        queue.delete_message(first.receipt_handle)
    queue.delete_message(second.receipt_handle)


def test_changing_the_visibility_gives_a_new_handle_and_the_old_one_dies(server, client):
    queue = client()
    server.send("q", "body")
    old = queue.receive_message(0).receipt_handle
    changed = queue.change_message_visibility(old, 100)
    with refused("MessageNotExist"):
        queue.delete_message(old)
    with refused("MessageNotExist"):
        queue.change_message_visibility(old, 100)
    with refused("InvalidArgument"):
        queue.change_message_visibility(changed.receipt_handle, 0)
    with refused("ReceiptHandleError"):
        queue.delete_message("nonsense")
    server.advance(99)
    queue.delete_message(changed.receipt_handle)


def test_messages_go_when_the_queues_retention_is_over(server, client):
    server.create_queue("q", MessageRetentionPeriod=60)
    server.send("q", "body")
    server.advance(59)
    assert client().peek_message()
    server.advance(1)
    with refused("MessageNotExist"):
        client().peek_message()


@pytest.fixture
def waits(server: LocalSMQ, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For how many seconds at most the server's receivers wait for a change, wait after wait."""
    waited, wait = [], server._changed.wait
    monkeypatch.setattr(server._changed, "wait", lambda seconds: (waited.append(seconds), wait(seconds)))
    return waited


def test_a_long_poll_wakes_on_a_message(server, client, monkeypatch):
    wait = server._changed.wait
    monkeypatch.setattr(server._changed, "wait", lambda seconds: wait())  # nothing ends it but a change
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(client().receive_message, 30)
        server.wait_until(lambda: server.receivers)
        client().send_message(Message("now"))
        assert waiting.result(DEADLINE).message_body == "now"


def test_a_long_poll_wakes_when_a_hidden_message_comes_back(server, client, waits):
    server.create_queue("q", VisibilityTimeout=1)
    server.send("q", "body")
    client().receive_message(0)
    assert client().receive_message(30).dequeue_count == 2
    assert waits
    assert max(waits) <= 1


def test_a_long_poll_ends_empty_when_its_time_is_over(server, client):
    server.create_queue("q", PollingWaitSeconds=20)
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(client().receive_message, wait) for wait in (-1, 20)]  # -1: as the queue says
        server.wait_until(lambda: server.receivers == 2)
        server.advance(20)
        for poll in waiting:
            assert poll.exception(DEADLINE).type == "MessageNotExist"
    with refused("InvalidArgument"):
        client().receive_message(31)


def test_fifty_receivers_at_once_get_a_message_each(server, client):
    queues = [client() for _ in range(50)]
    with ThreadPoolExecutor(50) as pool:
        waiting = [pool.submit(queue.receive_message, 30) for queue in queues]
        server.wait_until(lambda: server.receivers == 50)
        bodies = {f"{number}" for number in range(50)}
        for body in bodies:
            server.send("q", body, base64=False)
        assert {poll.result(DEADLINE).message_body for poll in waiting} == bodies


def test_a_receiver_that_hung_up_takes_no_message_with_it(server, client):
    queue = client()
    client.accounts[0].mns_client.set_connection_timeout(0.05)
    with pytest.raises(MNSClientNetworkException):
        queue.receive_message(30)
    server.send("q", "body")
    assert client().receive_message(0).dequeue_count == 1


def test_batches_hold_up_to_sixteen(server, client):
    queue = client()
    sent = queue.batch_send_message([Message(f"{number}") for number in range(16)])
    queue.send_message(Message("urgent", priority=1))
    got = queue.batch_receive_message(16, 0)
    assert [message.message_body for message in got] == ["urgent", *(f"{number}" for number in range(15))]
    assert [message.message_id for message in got[1:]] == [message.message_id for message in sent[:15]]
    queue.batch_delete_message([message.receipt_handle for message in got[1:]])
    with pytest.raises(MNSServerException) as caught:
        queue.batch_delete_message([got[0].receipt_handle, got[1].receipt_handle])
    assert caught.value.type == "MessageNotExist"
    assert [error["ReceiptHandle"] for error in caught.value.sub_errors] == [got[1].receipt_handle]
    assert [message.body for message in server.messages("q")] == ["15"]
    for call in (queue.batch_receive_message, queue.batch_peek_message):
        with refused("InvalidArgument"):
            call(17)


def test_keys_signatures_and_clocks_are_checked(server, client, monkeypatch):
    server.send("q", "body")
    assert client().peek_message(RequestInfo("a signed header more"))
    with pytest.raises(urllib.error.HTTPError, match="400"):
        DIRECT.open(f"{server.endpoint}/queues/q", timeout=DEADLINE)
    with refused("SignatureDoesNotMatch"):
        client(secret="wrong").receive_message(0)
    with refused("InvalidAccessKeyId"):
        client(key="unknown").receive_message(0)
    with refused("InvalidAccessKeyId"):
        client(token="one too many").receive_message(0)
    then = time.gmtime(time.time() - 16 * 60)
    monkeypatch.setattr(time, "gmtime", lambda *seconds: then)
    with refused("TimeExpired"):
        client().receive_message(0)


def test_a_body_that_is_not_what_was_signed(server, client, monkeypatch):
    queue = client()
    http = client.accounts[0].mns_client.http
    send_request = http.send_request

    def corrupt(request):
        request.data = request.data.replace(b"body", b"BODY")
        return send_request(request)

    monkeypatch.setattr(http, "send_request", corrupt)
    with refused("InvalidDegist"):
        queue.send_message(Message("body"))
    assert server.messages("q") == []


def test_denied_actions(server, client):
    server.denied = {"DeleteMessage"}
    server.send("q", "body")
    queue = client()
    handle = queue.receive_message(0).receipt_handle
    with refused("AccessDenied"):
        queue.delete_message(handle)
    queue.batch_delete_message([handle])


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("ReceiveMessage", "status"), "InternalError"),
        (Fault("ReceiveMessage", "status", status=503), "InternalError"),
        (Fault("*", "throttle"), "QpsLimitExceeded"),
        (Fault("ReceiveMessage", "fast404"), "MessageNotExist"),
        (Fault("ReceiveMessage", "clock"), "TimeExpired"),
        (Fault("ReceiveMessage", "clock", seconds=-3600), "TimeExpired"),
    ],
    ids=str,
)
def test_faults_that_answer_an_error(server, client, waits, fault, code):
    queue = client()
    server.faults.append(fault)
    with refused(code):
        queue.receive_message(30)
    assert waits == []  # at once
    server.send("q", "body")
    assert queue.receive_message(0)
    assert server.faults == []


@pytest.mark.parametrize("status", [502, 200])
def test_a_proxys_page(server, client, status):
    server.faults.append(Fault("ReceiveMessage", "html", status=status))
    with pytest.raises(MNSClientNetworkException, match="<html>"):
        client().receive_message(0)


def test_dropped_connections(server, client):
    server.send("q", "body")
    server.faults.append(Fault("ReceiveMessage", "drop", times=2))  # the SDK tries twice
    with pytest.raises(MNSClientNetworkException):
        client().receive_message(0)
    assert server.requests["ReceiveMessage"] == 2
    assert server.messages("q")[0].dequeue_count == 0


def test_a_lost_answer_leaves_its_work_done(server, client):
    queue = client()
    server.send("q", "body")
    server.faults.append(Fault("ReceiveMessage", "lose"))
    with refused("MessageNotExist"):
        queue.receive_message(0)
    assert server.messages("q")[0].dequeue_count == 1


def test_a_dripping_answer_is_whole_in_the_end(server, client):
    server.send("q", "body")
    server.faults.append(Fault("PeekMessage", "drip", seconds=0.0001))
    assert client().peek_message().message_body


def test_hanging_lasts_so_long_or_until_the_stop(server, client):
    server.send("q", "body")
    server.faults.append(Fault("ReceiveMessage", "hang", seconds=0.1))
    started = time.monotonic()
    assert client().receive_message(0)
    assert time.monotonic() - started >= 0.1
    with LocalSMQ() as other, closing(Clients(other)) as clients, ThreadPoolExecutor() as pool:
        other.create_queue("q")
        other.faults.append(Fault("PeekMessage", "hang", times=math.inf))
        waiting = [pool.submit(clients().peek_message), pool.submit(clients().receive_message, 30)]
        idle = clients("other")
        idle.create(QueueMeta())
        other.wait_until(lambda: other.requests["PeekMessage"] and other.receivers)
        other.__exit__()
        for call in waiting:
            assert isinstance(call.exception(DEADLINE), MNSClientNetworkException)
        with pytest.raises(MNSClientNetworkException):
            idle.create(QueueMeta())  # on the connection that is still open


def test_a_fault_that_cannot_happen_is_refused():
    with pytest.raises(ValueError, match="no such operation"):
        Fault("RecieveMessage", "drop")
    with pytest.raises(ValueError, match="no such operation or kind"):
        Fault("ReceiveMessage", "explode")


def test_metadata_items(server):
    assert metadata(server, "meta-data/instance-id") == (200, "i-local")
    assert metadata(server, "meta-data/region-id") == (200, "cn-local")
    assert metadata(server, "meta-data/nothing") == (404, "")
    assert metadata(server, "meta-data/instance/spot/termination-time") == (404, "")
    server.termination_time = "2015-01-05T18:02:00Z"
    assert metadata(server, "meta-data/instance/spot/termination-time") == (200, "2015-01-05T18:02:00Z")
    server.termination_time = ""
    assert metadata(server, "meta-data/instance/spot/termination-time") == (200, "")


def test_people_set_the_termination_time_with_a_put(server):
    path = "meta-data/instance/spot/termination-time"
    assert metadata(server, path, "PUT", data=b"2015-01-05T18:02:00Z")[0] == 204
    assert metadata(server, path) == (200, "2015-01-05T18:02:00Z")


def test_metadata_tokens_and_hardened_mode(server):
    for seconds in (0, 21_601, "soon", ""):
        assert new_token(server, seconds)[0] == 400
    assert metadata(server, "api/token", "PUT")[0] == 400
    token = new_token(server, 60)[1]
    assert metadata(server, "meta-data/instance-id") == (200, "i-local")
    server.hardened = True
    assert metadata(server, "meta-data/instance-id")[0] == 403
    assert metadata(server, "meta-data/instance-id", **{TOKEN: token}) == (200, "i-local")
    assert metadata(server, "meta-data/instance-id", **{TOKEN: "bad"})[0] == 401
    server.advance(60)
    assert metadata(server, "meta-data/instance-id", **{TOKEN: token})[0] == 401


def test_metadata_faults(server):
    server.faults += [
        Fault("GetTerminationTime", "status", status=503),
        Fault("GetTerminationTime", "html", status=200),
        Fault("CreateToken", "drop"),
    ]
    path = "meta-data/instance/spot/termination-time"
    assert [metadata(server, path)[0] for _ in range(3)] == [503, 200, 404]
    with pytest.raises(ConnectionError):
        new_token(server)
    assert server.requests == {"GetTerminationTime": 3, "CreateToken": 1}


def test_a_clock_that_is_off_shows_in_the_date_header(server):
    server.faults.append(Fault("GetInstanceId", "clock", seconds=7200))
    with DIRECT.open(f"{server.metadata_url}/latest/meta-data/instance-id", timeout=DEADLINE) as response:
        ahead = parsedate_to_datetime(response.headers["Date"]).timestamp() - time.time()
    assert 7190 < ahead < 7201


def role_credentials(server: LocalSMQ) -> dict[str, str]:
    name = metadata(server, "meta-data/ram/security-credentials/")[1]
    return json.loads(metadata(server, f"meta-data/ram/security-credentials/{name}")[1])


def test_role_credentials_sign_with_their_token_until_they_are_rotated(server, client):
    assert metadata(server, "meta-data/ram/security-credentials/")[0] == 404
    server.role = "worker"
    assert metadata(server, "meta-data/ram/security-credentials/") == (200, "worker")
    assert metadata(server, "meta-data/ram/security-credentials/other")[0] == 404
    old = role_credentials(server)
    assert old["Code"] == "Success"
    key, secret, token = old["AccessKeyId"], old["AccessKeySecret"], old["SecurityToken"]
    server.send("q", "body")
    assert client("q", key, secret, token).peek_message()
    for wrong in ("", "wrong"):
        with refused("InvalidAccessKeyId"):
            client("q", key, secret, wrong).peek_message()
    server.rotate_credentials()
    with refused("InvalidAccessKeyId"):
        client("q", key, secret, token).peek_message()
    new = role_credentials(server)
    assert client("q", new["AccessKeyId"], new["AccessKeySecret"], new["SecurityToken"]).peek_message()


def test_role_credentials_expire_and_are_renewed_before(server, client):
    server.role, server.credential_lifetime = "worker", 100
    server.send("q", "body")
    first = role_credentials(server)
    queue = client("q", first["AccessKeyId"], first["AccessKeySecret"], first["SecurityToken"])
    server.advance(40)
    assert role_credentials(server) == first
    server.advance(20)
    assert role_credentials(server)["Expiration"] > first["Expiration"]
    assert queue.peek_message()
    server.advance(40)
    with refused("InvalidAccessKeyId"):
        queue.peek_message()


def test_the_command_prints_its_exports_and_stops_on_sigterm():
    command = [sys.executable, str(SCRIPT), "--port", "0", "--instance-id", "i-mine", "--access-key-secret", "it's"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            exports = dict(process.stdout.readline().removeprefix("export ").rstrip().split("=", 1) for _ in range(4))
            endpoint = exports["MNS_ENDPOINT"]
            with DIRECT.open(f"{endpoint}/latest/meta-data/instance-id", timeout=DEADLINE) as response:
                assert response.read() == b"i-mine"
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0
    assert exports == {
        "MNS_ENDPOINT": endpoint,
        "BATCHGRAY_METADATA_URL": endpoint,
        "ALIBABA_CLOUD_ACCESS_KEY_ID": "local",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "'it'\"'\"'s'",
    }
