"""Every format of the contract goes in and comes out right: pixels, orientation, EXIF, notes."""

import io
import struct

import numpy as np
import pytest
from boxed import box, codestream, heic, jp2, palette
from files import RGB, png, png16, sampled, saved
from harness import batchgray, manifest_of
from PIL import Image, features

from batchgray.codecs.exif import orientation_alone
from batchgray.codecs.transparency import IGNORED

PICTURE = Image.fromarray(RGB)


def interlaced_png() -> bytes:
    """Adam7, written by hand: PNG specification, 8.2."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in passes for row in RGB[y::dy, x::dx])
    return png(struct.pack(">IIBBBBB", 203, 155, 8, 2, 0, 0, 1), rows)


def ycck_jpeg() -> bytes:
    """A CMYK JPEG's samples with Adobe's transform 2: components 1 to 3 are YCbCr of the inverted CMY."""
    data = bytearray(saved(PICTURE.convert("CMYK"), "JPEG", quality=95))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def stray_bytes_jpeg() -> bytes:
    """Three bytes before a marker: every viewer opens it, libjpeg-turbo complains."""
    noise = np.random.default_rng(2).integers(0, 256, RGB.shape, np.uint8)
    data = saved(Image.fromarray(noise), "JPEG", quality=92)
    at = data.index(b"\xff\xdb")
    return data[:at] + b"\0\0\0" + data[at:]


ALPHA = Image.fromarray(RGB[..., 0] // 2)
VEILED = Image.merge("RGBA", (*PICTURE.split(), ALPHA))
TABLE = np.random.default_rng(6).integers(0, 256, (256, 3), np.uint8)
SIXTEEN = np.random.default_rng(1).integers(0, 65536, (60, 70, 4), np.uint16)
DEEP = SIXTEEN[:64, :64] & 0xFFC0  # 10 bits
PALETTE = PICTURE.quantize(60)
TURNED = PICTURE.rotate(180)

EXACT = {
    "rgb.png": (saved(PICTURE, "PNG"), RGB),
    "interlaced.png": (interlaced_png(), RGB),
    "alpha.png": (saved(VEILED, "PNG"), RGB),
    "plain.tif": (saved(PICTURE, "TIFF"), RGB),
    "lzw.tif": (saved(PICTURE, "TIFF", compression="tiff_lzw"), RGB),
    "deflate.tiff": (saved(PICTURE, "TIFF", compression="tiff_deflate"), RGB),
    "lossless.webp": (saved(PICTURE, "WEBP", lossless=True), RGB),
    "alpha.webp": (saved(VEILED, "WEBP", lossless=True, exact=True), RGB),
    "rgb.bmp": (saved(PICTURE, "BMP"), RGB),
    "headless.dib": (saved(PICTURE, "DIB"), RGB),
    "palette.png": (saved(PALETTE, "PNG"), PALETTE.convert("RGB")),
    "palette-transparent.png": (saved(PALETTE, "PNG", transparency=5), PALETTE.convert("RGB")),
    "palette.gif": (saved(PALETTE, "GIF"), PALETTE.convert("RGB")),
    "palette-transparent.gif": (saved(PALETTE, "GIF", transparency=5), PALETTE.convert("RGB")),
    "sixteen.png": (png16(SIXTEEN[..., :3], 2), SIXTEEN[..., :3] >> 8),
    "sixteen-alpha.png": (png16(SIXTEEN, 6), SIXTEEN >> 8),
    "sixteen-gray-alpha.png": (png16(SIXTEEN[..., :2], 4), np.repeat(SIXTEEN[..., :1] >> 8, 3, -1)),
    "pages.tif": (saved(PICTURE, "TIFF", save_all=True, append_images=[TURNED]), RGB),
    "moving.gif": (saved(PALETTE, "GIF", save_all=True, append_images=[TURNED.quantize(60)]), PALETTE.convert("RGB")),
    "moving.webp": (saved(PICTURE, "WEBP", lossless=True, save_all=True, append_images=[TURNED]), RGB),
    "container.jp2": (saved(PICTURE, "JPEG2000"), RGB),
    "bare.j2k": (codestream(RGB), RGB),
    "tiles.jpx": (saved(PICTURE, "JPEG2000", tile_size=(64, 64), offset=(3, 5)), RGB),
    "alpha.jp2": (saved(VEILED, "JPEG2000"), RGB),
    "palette.jp2": (jp2(codestream(RGB[..., 0]), palette(TABLE)), TABLE[RGB[..., 0]]),
    "sixteen.jp2": (codestream(SIXTEEN[..., 0]), np.repeat(SIXTEEN[..., :1] >> 8, 3, -1)),
    "bits.pbm": (saved(PICTURE.convert("1"), "PPM"), PICTURE.convert("1").convert("RGB")),
    "gray.pgm": (saved(PICTURE.convert("L"), "PPM"), PICTURE.convert("L").convert("RGB")),
    "colour.ppm": (saved(PICTURE, "PPM"), RGB),
    "text.pnm": (b"P3 203 155 255\n" + b" ".join(b"%d" % value for value in RGB.reshape(-1)), RGB),
    "sixteen.pnm": (b"P6 70 60 65535\n" + SIXTEEN[..., :3].astype(">u2").tobytes(), SIXTEEN[..., :3] >> 8),
    "colour.heic": (heic(RGB), RGB),
    "alpha.heif": (heic(np.asarray(VEILED)), RGB),
    "ten.hif": (heic(DEEP[..., :3]), DEEP[..., :3] >> 8),
    "tiles.heic": (heic(RGB, tile_size=64), RGB),
    "several.heic": (heic(RGB[::-1], RGB, primary_index=1), RGB),
    "moving.png": (saved(PICTURE, "PNG", save_all=True, append_images=[TURNED]), RGB),
}
AS_PILLOW_DECODES = {
    "baseline.jpg": saved(PICTURE, "JPEG", quality=92, subsampling=2),
    "422.jpg": saved(PICTURE, "JPEG", quality=92, subsampling=1),
    "444.jpg": saved(PICTURE, "JPEG", quality=92, subsampling=0),
    "progressive.jpg": saved(PICTURE, "JPEG", quality=92, progressive=True),
    "restart.jpg": saved(PICTURE, "JPEG", quality=92, restart_marker_blocks=3),
    "rgb.jpg": saved(PICTURE, "JPEG", quality=92, keep_rgb=True),
    "stray.jpg": stray_bytes_jpeg(),
    "441.jpg": sampled(1, 4),
    "410.jpg": sampled(4, 2),
    "cmyk.jpg": saved(PICTURE.convert("CMYK"), "JPEG", quality=95),
    "ycck.jpg": ycck_jpeg(),
    "cmyk.tif": saved(PICTURE.convert("CMYK"), "TIFF"),
    **({"modern.avif": saved(PICTURE, "AVIF", quality=90)} if features.check("avif") else {}),
}
GRAY_JPEG = saved(PICTURE.convert("L"), "JPEG")
VEILING = {"alpha.jp2", "alpha.heif", "alpha.png", "alpha.webp", "palette-transparent.png", "palette-transparent.gif"}
VEILING_SIXTEEN = {"sixteen-alpha.png", "sixteen-gray-alpha.png"}
SEVERAL = {"pages.tif", "moving.gif", "moving.webp", "moving.png"}


@pytest.fixture(scope="module", params=["bt601", "luma"])
def run(request, tmp_path_factory):
    """One run over all of them, to PNG: the method, the output folder, and the manifest's entries by name."""
    pictures, out = tmp_path_factory.mktemp("pictures"), tmp_path_factory.mktemp("out")
    files = {name: data for name, (data, _) in EXACT.items()} | AS_PILLOW_DECODES | {"gray.jpg": GRAY_JPEG}
    for name, data in files.items():
        (pictures / name).parent.mkdir(exist_ok=True)
        (pictures / name).write_bytes(data)
    batchgray("run", pictures, "--out", out, "--format", "png", "--method", request.param, "--progress", "none")
    return request.param, out, {image["source"]: image for image in manifest_of(out)["images"]}


