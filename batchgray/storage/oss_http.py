"""HTTP for the OSS SDK, in place of its own: bounded as a whole, and at a fifth of the processor time.

The SDK's has a time limit for each wait alone, which never ends an answer that drips, and goes through `requests`. This
one is http.client, as the queue's is; a request has so many seconds, and more the larger it is. Connections are kept
and used again, one request at a time each; of one that the server has closed meanwhile, another is made.
"""

import http.client
import select
import ssl
import threading
from typing import Any
from urllib.parse import urlsplit

from batchgray.cloud.request_limit import RequestLimit

CONNECT_SECONDS = 10.0
REQUEST_SECONDS = 20.0
_SLOWEST = 256_000  # bytes a second: a connection that is slower does not work

_Kept = tuple[http.client.HTTPConnection, RequestLimit]


class Answer:
    """An answer that was read to its end, as the SDK wants it."""

    is_closed = is_stream_consumed = True

    def __init__(self, request: Any, answer: http.client.HTTPResponse, content: bytes) -> None:
        from requests.structures import CaseInsensitiveDict  # the SDK's own

        self.request, self.content = request, content
        self.status_code, self.reason = answer.status, answer.reason
        self.headers = CaseInsensitiveDict(answer.headers.items())

    def read(self) -> bytes:
        return self.content

    def close(self) -> None:
        """It is."""


class BoundedHttp:
    """A client for one server, for several threads. Raises OSError, http.client.HTTPException and TooSlow."""

    def __init__(self, endpoint: str) -> None:
        self._tls = _tls() if urlsplit(endpoint).scheme == "https" else None
        self._lock = threading.Lock()
        self._idle: list[_Kept] = []

    def open(self) -> None:
        """Connections are made when they are needed."""

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def send(self, request: Any, **_given: object) -> Answer:
        """Send it and read the whole answer. `request` has method, url, headers and body; see the SDK's HttpRequest."""
        parts = urlsplit(request.url)
        connection, limit = self._take(parts.netloc)
        body = request.body
        size = memoryview(body).nbytes
        try:
            with limit.within(REQUEST_SECONDS + size / _SLOWEST):
                path = parts.path + (f"?{parts.query}" if parts.query else "")
                headers = {name: value for name, value in request.headers.items() if value is not None}
                connection.request(request.method, path, body if size else b"", headers)
                answer = connection.getresponse()
                limit.extend((answer.length or 0) / _SLOWEST)
                content = answer.read()
        except BaseException:
            connection.close()
            raise
        if connection.sock is not None:
            with self._lock:
                self._idle.append((connection, limit))
        return Answer(request, answer, content)

    def _take(self, host: str) -> _Kept:
        while True:
            with self._lock:
                found = next((kept for kept in reversed(self._idle) if kept[0].host == _name_of(host)), None)
                if found:
                    self._idle.remove(found)
            if found is None:
                return self._connection(host)
            if _is_quiet(found[0]):
                return found
            found[0].close()

    def _connection(self, host: str) -> _Kept:
        if self._tls is None:
            connection = http.client.HTTPConnection(host, timeout=CONNECT_SECONDS)
        else:
            connection = http.client.HTTPSConnection(host, timeout=CONNECT_SECONDS, context=self._tls)
        return connection, RequestLimit(connection)


def _name_of(host: str) -> str:
    return urlsplit(f"//{host}").hostname or ""


def _tls() -> ssl.SSLContext:
    """What the system trusts, and what the SDK brings along for systems that have nothing."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _is_quiet(connection: http.client.HTTPConnection) -> bool:
    """Whether nothing came since its last answer: what comes on an idle connection is its end."""
    if connection.sock is None:
        return False
    waiting = select.poll()
    waiting.register(connection.sock.fileno(), select.POLLIN)
    return not waiting.poll(0)
