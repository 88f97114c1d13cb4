"""Places in stores that run on loopback, for as long as a test, or a block, takes."""

import base64
import contextlib
import email.utils
import functools
import hmac
import itertools
import logging
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import oss_local
import pytest

from batchgray.cloud.instance import Credentials
from batchgray.storage.base import Place
from batchgray.storage.folder import FolderPlace
from batchgray.storage.memory import MemoryPlace
from batchgray.storage.urls import StoreOptions, open_url

PREFIX = "deep/prefix"
_NUMBERS = itertools.count()


def oss_options(server: oss_local.LocalOSS, **given) -> StoreOptions:
    key = Credentials(key_id=server.access_key_id, secret=server.access_key_secret, origin="a test")
    return StoreOptions(
        **{"oss_region": server.region, "oss_endpoint": server.endpoint, "credentials": key, "patience": 60.0, **given}
    )


@contextlib.contextmanager
def oss_place(_path: Path) -> Iterator[Place]:
    with oss_local.LocalOSS() as server:
        server.create_bucket("photos")
        server.put("photos", "deep/prefixes", b"beside it")
        with contextlib.closing(open_url(f"oss://photos/{PREFIX}", oss_options(server))) as place:
            yield place


@contextlib.contextmanager
def folder_place(path: Path) -> Iterator[Place]:
    with contextlib.closing(FolderPlace(path)) as place:
        yield place


@contextlib.contextmanager
def memory_place(_path: Path) -> Iterator[Place]:
    yield MemoryPlace()


@contextlib.contextmanager
def obstore_place(_path: Path) -> Iterator[Place]:
    with contextlib.closing(open_url(f"memory:///{PREFIX}", StoreOptions())) as place:
        yield place


_PUTTING = threading.Lock()


def _one_at_a_time(put):
    """Between the look at a name and the put, moto lets others put."""

    @functools.wraps(put)
    def alone(*given):
        with _PUTTING:
            return put(*given)

    return alone


class LocalS3:
    """moto's server: signatures are not looked at, and conditions are right as long as one is looked at at a time."""

    def __init__(self) -> None:
        from moto.s3.responses import S3Response
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._puts = mock.patch.object(S3Response, "put_object", _one_at_a_time(S3Response.put_object))

    def __enter__(self) -> "LocalS3":
        self._puts.start()
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.stop()
        self._puts.stop()

    def client(self):
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id="local",
            aws_secret_access_key="local",
            region_name="us-east-1",
        )

    def bucket(self) -> str:
        """The name of a new one: all of moto's servers in a process share their buckets."""
        name = f"photos-{next(_NUMBERS)}"
        self.client().create_bucket(Bucket=name)
        return name

    @property
    def environment(self) -> dict[str, str]:
        return self.variables(self.endpoint)

    @staticmethod
    def variables(endpoint: str) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }


class LocalAzure:
    """azurite's server of blobs, where npm has installed it, with the account that its documents name."""

    ACCOUNT = "devstoreaccount1"
    KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    OPTIONS = (
        "--inMemoryPersistence",
        "--blobHost",
        "127.0.0.1",
        "--blobPort",
        "0",
        "--skipApiVersionCheck",
        "--disableTelemetry",
    )

    @staticmethod
    def program() -> str | None:
        """Where it is; None where it is not installed."""
        return shutil.which("azurite-blob")

    def __enter__(self) -> "LocalAzure":
        self._server = subprocess.Popen([self.program(), *self.OPTIONS], stdout=subprocess.PIPE, text=True)
        said = next(line for line in self._server.stdout if "listens on" in line)
        self.endpoint = f"{said.split()[-1]}/{self.ACCOUNT}"
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.terminate()
        self._server.communicate()

    def bucket(self) -> str:
        """The name of a new container."""
        container = f"photos-{next(_NUMBERS)}"
        headers = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        named = "".join(f"{name}:{value}\n" for name, value in headers.items())
        text = f"PUT{12 * chr(10)}{named}/{self.ACCOUNT}/{self.ACCOUNT}/{container}\nrestype:container"
        digest = hmac.new(base64.b64decode(self.KEY), text.encode(), "sha256").digest()
        headers["Authorization"] = f"SharedKey {self.ACCOUNT}:{base64.b64encode(digest).decode()}"
        url = f"{self.endpoint}/{container}?restype=container"
        urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers)).close()
        return container

    @property
    def environment(self) -> dict[str, str]:
        account = {"AZURE_STORAGE_ACCOUNT_NAME": self.ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": self.KEY}
        return account | {"AZURE_STORAGE_ENDPOINT": self.endpoint}


@contextlib.contextmanager
def cloud_place(scheme: str, server: LocalS3 | LocalAzure) -> Iterator[Place]:
    """In a new bucket of a server that runs."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        with contextlib.closing(open_url(f"{scheme}://{server.bucket()}/{PREFIX}", StoreOptions())) as place:
            yield place
