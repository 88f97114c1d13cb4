"""What somebody else may have put in the way: links that lead elsewhere, and files that are none.

A name below a folder is gone down part by part: links are followed as long as they stay below, and no further.
"""

import os

import pytest
from harness import removed_afterwards

from batchgray.storage import guards


@pytest.fixture
def root(tmp_path):
    """`a/b` and `c`; beside the folder there is another one."""
    (tmp_path / "root" / "a" / "b").mkdir(parents=True)
    (tmp_path / "root" / "c").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "root-2").mkdir()
    return tmp_path / "root"


@pytest.fixture
def opened(root):
    """The folder that a name leads to, by its path from the root."""
    fd = os.open(root, os.O_RDONLY)

    def opened(name, make=None):
        found = guards.open_folder(fd, root, name, make)
        try:
            return os.path.relpath(os.readlink(f"/proc/self/fd/{found}"), root)
        finally:
            os.close(found)

    yield opened
    os.close(fd)


@pytest.mark.parametrize(("name", "where"), [("", "."), ("a", "a"), ("a/b", "a/b"), ("a/b/", "a/b"), ("./a//b", "a/b")])
def test_a_folder_is_found(opened, name, where):
    assert opened(name) == where


@pytest.mark.parametrize(
    ("target", "where"),
    [
        ("a", "a"),
        ("a/b", "a/b"),
        ("a/../c", "c"),
        ("a/b/../../c", "c"),
        ("../root/c", None),
        ("..", None),
        ("a/../..", None),
        ("{root}/c", "c"),
        ("{root}", "."),
        ("{root}/a/../c", "c"),
        ("{root}/../outside", None),
        ("/", None),
        ("/nowhere/at/all", None),
        ("../outside", None),
        ("../root-2", None),
        ("{root}-2", None),
    ],
)
@pytest.mark.parametrize("below", ["", "/b"])
def test_a_link_is_followed_only_inside(root, opened, target, where, below):
    (root / "link").symlink_to(target.format(root=root))
    (root / "c" / "b").mkdir()
    (root / "b").mkdir()
    if where is None:
        with pytest.raises(guards.LeadsOutside):
            opened("link" + below)
    elif (root / where / below.strip("/")).is_dir():
        assert opened("link" + below) == os.path.normpath(where + below)


def test_a_link_to_a_link_counts_from_where_it_lies(root, opened):
    (root / "a" / "up").symlink_to("../c")
    (root / "first").symlink_to("a/up")
    assert opened("first") == "c"
    (root / "a" / "out").symlink_to("../../outside")
    (root / "second").symlink_to("a/out")
    with pytest.raises(guards.LeadsOutside):
        opened("second")


def test_a_folder_that_is_itself_reached_through_a_link_is_what_the_link_says(root, tmp_path):
    (tmp_path / "alias").symlink_to("root")
    (root / "first").symlink_to(root / "c")
    (root / "second").symlink_to(tmp_path / "alias" / "c")
    fd = os.open(tmp_path / "alias", os.O_RDONLY)
    for name in ("first", "second"):
        found = guards.open_folder(fd, tmp_path / "alias", name)
        assert os.path.samestat(os.fstat(found), (root / "c").stat())
        os.close(found)
    os.close(fd)


@pytest.mark.parametrize("target", ["loop", "a/../loop", "{root}/loop"])
def test_a_link_to_itself_ends(root, opened, target):
    (root / "loop").symlink_to(target.format(root=root))
    with pytest.raises(OSError, match="Too many levels"):
        opened("loop/x")


def test_a_chain_of_links_that_is_longer_than_the_stack_is_deep_ends(root, opened):
    for number in range(1, 1500):
        (root / f"{number}").symlink_to(root / f"{number - 1}")
    with pytest.raises(OSError, match="Too many levels"):
        opened("1499")


def test_what_is_no_folder_is_told_by_name(root, opened):
    (root / "file").touch()
    for name in ("file", "file/x"):
        with pytest.raises(NotADirectoryError):
            opened(name)
    with pytest.raises(FileNotFoundError):
        opened("nothing")


def test_what_is_missing_is_made_behind_links_too(root, opened):
    (root / "link").symlink_to("a")
    assert opened("link/new/er", lambda part, folder: os.mkdir(part, dir_fd=folder)) == "a/new/er"
    assert (root / "a" / "new" / "er").is_dir()


def test_what_becomes_a_link_when_it_is_made_is_not_followed(root, opened):
    def outrun(part, folder):
        os.symlink("../outside", part, dir_fd=folder)

    with pytest.raises(NotADirectoryError):
        opened("new", outrun)


def test_no_descriptor_stays_open(root, opened):
    (root / "link").symlink_to(f"{root}/a/../c")
    (root / "out").symlink_to("..")
    before = os.listdir("/proc/self/fd")
    opened("link")
    for name in ("out", "a/nothing", "a/b/../../.."):
        with pytest.raises(OSError, match=r"."):
            opened(name)
    assert os.listdir("/proc/self/fd") == before


def test_a_name_may_be_deeper_than_any_path(root):
    fd = os.open(root, os.O_RDONLY)
    with removed_afterwards(root / "deep"):
        name = "/".join(["deep"] * 1100)
        made = guards.open_folder(fd, root, name, lambda part, folder: os.mkdir(part, dir_fd=folder))
        found = guards.open_folder(fd, root, name)
        assert os.path.sameopenfile(made, found)
    for each in (fd, made, found):
        os.close(each)


def test_only_a_regular_file_is_opened(root):
    (root / "file").write_bytes(b"data")
    os.mkfifo(root / "fifo")
    (root / "link").symlink_to("file")
    with guards.open_regular(root / "file") as file:
        assert file.read() == b"data"
    with guards.open_regular(root / "link") as file:
        assert file.read() == b"data"
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(OSError, match="not a regular file"):
        guards.open_regular(root / "fifo")  # and nobody waits for its writer
    with pytest.raises(IsADirectoryError):
        guards.open_regular(root / "a")
    with pytest.raises(OSError, match="it is a link"):
        guards.open_regular(root / "link", follow_links=False)
    with pytest.raises(OSError, match="not a regular file"):
        guards.open_descriptor("/dev/null", os.O_RDONLY)
    assert len(os.listdir("/dev/fd")) == before, "a descriptor is left open"
