"""Which inputs can be read in bands, and what that takes; one of which that is not sure is refused."""

from pathlib import Path

import pytest
from band_kinds import HEIGHT, KINDS, WIDTH, noise, pillow, smooth, vips
from files import ODD, sampled
from PIL import Image

from batchgray.codecs.band_plan import BandPlan, plan_bands
from batchgray.codecs.opening import open_image
from batchgray.errors import ImageError


def planned(path: Path, method: str = "bt601", by_libvips: bool = True) -> BandPlan:
    opened = open_image(str(path), method, 10**9)
    opened.close()
    return plan_bands(str(path), opened, method, by_libvips)


def separate_planes(path: Path) -> None:
    """Pillow writes none, and only the header counts here."""
    Image.fromarray(noise(3)).save(path, tiffinfo={284: 2})


def animated(path: Path) -> None:
    frames = [Image.fromarray(noise(3)), Image.fromarray(smooth(3))]
    frames[0].save(path, save_all=True, append_images=frames[1:])


REFUSED = {
    "a.webp": (pillow(smooth(3)), "only JPEG, PNG and TIFF"),
    "animated.png": (animated, "animated"),
    "turned.tif": (pillow(noise(3), tiffinfo={274: 6}), "to be turned"),
    "alpha.tif": (vips(noise(4), premultiply=True), "multiplied in"),
    "ycc.tif": (pillow(Image.fromarray(noise(3), "YCbCr")), "photometric"),
    "planes.tif": (separate_planes, "one after another"),
    "lab.tif": (pillow(Image.fromarray(noise(3), "LAB")), "photometric"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_sure_is_refused(name, tmp_path):
    save, reason = REFUSED[name]
    save(tmp_path / name)
    with pytest.raises(ImageError, match=reason):
        planned(tmp_path / name)


@pytest.mark.parametrize(("across", "down"), ODD)
def test_the_luma_of_a_jpeg_of_odd_sampling_is_refused(across, down, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(sampled(across, down, Image.fromarray(smooth(3))))
    with pytest.raises(ImageError, match="the Y' of a JPEG that holds such samples can't be had in bands"):
        planned(path, "luma")


def test_the_luma_of_a_jpeg_of_rgb_is_refused(tmp_path):
    KINDS["jpeg of RGB.jpg"](tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="the Y' of a JPEG that holds RGB"):
        planned(tmp_path / "a.jpg", "luma")


HERE = ["jpeg 420.jpg", "png RGB.png", "png 16 bits 4.png", "tiff tiles.tif"]
NOT_HERE = [
    "jpeg progressive.jpg",
    "png interlaced.png",
    "tiff jpeg tiles.tif",
    "tiff palette.tif",
    "tiff one strip.tif",
]


@pytest.mark.parametrize("kind", HERE + NOT_HERE)
def test_usual_kinds_need_no_libvips(kind, tmp_path):
    KINDS[kind](tmp_path / kind)
    assert planned(tmp_path / kind, by_libvips=False).needs_libvips == (kind in NOT_HERE)
    assert planned(tmp_path / kind, by_libvips=True).needs_libvips


def test_what_is_held_to_read_a_png_here_is_counted(tmp_path):
    KINDS["png RGB.png"](tmp_path / "a.png")
    plan = planned(tmp_path / "a.png", by_libvips=False)
    bands = [plan.scratch_bytes(10_000, 8 * rows) for rows in (1, 2, 3)]
    assert bands[2] - bands[1] == bands[1] - bands[0] >= 8 * 2 * 3 * WIDTH
    assert plan.scratch_bytes(10_000, 8, cores=2) - bands[0] == bands[1] - bands[0]


def test_what_the_decoder_holds_is_counted(tmp_path):
    held = {}
    for kind in ("jpeg 420.jpg", "jpeg progressive.jpg", "png RGB.png", "png interlaced.png", "tiff one strip.tif"):
        KINDS[kind](tmp_path / kind)
        held[kind] = planned(tmp_path / kind).held_bytes
    pixels = WIDTH * HEIGHT
    assert held["jpeg 420.jpg"] == held["png RGB.png"] == 0
    assert held["jpeg progressive.jpg"] == 3 * pixels
    assert held["png interlaced.png"] >= 3 * pixels
    assert held["tiff one strip.tif"] >= (tmp_path / "tiff one strip.tif").stat().st_size // 2


def test_rows_are_counted_as_the_decoder_makes_them(tmp_path):
    row_bytes = {}
    for kind in ("jpeg 420.jpg", "jpeg cmyk.jpg", "png 16 bits 4.png", "tiff palette.tif", "tiff 16 bits 3.tif"):
        KINDS[kind](tmp_path / kind)
        row_bytes[kind] = planned(tmp_path / kind).row_bytes / WIDTH
    assert list(row_bytes.values()) == [3, 4, 8, 3, 6]


def test_a_small_image_takes_no_more_rows_than_it_has():
    plan = BandPlan(format="PNG", row_bytes=10, held_bytes=7, parts=())
    assert plan.scratch_bytes(height=100, band_rows=8) == 7 + 10 * (100 + 24)
    assert plan.scratch_bytes(height=10_000, band_rows=8) == plan.scratch_bytes(height=20_000, band_rows=8)


def test_an_image_that_changed_since_it_was_opened_is_not_planned(tmp_path):
    path = tmp_path / "png RGB.png"
    KINDS[path.name](path)
    opened = open_image(str(path), "bt601", 10**9)
    opened.close()
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ImageError, match="changed while it was being read"):
        plan_bands(str(path), opened, "bt601")
