"""What a WebP's chunks tell: a walk that ends, and the first frame's own chunks."""

import io
import struct

import numpy as np
import pytest
from files import saved
from PIL import Image

from batchgray.codecs.webp_outline import WebpOutline
from batchgray.errors import ImageError

PICTURE = Image.fromarray(np.random.default_rng(8).integers(0, 256, (31, 45, 3), dtype=np.uint8))
VEILED = PICTURE.copy()
VEILED.putalpha(77)
JUNK = b"JUNK" + struct.pack("<I", 1_000_000) + bytes(1_000_000)
WEBPS = {
    "lossy": saved(PICTURE, "WEBP"),
    "lossless": saved(PICTURE, "WEBP", lossless=True),
    "alpha": saved(VEILED, "WEBP", quality=90),
    "exif": saved(VEILED, "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0", icc_profile=bytes(200)),
    "moving": saved(PICTURE, "WEBP", save_all=True, append_images=[VEILED.convert("RGB").rotate(180)]),
}


def webp(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("name", WEBPS)
@pytest.mark.parametrize("padding", ["", "inside", "behind"])
def test_of_a_webp_its_first_frame_is_read_and_nothing_else(name, padding):
    data = sound = WEBPS[name]
    if padding:
        data = sound + bytes(1_000_000) if padding == "behind" else webp(sound[12:], JUNK)
    outline = WebpOutline.walk(data)
    assert (outline.width, outline.height) == PICTURE.size
    assert outline.frames == (2 if name == "moving" else 1)
    assert bool(outline.exif) == (name == "exif")
    assert outline.kept_bytes <= len(sound) - 12
    excerpt = outline.without_metadata(data)
    assert len(excerpt.read()) == 12 + outline.kept_bytes
    with Image.open(io.BytesIO(sound)) as whole, Image.open(outline.without_metadata(data)) as image:
        assert image.mode == whole.mode
        assert np.array_equal(np.asarray(image), np.asarray(whole))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (webp(JUNK), "a WebP without a picture"),
        (webp(b"VP8X\x0a\0\0\0" + bytes(4) + b"\xff" * 6), "a canvas of 16777216 x 16777216"),
        (webp(b"VP8X\x0a\0\0\0")[:20], "a WebP without a picture"),
        (webp(b"JUNK\0\0\0\0" * 1_000_001), "more than 1,000,000 chunks"),
    ],
)
def test_a_webp_without_a_picture_is_refused(data, reason):
    with pytest.raises(ImageError, match=reason):
        WebpOutline.walk(data)
