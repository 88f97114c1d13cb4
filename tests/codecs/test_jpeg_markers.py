"""The walk from marker to marker, over whatever a file has between them; what is made is walked again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgray.codecs import jpeg_markers as markers
from batchgray.codecs.jpeg_markers import Walk, made

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
APP, TABLE = made(markers.APP1, b"one"), made(markers.DHT, b"")
SCAN = made(markers.SOS, b"\1\1\0\0\x3f\0")


def walked(data: bytes) -> list[tuple[int, bytes]]:
    return [(segment.code, data[segment.body : segment.stop]) for segment in Walk(data)]


@given(st.lists(st.tuples(st.sampled_from([0xC0, 0xC4, 0xDB, 0xE0, 0xEE, 0xFE]), st.binary(max_size=40))))
def test_whatever_is_made_is_walked(segments):
    data = SOI + b"".join(made(code, body) for code, body in segments) + EOI
    assert walked(data) == [*segments, (markers.EOI, b"")]


def test_a_segment_tells_where_it_lies():
    data = SOI + b"stray" + b"\xff\xff" + APP + EOI
    segment, end = Walk(data)
    assert data[segment.part] == APP
    assert (segment.body, end.body) == (segment.start + 4, end.stop)
    assert end.part == slice(len(data) - 2, len(data))


@pytest.mark.parametrize("between", [b"", b"\xff", b"\xff" * 9, b"\0\1\2", b"\xff\0", b"\xff\xd3", bytes(1 << 19)])
def test_fill_bytes_and_stray_ones_are_passed_over(between):
    assert walked(SOI + between + APP + between + TABLE) == [(markers.APP1, b"one"), (markers.DHT, b"")]


def test_stray_bytes_without_end_are_not():
    assert walked(SOI + APP + bytes((1 << 20) - 2) + TABLE) == [(markers.APP1, b"one"), (markers.DHT, b"")]
    assert walked(SOI + APP + bytes((1 << 20) - 1) + TABLE) == [(markers.APP1, b"one")]


def test_a_scans_data_may_be_as_long_as_the_picture():
    data = SOI + SCAN + b"\xff\0" * (1 << 20) + EOI
    assert [code for code, _ in walked(data)] == [markers.SOS, markers.EOI]


def test_nothing_is_looked_for_behind_the_end():
    data = SOI + SCAN + bytes(100) + TABLE + EOI
    walk = Walk(data)
    codes = []
    for segment in walk:
        codes.append(segment.code)
        walk.end = data.index(TABLE) + 1
    assert codes == [markers.SOS]


@pytest.mark.parametrize("length", [b"", b"\0", b"\0\0", b"\0\1", b"\0\6abc", b"\xff\xff"])
def test_the_walk_ends_before_a_segment_that_is_cut_off_or_has_no_length(length):
    assert walked(SOI + APP + b"\xff\xc4" + length) == [(markers.APP1, b"one")]


def test_behind_the_end_of_the_picture_there_is_nothing():
    assert walked(SOI + EOI + APP) == [(markers.EOI, b"")]


def test_markers_that_stand_alone_have_no_length():
    data = SOI + bytes((0xFF, markers.TEM)) + SOI + APP
    assert walked(data) == [(markers.TEM, b""), (markers.SOI, b""), (markers.APP1, b"one")]


def test_a_segment_longer_than_any_is_never_made():
    assert walked(SOI + made(markers.COM, bytes(65533))) == [(markers.COM, bytes(65533))]
    with pytest.raises(OverflowError):
        made(markers.COM, bytes(65534))
