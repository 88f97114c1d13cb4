"""From URLs to places: what is one, what is refused, and that nothing is imported before it is needed."""

import contextlib
import subprocess
import sys

import pytest

from batchgray import errors
from batchgray.storage.names import is_url
from batchgray.storage.urls import SCHEMES, StoreOptions, open_place, open_url, parse_url


@pytest.mark.parametrize("name", ["oss://photos/2026", "S3://photos", "os://typing.error", "memory://"])
def test_what_is_a_url(name):
    assert is_url(name)


@pytest.mark.parametrize("name", ["photos", "/photos", "oss:/photos", "a/b://c", "C:\\photos", ""])
def test_what_is_a_path(name):
    assert not is_url(name)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("oss://photos", ("oss", "photos", "")),
        ("oss://photos/", ("oss", "photos", "")),
        ("OSS://photos/2026/may/", ("oss", "photos", "2026/may")),
        ("s3://photos/50%25?x#y", ("s3", "photos", "50%25?x#y")),
        ("memory://", ("memory", "", "")),
    ],
)
def test_a_url_has_a_bucket_and_a_prefix(name, parts):
    assert parse_url(name) == parts


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ftp://photos", "no ftp://"),
        ("oss:///photos", "names no bucket"),
        ("oss://ab", "3 to 63"),
        ("oss://Photos", "a-z"),
        ("oss://photos/../x", "empty, `.` or `..`"),
        ("oss://photos//x", "empty"),
    ],
)
def test_others_are_refused(name, words):
    with pytest.raises(errors.BadUrl, match=words):
        parse_url(name)


@pytest.mark.parametrize(
    ("given", "endpoint", "region"),
    [
        ({"oss_region": "cn-hangzhou"}, "https://oss-cn-hangzhou.aliyuncs.com", "cn-hangzhou"),
        ({"oss_region": "oss-cn-hangzhou"}, "https://oss-cn-hangzhou.aliyuncs.com", "cn-hangzhou"),
        ({"oss_endpoint": "oss-cn-beijing-internal.aliyuncs.com"}, None, "cn-beijing"),
        ({"oss_endpoint": "http://localhost:9325/", "oss_region": "x-1"}, "http://localhost:9325", "x-1"),
    ],
)
def test_endpoint_and_region_follow_from_each_other(given, endpoint, region):
    place = open_url("oss://photos", StoreOptions(**given))
    assert place.endpoint == (endpoint or f"https://{given['oss_endpoint']}")
    assert place._calls.bucket.region == region


@pytest.mark.parametrize("endpoint", ["http://h:abc", "ftp://h", "http://", "http://h/path"])
def test_an_endpoint_that_is_none_is_refused(endpoint):
    with pytest.raises(errors.BadStoreSettings, match="OSS_ENDPOINT"):
        open_url("oss://photos", StoreOptions(oss_region="cn-local", oss_endpoint=endpoint))


def test_a_region_that_nobody_tells_is_asked_for():
    with pytest.raises(errors.BadStoreSettings, match="OSS_REGION"):
        open_url("oss://photos", StoreOptions(oss_endpoint="http://localhost:9325"))


def test_a_path_is_a_folders_place(tmp_path):
    with contextlib.closing(open_place(str(tmp_path), StoreOptions())) as place:
        place.put("a/b", b"mine")
    assert (tmp_path / "a" / "b").read_bytes() == b"mine"
    with contextlib.closing(open_place(f"memory:///{tmp_path.name}", StoreOptions())) as place:
        assert place.name == f"memory:///{tmp_path.name}"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_extra_that_is_not_installed_is_named(scheme, monkeypatch):
    monkeypatch.setitem(sys.modules, SCHEMES[scheme].package, None)
    with pytest.raises(errors.ExtraMissing, match=rf"install batchgray\[{SCHEMES[scheme].extra}\]"):
        open_url(f"{scheme}://photos/x", StoreOptions())


def test_extras_are_imported_when_their_first_url_is_opened():
    probe = """
import sys
from batchgray.storage import trial, urls
packages = {scheme.package for scheme in urls.SCHEMES.values()}
assert not packages & sys.modules.keys(), "before any"
urls.parse_url("oss://photos")
urls.open_url("memory://", urls.StoreOptions())
assert packages & sys.modules.keys() == {"obstore"}, "after obstore's"
"""
    subprocess.run([sys.executable, "-c", probe], check=True)
