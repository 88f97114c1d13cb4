"""A local SMQ (Simple Message Queue, formerly MNS) with the instance metadata paths, to rehearse interruptions with.

    python scripts/smq_local.py                 # prints the exports for the other terminal; Ctrl-C stops it
    with LocalSMQ() as server: ...              # a test's own, on a free port

Rules:

- Signature, date, digest and security token are really checked; nothing is waved through.
- One condition guards all state. Receivers wait on it, and every request that has been answered wakes them.
- The server's time is the wall clock plus what `advance()` added, so that expiry needs no sleeping. Only the Date
  header is held against the bare wall clock, since the client's clock doesn't advance.
- A receipt handle dies when its message's time-out passes and when a new one is given out: MessageNotExist from then
  on. One that the service can't have made is a ReceiptHandleError.
- A receiver that hung up takes no message with it; the fault "lose" rehearses the answer that gets lost.
- Where the vendor documents nothing: a wrong or dead security token is InvalidAccessKeyId, throttling is a 403.
"""

import argparse
import base64 as b64
import hashlib
import hmac
import logging
import math
import re
import secrets
import select
import shlex
import signal
import socketserver
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self, get_args
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import metadata_local
from metadata_local import InstanceMetadata

LOG = logging.getLogger("smq_local")

MAX_CLOCK_SKEW_SECONDS = 15 * 60
PROXY_PAGE = b"<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"

DEFAULTS = {
    "VisibilityTimeout": 30,
    "MaximumMessageSize": 65_536,
    "MessageRetentionPeriod": 345_600,
    "DelaySeconds": 0,
    "PollingWaitSeconds": 0,
}
LIMITS = {
    "VisibilityTimeout": (1, 43_200),
    "MaximumMessageSize": (1024, 65_536),
    "MessageRetentionPeriod": (60, 604_800),
    "DelaySeconds": (0, 604_800),
    "PollingWaitSeconds": (0, 30),
    "waitseconds": (0, 30),
    "numOfMessages": (1, 16),
    "Priority": (1, 16),
}

# Every other code is a 400.
STATUSES = {
    **dict.fromkeys(("AccessDenied", "InvalidAccessKeyId", "QpsLimitExceeded", "SignatureDoesNotMatch"), 403),
    **dict.fromkeys(("MessageNotExist", "QueueNotExist"), 404),
    "TimeExpired": 408,
    "QueueAlreadyExist": 409,
    "InternalError": 500,
}

# Status and body: SMQ's XML, a metadata item's text, a proxy's page.
Answer = tuple[int, Element | str | bytes | None]

FaultKind = Literal["status", "html", "drop", "lose", "hang", "drip", "throttle", "fast404", "clock"]


