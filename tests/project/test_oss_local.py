"""The local OSS, through the real SDK and a real socket: what it gets wrong here, a rehearsal would hide."""

import base64
import hashlib
import http.client
import json
import math
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

import alibabacloud_oss_v2 as oss
import pytest
import requests
from alibabacloud_oss_v2.exceptions import OperationError, ServiceError
from alibabacloud_oss_v2.signer.v4 import SignerV4
from alibabacloud_oss_v2.types import Credentials, HttpRequest, SigningContext
from harness import DEADLINE
from oss_local import Fault, LocalOSS
from oss_local_buckets import crc64, crc64_in_python, list_page, token_of
from smq_local import LocalSMQ

SCRIPT = Path(__file__).parents[2] / "scripts" / "oss_local.py"
KEY = Credentials("local", "local")


@pytest.fixture
def server() -> Iterator[LocalOSS]:
    with LocalOSS() as server:
        server.create_bucket("photos")
        yield server


@pytest.fixture
def connect(server) -> Iterator:
    """Makes clients of the SDK, each with connections of its own; closed at the end."""
    sessions = []

    def client(credentials: Credentials = KEY, region: str = "cn-local", attempts: int = 1) -> oss.Client:
        session = requests.Session()
        session.trust_env = False
        sessions.append(session)
        provider = oss.credentials.StaticCredentialsProvider(
            credentials.access_key_id, credentials.access_key_secret, credentials.security_token
        )
        return oss.Client(
            oss.config.Config(
                region=region,
                endpoint=server.endpoint,
                credentials_provider=provider,
                use_path_style=True,
                retry_max_attempts=attempts,
                http_client=oss.transport.RequestsHttpClient(session=session),
            )
        )

    yield client
    for session in sessions:
        session.close()


@pytest.fixture
def client(connect) -> oss.Client:
    return connect()


@contextmanager
def refused(code: str, status: int) -> Iterator[list[ServiceError]]:
    told = []
    with pytest.raises(OperationError) as caught:
        yield told
    error = caught.value.unwrap()
    assert isinstance(error, ServiceError), error
    assert (error.code, error.status_code) == (code, status)
    told.append(error)


