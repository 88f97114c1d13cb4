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
