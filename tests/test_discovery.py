"""INPUTs become a list: what is taken, in which order, and under which name it comes out."""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray import errors
from batchgray.discovery import Discovery, Found, assign_outputs

WALK_AS_NOBODY = """
import json, os, sys
from pathlib import Path
from batchgray.discovery import Discovery
if os.geteuid() == 0:
    os.setuid(65534)
folder = Path(sys.argv[1])
print(json.dumps([(item.source, item.refused) for item in Discovery(folder / "out").find([folder])]))
"""


def make(root, *names):
    """Files below `root` that hold their own name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def sources(tmp_path, **options):
    return [item.source for item in Discovery(tmp_path / "out", **options).find([tmp_path / "in"])]


def outputs(*names, format="jpeg"):
    return assign_outputs([Found("/in", name, name, 1, 1) for name in names], format)


@pytest.fixture
def inside(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


# what is taken


def test_a_folder_is_walked_and_mirrored(tmp_path, inside):
    make(inside, "b.png", "a/b/c.jpg", "a/d.tiff")
    found = list(Discovery(tmp_path / "out").find([inside]))
    assert [(item.root, item.source, item.mirrored) for item in found] == [
        (str(inside), name, name) for name in ("a/b/c.jpg", "a/d.tiff", "b.png")
    ]
    there = (inside / "b.png").stat()
    assert (found[-1].size, found[-1].mtime_ns, found[-1].refused) == (5, there.st_mtime_ns, None)


def test_the_order_is_that_of_the_names_whatever_the_file_system_says(tmp_path, inside, monkeypatch):
    names = [f"{folder}/{name}.png" for folder in "aA1_" for name in ("z", "10", "9", "ä")]
    make(inside, *names)
    ordered = sources(tmp_path)
    assert sorted(ordered) == sorted(names)
    real = os.scandir

    class Shuffled:
        def __init__(self, path):
            self._scan = real(path)

        def __enter__(self):
            entries = list(self._scan)
            random.shuffle(entries)
            return iter(entries)

        def __exit__(self, *_):
            self._scan.close()

    monkeypatch.setattr(os, "scandir", Shuffled)
    for _ in range(5):
        assert sources(tmp_path) == ordered


def test_several_folders_are_each_mirrored_under_their_own_name(tmp_path):
    make(tmp_path, "x/a.png", "y/a.png", "one.png")
    found = Discovery(tmp_path / "out").find([tmp_path / "x", tmp_path / "y", tmp_path / "one.png"])
    assert [item.mirrored for item in found] == ["x/a.png", "y/a.png", "one.png"]


def test_one_folder_among_files_keeps_no_name_of_its_own(tmp_path):
    make(tmp_path, "x/a.png", "one.png")
    found = Discovery(tmp_path / "out").find([tmp_path / "x", tmp_path / "one.png"])
    assert [item.mirrored for item in found] == ["a.png", "one.png"]


def test_a_folder_is_mirrored_under_the_name_it_was_given_by(tmp_path, monkeypatch):
    make(tmp_path, "x/a.png", "y/a.png")
    (tmp_path / "link").symlink_to("y")
    monkeypatch.chdir(tmp_path / "x")
    found = Discovery(tmp_path / "out").find([Path(), Path("../link")])
    assert [item.mirrored for item in found] == ["x/a.png", "link/a.png"]


def test_the_root_folder_among_several_is_mirrored_inside_the_output_folder(tmp_path, inside, monkeypatch):
    make(inside, "a.png")
    make(tmp_path, "x/b.png")
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: real(inside if path == "/" else path))
    found = Discovery(tmp_path / "out").find([Path("/"), tmp_path / "x"])
    assert not [item.mirrored for item in found if item.mirrored.startswith("/")]


def test_files_named_one_by_one_are_taken_whatever_their_name(tmp_path):
    make(tmp_path, "deep/.hidden", "deep/notes.txt", "deep/a.png")
    named = [tmp_path / "deep" / name for name in (".hidden", "notes.txt", "a.png")]
    discovery = Discovery(tmp_path / "out", include=["*.gif"], exclude=["a.png"])
    found = list(discovery.find(named))
    assert [(item.root, item.source) for item in found] == [(str(tmp_path / "deep"), path.name) for path in named]
    assert [item.mirrored for item in found] == [path.name for path in named]
    assert not discovery.ignored


def test_an_input_given_twice_is_taken_once(tmp_path, monkeypatch):
    make(tmp_path, "x/a.png", "one.png")
    monkeypatch.chdir(tmp_path)
    found = Discovery(tmp_path / "out").find([Path("x"), tmp_path / "x", Path("one.png"), Path("x/../one.png")])
    assert [item.mirrored for item in found] == ["a.png", "one.png"]


def test_a_file_named_beside_its_folder_is_taken_once(tmp_path):
    make(tmp_path, "x/a.png", "x/b.png")
    found = Discovery(tmp_path / "out").find([tmp_path / "x", tmp_path / "x" / "a.png"])
    assert [(item.source, item.mirrored) for item in found] == [("a.png", "a.png"), ("b.png", "b.png")]


def test_no_such_input_is_said_before_anything_is_walked(tmp_path, inside):
    make(inside, "a.png")
    with pytest.raises(errors.NoSuchInput, match="nothing-here"):
        next(Discovery(tmp_path / "out").find([inside, tmp_path / "nothing-here"]))


def test_hidden_files_and_folders_are_left_out(tmp_path, inside):
    make(inside, ".a.png", ".hidden/a.png", "b/.batchgray/c.png", "seen.png")
    assert sources(tmp_path) == ["seen.png"]


def test_the_output_folder_inside_the_input_is_left_out(tmp_path, inside):
    make(inside, "a.png", "gray/a.png", "gray2/a.png")
    (tmp_path / "link").symlink_to(inside / "gray")
    for out in inside / "gray", tmp_path / "link", inside / "gray2" / ".." / "gray":
        assert [item.source for item in Discovery(out).find([inside])] == ["a.png", "gray2/a.png"]


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path, inside):
    make(tmp_path, "else/where.png", "in/a/b.png")
    (inside / "file.png").symlink_to(tmp_path / "else" / "where.png")
    (inside / "a" / "loop").symlink_to(inside)
    (inside / "folder.png").symlink_to(tmp_path / "else")
    discovery = Discovery(tmp_path / "out")
    found = {item.source: item for item in discovery.find([inside])}
    assert list(found) == ["a/b.png", "file.png"]
    assert found["file.png"].size == len("else/where.png")
    assert discovery.ignored == {"links to folders": 2}


def test_a_dangling_link_is_found_so_that_it_fails_with_a_reason(tmp_path, inside):
    (inside / "gone.png").symlink_to("nowhere")
    found = list(Discovery(tmp_path / "out").find([inside]))
    assert found == [Found(str(inside), "gone.png", "gone.png", 0, 0, seen=False)]
    assert list(Discovery(tmp_path / "out").find([inside / "gone.png"])) == found


def test_a_pipe_is_found_and_not_waited_for(tmp_path, inside):
    os.mkfifo(inside / "pipe.png")
    assert list(Discovery(tmp_path / "out").find([inside])) == [Found(str(inside), "pipe.png", "pipe.png", 0, 0)]


def test_other_types_are_counted(tmp_path, inside):
    make(inside, "a.PNG", "b.txt", "c/d.TXT", "README", "e.tar.gz")
    discovery = Discovery(tmp_path / "out")
    assert [item.source for item in discovery.find([inside])] == ["a.PNG"]
    assert discovery.ignored == {".txt": 2, "no suffix": 1, ".gz": 1}


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "jpe", "jfif", "png", "tif", "tiff", "webp", "bmp", "gif", "avif"])
def test_every_format_is_known_by_its_suffix_in_any_case(tmp_path, inside, suffix):
    make(inside, f"a.{suffix}", f"B.{suffix.upper()}")
    assert sources(tmp_path) == [f"B.{suffix.upper()}", f"a.{suffix}"]


def test_pause_is_called_for_every_folder_and_may_end_the_walk(tmp_path, inside):
    make(inside, "a/a.png", "b/a.png")
    pauses = iter([None, None])

    def pause():
        if next(pauses, "stop"):
            raise errors.InterruptedEarly("SIGTERM")

    taken = Discovery(tmp_path / "out", pause=pause).find([inside])
    assert next(taken).source == "a/a.png"
    with pytest.raises(errors.InterruptedEarly):
        next(taken)


# globs


@pytest.mark.parametrize(
    ("globs", "taken"),
    [
        ({"include": ["*.png"]}, ["a/x.png", "a/y/x.png", "x.png"]),
        ({"include": ["*.png", "b.*"]}, ["a/b.jpg", "a/x.png", "a/y/x.png", "x.png"]),
        ({"include": ["a/*.png"]}, ["a/x.png", "a/y/x.png"]),
        ({"include": ["x.png"], "exclude": ["a/x.png"]}, ["a/y/x.png", "x.png"]),
        ({"exclude": ["x.*"]}, ["a/b.jpg", "a/y/c.jpg"]),
        ({"exclude": ["y"]}, ["a/b.jpg", "a/x.png", "x.png"]),
        ({"exclude": ["a/y"]}, ["a/b.jpg", "a/x.png", "x.png"]),
        ({"exclude": ["*.PNG", "a/b"]}, ["a/b.jpg", "a/x.png", "a/y/c.jpg", "a/y/x.png", "x.png"]),
    ],
)
def test_globs_with_a_slash_are_held_against_the_path_and_others_against_the_name(tmp_path, inside, globs, taken):
    make(inside, "x.png", "a/x.png", "a/b.jpg", "a/y/x.png", "a/y/c.jpg")
    assert sources(tmp_path, **globs) == taken


def test_an_excluded_folder_is_not_even_opened(tmp_path, inside, monkeypatch):
    make(inside, "a/x.png", "private/x.png")
    real, opened = os.scandir, []
    monkeypatch.setattr(os, "scandir", lambda path: opened.append(Path(path).name) or real(path))
    assert sources(tmp_path, exclude=["private"]) == ["a/x.png"]
    assert opened == ["in", "a"]


def test_what_is_excluded_is_not_counted(tmp_path, inside):
    make(inside, "a.png", "a.txt")
    discovery = Discovery(tmp_path / "out", exclude=["*.txt"])
    assert len(list(discovery.find([inside]))) == 1
    assert not discovery.ignored


# what can't be planned


def test_a_name_that_is_not_utf_8_is_refused_and_shown_safely(tmp_path, inside):
    make(inside, "good.png")
    Path(os.fsdecode(os.fsencode(inside) + b"/bad\xff\n.png")).write_bytes(b"")
    refused, good = list(Discovery(tmp_path / "out").find([inside]))
    assert good.source == "good.png"
    assert refused.source == "bad\\xff\\n.png"
    assert "UTF-8" in refused.refused
    assert assign_outputs([refused, good], "jpeg") == ["", "good.jpg"]


@pytest.mark.parametrize("several", [False, True])
def test_an_input_folder_whose_own_name_is_not_utf_8_is_refused(tmp_path, several):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff"))
    make(folder, "a.png")
    (tmp_path / "good").mkdir()
    try:
        found = list(Discovery(tmp_path / "out").find([folder, tmp_path / "good"] if several else [folder]))
    except errors.UsageError:
        return
    for item in found:
        (item.root + item.source + item.mirrored).encode()  # what isn't UTF-8 can't go into the manifest
        assert item.refused


def test_a_folder_that_cannot_be_read_is_refused_and_the_rest_is_taken():
    with tempfile.TemporaryDirectory() as name:  # below tmp_path, nobody else could read anything
        folder = Path(name)
        make(folder, "a.png", "closed/b.png")
        folder.chmod(0o755)
        (folder / "closed").chmod(0)
        try:
            walked = subprocess.run([sys.executable, "-c", WALK_AS_NOBODY, name], capture_output=True, check=True)
        finally:
            (folder / "closed").chmod(0o755)
    assert json.loads(walked.stdout) == [
        ["a.png", None],
        ["closed/", "the folder can't be read: permission denied; run again when it can"],
    ]


# names


def test_an_output_has_the_suffix_of_its_format():
    assert outputs("a/b.png", "c.JPEG", "d.e.tif") == ["a/b.jpg", "c.jpg", "d.e.jpg"]
    assert outputs("a/b.jpg", "c.webp", format="png") == ["a/b.png", "c.png"]
    assert outputs("no-suffix") == ["no-suffix.jpg"]


def test_a_jpeg_keeps_its_name_and_what_would_share_it_keeps_its_full_name():
    assert outputs("b.jpg", "b.png") == ["b.jpg", "b.png.jpg"]
    assert outputs("b.png", "b.jpg") == ["b.png.jpg", "b.jpg"]
    assert outputs("b.jpg", "b.png", format="png") == ["b.png", "b.png.png"]


def test_where_no_jpeg_shares_a_name_all_keep_their_full_names():
    assert outputs("a.png", "a.webp", "x/a.png") == ["a.png.jpg", "a.webp.jpg", "x/a.jpg"]


@pytest.mark.parametrize(
    ("names", "first", "second"),
    [
        (["a.jpg", "a.jpeg"], "a.jpg", "a.jpeg"),
        (["b.jpg", "b.png", "b.png.jpg"], "b.png", "b.png.jpg"),
    ],
)
def test_what_still_collides_is_refused_with_both_names(names, first, second):
    with pytest.raises(errors.Collisions, match=rf"/in/{first} and /in/{second} -> "):
        outputs(*names)


def test_a_file_and_a_folder_that_would_share_an_output_name_are_refused():
    with pytest.raises(errors.Collisions):
        outputs("a.png", "a.jpg/x.png")


def test_refused_inputs_have_no_output_and_collide_with_nothing():
    refused = [Found("/in", name, "", 0, 0, "its name is not UTF-8") for name in ("x", "y")]
    others = [Found("/in", name, name, 1, 1) for name in ("b.jpg", "b.png")]
    assert assign_outputs(refused + others, "jpeg") == ["", "", "b.jpg", "b.png.jpg"]


def test_many_collisions_are_counted():
    names = [f"{index}.{suffix}" for index in range(25) for suffix in ("jpg", "jpeg")]
    with pytest.raises(errors.Collisions, match="and 5 more pairs"):
        outputs(*names)


@settings(deadline=None)
@given(
    st.lists(
        st.builds("{}{}.{}".format, st.sampled_from(["", "d/"]), st.sampled_from("ab"), st.sampled_from(["jpg", "png"]))
        | st.sampled_from(["a.jpeg", "a.png.jpg", "a.webp", "a.jpg.png"]),
        unique=True,
        max_size=8,
    )
)
def test_outputs_never_share_a_name(names):
    try:
        assigned = outputs(*names)
    except errors.Collisions:
        return
    assert len(set(assigned)) == len(names)
    assert all(
        output in (os.path.splitext(name)[0] + ".jpg", name + ".jpg")
        for name, output in zip(names, assigned, strict=True)
    )
