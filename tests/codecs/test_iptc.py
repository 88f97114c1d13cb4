"""IPTC's datasets are found among Photoshop's resources; those of words stay, and those of pictures go."""

import pytest
from described import CHARACTERS, WORDS, dataset, resource
from hypothesis import given
from hypothesis import strategies as st

from batchgray.codecs import iptc
from batchgray.codecs.faults import UnreadableMetadata


def test_words_and_their_characters_stay_as_they_are():
    assert (
        iptc.without_colour(CHARACTERS + WORDS)
        == CHARACTERS + WORDS
        == iptc.without_colour(CHARACTERS + WORDS + bytes(9))
    )


@pytest.mark.parametrize(
    "other", [dataset(3, 60, b"\3"), dataset(2, 202, bytes(40)), dataset(7, 90, b"\0"), dataset(8, 10, bytes(400))]
)
def test_colours_and_pictures_go(other):
    assert iptc.without_colour(CHARACTERS + other + WORDS + other) == CHARACTERS + WORDS
    assert iptc.without_colour(CHARACTERS + other) == b""


@pytest.mark.parametrize(
    "data", [b"no IIM", WORDS[:-1], WORDS + b"\x1c", WORDS + b"x", b"\x1c\2\x78\x80\4\0\0\0\1a", dataset(2, 5, b"")[:4]]
)
def test_what_is_damaged_is_refused(data):
    with pytest.raises(UnreadableMetadata):
        iptc.without_colour(data)


@pytest.mark.parametrize("name", [b"", b"a", b"ab"])
def test_datasets_are_found_among_the_resources(name):
    others = resource(0x03ED, bytes(16), name) + resource(0x0425, b"odd" + bytes(1))
    assert iptc.in_resources(others + resource(0x0404, WORDS, name) + others) == WORDS
    assert iptc.in_resources(others) == iptc.in_resources(b"") == b""


def test_what_is_written_is_found_again():
    assert iptc.in_resources(iptc.as_resources(WORDS)) == WORDS
    assert iptc.in_resources(iptc.as_resources(WORDS + b"\0")) == WORDS + b"\0"


@pytest.mark.parametrize("length", [4, 6, 7, 10, 11, 40])
def test_resources_that_are_cut_off_are_refused_or_have_nothing(length):
    data = iptc.as_resources(WORDS)[:length]
    try:
        assert iptc.in_resources(data) == b""
    except UnreadableMetadata:
        assert length >= 6


@given(st.binary(max_size=100))
def test_whatever_comes_is_read_or_refused(data):
    for read in (iptc.without_colour, iptc.in_resources):
        for start in (b"", b"\x1c\2", b"8BIM\4\4"):
            try:
                assert len(read(start + data)) <= len(start + data)
            except UnreadableMetadata:
                pass
