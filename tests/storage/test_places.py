"""What every place keeps: one suite over all of them. A new kind of place joins by a line in PLACES."""

import contextlib
import functools
import io
import threading

import pytest
import stores

from batchgray.storage.base import BadKey, Changed, Missing, Place, Put, Unfit

PLACES = {
    "folder": stores.folder_place,
    "memory": stores.memory_place,
    "obstore's memory": stores.obstore_place,
    "OSS": stores.oss_place,
}
SERVERS = {"s3": stores.LocalS3}  # which serve all tests, a bucket each
if stores.LocalAzure.program():
    SERVERS["az"] = stores.LocalAzure
ODD_NAMES = [
    "a b.jpg",
    "ä/ö.jpg",
    "%41.jpg",
    "a+b&c=d?e#f.jpg",
    "'quoted'.jpg",
    "deep/" * 30 + "x",
    "日本/写真.png",
    "\U0001f4f7",
    "-",
    "...",
    ".hidden",
    "a/..b",
    "n" * 255,
]
NO_NAMES = ["", "/", "/a", "a/", "a//b", ".", "..", "./a", "a/.", "a/../b", "../a"]


@pytest.fixture(scope="module")
def servers():
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda scheme: stack.enter_context(SERVERS[scheme]()))


@pytest.fixture(params=[*PLACES, *SERVERS])
def place(request, tmp_path, servers):
    kind = request.param
    with stores.cloud_place(kind, servers(kind)) if kind in SERVERS else PLACES[kind](tmp_path) as place:
        yield place


def test_azure_is_held_to_the_same():
    if "az" not in SERVERS:
        pytest.skip("azurite is not here: npm install -g azurite")


def keys(place: Place, prefix: str = "", after: str = "") -> list[str]:
    return [entry.key for entry in place.list(prefix, after)]


def test_what_was_put_is_there_whole(place):
    place.put("a/b.jpg", b"picture")
    assert place.get("a/b.jpg") == b"picture"
    assert place.stat("a/b.jpg").size == 7


@pytest.mark.parametrize("kind", [bytearray, memoryview, io.BytesIO])
def test_content_may_come_as_any_buffer_or_file(place, kind):
    place.put("a", kind(b"data"))
    assert place.get("a") == b"data"


def test_a_file_is_read_from_where_it_stands(place):
    file = io.BytesIO(b"head body")
    file.seek(5)
    place.put("a", file)
    assert place.get("a") == b"body"


def test_an_object_may_be_empty(place):
    place.put("a", b"")
    assert (place.get("a"), place.stat("a").size) == (b"", 0)


@pytest.mark.parametrize("key", ODD_NAMES)
def test_keys_may_have_any_characters(place, key):
    place.put(key, key.encode())
    assert place.get(key) == key.encode()
    assert keys(place) == [key]
    place.delete(key)
    assert keys(place) == []


@pytest.mark.parametrize("key", NO_NAMES)
def test_what_is_no_name_below_a_place_is_a_bad_key(place, key):
    for attempt in (
        place.stat,
        place.get,
        place.delete,
        lambda key: place.put(key, b"x"),
        lambda key: place.put_absent(key, b"x"),
    ):
        with pytest.raises(BadKey) as caught:
            attempt(key)
        assert caught.value.key == key
    assert keys(place) == []


def test_names_that_differ_in_case_or_form_are_different(place):
    names = ["a", "A", "\u00e9", "e\u0301"]
    for name in names:
        place.put(name, name.encode())
    assert [place.get(name) for name in names] == [name.encode() for name in names]


def test_a_listing_is_in_the_order_of_the_keys_bytes(place):
    names = ["b", "a/z", "a.jpg", "a/b/c", "a-1", "B", "ä", "a/b.jpg", "z/1"]
    for name in names:
        place.put(name, b"")
    assert keys(place) == sorted(names, key=str.encode)


def test_a_listing_begins_with_a_prefix_that_need_not_end_at_a_part(place):
    for name in ("a/b", "a/bc/d", "a/c", "ab"):
        place.put(name, b"")
    assert keys(place, "a/") == ["a/b", "a/bc/d", "a/c"]
    assert keys(place, "a/b") == ["a/b", "a/bc/d"]
    assert keys(place, "x") == []


def test_a_listing_goes_on_after_any_key(place):
    for name in ("a", "b/c", "b/d", "e"):
        place.put(name, b"")
    assert keys(place, after="b/c") == ["b/d", "e"]
    assert keys(place, after="b") == ["b/c", "b/d", "e"]
    assert keys(place, "b/", after="b/c") == ["b/d"]
    assert keys(place, after="e") == []


NAMES = ["a-b", "a.jpg", "a/b", "a/b.jpg", "a/c/d", "a0", "b", "é", "\uffee"]
AFTER = [*NAMES, "", "0", "a", "a/", "a/c", "a/c/", "a/c/e", "a/zzz", "a/b!", "~"]