def result(run, name) -> np.ndarray:
    _, out, images = run
    with Image.open(out / images[name]["output"]) as image:
        assert image.mode == "L"
        assert image.size == (images[name]["width"], images[name]["height"])
        return np.asarray(image)


def weighted(method, rgb) -> np.ndarray:
    samples = np.asarray(rgb).astype(np.uint32)[..., :3]
    if method == "bt601":
        return (samples @ np.array([30, 59, 11], np.uint32) // 100).astype(np.uint8)
    return ((samples @ np.array([299, 587, 114], np.uint32) + 500) // 1000).astype(np.uint8)


@pytest.mark.parametrize("name", EXACT)
def test_lossless_sources(run, name):
    assert np.array_equal(result(run, name), weighted(run[0], EXACT[name][1]))


@pytest.mark.parametrize("name", AS_PILLOW_DECODES)
def test_sources_that_a_decoder_interprets(run, name):
    with Image.open(io.BytesIO(AS_PILLOW_DECODES[name])) as image:
        if run[0] == "luma" and image.mode == "RGB" and image.format == "JPEG":
            image.draft("L", image.size)  # libjpeg's own grayscale output
            expected = np.asarray(image.convert("L"))
        else:
            expected = weighted(run[0], image.convert("RGB"))
    assert np.array_equal(result(run, name), expected)


def test_a_gray_jpeg_is_not_weighted(run):
    with Image.open(io.BytesIO(GRAY_JPEG)) as image:
        assert np.array_equal(result(run, "gray.jpg"), np.asarray(image))


def test_the_manifest_says_what_was_left_out_or_odd(run):
    notes = {name: image["note"] for name, image in run[2].items() if image["note"]}
    stray = notes.pop("stray.jpg")
    assert "extraneous bytes" in stray
    sixteen = "the upper 8 of 16 bits were taken"
    expected = dict.fromkeys(SEVERAL, "the first of 2 frames or pages") | dict.fromkeys(VEILING, IGNORED)
    expected |= dict.fromkeys(("sixteen.png", "sixteen.jp2", "sixteen.pnm"), sixteen)
    expected |= {"ten.hif": "the upper 8 of 10 bits were taken"}
    expected |= {"several.heic": "the primary one of 2 pictures in the file"}
    expected |= dict.fromkeys(VEILING_SIXTEEN, f"{sixteen}; {IGNORED}")
    assert notes == expected


def with_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker"
    return exif


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("format", ["jpeg", "png"])
def test_exif_is_kept_with_its_orientation_so_that_the_result_shows_upright(tmp_path, name, format):
    kind = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[name[2:]]
    icc = b"\0" * 128
    (tmp_path / name).write_bytes(saved(PICTURE, kind, exif=with_orientation(6), icc_profile=icc))
    batchgray("run", tmp_path / name, "--out", tmp_path / "out", "--format", format, "--progress", "none")
    with Image.open(next((tmp_path / "out").glob("a.*"))) as image:
        assert image.size == (203, 155)
        assert dict(image.getexif()) == {0x0112: 6, 0x010F: "Maker"}
        assert "icc_profile" not in image.info
    batchgray(
        *("run", tmp_path / name, "--out", tmp_path / "bare", "--format", format),
        *("--metadata", "strip", "--progress", "none"),
    )
    with Image.open(next((tmp_path / "bare").glob("a.*"))) as image:
        assert dict(image.getexif()) == {0x0112: 6}


@pytest.mark.parametrize(
    ("exif", "kept"),
    [
        (with_orientation(1).tobytes(), {}),
        (b"", {}),
        (b"MM\0*\0\0\0\x08\0\x01", {}),
        (with_orientation(8).tobytes(), {0x0112: 8}),
    ],
)
def test_of_stripped_exif_only_what_turns_the_picture_is_kept(exif, kept):
    found = Image.Exif()
    found.load(orientation_alone(exif))
    assert dict(found) == kept


def test_a_tiffs_orientation_is_applied_and_its_description_kept(tmp_path):
    (tmp_path / "a.tif").write_bytes(saved(PICTURE, "TIFF", tiffinfo={0x0112: 6, 0x010F: "Maker"}))
    batchgray("run", tmp_path / "a.tif", "--out", tmp_path / "out", "--progress", "none")
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        assert image.size == (155, 203)
        assert dict(image.getexif()) == {0x010F: "Maker"}


@pytest.mark.parametrize("format", ["jpeg", "png"])
@pytest.mark.parametrize("metadata", ["keep", "strip"])
def test_a_heic_is_turned_once_and_its_exif_says_so(tmp_path, format, metadata):
    (tmp_path / "a.heic").write_bytes(heic(RGB, exif=with_orientation(6).tobytes()))
    options = ("--format", format, "--metadata", metadata, "--quality", 100)
    batchgray("run", tmp_path / "a.heic", "--out", tmp_path / "out", *options, "--progress", "none")
    with Image.open(next((tmp_path / "out").glob("a.*"))) as image:
        assert dict(image.getexif()) == ({0x0112: 1, 0x010F: "Maker"} if metadata == "keep" else {})
        upright = weighted("bt601", np.rot90(RGB, -1)).astype(int)
        assert np.abs(np.asarray(image) - upright).max() <= (0 if format == "png" else 2)


def test_a_jpeg_2000s_exif_is_kept(tmp_path):
    block = with_orientation(6).tobytes().removeprefix(b"Exif\0\0")
    (tmp_path / "a.jp2").write_bytes(jp2(codestream(RGB), behind=box(b"uuid", b"JpgTiffExif->JP2" + block)))
    batchgray("run", tmp_path / "a.jp2", "--out", tmp_path / "out", "--progress", "none")
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        assert dict(image.getexif()) == {0x0112: 6, 0x010F: "Maker"}


def test_what_no_jpeg_can_hold_fails_with_the_way_out(tmp_path):
    Image.new("L", (65501, 8)).save(tmp_path / "wide.png")
    run = batchgray("run", tmp_path / "wide.png", "--out", tmp_path / "out", expect=3)
    assert "run ... --format png`" in run.stdout
    batchgray("run", tmp_path / "wide.png", "--out", tmp_path / "png", "--format", "png", "--progress", "none")
