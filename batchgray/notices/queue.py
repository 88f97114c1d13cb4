"""An SMQ queue through aliyun-mns-sdk: bodies as they are, every fault by its name, a time limit on every call.

What the SDK needs around it, as seen on the wire with 1.3.0: its own decoding of bodies loses messages that are not
Base64; one message without a body, or with what is no XML, makes the whole page unreadable; an answer is read whole,
whatever its length; https has no time limit unless the connection is given one, and none holds where a server drips;
one connection an Account, not thread-safe; some faults come as KeyError or binascii.Error; any answer from 200 to 399
counts as success. Its DEBUG log prints Authorization and stays off.
"""

import http.client
import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from batchgray import errors, texts
from batchgray.cloud.instance import Credentials, Unknown
from batchgray.cloud.request_limit import RequestLimit, TooSlow

PAGE = 16  # the most messages that one request may have
_TIMEOUT_SECONDS = 5.0
_FAULT_CHARACTERS = 80  # of a network fault: without the answer that it may quote
_ANSWER_BYTES = 1 << 24  # 16 messages of 64 kB, each character of them as XML's longest reference to it
_NO_BODY = re.compile(r"<MessageBody\s*/>|<MessageBody></MessageBody>")
_NO_XML = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|&#(?:x0*(?:[0-8bcef]|1[0-9a-f])|0*(?:[0-8]|1[124-9]|2[0-9]|3[01]));",
    re.IGNORECASE,
)
NO_ENDPOINT = "the endpoint is missing (--smq-endpoint, MNS_ENDPOINT)"
NO_CREDENTIALS = "credentials are missing (ALIBABA_CLOUD_ACCESS_KEY_ID and ..._SECRET, or an instance role)"
_NO_HANDLE = "1-ODU4OTkzNDU5My0xNDM1MTk3NjAwLTItNg=="

GONE = frozenset({"MessageNotExist", "ReceiptHandleError"})
REFUSED_KEY = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSecurityToken", "SecurityTokenExpired"})
FINAL = frozenset({"QueueNotExist", "AccessDenied"}) | REFUSED_KEY  # asking again will not help


class QueueFault(Exception):
    """A call that failed: `kind` is the service's error type, or "Network", "UnexpectedAnswer", "Credentials".

    `action` is what was asked for, by its name in RAM policies.
    """

    def __init__(self, kind: str, text: str = "", action: str = "") -> None:
        super().__init__(f"{kind}: {text}" if text else kind)
        self.kind, self.text, self.action = kind, text, action


class Message(NamedTuple):
    """`handle` is "" for one that was only peeked at; `age` is in seconds, by the service's clock."""

    message_id: str
    body: str
    handle: str
    age: float


class _Answer(http.client.HTTPResponse):
    """One whose messages the SDK can read, whatever is in their bodies: what it can't becomes what is no event either.

    One that is too long, or not whole, is a fault.
    """

    def read(self, amount: int | None = None) -> bytes:
        if amount is not None:
            return super().read(amount)
        data = super().read(_ANSWER_BYTES + 1)
        if len(data) > _ANSWER_BYTES:
            raise http.client.HTTPException(f"an answer longer than {_ANSWER_BYTES} bytes")
        if self.length:
            raise http.client.IncompleteRead(b"", self.length)
        text = _NO_BODY.sub("<MessageBody> </MessageBody>", data.decode("utf-8", "replace"))
        return _NO_XML.sub("\ufffd", text).encode("utf-8")


class _Provider:
    """The SDK asks it before every request, so that renewed credentials are used at once."""

    def __init__(self, credentials: Callable[[], Credentials]) -> None:
        self._credentials = credentials

    def get_credentials(self) -> Any:
        from mns.auth import Credentials as SdkCredentials

        current = self._credentials()
        return SdkCredentials(current.key_id, current.secret, current.token)