def test_a_listing_by_any_prefix_after_any_key_is_what_all_of_it_has_of_these(place):
    for name in reversed(NAMES):
        place.put(name, b"")
    assert keys(place) == NAMES
    for prefix in ("", "a", "a/", "a/b", "a/c/", "a/c/d/", "b", "é", "z", "/"):
        for after in AFTER:
            expected = [name for name in NAMES if name.startswith(prefix) and name.encode() > after.encode()]
            assert keys(place, prefix, after) == expected, (prefix, after)


def test_no_listing_is_out_of_order(place):
    """By its bytes the camera comes last; UTF-16, by which azurite sorts, has it before U+FFEE."""
    for name in ("\U0001f4f7", "\uffee"):
        place.put(name, b"")
    if place.name.startswith("az:"):
        with pytest.raises(Unfit, match="out of order"):
            keys(place)
    else:
        assert keys(place) == ["\uffee", "\U0001f4f7"]


def test_a_listing_goes_on_while_the_place_is_changed(place):
    for name in NAMES:
        place.put(name, b"")
    listing = place.list()
    seen = [next(listing).key]
    for name in NAMES[1:]:
        place.delete(name)
    place.put("zz", b"new")
    seen += [entry.key for entry in listing]
    assert seen == sorted(seen, key=str.encode)
    assert set(seen) <= {*NAMES, "zz"}


def test_a_listing_tells_sizes_and_versions_as_a_look_does(place):
    place.put("a", b"123")
    assert list(place.list()) == [place.stat("a")]


@pytest.mark.parametrize(
    ("start", "end", "found"), [(0, None, b"012345"), (2, 4, b"23"), (4, 99, b"45"), (6, None, b""), (3, 3, b"")]
)
def test_a_part_of_an_object_can_be_read(place, start, end, found):
    place.put("a", b"012345")
    assert place.get("a", start=start, end=end) == found


def test_a_version_stays_until_the_object_is_replaced(place):
    place.put("a", b"one")
    first = place.stat("a").version
    assert place.stat("a").version == first
    place.put("a", b"other")
    assert place.stat("a").version != first


def test_another_version_is_never_given_for_the_one_that_was_asked_for(place):
    place.put("a", b"one")
    first = place.stat("a").version
    assert place.get("a", first) == b"one"
    place.put("a", b"other")
    with pytest.raises(Changed):
        place.get("a", first)
    with pytest.raises(Changed):
        place.get("a", first, 0, 1)


def test_what_is_not_there_is_missing(place):
    place.put("a/b", b"")
    for key in ("a/c", "a", "a/b/c"):
        for look_up in place.get, place.stat:
            with pytest.raises(Missing) as caught:
                look_up(key)
            assert caught.value.key == key


def test_a_free_name_is_taken_once(place):
    assert place.put_absent("a", b"mine") is Put.CREATED
    assert place.put_absent("a", b"mine") is Put.SAME
    assert place.put_absent("a", b"theirs") is Put.OTHER
    assert place.put_absent("a", b"more than that") is Put.OTHER
    assert place.get("a") == b"mine"


def test_of_many_that_race_for_a_name_one_creates_it(place):
    together, results = threading.Barrier(8), {}

    def race(number: int) -> None:
        together.wait()
        results[number] = place.put_absent("log/7", b"entry %d" % number)

    threads = [threading.Thread(target=race, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [number for number, result in results.items() if result is Put.CREATED]
    assert sorted(result.value for result in results.values()) == ["created"] + ["other"] * 7
    assert place.get("log/7") == b"entry %d" % winner


def test_of_many_that_put_the_same_one_creates_it_too(place):
    together, results = threading.Barrier(8), []

    def race() -> None:
        together.wait()
        results.append(place.put_absent("log/8", b"the same"))

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.value for result in results) == ["created"] + ["same"] * 7


def test_a_reader_sees_what_was_there_or_all_of_what_comes(place):
    contents = [bytes([number]) * 100_000 for number in range(10)]
    place.put("a", contents[0])
    writer = threading.Thread(target=lambda: [place.put("a", content) for content in contents])
    writer.start()
    seen = set()
    while writer.is_alive():
        with contextlib.suppress(Changed):
            seen.add(place.get("a"))
    writer.join()
    assert seen <= set(contents)


def test_deleting_twice_is_deleting_once(place):
    place.put("a/b", b"")
    place.put("a/c", b"")
    for _ in range(2):
        place.delete("a/b")
        assert keys(place) == ["a/c"]
    for key in ("a", "a/c/d", "never/was"):
        place.delete(key)
    assert keys(place) == ["a/c"]
    assert place.put_absent("a/b", b"again") is Put.CREATED


class Breaking(io.BytesIO):
    """A file that can't be read to its end."""

    def read(self, *given):
        raise OSError("the source broke")

    readinto = read1 = read


@pytest.mark.parametrize("put", ["put", "put_absent"])
def test_a_put_that_fails_leaves_what_was_there(place, put):
    with pytest.raises(OSError, match="broke"):
        getattr(place, put)("new", Breaking(b"data"))
    assert keys(place) == []
    place.put("a", b"old")
    with pytest.raises(OSError, match="broke"):
        place.put("a", Breaking(b"data"))
    assert (place.get("a"), keys(place)) == (b"old", ["a"])
