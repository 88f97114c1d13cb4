"""What every place keeps: one suite over all of them. A new kind of place joins by a line in PLACES."""

import io
import threading

import pytest

from batchgray.storage.base import Changed, Missing, Place, Put
from batchgray.storage.memory import MemoryPlace

PLACES = {"memory": lambda tmp_path: MemoryPlace()}
ODD_NAMES = ["a b.jpg", "ä/ö.jpg", "%41.jpg", "a+b&c=d?e#f.jpg", "'quoted'.jpg", "deep/" * 30 + "x", "日本/写真.png"]


@pytest.fixture(params=sorted(PLACES))
def place(request, tmp_path):
    made = PLACES[request.param](tmp_path)
    yield made
    made.close()


def keys(place: Place, prefix: str = "", after: str = "") -> list[str]:
    return [entry.key for entry in place.list(prefix, after)]


def test_what_was_put_is_there_whole(place):
    place.put("a/b.jpg", b"picture")
    assert place.get("a/b.jpg") == b"picture"
    assert place.stat("a/b.jpg").size == 7


@pytest.mark.parametrize("content", [bytearray(b"data"), memoryview(b"data"), io.BytesIO(b"data")])
def test_content_may_come_as_any_buffer_or_file(place, content):
    place.put("a", content)
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
        with pytest.raises(Missing):
            place.get(key)
        with pytest.raises(Missing):
            place.stat(key)


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


def test_deleting_twice_is_deleting_once(place):
    place.put("a/b", b"")
    place.put("a/c", b"")
    for _ in range(2):
        place.delete("a/b")
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
