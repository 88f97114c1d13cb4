"""The least rights that a run needs at a store, as policies that can be pasted as they are.

Checked by tests against the requests that are really made.
"""

from typing import Any

from batchgray.storage.urls import Url

OF_INPUTS = ("list", "get")
OF_OUTPUTS = ("list", "get", "put", "delete", "versioning")

_OSS = {
    "list": "oss:ListObjects",
    "versioning": "oss:GetBucketVersioning",
    "get": "oss:GetObject",
    "put": "oss:PutObject",
    "delete": "oss:DeleteObject",
}
_S3 = {"list": "s3:ListBucket", "get": "s3:GetObject", "put": "s3:PutObject", "delete": "s3:DeleteObject"}


def policy(url: Url, rights: tuple[str, ...] = OF_OUTPUTS) -> dict[str, Any] | None:
    """For RAM, or for IAM; None for stores that have roles instead."""
    if url.scheme == "oss":
        return _policy("1", _OSS, "acs:oss:*:*:", "oss:Prefix", url, rights)
    if url.scheme == "s3":
        return _policy("2012-10-17", _S3, "arn:aws:s3:::", "s3:prefix", url, rights)
    return None


def roles(url: Url, rights: tuple[str, ...] = OF_OUTPUTS) -> str:
    """What to grant where there are roles; "" elsewhere."""
    writes = "put" in rights
    if url.scheme == "gs":
        return "roles/storage.objectUser" if writes else "roles/storage.objectViewer"
    if url.scheme == "az":
        return "Storage Blob Data Contributor" if writes else "Storage Blob Data Reader"
    return ""


def _policy(
    version: str, actions: dict[str, str], resource: str, prefix: str, url: Url, rights: tuple[str, ...]
) -> dict[str, Any]:
    below = f"{url.prefix}/*" if url.prefix else "*"
    listing = _allow([actions["list"]], f"{resource}{url.bucket}")
    if url.prefix:
        listing["Condition"] = {"StringLike": {prefix: [below]}}
    statements = [listing]
    if "versioning" in rights and "versioning" in actions:
        statements.append(_allow([actions["versioning"]], f"{resource}{url.bucket}"))
    of_objects = [actions[right] for right in ("get", "put", "delete") if right in rights]
    return {"Version": version, "Statement": [*statements, _allow(of_objects, f"{resource}{url.bucket}/{below}")]}


def _allow(actions: list[str], resource: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": [resource]}
