"""Results of a job: written as layers from a stream, read as one sorted stream in which the later round wins."""

import itertools
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray.manifest.layers import DamagedResults, Layers
from batchgray.manifest.results import Result, Totals, order_of, totals_of
from batchgray.storage.base import Unreachable
from batchgray.storage.memory import MemoryPlace

NAMES = ["a.png", "a/b.jpg", "a/b.x.png", "b.jpg", "ä.jpg", "\udcff.jpg", "日.jpg", "z"]

NOTHING = Totals()


def result(source: str, state="done", input: int = 0, **given) -> Result:
    made = {"output_size": 9, "checksum": "xxh3-128:0123", "width": 4, "height": 2} if state == "done" else {}
    return Result(
        input=input,
        source=source,
        state=state,
        **{"output": f"{source.rpartition('.')[0]}.jpg", "size": 7, "mtime_ns": -5, **made, **given},
    )


def in_order(*results: Result) -> list[Result]:
    return sorted(results, key=order_of)


def layers(place=None, segment_images: int = 3) -> Layers:
    return Layers(place or MemoryPlace(), "job", segment_images)


def write(found: Layers, round: int, *results: Result, kept: Totals = NOTHING):
    return found.write(round, len(results), in_order(*results), kept)


def test_results_come_back_in_the_order_of_the_bytes_of_their_names():
    found = layers()
    results = in_order(*map(result, NAMES), result("a.png", input=1, etag="x", error=None, note="odd"))
    write(found, 1, *results)
    assert list(found.read()) == results
    assert [result.source for result in results][:3] == ["a.png", "a/b.jpg", "a/b.x.png"]


def test_an_output_of_any_name_comes_back():
    results = in_order(result("a.png", output="x/a.png.jpg"), result("b.png", output="other"), result("c", output="c"))
    found = layers()
    write(found, 1, *results)
    assert [each.output for each in found.read()] == ["x/a.png.jpg", "other", "c"]


def test_the_later_round_wins():
    found = layers()
    write(found, 1, *map(result, "abcdefghijkl"))
    write(found, 2, result("a", state="failed", error="no"), result("c", output_size=10))
    assert [(each.source, each.state, each.output_size) for each in found.read()][:3] == [
        ("a", "failed", None),
        ("b", "done", 9),
        ("c", "done", 10),
    ]
    assert [end.round for end in found.ends()] == [2, 1]


def test_what_is_pruned_is_as_if_it_had_never_been():
    found = layers()
    write(found, 1, *map(result, "abcdefghi"))
    write(found, 2, result("b", state="pruned"))
    assert [each.source for each in found.read()] == list("acdefghi")


def test_reading_begins_behind_any_name():
    found = layers()
    write(found, 1, *map(result, "abcdefghij"))
    write(found, 2, result("k"))
    for after in ["0", "a", "c", "cc", "d", "j", "k"]:
        assert [each.source for each in found.read((0, after.encode()))] == [x for x in "abcdefghijk" if x > after]


def test_failures_are_there_once_more():
    found = layers()
    write(found, 1, result("a"), result("b", state="failed", error="broken"), result("c"))
    assert [(each.source, each.error) for each in found.failures()] == [("b", "broken")]
    write(found, 2, result("b"))
    assert list(found.failures()) == []


def test_totals_are_those_of_the_whole_job():
    found = layers()
    assert found.totals() == Totals()
    write(found, 1, result("a"), result("b", state="failed"), result("c", state="gone"))
    assert found.totals() == Totals(done=1, failed=1, gone=1, pixels=8, source_bytes=7, output_bytes=9)
    write(found, 2, result("b"), kept=totals_of([result("a"), result("c", state="gone")]))
    assert found.totals() == Totals(done=2, failed=0, gone=1, pixels=16, source_bytes=14, output_bytes=18)


def test_there_are_never_many_layers():
    place = MemoryPlace()
    found = layers(place)
    for round in range(1, 101):
        write(found, round, result(f"{round:03}"), result("same", output_size=round))
        found.sweep()
    assert len(found.ends()) <= 7
    assert [each.source for each in found.read()] == [*(f"{round:03}" for round in range(1, 101)), "same"]
    assert {key.rpartition("/")[2][:4] for key in place._objects} == {f"{end.round:04}" for end in found.ends()}


def test_tombstones_end_where_all_layers_are_taken_in():
    found = layers()
    write(found, 1, *map(result, "abc"))
    write(found, 2, *(result(name, state="pruned") for name in "ab"))
    (end,) = found.ends()
    assert (end.first, end.images) == (1, 1)


class Failing(MemoryPlace):
    """Does not answer any more after so many requests that change something; the last one may be done all the same."""

    left = 10**9
    is_done = True

    def put_absent(self, key, content):
        self.left -= 1
        if self.left < 0:
            if self.is_done:
                super().put_absent(key, content)
            raise Unreachable(key, "it does not answer")
        return super().put_absent(key, content)


@pytest.mark.parametrize("is_done", [False, True])
def test_a_layer_that_was_interrupted_anywhere_is_gone_on_with(is_done):
    results = in_order(*(result(f"{number:02}", state=("done", "failed")[number % 2]) for number in range(20)))
    whole = MemoryPlace()
    write(layers(whole), 1, *results)
    place = Failing()
    for left in itertools.count():
        place.left, place.is_done = left, is_done
        try:
            end = write(layers(place), 1, *results)
            break
        except Unreachable:
            continue
    assert left > 3
    assert end.totals == totals_of(results)
    assert {key: data for key, (data, _) in place._objects.items()} == {
        key: data for key, (data, _) in whole._objects.items()
    }


def test_one_that_is_whole_is_not_written_again():
    found = layers()
    end = write(found, 1, result("a"))
    assert write(found, 1, result("b")) == end


@pytest.mark.parametrize("damage", ["cut", "flip", "columns"])
def test_damage_is_named(damage):
    place = MemoryPlace()
    write(layers(place), 1, result("a"), result("b"))
    key = "job/results/0001-000001"
    data = bytearray(place.get(key))
    if damage == "cut":
        del data[-30:]
    elif damage == "flip":
        data[len(data) // 2] ^= 1
    else:
        data[:] = place.get("job/results/0001-end")
    place.put(key, data)
    with pytest.raises(DamagedResults, match="0001-000001"):
        list(layers(place).read())


@given(
    st.lists(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["done", "failed", "gone", "pruned"])), max_size=6)
)
@settings(max_examples=100, deadline=None)
def test_layers_are_what_a_dictionary_would_hold(rounds):
    found, expected = layers(segment_images=2), {}
    for round, states in enumerate(rounds, 1):
        results = [result(name, state=state, output_size=round) for name, state in states.items()]
        expected.update({each.source: each for each in results})
        kept = [each for name, each in expected.items() if name not in states]
        write(found, round, *results, kept=totals_of(kept))
        found.sweep()
        assert list(found.read()) == in_order(*(each for each in expected.values() if each.state != "pruned"))
        assert found.totals() == totals_of(expected.values())


def test_memory_is_that_of_a_piece():
    place = MemoryPlace()
    results = (result(f"{number:09}.jpg") for number in range(60_000))
    Layers(place, "job").write(1, 60_000, results, Totals())
    tracemalloc.start()
    try:
        count = sum(1 for _ in Layers(place, "job").read())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 60_000
    assert peak < 8 << 20  # all of them take some 30 MB
