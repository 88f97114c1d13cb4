"""Every format of the contract goes in and comes out right: pixels, orientation, EXIF, notes."""

import io
import struct
import zlib

import numpy as np
import pytest
from harness import batchgray, gradient, manifest_of
from PIL import Image, features

RGB = gradient(203, 155, seed=3)
PICTURE = Image.fromarray(RGB)


def bt601(rgb) -> np.ndarray:
    return (np.asarray(rgb).astype(np.uint32)[..., :3] @ np.array([30, 59, 11], np.uint32) // 100).astype(np.uint8)


def convert(tmp_path, name, data, *options, output=None):
    """The gray pixels of one file's conversion to PNG, and its entry in the manifest."""
    source = tmp_path / name
    source.write_bytes(data)
    out = tmp_path / "out"
    batchgray("run", source, "--out", out, "--format", "png", "--progress", "none", *options)
    with Image.open(out / (output or f"{source.stem}.png")) as image:
        assert image.mode == "L"
        return np.asarray(image), manifest_of(out)["images"][0]


def saved(image, format, **settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **settings)
    return buffer.getvalue()


def png16(samples: np.ndarray, colour_type: int) -> bytes:
    """A 16-bit PNG, which Pillow can't write in colour. PNG specification, 5.2 and 11.2."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


ALPHA = Image.fromarray(RGB[..., 0] // 2)
LOSSLESS = {
    "rgb.png": saved(PICTURE, "PNG"),
    "alpha.png": saved(Image.merge("RGBA", (*PICTURE.split(), ALPHA)), "PNG"),
    "plain.tif": saved(PICTURE, "TIFF"),
    "lzw.tif": saved(PICTURE, "TIFF", compression="tiff_lzw"),
    "deflate.tiff": saved(PICTURE, "TIFF", compression="tiff_deflate"),
    "lossless.webp": saved(PICTURE, "WEBP", lossless=True),
    "alpha.webp": saved(Image.merge("RGBA", (*PICTURE.split(), ALPHA)), "WEBP", lossless=True, exact=True),
    "rgb.bmp": saved(PICTURE, "BMP"),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_colour(tmp_path, name):
    gray, image = convert(tmp_path, name, LOSSLESS[name])
    assert np.array_equal(gray, bt601(RGB))
    assert (image["width"], image["height"], image["note"]) == (203, 155, None)


JPEGS = {
    "baseline.jpg": {"subsampling": 2},
    "422.jpg": {"subsampling": 1},
    "444.jpg": {"subsampling": 0},
    "progressive.jpg": {"progressive": True},
    "restart.jpg": {"restart_marker_blocks": 3},
    "rgb.jpg": {"keep_rgb": True},
}


@pytest.mark.parametrize("name", JPEGS)
def test_jpeg(tmp_path, name):
    data = saved(PICTURE, "JPEG", quality=92, **JPEGS[name])
    gray, _ = convert(tmp_path, name, data)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(gray, bt601(image.convert("RGB")))


def test_gray_jpeg_is_not_weighted(tmp_path):
    data = saved(PICTURE.convert("L"), "JPEG")
    gray, _ = convert(tmp_path, "gray.jpg", data)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(gray, np.asarray(image))


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_goes_through_rgb(tmp_path, format):
    data = saved(PICTURE.convert("CMYK"), format)
    gray, _ = convert(tmp_path, f"cmyk.{format.lower()}", data)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(gray, bt601(image.convert("RGB")))


def test_ycck_jpeg_goes_through_rgb(tmp_path):
    """The same samples with Adobe's transform 2: components 1 to 3 are YCbCr of the inverted CMY."""
    data = bytearray(saved(PICTURE.convert("CMYK"), "JPEG", quality=95))
    at = data.index(b"Adobe")
    data[at + 11] = 2
    gray, _ = convert(tmp_path, "ycck.jpg", bytes(data))
    with Image.open(io.BytesIO(bytes(data))) as image:
        assert np.array_equal(gray, bt601(image.convert("RGB")))


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_palettes_are_expanded(tmp_path, format, transparent):
    settings = {"transparency": 5} if transparent else {}
    palette = PICTURE.quantize(60)
    gray, _ = convert(tmp_path, f"palette.{format.lower()}", saved(palette, format, **settings))
    assert np.array_equal(gray, bt601(palette.convert("RGB")))


@pytest.mark.parametrize(("channels", "colour_type"), [(3, 2), (4, 6)])
def test_sixteen_bit_colour_is_scaled_by_dropping_the_low_byte(tmp_path, channels, colour_type):
    samples = np.random.default_rng(1).integers(0, 65536, (60, 70, channels), np.uint16)
    gray, _ = convert(tmp_path, "sixteen.png", png16(samples, colour_type))
    assert np.array_equal(gray, bt601(samples >> 8))


def test_sixteen_bit_gray_with_alpha(tmp_path):
    samples = np.random.default_rng(1).integers(0, 65536, (60, 70, 2), np.uint16)
    gray, _ = convert(tmp_path, "veiled.png", png16(samples, 4))
    assert np.array_equal(gray, samples[..., 0] >> 8)


def test_interlaced_png(tmp_path):
    """Adam7, written by hand: PNG specification, 8.2."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for x, y, dx, dy in passes:
        rows += b"".join(b"\0" + row.tobytes() for row in RGB[y::dy, x::dx])

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 203, 155, 8, 2, 0, 0, 1)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    gray, _ = convert(tmp_path, "adam7.png", data)
    assert np.array_equal(gray, bt601(RGB))


@pytest.mark.parametrize("format", ["TIFF", "GIF", "WEBP", "PNG"])
def test_of_several_frames_the_first_is_taken_and_the_manifest_says_so(tmp_path, format):
    frames = [frame.quantize(60) if format == "GIF" else frame for frame in (PICTURE, PICTURE.rotate(180))]
    settings = {"lossless": True} if format == "WEBP" else {}
    data = saved(frames[0], format, save_all=True, append_images=frames[1:], **settings)
    gray, image = convert(tmp_path, f"several.{format.lower()}", data)
    assert np.array_equal(gray, bt601(frames[0].convert("RGB")))
    assert image["note"] == "the first of 2 frames or pages"


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif(tmp_path):
    data = saved(PICTURE, "AVIF", quality=90)
    gray, _ = convert(tmp_path, "a.avif", data)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(gray, bt601(image.convert("RGB")))


def test_stray_bytes_before_a_marker_get_a_second_opinion(tmp_path):
    data = saved(PICTURE, "JPEG", quality=92)
    at = data.index(b"\xff\xdb")
    for method in ("bt601", "luma"):
        folder = tmp_path / method
        folder.mkdir()
        gray, _ = convert(folder, "stray.jpg", data[:at] + b"\0\0\0" + data[at:], "--method", method)
        with Image.open(io.BytesIO(data)) as image:
            if method == "luma":
                image.draft("L", image.size)
                assert np.array_equal(gray, np.asarray(image.convert("L")))
            else:
                assert np.array_equal(gray, bt601(image.convert("RGB")))


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
        assert not image.getexif()


def test_a_tiffs_orientation_is_applied_and_its_description_kept(tmp_path):
    (tmp_path / "a.tif").write_bytes(saved(PICTURE, "TIFF", tiffinfo={0x0112: 6, 0x010F: "Maker"}))
    batchgray("run", tmp_path / "a.tif", "--out", tmp_path / "out", "--progress", "none")
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        assert image.size == (155, 203)
        assert dict(image.getexif()) == {0x010F: "Maker"}


def test_what_no_jpeg_can_hold_fails_with_the_way_out(tmp_path):
    Image.new("L", (65501, 8)).save(tmp_path / "wide.png")
    run = batchgray("run", tmp_path / "wide.png", "--out", tmp_path / "out", expect=3)
    assert "use --format png" in run.stdout
    batchgray("run", tmp_path / "wide.png", "--out", tmp_path / "png", "--format", "png", "--progress", "none")
