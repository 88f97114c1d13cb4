"""Places in stores that run on loopback, for as long as a test, or a block, takes."""

import contextlib
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

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


class LocalS3:
    """moto's server: conditions are right, signatures are not looked at."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)

    def __enter__(self) -> "LocalS3":
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.stop()

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


@contextlib.contextmanager
def s3_place(_path: Path) -> Iterator[Place]:
    with LocalS3() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        with contextlib.closing(open_url(f"s3://{server.bucket()}/{PREFIX}", StoreOptions())) as place:
            yield place
