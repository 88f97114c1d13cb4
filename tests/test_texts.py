"""How texts and lists are shortened."""

import pytest
from rich.cells import cell_len

from batchgray import texts


def test_a_text_is_cut_where_it_is_longer_than_a_sentence():
    assert texts.brief("x" * 200) == "x" * 200
    assert texts.brief("x" * 201) == "x" * 200 + "..."
    assert texts.brief("abc", 2) == "ab..."


def test_what_a_library_says_is_one_line_in_visible_characters():
    assert texts.one_line("a\n  b\x1b[31m") == "a b\\x1b[31m"
    assert texts.one_line("x " * 1_000, 5) == "x x x..."


@pytest.mark.parametrize(
    ("text", "room", "short"), [("abc", 3, "abc"), ("abcd", 3, "abc"), ("线线", 3, "线"), ("a", 0, "")]
)
def test_a_beginning_has_room(text, room, short):
    assert texts.beginning(text, room, cell_len) == short


@pytest.mark.parametrize(
    ("name", "cells", "short"),
    [
        ("a.png", 5, "a.png"),
        ("holiday/2024/beach.png", 13, "holi…each.png"),
        ("线线线线线线", 8, "线…线线"),
        ("abcdef", 1, "…"),
    ],
)
def test_long_names_lose_their_middle(name, cells, short):
    assert texts.without_middle(name, cells, cell_len) == short
    assert cell_len(texts.without_middle(name, cells, cell_len)) <= cells


def test_the_first_names_and_how_many_more():
    assert texts.names(["a", "b\n"]) == "a, b\\n"
    assert texts.names("abcdefg") == "a, b, c and 4 more"
    assert texts.names(["a", "b", "c"], 1_200) == "a, b, c and 1,197 more"
    assert texts.names(["a"], 1) == "a"


def test_the_first_lines_and_how_many_more():
    lines = [str(number) for number in range(1_025)]
    assert texts.first_lines(lines[:20], ", in the manifest") == lines[:20]
    assert texts.first_lines(lines, ", in the manifest") == [*lines[:20], "  ... and 1,005 more, in the manifest"]
    assert texts.first_lines(lines, " pairs", most=1) == ["0", "  ... and 1,024 more pairs"]


def test_what_many_share_is_told_once_the_commonest_first():
    given = [("a", "1 byte short"), ("b", "empty"), *((f"{number}", f"{number} bytes short") for number in range(5))]
    (short, empty) = texts.shared(given, alike=lambda text: "short" if "short" in text else text)
    assert (short.text, short.count, short.names) == ("1 byte short", 6, ["a", "0", "1"])
    assert (empty.text, empty.count, empty.names) == ("empty", 1, ["b"])
