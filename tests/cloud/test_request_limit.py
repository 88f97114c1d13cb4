"""A request has its time, whatever the server does with it; one that was answered in time is left alone."""

import contextlib
import http.client
import socket
import ssl
import threading
from types import SimpleNamespace

import pytest
from harness import DEADLINE
from stream import Clock

from batchgray.cloud import request_limit
from batchgray.cloud.request_limit import RequestLimit, TooSlow

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
SHORT, LONG = 0.2, 10 * DEADLINE


class Server:
    """Answers each request with the next of `replies`: bytes, or one of its methods."""

    def __init__(self, *replies, tls=None):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._replies, self._tls = replies, tls
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._answer)
        self.port = self._listener.getsockname()[1]
        self.connections = 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # the thread may still wait for a connection
        self._thread.join(DEADLINE)
        self._listener.close()

    def _answer(self):
        with contextlib.suppress(OSError):
            self._answer_each()

    def _answer_each(self):
        replies = iter(self._replies)
        reply = next(replies)
        while reply is not None:
            connection, _ = self._listener.accept()
            self.connections += 1
            with contextlib.suppress(OSError), self._secured(connection) as connection:
                while reply is not None and connection.recv(4096):
                    now, reply = reply, next(replies, None)
                    now(self, connection) if callable(now) else connection.sendall(now)
        self._over.wait()

    def _secured(self, connection):
        return self._tls.wrap_socket(connection, server_side=True) if self._tls else connection

    def drip(self, connection):
        """A whole answer's beginning, and then byte after byte of what has no end."""
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not self._over.wait(SHORT / 4):
            connection.sendall(b"x")

    def drip_without_length(self, connection):
        """An answer that ends with its connection: any part of it looks whole."""
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        while not self._over.wait(SHORT / 4):
            connection.sendall(b"x")

    def say_nothing(self, _connection):
        self._over.wait()

    def hear_the_end(self, connection):
        connection.recv(1)


def ask(connection):
    connection.request("GET", "/")
    return connection.getresponse().read()


@contextlib.contextmanager
def connected(server, **options):
    kind = http.client.HTTPSConnection if options else http.client.HTTPConnection
    with contextlib.closing(kind("127.0.0.1", server.port, timeout=LONG, **options)) as connection:
        yield connection, RequestLimit(connection)


@pytest.mark.parametrize("reply", [Server.drip, Server.drip_without_length, Server.say_nothing])
def test_an_answer_that_does_not_come_in_time_is_too_slow(reply):
    with (
        Server(reply) as server,
        connected(server) as (connection, limit),
        pytest.raises(TooSlow, match=r"no answer within 0\.2 s"),
        limit.within(SHORT),
    ):
        ask(connection)


def tls(side):
    """Without a certificate, which a test would have to keep."""
    context = ssl.SSLContext(side)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH-AES128-SHA:@SECLEVEL=0")
    return context


def test_an_answer_over_tls_has_its_time_too():
    client = tls(ssl.PROTOCOL_TLS_CLIENT)
    with (
        Server(WHOLE, Server.drip, tls=tls(ssl.PROTOCOL_TLS_SERVER)) as server,
        connected(server, context=client) as (connection, limit),
    ):
        with limit.within(LONG):
            assert ask(connection) == b"hello"
        with pytest.raises(TooSlow), limit.within(SHORT):
            ask(connection)


def test_what_was_taken_for_an_answer_is_too_slow_all_the_same():
    with (
        Server(Server.drip) as server,
        connected(server) as (connection, limit),
        pytest.raises(TooSlow),
        limit.within(SHORT),
        contextlib.suppress(OSError),
    ):
        ask(connection)


def test_a_fault_that_comes_in_time_is_that_fault():
    with (
        Server(b"nonsense\r\n\r\n") as server,
        connected(server) as (connection, limit),
        pytest.raises(http.client.BadStatusLine),
        limit.within(LONG),
    ):
        ask(connection)


def test_the_next_request_after_one_that_was_too_slow_has_a_connection_of_its_own():
    with Server(Server.hear_the_end, WHOLE) as server, connected(server) as (connection, limit):
        with pytest.raises(TooSlow), limit.within(SHORT):
            ask(connection)
        with limit.within(LONG):
            assert ask(connection) == b"hello"
        assert server.connections == 2


def test_a_connection_whose_answer_came_in_time_is_not_hung_up_on_when_the_time_is_over(monkeypatch):
    """It is kept for the next request, which has its own time."""
    clock = Clock()
    monkeypatch.setattr(request_limit, "time", SimpleNamespace(monotonic=clock))
    with Server(WHOLE, WHOLE) as server, connected(server) as (connection, limit):
        for _ in range(2):
            with limit.within(LONG):
                assert ask(connection) == b"hello"
                clock.now += LONG
            clock.now += LONG
        assert server.connections == 1


def test_a_request_starts_no_thread(monkeypatch):
    with Server(WHOLE) as server, connected(server) as (connection, limit):
        monkeypatch.setattr(threading.Thread, "start", lambda self: pytest.fail("a thread"))
        with limit.within(LONG):
            assert ask(connection) == b"hello"