class SmqQueue:
    """One thread uses it. Every call raises QueueFault, of kind "Credentials" where `credentials` raises Unknown."""

    def __init__(self, endpoint: str, name: str, credentials: Callable[[], Credentials]) -> None:
        from mns.account import Account  # takes 0.3 s to import

        self.endpoint, self.name = endpoint, name
        try:
            self._account = Account(endpoint, credentials_provider=_Provider(credentials))
        except Exception as error:
            raise QueueFault("InvalidEndpoint", type(error).__name__) from None
        connection = self._account.mns_client.http.conn
        self._answer: _Answer | None = None
        connection.response_class = self._next_answer
        connection.timeout = connection.connection_timeout = _TIMEOUT_SECONDS
        self._limit = RequestLimit(connection)
        self._queue = self._account.get_queue(name)
        self._queue.set_encoding(False)

    def peek(self) -> list[Message]:
        """Up to 16 visible messages, and hide none."""
        return self._messages(self._queue.batch_peek_message, PAGE)

    def receive(self, most: int = PAGE) -> list[Message]:
        """Up to `most` visible messages, hidden from all other readers for the queue's visibility time-out."""
        return self._messages(self._queue.batch_receive_message, most, 0)

    def hide(self, handle: str, seconds: int) -> str:
        """Hide a received message for so many seconds from now (1 to 43200). Returns its new handle.

        The old one is dead.
        """
        return str(self._call(self._queue.change_message_visibility, handle, seconds).receipt_handle)

    def delete(self, handle: str) -> None:
        self._call(self._queue.delete_message, handle)

    def attributes(self) -> Any:
        return self._call(self._queue.get_attributes)

    def create(self) -> bool:
        """True where it was made now, False where it was there."""
        from mns.queue import QueueMeta

        try:
            self.attributes()
            return False
        except QueueFault as fault:
            if fault.kind not in ("QueueNotExist", "AccessDenied"):
                raise
        try:
            self._call(self._queue.create, QueueMeta())
        except QueueFault as fault:
            if fault.kind != "QueueAlreadyExist":  # there, with other attributes: left as it is
                raise
            return False
        return True

    def send(self, body: str) -> str:
        """Returns the message's id."""
        from mns.queue import Message as SdkMessage

        return str(self._call(self._queue.send_message, SdkMessage(body)).message_id)

    def close(self) -> None:
        self._account.mns_client.close_connection()

    def _messages(self, call: Callable[..., Any], *arguments: int) -> list[Message]:
        try:
            found = self._call(call, *arguments)
        except QueueFault as fault:
            if fault.kind == "MessageNotExist":  # an empty queue
                return []
            raise
        now = self._servers_time()
        return [
            Message(
                item.message_id,
                item.message_body,
                getattr(item, "receipt_handle", "") or "",
                now - int(item.enqueue_time) / 1000,
            )
            for item in found
        ]

    def _next_answer(self, *arguments: Any, **settings: Any) -> _Answer:
        self._answer = _Answer(*arguments, **settings)
        return self._answer

    def _servers_time(self) -> float:
        """As the last answer told it; a clock that is off by minutes would make a fresh event old."""
        try:
            date = self._answer.getheader("Date") if self._answer else None
            return parsedate_to_datetime(date or "").timestamp()
        except (ValueError, OverflowError):
            return time.time()

    def _call(self, call: Callable[..., Any], *arguments: Any) -> Any:
        from mns.mns_exception import MNSClientNetworkException, MNSServerException

        action = "".join(word.capitalize() for word in call.__name__.split("_"))  # as RAM names it
        # "from None": the SDK's exceptions quote requests and answers, which don't belong into a traceback.
        try:
            with self._limit.within(_TIMEOUT_SECONDS):
                return call(*arguments)
        except TooSlow as error:
            raise QueueFault("Network", str(error), action) from None
        except MNSServerException as error:
            raise QueueFault(error.type, action=action) from None
        except MNSClientNetworkException as error:
            raise QueueFault("Network", texts.one_line(str(error.message), _FAULT_CHARACTERS), action) from None
        except Unknown as error:
            raise QueueFault("Credentials", str(error), action) from None
        except Exception as error:  # what the SDK makes of an answer that is not the service's
            raise QueueFault("UnexpectedAnswer", type(error).__name__, action) from None


def trials_of_taking(queue: SmqQueue) -> dict[str, Callable[[], object]]:
    """Each action that listening needs beside peeking, by its name in RAM policies, as a call for `try_action`.

    Hiding and deleting are tried with a handle of no message: the service looks at permissions first. A message that is
    received is given back at once.
    """
    return {
        "BatchReceiveMessage": lambda: [queue.hide(message.handle, 1) for message in queue.receive(1)],
        "ChangeMessageVisibility": lambda: queue.hide(_NO_HANDLE, 1),
        "DeleteMessage": lambda: queue.delete(_NO_HANDLE),
    }


def try_action(trial: Callable[[], object]) -> None:
    """Raises QueueFault, with the `action` that is denied, or of another kind; not where a handle is refused."""
    try:
        trial()
    except QueueFault as fault:
        if fault.kind not in GONE | {"InvalidArgument"}:
            raise


def usage_error(fault: QueueFault, name: str, endpoint: str) -> errors.UsageError:
    """What a fault means to the user who configures the queue."""
    if fault.kind == "QueueNotExist":
        return errors.QueueMissing(name, endpoint)
    if fault.kind == "AccessDenied":
        return errors.QueueDenied(name, endpoint, fault.action)
    if fault.kind in REFUSED_KEY:
        return errors.KeyRefused(name, endpoint, fault.kind)
    if fault.kind == "Credentials":
        return errors.IncompleteSmq(name, f"{NO_CREDENTIALS}; {fault.text}")
    return errors.QueueUnreachable(name, endpoint, str(fault))
