"""Which keys there can be in a store, and what they are in the bucket."""

import pytest

from batchgray.storage.base import BadKey
from batchgray.storage.keys import KeySpace, bad_bucket, is_marker


@pytest.mark.parametrize("prefix", ["2026/may", "/2026/may/", "2026/may/"])
def test_keys_lie_below_the_prefix(prefix):
    keys = KeySpace(prefix, 1023)
    assert keys.full("a/b.jpg") == "2026/may/a/b.jpg"
    assert keys.below("2026/may/a/b.jpg") == "a/b.jpg"


def test_without_a_prefix_they_are_what_they_are():
    assert KeySpace("", 1023).full("a/b.jpg") == "a/b.jpg"


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", ".", "a/./b", "../a", "a\0b", "\\a", "caf\udce9", "ä" * 512])
def test_what_there_can_not_be_is_refused(key):
    with pytest.raises(BadKey, match=r"; rename it|at most"):
        KeySpace("", 1023).full(key)


@pytest.mark.parametrize("key", ["a..b", "...", ".hidden", "a\nb", "ä" * 511, "a\\b"])
def test_odd_ones_are_fine(key):
    assert KeySpace("", 1023).full(key) == key


def test_a_folders_marker_is_empty_and_ends_like_a_folder():
    assert is_marker("2026/", 0)
    assert is_marker("", 0)
    assert not is_marker("2026/", 1)
    assert not is_marker("2026", 0)


@pytest.mark.parametrize("bucket", ["photos", "my-photos-2026", "p.q", "123"])
def test_names_of_buckets(bucket):
    assert bad_bucket(bucket) == ""


@pytest.mark.parametrize("bucket", ["", "ab", "x" * 64, "Photos", "a b c", "föto", "-"])
def test_what_is_no_buckets_name(bucket):
    assert bad_bucket(bucket)
