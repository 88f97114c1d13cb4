"""A time limit for a whole request. A socket's own counts from wait to wait, and never ends an answer that drips.

So each wait for a piece of the answer gets what is left of the request's time. No thread watches the connection: there
would be one more for each request, and one that comes a moment late hangs up on the request after its own.
"""

import contextlib
import http.client
import io
import socket
import time
from collections.abc import Iterator
from typing import Any, cast


class TooSlow(Exception):
    """The answer was not complete in time. The text says in what time."""


class RequestLimit:
    """Bounds each request over one connection of http.client, or of a class derived from its own.

    Connecting, and the handshake of TLS, are bounded by the connection's own time limit: each is one wait.
    """

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = cast(Any, connection)
        self._connect = connection.connect
        self._connection.connect = self._connect_and_limit
        self._until = 0.0
        self._late = False

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """The block's request has that time. Raises TooSlow where it was not enough, and closes the connection.

        That holds whatever the block made of it: it may have taken what it got for a whole answer.
        """
        self._until, self._late = time.monotonic() + seconds, False
        try:
            yield
        except Exception:
            self._late = self._late or time.monotonic() >= self._until
            if not self._late:
                raise
        if self._late:
            self._connection.close()
            raise TooSlow(f"no answer within {seconds:g} s")

    def extend(self, seconds: float) -> None:
        """The request that is under way has so much more time."""
        self._until += seconds

    @contextlib.contextmanager
    def one_wait(self, connected: socket.socket) -> Iterator[None]:
        """What the block waits for on a socket has the time that is left. Raises TimeoutError."""
        left = self._until - time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            connected.settimeout(left)
            yield
        except TimeoutError:
            self._late = True
            raise

    def _connect_and_limit(self) -> None:
        self._connect()
        self._connection.sock = _LimitedSocket(self._connection.sock, self)


class _LimitedSocket:
    """A connected socket, as http.client uses it."""

    def __init__(self, connected: socket.socket, limit: RequestLimit) -> None:
        self._socket, self._limit = connected, limit

    def sendall(self, data: Any) -> None:
        with self._limit.one_wait(self._socket):
            self._socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Of the answer. It may outlive this: one that ends with its connection is read after that is closed."""
        return io.BufferedReader(_LimitedFile(self._socket, self._limit))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class _LimitedFile(io.RawIOBase):
    def __init__(self, connected: socket.socket, limit: RequestLimit) -> None:
        self._socket, self._limit = connected, limit
        self._file = connected.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        with self._limit.one_wait(self._socket):
            return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()
