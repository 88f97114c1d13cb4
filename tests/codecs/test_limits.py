"""What is refused before a library believes it."""

import pytest

from batchgray.codecs import limits
from batchgray.errors import ImageError


@pytest.mark.parametrize("size", [(4000, 3999), (4001, 4000)])
def test_only_what_would_cost_something_must_be_plausible(size):
    harmless = size[0] * size[1] <= 16_000_000
    try:
        limits.check_plausible(*size, least_bytes=100, file_bytes=99)
    except ImageError:
        assert not harmless
    else:
        assert harmless
    limits.check_plausible(*size, least_bytes=100, file_bytes=100)


@pytest.mark.parametrize(("width", "height"), [(0, 1), (1, 0), (-1, 5)])
def test_an_image_has_pixels(width, height):
    with pytest.raises(ImageError, match=f"no pixels: {width} x {height}"):
        limits.check_dimensions(width, height, 100)


def test_an_image_has_as_many_pixels_as_the_user_wants_to_see():
    limits.check_dimensions(20, 5, 100)
    with pytest.raises(ImageError, match=r"101 x 1 is 101 pixels, over the limit of 100; .*--max-pixels N"):
        limits.check_dimensions(101, 1, 100)


def test_what_is_read_as_a_whole_has_a_longest_file():
    limits.check_read_as_a_whole(512 << 20)
    with pytest.raises(ImageError, match="536,870,913 bytes, over the 536,870,912"):
        limits.check_read_as_a_whole((512 << 20) + 1)
