"""INPUTs become a list: what is taken, in which order, and under which name it comes out."""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from harness import deep_tree
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray import errors, extras
from batchgray.options import EngineOptions, RunOptions
from batchgray.planning.discovery import Discovery, Found, assign_outputs
from batchgray.planning.planner import plan_run

WALK_AS_NOBODY = """
import json, os, sys
from pathlib import Path
from batchgray.planning.discovery import Discovery
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
        path.write_bytes(os.fsencode(name))


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
    assert not discovery.left_out.ignored


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
    assert discovery.left_out.ignored == {"links to folders": 2}


def test_what_is_named_besides_its_folder_is_not_left_out(tmp_path, inside):
    make(inside, "a.png", ".hidden.png", "excluded.png", "scan.raw", "other.raw")
    told = []
    discovery = Discovery(tmp_path / "out", exclude=["ex*"], tell=lambda path, kind: told.append(path))
    named = [inside / name for name in (".hidden.png", "excluded.png", "scan.raw")]
    assert [item.source for item in discovery.find([inside, *named])] == ["a.png", *(path.name for path in named)]
    assert told == [str(inside / "other.raw")]


def test_a_folder_that_is_named_is_walked_though_the_one_above_it_passes_it_over(tmp_path, inside):
    make(
        tmp_path, "else/x.png", "in/a.png", "in/.hidden/b.png", "in/.hidden/c/d.png", "in/excluded/e.png", "in/f/g.png"
    )
    (inside / "link").symlink_to("../else")
    names = (".hidden/c", ".hidden", "excluded", "link", "f")
    discovery = Discovery(tmp_path / "out", exclude=["ex*"])
    found = list(discovery.find([inside, *(inside / name for name in names)]))
    assert [item.mirrored for item in found] == [
        *("a.png", "f/g.png", ".hidden/b.png", ".hidden/c/d.png", "excluded/e.png", "link/x.png")
    ]
    assert not discovery.left_out.kinds()
    assert sources(tmp_path) == ["a.png", "excluded/e.png", "f/g.png"]


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
    assert discovery.left_out.ignored == {".txt": 2, "no suffix": 1, ".gz": 1}


@pytest.mark.parametrize(
    "suffix",
    [
        *("jpg", "jpeg", "jpe", "jfif", "png", "tif", "tiff", "webp", "bmp", "gif", "avif"),
        *("jp2", "j2k", "j2c", "jpx", "jpf", "pbm", "pgm", "ppm", "pnm", "heic", "heif", "hif"),
    ],
)
def test_every_format_is_known_by_its_suffix_in_any_case(tmp_path, inside, suffix):
    make(inside, f"a.{suffix}", f"B.{suffix.upper()}")
    assert sources(tmp_path) == [f"B.{suffix.upper()}", f"a.{suffix}"]


def test_what_an_extra_reads_is_left_out_without_it(tmp_path, inside, monkeypatch):
    make(inside, "a.png", "b.heic", "c.HIF")
    monkeypatch.setitem(extras.EXTRAS, "heif", ("no_such_module", ""))
    discovery = Discovery(tmp_path / "out")
    assert [item.source for item in discovery.find([inside])] == ["a.png"]
    assert discovery.left_out.ignored == {".heic": 1, ".hif": 1}
    assert [item.source for item in discovery.find([inside / "b.heic"])] == ["b.heic"]  # named: always tried


def test_pause_is_called_for_every_folder_and_may_end_the_walk(tmp_path, inside):
    make(inside, "a/a.png", "b/a.png")
    pauses = iter([None] * 4)  # for the list of inputs, the folder, a, and what is in a

    def pause():
        if next(pauses, "stop"):
            raise errors.InterruptedEarly("SIGTERM")

    taken = Discovery(tmp_path / "out", pause=pause).find([inside])
    assert next(taken).source == "a/a.png"
    with pytest.raises(errors.InterruptedEarly):
        next(taken)


@pytest.mark.parametrize("one_by_one", [False, True])
def test_pause_ends_a_walk_in_a_large_folder_and_a_long_list_too(tmp_path, inside, one_by_one):
    make(inside, *(f"{number}.png" for number in range(50)))
    inputs = sorted(inside.iterdir()) if one_by_one else [inside]
    pauses = []
    list(Discovery(tmp_path / "out", pause=lambda: pauses.append(None)).find(inputs))
    assert len(pauses) > 50


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
    assert not discovery.left_out.ignored


# names as they come


def test_names_that_are_not_utf_8_are_taken_like_any_other(tmp_path):
    first, second = tmp_path / os.fsdecode(b"first\xff"), tmp_path / "second"
    make(first, os.fsdecode(b"a\xe9/b\xff\n.png"), os.fsdecode(b"c.p\xffg"))
    make(second, "good.png")
    discovery = Discovery(tmp_path / "out")
    found = list(discovery.find([first, second]))
    assert [(item.root, item.source, item.mirrored, item.refused) for item in found] == [
        (str(first), "a\udce9/b\udcff\n.png", "first\udcff/a\udce9/b\udcff\n.png", None),
        (str(second), "good.png", "second/good.png", None),
    ]
    assert found[0].size > 0
    assert discovery.left_out.ignored == {".p\udcffg": 1}
    assert assign_outputs(found, "jpeg") == ["first\udcff/a\udce9/b\udcff\n.jpg", "second/good.jpg"]


def test_a_tree_deeper_than_the_stack_is_walked_in_the_order_of_its_names(tmp_path):
    with deep_tree(tmp_path / "in", depth=1500) as put:
        put(0, "c.png", b"1")
        put(1, "e.png", b"2")
        put(1499, "a.png", b"3")
        put(1500, "b.png", b"4")
        found = list(Discovery(tmp_path / "out").find([tmp_path / "in"]))
    assert [item.source for item in found] == ["c.png", *("d/" * 1499 + n for n in ("a.png", "d/b.png")), "d/e.png"]
    assert all(item.size == 1 and item.refused is None for item in found)


@pytest.mark.parametrize("out_is_there", [False, True])
def test_a_folder_deeper_than_a_path_can_name_is_told_and_the_rest_is_taken(tmp_path, out_is_there):
    if out_is_there:
        (tmp_path / "out").mkdir()
    name = "d" * 200
    with deep_tree(tmp_path / "in", depth=30, name=name) as put:
        put(0, "top.png", b"1")
        put(29, "unreachable.png", b"2")
        refused, top = Discovery(tmp_path / "out").find([tmp_path / "in"])
    assert (top.source, top.refused) == ("top.png", None)
    assert refused.source.removesuffix("/").split("/") == [name] * refused.source.count("/")
    assert "path is longer than the system can open" in refused.refused


def test_an_image_whose_path_is_longer_than_can_be_opened_costs_no_other(tmp_path):
    levels, rest = divmod(4095 - len(os.fsencode(tmp_path / "in")), 101)
    with deep_tree(tmp_path / "in", depth=levels, name="d" * 100) as put:
        put(levels, f"{'e' * (rest + 1)}.png", b"1")
        put(levels - 1, "f.png", b"2")
        long, good = Discovery(tmp_path / "out").find([tmp_path / "in"])
    assert len(f"{long.root}/{long.source}") > 4096
    assert "path is longer than the system can open" in long.refused
    assert (good.source.rpartition("/")[2], good.size) == ("f.png", 1)


def steps_of(work) -> int:
    """How many lines of Python a piece of work takes."""
    taken = 0

    def count_step(frame, event, argument):
        nonlocal taken
        taken += 1
        return count_step

    sys.settrace(count_step)
    try:
        work()
    finally:
        sys.settrace(None)
    return taken


def test_many_folders_are_named_in_linear_time(tmp_path):
    def steps(count: int) -> int:
        folders = [tmp_path / str(count) / str(index) for index in range(count)]
        for folder in folders:
            make(folder, "a.png")
        options = RunOptions(inputs=folders, out=tmp_path / "out", engine=EngineOptions(workers=1, memory=1))
        return steps_of(lambda: plan_run(options, None))

    assert steps(400) < 5 * steps(100)


def test_many_collisions_are_found_in_linear_time():
    def steps(count: int) -> int:
        names = [name for index in range(count) for name in (f"{index}.jpg", f"{index}.jpg/x.jpg")]

        def work() -> None:
            with pytest.raises(errors.Collisions):
                outputs(*names)

        return steps_of(work)

    assert steps(400) < 5 * steps(100)


def test_what_is_above_a_link_is_what_the_system_says(tmp_path):
    make(tmp_path, "real/photos/right.png", "real/target/x.png", "photos/wrong.png", "photos/left.png")
    (tmp_path / "link").symlink_to("real/target")
    [found] = Discovery(tmp_path / "out").find([tmp_path / "link" / ".." / "photos"])
    assert (found.root, found.source) == (str(tmp_path / "real" / "photos"), "right.png")
    [found] = Discovery(tmp_path / "out").find([tmp_path / "link" / ".." / "photos" / "right.png"])
    assert (found.root, found.source) == (str(tmp_path / "real" / "photos"), "right.png")
    with pytest.raises(errors.NoSuchInput):
        list(Discovery(tmp_path / "out").find([tmp_path / "link" / ".." / "photos" / "wrong.png"]))
    [found] = Discovery(tmp_path / "out").find([tmp_path / "link"])
    assert (found.root, found.source) == (str(tmp_path / "link"), "x.png")  # named as it was


# what can't be planned


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
    refused = [Found("/in", name, "", 0, 0, "the folder can't be read") for name in ("x", "y")]
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
