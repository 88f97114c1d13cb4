"""What every place keeps, whatever it is made of: one suite over all of them.

A new kind of place joins with a line in PLACES: a context manager that makes an empty one.
"""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from batchgray.records import InputVersion
from batchgray.storage.base import BadKey, Changed, Missing, PlaceError, Put
from batchgray.storage.folder import FolderPlace
from batchgray.storage.memory import MemoryPlace


@contextlib.contextmanager
def folder_place(path):
    with contextlib.closing(FolderPlace.at(path)) as place:
        yield place


@contextlib.contextmanager
def memory_place(_path):
    yield MemoryPlace()


PLACES = {
    "folder": folder_place,
    "memory": memory_place,
}

ODD_NAMES = [
    " ",
    "-",
    "a\nb",
    "a b/c\td",
    "\\",
    "'\"`$x",
    "%41%2F",
    "ä/ö.jpg",
    "e\u0301",
    "\u00e9",
    "図/写真.jpg",
    "\U0001f4f7",
    "caf\udce9.jpg",
    "...",
    ".hidden",
    "a/..b",
    "n" * 255,
    "d/" * 50 + "f",
]
NO_NAMES = ["", "/", "/a", "a/", "a//b", ".", "..", "./a", "a/.", "a/../b", "../a", "a\0b"]


@pytest.fixture(params=PLACES)
def place(request, tmp_path):
    with PLACES[request.param](tmp_path) as place:
        yield place


def keys(place, *given, **named):
    return [entry.key for entry in place.list(*given, **named)]


# reading and writing


@pytest.mark.parametrize("data", [b"", b"a", bytes(range(256)) * 5000])
def test_what_is_put_comes_back(place, data):
    place.put("a/b.jpg", [data])
    assert place.get("a/b.jpg") == data
    entry = place.stat("a/b.jpg")
    assert (entry.key, entry.size) == ("a/b.jpg", len(data))
    assert list(place.list()) == [entry]


def test_it_may_come_in_pieces_of_any_kind(place):
    place.put("a", iter([b"one", bytearray(b" and "), memoryview(b"two"), b""]))
    place.put_absent("b", (piece for piece in (b"th", b"ree")))
    assert (place.get("a"), place.get("b")) == (b"one and two", b"three")


def test_a_later_put_replaces(place):
    place.put("a", [b"longer than the next"])
    place.put("a", [b"next"])
    assert place.get("a") == b"next"
    assert place.stat("a").size == 4


@pytest.mark.parametrize(
    ("span", "data"),
    [((0, 4), b"0123"), ((3, 1), b"3"), ((8, 10), b"89"), ((10, 5), b""), ((50, 5), b""), ((0, 0), b"")],
)
def test_a_span_is_as_long_as_there_is_something(place, span, data):
    place.put("a", [b"0123456789"])
    assert place.get("a", span=span) == data
    assert place.get("a", place.stat("a").version, span) == data


# names


@pytest.mark.parametrize("key", ODD_NAMES)
def test_odd_names_are_names(place, key):
    place.put(key, [b"odd"])
    assert place.put_absent(key, [b"odd"]) is Put.SAME
    assert keys(place) == [key]
    assert place.get(key) == b"odd"
    place.delete(key)
    assert keys(place) == []


@pytest.mark.parametrize("key", NO_NAMES)
def test_what_is_no_name_is_refused_by_name(place, key):
    for attempt in (
        place.stat,
        place.get,
        place.delete,
        lambda key: place.put(key, [b"x"]),
        lambda key: place.put_absent(key, [b"x"]),
    ):
        with pytest.raises(BadKey) as caught:
            attempt(key)
        assert caught.value.key == key
    assert keys(place) == []


def test_names_that_differ_in_case_or_form_are_different(place):
    for key in ("a", "A", "\u00e9", "e\u0301"):
        place.put(key, [key.encode()])
    assert [place.get(key) for key in ("a", "A", "\u00e9", "e\u0301")] == [b"a", b"A", b"\xc3\xa9", b"e\xcc\x81"]


# listing

TREE = ["a-b", "a.jpg", "a/b", "a/b.jpg", "a/c/d", "a0", "b", "caf\udce9", "é", "\uffee", "\U0001f4f7"]


def planted(place):
    for key in reversed(TREE):
        place.put(key, [key.encode("utf-8", "surrogateescape")])
    return sorted(TREE, key=lambda key: key.encode("utf-8", "surrogateescape"))


def test_a_listing_is_in_the_order_of_the_keys_bytes(place):
    """And so for every place the same: `a-b` and `a.jpg` come before what is in `a/`, and `a0` after it."""
    assert keys(place) == []
    assert keys(place, after="a", prefix="a") == []
    in_order = planted(place)
    assert keys(place) == in_order
    assert in_order[:6] == ["a-b", "a.jpg", "a/b", "a/b.jpg", "a/c/d", "a0"]


@pytest.mark.parametrize("prefix", ["a", "a/", "a/b", "a/b.jpg", "a/c/", "a/c/d/", "b", "c", "é", "z", "A", "/"])
def test_a_prefix_is_any_beginning_of_a_key(place, prefix):
    in_order = planted(place)
    assert keys(place, prefix) == [key for key in in_order if key.startswith(prefix)]


