"""A local OSS (Object Storage Service), to try and to rehearse runs over object stores with.

    python scripts/oss_local.py --bucket photos=./images --bucket gray    # prints the exports; Ctrl-C stops it
    with LocalOSS() as server: ...                                        # a test's own, on a free port

Rules:

- Addressed path-style, on loopback: http://127.0.0.1:PORT/BUCKET/KEY.
- Signature (V4 alone: header or URL), date, region, security token and Content-MD5 are really checked.
- What the service refuses is refused: If-Match and If-None-Match on a put are NotImplemented. Its traps are there:
  x-oss-forbid-overwrite is void on a bucket whose versioning is on or suspended, and a range that is not within the
  object gets the whole object with 200, unless x-oss-range-behavior is "standard".
- Requests are answered side by side. One condition guards all state, and every answer wakes who waits on it.
- A share of requests that fail is chosen by a hash of seed, operation, bucket, key and how often these were asked for:
  the same ones fail again, however threads take turns.
- /latest/ is the instance metadata service (or another server's, shared), /-/ what people control this server with.
- Where the vendor documents nothing: a full bucket is a 403, and SlowDown a 503 with Retry-After.

Not there, and refused with NotImplemented: multipart uploads, appending, lists of versions, ACLs, tags.
"""

import argparse
import base64 as b64
import contextlib
import hashlib
import json
import logging
import math
import re
import secrets
import shlex
import signal
import socket
import socketserver
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, get_args
from urllib.parse import unquote

import metadata_local
from metadata_local import InstanceMetadata
from oss_local_forms import ERRORS, Answer, OSSError, xml
from oss_local_service import ROUTES, Service

LOG = logging.getLogger("oss_local")

_KEYS = "ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"

FaultKind = Literal["error", "drop", "lose", "hold", "hang", "drip", "cut", "flip"]


class Request(NamedTuple):
    """A request, once it was answered: `actions` are the RAM actions that it took, `code` its error, "-": hung up."""

    operation: str
    actions: tuple[str, ...]
    bucket: str
    key: str
    status: int
    code: str


