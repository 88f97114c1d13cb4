"""HTTP for OSS: connections are used again while they are open, and a whole request has its time."""

import contextlib
import socket
import ssl
import threading
from types import SimpleNamespace

import pytest

from batchgray.cloud.request_limit import TooSlow
from batchgray.storage import oss_http
from batchgray.storage.oss_http import BoundedHttp


@contextlib.contextmanager
def serving(*connections):
    """A server that takes one connection after the other; each is a function of the connected socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            for each in connections:
                with listener.accept()[0] as connected:
                    each(connected)

        thread = threading.Thread(target=serve, daemon=True)  # where a test fails, it waits in vain
        thread.start()
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with contextlib.closing(BoundedHttp(endpoint)) as client:
            yield lambda body=b"": client.send(
                SimpleNamespace(method="PUT", url=f"{endpoint}/a", headers={"x": "y", "none": None}, body=body)
            )
        thread.join()


def answer(connected, body=b"done", length=None):
    connected.recv(1 << 16)
    connected.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body
    )


def test_a_connection_is_used_again():
    with serving(lambda connected: [answer(connected), answer(connected)]) as send:
        assert [send().content, send().content] == [b"done", b"done"]


def test_a_connection_that_was_closed_meanwhile_is_not():
    closed = threading.Event()

    def answer_and_close(connected):
        answer(connected)
        connected.shutdown(socket.SHUT_RDWR)
        closed.set()

    with serving(answer_and_close, answer) as send:
        assert send().content == b"done"
        closed.wait()
        assert send().content == b"done"


def test_an_answer_has_more_time_the_longer_it_is(monkeypatch):
    monkeypatch.setattr(oss_http, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(oss_http, "_SLOWEST", 4 / 1000)  # four bytes have a thousand seconds

    def answer_late(connected):
        answer(connected, b"do", length=4)
        threading.Event().wait(1.0)  # longer than a request has that has nothing to read
        connected.sendall(b"ne")

    with serving(answer_late) as send:
        assert send().content == b"done"


def test_a_request_without_an_answer_ends(monkeypatch):
    monkeypatch.setattr(oss_http, "REQUEST_SECONDS", 0.2)
    with serving(lambda connected: connected.recv(1 << 16) and connected.recv(1)) as send, pytest.raises(TooSlow):
        send()


def test_servers_have_to_show_who_they_are():
    context = BoundedHttp("https://oss-cn-hangzhou.aliyuncs.com")._tls
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert BoundedHttp("http://127.0.0.1")._tls is None