class SMQError(Exception):
    """An answer that is an error of the service."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.code, self.status = code, STATUSES.get(code, 400)


@dataclass
class Fault:
    """What goes wrong, the next `times` that `operation` ("*": any) is asked for; math.inf is until taken off the list.

    status: InternalError with `status`.       html: a proxy's page with `status`, such as 502 or 200.
    drop: hung up before anything is done.     lose: done, then hung up instead of answered.
    hang: `seconds` late, or until the stop.   drip: the answer's body, a byte every `seconds`.
    throttle: QpsLimitExceeded.                fast404: MessageNotExist, without waiting.
    clock: the server's clock is `seconds` off.
    """

    operation: str
    kind: FaultKind
    times: float = 1
    status: int = 500
    seconds: float = 3600

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS | {"*"} or self.kind not in get_args(FaultKind):
            raise ValueError(f"{self}: no such operation or kind")


@dataclass
class Message:
    body: str
    priority: int
    enqueued: float
    visible_at: float
    message_id: str = field(default_factory=lambda: secrets.token_hex(16).upper())
    receipt_handle: str = ""
    first_dequeued: float = 0.0
    dequeue_count: int = 0

    def state(self, now: float) -> str:
        """visible, hidden (received) or delayed (not yet received)."""
        if self.visible_at <= now:
            return "visible"
        return "hidden" if self.dequeue_count else "delayed"

    def hide(self, until: float) -> None:
        self.visible_at = until
        # The service's handles hold + and /, which the SDK puts into the URL as they are.
        self.receipt_handle = f"1-{_base64(secrets.token_bytes(12))}+/{_base64(secrets.token_bytes(10))}"

    def receive(self, now: float, seconds: float) -> None:
        self.hide(now + seconds)
        self.first_dequeued = self.first_dequeued or now
        self.dequeue_count += 1

    def sent_fields(self) -> dict[str, Any]:
        return {"MessageId": self.message_id, "MessageBodyMD5": hashlib.md5(self.body.encode()).hexdigest().upper()}

    def peeked_fields(self) -> dict[str, Any]:
        return self.sent_fields() | {
            "MessageBody": self.body,
            "EnqueueTime": int(self.enqueued * 1000),
            "FirstDequeueTime": int(self.first_dequeued * 1000),
            "DequeueCount": self.dequeue_count,
            "Priority": self.priority,
        }

    def held_fields(self) -> dict[str, Any]:
        return {"ReceiptHandle": self.receipt_handle, "NextVisibleTime": int(self.visible_at * 1000)}


@dataclass
class Queue:
    name: str
    attributes: dict[str, int]
    created: float
    modified: float
    messages: list[Message] = field(default_factory=list)

    def visible(self, now: float) -> list[Message]:
        retained = now - self.attributes["MessageRetentionPeriod"]
        self.messages = [message for message in self.messages if message.enqueued > retained]
        return sorted((m for m in self.messages if m.visible_at <= now), key=lambda m: m.priority)

    def next_visible(self, now: float) -> float:
        return min((m.visible_at for m in self.messages if m.visible_at > now), default=math.inf)

    def held(self, receipt_handle: str, now: float) -> Message:
        """The message that this handle still holds."""
        if not re.fullmatch(r"\d+-[A-Za-z0-9+/=]+", receipt_handle):
            raise SMQError("ReceiptHandleError")
        for message in self.messages:
            if message.receipt_handle == receipt_handle and message.visible_at > now:
                return message
        raise SMQError("MessageNotExist")

    def fields(self, now: float) -> dict[str, Any]:
        states = Counter(message.state(now) for message in self.messages)
        counts = {"ActiveMessages": "visible", "InactiveMessages": "hidden", "DelayMessages": "delayed"}
        times = {"CreateTime": int(self.created), "LastModifyTime": int(self.modified)}
        fields = {"QueueName": self.name, "LoggingEnabled": "False"} | times | self.attributes
        return fields | {name: states[state] for name, state in counts.items()}


class LocalSMQ(InstanceMetadata):
    """The server; `with` starts and stops it. `port` 0 takes a free one.

    `requests` counts what was asked for, by operation; `receivers` are those that wait now. While it runs, `faults`,
    `denied`, `hardened`, `role` (None: there is none), `termination_time` (None: 404) and `credential_lifetime` may be
    changed, and `queues` looked into.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        access_key_id: str = "local",
        access_key_secret: str = "local",
        instance_id: str = "i-local",
        region_id: str = "cn-local",
        role: str | None = None,
        hardened: bool = False,
        denied: Iterable[str] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(instance_id, region_id, role, hardened)
        self.access_key_id, self.access_key_secret = access_key_id, access_key_secret
        self.denied = set(denied)
        self.faults: list[Fault] = []
        self.queues: dict[str, Queue] = {}
        self.requests: Counter[str] = Counter()
        self.receivers = 0
        self._stopping = threading.Event()
        self._http = _HTTPServer(port, self, tls)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="smq-local", daemon=True)
        self.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{self._http.server_address[1]}"
        self.metadata_url = self.endpoint

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        self.advance(0)  # wakes the receivers, which hang up
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def wait_until(self, condition: Callable[[], object], timeout: float = 900.0) -> None:
        """Return when `condition` holds, looked at with every request and every answer; TimeoutError otherwise."""
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise TimeoutError(f"not within {timeout} s; requests so far: {dict(self.requests)}")

    def create_queue(self, name: str, **attributes: int) -> Queue:
        """Make a queue, such as create_queue("q", VisibilityTimeout=5); one that is there is replaced."""
        with self._changed:
            self.queues[name] = Queue(name, DEFAULTS | attributes, self.now(), self.now())
            return self.queues[name]

    def send(self, queue: str, body: str, base64: bool = True) -> str:
        """Place a message, by default Base64-encoded like CloudMonitor's; returns its MessageId."""
        with self._changed:
            text = _base64(body.encode()) if base64 else body
            message = Message(text, priority=8, enqueued=self.now(), visible_at=self.now())
            self.queues[queue].messages.append(message)
            self._changed.notify_all()
            return message.message_id

    def messages(self, queue: str) -> list[Message]:
        """Copies of all messages of the queue, hidden ones too, their bodies as they stand there."""
        with self._changed:
            return [replace(message) for message in self.queues[queue].messages]

    def wait_for_stop(self, seconds: float) -> bool:
        """Wait so long at most; whether the server stops."""
        return self._stopping.wait(seconds)

    def answer(self, request: "_Exchange") -> Answer | None:
        """The answer to a request; None hangs up."""
        fault = self._next_fault(request.operation)
        match fault.kind if fault else None:
            case "drop":
                return None
            case "lose":
                self._perform(request)
                return None
            case "hang" if self.wait_for_stop(fault.seconds):
                return None
            case "html":
                return fault.status, PROXY_PAGE
            case "status":
                return fault.status, self._error(request, SMQError("InternalError"))[1]
            case "throttle":
                return self._error(request, SMQError("QpsLimitExceeded"))
            case "fast404":
                return self._error(request, SMQError("MessageNotExist"))
            case "clock":
                request.skew = fault.seconds
            case "drip":
                request.pause = fault.seconds
        return None if self._stopping.is_set() else self._perform(request)

    def _next_fault(self, operation: str) -> Fault | None:
        with self._changed:
            self.requests[operation] += 1
            self._changed.notify_all()
            for fault in self.faults:
                if fault.operation in (operation, "*"):
                    fault.times -= 1
                    if fault.times <= 0:
                        self.faults.remove(fault)
                    return fault
        return None

    def _perform(self, request: "_Exchange") -> Answer:
        with self._changed:
            try:
                if not request.path.startswith("/latest/"):
                    self._authenticate(request)
                    if request.operation in self.denied:
                        raise SMQError("AccessDenied")
                return request.run(self, request)
            except SMQError as error:
                return self._error(request, error)
            finally:
                self._changed.notify_all()

    def _authenticate(self, request: "_Exchange") -> None:
        headers = request.headers
        try:
            sent = parsedate_to_datetime(headers.get("Date", "")).timestamp()
        except ValueError as error:
            raise SMQError("InvalidDateHeader") from error
        if abs(time.time() + request.skew - sent) > MAX_CLOCK_SKEW_SECONDS:
            raise SMQError("TimeExpired")
        match = re.fullmatch(r"MNS ([^:]+):(.+)", headers.get("Authorization", ""))
        if not match:
            raise SMQError("InvalidAuthorizationHeader")
        secret, token = self._key(match[1])
        if match[2] != _signature(secret, request):
            raise SMQError("SignatureDoesNotMatch")
        if headers.get("security-token", "") != token:
            raise SMQError("InvalidAccessKeyId", "The security token doesn't belong to the AccessKey Id.")
        digest = _base64(hashlib.md5(request.body).hexdigest().encode())
        if headers.get("Content-MD5", digest) != digest:
            raise SMQError("InvalidDegist")  # the service's spelling

    def _key(self, access_key_id: str) -> tuple[str, str]:
        """Secret and security token that go with the id."""
        if access_key_id == self.access_key_id:
            return self.access_key_secret, ""
        credentials = self.given_out(access_key_id)
        if credentials and credentials.expires > self.now():
            return credentials.access_key_secret, credentials.security_token
        raise SMQError("InvalidAccessKeyId")

    def _error(self, request: "_Exchange", error: SMQError) -> Answer:
        fields = {"Code": error.code, "Message": error, "RequestId": request.request_id, "HostId": self.endpoint}
        return error.status, _element("Error", fields)

    def _queue(self, request: "_Exchange") -> Queue:
        if request.subject not in self.queues:
            raise SMQError("QueueNotExist")
        return self.queues[request.subject]

    def _create_queue(self, request: "_Exchange") -> Answer:
        name, there = request.subject, self.queues.get(request.subject)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,119}", name):
            raise SMQError("InvalidQueueName")
        wanted = DEFAULTS | _attributes(request.xml())
        if there and there.attributes != wanted:
            raise SMQError("QueueAlreadyExist")
        if not there:
            self.create_queue(name, **wanted)
        request.extra["Location"] = f"{self.endpoint}/queues/{name}"
        return 204 if there else 201, None

    def _set_attributes(self, request: "_Exchange") -> Answer:
        queue = self._queue(request)
        queue.attributes |= _attributes(request.xml())
        queue.modified = self.now()
        return 204, None

    def _get_attributes(self, request: "_Exchange") -> Answer:
        return 200, _element("Queue", self._queue(request).fields(self.now()))

    def _delete_queue(self, request: "_Exchange") -> Answer:
        self.queues.pop(request.subject, None)  # deleting what isn't there is no error
        return 204, None

    def _list_queues(self, request: "_Exchange") -> Answer:
        prefix = request.headers.get("x-mns-prefix", "")
        urls = [f"{self.endpoint}/queues/{name}" for name in sorted(self.queues) if name.startswith(prefix)]
        return 200, _element("Queues", [_element("Queue", {"QueueURL": url}) for url in urls])

    def _send(self, request: "_Exchange") -> Answer:
        queue, root = self._queue(request), request.xml()
        entries = list(root) if root.tag == "Messages" else [root]
        _number("numOfMessages", len(entries))
        messages = [_message(entry, queue, self.now()) for entry in entries]
        queue.messages.extend(messages)
        return 201, _messages(request, [message.sent_fields() for message in messages])

    def _receive(self, request: "_Exchange") -> Answer:
        queue, count = self._queue(request), request.number("numOfMessages", 1)
        deadline = self.now() + request.number("waitseconds", queue.attributes["PollingWaitSeconds"])
        self.receivers += 1
        self._changed.notify_all()
        try:
            messages = self._await_messages(request, deadline)[:count]
        finally:
            self.receivers -= 1
        if request.hung_up():
            raise ConnectionAbortedError
        for message in messages:
            message.receive(self.now(), queue.attributes["VisibilityTimeout"])
        return 200, _messages(request, [message.peeked_fields() | message.held_fields() for message in messages])

    def _await_messages(self, request: "_Exchange", deadline: float) -> list[Message]:
        while not (messages := self._queue(request).visible(self.now())):
            now = self.now()
            if now >= deadline:
                raise SMQError("MessageNotExist")
            self._changed.wait(min(deadline, self._queue(request).next_visible(now)) - now)
            if self._stopping.is_set():
                raise ConnectionAbortedError
        return messages

    def _peek(self, request: "_Exchange") -> Answer:
        messages = self._queue(request).visible(self.now())[: request.number("numOfMessages", 1)]
        if not messages:
            raise SMQError("MessageNotExist")
        return 200, _messages(request, [message.peeked_fields() for message in messages])

    def _change_visibility(self, request: "_Exchange") -> Answer:
        seconds = request.number("VisibilityTimeout", "")
        message = self._queue(request).held(request.query.get("receipthandle", ""), self.now())
        message.hide(self.now() + seconds)
        return 200, _element("ChangeVisibility", message.held_fields())

    def _delete(self, request: "_Exchange") -> Answer:
        queue = self._queue(request)
        queue.messages.remove(queue.held(request.query["receipthandle"], self.now()))
        return 204, None

    def _batch_delete(self, request: "_Exchange") -> Answer:
        queue, errors = self._queue(request), []
        for handle in [element.text or "" for element in request.xml()]:
            try:
                queue.messages.remove(queue.held(handle, self.now()))
            except SMQError as error:
                fields = {"ErrorCode": error.code, "ErrorMessage": error, "ReceiptHandle": handle}
                errors.append(_element("Error", fields))
        return (404, _element("Errors", errors)) if errors else (204, None)

    def _unknown(self, request: "_Exchange") -> Answer:
        raise SMQError("InvalidRequestURL")


