"""obstore on a bad day: what its errors mean, what is asked for again, what listings do."""

import contextlib
import http.server
import math
import socket
import threading

import pytest
from obstore.exceptions import BaseError
from obstore.store import MemoryStore
from stores import LocalS3

from batchgray.storage import object_store, retrying
from batchgray.storage.base import BadKey, Busy, Denied, LockedOut, Missing, NoPlace, Put, Unreachable
from batchgray.storage.object_store import ObjectStorePlace, Stores
from batchgray.storage.urls import StoreOptions, open_url


class Answers(http.server.ThreadingHTTPServer):
    """Gives the first of its answers to each request until its times are up: (status, code of S3), times.

    Status 0 hangs up. What comes when all are used up is "204 No Content" to whatever was asked.
    """

    def __init__(self, *answers):
        self.left, self.asked = [list(answer) for answer in answers], []
        super().__init__(("127.0.0.1", 0), _Exchange)

    def next(self):
        for answer in self.left:
            if answer[2] > 0:
                answer[2] -= 1
                return answer[:2]
        return 204, ""


class _Exchange(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(f"{self.command} {self.path}")
        status, code = self.server.next()
        if not status:
            self.close_connection = True
            return
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>words</Message></Error>".encode()
        body = b"" if status == 204 or self.command == "HEAD" else body
        self.send_response(status)
        self.send_header("ETag", '"made"')
        self.send_header("Last-Modified", "Thu, 26 Nov 2026 18:00:00 GMT")
        self.send_header("Content-Length", str(len(body) + (code == "cut")))
        self.close_connection = code == "cut"
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    def log_message(self, *given):
        pass


@pytest.fixture
def answering(monkeypatch):
    monkeypatch.setattr(retrying, "_FIRST_SECONDS", 0.001)
    with contextlib.ExitStack() as stack:

        def open_place(*answers, patience=60.0):
            server = stack.enter_context(Answers(*answers))
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            for name, value in LocalS3.variables(f"http://127.0.0.1:{server.server_address[1]}").items():
                monkeypatch.setenv(name, value)
            return server, open_url("s3://photos/in", StoreOptions(patience=patience))

        yield open_place


@pytest.mark.parametrize("answer", [(500, "InternalError"), (503, "SlowDown"), (429, "TooMany"), (0, "")])
def test_what_may_pass_is_tried_again(answering, answer):
    server, place = answering((*answer, 4))
    place.put("a", b"mine")
    assert server.asked == ["PUT /photos/in/a"] * 5


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (503, "SlowDown", Busy, "503 SlowDown"),
        (500, "InternalError", Unreachable, "500 InternalError"),
        (0, "", Unreachable, "can't be reached"),
        (403, "AccessDenied", Denied, "s3:PutObject is denied"),
        (403, "InvalidAccessKeyId", LockedOut, "access key"),
        (403, "SignatureDoesNotMatch", LockedOut, "signature"),
        (400, "ExpiredToken", LockedOut, "expired"),
        (403, "RequestTimeTooSkewed", LockedOut, "clock"),
        (400, "AuthorizationHeaderMalformed", NoPlace, "another region"),
        (301, "PermanentRedirect", NoPlace, "another region"),
        (404, "NoSuchBucket", NoPlace, "no bucket"),
        (400, "KeyTooLongError", BadKey, "longer"),
    ],
)
def test_what_is_refused_is_told_in_words(answering, status, code, kind, words):
    server, place = answering((status, code, math.inf), patience=0.05)
    with pytest.raises(kind, match=words):
        place.put("a", b"mine")
    if kind not in (Busy, Unreachable):
        assert len(server.asked) == 1


def test_a_store_that_hangs_is_bounded(monkeypatch):
    monkeypatch.setattr(object_store, "_REQUEST_SECONDS", 1.0)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        for name, value in LocalS3.variables(f"http://127.0.0.1:{silent.getsockname()[1]}").items():
            monkeypatch.setenv(name, value)
        with pytest.raises(Unreachable):
            open_url("s3://photos/in", StoreOptions(patience=0.1)).get("a")


