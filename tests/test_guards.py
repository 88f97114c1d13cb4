"""Looks at what somebody else may have put in the way: links that lead elsewhere, and files that are none."""

import os

import pytest

from batchgray.guards import leads_outside, open_descriptor, open_regular


@pytest.fixture
def root(tmp_path):
    """`root`, beside `root-2`, which only looks as if it were below it."""
    (tmp_path / "root" / "a" / "b").mkdir(parents=True)
    (tmp_path / "root-2").mkdir()
    return tmp_path / "root"


def test_what_is_below_the_folder_is_inside(root):
    for folder in (root, root / "a", root / "a" / "b", root / "not" / "there" / "yet"):
        assert not leads_outside(root, folder)


@pytest.mark.parametrize("target", ["..", "../root-2", "/", "../nowhere"])
def test_a_link_that_leaves_the_folder_leads_outside_and_so_does_all_below_it(root, target):
    (root / "link").symlink_to(target)
    for folder in (root / "link", root / "link" / "deeper", root / "link" / "not" / "there"):
        assert leads_outside(root, folder)


def test_a_link_to_a_link_that_leaves_it_leads_outside(root):
    (root / "first").symlink_to("a/second")
    (root / "a" / "second").symlink_to("../../root-2")
    assert leads_outside(root, root / "first")


def test_a_link_that_stays_in_the_folder_does_not_lead_outside(root):
    (root / "link").symlink_to("a/b")
    (root / "absolute").symlink_to(root / "a")
    assert not leads_outside(root, root / "link" / "deeper")
    assert not leads_outside(root, root / "absolute")


def test_a_folder_that_is_itself_reached_through_a_link_is_what_the_link_says(root, tmp_path):
    (tmp_path / "alias").symlink_to("root")
    assert not leads_outside(tmp_path / "alias", tmp_path / "alias" / "a")
    assert not leads_outside(tmp_path / "alias", root / "a")
    (root / "link").symlink_to(tmp_path)
    assert leads_outside(tmp_path / "alias", tmp_path / "alias" / "link")


def test_a_folder_whose_name_only_begins_alike_is_outside(root, tmp_path):
    assert leads_outside(root, tmp_path / "root-2")
    assert leads_outside(root, root / ".." / "root-2")


def test_only_a_regular_file_is_opened(root):
    (root / "file").write_bytes(b"data")
    os.mkfifo(root / "fifo")
    (root / "link").symlink_to("file")
    with open_regular(root / "file") as file:
        assert file.read() == b"data"
    with open_regular(root / "link") as file:
        assert file.read() == b"data"
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(root / "fifo")  # and nobody waits for its writer
    with pytest.raises(IsADirectoryError):
        open_regular(root / "a")
    with pytest.raises(OSError, match="it is a link"):
        open_regular(root / "link", follow_links=False)
    with pytest.raises(OSError, match="not a regular file"):
        open_descriptor("/dev/null", os.O_RDONLY)
    assert len(os.listdir("/dev/fd")) == before, "a descriptor is left open"