def test_a_listing_goes_on_after_any_key_whether_it_is_there_or_not(place):
    in_order = planted(place)
    for after in [*TREE, "", "0", "a", "a/", "a/c", "a/c/", "a/c/e", "a/zzz", "a/b\x00", "~", "\U0010ffff"]:
        expected = [
            key for key in in_order if key.encode("utf-8", "surrogateescape") > after.encode("utf-8", "surrogateescape")
        ]
        assert keys(place, after=after) == expected
        assert keys(place, "a/", after) == [key for key in expected if key.startswith("a/")]


def test_a_listing_tells_what_stat_tells(place):
    planted(place)
    assert list(place.list()) == [place.stat(key) for key in keys(place)]


def test_a_listing_goes_on_while_it_is_changed(place):
    planted(place)
    listing = place.list()
    next(listing)
    for key in TREE[1:]:
        place.delete(key)
    place.put("zz", [b"new"])
    assert {entry.key for entry in listing} <= {*TREE, "zz"}


# versions


def test_another_version_is_never_taken_for_the_one_that_was_asked_for(place):
    place.put("a", [b"first"])
    first = place.stat("a").version
    assert place.get("a", first) == b"first"
    place.put("a", [b"the second"])
    second = place.stat("a").version
    assert not second.is_same(first)
    with pytest.raises(Changed) as caught:
        place.get("a", first)
    assert caught.value.key == "a"
    with pytest.raises(Changed):
        place.get("a", first, (0, 1))
    assert place.get("a", second) == b"the second"
    place.delete("a")
    with pytest.raises(Missing):
        place.get("a", second)


def test_a_version_that_never_was_is_another(place):
    place.put("a", [b"first"])
    with pytest.raises(Changed):
        place.get("a", InputVersion(5, 12345))


# put_absent


def test_what_is_there_stays(place):
    assert place.put_absent("a/b", [b"first"]) is Put.CREATED
    assert place.put_absent("a/b", [b"fi", b"rst"]) is Put.SAME
    assert place.put_absent("a/b", [b"other"]) is Put.OTHER
    assert place.put_absent("a/b", [b"first and more"]) is Put.OTHER
    assert place.put_absent("a/b", [b""]) is Put.OTHER
    assert place.get("a/b") == b"first"
    place.delete("a/b")
    assert place.put_absent("a/b", [b"other"]) is Put.CREATED


@pytest.mark.parametrize("same", [False, True])
def test_of_many_that_try_one_creates_it(place, same):
    racers, rounds = 8, 20
    line = threading.Barrier(racers)

    def race(number):
        results = []
        for turn in range(rounds):
            data = b"same" if same else b"%d" % number
            line.wait()
            results.append((place.put_absent(f"entry/{turn}", [data]), data))
        return results

    with ThreadPoolExecutor(racers) as pool:
        ran = list(pool.map(race, range(racers)))
    for turn in range(rounds):
        told = [results[turn] for results in ran]
        (winner,) = [data for result, data in told if result is Put.CREATED]
        assert place.get(f"entry/{turn}") == winner
        assert {result for result, data in told} == {Put.CREATED, Put.SAME if same else Put.OTHER}


def test_a_reader_never_sees_a_half(place):
    """While it is replaced again and again: what was there before, or all of what comes."""
    versions = [bytes([n]) * 100_000 for n in range(10)]
    place.put("a", [versions[0]])

    def replace():
        for data in versions:
            place.put("a", [data[:50_000], data[50_000:]])

    writer = threading.Thread(target=replace)
    writer.start()
    seen = set()
    while writer.is_alive():
        with contextlib.suppress(Changed):
            seen.add(place.get("a"))
    writer.join()
    assert seen <= set(versions)


# what goes wrong


def failing():
    yield b"the first half"
    raise ZeroDivisionError


@pytest.mark.parametrize("there", [None, b"earlier"])
@pytest.mark.parametrize("how", ["put", "put_absent"])
def test_what_fails_in_the_middle_leaves_nothing_of_it(place, how, there):
    if there is not None:
        place.put("a/b", [there])
    before = list(place.list())
    with pytest.raises(ZeroDivisionError):
        getattr(place, how)("a/b", failing())
    assert list(place.list()) == before
    if there is None:
        with pytest.raises(Missing):
            place.get("a/b")
        assert place.put_absent("a/b", [b"new"]) is Put.CREATED
    else:
        assert place.get("a/b") == there


def test_what_is_not_there_is_missing_by_name(place):
    place.put("a/b", [b"x"])
    for key in ("b", "a", "a/c", "a/b/c", "c/d"):
        for attempt in (place.stat, place.get):
            with pytest.raises(Missing) as caught:
                attempt(key)
            assert caught.value.key == key
            assert isinstance(caught.value, PlaceError)
            assert key in str(caught.value)


def test_a_deletion_may_come_again(place):
    place.put("a/b", [b"x"])
    place.put("a/c", [b"y"])
    for _ in range(2):
        place.delete("a/b")
    for key in ("a", "a/b/c", "never/was"):
        place.delete(key)
    assert keys(place) == ["a/c"]
    with pytest.raises(Missing):
        place.get("a/b")
