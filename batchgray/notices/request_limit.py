"""A time limit for a whole request. A socket's own counts from byte to byte, and never ends one that drips."""

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from typing import Any, cast

_AGAIN_SECONDS = 0.1


class TooSlow(Exception):
    """The answer was not complete in time. The text says in what time."""


class RequestLimit:
    """What hangs up on one connection of http.client, or of a class derived from its own.

    Connecting, and the handshake of TLS, are bounded by the connection's own time limit: each is one wait.
    """

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = cast(Any, connection)
        self._connect = connection.connect
        self._socket: socket.socket | None = None
        self._connection.connect = self._connect_and_remember

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """The connection is cut off after that time, and raises TooSlow whatever the block made of that.

        It may have taken what it got for a whole answer.
        """
        over, late = threading.Event(), threading.Event()
        threading.Thread(target=self._cut_off, args=[seconds, over, late], name="time limit", daemon=True).start()
        try:
            yield
        except Exception:
            if not late.is_set():
                raise
        finally:
            over.set()
        if late.is_set():
            raise TooSlow(f"no answer within {seconds:g} s")

    def _connect_and_remember(self) -> None:
        """An answer that ends with its connection is read after http.client has forgotten the socket."""
        self._connect()
        self._socket = self._connection.sock

    def _cut_off(self, seconds: float, over: threading.Event, late: threading.Event) -> None:
        if over.wait(seconds):
            return
        late.set()
        while True:
            if self._socket is not None:
                with contextlib.suppress(OSError):  # it has ended by itself
                    self._socket.shutdown(socket.SHUT_RDWR)
            if over.wait(_AGAIN_SECONDS):  # the block may connect anew
                return
