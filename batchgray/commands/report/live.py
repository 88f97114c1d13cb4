"""The report while the work goes on: a page served on this machine, which asks for what is new.

    GET /            the page; with ?after=NUMBER nothing (204) where it is still that one
    GET /picture/ID  a picture of the latest page, drawn when it is asked for

Nothing else is served, and nothing is written: a path in a request is looked up among these, and never in the file
system. Other sites that the reader has open can't read it: a request whose Host is not this server's is refused (a name
that was made to point here is not its name), and so is one that a browser says comes from another site.
"""

import contextlib
import functools
import ipaddress
import re
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from batchgray import errors
from batchgray.commands.report import page
from batchgray.commands.report.pictures import Framing, Linked
from batchgray.commands.report.subject import Subject
from batchgray.errors import BatchgrayError, ImageError

_LEAST_SECONDS = 2.0  # between two looks at the manifest
_TIMES_LONGER = 4  # than a look takes is the pause after it
_DRAWN_AT_ONCE = threading.Semaphore(2)
_PICTURES_KEPT = 256
_REQUEST_SECONDS = 30
_FROM_HERE = (None, "same-origin", "none")  # of Sec-Fetch-Site
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Read(Protocol):
    """What the page tells now. Without `look` it does not wait for signs of life. Raises BatchgrayError."""

    def __call__(self, framed: Framing, look: bool) -> Subject: ...


class LivePage:
    """The page as it was when it was last looked at, and the pictures of it."""

    def __init__(self, read: Read) -> None:
        """Raises BatchgrayError where there is nothing to read."""
        self._read = read
        self._lock = threading.Lock()
        self._drawn: OrderedDict[str, bytes] = OrderedDict()
        self._number, self._text, self._framed = 0, "", Linked()
        self._look(look=False)

    def keep_looking(self, until: threading.Event) -> None:
        """Look again and again, and spend no more than a part of the time on it."""
        pause = 0.0
        while not until.wait(pause):
            began = time.monotonic()
            with contextlib.suppress(BatchgrayError):  # it may be away for a while; what is known is still told
                self._look(look=True)
            pause = max(_LEAST_SECONDS, _TIMES_LONGER * (time.monotonic() - began))

    def text(self, after: str = "") -> str | None:
        """The page as HTML; None where it is still the one of that number."""
        with self._lock:
            return None if after == str(self._number) else self._text

    def picture(self, number: str) -> bytes | None:
        """A small JPEG of the latest page's; None where there is none of this number, or it can't be drawn."""
        with self._lock:
            if number in self._drawn:
                self._drawn.move_to_end(number)
                return self._drawn[number]
            draw = self._framed.draws.get(number)
        if draw is None:
            return None
        try:
            with _DRAWN_AT_ONCE:
                jpeg = draw()
        except ImageError:
            return None
        with self._lock:
            self._drawn[number] = jpeg
            while len(self._drawn) > _PICTURES_KEPT:
                self._drawn.popitem(last=False)
        return jpeg

    def _look(self, look: bool) -> None:
        framed = Linked()
        text = page.rendered(self._read(framed, look), number=self._number + 1)
        with self._lock:
            self._framed = framed
            if _without_times(text) != _without_times(self._text):
                self._number, self._text = self._number + 1, text


def _without_times(text: str) -> str:
    """What makes it another page, but for the time that it is of, and its number."""
    return re.sub(r'<time datetime=".*?</time>|data-version="\d+"', "", text, count=2)


class Server(ThreadingHTTPServer):
    """Serves a page at an address of this machine, until it is shut down."""

    daemon_threads = True

    def __init__(self, host: str, port: int, live: LivePage) -> None:
        """Raises UnservableReport."""
        self.live, self.host = live, host
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            self.address_family, *_, address = found[0]
            super().__init__(address[:2], _Handler)  # type: ignore[arg-type]
        except (OSError, OverflowError) as error:
            raise errors.UnservableReport(host, port, getattr(error, "strerror", None) or error) from None

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}:{self.port}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that hangs up is no fault."""

    def is_called(self, host: str) -> bool:
        """Whether a request's Host is this server: its name, or an address; other names anybody may point here."""
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        return port == self.port and (name in {self.host.lower(), "localhost", _own_name()} or _is_address(name))


def serve(live: LivePage, host: str, port: int, ready: Callable[[str], None], until: threading.Event) -> None:
    """Serve it, `ready` is given the URL, until the event is set. Raises UnservableReport."""
    with Server(host, port, live) as server:
        threading.Thread(target=live.keep_looking, args=(until,), daemon=True).start()
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        ready(server.url)
        until.wait()
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = _REQUEST_SECONDS
    server_version, sys_version = "batchgray", ""

    def do_GET(self) -> None:
        if not self.server.is_called(self.headers.get("Host", "")):
            self._answer(HTTPStatus.MISDIRECTED_REQUEST)
        elif self.headers.get("Sec-Fetch-Site") not in _FROM_HERE:
            self._answer(HTTPStatus.FORBIDDEN)
        else:
            self._answer_path(*self.path.partition("?")[::2])

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Nobody asked for it."""

    def _answer_path(self, path: str, query: str) -> None:
        if path == "/":
            text = self.server.live.text(*parse_qs(query).get("after", [])[:1])
            if text is None:
                self._answer(HTTPStatus.NO_CONTENT)
            else:
                self._answer(HTTPStatus.OK, "text/html; charset=utf-8", text.encode("utf-8", "backslashreplace"))
            return
        jpeg = self.server.live.picture(path.removeprefix("/picture/")) if path.startswith("/picture/") else None
        if jpeg is None:
            self._answer(HTTPStatus.NOT_FOUND)
        else:
            self._answer(HTTPStatus.OK, "image/jpeg", jpeg)

    def _answer(self, status: HTTPStatus, kind: str = "text/plain", body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@functools.cache
def _own_name() -> str:
    return socket.gethostname().lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