class Heard(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def code(self) -> str:
        return ElementTree.fromstring(self.body).findtext("Code")


def ask(
    server: LocalOSS,
    method: str,
    bucket: str = "photos",
    key: str = "",
    body: bytes = b"",
    query: str = "",
    credentials: Credentials = KEY,
    **headers: str,
) -> Heard:
    """A request that the SDK would never send, signed by the SDK; underscores in names of headers are hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    target = f"/{bucket}/{quote(key)}" + (f"?{query}" if query else "")
    request = HttpRequest(method, server.endpoint + target, headers=named)
    SignerV4().sign(
        SigningContext(
            product="oss", region="cn-local", bucket=bucket, key=key, request=request, credentials=credentials
        )
    )
    return send(server, method, target, body, dict(request.headers))


def send(server: LocalOSS, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Heard:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
    try:
        connection.request(method, target, body, headers or {})
        response = connection.getresponse()
        return Heard(response.status, response.headers, response.read())
    finally:
        connection.close()


def put(client: oss.Client, key: str, body: bytes = b"content", bucket: str = "photos", **more):
    return client.put_object(oss.PutObjectRequest(bucket=bucket, key=key, body=body, **more))


def get(client: oss.Client, key: str, bucket: str = "photos", **more):
    """The result, and its content."""
    result = client.get_object(oss.GetObjectRequest(bucket=bucket, key=key, **more))
    with result.body as body:
        return result, body.read()


def list_of(client: oss.Client, bucket: str = "photos", **more) -> tuple[list[str], list[str], list[int]]:
    """Keys, common prefixes, and how many entries each page had."""
    keys, prefixes, sizes = [], [], []
    for page in client.list_objects_v2_paginator().iter_page(oss.ListObjectsV2Request(bucket=bucket, **more)):
        keys += [found.key for found in page.contents or []]
        prefixes += [found.prefix for found in page.common_prefixes or []]
        sizes.append(page.key_count)
    return keys, prefixes, sizes


class TestObjects:
    @pytest.mark.parametrize("key", ["a.jpg", "a b/c+d&e=f?g#h%20.jpg", "照片/ü~'()*!.jpg", "a//b.c", "x" * 1023])
    def test_what_is_put_is_got(self, server, client, key):
        body = bytes(range(256)) * 300
        written = put(client, key, body, content_type="image/jpeg", metadata={"taken": "2026"})
        result, got = get(client, key)
        assert got == body
        etag = f'"{hashlib.md5(body).hexdigest().upper()}"'
        assert written.etag == result.etag == etag
        assert written.hash_crc64 == result.hash_crc64 == str(crc64(body))
        assert (result.content_length, result.content_type, result.metadata) == (
            len(body),
            "image/jpeg",
            {"taken": "2026"},
        )
        head = client.head_object(oss.HeadObjectRequest(bucket="photos", key=key))
        assert (head.etag, head.content_length, head.object_type) == (etag, len(body), "Normal")
        assert abs(head.last_modified.timestamp() - time.time()) < DEADLINE
        assert server.objects("photos") == {key: body}

    def test_a_body_of_unknown_length_comes_in_chunks(self, server, client):
        put(client, "a", iter([b"one", b"two" * 10_000, b"three"]))
        assert server.objects("photos") == {"a": b"one" + b"two" * 10_000 + b"three"}

    def test_what_was_not_sent_to_its_end_is_not_stored(self, server):
        heard = HttpRequest("PUT", f"{server.endpoint}/photos/a")
        SignerV4().sign(
            SigningContext(product="oss", region="cn-local", bucket="photos", key="a", request=heard, credentials=KEY)
        )
        lines = [f"{name}: {value}" for name, value in heard.headers.items()]
        text = "\r\n".join(["PUT /photos/a HTTP/1.1", "Host: x", *lines, "Content-Length: 10", "", "half"])
        with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as connection:
            connection.sendall(text.encode())
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""
        assert server.objects("photos") == {}

    def test_a_missing_object_and_a_missing_bucket_are_told_apart(self, client):
        with refused("NoSuchKey", 404) as told:
            get(client, "none")
        assert (told[0].message, told[0].ec) == ("The specified key does not exist.", "0026-00000001")
        assert len(told[0].request_id) == 24
        with refused("NoSuchKey", 404):  # of a HEAD, in a header
            client.head_object(oss.HeadObjectRequest(bucket="photos", key="none"))
        with refused("NoSuchBucket", 404) as told:
            get(client, "none", bucket="nowhere")
        assert "<BucketName>nowhere</BucketName>" in told[0].snapshot.decode()

    def test_names_that_the_service_does_not_take(self, server):
        assert ask(server, "PUT", key="/a").code == "InvalidObjectName"
        assert ask(server, "PUT", key="x" * 1024).code == "InvalidObjectName"
        assert ask(server, "GET", bucket="ab", key="a").code == "InvalidBucketName"
        assert ask(server, "PUT", bucket="Photos").code == "InvalidBucketName"

    def test_ranges(self, client):
        put(client, "a", b"0123456789")
        result, body = get(client, "a", range_header="bytes=2-4")
        assert (body, result.status_code, result.content_range) == (b"234", 206, "bytes 2-4/10")
        assert get(client, "a", range_header="bytes=7-")[1] == b"789"
        assert get(client, "a", range_header="bytes=-4")[1] == b"6789"
        assert get(client, "a", range_header="bytes=0-9")[0].status_code == 206

    def test_a_range_that_is_not_within_the_object_gets_everything_unless_the_standard_is_asked_for(self, client):
        put(client, "a", b"0123456789")
        for wrong in ("bytes=5-20", "bytes=10-", "bytes=6-2"):
            result, body = get(client, "a", range_header=wrong)
            assert (result.status_code, body) == (200, b"0123456789")
        assert get(client, "a", range_header="bytes=5-20", range_behavior="standard")[1] == b"56789"
        with refused("InvalidRange", 416):
            get(client, "a", range_header="bytes=10-", range_behavior="standard")

    def test_reading_one_version_of_the_content(self, client):
        first = put(client, "a", b"first").etag
        assert get(client, "a", if_match=first)[1] == b"first"
        with pytest.raises(OperationError) as caught:
            get(client, "a", if_none_match=first)
        assert caught.value.unwrap().status_code == 304
        put(client, "a", b"second")
        with refused("PreconditionFailed", 412):
            get(client, "a", if_match=first)
        with refused("PreconditionFailed", 412):
            client.head_object(oss.HeadObjectRequest(bucket="photos", key="a", if_match=first))
        with refused("PreconditionFailed", 412):
            get(client, "a", if_unmodified_since=formatdate(time.time() - 3600, usegmt=True))

    def test_objects_are_deleted_one_by_one_and_several_at_once(self, server, client):
        keys = [f"a&<{number}>" for number in range(5)]
        for key in [*keys, "stays"]:
            put(client, key)
        assert client.delete_object(oss.DeleteObjectRequest(bucket="photos", key=keys[0])).status_code == 204
        assert client.delete_object(oss.DeleteObjectRequest(bucket="photos", key="none")).status_code == 204
        several = [oss.DeleteObject(key=key) for key in [*keys[1:4], "none"]]
        result = client.delete_multiple_objects(oss.DeleteMultipleObjectsRequest(bucket="photos", objects=several))
        assert [deleted.key for deleted in result.deleted_objects] == [*keys[1:4], "none"]
        quiet = oss.DeleteMultipleObjectsRequest(bucket="photos", objects=[oss.DeleteObject(key=keys[4])], quiet=True)
        assert not client.delete_multiple_objects(quiet).deleted_objects
        assert list(server.objects("photos")) == ["stays"]
        assert ask(server, "POST", query="delete", body=b"<Delete/>").code == "MissingArgument"

    def test_objects_are_copied_with_what_is_said_of_them(self, client):
        etag = put(client, "a/ü b", b"body", content_type="image/png", metadata={"of": "a"}).etag
        copy = {"bucket": "photos", "source_bucket": "photos", "source_key": "a/ü b"}
        assert client.copy_object(oss.CopyObjectRequest(key="c", **copy)).etag == etag
        result, body = get(client, "c")
        assert (body, result.content_type, result.metadata) == (b"body", "image/png", {"of": "a"})
        with refused("FileAlreadyExists", 409):
            client.copy_object(oss.CopyObjectRequest(key="c", forbid_overwrite=True, **copy))
        with refused("PreconditionFailed", 412):
            client.copy_object(oss.CopyObjectRequest(key="d", if_match='"0"', **copy))
        with refused("NoSuchKey", 404):
            client.copy_object(oss.CopyObjectRequest(key="d", **copy | {"source_key": "none"}))

    def test_the_digest_is_checked(self, server, client):
        right = base64.b64encode(hashlib.md5(b"content").digest()).decode()
        put(client, "a", content_md5=right)
        with refused("InvalidDigest", 400):
            put(client, "b", b"damaged", content_md5=right)
        assert list(server.objects("photos")) == ["a"]

    def test_the_crc_is_the_vendors(self):
        assert crc64(b"123456789") == crc64_in_python(b"123456789") == 0x995DC9BBDF1939FA
        assert crc64(bytes(1000)) == crc64_in_python(bytes(1000))


class TestConditionsOfPuts:
    def test_of_many_that_put_what_is_absent_one_wins(self, server, connect):
        def race(number: int) -> int:
            try:
                return put(connect(), "a", b"%d" % number, forbid_overwrite=True).status_code
            except OperationError as error:
                return error.unwrap().status_code

        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(race, range(8))) == [200] + [409] * 7

    def test_what_is_there_is_not_replaced(self, server, client):
        put(client, "a", b"first", forbid_overwrite=True)
        with refused("FileAlreadyExists", 409) as told:
            put(client, "a", b"second", forbid_overwrite=True)
        assert told[0].message == "The object you specified already exists and can not be overwritten."
        assert server.objects("photos") == {"a": b"first"}
        put(client, "a", b"third", forbid_overwrite=False)
        assert server.objects("photos") == {"a": b"third"}
        assert ask(server, "PUT", key="b", x_oss_forbid_overwrite="abc").code == "InvalidArgument"

    @pytest.mark.parametrize("status", ["Enabled", "Suspended"])
    def test_versioning_voids_the_condition(self, server, client, status):
        server.create_bucket("versions", versioning=status)
        put(client, "a", b"first", bucket="versions", forbid_overwrite=True)
        put(client, "a", b"second", bucket="versions", forbid_overwrite=True)
        assert server.objects("versions") == {"a": b"second"}

    @pytest.mark.parametrize("name", ["If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"])
    def test_conditions_of_http_are_not_implemented(self, server, name):
        heard = ask(server, "PUT", key="a", **{name: "*"})
        assert (heard.status, heard.code) == (400, "NotImplemented")
        assert f"<Header>{name}</Header>".encode() in heard.body
        assert server.objects("photos") == {}


class TestListing:
    def test_pages_go_on_where_the_last_one_ended(self, server, client):
        keys = sorted(f"{folder}/{name} ü&<{number}>.jpg" for folder in "ab" for name in "xy" for number in range(9))
        for key in keys:
            server.put("photos", key, b"x")
        assert list_of(client) == (keys, [], [36])
        assert list_of(client, max_keys=10) == (keys, [], [10, 10, 10, 6])
        assert list_of(client, max_keys=12)[2] == [12, 12, 12]
        assert list_of(client, prefix="a/y", max_keys=2)[0] == keys[9:18]
        assert list_of(client, start_after=keys[4], max_keys=7)[0] == keys[5:]
        assert list_of(client, start_after="a0")[0] == keys[18:]
        assert list_of(client, prefix="c") == ([], [], [0])

    def test_a_delimiter_makes_folders(self, server, client):
        for key in ("1.jpg", "a/1.jpg", "a/b/2.jpg", "a/b/3.jpg", "a/c/4.jpg", "a/d", "z/5.jpg"):
            server.put("photos", key, b"x")
        for limit in (1, 2, 3, 1000):
            assert list_of(client, delimiter="/", max_keys=limit)[:2] == (["1.jpg"], ["a/", "z/"])
            assert list_of(client, delimiter="/", prefix="a/", max_keys=limit)[:2] == (
                ["a/1.jpg", "a/d"],
                ["a/b/", "a/c/"],
            )

    def test_an_entry_says_what_a_head_says(self, client):
        etag = put(client, "a", b"12345").etag
        page = client.list_objects_v2(oss.ListObjectsV2Request(bucket="photos", fetch_owner=True))
        found = page.contents[0]
        assert (found.key, found.size, found.etag, found.storage_class) == ("a", 5, etag, "Standard")
        assert abs(found.last_modified.timestamp() - time.time()) < DEADLINE
        assert (found.owner.id, page.name, page.max_keys, page.is_truncated) == (
            "1690000000000030",
            "photos",
            100,
            False,
        )

    def test_names_are_escaped_where_no_encoding_is_asked_for(self, server):
        server.put("photos", "a&<b>/ü", b"x")
        root = ElementTree.fromstring(ask(server, "GET", query="list-type=2").body)
        assert (root.findtext("Contents/Key"), root.findtext("EncodingType")) == ("a&<b>/ü", None)
        root = ElementTree.fromstring(ask(server, "GET", query="encoding-type=url&list-type=2").body)
        assert (root.findtext("Contents/Key"), root.findtext("EncodingType")) == ("a%26%3Cb%3E%2F%C3%BC", "url")

    def test_what_can_not_be_asked_for(self, server):
        for query in ("list-type=2&max-keys=0", "list-type=2&max-keys=1001", "continuation-token=%21&list-type=2"):
            assert ask(server, "GET", query=query).code == "InvalidArgument"
        assert ask(server, "GET", query="prefix=a").code == "NotImplemented"
        assert ask(server, "GET", query="versions").code == "NotImplemented"
        assert ask(server, "POST", key="a", query="uploads").code == "NotImplemented"
        assert ask(server, "GET", key="a", query="x-oss-process=image%2Fresize").code == "NotImplemented"

    def test_a_million_objects_are_made_up(self, server, client):
        server.make_up_bucket("many", 1_000_000, b"JPEG", prefix="in/", per_folder=1000)
        page = client.list_objects_v2(oss.ListObjectsV2Request(bucket="many", prefix="in/000999/", max_keys=1000))
        assert (page.contents[0].key, page.contents[-1].key) == ("in/000999/000999000.jpg", "in/000999/000999999.jpg")
        assert not page.is_truncated
        assert list_of(client, "many", prefix="in/", delimiter="/", max_keys=1000)[1:] == (
            [f"in/{number:06}/" for number in range(1000)],
            [1000],
        )
        result, body = get(client, "in/000012/000012345.jpg", bucket="many")
        assert (body, result.etag, result.content_type) == (b"JPEG", page.contents[0].etag, "image/jpeg")
        for missing in ("in/000013/000012345.jpg", "in/001000/001000000.jpg", "in/x.jpg"):
            with refused("NoSuchKey", 404):
                get(client, missing, bucket="many")
        with refused("AccessDenied", 403):
            put(client, "in/x.jpg", bucket="many")
        with refused("AccessDenied", 403):
            client.delete_object(oss.DeleteObjectRequest(bucket="many", key="in/000012/000012345.jpg"))

    def test_every_one_of_ten_million_is_listed_once(self, oss_local):
        """Without the connection, which would take minutes: the pages at both ends, and every thousandth between."""
        with LocalOSS() as server:
            keys = server.make_up_bucket("many", 10_000_000, b"").keys
        assert len(keys) == 10_000_000
        after, seen = "", []
        for _ in range(3):
            page = list_page(keys, "", "", after, 1000)
            seen, after = seen + page.keys, page.token
        assert seen == keys[:3000]
        for at in range(1000, 10_000_000, 1_000_000):
            assert list_page(keys, "", "", keys[at - 1], 2).keys == keys[at : at + 2]
        assert list_page(keys, "", "", keys[-2], 1000) == ([keys[-1]], [], None)


class TestBuckets:
    def test_they_are_made_looked_at_and_removed(self, server, client):
        client.put_bucket(oss.PutBucketRequest(bucket="gray"))
        client.put_bucket(oss.PutBucketRequest(bucket="gray"))
        info = client.get_bucket_info(oss.GetBucketInfoRequest(bucket="gray")).bucket_info
        assert (info.name, info.location, info.storage_class, info.versioning) == (
            "gray",
            "oss-cn-local",
            "Standard",
            None,
        )
        assert client.get_bucket_location(oss.GetBucketLocationRequest(bucket="gray")).location == "oss-cn-local"
        assert [found.name for found in client.list_buckets(oss.ListBucketsRequest()).buckets] == ["gray", "photos"]
        put(client, "a", bucket="gray")
        with refused("BucketNotEmpty", 409):
            client.delete_bucket(oss.DeleteBucketRequest(bucket="gray"))
        client.delete_object(oss.DeleteObjectRequest(bucket="gray", key="a"))
        client.delete_bucket(oss.DeleteBucketRequest(bucket="gray"))
        with refused("NoSuchBucket", 404):
            client.get_bucket_info(oss.GetBucketInfoRequest(bucket="gray"))

    def test_versioning_is_told_and_set(self, server, client):
        def status() -> str | None:
            return client.get_bucket_versioning(oss.GetBucketVersioningRequest(bucket="photos")).version_status

        assert status() is None
        for wanted in ("Enabled", "Suspended"):
            configuration = oss.VersioningConfiguration(status=wanted)
            client.put_bucket_versioning(
                oss.PutBucketVersioningRequest(bucket="photos", versioning_configuration=configuration)
            )
            assert status() == wanted
            assert client.get_bucket_info(oss.GetBucketInfoRequest(bucket="photos")).bucket_info.versioning == wanted
        wrong = ask(
            server,
            "PUT",
            query="versioning",
            body=b"<VersioningConfiguration><Status>On</Status></VersioningConfiguration>",
        )
        assert wrong.code == "MalformedXML"

    def test_versions_are_kept_marked_and_removed(self, server, client):
        server.create_bucket("versions", versioning="Enabled")
        ids = [put(client, "a", body, bucket="versions").version_id for body in (b"first", b"second")]
        assert len(set(ids)) == 2
        assert get(client, "a", bucket="versions")[1] == b"second"
        result, body = get(client, "a", bucket="versions", version_id=ids[0])
        assert (body, result.version_id) == (b"first", ids[0])
        marker = client.delete_object(oss.DeleteObjectRequest(bucket="versions", key="a"))
        assert marker.delete_marker
        assert list_of(client, "versions") == ([], [], [0])
        with refused("NoSuchKey", 404) as told:
            get(client, "a", bucket="versions")
        assert told[0].headers["x-oss-delete-marker"] == "true"
        with refused("MethodNotAllowed", 405):
            get(client, "a", bucket="versions", version_id=marker.version_id)
        with refused("NoSuchVersion", 404):
            get(client, "a", bucket="versions", version_id="other")
        for version_id in (marker.version_id, ids[1]):
            client.delete_object(oss.DeleteObjectRequest(bucket="versions", key="a", version_id=version_id))
        assert get(client, "a", bucket="versions")[1] == b"first"
        copied = oss.CopyObjectRequest(
            bucket="versions", key="b", source_bucket="versions", source_key="a", source_version_id=ids[0]
        )
        assert client.copy_object(copied).source_version_id == ids[0]

    def test_a_suspended_bucket_keeps_one_version_that_has_no_id(self, server, client):
        server.create_bucket("versions", versioning="Enabled")
        first = put(client, "a", b"first", bucket="versions").version_id
        server.buckets["versions"].set_versioning("Suspended")
        for body in (b"second", b"third"):
            assert put(client, "a", body, bucket="versions").version_id is None
        assert get(client, "a", bucket="versions", version_id="null")[1] == b"third"
        assert client.delete_object(oss.DeleteObjectRequest(bucket="versions", key="a")).version_id == "null"
        assert get(client, "a", bucket="versions", version_id=first)[1] == b"first"


class TestWhoAsks:
    def test_a_wrong_secret_and_an_unknown_key_are_told_apart(self, connect):
        with refused("SignatureDoesNotMatch", 403) as told:
            get(connect(Credentials("local", "wrong")), "a")
        assert "<StringToSign>OSS4-HMAC-SHA256\n" in told[0].snapshot.decode()
        with refused("InvalidAccessKeyId", 403):
            get(connect(Credentials("other", "local")), "a")
        with refused("NoSuchBucket", 404):  # which comes first
            get(connect(Credentials("other", "local")), "a", bucket="nowhere")

    def test_a_wrong_region_is_an_invalid_argument(self, connect):
        with refused("InvalidArgument", 400) as told:
            get(connect(region="cn-other"), "a")
        assert told[0].message == "Invalid signing region in Authorization header."

    @pytest.mark.parametrize("changed", ["method", "key", "query", "header"])
    def test_what_is_signed_can_not_be_changed(self, server, changed):
        server.put("photos", "a", b"x")
        request = HttpRequest("GET", f"{server.endpoint}/photos/a", headers={"x-oss-meta-a": "1"})
        context = {"bucket": "photos", "key": "a", "request": request, "credentials": KEY}
        SignerV4().sign(SigningContext(product="oss", region="cn-local", **context))
        headers = dict(request.headers)
        assert send(server, "GET", "/photos/a", headers=headers).status == 200
        method, target = ("DELETE" if changed == "method" else "GET"), "/photos/a"
        target += {"key": "b", "query": "?versionId=null"}.get(changed, "")
        headers |= {"x-oss-meta-a": "2"} if changed == "header" else {}
        assert send(server, method, target, headers=headers).code == "SignatureDoesNotMatch"

    def test_additional_headers_are_signed_too(self, server):
        request = HttpRequest("GET", f"{server.endpoint}/photos/a", headers={"Range": "bytes=0-1"})
        context = {"bucket": "photos", "key": "a", "request": request, "credentials": KEY}
        SignerV4().sign(SigningContext(product="oss", region="cn-local", additional_headers={"range"}, **context))
        headers = dict(request.headers)
        assert "AdditionalHeaders=range" in headers["Authorization"]
        assert send(server, "GET", "/photos/a", headers=headers).code == "NoSuchKey"
        assert (
            send(server, "GET", "/photos/a", headers=headers | {"Range": "bytes=0-9"}).code == "SignatureDoesNotMatch"
        )

    def test_who_does_not_sign_or_signs_as_of_old_gets_nothing(self, server):
        heard = send(server, "GET", "/photos/a")
        assert (heard.status, heard.code) == (403, "AccessDenied")
        old = {"Authorization": "OSS local:c2lnbmF0dXJl", "Date": formatdate(usegmt=True)}
        assert send(server, "GET", "/photos/a", headers=old).code == "InvalidArgument"
        assert send(server, "GET", "/photos/a", headers={"Authorization": "OSS4-HMAC-SHA256 Credential=a"}).code == (
            "AccessDenied"  # no date either
        )

    def test_presigned_urls_open_one_object_for_a_while(self, server, client):
        server.put("photos", "a b", b"body")
        signed = client.presign(oss.GetObjectRequest(bucket="photos", key="a b"), expires=timedelta(minutes=5))
        target = signed.url.removeprefix(server.endpoint)
        assert send(server, "GET", target).body == b"body"
        assert send(server, "GET", target.replace("a%20b", "c")).code == "SignatureDoesNotMatch"
        assert send(server, "GET", re.sub("expires=[0-9]+", "expires=3000", target)).code == "SignatureDoesNotMatch"
        server.metadata.advance(301)
        heard = send(server, "GET", target)
        assert (heard.status, heard.code) == (403, "AccessDenied")
        assert b"<Message>Request has expired.</Message>" in heard.body

    @pytest.mark.parametrize("ahead", [1, -1])
    def test_a_clock_that_is_off_is_refused_beyond_15_minutes(self, server, client, ahead):
        server.skew = ahead * 600
        put(client, "a")
        server.skew = ahead * 1200
        with refused("RequestTimeTooSkewed", 403) as told:
            put(client, "b")
        text = told[0].snapshot.decode()
        assert "<MaxAllowedSkewMilliseconds>900000</MaxAllowedSkewMilliseconds>" in text
        assert "<ServerTime>" in text
        of_server = parsedate_to_datetime(told[0].headers["Date"]) - datetime.now(UTC)
        assert abs(of_server.total_seconds() - server.skew) < 300
        assert list(server.objects("photos")) == ["a"]


class TestTheRole:
    def role_credentials(self, server) -> Credentials:
        name = send(server, "GET", "/latest/meta-data/ram/security-credentials/").body.decode()
        given = json.loads(send(server, "GET", f"/latest/meta-data/ram/security-credentials/{name}").body)
        return Credentials(given["AccessKeyId"], given["AccessKeySecret"], given["SecurityToken"])

    def test_its_credentials_need_their_token(self, server, connect):
        server.metadata.role = "worker"
        given = self.role_credentials(server)
        put(connect(given), "a")
        with refused("InvalidAccessKeyId", 403) as told:
            put(connect(Credentials(given.access_key_id, given.access_key_secret)), "a")
        assert "The Security Token may be lost" in told[0].message
        with refused("InvalidSecurityToken", 403):
            put(connect(Credentials(given.access_key_id, given.access_key_secret, "other")), "a")
        with refused("InvalidSecurityToken", 403):
            put(connect(Credentials("local", "local", given.security_token)), "a")

    def test_they_expire_and_are_rotated(self, server, connect):
        server.metadata.role, server.metadata.credential_lifetime = "worker", 100
        first = self.role_credentials(server)
        server.metadata.advance(99)
        put(connect(first), "a")
        server.metadata.advance(1)
        with refused("SecurityTokenExpired", 403):
            put(connect(first), "a")
        second = self.role_credentials(server)
        put(connect(second), "a")
        server.metadata.rotate_credentials()
        with refused("InvalidAccessKeyId", 403):
            put(connect(second), "a")

    def test_a_presigned_url_has_its_token_in_it(self, server, connect):
        server.metadata.role = "worker"
        server.put("photos", "a", b"body")
        signed = connect(self.role_credentials(server)).presign(oss.GetObjectRequest(bucket="photos", key="a"))
        assert send(server, "GET", signed.url.removeprefix(server.endpoint)).body == b"body"

    def test_one_role_opens_queue_and_store(self):
        with LocalSMQ(role="worker") as queue, LocalOSS(metadata=queue) as server:
            server.create_bucket("photos")
            given = queue.rotate_credentials()
            credentials = Credentials(given.access_key_id, given.access_key_secret, given.security_token)
            assert ask(server, "PUT", key="a", credentials=credentials).status == 200
            assert send(server, "GET", "/latest/meta-data/ram/security-credentials/").body == b"worker"


class TestWhatIsAskedFor:
    def test_the_log_names_ram_action_bucket_and_key(self, server, client):
        put(client, "a")
        get(client, "a")
        client.head_object(oss.HeadObjectRequest(bucket="photos", key="a"))
        client.copy_object(oss.CopyObjectRequest(bucket="photos", key="b", source_bucket="photos", source_key="a"))
        list_of(client)
        several = oss.DeleteMultipleObjectsRequest(bucket="photos", objects=[oss.DeleteObject(key="b")])
        client.delete_multiple_objects(several)
        client.delete_object(oss.DeleteObjectRequest(bucket="photos", key="a"))
        with refused("NoSuchKey", 404):
            get(client, "a")
        assert [tuple(seen) for seen in server.log] == [
            ("PutObject", ("oss:PutObject",), "photos", "a", 200, ""),
            ("GetObject", ("oss:GetObject",), "photos", "a", 200, ""),
            ("HeadObject", ("oss:GetObject",), "photos", "a", 200, ""),
            ("CopyObject", ("oss:PutObject", "oss:GetObject"), "photos", "b", 200, ""),
            ("ListObjectsV2", ("oss:ListObjects",), "photos", "", 200, ""),
            ("DeleteMultipleObjects", ("oss:DeleteObject",), "photos", "", 200, ""),
            ("DeleteObject", ("oss:DeleteObject",), "photos", "a", 204, ""),
            ("GetObject", ("oss:GetObject",), "photos", "a", 404, "NoSuchKey"),
        ]
        assert server.requests["GetObject"] == 2
        server.clear_log()
        assert (server.log, server.requests) == ([], {})

    @pytest.mark.parametrize(
        ("action", "ask_for"),
        [
            ("oss:PutObject", lambda client: put(client, "b")),
            ("oss:GetObject", lambda client: get(client, "a")),
            ("oss:ListObjects", list_of),
            (
                "oss:DeleteObject",
                lambda client: client.delete_object(oss.DeleteObjectRequest(bucket="photos", key="a")),
            ),
            (
                "oss:DeleteObject",
                lambda client: client.delete_multiple_objects(
                    oss.DeleteMultipleObjectsRequest(bucket="photos", objects=[oss.DeleteObject(key="a")])
                ),
            ),
            (
                "oss:GetObject",
                lambda client: client.copy_object(
                    oss.CopyObjectRequest(bucket="photos", key="c", source_bucket="photos", source_key="a")
                ),
            ),
            ("oss:GetBucketInfo", lambda client: client.get_bucket_info(oss.GetBucketInfoRequest(bucket="photos"))),
            (
                "oss:GetBucketVersioning",
                lambda client: client.get_bucket_versioning(oss.GetBucketVersioningRequest(bucket="photos")),
            ),
        ],
    )
    def test_each_action_can_be_denied(self, server, client, action, ask_for):
        put(client, "a")
        server.denied = {action}
        with refused("AccessDenied", 403):
            ask_for(client)
        assert list(server.objects("photos")) == ["a"]
        server.denied = set()
        ask_for(client)


class TestFaults:
    def test_errors_come_as_often_as_is_said_and_the_sdk_tries_again(self, server, connect):
        server.faults.append(Fault("PutObject", "error", times=2))
        put(connect(attempts=3), "a")
        assert [seen.status for seen in server.log] == [500, 500, 200]
        server.faults.append(Fault("*", "error", times=math.inf))
        with refused("InternalError", 500):
            put(connect(), "b")

    def test_a_throttled_request_is_told_when_to_come_again(self, server, client):
        server.faults.append(Fault("GetObject", "error", code="SlowDown", seconds=2.5))
        with refused("SlowDown", 503) as told:
            get(client, "a")
        assert told[0].headers["Retry-After"] == "3"

    def test_a_full_bucket_takes_nothing_more(self, server, client):
        server.put("photos", "a", b"x")
        server.faults.append(Fault("PutObject", "error", code="QuotaExceeded", times=math.inf))
        with refused("QuotaExceeded", 403):
            put(client, "b")
        assert get(client, "a")[1] == b"x"
        server.clear_faults()
        put(client, "b")

    def test_dropped_is_not_done_and_lost_is_done(self, server):
        for kind, there in (("drop", []), ("lose", ["a"])):
            server.faults.append(Fault("PutObject", kind))
            with pytest.raises(http.client.RemoteDisconnected):
                ask(server, "PUT", key="a")
            assert list(server.objects("photos")) == there
        assert [seen.code for seen in server.log] == ["-", "-"]

    def test_a_put_whose_answer_was_lost_finds_its_own(self, server, connect):
        server.faults.append(Fault("PutObject", "lose"))
        with refused("FileAlreadyExists", 409):
            put(connect(attempts=3), "a", forbid_overwrite=True)
        assert server.requests["PutObject"] == 2

    def test_a_body_that_is_cut_off_is_noticed(self, server):
        server.put("photos", "a", b"x" * 1000)
        server.faults.append(Fault("GetObject", "cut"))
        with pytest.raises(http.client.IncompleteRead) as caught:
            ask(server, "GET", key="a")
        assert len(caught.value.partial) == 500

    def test_a_body_drips(self, server):
        server.put("photos", "a", b"12345")
        server.faults.append(Fault("GetObject", "drip", seconds=0.02))
        began = time.monotonic()
        assert ask(server, "GET", key="a").body == b"12345"
        assert time.monotonic() - began >= 4 * 0.02

    def test_a_request_is_held_until_it_is_released(self, server):
        fault = Fault("PutObject", "hold", key="a*")
        server.faults.append(fault)
        with ThreadPoolExecutor() as pool:
            held = pool.submit(ask, server, "PUT", key="a/1")
            server.wait_until(lambda: server.held == 1, DEADLINE)
            assert ask(server, "PUT", key="b").status == 200
            assert list(server.objects("photos")) == ["b"]
            server.release(fault)
            assert held.result(DEADLINE).status == 200
        assert list(server.objects("photos")) == ["a/1", "b"]

    def test_the_store_is_gone_for_as_long_as_is_said(self, server):
        server.faults = [Fault("*", "drop", times=math.inf, lasts=0), Fault("*", "drop", times=math.inf, lasts=3600)]
        for key in "ab":
            with pytest.raises(http.client.RemoteDisconnected):
                ask(server, "PUT", key=key)
        assert send(server, "GET", "/latest/meta-data/region-id").body == b"cn-local"
        del server.faults[1]
        assert ask(server, "PUT", key="a").status == 200

    def test_the_same_requests_fail_with_the_same_seed(self):
        def failed(seed: int, workers: int) -> set[str]:
            with LocalOSS(seed=seed) as server, ThreadPoolExecutor(workers) as pool:
                server.create_bucket("photos")
                server.faults.append(Fault("PutObject", "error", times=math.inf, share=0.3))
                list(pool.map(lambda number: ask(server, "PUT", key=f"{number}"), range(60)))
                return {seen.key for seen in server.log if seen.status == 500}

        first = failed(1, workers=4)
        assert 5 < len(first) < 40
        assert failed(1, workers=1) == first
        assert failed(2, workers=1) != first

    def test_what_can_not_happen_is_refused(self):
        for wrong in (("PutObjects", "drop"), ("PutObject", "explode")):
            with pytest.raises(ValueError, match="no such operation, kind or code"):
                Fault(*wrong)
        with pytest.raises(ValueError, match="no such operation, kind or code"):
            Fault("*", "error", code="Tired")

    def test_requests_are_answered_side_by_side(self, server):
        fault = Fault("PutObject", "hold", times=math.inf)
        server.faults.append(fault)
        with ThreadPoolExecutor(16) as pool:
            answers = [pool.submit(ask, server, "PUT", key=f"{number}") for number in range(16)]
            server.wait_until(lambda: server.held == 16, DEADLINE)
            server.release(fault)
            assert {answer.result(DEADLINE).status for answer in answers} == {200}

    def test_every_request_takes_its_latency(self, server):
        server.latency = 0.2
        began = time.monotonic()
        ask(server, "PUT", key="a")
        assert time.monotonic() - began >= 0.2

    def test_people_set_faults_and_settings_while_it_runs(self, server):
        fault = json.dumps({"operation": "*", "kind": "error", "code": "SlowDown", "times": math.inf}).encode()
        assert send(server, "POST", "/-/faults", fault).status == 204
        assert ask(server, "PUT", key="a").code == "SlowDown"
        assert send(server, "DELETE", "/-/faults").status == 204
        assert send(server, "PUT", "/-/settings", b'{"denied": ["oss:PutObject"], "latency": 0.01}').status == 204
        assert ask(server, "PUT", key="a").code == "AccessDenied"
        seen = json.loads(send(server, "GET", "/-/requests").body)
        assert [entry["code"] for entry in seen] == ["SlowDown", "AccessDenied"]
        assert send(server, "DELETE", "/-/requests").status == 204
        assert server.log == []
        for path, wrong in (("faults", b'{"kind": "drop"}'), ("faults", b"{"), ("settings", b'{"lag": 1}')):
            assert send(server, "PUT" if path == "settings" else "POST", f"/-/{path}", wrong).status == 400
        assert send(server, "GET", "/-/other").status == 404


class TestAcrossRestarts:
    def test_everything_is_there_again(self, tmp_path):
        with LocalOSS(folder=tmp_path) as server:
            server.create_bucket("photos")
            server.create_bucket("versions", versioning="Enabled")
            for number in range(3):
                for bucket in server.buckets:
                    ask(server, "PUT", bucket, "a/ü", b"%d" % number, Content_Type="image/png", x_oss_meta_of="a")
            ask(server, "PUT", "photos", "b")
            ask(server, "PUT", "photos", "b", x_oss_forbid_overwrite="true")  # refused
            ask(server, "DELETE", "photos", "b")
            ask(server, "DELETE", "versions", "a/ü")
            before = ask(server, "GET", "photos", "a/ü")
            names = [path.suffix for path in (tmp_path / "photos").iterdir()]
            assert sorted(names) == [".json", ".object"]  # the bucket, and one object
        with LocalOSS(folder=tmp_path) as server:
            server.create_bucket("photos")  # as every start of a rehearsal does
            after = ask(server, "GET", "photos", "a/ü")
            assert after.body == before.body == b"2"
            for name in ("ETag", "Last-Modified", "Content-Type", "x-oss-meta-of", "x-oss-hash-crc64ecma"):
                assert after.headers[name] == before.headers[name]
            assert (server.objects("photos"), server.objects("versions")) == ({"a/ü": b"2"}, {})
            versions = server.buckets["versions"]
            assert (versions.versioning, versions.get("a/ü").marker) == ("Enabled", True)
            assert [version.read() for version in versions._versions["a/ü"]] == [b"0", b"1", b"2", b""]

    def test_a_kill_in_the_middle_of_a_put_leaves_the_object_before_or_after(self, tmp_path):
        with LocalOSS(folder=tmp_path) as server:
            bucket = server.create_bucket("photos")
            server.put("photos", "a", b"before")
            old = next(path for path in bucket.folder.iterdir() if path.suffix == ".object")
            kept = old.read_bytes()
            server.put("photos", "a", b"after")
        old.write_bytes(kept)  # renamed, and killed before the old one was removed
        (bucket.folder / "0123.tmp").write_bytes(b"{")
        with LocalOSS(folder=tmp_path) as server:
            assert server.objects("photos") == {"a": b"after"}
        assert len(list(bucket.folder.iterdir())) == 2

    def test_a_put_in_hand_is_done_before_the_server_is_stopped(self, monkeypatch):
        begun = threading.Event()
        with ThreadPoolExecutor() as pool:
            with LocalOSS() as server:
                bucket = server.create_bucket("photos")
                stage = bucket.stage

                def stage_slowly(version):
                    begun.set()
                    server.wait_for_stop(DEADLINE)
                    time.sleep(0.3)  # as a disk may take, while the server stops
                    return stage(version)

                monkeypatch.setattr(bucket, "stage", stage_slowly)
                answer = pool.submit(ask, server, "PUT", key="a")
                assert begun.wait(DEADLINE)
            assert server.objects("photos") == {"a": b""}
            answer.exception(DEADLINE)

    def test_a_stopped_server_leaves_its_port_and_does_nothing_more(self):
        with LocalOSS() as server:
            server.create_bucket("photos")
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
            connection.request("GET", "/photos/a")
            connection.getresponse().read()
        with LocalOSS(server.port):
            connection.request("GET", "/photos/a")
            with pytest.raises(http.client.RemoteDisconnected):
                connection.getresponse()
        connection.close()


def test_the_command_fills_buckets_prints_its_exports_and_stops_on_sigterm(tmp_path):
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "a" / "1.jpg").write_bytes(b"JPEG")
    command = [sys.executable, str(SCRIPT), "--port", "0", "--access-key-secret", "it's", "--region", "cn-mine"]
    command += ["--bucket", f"photos={tmp_path / 'images'}", "--bucket", "gray", "--folder", str(tmp_path / "kept")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            exports = dict(process.stdout.readline().removeprefix("export ").rstrip().split("=", 1) for _ in range(4))
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0
    assert exports.pop("OSS_ENDPOINT").startswith("http://127.0.0.1:")
    assert exports == {
        "OSS_REGION": "cn-mine",
        "ALIBABA_CLOUD_ACCESS_KEY_ID": "local",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "'it'\"'\"'s'",
    }
    with LocalOSS(folder=tmp_path / "kept") as server:
        assert (server.objects("photos"), server.objects("gray")) == ({"a/1.jpg": b"JPEG"}, {})


def test_tokens_are_not_keys():
    assert "secret" not in token_of("secret/key")
