"""Boxes: a walk over a part of a file, with a bound."""

import struct

import pytest
from boxed import box

from batchgray.codecs import boxes as module
from batchgray.codecs.boxes import boxes, made, whole
from batchgray.errors import ImageError


def walked(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(kind, data[body]) for kind, body in boxes(data, whole(data))]


def test_each_box_is_found_whatever_the_form_of_its_length():
    long = struct.pack(">I4sQ", 1, b"long", 16 + 3) + b"abc"
    endless = struct.pack(">I4s", 0, b"last") + b"to the end"
    data = box(b"ftyp", b"x") + long + box(b"none", b"") + endless
    assert walked(data) == [(b"ftyp", b"x"), (b"long", b"abc"), (b"none", b""), (b"last", b"to the end")]


def test_one_that_is_made_is_found():
    assert walked(made(b"ihdr", b"body")) == [(b"ihdr", b"body")]


@pytest.mark.parametrize("tail", [b"\0\0\0\7oops", b"\0\0\0", struct.pack(">I4sQ", 1, b"long", 15)])
def test_what_is_no_box_ends_them(tail):
    assert walked(box(b"ftyp", b"x") + tail) == [(b"ftyp", b"x")]


def test_the_last_may_be_cut_off():
    assert walked(box(b"ftyp", b"abc")[:-1]) == [(b"ftyp", b"ab")]


def test_no_walk_goes_on_for_ever(monkeypatch):
    monkeypatch.setattr(module, "_MOST_BOXES", 9)
    assert len(walked(box(b"free", b"") * 8)) == 8
    with pytest.raises(ImageError, match="damaged: more than 9 boxes"):
        walked(box(b"free", b"") * 10)