# Method, path, needed parameters, operation; the first match counts. Operations are counted and made to fail by these
# names. Those on queues are RAM actions as well, and can be denied.
_MESSAGES = "/queues/([^/]+)/messages"
ROUTES = [
    ("GET", "/queues", "", "ListQueue", LocalSMQ._list_queues),
    ("PUT", "/queues/([^/]+)", "metaoverride", "SetQueueAttributes", LocalSMQ._set_attributes),
    ("PUT", "/queues/([^/]+)", "", "CreateQueue", LocalSMQ._create_queue),
    ("GET", "/queues/([^/]+)", "", "GetQueueAttributes", LocalSMQ._get_attributes),
    ("DELETE", "/queues/([^/]+)", "", "DeleteQueue", LocalSMQ._delete_queue),
    ("POST", _MESSAGES, "<Messages", "BatchSendMessage", LocalSMQ._send),  # told by the body alone
    ("POST", _MESSAGES, "", "SendMessage", LocalSMQ._send),
    ("GET", _MESSAGES, "peekonly numofmessages", "BatchPeekMessage", LocalSMQ._peek),
    ("GET", _MESSAGES, "peekonly", "PeekMessage", LocalSMQ._peek),
    ("GET", _MESSAGES, "numofmessages", "BatchReceiveMessage", LocalSMQ._receive),
    ("GET", _MESSAGES, "", "ReceiveMessage", LocalSMQ._receive),
    ("PUT", _MESSAGES, "", "ChangeMessageVisibility", LocalSMQ._change_visibility),
    ("DELETE", _MESSAGES, "receipthandle", "DeleteMessage", LocalSMQ._delete),
    ("DELETE", _MESSAGES, "", "BatchDeleteMessage", LocalSMQ._batch_delete),
    *metadata_local.ROUTES,
    ("[A-Z]+", ".*", "", "Unknown", LocalSMQ._unknown),
]
OPERATIONS = frozenset(operation for _, _, _, operation, _ in ROUTES)