@dataclass(eq=False)
class Fault:
    """What goes wrong, the next `times` that `operation` ("*": any of OSS's) is asked for; math.inf is until taken off.

    error: refused with `code`; a 503 has `seconds` as its Retry-After.
    drop: hung up before anything is done.     lose: done, then hung up instead of answered.
    hold: not begun before it is released.       hang: begun `seconds` late.
    drip: the answer's body, a byte every `seconds`.     cut: half of the answer's body, then hung up.
    flip: the answer's body with a bit of its middle byte turned.

    `share` is the part of the requests that it hits, `key` a pattern for the keys, `lasts` how long, in seconds.
    """

    operation: str
    kind: FaultKind
    times: float = 1
    code: str = "InternalError"
    seconds: float = 1
    share: float = 1.0
    key: str = "*"
    lasts: float = math.inf

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS | {"*"} or self.kind not in get_args(FaultKind) or self.code not in ERRORS:
            raise ValueError(f"{self}: no such operation, kind or code")
        self._until = time.monotonic() + self.lasts
        self.released = False

    def hits(self, request: "_Exchange", seed: int, asked: int) -> bool:
        """Whether it hits the request; `asked` is how often the same was asked for, this time included."""
        if self.operation != request.operation and (self.operation != "*" or request.is_metadata):
            return False
        if not fnmatchcase(request.key, self.key) or time.monotonic() >= self._until:
            return False
        parts = (seed, self.kind, self.code, request.operation, request.bucket_name, request.key, asked)
        digest = hashlib.blake2b(repr(parts).encode(errors="surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest) < self.share * 2**64


class LocalOSS(Service):
    """The server; `with` starts and stops it. `port` 0 takes a free one, `folder` None keeps everything in memory.

    `log` has the requests that were answered, in that order, `requests` their number by operation, `held` how many a
    fault holds now. While it runs, `faults`, `denied` (RAM actions, such as "oss:PutObject"), `policies` (all that is
    allowed; None: everything), `latency` (seconds, of every request) and `skew` (how far the server's clock is ahead,
    in seconds) may be changed, and `buckets` looked into. `metadata` is its own, or another server's, whose RAM role
    then opens this one too.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        access_key_id: str = "local",
        access_key_secret: str = "local",
        region: str = "cn-local",
        folder: Path | None = None,
        metadata: InstanceMetadata | None = None,
        role: str | None = None,
        denied: Iterable[str] = (),
        latency: float = 0.0,
        skew: float = 0.0,
        seed: int = 0,
    ) -> None:
        metadata = metadata or InstanceMetadata("i-local", region, role, hardened=False)
        super().__init__(access_key_id, access_key_secret, region, folder, metadata, denied, skew)
        self.latency, self.seed = latency, seed
        self.faults: list[Fault] = []
        self.log: list[Request] = []
        self.requests: Counter[str] = Counter()
        self.held = 0
        self._asked: Counter[tuple[str, str, str]] = Counter()
        self._stopping = threading.Event()
        self._http = _HTTPServer(port, self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="oss-local", daemon=True)
        self.port = self._http.server_address[1]
        self.endpoint = self.metadata_url = f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to reach it: with a role its metadata service, else the access key."""
        keys = dict(zip(_KEYS, (self.access_key_id, self.access_key_secret), strict=True))
        where = {"OSS_ENDPOINT": self.endpoint, "OSS_REGION": self.region}
        return where | ({"BATCHGRAY_METADATA_URL": self.metadata_url} if self.metadata.role else keys)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
        self._http.shutdown()
        self._thread.join()
        self._http.hang_up()
        self._http.server_close()

    def wait_until(self, condition: Callable[[], object], timeout: float = 900.0) -> None:
        """Return when `condition` holds, looked at with every request and every answer; TimeoutError otherwise."""
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise TimeoutError(f"not within {timeout} s; requests so far: {dict(self.requests)}")

    def clear_log(self) -> None:
        with self._changed:
            self.log.clear()
            self.requests.clear()

    def release(self, fault: Fault) -> None:
        """Take a fault off the list, and let go of what it holds."""
        with self._changed:
            fault.released = True
            if fault in self.faults:  # its times may be up, which took it off
                self.faults.remove(fault)
            self._changed.notify_all()

    def clear_faults(self) -> None:
        """Release all that are on the list."""
        for fault in list(self.faults):
            self.release(fault)

    def wait_for_stop(self, seconds: float) -> bool:
        """Wait so long at most; whether the server stops."""
        return self._stopping.wait(min(seconds, threading.TIMEOUT_MAX))

    def answer(self, request: "_Exchange") -> Answer | None:
        """The answer to a request; None hangs up."""
        answer, code = self._try(request)
        with self._changed:
            if not request.is_control:
                status = answer.status if answer else 0
                self.log.append(
                    Request(request.operation, tuple(request.actions), request.bucket_name, request.key, status, code)
                )
            self._changed.notify_all()
        return answer

    def _try(self, request: "_Exchange") -> tuple[Answer | None, str]:
        fault = self._next_fault(request)
        if self.latency and not request.is_control:
            self.wait_for_stop(self.latency)
        kind = fault.kind if fault else ""
        if fault and kind == "hold":
            self._hold(fault)
        elif fault and kind == "hang":
            self.wait_for_stop(fault.seconds)
        elif fault and kind in ("drip", "cut", "flip"):
            request.pause = fault.seconds if kind == "drip" else 0.0
            request.cut, request.flip = kind == "cut", kind == "flip"
        if kind == "drop" or self._stopping.is_set():
            return None, "-"
        try:
            if fault and kind == "error":
                raise OSSError(fault.code, headers=_retry_after(fault))
            answer = request.run(self, request)
        except OSSError as error:
            return (None, "-") if kind == "lose" else (self._error(request, error), error.code)
        return (None, "-") if kind == "lose" else (answer, "")

    def _next_fault(self, request: "_Exchange") -> Fault | None:
        if request.is_control:
            return None
        with self._changed:
            self.requests[request.operation] += 1
            self._changed.notify_all()
            asked = request.operation, request.bucket_name, request.key
            self._asked[asked] += 1
            for fault in self.faults:
                if fault.hits(request, self.seed, self._asked[asked]):
                    fault.times -= 1
                    if fault.times <= 0:
                        self.faults.remove(fault)
                    return fault
        return None

    def _hold(self, fault: Fault) -> None:
        with self._changed:
            self.held += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: fault.released or self._stopping.is_set())
            self.held -= 1

    def _error(self, request: "_Exchange", error: OSSError) -> Answer:
        fields = {"Code": error.code, "Message": str(error), "RequestId": request.request_id}
        fields |= {"HostId": request.headers.get("Host", "")} | error.fields
        if error.ec:
            fields |= {"EC": error.ec, "RecommendDoc": f"https://api.aliyun.com/troubleshoot?q={error.ec}"}
        body = xml("Error", fields)
        headers = {"Content-Type": "application/xml"} | error.headers | ({"x-oss-ec": error.ec} if error.ec else {})
        if request.command == "HEAD":
            return Answer(error.status, b"", headers | {"x-oss-err": b64.b64encode(body).decode()})
        return Answer(error.status, body, headers)

    def of_metadata(self, request: "_Exchange") -> Answer:
        for method, pattern, _, operation, run in metadata_local.ROUTES:
            match = re.fullmatch(f"{method} {pattern}", f"{request.command} {request.path}")
            if match and operation == request.operation:
                request.subject = match[1] if match.re.groups else ""
                status, text = run(self.metadata, request)
                return Answer(status, (text or "").encode(), {"Content-Type": "text/plain"})
        return Answer(404)

    def control(self, request: "_Exchange") -> Answer:
        """What people change while it runs; the real service has nothing like it."""
        match request.command, request.path:
            case "GET", "/-/requests":
                with self._changed:
                    return _json([seen._asdict() for seen in self.log])
            case "DELETE", "/-/requests":
                self.clear_log()
            case "POST", "/-/faults":
                return self._changed_by(request, lambda **given: self.faults.append(Fault(**given)))
            case "DELETE", "/-/faults":
                self.clear_faults()
            case "PUT", "/-/settings":
                return self._changed_by(request, self._set)
            case _:
                return Answer(404)
        return Answer(204)

    def _changed_by(self, request: "_Exchange", change: Callable[..., None]) -> Answer:
        try:
            change(**json.loads(request.body))
        except (TypeError, ValueError) as error:
            return Answer(400, f"{error}\n".encode())
        return Answer(204)

    def _set(self, *, latency: float | None = None, skew: float | None = None, denied: list[str] | None = None) -> None:
        self.latency = self.latency if latency is None else float(latency)
        self.skew = self.skew if skew is None else float(skew)
        self.denied = self.denied if denied is None else set(denied)


OPERATIONS = frozenset(operation for _, _, _, operation, _ in [*ROUTES, *metadata_local.ROUTES])


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = False  # closing it waits for them: nothing is written any more by a server that was stopped
    request_queue_size = 128  # with the default of 5, one of many that connect at once waits for a second SYN

    def __init__(self, port: int, oss: LocalOSS) -> None:
        self.oss = oss
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Exchange)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's own asks DNS for a name, which can take seconds

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End all connections; their threads end with them."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that left is no news
            super().handle_error(request, client_address)


