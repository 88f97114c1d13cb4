"""Tiles cover an image exactly, on the edges of JPEG blocks."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray import tiles

heights = st.integers(1, 5000)
tile_rows = st.integers(1, 60).map(lambda blocks: 8 * blocks)
flag_lists = st.lists(st.sampled_from([0, 1]), max_size=200)


@settings(deadline=None)
@given(heights, tile_rows)
def test_tiles_cover_every_row_exactly_once_from_top_to_bottom(height, rows):
    cut = [tiles.tile_at(index, height, rows) for index in range(tiles.tile_count(height, rows))]
    assert [row for tile in cut for row in range(tile.top, tile.bottom)] == list(range(height))
    assert [tile.index for tile in cut] == list(range(len(cut)))


@settings(deadline=None)
@given(heights, tile_rows)
def test_every_tile_but_the_last_has_the_full_height_and_the_last_is_not_empty(height, rows):
    *others, last = [tiles.tile_at(index, height, rows) for index in range(tiles.tile_count(height, rows))]
    assert all(tile.bottom - tile.top == rows for tile in others)
    assert 0 < last.bottom - last.top <= rows


@settings(deadline=None)
@given(st.data())
def test_unfinished_tiles_are_those_whose_flag_is_down(data):
    height, rows = data.draw(heights), data.draw(tile_rows)
    count = tiles.tile_count(height, rows)
    flags = bytes(data.draw(st.lists(st.sampled_from([0, 1]), min_size=count, max_size=count)))
    left = list(tiles.unfinished(flags, height, rows))
    assert left == [tiles.tile_at(index, height, rows) for index in range(count) if flags[index] == 0]


@settings(deadline=None)
@given(flag_lists)
def test_spans_are_the_raised_flags_in_the_fewest_runs(flags):
    spans = tiles.spans(flags)
    restored = [0] * len(flags)
    for first, last in spans:
        restored[first:last] = [1] * (last - first)
    assert restored == flags
    assert all(first < last for first, last in spans)
    assert all(last < first for (_, last), (first, _) in pairwise(spans))


def test_spans_are_half_open():
    assert tiles.spans([0, 1, 1, 0, 1]) == [(1, 3), (4, 5)]
    assert tiles.spans([]) == []


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_automatic_rows_are_whole_blocks_and_fill_a_quarter_of_a_megapixel(width):
    rows = tiles.auto_rows(width)
    assert rows % 8 == 0
    assert rows >= 8
    assert rows == 8 or rows * width <= 1 << 18
    assert (rows + 8) * max(width, 1) > 1 << 18


@settings(deadline=None)
@given(st.integers(1, 10**6))
def test_asked_for_rows_are_rounded_up_to_whole_blocks(rows):
    rounded = tiles.rounded_rows(rows)
    assert rounded % 8 == 0
    assert rows <= rounded < rows + 8
