"""A quick object store that speaks S3, to measure clients with: in one thread, in memory, on loopback.

python benchmarks/s3_local.py [--latency SECONDS]      # prints its port, and serves until its input ends

Put-if-absent, versions (ETag, If-Match), ranges, listings in pages of 1,000 and deleting are kept. Signatures are not
looked at. Every answer is late by the latency, at no cost; `GET /-/spent` is what the server itself has cost so far:
seconds of processor time and requests.
"""

import argparse
import asyncio
import contextlib
import hashlib
import http.client
import json
import os
import re
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote
from urllib.request import urlopen
from xml.sax.saxutils import escape, unescape

_PAGE = 1000
_LOADERS = 16
_REASONS = {200: "OK", 204: "No Content", 206: "Partial Content", 404: "Not Found", 412: "Precondition Failed"}
_NOW = formatdate(usegmt=True)


class Object(NamedTuple):
    data: bytes
    etag: str


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    headers: tuple[str, ...] = ()
    length: int | None = None


class Store:
    """Objects by bucket and key."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.requests = 0
        self._objects: dict[str, Object] = {}
        self._keys: list[str] | None = None

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        path, _, query = target.partition("?")
        if path == "/-/spent":
            return Answer(200, json.dumps([time.process_time(), self.requests]).encode())
        self.requests += 1
        key = unquote(path[1:])
        bucket, _, name = key.partition("/")
        if method == "POST":
            return self._delete_all(bucket, body)
        if not name:
            return self._list(bucket, {name: values[0] for name, values in parse_qs(query).items()})
        if method == "PUT":
            return self._put(key, headers, body)
        if method == "DELETE":
            self._objects.pop(key, None)
            self._keys = None
            return Answer(204)
        return self._get(key, headers, method == "HEAD")

    def _put(self, key: str, headers: dict[str, str], body: bytes) -> Answer:
        if "if-none-match" in headers and key in self._objects:
            return Answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        etag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        self._objects[key] = Object(body, etag)
        self._keys = None
        return Answer(200, b"", (f"ETag: {etag}",))

    def _delete_all(self, bucket: str, body: bytes) -> Answer:
        names = [unescape(name) for name in re.findall("<Key>(.*?)</Key>", body.decode())]
        for name in names:
            self._objects.pop(f"{bucket}/{name}", None)
        self._keys = None
        told = "".join(f"<Deleted><Key>{escape(name)}</Key></Deleted>" for name in names)
        return Answer(200, f"<DeleteResult>{told}</DeleteResult>".encode())

    def _get(self, key: str, headers: dict[str, str], is_head: bool) -> Answer:
        found = self._objects.get(key)
        if found is None:
            return Answer(404, b"" if is_head else b"<Error><Code>NoSuchKey</Code></Error>")
        if headers.get("if-match", found.etag) != found.etag:
            return Answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        told = f"ETag: {found.etag}", f"Last-Modified: {_NOW}"
        if is_head:
            return Answer(200, b"", told, len(found.data))
        if "range" not in headers:
            return Answer(200, found.data, told)
        first, _, last = headers["range"].removeprefix("bytes=").partition("-")
        part = found.data[int(first) : int(last) + 1 if last else None]
        end = int(first) + len(part) - 1
        return Answer(206, part, (*told, f"Content-Range: bytes {first}-{end}/{len(found.data)}"))

    def _list(self, bucket: str, query: dict[str, str]) -> Answer:
        if self._keys is None:
            self._keys = sorted(self._objects)
        begin = f"{bucket}/{query.get('prefix', '')}"
        after = query.get("continuation-token") or query.get("start-after")
        at = max(bisect_right(self._keys, f"{bucket}/{after}") if after else 0, bisect_right(self._keys, begin[:-1]))
        keys = []
        while at < len(self._keys) and len(keys) <= _PAGE:
            if self._keys[at].startswith(begin):
                keys.append(self._keys[at])
            elif self._keys[at] > begin:
                break
            at += 1
        more, keys = len(keys) > _PAGE, keys[:_PAGE]
        items = "".join(map(self._item, keys))
        token = f"<NextContinuationToken>{escape(keys[-1].partition('/')[2])}</NextContinuationToken>" if more else ""
        told = f"<KeyCount>{len(keys)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>{token}{items}"
        return Answer(200, f"<ListBucketResult>{told}</ListBucketResult>".encode())

    def _item(self, key: str) -> str:
        found = self._objects[key]
        return (
            f"<Contents><Key>{escape(key.partition('/')[2])}</Key><Size>{len(found.data)}</Size>"
            f"<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>{escape(found.etag)}</ETag></Contents>"
        )


async def _serve(store: Store, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            if store.latency:
                await asyncio.sleep(store.latency)
            answer = store.answer(method, target, headers, body)
            length = len(answer.body) if answer.length is None else answer.length
            first = f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}", f"Content-Length: {length}"
            writer.write("\r\n".join([*first, *answer.headers, "", ""]).encode("latin-1"))
            writer.write(answer.body)
    writer.close()


async def _main(latency: float) -> None:
    store = Store(latency)
    server = await asyncio.start_server(lambda *ends: _serve(store, *ends), "127.0.0.1", 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)  # whatever connections there are


class LocalS3:
    """The server in a process of its own; `environment` is what a client needs to reach it."""

    def __init__(self, latency: float) -> None:
        command = [sys.executable, "-P", str(Path(__file__)), "--latency", str(latency)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.endpoint = f"http://127.0.0.1:{self._process.stdout.readline().strip()}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }

    def load(self, prefix: str, folder: Path) -> None:
        """Put the files of a folder below BUCKET/PREFIX, some at once as each answer is late."""
        with ThreadPoolExecutor(_LOADERS) as threads:
            parts = [sorted(folder.iterdir())[number::_LOADERS] for number in range(_LOADERS)]
            list(threads.map(partial(self._load, prefix), parts))

    def _load(self, prefix: str, paths: list[Path]) -> None:
        connection = http.client.HTTPConnection(self.endpoint.removeprefix("http://"))
        for path in paths:
            connection.request("PUT", f"/{prefix}/{quote(path.name)}", path.read_bytes())
            connection.getresponse().read()
        connection.close()

    def spent(self) -> tuple[float, int]:
        """Seconds of processor time, and requests, so far."""
        with urlopen(f"{self.endpoint}/-/spent") as answer:
            return tuple(json.load(answer))

    def stop(self) -> None:
        self._process.communicate()


@contextlib.contextmanager
def serving(latency: float = 0.0) -> Iterator[LocalS3]:
    server = LocalS3(latency)
    try:
        yield server
    finally:
        server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    asyncio.run(_main(parser.parse_args().latency))