class _Exchange(BaseHTTPRequestHandler):
    """A connection, and the request on it that is being answered."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one packet
    server: _HTTPServer
    run: Callable[[LocalOSS, Any], Answer]

    def handle_request(self) -> None:
        self.request_id = secrets.token_hex(12).upper()
        self.pause, self.cut, self.flip = 0.0, False, False
        self.actions: list[str] = []
        self.subject = ""
        self._route()
        self.body = self._read()
        began = time.monotonic()
        answer = self.server.oss.answer(self)
        LOG.info("%s /%s/%s: %s", self.operation, self.bucket_name, self.key, answer.status if answer else "hung up")
        if answer:
            self._reply(answer, int((time.monotonic() - began) * 1000))
        else:
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_request

    def _route(self) -> None:
        """Set `query`, `bucket_name`, `key`, `operation` and `run`."""
        path, _, raw = self.path.partition("?")
        items = [item.partition("=") for item in raw.split("&") if item]
        self.query = {unquote(name): unquote(value) for name, _, value in items}
        self.bucket_name = self.key = ""
        self.is_control, self.is_metadata = path.startswith("/-/"), bool(re.match("/latest/(api|meta-data)/", path))
        self.operation, self.run = "Control", LocalOSS.control
        if self.is_metadata:
            self.operation, self.run = _metadata_operation(self.command, path), LocalOSS.of_metadata
        elif not self.is_control:
            self._route_oss(path)

    def _route_oss(self, path: str) -> None:
        name, _, key = path.removeprefix("/").partition("/")
        self.bucket_name, self.key = unquote(name), unquote(key, errors="surrogateescape")
        self.run = LocalOSS.perform
        what = "object" if key else "bucket" if name else "service"
        for method, of, needed, self.operation, _ in ROUTES:
            there = not needed or needed in self.query or needed in self.headers
            if there and re.fullmatch(f"{method} {of}", f"{self.command} {what}"):
                return

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(self._chunks())
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionAbortedError  # what was not sent to its end is not stored
        return body

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _reply(self, answer: Answer, milliseconds: int) -> None:
        headers = {"Server": "AliyunOSS", "Date": formatdate(self.server.oss.now(), usegmt=True)}
        if not self.is_metadata and not self.is_control:
            headers |= {"x-oss-request-id": self.request_id, "x-oss-server-time": str(milliseconds)}
        if answer.status not in (204, 304):
            headers["Content-Length"] = str(len(answer.body))
        self.send_response_only(answer.status)
        for name, value in (headers | dict(answer.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        if self.pause:
            self._drip(answer.body)
        elif self.command != "HEAD":
            self._send(answer.body)

    def _send(self, body: bytes) -> None:
        if self.flip and body:
            at = len(body) // 2
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        self.wfile.write(body[: len(body) // 2] if self.cut else body)
        self.close_connection |= self.cut

    def _drip(self, body: bytes) -> None:
        for at in range(len(body)):
            self.wfile.write(body[at : at + 1])
            self.wfile.flush()
            if self.server.oss.wait_for_stop(self.pause):
                self.close_connection = True
                return

    def log_message(self, format: str, *args: object) -> None:
        LOG.info(format, *args)


def _metadata_operation(method: str, path: str) -> str:
    for of, pattern, _, operation, _ in metadata_local.ROUTES:
        if re.fullmatch(f"{of} {pattern}", f"{method} {path}"):
            return operation
    return "GetOtherMetadata"


def _retry_after(fault: Fault) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(fault.seconds))} if ERRORS[fault.code][0] == 503 else {}


def _json(content: object) -> Answer:
    return Answer(200, json.dumps(content, indent=1).encode() + b"\n", {"Content-Type": "application/json"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=9325)
    parser.add_argument("--region", default="cn-local")
    parser.add_argument("--access-key-id", default="local")
    parser.add_argument("--access-key-secret", default="local")
    parser.add_argument(
        "--bucket",
        dest="buckets",
        action="append",
        default=[],
        metavar="NAME[=FOLDER]",
        help="make this bucket, and put the files of FOLDER into it",
    )
    parser.add_argument("--folder", type=Path, help="keep everything there, for the next start; otherwise in memory")
    parser.add_argument("--role", help="give the instance this RAM role, and export no access key")
    parser.add_argument(
        "--deny",
        dest="denied",
        action="append",
        default=[],
        metavar="ACTION",
        help="deny this RAM action, such as oss:PutObject",
    )
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="of every request")
    parser.add_argument(
        "--skew", type=float, default=0.0, metavar="SECONDS", help="how far the server's clock is ahead"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the requests that fail")
    options = vars(parser.parse_args())
    buckets = options.pop("buckets")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # Blocked before there are threads, which inherit it: only sigwait takes them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        server = LocalOSS(**options)
    except OSError as error:
        sys.exit(f"Port {options['port']}: {error.strerror}. Take another with --port.")
    for bucket in buckets:
        _fill(server, *bucket.partition("=")[::2])
    with server:
        print("\n".join(_exports(server)), flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


def _fill(server: LocalOSS, bucket: str, folder: str) -> None:
    """Make the bucket where there is none yet, and put the folder's files into it."""
    server.create_bucket(bucket)
    for path in sorted(Path(folder).rglob("*")) if folder else []:
        if path.is_file():
            server.put(bucket, path.relative_to(folder).as_posix(), path.read_bytes())


def _exports(server: LocalOSS) -> list[str]:
    fault = shlex.quote(json.dumps({"operation": "*", "kind": "lose", "times": 100, "share": 0.05}))
    return [
        *(f"export {name}={shlex.quote(value)}" for name, value in server.environment.items()),
        *([f"unset {' '.join(_KEYS)}"] if server.metadata.role else []),
        f"# 5% of answers lost: curl -d {fault} {server.endpoint}/-/faults",
        f"# No faults any more: curl -X DELETE {server.endpoint}/-/faults",
        f"# What was asked for: curl {server.endpoint}/-/requests",
    ]


if __name__ == "__main__":
    main()