@pytest.mark.parametrize(
    ("size", "seconds"), [(0, 60), (15_360_000, 60), (15_360_001, 120), (100_000_000, 480), (5_000_000_000, 30720)]
)
def test_a_request_has_more_time_the_larger_it_is(size, seconds):
    """A slow connection is given up at 256 kB/s, as with OSS; a store is made once for all of about a size."""
    made = []
    stores = Stores(lambda limit: made.append(limit) or limit)
    assert [stores.of(size), stores.of(size)] == [seconds] * 2
    assert made == ([60] if seconds == 60 else [60, seconds])


class Sizes(Stores):
    """Asked for what is to be sent and read."""

    def __init__(self):
        store = MemoryStore()
        super().__init__(lambda _seconds: store)
        self.asked = []

    def of(self, size):
        self.asked.append(size)
        return super().of(size)


@pytest.mark.parametrize(
    "call",
    [
        lambda place, version: place.put("a", bytes(1000)),
        lambda place, version: place.put_absent("b", bytearray(1000)),
        lambda place, version: place.get("a", version, end=1000),
        lambda place, version: place.get("a", start=3, end=1003),
        lambda place, version: place.get("a", version, start=1000),
    ],
)
def test_all_that_is_sent_and_read_has_the_time_of_its_size(call):
    sizes = Sizes()
    place = ObjectStorePlace("memory://", sizes, "")
    place.put("a", bytes(2000))
    version = place.stat("a").version
    sizes.asked.clear()
    call(place, version)
    assert sizes.asked == [1000]


@pytest.fixture
def s3(monkeypatch):
    with LocalS3() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


def test_a_missing_bucket_is_told_from_a_missing_object(s3):
    place = open_url(f"s3://{s3.bucket()}", StoreOptions())
    nowhere = open_url("s3://nowhere", StoreOptions())
    for ask in (lambda place: place.stat("a"), lambda place: place.get("a")):
        with pytest.raises(Missing):
            ask(place)
        with pytest.raises(NoPlace, match="no bucket at s3://nowhere"):
            ask(nowhere)
    for ask in (lambda: nowhere.put("a", b""), lambda: nowhere.delete("a"), lambda: next(nowhere.list())):
        with pytest.raises(NoPlace):
            ask()


def test_only_the_first_missing_object_has_the_bucket_listed(s3, monkeypatch):
    place = open_url(f"s3://{s3.bucket()}", StoreOptions())
    listed, true = [], place.list
    monkeypatch.setattr(place, "list", lambda: (listed.append(1), true())[1])
    for key in "abc":
        with pytest.raises(Missing):
            place.stat(key)
    assert len(listed) == 1


def test_a_listing_that_breaks_goes_on_behind_its_last_object(monkeypatch):
    monkeypatch.setattr(retrying, "_FIRST_SECONDS", 0.001)
    monkeypatch.setattr(object_store, "_PAGE", 2)
    place, true, breaks = open_url("memory://", StoreOptions()), object_store.obstore.list, [1, 2]
    for name in "abcdefg":
        place.put(name, b"")

    def list_and_break(*given, **named):
        for number, page in enumerate(true(*given, **named)):
            if number and breaks:
                breaks.pop()
                raise BaseError("HTTP error: error decoding response body")
            yield page

    monkeypatch.setattr(object_store.obstore, "list", list_and_break)
    assert [entry.key for entry in place.list()] == list("abcdefg")
    assert breaks == []


def test_half_an_answer_is_asked_for_again(answering):
    server, place = answering((200, "cut", 1), (500, "InternalError", 1), (200, "whole", 1))
    assert b"whole" in place.get("a")
    assert len(server.asked) == 3


def test_what_no_folder_could_hold_can_not_be_listed(s3):
    bucket = s3.bucket()
    s3.client().put_object(Bucket=bucket, Key="a//b", Body=b"1")
    with pytest.raises(BadKey, match=r"a//b.*rename it"):
        list(open_url(f"s3://{bucket}", StoreOptions()).list())


@pytest.mark.parametrize("key", ["a\nb", "a\x01"])
def test_characters_that_obstore_refuses_are_a_bad_key(key):
    with pytest.raises(BadKey, match="rename it"):
        open_url("memory://", StoreOptions()).put(key, b"")


def test_what_is_taken_is_read_where_the_tag_does_not_tell():
    place = open_url("memory://", StoreOptions())  # its tags are numbers
    place.put("a", b"mine")
    assert place.put_absent("a", b"mine") is Put.SAME
    assert place.put_absent("a", b"them") is Put.OTHER
