"""Names relative to a folder: what they promise."""

import os

import pytest

from batchgray.storage.names import kind_of

NAMES = [
    "a.jpg",
    "a/b.PNG",
    "a.b/c",
    "a.b/.c",
    ".jpg",
    "..jpg",
    "a/..jpg",
    "a.",
    "a..",
    "",
    "/",
    "a.tar.gz",
    " .Jpg",
    ".a.b",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_kind_of_a_file_is_its_suffix_in_lower_case(name):
    assert kind_of(name) == os.path.splitext(name)[1].lower()
