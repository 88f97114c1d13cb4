"""A JPEG is what libjpeg makes of the pixels."""

import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image, IptcImagePlugin

from batchgray.codecs import encoding
from batchgray.errors import ImageError
from batchgray.planes.slots import Metadata

GRAY = np.random.default_rng(4).integers(0, 256, (67, 93), np.uint8)
HEIGHT, WIDTH = GRAY.shape
EXIF = b"MM\0*\0\0\0\x08\0\0\0\0\0\0"
KEPT = Metadata(EXIF, b"<xmp/>", b"\x1c\2\0\0\2\0\4\x1c\2\x78\0\6hello!")


def plane() -> memoryview:
    return memoryview(GRAY.tobytes())


@pytest.mark.parametrize("quality", [1, 75, 100])
def test_a_jpeg_is_what_libjpeg_makes_of_the_pixels(quality):
    (data,) = encoding.encode_jpeg(plane(), WIDTH, HEIGHT, quality)
    assert data == simplejpeg.encode_jpeg(GRAY[..., None], quality, colorspace="GRAY")


def test_metadata_comes_behind_jfif_and_changes_nothing_else():
    (bare,) = encoding.encode_jpeg(plane(), WIDTH, HEIGHT, 75)
    pieces = encoding.encode_jpeg(plane(), WIDTH, HEIGHT, 75, KEPT)
    assert pieces[0] == bare[:20]
    assert pieces[0][2:4] == b"\xff\xe0"
    assert pieces[1] == b"\xff\xe1" + (8 + len(EXIF)).to_bytes(2) + b"Exif\0\0" + EXIF
    assert pieces[2] == b"\xff\xe1" + (31 + len(KEPT.xmp)).to_bytes(2) + b"http://ns.adobe.com/xap/1.0/\0" + KEPT.xmp
    assert pieces[3].startswith(b"\xff\xed\0.Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x12")
    assert pieces[0] + pieces[4] == bare
    with Image.open(io.BytesIO(b"".join(pieces))) as image:
        assert image.info["exif"] == b"Exif\0\0" + EXIF
        assert image.info["xmp"] == KEPT.xmp
        assert IptcImagePlugin.getiptcinfo(image) == {(2, 0): b"\0\4", (2, 120): b"hello!"}
        assert "jfif" in image.info


@pytest.mark.parametrize(("width", "height"), [(65501, 1), (1, 65501)])
def test_what_no_jpeg_holds_is_refused_with_the_way_out(width, height):
    with pytest.raises(ImageError, match=f"{width} x {height}: JPEG holds 65500 pixels a side at most: .*--format png"):
        encoding.encode_jpeg(memoryview(bytes(65501)), width, height, 75)
    encoding.check_jpeg_sides(65500, 65500)
