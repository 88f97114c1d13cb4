"""What a GIF's blocks tell: the first frame's own blocks."""

import io

import numpy as np
import pytest
from described import KEYWORDS, in_gif, packet
from files import saved
from PIL import Image

from batchgray.codecs import xmp
from batchgray.codecs.gif_outline import GifOutline
from batchgray.codecs.metadata import XMP

PICTURE = Image.fromarray(np.random.default_rng(8).integers(0, 256, (31, 45, 3), dtype=np.uint8))


def test_of_a_gif_its_first_frame_is_read_and_nothing_else():
    palette = PICTURE.quantize(60)
    sound = saved(palette, "GIF", transparency=5, save_all=True, append_images=[palette.rotate(180)])
    at = 13 + 3 * (2 << (sound[10] & 7))
    comment = b"!\xfe" + (b"\xff" + b"c" * 255) * 5000 + b"\0"
    data = sound[:at] + comment + sound[at:]
    outline = GifOutline.walk(data)
    assert outline.frames == 2
    assert len(outline.without_metadata(data).read()) < len(sound)
    with Image.open(io.BytesIO(sound)) as whole, Image.open(outline.without_metadata(data)) as image:
        assert image.info["transparency"] == whole.info["transparency"]
        assert np.array_equal(np.asarray(image.convert("RGBA")), np.asarray(whole.convert("RGBA")))


def test_a_gif_that_is_cut_off_is_read_as_far_as_it_goes():
    sound = saved(PICTURE.quantize(60), "GIF")
    outline = GifOutline.walk(sound[:-200])
    assert outline.frames == 1
    assert sound[:-200].endswith(outline.without_metadata(sound[:-200]).read()[-100:-1])


def with_block(block):
    sound = saved(PICTURE.quantize(60), "GIF")
    at = 13 + 3 * (2 << (sound[10] & 7))
    return sound[:at] + block + sound[at:]


def test_xmp_of_a_gif_is_found_and_the_picture_behind_it():
    outline = GifOutline.walk(with_block(in_gif(packet(KEYWORDS))))
    assert (outline.frames, len(outline.kept)) == (1, 2)
    assert outline.besides.kept == {XMP: xmp.without_colour(packet(KEYWORDS))}
    assert not outline.besides.dropped


@pytest.mark.parametrize(
    "block",
    [
        b"!\xff\x0bXMP DataXMP" + bytes([200]) + packet(KEYWORDS)[:200] + b"\0",
        b"!\xff\x0bXMP DataXMP\0",
        in_gif(b""),
        in_gif(b"no XML"),
        in_gif(b" " * (1 << 18) + packet(KEYWORDS)),
    ],
    ids=["in blocks", "nothing", "empty", "no XML", "too long"],
)
def test_xmp_of_a_gif_that_is_not_read_is_told_of(block):
    outline = GifOutline.walk(with_block(block))
    assert (outline.frames, outline.besides.kept, outline.besides.dropped) == (1, {}, {XMP})
