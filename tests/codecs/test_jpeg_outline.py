"""What a JPEG's markers tell."""

import pytest

from batchgray.codecs.jpeg_outline import JpegOutline
from batchgray.errors import ImageError


def test_a_video_behind_the_picture_counts_no_scans():
    frame = b"\xff\xc2\0\x0b\x08\0\x08\0\x08\1\1\x11\0"
    scan = b"\xff\xda\0\x08\1\1\0\0\0\0\x12\xff\0\xff\xd3\x34"
    jpeg = b"\xff\xd8" + frame + scan * 3 + b"\xff\xd9"
    assert len(JpegOutline.walk(jpeg + scan * 1000).scans) == 3
    with pytest.raises(ImageError, match="more than 500 scans"):
        JpegOutline.walk(b"\xff\xd8" + frame + scan * 501 + b"\xff\xd9")
