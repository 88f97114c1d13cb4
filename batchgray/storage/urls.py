"""From a URL to a place. What a scheme needs is imported when the first URL of it is opened, and not before."""

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from batchgray import errors
from batchgray.cloud.instance import Credentials, credentials_source
from batchgray.storage.base import Place
from batchgray.storage.folder import FolderPlace
from batchgray.storage.keys import bad_bucket
from batchgray.storage.names import is_plain, is_url, split_url

_OSS_HOST = re.compile(r"oss-([a-z0-9-]+?)(-internal)?\.aliyuncs\.com")


class StoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How stores are reached; "" is not known. Those of obstore read the usual variables themselves.

    `patience` is how many seconds what may pass is tried again.
    """

    oss_region: str = ""
    oss_endpoint: str = ""
    credentials: Credentials | None = None
    metadata_url: str | None = None
    patience: float = 60.0


class Url(NamedTuple):
    """`prefix` has no "/" at its ends."""

    scheme: str
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


class Scheme(NamedTuple):
    """`extra` is batchgray's, `package` what it installs."""

    extra: str
    package: str
    open: Callable[[Url, StoreOptions], Place]


def parse_url(name: str) -> Url:
    """Raises BadUrl. Nothing is unescaped: what is written is the name."""
    scheme, rest = split_url(name) or ("", "")
    if scheme not in SCHEMES:
        raise errors.BadUrl(name, f"batchgray knows no {scheme}://" if scheme else "it is no URL")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.rstrip("/")
    if scheme != "memory" and (fault := bad_bucket(bucket)):
        raise errors.BadUrl(name, fault)
    if prefix and not is_plain(prefix):
        raise errors.BadUrl(name, "a part of the prefix is empty, `.` or `..`")
    return Url(scheme, bucket, prefix)


def open_place(name: str, options: StoreOptions) -> Place:
    """The place of a URL, or of a path. Raises PlaceError of a folder, and what `open_url` raises of a URL."""
    return open_url(name, options) if is_url(name) else FolderPlace(Path(name))


def open_input(name: str, options: StoreOptions) -> Place:
    """The same, only to be read: in a folder links to files are followed."""
    return open_url(name, options) if is_url(name) else FolderPlace(Path(name), follow_links=True)


def open_url(name: str, options: StoreOptions) -> Place:
    """The place of a URL. Nothing is asked of it yet. Raises BadUrl, ExtraMissing, BadStoreSettings."""
    url = parse_url(name)
    scheme = SCHEMES[url.scheme]
    try:
        importlib.import_module(scheme.package)
    except ImportError as error:
        raise errors.ExtraMissing(f"{url.scheme}://", str(error), scheme.extra) from None
    return scheme.open(url, options)


def _open_oss(url: Url, options: StoreOptions) -> Place:
    from batchgray.storage.oss import OssPlace
    from batchgray.storage.oss_calls import OssAccess

    endpoint = options.oss_endpoint
    if endpoint and "://" not in endpoint:
        endpoint = f"https://{endpoint}"
    region = options.oss_region.removeprefix("oss-") or _region_of(endpoint)
    if not region:
        raise errors.BadStoreSettings(url, "set OSS_REGION to the bucket's region, such as cn-hangzhou")
    endpoint = endpoint or f"https://oss-{region}.aliyuncs.com"
    _check_endpoint(url, endpoint)
    access = OssAccess(
        region=region,
        endpoint=endpoint.rstrip("/"),
        credentials=credentials_source(options.credentials, options.metadata_url),
        patience=options.patience,
    )
    return OssPlace(url.bucket, url.prefix, access)


def _region_of(endpoint: str) -> str:
    """As the vendor's endpoints name it; "" for others."""
    match = _OSS_HOST.fullmatch(urlsplit(endpoint).hostname or "")
    return match[1] if match else ""


def _check_endpoint(url: Url, endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        fine = parts.scheme in ("http", "https") and parts.hostname and not parts.path.strip("/") and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise errors.BadStoreSettings(url, f"OSS_ENDPOINT is {endpoint}, which is no address such as https://HOST")


def _open_s3(url: Url, options: StoreOptions) -> Place:
    from obstore.store import S3Store

    actions = {"list": "s3:ListBucket", "get": "s3:GetObject", "put": "s3:PutObject", "delete": "s3:DeleteObject"}
    return _cloud_place(url, S3Store, actions, options)


def _open_gs(url: Url, options: StoreOptions) -> Place:
    from obstore.store import GCSStore

    actions = {what: f"storage.objects.{what}" for what in ("list", "get", "delete")} | {
        "put": "storage.objects.create"
    }
    return _cloud_place(url, GCSStore, actions, options)


def _open_az(url: Url, options: StoreOptions) -> Place:
    from obstore.store import AzureStore

    blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
    actions = {"list": f"{blobs}/read", "get": f"{blobs}/read", "put": f"{blobs}/write", "delete": f"{blobs}/delete"}
    return _cloud_place(url, AzureStore, actions, options)


def _open_memory(url: Url, options: StoreOptions) -> Place:
    from obstore.store import MemoryStore

    from batchgray.storage.object_store import ObjectStorePlace, Stores

    store = MemoryStore()
    return ObjectStorePlace(str(url), Stores(lambda _seconds: store), url.prefix, patience=options.patience)


def _cloud_place(url: Url, kind: Callable[..., object], actions: dict[str, str], options: StoreOptions) -> Place:
    """obstore reads endpoint, region and credentials from the usual variables. http is spoken where they say so."""
    from obstore.exceptions import BaseError

    from batchgray.storage.object_store import ObjectStorePlace, Stores

    def make(seconds: float) -> object:
        client = {"allow_http": True, "timeout": f"{seconds:.0f}s", "connect_timeout": "10s"}
        return kind(url.bucket, client_options=client, retry_config={"max_retries": 0})

    try:
        stores = Stores(make)
    except (BaseError, ValueError) as error:
        raise errors.BadStoreSettings(url, str(error).partition("\n")[0]) from None
    return ObjectStorePlace(str(url), stores, url.prefix, actions, options.patience)


SCHEMES = {
    "oss": Scheme("oss", "alibabacloud_oss_v2", _open_oss),
    "s3": Scheme("cloud", "obstore", _open_s3),
    "gs": Scheme("cloud", "obstore", _open_gs),
    "az": Scheme("cloud", "obstore", _open_az),
    "memory": Scheme("cloud", "obstore", _open_memory),
}