class _HTTPServer(ThreadingHTTPServer):
    request_queue_size = 128  # with the default of 5, one of many that connect at once waits for a second SYN

    def __init__(self, port: int, smq: LocalSMQ, tls: ssl.SSLContext | None) -> None:
        self.smq = smq
        super().__init__(("127.0.0.1", port), _Exchange)
        if tls:  # each handshake in its connection's thread, so that one that stalls keeps nobody from connecting
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's own asks DNS for a name, which can take seconds

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that left is no news
            super().handle_error(request, client_address)


class _Exchange(BaseHTTPRequestHandler):
    """A connection, and the request on it that is being answered."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one packet
    server: _HTTPServer

    def handle_request(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.request_id = secrets.token_hex(12).upper()
        self.extra: dict[str, str] = {}
        self.skew = self.pause = 0.0
        self._route()
        answer = self.server.smq.answer(self)
        LOG.info("%s %s: %s", self.operation, self.subject, answer[0] if answer else "hung up")
        if answer:
            self._reply(*answer)
        else:
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = handle_request

    def _route(self) -> None:
        """Set `query` (its names in lower case), `operation`, `run`, and `subject`: the queue or the role."""
        path, _, raw = self.path.partition("?")
        items = [item.partition("=") for item in raw.split("&")]
        self.query = {name.lower(): unquote(value) for name, _, value in items}
        there = set(self.query) | ({"<Messages"} if b"<Messages" in self.body else set())
        for method, pattern, needed, self.operation, self.run in ROUTES:
            match = re.fullmatch(f"{method} {pattern}", f"{self.command} {path}")
            if match and there.issuperset(needed.split()):
                self.subject = match[1] if match.re.groups else ""
                return

    def _reply(self, status: int, content: Element | str | bytes | None) -> None:
        headers = {"Date": formatdate(time.time() + self.skew, usegmt=True)}
        if content is None or isinstance(content, Element):
            headers |= {"x-mns-request-id": self.request_id, "x-mns-version": "2015-06-06"} | self.extra
        body, content_type = _encode(content)
        if status != 204:
            headers |= {"Content-Type": content_type, "Content-Length": str(len(body))}
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.pause:
            self._drip(body)
        else:
            self.wfile.write(body)

    def _drip(self, body: bytes) -> None:
        for at in range(len(body)):
            self.wfile.write(body[at : at + 1])
            self.wfile.flush()
            if self.server.smq.wait_for_stop(self.pause):
                self.close_connection = True
                return

    def number(self, name: str, default: int | str) -> int:
        return _number(name, self.query.get(name.lower(), default))

    def xml(self) -> Element:
        try:
            root = ElementTree.fromstring(self.body)
        except ElementTree.ParseError as error:
            raise SMQError("MalformedXML") from error
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        return root

    def hung_up(self) -> bool:
        """Whether the client has left: one that waits for its answer sends nothing, so what can be read is the end."""
        poll = select.poll()  # select knows no descriptor beyond 1023
        poll.register(self.connection, select.POLLIN)
        return bool(poll.poll(0))

    def log_message(self, format: str, *args: object) -> None:
        LOG.info(format, *args)


def _signature(secret: str, request: _Exchange) -> str:
    headers = request.headers
    own = sorted((name.lower(), value) for name, value in headers.items() if name.lower().startswith("x-mns-"))
    common = [headers.get(name, "") for name in ("Content-MD5", "Content-Type", "Date")]
    text = "\n".join([request.command, *common, *(f"{name}:{value}" for name, value in own), request.path])
    return _base64(hmac.digest(secret.encode(), text.encode(), "sha1"))


def _message(entry: Element, queue: Queue, now: float) -> Message:
    fields = {element.tag: element.text or "" for element in entry}
    body = fields.get("MessageBody", "")
    if not 1 <= len(body.encode()) <= queue.attributes["MaximumMessageSize"]:
        raise SMQError("InvalidArgument", "The message's body is empty or too long.")
    delay = _number("DelaySeconds", fields.get("DelaySeconds", queue.attributes["DelaySeconds"]))
    return Message(body, _number("Priority", fields.get("Priority", 8)), enqueued=now, visible_at=now + delay)


def _messages(request: _Exchange, entries: list[dict[str, Any]]) -> Element:
    elements = [_element("Message", fields) for fields in entries]
    return _element("Messages", elements) if request.operation.startswith("Batch") else elements[0]


def _attributes(root: Element) -> dict[str, int]:
    return {element.tag: _number(element.tag, element.text or "") for element in root if element.tag in DEFAULTS}


def _number(name: str, value: str | int) -> int:
    low, high = LIMITS[name]
    if not str(value).isdecimal() or not low <= int(value) <= high:
        raise SMQError("InvalidArgument", f"The value of {name} should between {low} and {high} seconds/bytes.")
    return int(value)


def _element(name: str, content: Mapping[str, Any] | list[Element] | str) -> Element:
    element = Element(name)
    if isinstance(content, str):
        element.text = content
    elif isinstance(content, list):
        element.extend(content)
    else:
        element.extend(_element(key, str(value)) for key, value in content.items())
    return element


def _encode(content: Element | str | bytes | None) -> tuple[bytes, str]:
    """The body, and its Content-Type."""
    if isinstance(content, Element):
        content.set("xmlns", "http://mns.aliyuncs.com/doc/v1/")
        return ElementTree.tostring(content, "utf-8", xml_declaration=True), "text/xml;charset=utf-8"
    if isinstance(content, str):
        return content.encode(), "text/plain"
    return content or b"", "text/html"


def _base64(data: bytes) -> str:
    return b64.b64encode(data).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=9324)
    parser.add_argument("--instance-id", default="i-local")
    parser.add_argument("--region-id", default="cn-local")
    parser.add_argument("--access-key-id", default="local")
    parser.add_argument("--access-key-secret", default="local")
    parser.add_argument("--role", help="give the instance this RAM role, and export no access key")
    parser.add_argument("--hardened", action="store_true", help="metadata only with a token")
    parser.add_argument("--deny", dest="denied", action="append", default=[], metavar="ACTION", help="deny this action")
    options = vars(parser.parse_args())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # Blocked before there are threads, which inherit it: only sigwait takes them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        server = LocalSMQ(**options)
    except OSError as error:
        sys.exit(f"Port {options['port']}: {error.strerror}. Take another with --port.")
    with server:
        print("\n".join(_exports(server)), flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


def _exports(server: LocalSMQ) -> list[str]:
    values = {"MNS_ENDPOINT": server.endpoint, "BATCHGRAY_METADATA_URL": server.metadata_url}
    keys = {"ALIBABA_CLOUD_ACCESS_KEY_ID": server.access_key_id}
    keys["ALIBABA_CLOUD_ACCESS_KEY_SECRET"] = server.access_key_secret
    termination = f"{server.metadata_url}/latest/meta-data/instance/spot/termination-time"
    return [
        *(f"export {name}={shlex.quote(value)}" for name, value in (values if server.role else values | keys).items()),
        *([f"unset {' '.join(keys)}"] if server.role else []),
        "# A notice in the queue:    batchgray smq create spot-interruption",
        f"#                           batchgray smq simulate --instance-id {shlex.quote(server.instance_id)}",
        f'# A notice in the metadata: curl -X PUT -d "$(date -u -d "+5 minutes" +%FT%TZ)" {termination}',
        f"#   and to withdraw it:     curl -X PUT -d '' {termination}",
    ]


if __name__ == "__main__":
    main()
