"""The head of a PNM."""

import pytest

from batchgray.codecs.limits import MOST_FRAMES
from batchgray.codecs.pnm_outline import PnmOutline
from batchgray.errors import ImageError


@pytest.mark.parametrize(
    ("head", "sides", "most"),
    [
        (b"P5\n3 2\n255\n", (3, 2), 255),
        (b"P6 3 2 65535\r", (3, 2), 65535),
        (b"P5#a\n# b\n3\t#c\r2\n#d\n\n0255#e\n", (3, 2), 255),
        (b"P4\n3 2\n", (3, 2), 1),
        (b"P1 3#\n2#\n", (3, 2), 1),
        (b"P2\n3 2\n7\n", (3, 2), 7),
    ],
)
def test_a_head_is_read_with_its_comments(head, sides, most):
    outline = PnmOutline.walk(head + b"raster")
    assert (outline.width, outline.height) == sides
    assert outline.most == most
    assert outline.start == len(head)


@pytest.mark.parametrize(
    ("kind", "size"), [("1", 10), ("2", 19), ("3", 59), ("4", 2), ("5", 10), ("6", 30), ("5 16", 20), ("6 16", 60)]
)
def test_how_long_its_samples_are_at_least_follows_from_the_head(kind, size):
    most = {"1": "", "4": "", "5 16": "300 ", "6 16": "300 "}.get(kind, "255 ")
    assert PnmOutline.walk(f"P{kind[0]} 5 2 {most}".encode()).raster_bytes == size


@pytest.mark.parametrize("head", [b"P5\n3\n", b"P5 3 2 255", b"P6 -3 2 255\n", b"P5 3 2 x\n", b"P5#" + b"c" * 70000])
def test_a_head_that_makes_no_sense_is_refused(head):
    with pytest.raises(ImageError, match="damaged: a PNM whose head"):
        PnmOutline.walk(head)


@pytest.mark.parametrize("most", [0, 65536])
def test_a_highest_value_that_no_sample_can_have_is_refused(most):
    with pytest.raises(ImageError, match=f"damaged: a PNM whose highest value is {most}"):
        PnmOutline.walk(b"P5 3 2 %d\n" % most)


def test_the_pictures_behind_the_first_are_counted():
    one = b"P5 3 2 255\n" + bytes(6)
    assert PnmOutline.walk(one + b"P4 9 9\n" + bytes(18) + one).frames == 3
    assert PnmOutline.walk(one + b"P5 nonsense").frames == 1
    assert PnmOutline.walk(one * (MOST_FRAMES + 5)).frames == MOST_FRAMES
